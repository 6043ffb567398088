"""A start with more heads than one pass may read: newest first, nothing starved, and what was not read is said."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from reconciler import apply
from reconciler.matrix import State
from reconciler.passes import PassReport
from state.entry import Kind
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Running, Shop, cells, changes


def one_pass(running: Running, budget: int) -> PassReport:
    """One pass of so many tag reads."""
    return running.repository.run_pass(replace(running.rules(), tag_reads_per_pass=budget), frozenset(), lambda: False)


def held(report: PassReport, number: int) -> set[str]:
    """Why what is not there yet of a pull request is not."""
    return {c.reason for c in cells(report, number).values() if c.state is State.HELD}


def test_the_newest_heads_come_first_and_the_others_are_not_yet_read(shop: Shop) -> None:
    numbers = [shop.opens(f"docs-{n}", {**DOCS, "n": str(n)})[0] for n in range(4)]
    with shop.reconciler() as running:
        budget = len(IMAGE_NAMES)
        for done in range(1, len(numbers) + 1):
            report = one_pass(running, budget)
            unread = numbers[: len(numbers) - done]
            assert [held(report, n) for n in numbers] == [{"not-yet-read"} if n in unread else set() for n in numbers]
        assert running.until_quiet().converged


def test_tags_that_are_waited_for_leave_half_of_the_reads_to_new_ones_and_get_the_other_half(shop: Shop) -> None:
    shop.configure(poll_interval_s=100)
    waiting = [shop.opens(f"wait-{n}", changes("orders", f"{n}\n")) for n in range(4)]
    with shop.reconciler() as running:
        running.until_quiet()
        fresh = [shop.opens(f"docs-{n}", {**DOCS, "n": str(n)})[0] for n in range(2)]
        for _, head in waiting:
            shop.world.ci_builds("orders", head)
        running.clock.skew_s += 400
        for done in range(1, len(waiting) + 1):
            report = one_pass(running, 2)
            assert sum(cells(report, n)["orders"].state is State.BUILT for n, _ in waiting) == done
        assert [held(report, n) for n in fresh] == [{"not-yet-read"}, set()]


def test_more_tags_than_one_entry_holds_are_found_in_one_pass(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        assert running.until_quiet().converged
    shutil.rmtree(shop.log)
    shutil.rmtree(shop.root / "state" / "tips")
    monkeypatch.setattr(apply, "ADOPTED_PER_ENTRY", 2)
    with shop.reconciler() as running:
        assert running.one_pass().converged
    rows = [len(logged.entry.body["writes"]) for logged in shop.entries(Kind.OUTCOME)]
    assert (sum(rows), max(rows)) == (len(IMAGE_NAMES), 2)
