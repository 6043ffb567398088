"""Markers: what an approver signs (design §6). A signed marker is the approval; whatever carried it is transport.

Three acts: `Approval` of one plan, `Admission` of a head from a fork or from an author outside, and `Revocation` of
either. Each is an in-toto statement in canonical JSON; the predicate binds numeric ids and full commit ids, never names
that somebody else may register. Schemas: `schema/publish-approval-v1.json`, `schema/admission-v1.json`,
`schema/revocation-v1.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from state import canonical
from state.canonical import Json, reading
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.pin_plan import PinPlan, target_name
from state.statement import STATEMENT_V1

APPROVAL: Final = "https://ameide.io/attestation/publish-approval/v1"
ADMISSION: Final = "https://ameide.io/attestation/admission/v1"
REVOCATION: Final = "https://ameide.io/attestation/revocation/v1"
MARKER_MAX_BYTES: Final = 64 * 1024
"""Of a whole envelope; the statement in it is smaller."""
PAYLOAD_MAX_BYTES: Final = 40 * 1024
"""Of a statement: in base64 and with its signatures it still fits into an envelope."""
APPROVERS_MAX: Final = 8

_ID: Final = re.compile(r"[0-9a-f]{32}")
_PRINCIPAL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_TIME_MAX: Final = 253_402_300_799
"""9999-12-31T23:59:59Z"""


class Approval(NamedTuple):
    """Publish exactly this plan: its images, for this head of this pull request, to this target."""

    id: str
    """32 hex digits, chosen at random by whoever signs."""
    repository_id: int
    pull_request: int
    base: RefName
    """The branch that the pull request is for."""
    head: CommitId
    release_set: Digest
    plan: Digest
    target: str
    policy: Digest
    """The approvers' policy that the signer saw."""
    issued_at: int
    """Seconds since 1970-01-01 UTC, as `not_after`."""
    not_after: int
    approvers: tuple[str, ...]
    """The principals that sign this envelope, in order."""
    images: Mapping[Repository, Digest]
    """Exactly the plan's images."""

    @classmethod
    def of(
        cls,
        plan: PinPlan,
        *,
        marker_id: str,
        base: RefName,
        policy: Digest,
        issued_at: int,
        not_after: int,
        approvers: tuple[str, ...],
    ) -> Approval:
        """The approval of `plan`."""
        return cls(
            marker_id,
            plan.repository_id,
            plan.pull_request,
            base,
            plan.head,
            plan.release_set,
            plan.digest(),
            plan.target.name,
            policy,
            issued_at,
            not_after,
            approvers,
            plan.images(),
        )


class Admission(NamedTuple):
    """Let one head of one pull request in, although its repository or its author is not trusted."""

    id: str
    repository_id: int
    pull_request: int
    head_repository_id: int
    """The numeric id of the repository that the head is in: the fork's, or the code repository's own."""
    head: CommitId
    policy: Digest
    issued_at: int
    not_after: int
    approvers: tuple[str, ...]


class Revocation(NamedTuple):
    """Take back the marker with this id."""

    id: str
    repository_id: int
    issued_at: int
    approvers: tuple[str, ...]


Marker: TypeAlias = Approval | Admission | Revocation


def payload(marker: Marker) -> bytes:
    """The statement to sign, in canonical JSON. Raises InvalidValue if a member is malformed."""
    _check(marker)
    match marker:
        case Approval():
            kind = APPROVAL
            subjects: list[Json] = [_commit(marker.head)]
            subjects += [{"digest": {"sha256": d.hex}, "name": r} for r, d in sorted(marker.images.items())]
            predicate: dict[str, Json] = {
                "approvers": canonical.texts(marker.approvers),
                "base": marker.base,
                "head": marker.head,
                "id": marker.id,
                "issued_at": marker.issued_at,
                "not_after": marker.not_after,
                "plan": marker.plan,
                "policy": marker.policy,
                "pull_request": marker.pull_request,
                "release_set": marker.release_set,
                "repository_id": marker.repository_id,
                "target": marker.target,
            }
        case Admission():
            kind, subjects = ADMISSION, [_commit(marker.head)]
            predicate = {
                "approvers": canonical.texts(marker.approvers),
                "head": marker.head,
                "head_repository_id": marker.head_repository_id,
                "id": marker.id,
                "issued_at": marker.issued_at,
                "not_after": marker.not_after,
                "policy": marker.policy,
                "pull_request": marker.pull_request,
                "repository_id": marker.repository_id,
            }
        case Revocation():
            # in-toto wants a digest of what a statement is about; a marker is known by its id.
            kind = REVOCATION
            subjects = [{"digest": {"sha256": Digest.of(marker.id.encode()).hex}, "name": f"marker {marker.id}"}]
            predicate = {
                "approvers": canonical.texts(marker.approvers),
                "id": marker.id,
                "issued_at": marker.issued_at,
                "repository_id": marker.repository_id,
            }
    raw = canonical.dumps({"_type": STATEMENT_V1, "predicate": predicate, "predicateType": kind, "subject": subjects})
    if len(raw) > PAYLOAD_MAX_BYTES:
        raise InvalidValue(f"marker: expected at most {PAYLOAD_MAX_BYTES} bytes, got {len(raw)}; publish fewer images")
    return raw


