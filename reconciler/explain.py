"""Why one cell of the matrix is what it is: the chain of log entries that led there, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from reconciler.matrix import Cell
from state.canonical import Json, reading
from state.decision import AwaitBuild, Decision, RetagFrom, Unresolved
from state.entry import Entry, Kind
from state.git import CommitId
from state.history import Trace
from state.hold import REMEDY, Reason
from state.oci import Repository
from state.quarantine import Acceptance, Breach
from state.writes import Result, Write


class About(Protocol):
    """What a step is told of: a head of a pull request, and one image of it, or None for the head as a whole."""

    @property
    def pr(self) -> int: ...
    @property
    def head(self) -> CommitId: ...
    @property
    def image(self) -> Repository | None: ...


class Step(NamedTuple):
    """One entry of the chain, in words."""

    at: str
    entry: CommitId
    kind: Kind
    text: str

    def to_json(self) -> dict[str, Json]:
        return {"at": self.at, "entry": self.entry, "kind": self.kind.value, "text": self.text}


class Explanation(NamedTuple):
    """A cell, the entries that led to it, and what a person can do where it is held."""

    cell: Cell
    steps: tuple[Step, ...]
    remedy: str | None

    def to_json(self) -> dict[str, Json]:
        return {**self.cell.to_json(), "remedy": self.remedy, "steps": [s.to_json() for s in self.steps]}


class Traces(Protocol):
    """Which entries speak of a cell (`state.history.History`)."""

    @property
    def seen_in(self) -> Mapping[int, CommitId]: ...

    @property
    def traces(self) -> Mapping[CommitId, Trace]: ...


def explain(cell: Cell, history: Traces, read: Callable[[CommitId], Entry]) -> Explanation:
    """The causal chain of `cell`: observed, decided, intended, done. `read` gives an entry of the log by its id."""
    ids: list[CommitId] = []
    if (seen := history.seen_in.get(cell.pr)) is not None:
        ids.append(seen)
    if (trace := history.traces.get(cell.head)) is not None:
        ids += [*trace.decision, *(entry for _, entry in trace.writes)]
    steps = [step_of(entry_id, read(entry_id), cell) for entry_id in dict.fromkeys(ids)]
    reason = next((r for r in Reason if r.value == cell.reason), None)
    found = [s for s in steps if s is not None]
    return Explanation(cell, tuple(found), REMEDY[reason] if reason is not None else None)


def step_of(entry_id: CommitId, entry: Entry, cell: About) -> Step | None:
    """What an entry says of `cell`, in words; None if it says nothing of it."""
    text: str | None = None
    match entry.kind:
        case Kind.OBSERVATION:
            text = (
                f"pull request {cell.pr} was seen as it is now; the pass made plan {str(entry.body.get('plan'))[:19]}"
            )
        case Kind.DECISION:
            text = _decided(entry.body, cell)
        case Kind.INTENT | Kind.OUTCOME:
            text = _written(entry.kind, entry.body, cell)
        case Kind.QUARANTINE:
            text = _quarantined(entry.body, cell)
        case _:
            pass
    return Step(entry.at, entry_id, entry.kind, text) if text is not None else None


def _decided(body: Mapping[str, Json], cell: About) -> str | None:
    if "bases" not in body:
        return _resolved(body, cell)
    decision = Decision.from_json(body)
    if cell.image is None:
        return "the head was decided"
    wanted = decision.images.get(cell.image)
    why = []
    for record in decision.changes:
        for image in record.images:
            if image.repository == cell.image:
                inputs = f" ({', '.join(image.inputs)})" if image.inputs else ""
                why.append(f"{image.why.value}{inputs} against {record.base[:12]}")
    return f"{_shall(wanted)}: {'; '.join(why) or 'not compared'}; policy {decision.policy.short}"


def _resolved(body: Mapping[str, Json], cell: About) -> str | None:
    images = body.get("images")
    for row in images if isinstance(images, list) else ():
        if isinstance(row, dict) and row.get("repository") == cell.image:
            return f"what was unresolved is decided: {row.get('do')} {row.get('digest') or ''}".rstrip()
    return None


def _quarantined(body: Mapping[str, Json], cell: About) -> str | None:
    if "accepted" in body:
        accepted = Acceptance.from_json(reading(body, "quarantine").object("accepted"))
        return f"accepted as it is by {accepted.by}: {accepted.reason}"
    rows = [Breach.from_json(row) for row in reading(body, "quarantine").objects("breaches")]
    own = next((row for row in rows if row.repository == cell.image), None)
    return f"the tag was found otherwise: {own}" if own is not None else "the head was quarantined"


def _shall(wanted: RetagFrom | AwaitBuild | Unresolved | None) -> str:
    match wanted:
        case RetagFrom(baseline, _):
            return f"decided to retag {baseline}"
        case AwaitBuild():
            return "decided to wait for CI's build of this head"
        case Unresolved(reason):
            return f"left unresolved ({reason.value})"
        case None:
            return "not part of the decision"


def _written(kind: Kind, body: Mapping[str, Json], cell: About) -> str | None:
    rows = body.get("writes")
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        write = Write.from_json(row)
        if (write.repository, write.head) != (cell.image, cell.head):
            continue
        if kind is Kind.INTENT:
            return f"about to write {write.repository}:{write.head} = {write.digest}"
        result = _RESULTS[reading(row, "write").one_of("result", Result)]
        return f"{result} {write.digest}{'' if write.proven else ', unproven'}"
    return None


_RESULTS: Mapping[Result, str] = {
    Result.WRITTEN: "written and confirmed by the registry:",
    Result.ADOPTED: "found in place and adopted:",
    Result.FAILED: "the registry refused to write",
    Result.UNCERTAIN: "no answer came to writing",
    Result.CONFLICT: "another digest was found instead of",
    Result.DROPPED: "a stop came before writing",
}


def pick(cells: tuple[Cell, ...], pr: int, component: str) -> Cell | None:
    """The cell of a pull request and component, or the one that holds the whole head; None if there is neither.

    What holds the head's release set is of one image, and no answer about a component that is not there.
    """
    rows = [c for c in cells if c.pr == pr and not c.of_release_set]
    exact = next((c for c in rows if c.component == component), None)
    return exact or next((c for c in rows if c.component is None), None)
