"""What an approver's machine checks before it signs, and the statements that it signs. Pure.

The daemon is not believed: the plan that it serves has to be the one that was asked for, and to pin nothing but what
the signed release set of the head has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.approval.served import ServedPlan
from state.approval import Admission, Approval, Revocation
from state.errors import InvalidValue
from state.git import CommitId
from state.oci import Digest
from state.release_set import ReleaseSet

LIFE_MAX_S: Final = 30 * 24 * 3600
_LIFE: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Asked(NamedTuple):
    """What the approver asked for; None where that is not known beforehand."""

    repository_id: int
    pull_request: int
    target: str
    head: CommitId | None = None
    plan: Digest | None = None
    policy: Digest | None = None
    """The digest of the approver's own copy of the approvers' policy."""


def differences(served: ServedPlan, asked: Asked) -> tuple[str, ...]:
    """How the served plan is not the one that was asked for; empty if it is."""
    plan = served.plan
    pairs: list[tuple[str, object, object]] = [
        ("repository id", asked.repository_id, plan.repository_id),
        ("pull request", asked.pull_request, plan.pull_request),
        ("target", asked.target, plan.target.name),
    ]
    if asked.head is not None:
        pairs.append(("head", asked.head, plan.head))
    if asked.plan is not None:
        pairs.append(("plan", asked.plan, plan.digest()))
    if asked.policy is not None:
        pairs.append(("approvers' policy", asked.policy, served.policy))
    return tuple(f"{what}: expected {wanted}, the server has {got}" for what, wanted, got in pairs if wanted != got)


def unproven(served: ServedPlan, manifest: Digest, release: ReleaseSet) -> tuple[str, ...]:
    """What in the plan is not of this release set; empty if all of it is."""
    return tuple(_unproven(served, manifest, release))


def _unproven(served: ServedPlan, manifest: Digest, release: ReleaseSet) -> Iterator[str]:
    plan, released = served.plan, release.digests()
    for what, of_set, of_plan in (
        ("release set", manifest, plan.release_set),
        ("head", release.head, plan.head),
        ("repository id", release.repository_id, plan.repository_id),
    ):
        if of_set != of_plan:
            yield f"{what}: the signed release set has {of_set}, the plan {of_plan}"
    for repository, digest in sorted(plan.images().items()):
        if (proven := released.get(repository)) != digest:
            yield f"{repository}: the signed release set has {proven or 'no such image'}, the plan {digest}"


def approval_of(served: ServedPlan, principal: str, marker_id: str, now: int, life_s: int) -> Approval:
    """The approval of a served plan by one principal."""
    return Approval.of(
        served.plan,
        marker_id=marker_id,
        base=served.base,
        policy=served.policy,
        issued_at=now,
        not_after=now + life_s,
        approvers=(principal,),
    )


def admission_of(  # noqa: PLR0917 - all that an admission is bound to
    asked: Asked, fork_id: int, principal: str, marker_id: str, now: int, life_s: int
) -> Admission:
    """The admission of one head by one principal. Raises InvalidValue unless head and policy are known."""
    if asked.head is None or asked.policy is None:
        raise InvalidValue("admission: needs a head and the approvers' policy")
    return Admission(
        marker_id,
        asked.repository_id,
        asked.pull_request,
        fork_id,
        asked.head,
        asked.policy,
        now,
        now + life_s,
        (principal,),
    )


def revocation_of(repository_id: int, principal: str, marker_id: str, now: int) -> Revocation:
    """The revocation of the marker with this id."""
    return Revocation(marker_id, repository_id, now, (principal,))


def life_s(text: str) -> int:
    """`90s`, `30m`, `4h` or `1d` in seconds. Raises InvalidValue."""
    found = _LIFE.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 60 <= seconds <= LIFE_MAX_S:
        raise InvalidValue(f"life: expected 60s to 30d, such as 30m, 4h or 1d, got {text[:20]!r}")
    return seconds
