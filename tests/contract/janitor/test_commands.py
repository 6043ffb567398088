"""`ameide janitor` and `ameide doctor` as commands, over the simulated cluster."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.doctor import janitor as doctor_janitor
from reconciler.doctor.findings import Status
from reconciler.events import to_stream
from reconciler.janitor.wiring import janitor_of
from reconciler.settings import load
from state.log_verify import verify
from tests.fixtures import warm_cli
from tests.fixtures.janitor import Bench
from tests.fixtures.kubernetes_api import ApiServer
from tests.fixtures.kubernetes_real import real_cluster
from tests.fixtures.registry_stub import Reply, Stub
from tests.fixtures.shop import SkewedClock, command, eventually, refs


@pytest.fixture
def bench(janitor_bench: Bench) -> Bench:
    return janitor_bench


def runs(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm_cli.run(["janitor", *arguments], _environment(bench), bench.root)


def _environment(bench: Bench) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(bench.root), "PYTHONPATH": os.pathsep.join(sys.path)}


def test_plan_tells_every_namespace_with_its_reason_and_reads_only(bench: Bench) -> None:
    bench.marked(7)
    bench.hands.namespace("pr-8")
    bench.hands.namespace("pr-9", {})
    before = bench.kinds()
    config = str(bench.config())
    told = runs(bench, "plan", "--config", config, "--json")
    assert told.returncode == 1, told.stderr
    rows = {r["name"]: (r["act"], r["reason"]) for r in json.loads(told.stdout)["namespaces"]}
    assert rows == {"pr-7": ("delete", "due"), "pr-8": ("keep", "too-young"), "pr-9": ("keep", "other-labels")}
    table = runs(bench, "plan", "--config", config)
    assert "no Application refers to it" in table.stdout
    assert "expected the labels" in table.stdout
    assert bench.simulated.deletes == []
    assert bench.kinds() == before


def test_plan_needs_no_key_and_is_clean_without_work(bench: Bench) -> None:
    told = runs(bench, "plan", "--config", str(bench.config(key_file=str(bench.root / "nothing"))))
    assert told.returncode == 0, told.stderr
    assert "There is no preview namespace" in told.stdout


def test_one_run_deletes_and_says_so(bench: Bench) -> None:
    bench.marked(7)
    dry = runs(bench, "run", "--config", str(bench.config()), "--once", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["rehearsed"]
    assert bench.simulated.deletes == []
    done = runs(bench, "run", "--config", str(bench.config()), "--once")
    assert done.returncode == 0, done.stderr
    assert "deleted" in done.stdout
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["namespace_deleted", "janitor_ran"]
    assert bench.simulated.deletes == ["pr-7"]


def test_a_run_writes_its_numbers_and_tells_what_it_deleted(bench: Bench) -> None:
    bench.marked(7)
    receiver = Stub()
    receiver.script(Reply(202))
    secret = bench.root / "notify"
    secret.write_text("whsec_" + base64.b64encode(b"x" * 32).decode() + "\n")
    config = bench.config()
    settings = json.loads(config.read_text())
    settings["notifications"] = {"url": receiver.url + "/hook", "signing_secret_file": str(secret)}
    config.write_text(json.dumps(settings))
    numbers = bench.root / "ameide.prom"
    done = runs(bench, "run", "--config", str(config), "--once", "--metrics-file", str(numbers))
    receiver.close()
    assert done.returncode == 0, done.stderr
    text = numbers.read_text()
    assert 'ameide_janitor_last_run_deletions{repository="shop",result="deleted"} 1.0' in text
    assert 'ameide_janitor_namespaces{reason="stuck",repository="shop"} 0.0' in text
    assert "ameide_janitor_last_run_timestamp_seconds" in text
    assert "process_" not in text
    assert not list(bench.root.glob(".ameide.prom*"))
    (seen,) = receiver.requests
    event = json.loads(seen.body)
    assert (event["type"], event["subject"]) == ("dev.ameide.namespace.deleted", "namespace/pr-7")
    refused = runs(bench, "run", "--config", str(config), "--once", "--metrics-file", str(bench.root / "no" / "file"))
    assert refused.returncode == 2
    assert "metrics cannot be written" in refused.stderr


def test_a_run_that_writes_brings_the_mirror_of_its_own_log_forward(bench: Bench) -> None:
    mirror = bench.root / "mirror.git"
    pygit2.init_repository(str(mirror), bare=True).free()
    config = bench.config()
    settings = json.loads(config.read_text())
    settings["repositories"][0]["log"]["mirror"] = str(mirror)
    config.write_text(json.dumps(settings))
    clock, numbers = SkewedClock(), iter(range(7, 10))

    def run() -> str:
        bench.hands.namespace(f"pr-{next(numbers)}")
        bench.settle()
        loaded = load(config, {}).settings
        lines = io.StringIO()
        with janitor_of(loaded, loaded.repositories[0], clock, to_stream(lines, clock)) as janitor:
            janitor.run()
        return lines.getvalue()

    run()
    assert refs(mirror) == refs(bench.remote) != {}
    clock.skew_s = 366 * 24 * 3600
    away = mirror.rename(bench.root / "away.git")
    assert "log_not_mirrored" in run()
    away.rename(mirror)
    run()
    # The end of the year that was closed meanwhile, too.
    assert refs(mirror) == refs(bench.remote)
    assert len(refs(mirror)) == 2
    assert verify(mirror, allowed_signers_file=bench.root / "allowed_signers").clean


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (lambda b: b.simulated.rights.discard(("list", "namespaces")), 2, "403"),
        (lambda b: b.simulated.tokens.clear(), 2, "401"),
        (lambda b: b.remote.rename(b.root / "away"), 3, "remote"),
        (lambda b: setattr(b.simulated, "installed", False), 2, "CRDs"),
    ],
)
def test_what_is_missing_ends_the_run_with_its_code_and_deletes_nothing(
    bench: Bench, spoil: Any, code: int, told: str
) -> None:
    bench.marked(7)
    config = str(bench.config())
    spoil(bench)
    made = runs(bench, "run", "--config", config, "--once")
    assert made.returncode == code, made.stderr
    assert told in made.stderr
    assert "janitor-token" not in made.stderr
    assert bench.simulated.deletes == []


def test_the_daemon_runs_until_it_is_told_to_stop(bench: Bench) -> None:
    bench.marked(7)
    process = subprocess.Popen(
        command("janitor", "run", "--config", str(bench.config())), env=_environment(bench), stderr=subprocess.PIPE
    )
    try:
        eventually("pr-7 is deleted", lambda: bench.simulated.deletes == ["pr-7"])
        eventually("the outcome is pushed", lambda: bench.kinds()[-1] == "outcome")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


# --- doctor


@pytest.fixture(params=[pytest.param("simulated"), pytest.param("real", marks=pytest.mark.kubernetes)])
def cluster(request: pytest.FixtureRequest, bench: Bench) -> Iterator[ApiServer]:
    if request.param == "simulated":
        yield bench.cluster
        return
    with real_cluster(request) as made:
        made.hands.application("shop", "shop-dev")
        yield made


def diagnosed(root: Path, cluster: ApiServer) -> dict[str, tuple[Status, str]]:
    (root / "doctor").mkdir()
    bench = Bench(root / "doctor", cluster)
    settings = bench.loaded().settings
    found = doctor_janitor.diagnose(settings.repositories[0], settings, SystemClock())
    return {f.check.rpartition(": ")[2]: (f.status, f.found) for f in found}


def test_doctor_finds_the_lanes_rights_enough_and_not_too_many(cluster: ApiServer, tmp_path: Path) -> None:
    found = diagnosed(tmp_path, cluster)
    assert {check: status for check, (status, _) in found.items()} == dict.fromkeys(
        ["janitor key", "API server", "rights", "no more rights", "look"], Status.OK
    )


def test_doctor_names_missing_rights(bench: Bench, tmp_path: Path) -> None:
    bench.simulated.rights -= {("delete", "namespaces"), ("list", "applications.argoproj.io")}
    status, told = diagnosed(tmp_path, bench.cluster)["rights"]
    assert status is Status.FAIL
    assert told == "missing: delete namespaces, list applications.argoproj.io in argocd"


def test_doctor_names_rights_that_are_too_many(cluster: ApiServer, tmp_path: Path) -> None:
    from tests.fixtures.kubernetes_api import ADMIN

    status, told = diagnosed(tmp_path, replace(cluster, token=ADMIN))["no more rights"]
    assert status is Status.WARN
    assert "update namespaces/finalize" in told
    assert "list secrets" in told


def test_doctor_says_what_was_not_tested_without_a_token(bench: Bench, tmp_path: Path) -> None:
    settings = bench.loaded(token_file=str(tmp_path / "nothing")).settings
    found = list(doctor_janitor.diagnose(settings.repositories[0], settings, SystemClock()))
    assert found[-1].status is Status.WARN
    assert "nor rights were tested" in found[-1].found
