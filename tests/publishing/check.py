"""What must hold, told from outside: by what the world and the log's remote have, not by what the product says.

1. A pull request is opened only if an intent on the log's remote consumes enough good approvals of exactly its plan.
2. A marker is consumed by one intent at most.
3. A plan has one pull request; another one only after we closed it, with approvals of its own.
4. A branch of ours differs from its merge base in exactly the values of its plan, and is there only after its intent.
5. Nothing is opened for what had an obstacle when the last look began and has it still. The last look is everything
   from this process's first read after its last outside write (the push of the branch); the inventory is read once a
   pass, so there the pass is the window.
6. What a person closed is not opened again; what a person committed to is not pushed to.
7. At rest every intent has an outcome, the world is as `differences` says, and nothing more is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML

from state.entry import Kind
from state.git import CommitId, RefName
from tests.publishing import content, ledger, repository
from tests.publishing.content import BRANCHES, GIVEN, WANTED, Given, Wanted
from tests.publishing.world import GitOpsPullRequest, World

if TYPE_CHECKING:
    from tests.publishing.gate import Gate

THRESHOLD: Final = 2
CLOSING: Final = frozenset({"closed", "head", "base", "revoked", "tag", "plan", "expired"})
"""What closes a pull request that is open; the rest keeps one from being opened, and a merge leaves it."""


class Violation(Exception):
    """`rule` is one of the list above."""

    def __init__(self, rule: int, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


# --- when something is done


def pushed(world: World, branch: RefName, before: CommitId | None, commit: CommitId) -> None:
    wanted = _plan(branch)
    if before is not None and branch in world.took_over:
        raise Violation(6, f"{branch.short}: pushed over a person's commit")
    intents = [row for row, _ in _intents(world.remote, branch, {"open", "update"}) if row["commit"] == commit]
    if not intents:
        raise Violation(4, f"{branch.short}: pushed {commit} without an intent on the log's remote")
    if intents[-1]["step"] == "open":
        _approved(world, wanted, intents[-1])
    base = repository.merge_base(world.branches[content.TARGET.base], commit)
    exact(wanted, base, commit)


def opened(gate: Gate, branch: RefName) -> None:
    world, wanted = gate.world, _plan(branch)
    before = world.of_branch(branch)
    intents = list(_intents(world.remote, branch, {"open"}))
    if not intents:
        raise Violation(1, f"{branch.short}: opened without an intent on the log's remote")
    row, number = intents[-1]
    _approved(world, wanted, row)
    if row["commit"] not in repository.history(world.branches[branch]):
        raise Violation(1, f"{branch.short}: opened without the commit that the intent names")
    for one in before:
        if one.ended_by == "a person" or one.state == "merged":
            raise Violation(6, f"{branch.short}: opened again after a person's answer to #{one.number}")
        closes = [n for r, n in _intents(world.remote, branch, {"close"}) if r["change"] == one.number]
        if one.state == "open" or not closes or closes[-1] > number:
            raise Violation(3, f"{branch.short}: a second pull request beside #{one.number}, which is {one.state}")
    if wanted == WANTED:
        # What is off now and was off when this look began was there to be seen.
        stale = (gate.look or frozenset()) & world.obstacles() - {"plan"} - _not_of(row["approvals"])
        if stale:
            raise Violation(5, f"opened although {', '.join(sorted(stale))}")
        if gate.inventory.commit != content.INVENTORY.commit:
            raise Violation(5, "opened although its pins had moved when the pass began")


def _not_of(approvals: list[str]) -> frozenset[str]:
    """What concerns other approvals than these."""
    others = set()
    if content.SECOND.id not in approvals:
        others.add("revoked")
    if not any("alice" in GIVEN[m].people for m in approvals):
        others.add("pusher")
    return frozenset(others)


def closed(world: World, one: GitOpsPullRequest) -> None:
    if not any(row["change"] == one.number for row, _ in _intents(world.remote, one.branch, {"close"})):
        raise Violation(3, f"#{one.number} was closed without an intent on the log's remote")
    if not world.was_bad and not world.holds_pins():
        raise Violation(7, f"#{one.number} was closed although nothing ever stood in its way")


def _approved(world: World, wanted: Wanted, row: dict[str, Any]) -> None:
    given = [GIVEN[m] for m in row["approvals"]]
    logged = {e.entry.body["id"] for e in ledger.since(world.remote, lambda e: e.kind is Kind.MARKER)}
    people = frozenset[str]().union(*(g.people for g in given))
    if len(people) < THRESHOLD:
        raise Violation(1, f"{wanted.branch.short}: opened by the approval of {sorted(people)} alone")
    for one in given:
        if one.plan != wanted.digest:
            raise Violation(1, f"{wanted.branch.short}: opened by an approval of another plan")
        if one.id not in logged:
            raise Violation(1, f"{wanted.branch.short}: opened by an approval that the log does not have")
        if one.not_after + content.SKEW_S < content.TODAY:
            raise Violation(1, f"{wanted.branch.short}: opened by an approval that had ended")


def _plan(branch: RefName) -> Wanted:
    if branch not in BRANCHES:
        raise Violation(4, f"{branch.short} is the branch of no plan")
    return BRANCHES[branch]


# --- at rest


def at_rest(world: World) -> None:
    """Raise Violation 2 or 7 unless log and world are as they should be when nothing more is to be done."""
    tip = world.remote
    consumed = Counter(m for row, _ in _rows(tip, {"open"}) for m in row["approvals"])
    if twice := [m for m, n in consumed.items() if n > 1]:
        raise Violation(2, f"{twice} consumed twice")
    ended = {e.entry.body["intent"] for e in ledger.since(tip, lambda e: e.kind is Kind.OUTCOME)}
    for logged in ledger.since(tip, lambda e: e.kind is Kind.INTENT):
        if logged.id not in ended:
            raise Violation(7, f"the intent {logged.entry.sequence} has no outcome")
    for branch in world.branches:
        if branch in BRANCHES and branch not in world.took_over:
            commit = world.branches[branch]
            exact(_plan(branch), repository.merge_base(world.branches[content.TARGET.base], commit), commit)
    if wrong := differences(world):
        raise Violation(7, f"at rest {'; '.join(wrong)}")


def differences(world: World) -> list[str]:
    """The oracle: which GitOps pull requests are open, by the final facts and by what people did."""
    now_open = [c.branch for c in world.changes.values() if c.state == "open" and c.branch not in world.took_over]
    ours = world.of_branch(WANTED.branch)
    wrong = [f"{b.short} is open, and was never approved" for b in now_open if b != WANTED.branch]
    against = world.against() | ({"tag"} if _quarantined(world) else set())  # until a person accepts it
    if content.AGAIN[0].raw in world.posted:
        against -= {"revoked", "pusher"}  # others have approved since
    over = any(c.state == "merged" or c.ended_by == "a person" for c in ours) or WANTED.branch in world.took_over
    if over or world.holds_pins() or against & CLOSING:
        expected = {0}
    elif against or world.was_bad:
        expected = {0, 1}  # it depends on when that was: approvals that were consumed are not given back
    else:
        expected = {1}
    if (count := now_open.count(WANTED.branch)) not in expected:
        why = f"against it: {sorted(against)}, before: {sorted(world.was_bad)}"
        wrong.append(f"{count} pull requests of the approved plan are open, expected {sorted(expected)} ({why})")
    if WANTED.branch in now_open:
        base = world.branches[content.TARGET.base]
        if repository.merged(base, world.branches[WANTED.branch]) is None:
            wrong.append("its branch does not merge")
    return wrong


def may_be_given_again(world: World) -> bool:
    """Whether fresh approvals would have to lead to a pull request: all is well, and only consumed ones are missing."""
    ours = world.of_branch(WANTED.branch)
    over = any(c.state != "closed" or c.ended_by == "a person" for c in ours) or WANTED.branch in world.took_over
    return not (over or world.holds_pins() or world.against() - {"revoked"} or _quarantined(world))


def _quarantined(world: World) -> bool:
    return any(ledger.since(world.remote, lambda e: e.kind is Kind.QUARANTINE))


# --- the log's remote


def _rows(tip: CommitId | None, steps: set[str]) -> Iterator[tuple[dict[str, Any], int]]:
    """The proposals of every intent with one of these steps, with the intent's sequence number, oldest first."""
    for logged in ledger.since(tip, lambda e: e.kind is Kind.INTENT):
        rows: Any = logged.entry.body["proposals"]
        for row in rows:
            if row["step"] in steps:
                yield row, logged.entry.sequence


