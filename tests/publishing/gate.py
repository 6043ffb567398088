"""Where a process meets the outside: every call passes here, is counted, and may be struck on either side."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, TypeVar

from state.errors import Unavailable
from state.git import CommitId, RefName
from tests.publishing import check
from tests.publishing.world import GitOpsPullRequest, World

T = TypeVar("T")


class Crash(BaseException):
    """The process ends here and now: no handler of its own sees it."""


class Side(StrEnum):
    BEFORE = "before"
    """The call was made, and has had no effect yet."""
    AFTER = "after"
    """It has had its effect, and the answer has not come."""


class Strike(NamedTuple):
    """What happens at one side of one call of a process. `act` may raise Crash or Unavailable, or change the world."""

    at: int
    side: Side
    act: Callable[[World], None]


class Gate:
    """The calls of one process, numbered from 0."""

    def __init__(self, world: World, strikes: tuple[Strike, ...] = (), watch: Callable[[int], None] | None = None):
        self.world = world
        self.count = 0
        self.names: list[str] = []
        self.wrote = 0
        """How many calls asked for a change outside."""
        self.look: frozenset[str] | None = None
        """What stood in the way when this process began its last look: its first read after its last write."""
        self.inventory = world.inventory
        """As this process read it last."""
        self._strikes = strikes
        self._watch = watch

    def read(self, name: str, effect: Callable[[World], T]) -> T:
        number = self._enter(name)
        if self.look is None:
            self.look = self.world.obstacles()
        made = effect(self.world)
        self._strike(number, Side.AFTER)
        return made

    def write(self, name: str, effect: Callable[[], T], *, outside: bool = True, asks_again: bool = False) -> T:
        """`outside` is False for what stays on this host; `asks_again` where a lost answer is asked for again."""
        number = self._enter(name)
        made = effect()
        if outside:
            self.wrote += 1
            self.look = None
        try:
            self._strike(number, Side.AFTER)
        except Unavailable:
            if not asks_again:
                raise
        return made

    # --- what is done to the GitOps repository is judged

    def pushed(self, branch: RefName, before: CommitId | None, commit: CommitId) -> None:
        check.pushed(self.world, branch, before, commit)

    def opened(self, branch: RefName, text: str) -> None:
        del text
        check.opened(self, branch)

    def closed(self, one: GitOpsPullRequest) -> None:
        check.closed(self.world, one)

    def _enter(self, name: str) -> int:
        number = self.count
        if self._watch is not None:
            self._watch(number)
        self.count += 1
        self.names.append(name)
        self._strike(number, Side.BEFORE)
        return number

    def _strike(self, number: int, side: Side) -> None:
        for strike in self._strikes:
            if (strike.at, strike.side) == (number, side):
                strike.act(self.world)
                self.world.note()


def crash(_: World) -> None:
    raise Crash


def no_answer(_: World) -> None:
    raise Unavailable("the other side does not answer")
