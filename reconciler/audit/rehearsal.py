"""What another policy would have decided over the past that the log holds (pure).

Only what is recorded can be judged again: who was admitted (pull requests as they were seen), which verdicts counted
(outcomes, not the evidence behind them), and which approvals sufficed (whole envelopes). Each decision that would have
been another one is a `Difference`; what cannot be judged from the log is counted under `unknown`, never guessed.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.admission import admit
from reconciler.approval.approvers import Signed
from reconciler.approval.codes import Code, Refusal, RefusedMarker, explained
from reconciler.approval.envelopes import signatures_of, verify
from reconciler.approval.evaluate import Facts, Granted, Standing, evaluate, judge_admission
from reconciler.approval.signatures import Signers
from reconciler.audit.replay import Pass, passes
from reconciler.ports import Purpose
from state.approval import Admission, Approval
from state.canonical import Json
from state.entry import Entry, Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId
from state.history import History
from state.observed import Baseline, BaselinePolicy, Policy, Present, PullRequest, Snapshot
from state.oci import Digest
from state.pin_plan import PinPlan
from state.publishing import LoggedMarker, Proposal, Step
from state.verdict import Level, Outcome, Verdict
from state.writes import Write

ADMITTED: Final = "admitted"
PUBLISHED: Final = "published"
NOT_PUBLISHED: Final = "not published"


class Area(StrEnum):
    """Which part of the policy a decision belongs to."""

    ADMISSION = "admission"
    VERIFICATION = "verification"
    APPROVAL = "approval"


class Difference(NamedTuple):
    """A decision of the past that would have been another one; `entry` is where it was made first."""

    area: Area
    about: str
    was: str
    would_be: str
    entry: CommitId
    at: str
    times: int = 1
    """In how many recorded passes."""

    def to_json(self) -> dict[str, Json]:
        return {
            "about": self.about,
            "area": self.area.value,
            "at": self.at,
            "entry": self.entry,
            "times": self.times,
            "was": self.was,
            "would_be": self.would_be,
        }


@dataclass(frozen=True, slots=True)
class Proposed:
    """The policy that is rehearsed; what is None stays as it was."""

    rules: Policy | None = None
    """Admission and baseline."""
    verification: Mapping[Purpose, tuple[Level, Digest]] | None = None
    """Level and policy digest, by what is verified."""
    signers: Signers | None = None
    """The approvers' policy and its keys."""
    certificates: bool = False
    """Whether `signers` has a trusted root for approvers' certificates."""


@dataclass(slots=True)
class Rehearsal:
    """What came of it: how much was looked at, what differs, and what the log cannot tell."""

    looked_at: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Json]:
        return {
            "differences": [d.to_json() for d in self.differences],
            "looked_at": dict(sorted(self.looked_at.items())),
            "unknown": dict(sorted(self.unknown.items())),
        }


def rehearse(entries: Iterable[Logged], blob: Callable[[str], bytes], proposed: Proposed) -> Rehearsal:
    """Judge the past by `proposed`. Raises InvalidValue or IntegrityError as `replay.passes`."""
    run = _Run(proposed)
    for found in passes(entries, blob, run.history):
        if isinstance(found, Pass):
            run.one_pass(found)
        else:
            run.one_entry(found)
    return run.end()


