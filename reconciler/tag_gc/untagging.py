"""Whether a registry can remove one tag and leave the others of its digest: told by name where it is known that it
cannot, measured in a scratch repository everywhere else.
"""

from __future__ import annotations

import time
from typing import Final

from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.ports import Clock, Random
from reconciler.registry_probe.measure import untagging
from reconciler.registry_probe.scratch import Scratch
from reconciler.settings.model import RegistrySettings
from state.errors import ReconcilerError, Transient
from state.oci import Repository

_TOTAL_S: Final = 60.0
_LAG_MAX_S: Final = 10.0


def refused_by_name(registry: RegistrySettings) -> str | None:
    """Why no tag of this host is removed, without asking it; None where that has to be measured."""
    if registry.host == "ghcr.io" or registry.host.endswith(".pkg.github.com"):
        return (
            "GHCR cannot take a single tag away: it deletes a package version, and with it every tag of that digest, "
            "`:main` too; delete versions that have no tag left by hand, or keep them"
        )
    if registry.scratch_repository is None:
        return "whether a tag can be removed alone is not known here: set `scratch_repository` of this registry"
    return None


def measured_refusal(client: OrasRegistry, repository: Repository, clock: Clock, random: Random) -> str | None:
    """Make two tags of one digest in the scratch repository and remove one of them; None if the other one stays.

    Raises Transient if the registry does not answer now.
    """
    scratch = Scratch(client, repository, clock, random, sleep=time.sleep, total_s=_TOTAL_S, lag_max_s=_LAG_MAX_S)
    try:
        status, gone, spares = untagging(scratch)
    except Transient:
        raise
    except ReconcilerError as error:
        return f"it could not be measured in {repository}: {error}"
    finally:
        scratch.clean()
    if gone is None:
        return f"DELETE of a tag answers {status}: this registry removes digests alone, and with one all its tags"
    if not gone:
        return f"DELETE of a tag answers {status}, and the tag is still there"
    return None if spares else "removing one tag takes the other tags of its digest with it"
