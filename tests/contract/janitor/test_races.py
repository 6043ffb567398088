"""Races and crashes of the janitor: another actor, another janitor, or the end of the process at the worst moment."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reconciler.janitor.records import Result
from state.entry import Kind
from state.errors import Fenced, ReconcilerError
from tests.fixtures.janitor import Bench
from tests.fixtures.registry_stub import Reply

# --- races


def test_an_application_made_after_the_decision_spares_the_namespace(bench: Bench) -> None:
    bench.marked(7)
    with bench.janitor() as janitor:
        made = []
        real = janitor.cluster.namespace

        def then_created(name: str) -> Any:
            found = real(name)
            if not made:
                made.append(bench.hands.application("web-7", "pr-7"))
            return found

        janitor.cluster.namespace = then_created  # type: ignore[method-assign]
        report = janitor.run()
    assert [d.result for d in report.done] == [Result.REFERENCED]
    assert bench.simulated.deletes == []
    assert bench.results() == {"pr-7": "referenced"}
    bench.hands.forget("web-7")
    assert [r.act.value for r in bench.run().decision.rulings] == ["bury"]


def test_an_application_made_between_check_and_delete_is_the_admission_policys(bench: Bench) -> None:
    bench.marked(7)
    bench.at_delete(lambda: bench.hands.application("web-7", "pr-7"))
    report = bench.run()
    assert [d.result for d in report.done] == [Result.REFUSED]
    assert "web-7 still targets pr-7" in report.done[0].why
    assert not report.clean
    assert bench.simulated.deletes == []


def test_a_namespace_made_anew_between_check_and_delete_lives(bench: Bench) -> None:
    bench.marked(7)
    bench.at_delete(lambda: bench.hands.anew("pr-7"))
    report = bench.run()
    assert [d.result for d in report.done] == [Result.CHANGED]
    assert bench.simulated.deletes == []
    assert bench.simulated.namespaces["pr-7"]["status"]["phase"] == "Active"
    bench.settle()
    bench.simulated.before_delete = lambda: None
    assert [r.act.value for r in bench.run().decision.rulings] == ["bury"]  # a new one starts afresh


def test_a_namespace_made_anew_in_the_grace_period_starts_afresh(bench: Bench) -> None:
    bench.marked(7)
    bench.hands.anew("pr-7")
    report = bench.run()
    assert [r.reason.value for r in report.decision.rulings] == ["too-young"]
    assert [w.why for w in report.decision.withdrawn] == ["the namespace was made anew"]
    bench.settle(400)
    bench.run()
    assert bench.simulated.deletes == []


def test_labels_taken_off_between_check_and_delete_keep_it(bench: Bench) -> None:
    bench.marked(7)
    bench.at_delete(lambda: bench.hands.edit("pr-7", {"metadata": {"labels": {"ameide.io/managed-by": "hands"}}}))
    assert [d.result for d in bench.run().done] == [Result.CHANGED]
    assert bench.simulated.deletes == []


def test_two_janitors_never_both_delete(bench: Bench) -> None:
    """Another janitor takes the log over while this one is between its intent and its delete."""
    bench.marked(7, 8)
    taken: list[str] = []

    def other() -> None:
        if not taken:
            bench.simulated.before_delete = lambda: None
            taken.extend(d.name for d in bench.run("two").done)

    bench.simulated.before_delete = other
    with pytest.raises(Fenced):
        bench.run("one")
    assert sorted(bench.simulated.deletes) == ["pr-7", "pr-8"]
    assert len(set(bench.simulated.deletes)) == 2
    assert bench.verified()


def test_janitors_side_by_side_delete_each_namespace_once(bench: Bench) -> None:
    bench.marked(*range(1, 6))
    start = threading.Barrier(2)
    failures: list[BaseException] = []

    def go(name: str) -> None:
        start.wait()
        try:
            bench.run(name)
        except ReconcilerError as error:
            failures.append(error)

    threads = [threading.Thread(target=go, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.run("one")
    assert sorted(bench.simulated.deletes) == [f"pr-{n}" for n in range(1, 6)]
    assert all(isinstance(f, ReconcilerError) for f in failures)
    assert bench.verified()


def test_a_janitor_that_lost_its_epoch_deletes_nothing_more(bench: Bench) -> None:
    bench.marked(7)
    with bench.janitor("one") as janitor:
        real = janitor.cluster.namespace

        def then_taken_over(name: str) -> Any:
            found = real(name)
            janitor.cluster.namespace = real  # type: ignore[method-assign]
            bench.hands.application("web-9", "pr-9")
            bench.hands.namespace("pr-10")
            bench.settle()
            bench.run("two", max_deletes=1, grace_s=86400)  # takes the epoch over, and deletes nothing
            return found

        janitor.cluster.namespace = then_taken_over  # type: ignore[method-assign]
        with pytest.raises(Fenced):
            janitor.run()
    assert bench.simulated.deletes == []


# --- crashes


@pytest.mark.parametrize(("reached", "result"), [(False, "dropped"), (True, "deleted")])
def test_an_intent_left_open_by_a_crash_is_closed_by_looking(bench: Bench, reached: bool, result: str) -> None:
    class Killed(BaseException):
        pass

    bench.marked(7)
    with bench.janitor() as janitor:
        real = janitor.cluster.delete_namespace

        def dies(namespace: Any, **options: Any) -> Any:
            if reached:
                real(namespace, **options)
            raise Killed

        janitor.cluster.delete_namespace = dies  # type: ignore[method-assign]
        with pytest.raises(Killed):
            janitor.run()
    assert bench.kinds()[-1] == "intent"
    report = bench.run()
    rows: Any = [e.entry.body["deletions"] for e in bench.entries() if e.entry.kind is Kind.OUTCOME]
    assert rows[0][0]["result"] == result
    assert [d.result for d in report.done] == ([] if reached else [Result.DELETED])
    assert bench.simulated.deletes == ["pr-7"]
    assert bench.verified()


def test_a_delete_without_an_answer_is_looked_at_by_the_next_run(bench: Bench) -> None:
    bench.marked(7)
    bench.simulated.fault = lambda seen: Reply(503) if seen.method == "DELETE" else None
    report = bench.run()
    assert [d.result for d in report.done] == [Result.UNCERTAIN]
    assert not report.clean
    bench.simulated.fault = lambda _: None
    assert [d.result for d in bench.run().done] == [Result.DELETED]
