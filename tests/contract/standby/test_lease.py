"""The lease on the simulated API and on a real Kubernetes API server, under the rights that the lane renders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.adapters.clock import WakefulClock
from reconciler.adapters.kubernetes_lease import KubernetesLease
from reconciler.election import Lease
from state.errors import Denied, Unavailable
from tests.fixtures.kubernetes_api import JANITOR, ApiServer
from tests.fixtures.kubernetes_real import real_cluster
from tests.fixtures.lease_api import LEASES, RECONCILER, run_lease_api

NOW = "2026-03-01T12:00:00.000001Z"


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.kubernetes)])
def cluster(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    if request.param == "simulated":
        with run_lease_api() as (_, made):
            yield made
        return
    with real_cluster(request) as made:
        made.hands.session.delete(f"{made.url}{LEASES}/ameide", timeout=20)
        yield made


@contextmanager
def client(cluster: ApiServer, folder: Path, token: str = RECONCILER) -> Iterator[KubernetesLease]:
    file = folder / f"token-{token}"
    file.write_text(token + "\n")
    file.chmod(0o600)
    made = KubernetesLease(
        cluster.url,
        "preview-system",
        "ameide",
        token_file=file,
        ca_file=cluster.ca_file,
        clock=WakefulClock(),
        call_timeout_s=20,
    )
    try:
        yield made
    finally:
        made.close()


def test_a_lease_is_made_read_and_replaced_only_as_it_was_read(cluster: ApiServer, tmp_path: Path) -> None:
    with client(cluster, tmp_path) as one, client(cluster, tmp_path) as other:
        assert one.read() is None
        first = Lease("one", 15, NOW, NOW, 0)
        assert one.write(first, None)
        assert not other.write(first._replace(holder="other"), None), "made once"
        seen = other.read()
        assert seen is not None
        assert seen.lease == first
        renewed = first._replace(renewed_at="2026-03-01T12:00:02.500000Z")
        assert one.write(renewed, one.read())
        assert not other.write(first._replace(holder="other", transitions=1), seen), "it was renewed meanwhile"
        now = one.read()
        assert now is not None
        assert now.lease == renewed
        assert one.write(renewed._replace(holder=""), now), "nobody's"
        free = other.read()
        assert free is not None
        assert free.lease.holder == ""
        assert other.write(first._replace(holder="other", transitions=1), free)
        taken = one.read()
        assert taken is not None
        assert (taken.lease.holder, taken.lease.transitions) == ("other", 1)


def test_what_others_wrote_into_the_object_stays(cluster: ApiServer, tmp_path: Path) -> None:
    with client(cluster, tmp_path) as lease:
        assert lease.write(Lease("one", 15, NOW, NOW, 0), None)
        found = lease.read()
        assert found is not None
        theirs = dict(found.version)  # type: ignore[call-overload]
        theirs["metadata"] = {**theirs["metadata"], "labels": {"team": "platform"}}
        assert lease.write(found.lease, found._replace(version=theirs))
        again = lease.read()
        assert again is not None
        assert lease.write(again.lease._replace(renewed_at="2026-03-01T12:00:04.000000Z"), again)
        kept = lease.read()
        assert kept is not None
        assert kept.version["metadata"]["labels"] == {"team": "platform"}  # type: ignore[index]


def test_of_many_that_write_at_once_one_wins(cluster: ApiServer, tmp_path: Path) -> None:
    with client(cluster, tmp_path) as lease:
        assert lease.write(Lease("", 15, NOW, NOW, 0), None)
        found = lease.read()
        won = []

        def takes(n: int) -> None:
            if lease.write(Lease(f"candidate-{n}", 15, NOW, NOW, 1), found):
                won.append(f"candidate-{n}")

        threads = [threading.Thread(target=takes, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held = lease.read()
    assert held is not None
    assert won == [held.lease.holder]


def test_who_may_not_is_told_what_to_mend(cluster: ApiServer, tmp_path: Path) -> None:
    with client(cluster, tmp_path, JANITOR) as lease, pytest.raises(Denied, match=r"`standby\.token_file`"):
        lease.read()


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": 7},
        {"holderIdentity": "a\nb"},
        {"holderIdentity": "x" * 301},
        {"leaseDurationSeconds": -1},
        {"leaseDurationSeconds": True},
        {"leaseTransitions": "many"},
        {"renewTime": "<script>"},
    ],
)
def test_a_record_that_no_client_of_leases_writes_is_not_understood(tmp_path: Path, spec: dict[str, object]) -> None:
    with run_lease_api() as (api, cluster), client(cluster, tmp_path) as lease:
        assert lease.write(Lease("one", 15, NOW, NOW, 0), None)
        api.edit(**spec)
        with pytest.raises(Unavailable, match="not what clients of leases write"):
            lease.read()


@pytest.mark.parametrize("body", [[], {"kind": "Status"}, {"kind": "Lease", "metadata": None}])
def test_an_answer_that_is_no_lease_is_no_absent_one(tmp_path: Path, body: object) -> None:
    with run_lease_api() as (api, cluster), client(cluster, tmp_path) as lease:
        api.leases["ameide"] = body  # type: ignore[assignment]
        with pytest.raises(Unavailable, match="no Lease"):
            lease.read()


def test_an_empty_record_is_nobodys(tmp_path: Path) -> None:
    with run_lease_api() as (api, cluster), client(cluster, tmp_path) as lease:
        assert lease.write(Lease("one", 15, NOW, NOW, 0), None)
        api.leases["ameide"]["spec"] = None
        found = lease.read()
    assert found is not None
    assert found.lease == Lease("", 0, "", "", 0)
