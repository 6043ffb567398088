"""The port to the cluster: the adapter over the simulation, and over a real Kubernetes API server where it is built."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.adapters.kubernetes_api import KubernetesApi
from reconciler.janitor.cluster import Deleted, Namespace, Right
from reconciler.preview.names import MANAGED_BY, PR_LABEL
from state.errors import Denied
from tests.fixtures.kubernetes_api import ApiServer, run_simulation
from tests.fixtures.kubernetes_real import real_cluster

SIMULATED = pytest.param("simulated", id="simulated")
REAL = pytest.param("real", id="real", marks=pytest.mark.kubernetes)


@pytest.fixture(params=[SIMULATED, REAL])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    """Without a namespace of a preview; `argocd` may have Applications, and the janitor has the lane's rights."""
    if request.param == "real":
        with real_cluster(request) as made:
            yield made
        return
    with run_simulation() as made:
        yield made


@pytest.fixture
def api(cluster: ApiServer, tmp_path: Path) -> Iterator[KubernetesApi]:
    with cluster.client(tmp_path) as made:
        yield made


def previews(api: KubernetesApi) -> dict[str, Namespace]:
    seen = api.look().namespaces
    assert seen.complete
    return {n.name: n for n in seen.items if n.name.startswith("pr-")}


def test_a_look_sees_every_namespace_over_all_chunks_with_what_decides(cluster: ApiServer, api: KubernetesApi) -> None:
    cluster.hands.application("shop", "shop-dev")
    for number in range(1, 11):
        cluster.hands.namespace(f"pr-{number}")
    found = previews(api)
    assert sorted(found) == sorted(f"pr-{n}" for n in range(1, 11))
    seven = found["pr-7"]
    assert seven.labels.items() >= {MANAGED_BY: "preview", PR_LABEL: "7"}.items()
    assert (seven.phase, seven.terminating, seven.finalizers) == ("Active", False, ("kubernetes",))
    assert abs(datetime.now(UTC) - seven.created_at) < timedelta(minutes=5)
    assert api.namespace("pr-7") == seven
    assert len({n.uid for n in found.values()}) == 10
    assert api.namespace("pr-11") is None


def test_a_look_tells_the_servers_time(api: KubernetesApi) -> None:
    assert abs(datetime.now(UTC) - api.look().at) < timedelta(minutes=1)


def test_applications_are_seen_with_their_destination(cluster: ApiServer, api: KubernetesApi) -> None:
    for number in range(8):
        cluster.hands.application(f"app-{number}", f"pr-{number}")
    cluster.hands.application("named", "pr-77", server="", name="in-cluster")
    cluster.hands.application("elsewhere", "pr-99", namespace="team-a")
    seen = api.look().applications
    assert seen.complete
    by_name = {a.name: a for a in seen.items}
    assert sorted(by_name) == [*(f"app-{n}" for n in range(8)), "named"]
    assert (by_name["app-3"].target, by_name["app-3"].server) == ("pr-3", "https://kubernetes.default.svc")
    assert (by_name["named"].target, by_name["named"].server, by_name["named"].cluster) == ("pr-77", "", "in-cluster")


