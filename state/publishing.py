"""What the log says of publishing, as one value: plans, markers, and the GitOps pull requests made from them (pure).

A fold over the log's entries, part of `state.history`. An approval is consumed by the intent that names it, whatever
became of that intent. Only what can still matter is kept once a head has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from state.canonical import Json, Reader, reading, texts
from state.entry import Entry, Kind
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest
from state.pin_plan import PinPlan


class Step(StrEnum):
    """What is to be done with a GitOps pull request."""

    OPEN = "open"
    UPDATE = "update"
    """Bring its branch up to a base that it no longer merges into."""
    CLOSE = "close"


class ProposalState(StrEnum):
    """Where a GitOps pull request of ours stands."""

    INTENDED = "intended"
    """Its approvals are consumed; it is not known to be open yet."""
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    """We closed it: it was obsolete."""
    DECLINED = "declined"
    """A person closed it; it is never opened again."""
    HANDS_OFF = "hands-off"
    """A person's commit is on its branch: it is theirs now."""
    DROPPED = "dropped"
    """The premise no longer held when it was to be opened; nothing was opened."""


FINAL = frozenset(
    {
        ProposalState.MERGED,
        ProposalState.CLOSED,
        ProposalState.DECLINED,
        ProposalState.HANDS_OFF,
        ProposalState.DROPPED,
    }
)


