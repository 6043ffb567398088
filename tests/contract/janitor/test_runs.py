"""Runs of the janitor over the simulated cluster, with its real log: two looks, what is recorded, and the races."""

from __future__ import annotations

import json
import threading
from typing import Any

import pygit2
import pytest

from reconciler.janitor.records import Result
from state.errors import Denied, ReconcilerError, Terminal, Unavailable
from tests.fixtures.janitor import LOG, Bench
from tests.fixtures.kubernetes_api import NAMESPACES
from tests.fixtures.registry_stub import Reply, Seen

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
    bench.at_delete(lambda: seen.append(bench.kinds()))
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
