"""A wall clock that is set under a running reconciler: timers, pauses and the log go on, the budget stays a bound."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler import wiring
from reconciler.matrix import State
from state.entry import Kind
from state.errors import Unavailable
from tests.e2e.test_loop import failing_forge, looping
from tests.fixtures import shop as shops
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, SkewedClock, cells

DAY_S = 86_400.0


class SetBack(SkewedClock):
    """A clock whose wall time can be moved alone."""

    wall_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.wall_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetBack:
    """The one clock of loop, observer, registry client and log."""
    made = SetBack()
    monkeypatch.setattr(wiring, "SystemClock", lambda: made)
    monkeypatch.setattr(shops, "SkewedClock", lambda: made)
    return made


@pytest.mark.parametrize("moved_s", [-DAY_S, DAY_S], ids=["back", "forth"])
def test_passes_go_on_at_their_interval_when_the_wall_clock_is_moved(
    shop: Shop, clock: SetBack, moved_s: float
) -> None:
    with looping(shop) as at:
        at.loop.step()
        clock.wall_s = moved_s
        number, head = shop.opens("docs", DOCS)
        due_s = at.loop.step()
        assert 0 < due_s < 60
        assert len(at.reports) == 1
        clock.skew_s += due_s + 0.1
        at.loop.step()
        assert len(at.reports) == 2
        at.loop.step()
        assert {c.state for c in cells(at.reports[-1], number).values()} == {State.RETAGGED}
        assert at.loop.heartbeat_age_s() < 60
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    with looping(shop) as again:  # a fresh start by the moved clock stands on entries of the other time
        again.loop.step()
        assert again.reports[-1].converged
    shop.verified()


def test_a_pause_after_a_failure_is_neither_cut_short_nor_drawn_out_by_the_wall_clock(
    shop: Shop, clock: SetBack
) -> None:
    with looping(shop, failing_forge(Unavailable("502"))) as at:
        pause_s = at.loop.step()
        for clock.wall_s in (-DAY_S, DAY_S):
            assert at.loop.step() <= pause_s
            assert at.reports == []
        clock.skew_s += pause_s + 0.1
        at.loop.step()
        assert len(at.reports) == 1


def test_a_clock_that_is_set_back_never_allows_more_writes_than_the_budget(shop: Shop, clock: SetBack) -> None:
    shop.configure(shop={"max_writes_per_hour": 4})
    shop.opens("first", DOCS)
    number, head = shop.opens("second", {"README.md": "second\n"})
    with shop.reconciler() as running:
        running.one_pass()
        spent = sum(len(e.entry.body["writes"]) for e in shop.entries(Kind.INTENT))  # type: ignore[arg-type]
        assert spent == 4
        clock.wall_s = -DAY_S
        report = running.one_pass()
        assert report.applied.written == 0
        assert {h.reason.value for h in report.plan.holds} == {"write-budget-spent"}
        clock.wall_s = 0
        clock.skew_s += 3601
        running.one_pass()
        report = running.one_pass()
    assert report.converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    assert {c.state for c in cells(report, number).values()} == {State.RETAGGED}
    shop.verified()