def is_marker(predicate_type: str) -> bool:
    """Whether a statement of this type is one of the three."""
    return predicate_type in {APPROVAL, ADMISSION, REVOCATION}


def principal_name(text: str) -> str:
    """The name of a principal of the approvers' policy. Raises InvalidValue."""
    if not _PRINCIPAL.fullmatch(text):
        raise InvalidValue(
            f"principal: expected at most 63 of [a-z0-9._-], starting with one of [a-z0-9], got {text[:80]!r}"
        )
    return text


def parse(raw: bytes) -> Marker:
    """Read a payload. Raises InvalidValue unless it is byte for byte what `payload` writes."""
    value = canonical.loads_object(raw, what="marker", max_bytes=PAYLOAD_MAX_BYTES)
    outer = reading(value, "marker")
    kind = outer.text("predicateType")
    read = reading(outer.object("predicate"), "marker")
    marker: Marker
    match kind:
        case _ if kind == APPROVAL:
            marker = Approval(
                read.text("id"),
                read.integer("repository_id"),
                read.integer("pull_request"),
                RefName(read.text("base")),
                CommitId(read.text("head")),
                Digest(read.text("release_set")),
                Digest(read.text("plan")),
                read.text("target"),
                Digest(read.text("policy")),
                read.integer("issued_at"),
                read.integer("not_after"),
                tuple(read.texts("approvers")),
                _images(outer.objects("subject")[1:]),
            )
        case _ if kind == ADMISSION:
            marker = Admission(
                read.text("id"),
                read.integer("repository_id"),
                read.integer("pull_request"),
                read.integer("head_repository_id"),
                CommitId(read.text("head")),
                Digest(read.text("policy")),
                read.integer("issued_at"),
                read.integer("not_after"),
                tuple(read.texts("approvers")),
            )
        case _ if kind == REVOCATION:
            marker = Revocation(
                read.text("id"),
                read.integer("repository_id"),
                read.integer("issued_at"),
                tuple(read.texts("approvers")),
            )
        case _:
            raise InvalidValue(f"marker: {kind[:80]!r} is no marker's predicate type")
    if payload(marker) != raw:
        raise InvalidValue("marker: not in canonical form, or with members or subjects that do not belong in it")
    return marker


def _commit(head: CommitId) -> Json:
    return {"digest": {"gitCommit": head}, "name": "git"}


def _images(rows: list[Mapping[str, Json]]) -> dict[Repository, Digest]:
    """What the subjects after the first name; whether they have other members is seen by writing them again."""
    made: dict[Repository, Digest] = {}
    for row in rows:
        name, digests = row.get("name"), row.get("digest")
        if not isinstance(name, str) or not isinstance(digests, dict):
            raise InvalidValue("subject: expected a name and a digest")
        made[Repository(name)] = Digest(f"sha256:{digests.get('sha256')}")
    return made


def _check(marker: Marker) -> None:
    if not _ID.fullmatch(marker.id):
        raise InvalidValue(f"marker: id is 32 lower-case hex digits, got {marker.id[:80]!r}")
    names = marker.approvers
    if not names or len(names) > APPROVERS_MAX or list(names) != sorted(set(names)):
        raise InvalidValue(f"marker: approvers are 1 to {APPROVERS_MAX} principals in order, none twice")
    for name in names:
        principal_name(name)
    times = [marker.issued_at] if isinstance(marker, Revocation) else [marker.issued_at, marker.not_after]
    if not all(0 <= t <= _TIME_MAX for t in times):
        raise InvalidValue("marker: times are seconds since 1970, up to the year 9999")
    if times != sorted(times):
        raise InvalidValue("marker: not_after comes before issued_at")
    numbers = [marker.repository_id]
    match marker:
        case Approval():
            target_name(marker.target)
            numbers.append(marker.pull_request)
            if not marker.images:
                raise InvalidValue("marker: an approval names at least one image")
        case Admission():
            numbers += [marker.pull_request, marker.head_repository_id]
        case Revocation():
            pass
    if any(n < 1 for n in numbers):
        raise InvalidValue("marker: ids and numbers count from 1")