class _Run:
    def __init__(self, proposed: Proposed) -> None:
        self._proposed = proposed
        self.history = History()
        self._made = Rehearsal()
        self._differences: dict[tuple[Area, str, str, str], Difference] = {}
        self._never_admitted: set[CommitId] = set()
        self._agents: frozenset[int] = frozenset()
        self._would_publish: dict[Digest, Difference] = {}
        self._verdicts: set[tuple[str, Digest, Digest, str]] = set()

    def end(self) -> Rehearsal:
        for difference in self._would_publish.values():
            self._note(difference)
        self._made.differences = sorted(self._differences.values(), key=lambda d: (d.area, d.at, d.about))
        return self._made

    def _note(self, found: Difference) -> None:
        key = (found.area, found.about, found.was, found.would_be)
        before = self._differences.get(key)
        self._differences[key] = found if before is None else before._replace(times=before.times + 1)

    # --- passes: admission and verification

    def one_pass(self, found: Pass) -> None:
        seen = found.seen
        if seen is None:
            self._made.unknown["passes that another version recorded in a form of its own"] += 1
            return
        self._made.looked_at["passes"] += 1
        self._agents = frozenset(seen.policy.agents)
        if seen.listing.complete:
            self._admission(found, seen)
        if self._proposed.verification is not None:
            self._verification(found, seen)

    def _admission(self, found: Pass, seen: Snapshot) -> None:
        new = seen
        if self._proposed.rules is not None:
            new = replace(new, policy=replace(self._proposed.rules, digest=seen.policy.digest))
            if self._proposed.rules.baseline is not seen.policy.baseline:
                which = BaselinePolicy(self._proposed.rules.baseline).value
                self._made.unknown[f"which digests `baseline: {which}` would have taken: they were not read"] += 1
        if self._proposed.signers is not None:
            new = replace(new, admitted_forks=self._admitted_forks(found, seen))
        was, would = _admissions(seen), _admissions(new)
        for pr in seen.listing.pull_requests:
            self._made.looked_at["pull requests seen"] += 1
            then, now = was[pr.number], would[pr.number]
            if now == ADMITTED:
                self._never_admitted.discard(pr.head)
            if then == now:
                continue
            about = f"#{pr.number} at {pr.head[:12]}"
            self._note(Difference(Area.ADMISSION, about, then, now, found.entry, found.at))
            if then == ADMITTED:
                self._never_admitted.add(pr.head)
            elif now == ADMITTED and pr.head not in seen.decisions:
                self._made.unknown["what would have been made of heads that were never looked into"] += 1

    def _admitted_forks(self, found: Pass, seen: Snapshot) -> frozenset[tuple[int, int, CommitId]]:
        """Those that the recorded admissions let in under the proposed approvers' policy."""
        by_number = {pr.number: pr for pr in seen.listing.pull_requests}
        admitted = set()
        for logged in self.history.publishing.markers.values():
            signed = self._read(logged) if logged.kind == "admission" else None
            marker = signed.marker if isinstance(signed, Signed) else None
            pr = by_number.get(marker.pull_request) if isinstance(marker, Admission) else None
            if pr is None or pr.head_repository_id is None or not isinstance(signed, Signed):
                continue
            assert self._proposed.signers is not None  # noqa: S101 - this is only called with a policy
            refused = judge_admission(
                signed,
                pr,
                self._proposed.signers.policy,
                self._standing(),
                _seconds(found.at),
                repository_id=seen.repository_id,
                agents=self._agents,
            )
            if refused is None:
                admitted.add((pr.head_repository_id, pr.number, pr.head))
        return frozenset(admitted)

    def _verification(self, found: Pass, seen: Snapshot) -> None:
        for repository, state in seen.main.items():
            if isinstance(state, Baseline):
                self._verdict(found, Purpose.BASELINE, f"{repository}@{state.digest}", state.digest, state.verdict)
        for (repository, _), state in seen.faithful.items():
            if isinstance(state, Baseline):
                self._verdict(found, Purpose.BASELINE, f"{repository}@{state.digest}", state.digest, state.verdict)
        for (repository, head), tag in seen.tags.items():
            if isinstance(tag, Present) and tag.verdict is not None:
                about = f"{repository}:{head[:12]}"
                self._verdict(found, Purpose.PULL_REQUEST, about, tag.digest, tag.verdict)

    def _verdict(self, found: Pass, purpose: Purpose, about: str, digest: Digest, verdict: Verdict) -> None:
        assert self._proposed.verification is not None  # noqa: S101 - this is only called with one
        level, policy = self._proposed.verification[purpose]
        key = (about, digest, verdict.policy, verdict.outcome.value)
        if key in self._verdicts:
            return  # a verdict stands in every pass until it changes, and is one decision
        self._verdicts.add(key)
        self._made.looked_at["verdicts"] += 1
        if verdict.policy == policy:
            return
        if level is Level.NONE:
            if verdict.outcome is not Outcome.UNCHECKED:
                was, would = _outcome(verdict), f"{Outcome.UNCHECKED.value}: taken, and shown as unproven"
                self._note(Difference(Area.VERIFICATION, about, was, would, found.entry, found.at))
            return
        self._made.unknown[f"verdicts on a {purpose.value.replace('_', ' ')}: the log holds outcomes, no evidence"] += 1

    # --- the other entries: approvals, and what was done for heads

    def one_entry(self, logged: Logged) -> None:
        entry = logged.entry
        if entry.kind is Kind.INTENT and "proposals" not in entry.body:
            self._count_writes(entry)
        if self._proposed.signers is None:
            return
        if entry.kind is Kind.INTENT and "proposals" in entry.body:
            for row in _objects(entry.body.get("proposals")):
                proposal = Proposal.from_json(row)
                if proposal.step is Step.OPEN:
                    self._published(logged, proposal)
        elif entry.kind is Kind.MARKER and isinstance(plan := entry.body.get("plan"), str):
            self._approved(logged, Digest(plan))

    def _count_writes(self, entry: Entry) -> None:
        writes = [Write.from_json(row) for row in _objects(entry.body.get("writes"))]
        self._made.looked_at["tag writes"] += len(writes)
        dropped = sum(w.head in self._never_admitted for w in writes)
        if dropped:
            self._made.looked_at["tag writes that would not have been made"] += dropped

    def _published(self, logged: Logged, proposal: Proposal) -> None:
        self._would_publish.pop(proposal.plan, None)
        plan = self.history.publishing.plans.get(proposal.plan)
        if plan is None:
            return
        known = self.history.publishing.markers
        missing = [m for m in proposal.approvals if m not in known]
        markers = [known[m] for m in proposal.approvals if m in known]
        if not missing and not self._can_judge(markers):
            return
        self._made.looked_at["publishes"] += 1
        code = f"the log does not hold its approval {missing[0]}" if missing else self._judged(plan, markers, logged)
        if code is not None:
            about = f"{proposal.target}: #{proposal.pull_request} at {proposal.head[:12]}"
            would = f"{NOT_PUBLISHED} ({code})"
            self._note(Difference(Area.APPROVAL, about, PUBLISHED, would, logged.id, logged.entry.at))

    def _approved(self, logged: Logged, digest: Digest) -> None:
        """Whether the approvals that there are by now would have sufficed, which then led to nothing."""
        publishing = self.history.publishing
        plan = publishing.plans.get(digest)
        if plan is None:
            return
        self._made.looked_at["approvals"] += 1
        open_now = [
            m for m in publishing.of_plan(digest) if m not in publishing.consumed and m not in publishing.revoked
        ]
        if digest in self._would_publish or not open_now:
            return
        if not self._can_judge([publishing.markers[m] for m in open_now]):
            return
        if self._judged(plan, [publishing.markers[m] for m in open_now], logged) is None:
            about = f"{plan.target.name}: #{plan.pull_request} at {plan.head[:12]}"
            would = "its approvals would have sufficed"
            self._would_publish[digest] = Difference(
                Area.APPROVAL, about, NOT_PUBLISHED, would, logged.id, logged.entry.at
            )

    def _can_judge(self, markers: list[LoggedMarker]) -> bool:
        """Whether the keys of all of them can be known: a certificate needs the root that it is from."""
        if self._proposed.certificates:
            return True
        if all(_has_keys(m) for m in markers):
            return True
        self._made.unknown["approvals by certificate: name the trusted root, in a configuration, by --config"] += 1
        return False

    def _judged(self, plan: PinPlan, markers: list[LoggedMarker], logged: Logged) -> str | None:
        """Why these approvals would not have sufficed; None if they would. Facts that were read then and are not in the
        log (the head, the tags, labels) are taken to have held."""
        signers = self._proposed.signers
        assert signers is not None  # noqa: S101 - this is only called with a policy
        read = [self._read(m) for m in markers]
        refused = [r for r in read if isinstance(r, Refusal)]
        signed = [s for s in read if isinstance(s, Signed)]
        publishing = self.history.publishing
        people = publishing.people.get((plan.pull_request, plan.head))
        author = people.author_id if people is not None else None
        base = publishing.plan_bases[plan.digest()]
        facts = Facts(
            repository_id=plan.repository_id,
            number=plan.pull_request,
            pull_request=PullRequest(plan.pull_request, plan.head, base, plan.repository_id, author or 0),
            second_witness=plan.head,
            author_id=author,
            last_pusher_id=people.last_pusher_id if people is not None else None,
            not_admitted=None,
            held=False,
            quarantined=plan.head in self.history.quarantined,
            release_set=plan.release_set,
            tags=plan.images(),
            plan=plan,
            agents=self._agents,
        )
        ids = {m.id for m in markers}
        standing = self._standing()._replace(revoked=frozenset(publishing.revoked) - ids)
        judged = evaluate(signed, plan.target.name, facts, signers.policy, standing, _seconds(logged.entry.at))
        if isinstance(judged, Granted):
            return None
        codes = dict.fromkeys(r.code.value for r in (*judged.markers, *refused))
        return ", ".join(codes) or Code.NOT_ENOUGH_APPROVERS.value

    def _standing(self) -> Standing:
        publishing = self.history.publishing
        return Standing(
            revoked=frozenset(publishing.revoked),
            taken={marker.id: marker.statement for marker in publishing.markers.values()},
        )

    def _read(self, logged: LoggedMarker) -> Signed | Refusal:
        """A recorded marker as if it had been signed under the proposed policy, by whom that says."""
        signers = self._proposed.signers
        assert signers is not None  # noqa: S101 - this is only called with a policy
        raw = _envelope(logged)
        try:
            signed = verify(raw, signers)
        except RefusedMarker as refused:
            return Refusal(Digest.of(raw), logged.id, refused.code, explained(refused.code))
        marker = signed.marker
        if isinstance(marker, Approval | Admission):
            marker = marker._replace(policy=signers.policy.digest())
        return signed._replace(marker=marker)


def _admissions(seen: Snapshot) -> dict[int, str]:
    """Pull request → `admitted`, or the reason why it is held."""
    result = admit(seen)
    found = {number: hold.reason.value for hold in result.holds for number in hold.pull_requests}
    found.update({pr.number: ADMITTED for head in result.heads for pr in head.pull_requests})
    return found


def _envelope(logged: LoggedMarker) -> bytes:
    try:
        return base64.b64decode(logged.envelope, validate=True)
    except ValueError as error:
        raise InvalidValue(f"marker {logged.id}: its envelope is no base64") from error


def _has_keys(logged: LoggedMarker) -> bool:
    """Whether it was signed by keys alone; bytes that are no envelope are refused later, as they were not then."""
    try:
        return bool(signatures_of(_envelope(logged)).signatures)
    except RefusedMarker:
        return True


def _outcome(verdict: Verdict) -> str:
    return f"{verdict.outcome.value}: {verdict.reason}" if verdict.reason else verdict.outcome.value


def _objects(value: Json) -> list[Mapping[str, Json]]:
    return [row for row in (value if isinstance(value, list) else ()) if isinstance(row, dict)]


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())
