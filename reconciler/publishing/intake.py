"""Markers taken up: what arrives by any channel is verified, and only what a known principal signed is recorded.

Whether an approval counts is decided when it is used, on facts read then. What cannot be verified is dropped here, so
that junk can neither fill the log nor revoke anything.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.approval.approvers import ApproversPolicy, Signed
from reconciler.approval.codes import Code, RefusedMarker, explained
from reconciler.approval.envelopes import inspect, verify
from reconciler.approval.evaluate import SKEW_S, may_revoke
from reconciler.approval.signatures import Signers
from reconciler.events import Emitter, Event
from reconciler.ports import LogStore, Markers
from reconciler.record import Recorder
from state.approval import Admission, Approval, Revocation
from state.canonical import Json, texts
from state.entry import Kind
from state.errors import Denied, Transient
from state.oci import Digest
from state.publishing import LoggedMarker

_REMEMBERED: Final = 10_000
PER_PASS_MAX: Final = 200
"""Envelopes that one pass verifies."""


class Dropped(NamedTuple):
    """An envelope that was not recorded, and why."""

    code: Code
    text: str


class Intake:
    """Takes up markers for one code repository."""

    def __init__(
        self, repository_id: int, markers: Markers, signers: Callable[[], Signers], recorder: Recorder, log: LogStore
    ) -> None:
        self._repository_id = repository_id
        self._markers = markers
        self._signers = signers
        self._recorder = recorder
        self._log = log
        self._over: list[Digest] = []
        """What arrived in the last `take` and had been recorded or dropped before it."""
        self._early: dict[Digest, Signed] = {}
        """Revocations of markers that have not come, by envelope: verified once, by the policy `_early_by`."""
        self._early_by: Digest | None = None
        self._known: OrderedDict[Digest, Signed] = OrderedDict()
        self._ends: dict[str, int] = {}
        """Marker id → when its time is over."""
        self.dropped: OrderedDict[Digest, Dropped] = OrderedDict()
        """What was dropped lately, by the envelope's digest."""

    def take(self, emit: Emitter) -> None:
        """Record what has arrived and can be verified.

        Raises Transient or ConfigError where a channel or the policy cannot be read; LedgerMoved, Fenced, LogRollback.
        """
        signers = self._signers()
        logged = self._recorder.history.publishing.marker_digests
        arrived = {Digest.of(raw): raw for raw in self._markers.pending()}
        over = {digest for digest in arrived if digest in logged or digest in self.dropped}
        self._over = [digest for digest in arrived if digest in over]
        known = self._early if self._early_by == (policy := signers.policy.digest()) else {}
        self._early = {d: one for d, one in known.items() if d in arrived and d not in over}
        self._early_by = policy
        signed = [(arrived[digest], one) for digest, one in self._early.items()]
        fresh = [raw for digest, raw in arrived.items() if digest not in over and digest not in self._early]
        for raw in fresh[:PER_PASS_MAX]:
            try:
                signed.append((raw, verify(raw, signers)))
            except RefusedMarker as refused:
                self._drop(Digest.of(raw), Dropped(refused.code, refused.text), emit)
        # Revocations last: what they revoke may have arrived with them.
        signed.sort(key=lambda pair: isinstance(pair[1].marker, Revocation))
        for raw, one in signed:
            self._record(raw, one, signers.policy, emit)

    def read(self, marker: LoggedMarker) -> Signed:
        """A recorded marker, verified against the policy in force. Raises RefusedMarker."""
        raw = base64.b64decode(marker.envelope, validate=True)
        signers = self._signers()
        key = Digest.of(raw + signers.policy.digest().encode())
        if (known := self._known.get(key)) is not None:
            return known
        made = verify(raw, signers)
        self._known[key] = made
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return made

    def ended(self, marker: LoggedMarker, now: int) -> bool:
        """Whether its time is over for good. Each envelope is opened once for that, and no signature is verified: the
        log has years of them."""
        if marker.id not in self._ends:
            said = inspect(base64.b64decode(marker.envelope, validate=True))
            self._ends[marker.id] = said.issued_at if isinstance(said, Revocation) else said.not_after
        return self._ends[marker.id] + SKEW_S < now

    def tidy(self) -> None:
        """Let channels forget what was recorded by an earlier `take`, once the log would survive this machine."""
        if not self._over:
            return
        try:
            self._log.push()
        except (Transient, Denied):
            return
        self._markers.done(self._over)

    def _record(self, raw: bytes, signed: Signed, policy: ApproversPolicy, emit: Emitter) -> None:
        marker, digest = signed.marker, Digest.of(raw)
        publishing = self._recorder.history.publishing
        if marker.repository_id != self._repository_id:
            said = f"now {self._repository_id}, in the marker {marker.repository_id}"
            self._drop(digest, Dropped(Code.WRONG_REPO, explained(Code.WRONG_REPO, said)), emit)
            return
        body: dict[str, Json] = {
            "digest": digest,
            "envelope": base64.b64encode(raw).decode(),
            "id": marker.id,
            "principals": texts(signed.principals),
            "statement": signed.statement,
        }
        match marker:
            case Approval() | Admission():
                known = publishing.markers.get(marker.id)
                if known is not None and known.statement != signed.statement:
                    self._drop(digest, Dropped(Code.ID_TAKEN, explained(Code.ID_TAKEN)), emit)
                    return
                plan = marker.plan if isinstance(marker, Approval) else None
                kind = "approval" if isinstance(marker, Approval) else "admission"
                self._recorder.append(Kind.MARKER, {**body, "kind": kind, "plan": plan})
            case Revocation():
                known = publishing.markers.get(marker.id)
                if known is None:
                    self._early[digest] = signed  # not dropped for good: what it revokes may still come
                    return
                if not self._may_revoke(signed, known, policy):
                    self._drop(digest, Dropped(Code.NOT_APPROVER, explained(Code.NOT_APPROVER)), emit)
                    return
                self._recorder.append(Kind.REVOCATION, body)
        emit.emit(Event.MARKER_LOGGED, marker=marker.id, digest=digest)

    def _may_revoke(self, revocation: Signed, known: LoggedMarker, policy: ApproversPolicy) -> bool:
        """One that was signed under an earlier policy can do nothing, and may be taken back once it could again."""
        try:
            return may_revoke(revocation, self.read(known), policy)
        except RefusedMarker:
            return False

    def _drop(self, digest: Digest, why: Dropped, emit: Emitter) -> None:
        self.dropped[digest] = why
        while len(self.dropped) > _REMEMBERED:
            self.dropped.popitem(last=False)
        emit.emit(Event.MARKER_REFUSED, digest=digest, reason=why.code.value, detail=why.text)


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970, as markers count."""
    return int(moment.timestamp())
