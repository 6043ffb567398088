"""The official Python client of Kubernetes as a peer: what it sees, and what its deletes with preconditions do, is what
our adapter sees and does, on the simulation and on the real API server.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.janitor.cluster import Deleted, Namespace
from tests.fixtures.kubernetes_api import ADMIN, JANITOR, ApiServer, run_simulation
from tests.fixtures.kubernetes_real import real_cluster
from tools import kubernetes_client

pytestmark = pytest.mark.kubernetes_client

PEER: Final = Path(__file__).parents[2] / "fixtures" / "kubernetes_client_peer.py"
SIMULATED = pytest.param("simulated", id="simulated")
REAL = pytest.param("real", id="real", marks=pytest.mark.kubernetes)
MEANS: Final = {
    200: Deleted.ACCEPTED,
    404: Deleted.GONE,
    409: Deleted.CHANGED,
    403: Deleted.REFUSED,
    422: Deleted.REFUSED,
}


@pytest.fixture(params=[SIMULATED, REAL])
def cluster(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    if request.param == "real":
        with real_cluster(request) as made:
            yield made
        return
    with run_simulation() as made:
        yield made


def peer(cluster: ApiServer, token: str, *arguments: str) -> Any:
    command = [str(kubernetes_client.path_of()), str(PEER), cluster.url, str(cluster.ca_file or ""), token, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_sees_what_the_adapter_sees(cluster: ApiServer, tmp_path: Path) -> None:
    for number in range(1, 8):
        cluster.hands.namespace(f"pr-{number}")
    cluster.hands.namespace("pr-8", finalizers=["example.org/hold"])
    cluster.hands.call("DELETE", "/api/v1/namespaces/pr-8")
    cluster.hands.application("web-1", "pr-1")
    cluster.hands.application("nowhere", "")
    theirs = peer(cluster, ADMIN, "look")
    with cluster.client(tmp_path) as api:
        ours = api.look()
    assert (ours.namespaces.complete, ours.applications.complete) == (True, True)
    assert sorted(theirs["namespaces"], key=lambda n: n["name"]) == [
        {
            "created": n.created_at.isoformat(),
            "labels": dict(n.labels),
            "name": n.name,
            "resource_version": n.resource_version,
            "terminating": n.terminating,
            "uid": n.uid,
        }
        for n in sorted(ours.namespaces.items, key=lambda n: n.name)
    ]
    assert {n["name"] for n in theirs["namespaces"] if n["terminating"]} == {"pr-8"}
    assert sorted((a["name"], a["target"] or "") for a in theirs["applications"]) == sorted(
        (a.name, a.target) for a in ours.applications.items
    )


OTHER: Final = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("as read", Deleted.ACCEPTED),
        ("edited since", Deleted.CHANGED),
        ("another uid", Deleted.CHANGED),
        ("not there", Deleted.GONE),
        ("already terminating", Deleted.ACCEPTED),
        ("dry run", Deleted.ACCEPTED),
        ("dry run, edited since", Deleted.CHANGED),
    ],
)
def test_a_delete_with_preconditions_does_the_same_by_either(
    cluster: ApiServer, tmp_path: Path, case: str, expected: Deleted
) -> None:
    dry_run = case.startswith("dry run")
    answers, phases = [], []
    with cluster.client(tmp_path) as api:
        for who, name in (("adapter", "pr-7"), ("client", "pr-8")):
            cluster.hands.namespace(name)
            seen = _as_case(cluster, api.namespace(name), case)
            if who == "adapter":
                answers.append(api.delete_namespace(seen, dry_run=dry_run).deleted)
            else:
                arguments = (seen.name, seen.uid, seen.resource_version, "All" if dry_run else "")
                answers.append(MEANS[peer(cluster, JANITOR, "delete", *arguments)["status"]])
            now = api.namespace(name)
            phases.append(None if now is None else now.phase)
    assert answers == [expected, expected]
    terminating = case in ("as read", "already terminating")
    assert phases == [None if case == "not there" else "Terminating" if terminating else "Active"] * 2


def _as_case(cluster: ApiServer, seen: Namespace | None, case: str) -> Namespace:
    """What a run would delete in this case; the cluster is brought into it."""
    assert seen is not None
    if "edited since" in case:
        cluster.hands.edit(seen.name, {"metadata": {"annotations": {"x": "1"}}})
    if case == "another uid":
        return replace(seen, uid=OTHER)
    if case == "not there":
        cluster.hands.end(seen.name)
    if case == "already terminating":
        found = cluster.hands.call("DELETE", f"/api/v1/namespaces/{seen.name}")
        return replace(seen, resource_version=found["metadata"]["resourceVersion"])
    return seen
