"""What `ameide doctor` says of standing by."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.doctor.findings import Status
from reconciler.doctor.standby import diagnose
from reconciler.settings.standby import StandbySettings
from tests.fixtures.kubernetes_api import JANITOR
from tests.fixtures.lease_api import LEASES, RECONCILER, run_lease_api

_RIGHTS = {("get", "leases.coordination.k8s.io"), ("update", "leases.coordination.k8s.io")}


def section(url: str, token: Path) -> StandbySettings:
    return StandbySettings(server=url, token_file=token, namespace="preview-system")


@pytest.mark.parametrize("rights", [{*_RIGHTS, ("create", "leases.coordination.k8s.io")}, _RIGHTS])
def test_rights_and_lease_are_looked_at_and_nothing_is_written(tmp_path: Path, rights: set[tuple[str, str]]) -> None:
    token = tmp_path / "token"
    token.write_text(RECONCILER + "\n")
    token.chmod(0o600)
    with run_lease_api() as (api, cluster):
        api.simulated.tokens[RECONCILER] = "reconciler"
        api.simulated.rights = rights
        found = list(diagnose(section(cluster.url, token), SystemClock()))
        assert not api.leases
        assert {s.method for s in api.seen} == {"GET"}
        assert {s.path for s in api.seen} == {f"{LEASES}/ameide"}
    whole = len(rights) == 3
    assert [f.status for f in found] == [Status.OK if whole else Status.FAIL, Status.OK]
    assert found[0].found == ("3 of 3" if whole else "missing: create leases.coordination.k8s.io in preview-system")
    assert found[1].found == "preview-system/ameide: not there yet; the first replica makes it"


def test_a_token_that_may_not_is_told(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(JANITOR + "\n")
    token.chmod(0o600)
    with run_lease_api() as (_, cluster):
        found = list(diagnose(section(cluster.url, token), SystemClock()))
    assert [f.status for f in found] == [Status.FAIL, Status.FAIL]
    assert "missing: get" in found[0].found


def test_outside_the_pod_it_says_where_to_run_it(tmp_path: Path) -> None:
    (found,) = diagnose(section("http://127.0.0.1:1", tmp_path / "token"), SystemClock())
    assert (found.status, found.remedy) == (Status.WARN, "run `ameide doctor` in the pod, or name its token file")
