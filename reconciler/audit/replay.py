"""Whether the plans of the past come out again: each recorded pass is planned once more from what the log holds (pure).

A pass is recorded as an observation: the parts of its snapshot that had changed, and the digest of its plan. Parts and
history up to that entry give the snapshot back (`state.parts.join`), the planner gives the plan, and equal digests mean
the same plan byte for byte (design invariant 12). The plan itself is not in the log. What differs is told from what was
carried out: the entries up to the next observation say what the plan of then was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.planner import plan
from state import canonical
from state.canonical import Json, reading
from state.entry import Entry, Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId
from state.history import History
from state.observed import Snapshot
from state.oci import Digest
from state.parts import join
from state.plan import (
    PLANNER_VERSION,
    Action,
    Adopt,
    EndHead,
    PinDecision,
    Plan,
    QuarantineHead,
    Release,
    ResolveDecision,
    Retag,
)


class Pass(NamedTuple):
    """A recorded pass as the log gives it back."""

    entry: CommitId
    at: str
    sequence: int
    pass_id: str
    planner_version: int
    plan: Digest
    """Of the plan that was made then."""
    holds: Digest
    seen: Snapshot | None
    """None where another version of the planner recorded it in a form that this program does not read."""


class Replayed(NamedTuple):
    """A recorded pass and the plan that this program makes of it."""

    was: Pass
    made: Plan | None
    """None where the pass cannot be read by this version."""
    differences: tuple[str, ...] = ()
    """In words; empty if the plan is the same byte for byte."""

    @property
    def same(self) -> bool:
        return self.made is not None and self.made.digest() == self.was.plan

    @property
    def comparable(self) -> bool:
        """Whether it was planned by the same version, so that it has to be the same."""
        return self.was.planner_version == PLANNER_VERSION

    def to_json(self) -> dict[str, Json]:
        return {
            "at": self.was.at,
            "differences": canonical.texts(self.differences),
            "entry": self.was.entry,
            "pass": self.was.pass_id,
            "plan": self.was.plan,
            "planner_version": self.was.planner_version,
            "replayed": self.made.digest() if self.made is not None else None,
            "same": self.same,
            "sequence": self.was.sequence,
        }


def passes(
    entries: Iterable[Logged], blob: Callable[[str], bytes], history: History | None = None
) -> Iterator[Pass | Logged]:
    """Every recorded pass, and every other entry as it is, oldest first.

    Args:
        blob: gives the bytes of a blob of the log.
        history: an empty one, in which each entry counts by the time that it is given; None keeps one apart.

    Raises InvalidValue where an entry, or what it recorded, is not of its kind; IntegrityError where a blob is gone.
    """
    history = history if history is not None else History()
    for logged in entries:
        history.apply(logged.id, logged.entry)
        if logged.entry.kind is not Kind.OBSERVATION:
            yield logged
            continue
        body = reading(logged.entry.body, f"observation {logged.entry.sequence}")
        try:
            seen = join({name: blob(oid) for name, oid in history.parts.items()}, history)
        except InvalidValue:
            if body.integer("planner_version") == PLANNER_VERSION:
                raise
            seen = None
        yield Pass(
            logged.id,
            logged.entry.at,
            logged.entry.sequence,
            body.text("pass"),
            body.integer("planner_version"),
            Digest(body.text("plan")),
            Digest(body.text("holds")),
            seen,
        )


def replay(entries: Iterable[Logged], blob: Callable[[str], bytes]) -> Iterator[Replayed]:
    """Plan each recorded pass again, oldest first. Raises as `passes`."""
    waiting: Replayed | None = None
    done: dict[str, None] = {}
    for found in passes(entries, blob):
        if isinstance(found, Pass):
            if waiting is not None:
                yield _compared(waiting, done)
            waiting, done = Replayed(found, plan(found.seen) if found.seen is not None else None), {}
        elif waiting is not None and not waiting.same:
            done.update(dict.fromkeys(_carried_out(found.entry)))
    if waiting is not None:
        yield _compared(waiting, done)


def _compared(found: Replayed, done: Mapping[str, None]) -> Replayed:
    if found.same:
        return found
    if found.made is None:
        return found._replace(differences=("recorded in a form that this version does not read",))
    planned = dict.fromkeys(_action(a) for a in found.made.actions)
    lines = [f"the log has, and this plan has not: {what}" for what in done if what not in planned]
    lines += [f"this plan has, and the log has not: {what}" for what in planned if what not in done]
    holds = canonical.digest(found.made.to_json()["holds"])
    if holds != found.was.holds:
        lines.append(f"the holds differ: their digest was {found.was.holds.short}, and is {holds.short}")
    if not lines:
        lines.append("the same was carried out; what the plan says of it, or what was given up later, differs")
    return found._replace(differences=tuple(lines))


def _action(action: Action) -> str:
    match action:
        case PinDecision(decision):
            return f"decide {decision.head}"
        case ResolveDecision(head=head):
            return f"decide {head}"
        case Retag(repository, head, baseline, _):
            return f"write {repository}:{head} = {baseline}"
        case Adopt(repository=repository, head=head, digest=digest):
            return f"adopt {repository}:{head} = {digest}"
        case QuarantineHead(head=head):
            return f"quarantine {head}"
        case Release(head, _):
            return f"release {head}"
        case EndHead(head, _):
            return f"end {head}"


def _carried_out(entry: Entry) -> Iterator[str]:
    """What an entry after an observation says was begun or done by its plan, in the words of `_action`."""
    body = reading(entry.body, f"{entry.kind.value} {entry.sequence}")
    match entry.kind:
        case Kind.DECISION:
            yield f"decide {body.text('head')}"
        case Kind.TOMBSTONE:
            yield f"end {body.text('head')}"
        case Kind.QUARANTINE if "accepted" not in entry.body:
            yield f"quarantine {body.text('head')}"
        case Kind.INTENT | Kind.OUTCOME if "proposals" not in entry.body:
            adopted = entry.kind is Kind.OUTCOME and entry.body.get("intent") is None
            if adopted or entry.kind is Kind.INTENT:
                for row in body.objects("writes"):
                    read = reading(row, "write")
                    verb = "adopt" if adopted else "write"
                    yield f"{verb} {read.text('repository')}:{read.text('head')} = {read.text('digest')}"
            for row in body.objects("publications") if "publications" in entry.body else ():
                yield f"release {reading(row, 'publication').text('head')}"
        case _:
            pass


def refuse_other_roles(branch: str) -> None:
    """Raise InvalidValue unless the log is a reconciler's: only that has passes."""
    if not branch.endswith("/reconciler"):
        raise InvalidValue(f"{branch}: holds no passes; name the log of the role reconciler with --branch")
