"""Runs of the janitor over the simulated cluster, with its real log: two looks, what is recorded, and the races."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pygit2
import pytest

from reconciler.janitor.records import Result
from state.entry import Kind
from state.errors import Denied, Fenced, ReconcilerError, Terminal, Unavailable
from tests.fixtures.janitor import LOG, Bench
from tests.fixtures.kubernetes_api import NAMESPACES
from tests.fixtures.registry_stub import Reply, Seen


@pytest.fixture
def bench(janitor_bench: Bench) -> Bench:
    return janitor_bench


def at_delete(bench: Bench, act: Callable[[], object]) -> None:
    """Another actor acts between the last check and the delete."""
    done: list[object] = []

    def once() -> None:
        if not done:
            done.append(True)
            act()

    bench.simulated.before_delete = once


# --- two looks


def test_the_first_run_marks_and_a_later_one_deletes(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    bench.settle()
    first = bench.run()
    assert [r.act.value for r in first.decision.rulings] == ["bury"]
    assert bench.simulated.deletes == []
    assert bench.kinds() == ["genesis", "epoch", "tombstone"]
    assert bench.run().decision.is_noop  # within the grace period
    assert bench.kinds() == ["genesis", "epoch", "tombstone"]
    bench.settle()
    report = bench.run()
    assert [(d.name, d.result) for d in report.done] == [("pr-7", Result.DELETED)]
    assert bench.simulated.deletes == ["pr-7"]
    assert bench.kinds() == ["genesis", "epoch", "tombstone", "epoch", "intent", "outcome"]
    assert bench.results() == {"pr-7": "deleted"}
    assert bench.verified()
    again = bench.run()
    assert [(r.reason.value, r.act.value) for r in again.decision.rulings] == [("terminating", "keep")]
    assert bench.simulated.deletes == ["pr-7"]


def test_the_log_reads_well_for_people(bench: Bench) -> None:
    from state.entry import subject

    bench.marked(7)
    bench.run()
    assert [subject(e.entry) for e in bench.entries()][2:] == [
        "tombstone 2: 1 namespaces 0 taken back",
        "epoch 3: epoch 2 by janitor-one",
        "intent 4: 1 namespaces to delete",
        "outcome 5: 1 namespaces to delete",
    ]


def test_an_application_in_the_grace_period_undoes_the_mark(bench: Bench) -> None:
    bench.marked(7)
    bench.hands.application("web-7", "pr-7")
    report = bench.run()
    assert [w.tombstone.name for w in report.decision.withdrawn] == ["pr-7"]
    assert bench.events("namespace_spared")[0]["namespace"] == "pr-7"
    bench.hands.forget("web-7")
    assert [r.act.value for r in bench.run().decision.rulings] == ["bury"]  # from the start again
    bench.settle(100)
    assert bench.run().decision.is_noop
    assert bench.simulated.deletes == []


def test_a_run_without_work_writes_nothing(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    bench.hands.application("web-7", "pr-7")
    bench.settle()
    report = bench.run()
    assert report.clean
    assert report.decision.is_noop
    assert bench.entries() == []


def test_no_run_deletes_more_than_the_cap(bench: Bench) -> None:
    bench.marked(*range(1, 8))
    assert len(bench.run(max_deletes=3).done) == 3
    assert len(bench.run(max_share_percent=30).done) == 2
    assert len(bench.simulated.deletes) == 5


def test_applications_of_every_enabled_namespace_spare(bench: Bench) -> None:
    bench.hands.application("team", "pr-7", namespace="team-a")
    bench.marked(7)
    part = {"application_namespaces": ["team-a"]}
    assert [w.why for w in bench.run(lane_part=part).decision.withdrawn] == [
        "team-a/team (to https://kubernetes.default.svc) refers to it"
    ]
    assert bench.simulated.deletes == []


# --- what is there before what is deleted


def test_the_intent_is_on_the_remote_before_the_delete(bench: Bench) -> None:
    bench.marked(7)
    seen: list[list[str]] = []
    at_delete(bench, lambda: seen.append(bench.kinds()))
    bench.run()
    assert seen == [["genesis", "epoch", "tombstone", "epoch", "intent"]]
    row: Any = bench.entries()[4].entry.body["deletions"]
    assert row[0]["name"] == "pr-7"
    assert row[0]["tombstone"] == bench.entries()[2].id


def test_without_the_logs_remote_nothing_is_deleted(bench: Bench) -> None:
    bench.marked(7)
    bench.remote.rename(bench.root / "away.git")
    with pytest.raises(Unavailable):
        bench.run()
    assert bench.simulated.deletes == []


def test_a_remote_that_takes_no_push_keeps_everything(bench: Bench) -> None:
    bench.marked(7)
    (bench.remote / "refs" / "heads" / "log" / "4711" / "janitor.lock").touch()
    with pytest.raises(ReconcilerError):
        bench.run()
    assert bench.simulated.deletes == []


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
    at_delete(bench, lambda: bench.hands.application("web-7", "pr-7"))
    report = bench.run()
    assert [d.result for d in report.done] == [Result.REFUSED]
    assert "web-7 still targets pr-7" in report.done[0].why
    assert not report.clean
    assert bench.simulated.deletes == []


def test_a_namespace_made_anew_between_check_and_delete_lives(bench: Bench) -> None:
    bench.marked(7)
    at_delete(bench, lambda: bench.hands.anew("pr-7"))
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
    at_delete(bench, lambda: bench.hands.edit("pr-7", {"metadata": {"labels": {"ameide.io/managed-by": "hands"}}}))
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


# --- what is not known


def test_an_incomplete_look_does_nothing_at_all(bench: Bench) -> None:
    bench.marked(7, 8, 9)
    bench.hands.application("web-7", "pr-7")
    bench.simulated.chunk_max = 1
    bench.simulated.expire_at = lambda _: True
    before = bench.kinds()
    report = bench.run()
    assert not report.decision.complete
    assert not report.clean
    assert bench.kinds() == before
    assert bench.simulated.deletes == []


def test_applications_that_may_not_be_listed_keep_everything(bench: Bench) -> None:
    bench.marked(7)
    bench.simulated.rights.discard(("list", "applications.argoproj.io"))
    with pytest.raises(Denied):
        bench.run()
    assert bench.simulated.deletes == []


def test_applications_that_fail_at_the_last_check_keep_the_namespace(bench: Bench) -> None:
    bench.marked(7)
    asked = []

    def fault(seen: Seen) -> Reply | None:
        if seen.path.endswith("/applications") and seen.method == "GET":
            asked.append(seen)
            return Reply(500) if len(asked) > 2 else None
        return None

    bench.simulated.fault = fault
    assert [d.result for d in bench.run().done] == [Result.UNCERTAIN]
    assert bench.simulated.deletes == []


def test_a_last_check_that_is_not_whole_keeps_the_namespace(bench: Bench) -> None:
    bench.hands.application("web-8", "pr-8")
    bench.marked(7)
    bench.simulated.chunk_max = 1
    bench.simulated.expire_at = lambda _: bench.kinds()[-1] == "intent"
    report = bench.run()
    assert [d.result for d in report.done] == [Result.DROPPED]
    assert "410" in report.done[0].why
    assert bench.simulated.deletes == []


def test_a_cluster_without_any_application_is_not_believed(bench: Bench) -> None:
    bench.marked(7)
    bench.hands.forget("shop")
    assert not bench.run().decision.complete
    assert bench.simulated.deletes == []
    assert [d.result for d in bench.run(require_applications=False).done] == [Result.DELETED]


# --- what stops it


@pytest.mark.parametrize("changes", [{"mode": "observe"}, {"suspend": True}])
def test_a_configuration_that_writes_nothing_makes_a_dry_run(bench: Bench, changes: dict[str, Any]) -> None:
    from reconciler.adapters.clock import SystemClock
    from reconciler.events import to_stream
    from reconciler.janitor.wiring import one_run
    from reconciler.settings import load

    bench.marked(7)
    before = bench.kinds()
    file = bench.config(mode=changes.get("mode", "fill"))
    made = json.loads(file.read_text())
    made["repositories"][0]["suspend"] = changes.get("suspend", False)
    file.write_text(json.dumps(made))
    failures: list[Any] = []
    emit = to_stream(bench.lines, SystemClock())
    reports = dict(one_run(load(file, {}), SystemClock(), emit, failed=lambda n, e: failures.append((n, e))))
    assert failures == []
    assert reports["shop"].rehearsed
    assert [d.result for d in reports["shop"].done] == [Result.DELETED]
    assert bench.kinds() == before
    assert bench.simulated.deletes == []


def test_a_stop_comes_after_the_deletion_that_was_begun(bench: Bench) -> None:
    from reconciler.adapters.clock import SystemClock
    from reconciler.events import to_stream
    from reconciler.janitor.wiring import janitor_of

    bench.marked(1, 2, 3)
    stop = threading.Event()
    bench.simulated.before_delete = stop.set
    settings = bench.loaded().settings
    clock = SystemClock()
    emit = to_stream(bench.lines, clock)
    with janitor_of(settings, settings.repositories[0], clock, emit, stop.is_set) as janitor:
        report = janitor.run()
    assert [d.result for d in report.done] == [Result.DELETED]
    assert bench.kinds()[-1] == "outcome"


def test_a_remote_that_lost_entries_is_not_stood_on(bench: Bench) -> None:
    bench.marked(7)
    remote = pygit2.Repository(str(bench.remote))
    remote.references[LOG].set_target(bench.entries()[0].id)
    with pytest.raises(ReconcilerError, match=r"lost entries|is now at"):
        bench.run()
    assert bench.simulated.deletes == []


def test_another_key_than_the_logs_is_refused(bench: Bench) -> None:
    from reconciler.adapters.signer_ssh import generate_key_file

    bench.marked(7)
    generate_key_file(bench.root / "another")
    with pytest.raises(Terminal, match="the key in force"):
        bench.run("two", key_file=str(bench.root / "another"))
    assert bench.simulated.deletes == []


def test_stuck_namespaces_are_reported_with_what_blocks_them(bench: Bench) -> None:
    bench.hands.namespace("pr-7", finalizers=["example.org/hold"])
    bench.hands.call("DELETE", f"{NAMESPACES}/pr-7")
    bench.settle()
    report = bench.run()
    assert not report.clean
    assert [r.reason.value for r in report.decision.rulings] == ["stuck"]
    assert "example.org/hold" in bench.events("namespace_stuck")[0]["detail"]
    assert bench.simulated.deletes == []