class Proposal(NamedTuple):
    """One step with one GitOps pull request, as an intent names it before it is taken."""

    step: Step
    target: str
    plan: Digest
    pull_request: int
    """The code repository's."""
    head: CommitId
    branch: RefName
    commit: CommitId | None = None
    """What the branch is to be at; None for a close."""
    parents: tuple[CommitId, ...] = ()
    """Of `commit`: the base it was made on, then the branch's tip where the branch was there."""
    approvals: tuple[str, ...] = ()
    """Ids of the markers that are consumed by it; only an open consumes."""
    approved_base: RefName | None = None
    """The code repository's branch that the approvals are for."""
    not_after: int = 0
    """When the first of the approvals ends (seconds since 1970)."""
    change: int | None = None
    """The number of the GitOps pull request, where it is known."""
    reason: str = ""
    """Why, for a person: of a close."""

    def to_json(self) -> dict[str, Json]:
        return {
            "approvals": texts(self.approvals),
            "approved_base": self.approved_base,
            "branch": self.branch,
            "change": self.change,
            "commit": self.commit,
            "head": self.head,
            "not_after": self.not_after,
            "parents": texts(self.parents),
            "plan": self.plan,
            "pull_request": self.pull_request,
            "reason": self.reason,
            "step": self.step.value,
            "target": self.target,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Proposal:
        read = reading(value, "proposal")
        commit, base = read.text_or_none("commit"), read.text_or_none("approved_base")
        return cls(
            read.one_of("step", Step),
            read.text("target"),
            Digest(read.text("plan")),
            read.integer("pull_request"),
            CommitId(read.text("head")),
            RefName(read.text("branch")),
            CommitId(commit) if commit is not None else None,
            tuple(CommitId(p) for p in read.texts("parents")),
            tuple(read.texts("approvals")),
            RefName(base) if base is not None else None,
            read.integer("not_after"),
            None if value.get("change") is None else read.integer("change"),
            read.text("reason"),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one GitOps pull request. `commits` are ours on its branch, oldest first."""

    proposal: Proposal
    """The one that opened it."""
    state: ProposalState
    intent: CommitId
    """The log entry that consumed its approvals."""
    commits: tuple[CommitId, ...]
    change: int | None = None
    """The last known number of it."""
    why: str = ""
    closed_by_us: bool = False
    """Whether `change` was closed by us, so that it may be opened again."""


class LoggedMarker(NamedTuple):
    """A verified marker as the log holds it; `envelope` is the base64 text of its bytes."""

    entry: CommitId
    id: str
    kind: str
    envelope: str
    principals: tuple[str, ...]
    statement: Digest
    """Of the signed statement's bytes."""
    plan: Digest | None
    """What it approves; None for an admission."""


class People(NamedTuple):
    """Who is behind a head, by numeric forge id; None where the forge did not tell."""

    author_id: int | None
    last_pusher_id: int | None


NOBODY: Final = People(None, None)


class Publishing:
    """The state that the entries about publishing add up to. `apply` every entry once, in order."""

    def __init__(self) -> None:
        self.plans: dict[Digest, PinPlan] = {}
        self.newest_plan: dict[tuple[int, str], Digest] = {}
        """(pull request, target) → its last recorded plan."""
        self.plan_bases: dict[Digest, RefName] = {}
        """Plan → the base branch of its pull request when it was recorded."""
        self.markers: dict[str, LoggedMarker] = {}
        """Marker id → the first marker that had it; approvals and admissions."""
        self._approvals: dict[Digest, list[str]] = {}
        """Plan → the ids of its approvals."""
        self.people: dict[tuple[int, CommitId], People] = {}
        """(pull request, head) → whose they are, as recorded with a plan: a promotion may come when it is closed."""
        self.marker_digests: set[Digest] = set()
        """Digests of all envelopes that were ever logged."""
        self.revoked: dict[str, CommitId] = {}
        """Marker id → the entry that revoked it."""
        self.consumed: dict[str, CommitId] = {}
        """Marker id → the intent that consumed it."""
        self.proposals: dict[RefName, Standing] = {}
        """Branch → what became of its pull request."""
        self.open_steps: dict[CommitId, tuple[Proposal, ...]] = {}
        """Intents without an outcome."""

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        """Take one more entry into account. Raises InvalidValue if its body is not of its kind."""
        body = reading(entry.body, f"{entry.kind.value} entry {entry.sequence}")
        match entry.kind:
            case Kind.PLAN:
                plan = PinPlan.from_json(body.object("plan"))
                self.plans[plan.digest()] = plan
                self.plan_bases[plan.digest()] = RefName(body.text("base"))
                self.newest_plan[plan.pull_request, plan.target.name] = plan.digest()
                people = People(_id(body, entry.body, "author_id"), _id(body, entry.body, "last_pusher_id"))
                self.people[plan.pull_request, plan.head] = people
            case Kind.MARKER:
                marker = LoggedMarker(
                    entry=entry_id,
                    id=body.text("id"),
                    kind=body.text("kind"),
                    envelope=body.text("envelope"),
                    principals=tuple(body.texts("principals")),
                    statement=Digest(body.text("statement")),
                    plan=Digest(plan_digest) if (plan_digest := body.text_or_none("plan")) is not None else None,
                )
                if marker.id not in self.markers:  # an id belongs to the first envelope that had it
                    self.markers[marker.id] = marker
                    if marker.plan is not None:
                        self._approvals.setdefault(marker.plan, []).append(marker.id)
                self.marker_digests.add(Digest(body.text("digest")))
            case Kind.REVOCATION:
                self.revoked.setdefault(body.text("id"), entry_id)
                self.marker_digests.add(Digest(body.text("digest")))
            case Kind.INTENT if "proposals" in entry.body:
                self._intend(entry_id, tuple(Proposal.from_json(p) for p in body.objects("proposals")))
            case Kind.OUTCOME if "proposals" in entry.body:
                intent = body.text_or_none("intent")
                if intent is not None:
                    self.open_steps.pop(CommitId(intent), None)
                for row in body.objects("proposals"):
                    self._conclude(Proposal.from_json(row), row)
            case Kind.TOMBSTONE:
                self._forget(CommitId(body.text("head")))
            case _:
                pass

    def of_plan(self, plan: Digest) -> list[str]:
        """The ids of the approvals of `plan`, in the order in which they were recorded."""
        return list(self._approvals.get(plan, ()))

    def live(self) -> list[Standing]:
        """Every GitOps pull request that may still need something, in order of branch."""
        return [s for _, s in sorted(self.proposals.items()) if s.state not in FINAL]

    def running(self, target: str) -> list[PinPlan]:
        """The plans that were merged to `target`, newest last; what an environment runs is told by its files."""
        merged = [s.proposal for s in self.proposals.values() if s.state is ProposalState.MERGED]
        return [self.plans[p.plan] for p in merged if p.target == target and p.plan in self.plans]

    def _intend(self, entry_id: CommitId, proposals: tuple[Proposal, ...]) -> None:
        self.open_steps[entry_id] = proposals
        for proposal in proposals:
            match proposal.step:
                case Step.OPEN:
                    if proposal.plan not in self.plans or proposal.commit is None:
                        raise InvalidValue(f"proposal {proposal.branch}: its plan or its commit is not in the log")
                    for marker in proposal.approvals:
                        self.consumed.setdefault(marker, entry_id)
                    before = self.proposals.get(proposal.branch)
                    commits = (*(before.commits if before is not None else ()), proposal.commit)
                    opened = Standing(proposal, ProposalState.INTENDED, entry_id, commits)
                    if before is not None:
                        opened = replace(opened, change=before.change, closed_by_us=before.closed_by_us)
                    self.proposals[proposal.branch] = opened
                case Step.UPDATE:
                    standing = self._standing(proposal)
                    if proposal.commit is not None:
                        # It counts as ours from here on: whether it was pushed is seen on the branch.
                        commits = (*standing.commits, proposal.commit)
                        self.proposals[proposal.branch] = replace(standing, commits=commits)
                case Step.CLOSE:
                    self._standing(proposal)

    def _conclude(self, proposal: Proposal, row: Mapping[str, Json]) -> None:
        standing = self._standing(proposal)
        state = reading(row, "proposal").one_of("result", ProposalState)
        self.proposals[proposal.branch] = replace(
            standing,
            state=state,
            change=proposal.change if proposal.change is not None else standing.change,
            why=proposal.reason,
            closed_by_us=state is ProposalState.CLOSED or (standing.closed_by_us and state is ProposalState.DROPPED),
        )

    def _standing(self, proposal: Proposal) -> Standing:
        standing = self.proposals.get(proposal.branch)
        if standing is None:
            raise InvalidValue(f"proposal {proposal.branch}: no intent in the log opened it")
        return standing

    def _forget(self, head: CommitId) -> None:
        """An ended head: its plans go, but for those of pull requests that are not over, or that were merged last.

        What became of a pull request stays known: a head may come back, and a person's no is for good.
        """
        newest = {s.proposal.target: s for s in self.proposals.values() if s.state is ProposalState.MERGED}
        needed = {s.proposal.plan for s in (*newest.values(), *self.live())}
        for digest in [d for d, plan in self.plans.items() if plan.head == head and d not in needed]:
            plan = self.plans.pop(digest)
            del self.plan_bases[digest]
            if self.newest_plan.get(at := (plan.pull_request, plan.target.name)) == digest:
                del self.newest_plan[at]
        if not any(plan.head == head for plan in self.plans.values()):
            for key in [key for key in self.people if key[1] == head]:
                del self.people[key]


def _id(read: Reader, body: Mapping[str, Json], key: str) -> int | None:
    return None if body.get(key) is None else read.integer(key)
