"""The janitor on a real Kubernetes API server, under the rights and admission policies that the lane renders; kubectl
as an independent peer of the server and of the simulation.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.janitor.cluster import Deleted
from reconciler.janitor.records import Result
from reconciler.janitor.running import Janitor, Report
from tests.fixtures.certificates import Certificate
from tests.fixtures.janitor import Bench
from tests.fixtures.kubernetes_api import ADMIN, JANITOR, NAMESPACES, ApiServer, run_simulation
from tests.fixtures.kubernetes_real import _eventually, real_cluster

real = pytest.mark.kubernetes


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with real_cluster(request) as cluster:
        cluster.hands.application("shop", "shop-dev")
        yield Bench(tmp_path, cluster)


@contextmanager
def impatient(bench: Bench) -> Iterator[Janitor]:
    """A janitor without grace: a real server's clock cannot be moved on."""
    part = {"application_namespaces": ["team-a"]}
    with bench.janitor(lane_part=part) as made:
        yield replace(made, policy=replace(made.policy, min_age_s=0, grace_s=0))


def runs(bench: Bench) -> Report:
    with impatient(bench) as made:
        return made.run()


def phase(bench: Bench, name: str) -> str:
    return str(bench.hands.call("GET", f"{NAMESPACES}/{name}")["status"]["phase"])