def _intents(tip: CommitId | None, branch: RefName, steps: set[str]) -> Iterator[tuple[dict[str, Any], int]]:
    return ((row, n) for row, n in _rows(tip, steps) if row["branch"] == branch)


# --- files


def exact(wanted: Wanted, base: CommitId, commit: CommitId) -> None:
    """Raise Violation 4 unless the commit is its merge base with exactly the plan's values."""
    before, after = repository.tree(base), repository.tree(commit)
    if before.keys() != after.keys():
        raise Violation(4, f"{wanted.branch.short}: files came or went")
    for path in before:
        expected = dict(values(before[path]))
        expected.update({at: value for (file, at), value in wanted.values.items() if file == path})
        if values(after[path]) != expected:
            raise Violation(4, f"{wanted.branch.short}: {path} is not its base with the plan's values")
        lines = [len(raw.split(b"\n")) for raw in (before[path], after[path])]
        if lines[0] != lines[1] or before[path].count(b"#") != after[path].count(b"#"):
            raise Violation(4, f"{wanted.branch.short}: {path} lost lines or comments")


@cache
def values(raw: bytes) -> dict[tuple[str, ...], str]:
    """Every scalar of a YAML file by its path."""
    found: dict[tuple[str, ...], str] = {}

    def walk(value: object, at: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for name, below in value.items():
                walk(below, (*at, name))
        else:
            found[at] = str(value)

    walk(YAML(typ="safe").load(raw), ())
    return found


__all__ = [
    "Given", "Violation", "at_rest", "closed", "differences", "exact", "may_be_given_again", "opened", "pushed",
]  # fmt: skip
