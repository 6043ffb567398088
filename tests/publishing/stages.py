"""The stages of the matrix: what is struck where. Each raises `Failed` at the first run that breaks a rule.

Between two calls of a process nothing outside can tell time, so an event after the effect of one call is the event
before the next one; only answers that are lost differ, and crashes are made on both sides to show that they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from tests.publishing import content, events
from tests.publishing.gate import Side, Strike, crash, no_answer
from tests.publishing.matrix import HOSTS, Left, Matrix, Ran, beginning, live
from tests.publishing.world import World

WRITES: Final = frozenset({"log.append intent", "log.append outcome", "log.push", "gitops.push", "changes.open"})


class Scope(NamedTuple):
    """How much of the matrix is run. `far` is after how many calls what moved comes back; None for every later one."""

    far: Sequence[int] | None
    hosts: tuple[str, ...]
    crashes: int | None
    """How many crashes of one publish at most; None for any number."""
    events: tuple[str, ...] = tuple(events.EVENTS)
    every: int = 1
    """Each event before one call in so many; before each call there is one event or another."""

    def struck(self, number: int, calls: int) -> range:
        """Before which calls the event of this number happens."""
        return range(number % self.every, calls, self.every)


IN_TEST: Final = Scope((1, 8), HOSTS, crashes=2)
IN_SHORT: Final = IN_TEST._replace(every=8)
IN_SOAK: Final = Scope(None, HOSTS, crashes=None)


def whole(matrix: Matrix) -> Ran:
    """A publish from the first call to the pass that changes nothing."""
    return matrix.run("no fault", beginning(), "here")


def single_crashes(matrix: Matrix, _: Scope) -> None:
    """On either side of every call; then fresh processes on the same host, or on another one."""
    recorded = {left.at: left.world for left in whole(matrix).left}
    names = whole(matrix).names
    for at, name in enumerate(names):
        for side in Side:
            run = f"crash {side} call {at}, {name}"
            ended = matrix.run(run, beginning(), "here", Strike(at, side, crash)).world
            upto = at + (side is Side.AFTER)
            same = recorded[max(n for n in recorded if n <= upto)]
            assert ended.key() == same.key(), f"{run}: left another world than the one that was recorded there"
            matrix.settle(ended, run, HOSTS, again=True)


def crashes_however_many(matrix: Matrix, scope: Scope) -> None:
    """Every world that any number of crashes, on either host, can leave: pairs are those after the first two."""
    close(matrix, [(f"crash at call {left.at}", left) for left in whole(matrix).left], scope.crashes)


def close(matrix: Matrix, found: list[tuple[str, Left]], deepest: int | None = None) -> None:
    rounds = 0
    while found and (deepest is None or rounds < deepest):
        rounds += 1
        later = []
        for run, left in found:
            more = matrix.settle(left.world, run, HOSTS)
            later += [(f"{run}, crash at call {next_.at}", next_) for next_ in more]
        found = later


def events_at_each_call(matrix: Matrix, scope: Scope) -> None:
    """One event; and the process may die at every later call."""
    calls = len(whole(matrix).names)
    for number, name in enumerate(scope.events):
        for at in scope.struck(number, calls):
            run = f"{name} before call {at}"
            ran = matrix.run(run, beginning(), "here", Strike(at, Side.BEFORE, events.EVENTS[name]))
            matrix.settle(ran.world, run, scope.hosts, again=True)
            for left in ran.left:
                if left.at > at:  # before it, nothing was different
                    matrix.settle(left.world, f"{run}, crash at call {left.at}", scope.hosts)


def events_while_no_process_lives(matrix: Matrix, scope: Scope) -> None:
    """A crash, then the event, then a fresh process."""
    found = whole(matrix).left
    for number, name in enumerate(scope.events):
        for left in (found[at] for at in scope.struck(number, len(found))):
            world = left.world.copy()
            events.EVENTS[name](world)
            world.note()
            matrix.settle(world, f"crash at call {left.at}, then {name}", HOSTS, again=True)


def moved_and_back(matrix: Matrix, scope: Scope) -> None:
    """What moved is again as it was, some calls later, or at rest."""
    calls = len(whole(matrix).names)
    for number, name in enumerate(n for n in events.COMES_BACK if n in scope.events):
        event = Strike(0, Side.BEFORE, events.EVENTS[name])
        for at in scope.struck(number, calls):
            there = event._replace(at=at)
            for later in range(at + 1, calls) if scope.far is None else [at + far for far in scope.far]:
                run = f"{name} before call {at}, and back before call {later}"
                ran = matrix.run(run, beginning(), "here", there, Strike(later, Side.BEFORE, events.back))
                matrix.settle(ran.world, run, scope.hosts, again=True)
            ran = matrix.run(f"{name} before call {at}", beginning(), "here", there)
            events.back(ran.world)
            matrix.settle(ran.world, f"{name} before call {at}, and back at rest", scope.hosts, again=True)


def opened_again(matrix: Matrix, scope: Scope) -> None:
    """Closed because the head moved, back, the base moved meanwhile, approved anew: its branch is there already."""
    world = matrix.run("no fault", beginning(), "here").world
    for event in (events.EVENTS["head moves"], events.back, events.EVENTS["base moves in conflict"]):
        event(world)
        world.note()
        world = matrix.run("the way to a second publish", world, "here").world
    world.post(*(g.raw for g in content.AGAIN))
    found = matrix.settle(world, "a second publish", HOSTS)
    close(matrix, [(f"a second publish, crash at call {left.at}", left) for left in found], deepest=1)


def answers_that_do_not_come(matrix: Matrix, scope: Scope) -> None:
    """The call had no effect, or it had one that is not told."""
    for at, name in enumerate(whole(matrix).names):
        for side in Side:
            run = f"no answer to call {at}, {name}, {side} its effect"
            ran = matrix.run(run, beginning(), "here", Strike(at, side, no_answer))
            for left in (*ran.left, Left(len(ran.names), ran.world)):
                matrix.settle(left.world, run, scope.hosts, again=True)


def events_after_an_answer_that_did_not_come(matrix: Matrix, scope: Scope) -> None:
    """The process lives on without knowing whether it wrote, and the world moves."""
    names = whole(matrix).names
    for at, name in enumerate(names):
        if name not in WRITES:
            continue
        lost = Strike(at, Side.AFTER, no_answer)
        for event in scope.events:
            act = events.EVENTS[event]
            for later in range(at + 1, len(names)) if scope.far is None else (at + 1, at + 2):
                run = f"no answer to call {at}, {name}, and {event} before call {later}"
                ran = matrix.run(run, beginning(), "here", lost, Strike(later, Side.BEFORE, act))
                matrix.settle(ran.world, run, scope.hosts)


def another_writer(matrix: Matrix, scope: Scope) -> None:
    """A whole pass of another process at every call: on another host, or on this one after its lock was lost."""
    for host in HOSTS:
        for at, name in enumerate(whole(matrix).names):
            run = f"another writer on host {host} before call {at}, {name}"
            other = partial(_another, host=host)
            ran = matrix.run(run, beginning(), "here", Strike(at, Side.BEFORE, other))
            matrix.settle(ran.world, run, HOSTS, again=True)
            for left in ran.left:
                matrix.settle(left.world, f"{run}, crash at call {left.at}", HOSTS)


def _another(world: World, host: str) -> None:
    live(world, host, passes=1)


STAGES: Final[Mapping[str, Callable[[Matrix, Scope], None]]] = {
    stage.__name__.replace("_", " "): stage
    for stage in (
        single_crashes,
        crashes_however_many,
        opened_again,
        events_while_no_process_lives,
        answers_that_do_not_come,
        events_after_an_answer_that_did_not_come,
        another_writer,
        events_at_each_call,
        moved_and_back,
    )
}