def test_applications_of_every_enabled_namespace_are_seen(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.hands.application("here", "pr-1")
    cluster.hands.application("there", "pr-2", namespace="team-a")
    with cluster.client(tmp_path, application_namespaces=("argocd", "team-a")) as both:
        assert sorted((a.namespace, a.target) for a in both.applications().items) == [
            ("argocd", "pr-1"),
            ("team-a", "pr-2"),
        ]


def test_no_application_at_all_is_no_complete_answer(cluster: ApiServer, tmp_path: Path) -> None:
    with cluster.client(tmp_path) as careful:
        seen = careful.look().applications
        assert not seen.complete
        assert "require_applications" in seen.why
    with cluster.client(tmp_path, require_applications=False) as bold:
        assert bold.look().applications.complete


def test_a_deletion_is_asked_for_and_not_waited_for(cluster: ApiServer, api: KubernetesApi) -> None:
    cluster.hands.namespace("pr-7")
    seven = previews(api)["pr-7"]
    assert api.delete_namespace(seven).deleted is Deleted.ACCEPTED
    now = api.namespace("pr-7")
    assert now is not None
    assert now.terminating
    assert now.phase == "Terminating"
    assert now.deleting_since is not None
    assert now.finalizers == ("kubernetes",)


def test_a_deletion_needs_the_uid_and_the_resource_version_that_were_read(
    cluster: ApiServer, api: KubernetesApi
) -> None:
    cluster.hands.namespace("pr-7")
    seven = previews(api)["pr-7"]
    cluster.hands.edit("pr-7", {"metadata": {"annotations": {"touched": "yes"}}})
    assert api.delete_namespace(seven).deleted is Deleted.CHANGED
    edited = previews(api)["pr-7"]
    assert edited.resource_version != seven.resource_version
    assert api.delete_namespace(replace(edited, uid=str(uuid.uuid4()))).deleted is Deleted.CHANGED
    assert not previews(api)["pr-7"].terminating


def test_a_namespace_made_anew_is_not_the_one_that_was_looked_at(cluster: ApiServer, api: KubernetesApi) -> None:
    cluster.hands.namespace("pr-7")
    before = previews(api)["pr-7"]
    cluster.hands.anew("pr-7")
    after = previews(api)["pr-7"]
    assert after.uid != before.uid
    assert api.delete_namespace(before).deleted is Deleted.CHANGED
    assert not previews(api)["pr-7"].terminating


def test_a_namespace_that_is_gone_is_told_as_gone(cluster: ApiServer, api: KubernetesApi) -> None:
    cluster.hands.namespace("pr-7")
    seven = previews(api)["pr-7"]
    cluster.hands.end("pr-7")
    assert api.delete_namespace(seven).deleted is Deleted.GONE


def test_a_dry_run_is_judged_and_deletes_nothing(cluster: ApiServer, api: KubernetesApi) -> None:
    cluster.hands.namespace("pr-7")
    seven = previews(api)["pr-7"]
    assert api.delete_namespace(seven, dry_run=True).deleted is Deleted.ACCEPTED
    assert api.namespace("pr-7") == seven
    assert api.delete_namespace(replace(seven, resource_version="1"), dry_run=True).deleted is Deleted.CHANGED


def test_rights_are_told_one_by_one(api: KubernetesApi) -> None:
    assert api.may(Right("delete", "", "namespaces"))
    assert api.may(Right("list", "argoproj.io", "applications", "argocd"))
    assert not api.may(Right("patch", "", "namespaces"))
    assert not api.may(Right("update", "", "namespaces", "", "finalize"))
    assert not api.may(Right("delete", "argoproj.io", "applications", "argocd"))
    assert not api.may(Right("list", "", "secrets"))


def test_a_missing_right_is_denied_and_named(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.hands.application("shop", "shop-dev")
    with cluster.client(tmp_path, application_namespaces=("argocd", "kube-system")) as api:
        if cluster.simulated is not None:
            cluster.simulated.rights.discard(("list", "applications.argoproj.io"))
        with pytest.raises(Denied, match=r"403.*applications"):
            api.look()


def test_a_token_that_is_not_accepted_is_denied(cluster: ApiServer, tmp_path: Path) -> None:
    with replace(cluster, token="nobody").client(tmp_path) as api, pytest.raises(Denied, match="401"):
        api.look()


def test_a_rotated_token_counts_from_the_next_call(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.hands.application("shop", "shop-dev")
    with replace(cluster, token="nobody").client(tmp_path) as api:
        with pytest.raises(Denied):
            api.look()
        cluster.token_file(tmp_path)
        assert api.look().applications.complete
