"""An SBOM that a program made, without what differs between two runs over the same image (pure).

Programs write the time, and a random name; some write lists in the order in which their threads ended. The document is
about one manifest, whose bytes never change, so none of these tells anything of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from state import canonical
from state.oci import Digest, Repository

CREATED: Final = "1970-01-01T00:00:00Z"
"""SPDX requires a time; this is the one that stands for none where builds are reproducible (SOURCE_DATE_EPOCH=0)."""
_LISTS: Final = ("packages", "files", "relationships", "hasExtractedLicensingInfos", "annotations", "snippets")


def spdx(document: Mapping[str, Any], repository: Repository, digest: Digest) -> dict[str, Any]:
    """The SPDX 2.3 document about this manifest: equal content gives an equal document.

    Its namespace is made of the content and so names this document alone, as SPDX asks for. Raises InvalidValue for
    what cannot be spelled in one way.
    """
    made: dict[str, Any] = {**document, "name": f"{repository}@{digest}"}
    creation = document.get("creationInfo")
    made["creationInfo"] = {**(creation if isinstance(creation, dict) else {}), "created": CREATED}
    for name in _LISTS:
        if isinstance(rows := document.get(name), list):
            made[name] = sorted(rows, key=canonical.dumps)
    made["documentNamespace"] = ""
    content = Digest.of(canonical.dumps(made))
    made["documentNamespace"] = f"https://ameide.io/spdx/{digest.hex}/{content.hex}"
    return made
