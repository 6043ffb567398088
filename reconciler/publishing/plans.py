"""Release set, inventory and target → the plan of a publish (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from state.errors import InvalidValue
from state.observed import Inventory
from state.oci import Digest, Repository
from state.pin_plan import EDITS_MAX, Edit, PinPlan, Target, check
from state.release_set import ReleaseSet


class Unplanned(NamedTuple):
    """There is no plan, and why, for a person."""

    why: str


def of_release(
    release: ReleaseSet, manifest: Digest, pull_request: int, inventory: Inventory, target: Target
) -> PinPlan | Unplanned:
    """The plan that pins every image of a release set wherever the target's environment has a pin for it.

    Args:
        manifest: the digest of the release set's manifest.
        pull_request: one that has the head; several at one head have a plan each.
    """
    images = {component: (i.repository, i.digest) for i in release.images for component in i.components}
    edits = _edits(images, inventory, target.environment)
    return _plan(PinPlan(release.repository_id, pull_request, release.head, manifest, target, edits))


def of_promotion(lower: PinPlan, inventory: Inventory, target: Target) -> PinPlan | Unplanned:
    """The plan that copies what the lower target runs: the same digests, in the pins of this environment.

    Whether the lower environment does run `lower` is the caller's to know.
    """
    images = {e.component: (e.repository, e.digest) for e in lower.edits}
    edits = _edits(images, inventory, target.environment)
    return _plan(PinPlan(lower.repository_id, lower.pull_request, lower.head, lower.release_set, target, edits))


def _edits(images: Mapping[str, tuple[Repository, Digest]], inventory: Inventory, environment: str) -> tuple[Edit, ...]:
    found: Iterable[Edit] = (
        Edit(pin.file, pin.key, component, *image)
        for component, image in images.items()
        for pin in inventory.pins.get(component, ())
        if pin.environment == environment
    )
    return tuple(sorted(found))


def _plan(made: PinPlan) -> PinPlan | Unplanned:
    environment = made.target.environment
    if not made.edits:
        return Unplanned(f"no component of the release set has a pin of environment {environment} in the inventory")
    if len(made.edits) > EDITS_MAX:
        return Unplanned(f"{len(made.edits)} pins of environment {environment}, at most {EDITS_MAX} go into one plan")
    try:
        check(made)
    except InvalidValue as error:
        return Unplanned(str(error))
    return made
