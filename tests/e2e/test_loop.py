"""The loop over a real repository: pauses, hints, and errors after which a process must not go on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from reconciler.adapters.clock import SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import to_stream
from reconciler.loop import Condition, Loop
from reconciler.passes import PassReport
from state.entry import Kind
from state.errors import Denied, Fenced, LedgerMoved, ReconcilerError, Unavailable
from tests.fixtures.shop import DOCS, Ports, Running, Shop, Wrap


class Looping:
    """A loop over one shop, stepped by hand."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.reports: list[PassReport] = []
        self._lines = io.StringIO()
        self.loop = Loop(
            [running.repository],
            lambda _name: running.rules(),
            running.clock,
            SystemRandom(),
            emit=to_stream(self._lines, running.clock, human=False),
            metrics=PrometheusMetrics(),
            on_report=lambda _name, report: self.reports.append(report),
        )

    @property
    def standing(self) -> tuple[Condition, str]:
        found = self.loop.standing()["shop"]
        return found.condition, found.why

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self._lines.getvalue().splitlines()]


@contextmanager
def looping(shop: Shop, wrap: Wrap = lambda ports: ports) -> Iterator[Looping]:
    with shop.reconciler(wrap) as running:
        yield Looping(running)


class Failing:
    """A port that raises instead of one method, while it has errors left."""

    def __init__(self, port: Any, method: str, *errors: ReconcilerError) -> None:
        self._port = port
        self._method = method
        self._errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._errors:
            return self._raise
        return getattr(self._port, name)

    def _raise(self, *_: object, **__: object) -> None:
        raise self._errors.pop(0)


def failing_forge(*errors: ReconcilerError) -> Callable[[Ports], Ports]:
    def wrap(ports: Ports) -> Ports:
        forge = Failing(ports.sources.forge, "open_pull_requests", *errors)
        return Ports(replace(ports.sources, forge=forge), ports.writer, ports.log)

    return wrap


def failing_log(method: str, *errors: ReconcilerError) -> Callable[[Ports], Ports]:
    return lambda ports: Ports(ports.sources, ports.writer, Failing(ports.log, method, *errors))


def test_work_that_is_left_is_due_at_once_and_a_quiet_repository_is_not(shop: Shop) -> None:
    shop.opens("docs", DOCS)
    with looping(shop) as at:
        assert at.loop.step() == 0
        assert at.reports[-1].applied.written
        assert at.loop.step() > 1
        assert len(at.reports) == 2
        assert at.standing == (Condition.READY, "")
        assert at.loop.step() > 0
        assert len(at.reports) == 2
        at.loop.hint("shop")
        at.loop.step()
        assert len(at.reports) == 3


def test_a_hint_during_a_pause_neither_breaks_it_nor_keeps_the_loop_busy(shop: Shop) -> None:
    shop.opens("docs", DOCS)
    with looping(shop, failing_forge(Unavailable("502"), Unavailable("502"))) as at:
        assert at.loop.step() > 0.5
        at.loop.hint("shop")
        assert at.loop.step() > 0.5
        assert at.standing == (Condition.RECONCILING, "502")
        assert at.reports == []
        at.running.clock.skew_s += 2
        assert at.loop.step() > 1  # it failed again, and the pause has doubled
        at.running.clock.skew_s += 4
        at.loop.step()
        assert at.reports[-1].converged
    assert at.events() == ["pass_failed", "pass_failed"]


def test_a_server_that_asks_for_a_pause_gets_it(shop: Shop) -> None:
    with looping(shop, failing_forge(Unavailable("503", retry_after_s=1000))) as at:
        assert at.loop.step() > 900
        at.loop.hint("shop")
        assert at.loop.step() > 900


def test_an_error_for_an_operator_stalls_the_repository_until_it_is_mended(shop: Shop) -> None:
    with looping(shop, failing_forge(Denied("403"))) as at:
        assert at.loop.step() > 100
        assert at.standing == (Condition.STALLED, "403")
        assert at.events() == ["repository_stalled"]
        at.loop.hint("shop")
        at.loop.step()
        assert at.standing == (Condition.READY, "")


@pytest.mark.parametrize("error", [Fenced("epoch 2"), LedgerMoved("another tip")])
def test_a_writer_that_lost_its_log_does_not_go_on(shop: Shop, error: ReconcilerError) -> None:
    shop.opens("docs", DOCS)
    with looping(shop, failing_log("append", error)) as at, pytest.raises(type(error)):
        at.loop.step()
    assert at.events() == ["writer_fenced"]
    assert not shop.entries(Kind.DECISION)


def test_an_entry_that_may_not_have_reached_the_disk_ends_the_writer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from state import log

    advance = log.advance_branch

    def unsure(*arguments: Any) -> None:
        advance(*arguments)
        raise OSError("fsync: input/output error")

    shop.opens("docs", DOCS)
    with looping(shop) as at:
        monkeypatch.setattr(log, "advance_branch", unsure)
        at.loop.step()
        assert "perhaps not to disk" in at.standing[1]
        monkeypatch.undo()
        at.running.clock.skew_s += 10
        with pytest.raises(Fenced, match="may or may not be on disk"):
            at.loop.step()
    with looping(shop) as again:
        again.loop.step()
        assert again.reports[-1].converged
    shop.verified()


@pytest.mark.parametrize("error", [Unavailable("no answer"), Denied("401: the log's credential")])
def test_a_remote_that_does_not_take_the_log_is_told_after_the_work_is_done(shop: Shop, error: ReconcilerError) -> None:
    _, head = shop.opens("docs", DOCS)
    with looping(shop, failing_log("push", error)) as at:
        at.loop.step()
        assert at.standing[0] is Condition.READY
        assert None not in shop.tags(head).values()
        assert [e["error"] for e in at.running.events("log_not_pushed")] == [str(error)]
