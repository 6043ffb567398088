"""What the operator's log says of lane proposals: the bodies of its entries, and what they add up to (pure).

* intent     `lane_proposals`: the one step that is taken next
* outcome    `lane_proposals` with what became of it, and the `intent` it closes; without one: what was found to be so
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from state.canonical import Json, reading, texts
from state.entry import Entry, Kind
from state.errors import InvalidValue
from state.git import CommitId, RefName


class Step(StrEnum):
    """What is done with a pull request of the lane."""

    OPEN = "open"
    """Push its branch, and open it where it is not open."""
    CLOSE = "close"


class State(StrEnum):
    """Where a pull request of the lane stands."""

    INTENDED = "intended"
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    """We closed it: another rendering took its place."""
    DECLINED = "declined"
    """A person closed it."""
    HANDS_OFF = "hands-off"
    """A commit that is not ours is on its branch."""
    DROPPED = "dropped"
    """The process ended, or the forge refused, before it was open."""


class Proposal(NamedTuple):
    """One step, as an intent names it before it is taken."""

    step: Step
    branch: RefName
    base: RefName
    """The GitOps branch that it is for."""
    by: str
    """The account that started it."""
    commit: CommitId | None = None
    """What the branch is to be at; None for a close."""
    parents: tuple[CommitId, ...] = ()
    change: int | None = None
    """The number of the pull request, where it is known."""
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        return {
            "base": self.base,
            "branch": self.branch,
            "by": self.by,
            "change": self.change,
            "commit": self.commit,
            "parents": texts(self.parents),
            "reason": self.reason,
            "step": self.step.value,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Proposal:
        read = reading(value, "lane proposal")
        commit = read.text_or_none("commit")
        return cls(
            step=read.one_of("step", Step),
            branch=RefName(read.text("branch")),
            base=RefName(read.text("base")),
            by=read.text("by"),
            commit=None if commit is None else CommitId(commit),
            parents=tuple(CommitId(p) for p in read.texts("parents")),
            change=None if value.get("change") is None else read.integer("change"),
            reason=read.text("reason"),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one branch of ours. `commits` are ours on it, oldest first."""

    proposal: Proposal
    """The newest step with it."""
    state: State
    commits: tuple[CommitId, ...]
    change: int | None = None
    closed_by_us: bool = False
    """Whether `change` was closed by us, so that it counts as no person's no."""


class Proposals:
    """The fold over the operator's entries. `apply` every entry once, in order; those of other commands are passed
    over. Raises InvalidValue where a body is not of its kind."""

    def __init__(self) -> None:
        self.standing: dict[RefName, Standing] = {}
        self.open_intents: dict[CommitId, Proposal] = {}

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        if "lane_proposals" not in entry.body:
            return
        body = reading(entry.body, f"{entry.kind.value} entry {entry.sequence}")
        rows = body.objects("lane_proposals")
        match entry.kind:
            case Kind.INTENT:
                for row in rows:
                    self._intend(entry_id, Proposal.from_json(row))
            case Kind.OUTCOME:
                intent = body.text_or_none("intent")
                if intent is not None:
                    self.open_intents.pop(CommitId(intent), None)
                for row in rows:
                    self._conclude(Proposal.from_json(row), reading(row, "lane proposal").one_of("result", State))
            case _:
                pass

    def _intend(self, entry_id: CommitId, proposal: Proposal) -> None:
        self.open_intents[entry_id] = proposal
        if proposal.step is Step.CLOSE:
            return
        if proposal.commit is None:
            raise InvalidValue(f"lane proposal {proposal.branch}: an open without a commit")
        before = self.standing.get(proposal.branch)
        # The commit counts as ours from here on: whether it was pushed is seen on the branch.
        self.standing[proposal.branch] = Standing(
            proposal,
            State.INTENDED,
            (*(before.commits if before is not None else ()), proposal.commit),
            before.change if before is not None else None,
            before is not None and before.closed_by_us,
        )

    def _conclude(self, proposal: Proposal, state: State) -> None:
        before = self.standing.get(proposal.branch)
        if before is None:
            raise InvalidValue(f"lane proposal {proposal.branch}: no intent in the log opened it")
        self.standing[proposal.branch] = replace(
            before,
            proposal=proposal,
            state=state,
            change=proposal.change if proposal.change is not None else before.change,
            closed_by_us=state is State.CLOSED or (before.closed_by_us and state is State.DROPPED),
        )


def intent_body(proposal: Proposal) -> dict[str, Json]:
    return {"lane_proposals": [proposal.to_json()]}


def outcome_body(intent: CommitId | None, proposal: Proposal, result: State) -> dict[str, Json]:
    return {"intent": intent, "lane_proposals": [{**proposal.to_json(), "result": result.value}]}
