"""The request budget of a forge, measured: what each question costs, and what an hour of polling adds up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from reconciler.adapters.forge_client import Budget
from reconciler.code_forge import opened
from reconciler.ports import Clock, Random
from reconciler.settings import RepositorySettings, Settings
from state.errors import Terminal

UNCOUNTED: Final[Mapping[str, frozenset[str]]] = {"github": frozenset({"304"})}
"""Answers that cost no quota, by kind of forge. Source: docs.github.com, "Best practices for using the REST API"."""


class Cost(NamedTuple):
    """One question: `requests` sent, of which `counted` against the quota."""

    question: str
    requests: int
    counted: int


class ForgeBudget(NamedTuple):
    """What was measured. Rates are requests an hour that count, at the configured poll interval."""

    repository: str
    pull_requests: int
    costs: tuple[Cost, ...]
    idle_per_hour: int
    """Every pass finds the listing unchanged."""
    busy_per_hour: int
    """Every pass finds every page changed, and reads one pull request again before a write."""
    granted: Budget | None
    """None where the forge names no limit."""

    @property
    def fits(self) -> bool:
        """Whether a busy hour stays within what the forge grants."""
        return self.granted is None or self.busy_per_hour <= self.granted.limit * (3600 // self.granted.period_s)


class _Counted:
    """Metrics that only count requests to the forge."""

    def __init__(self, uncounted: frozenset[str]) -> None:
        self._uncounted = uncounted
        self.requests = 0
        self.counted = 0

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        if name == "forge_requests":
            self.requests += int(by)
            self.counted += int(by) if labels["status"] not in self._uncounted else 0

    def gauge(self, name: str, value: float, **labels: str) -> None:
        pass

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        pass

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:  # noqa: ARG002 - the port
        yield


def measured(settings: Settings, repository: RepositorySettings, clock: Clock, random: Random) -> ForgeBudget:
    """Ask the forge what a pass asks it. Only reads. Raises what `code_forge.opened` and a listing raise."""
    seen = _Counted(UNCOUNTED.get(repository.forge.kind, frozenset()))

    def cost(question: str, ask: Callable[[], object]) -> Cost:
        before = seen.requests, seen.counted
        ask()
        return Cost(question, seen.requests - before[0], seen.counted - before[1])

    with opened(settings, repository, clock=clock, random=random, metrics=seen) as forge:
        listing = forge.reader.open_pull_requests()
        if not listing.complete:
            raise Terminal(f"{forge.identity.name}: the listing is not complete, so that its cost says nothing")
        start = Cost("the first listing after a start", seen.requests, seen.counted)
        again = cost("a listing that has not changed", forge.reader.open_pull_requests)
        number = listing.pull_requests[0].number if listing.pull_requests else 1
        check = cost("one pull request, before a write", lambda: forge.reader.pull_request(number))
        witness = cost("its head by git, the second witness", lambda: forge.reader.head_of(number))
        granted = None if forge.client is None else forge.client.budget
        name = forge.identity.name
    passes = 3600 // settings.poll_interval_s
    return ForgeBudget(
        repository=name,
        pull_requests=len(listing.pull_requests),
        costs=(start, again, check, witness),
        idle_per_hour=passes * again.counted,
        busy_per_hour=passes * (start.counted + check.counted),
        granted=granted,
    )