@real
def test_two_runs_delete_what_nothing_refers_to(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    bench.hands.namespace("pr-8")
    bench.hands.application("web-8", "pr-8", namespace="team-a")
    first = runs(bench)
    assert {r.namespace.name: r.act.value for r in first.decision.rulings} == {"pr-7": "bury", "pr-8": "keep"}
    assert phase(bench, "pr-7") == "Active"
    second = runs(bench)
    assert [(d.name, d.result) for d in second.done] == [("pr-7", Result.DELETED)]
    assert (phase(bench, "pr-7"), phase(bench, "pr-8")) == ("Terminating", "Active")
    assert bench.results() == {"pr-7": "deleted"}
    third = runs(bench)
    assert third.decision.is_noop
    assert [r.reason.value for r in third.decision.rulings] == ["terminating", "referenced"]


@real
def test_an_application_made_after_the_last_check_is_refused_by_the_policy(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    runs(bench)
    with impatient(bench) as janitor:
        deletes = janitor.cluster.delete_namespace

        def then(namespace: Any, **options: Any) -> Any:
            bench.hands.application("web-7", "pr-7", namespace="team-a")
            # The policy goes by the server's own cache of Applications, which lags a moment behind.
            _eventually(lambda: deletes(namespace, dry_run=True).deleted is Deleted.REFUSED)
            return deletes(namespace, **options)

        janitor.cluster.delete_namespace = then  # type: ignore[method-assign]
        report = janitor.run()
    assert [d.result for d in report.done] == [Result.REFUSED]
    assert "web-7 still targets pr-7" in report.done[0].why
    assert phase(bench, "pr-7") == "Active"


@real
def test_a_namespace_made_anew_after_the_last_check_lives(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    runs(bench)
    with impatient(bench) as janitor:
        deletes = janitor.cluster.delete_namespace

        def then(namespace: Any, **options: Any) -> Any:
            bench.hands.anew("pr-7")
            return deletes(namespace, **options)

        janitor.cluster.delete_namespace = then  # type: ignore[method-assign]
        report = janitor.run()
    assert [d.result for d in report.done] == [Result.CHANGED]
    assert phase(bench, "pr-7") == "Active"


def _delete(bench: Bench, name: str, token: str, options: dict[str, Any]) -> tuple[int, str]:
    answer = bench.hands.session.delete(
        f"{bench.hands.url}{NAMESPACES}/{name}",
        json={"apiVersion": "v1", "kind": "DeleteOptions", **options},
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    return answer.status_code, str(answer.json().get("message", ""))


@real
@pytest.mark.parametrize(
    ("name", "labels", "told"),
    [
        ("shop-dev", {}, "only namespaces named pr-<number>"),
        ("pr-shop-7", {}, "only namespaces named pr-<number>"),
        ("pr-7", {}, "not labelled as a preview's"),
        ("pr-7", {"ameide.io/managed-by": "preview", "ameide.io/preview-pr": "8"}, "does not agree"),
    ],
)
def test_the_servers_policy_keeps_the_janitor_from_every_other_namespace(
    bench: Bench, name: str, labels: dict[str, str], told: str
) -> None:
    if name not in {i["metadata"]["name"] for i in bench.hands.call("GET", NAMESPACES)["items"]}:
        bench.hands.namespace(name, labels)
    version = bench.hands.call("GET", f"{NAMESPACES}/{name}")["metadata"]["resourceVersion"]
    status, message = _delete(bench, name, JANITOR, {"preconditions": {"resourceVersion": version}})
    assert status == 422
    assert told in message


@real
def test_the_servers_policy_wants_the_resource_version(bench: Bench) -> None:
    bench.hands.namespace("pr-7")
    status, message = _delete(bench, "pr-7", JANITOR, {})
    assert status == 422
    assert "has to name the resourceVersion" in message


@real
def test_the_servers_policies_guard_the_label_itself(bench: Bench) -> None:
    session, url = bench.hands.session, f"{bench.hands.url}{NAMESPACES}"
    stray = {"metadata": {"name": "shop-prod", "labels": {"ameide.io/managed-by": "preview"}}}
    assert session.post(url, json={"apiVersion": "v1", "kind": "Namespace", **stray}, timeout=20).status_code == 422
    bench.hands.namespace("pr-7")
    answer = session.patch(
        f"{url}/pr-7",
        json={"metadata": {"labels": {"ameide.io/managed-by": "hands"}}},
        headers={"Content-Type": "application/merge-patch+json"},
        timeout=20,
    )
    assert answer.status_code == 422
    assert "stays as it is" in answer.text


# --- kubectl as a peer


def kubectl(cluster: ApiServer, token: str, *arguments: str, home: Path) -> Any:
    """What kubectl makes of the server, as JSON."""
    command = ["kubectl", "--server", cluster.url, "--token", token, "--cache-dir", str(home / "cache")]
    command += ["--kubeconfig", "/dev/null", *arguments]
    if cluster.ca_file is not None:
        command += ["--certificate-authority", str(cluster.ca_file)]
    made = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(home), "PATH": "/usr/bin"}
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout) if "-o" in arguments else made.stdout


def agrees(cluster: ApiServer, home: Path) -> None:
    for number in range(1, 8):
        cluster.hands.namespace(f"pr-{number}")
    cluster.hands.application("web-1", "pr-1")
    shown = kubectl(cluster, JANITOR, "get", "namespaces", "--chunk-size=3", "-o", "json", home=home)
    applications = kubectl(cluster, ADMIN, "get", "applications", "-n", "argocd", "-o", "json", home=home)
    with cluster.client(home) as api:
        seen = api.look()
    theirs = {i["metadata"]["name"]: i["metadata"] for i in shown["items"]}
    ours = {n.name: n for n in seen.namespaces.items}
    assert theirs.keys() == ours.keys()
    assert {n: (m["uid"], m["resourceVersion"]) for n, m in theirs.items()} == {
        n: (o.uid, o.resource_version) for n, o in ours.items()
    }
    assert [a["spec"]["destination"]["namespace"] for a in applications["items"]] == [
        a.target for a in seen.applications.items
    ]
    with cluster.client(home) as api:
        assert api.delete_namespace(ours["pr-7"]).deleted is Deleted.ACCEPTED
    after = kubectl(cluster, JANITOR, "get", "namespace", "pr-7", "-o", "json", home=home)
    assert after["status"]["phase"] == "Terminating"


@pytest.mark.kubectl
def test_kubectl_reads_the_simulation_as_the_adapter_does(tmp_path: Path, loopback_certificate: Certificate) -> None:
    with run_simulation(loopback_certificate) as cluster:
        agrees(cluster, tmp_path)


@real
@pytest.mark.kubectl
def test_kubectl_reads_the_server_as_the_adapter_does(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with real_cluster(request) as cluster:
        agrees(cluster, tmp_path)
