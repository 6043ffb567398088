"""Plans served on real sockets: by digest, and the newest of a pull request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.approval.served import Missing, ServedPlan
from reconciler.events import Emitter
from reconciler.web.apps import public_app
from reconciler.web.plans import PREFIX, PlanPages
from state import canonical
from state.errors import InvalidValue
from state.oci import Digest
from tests.contract.web.test_host import Running
from tests.fixtures.approvals import MAIN, PLAN, POLICY

SERVED = ServedPlan(PLAN, MAIN, POLICY.digest(), ("ghcr.io/acme/billing:old", None))
MISSING = Missing(("waiting for CI: orders", "no release set yet"))


class Known:
    """A `Plans` with one plan."""

    served = SERVED

    def by_digest(self, digest: Digest) -> ServedPlan | None:
        return self.served if digest == PLAN.digest() else None

    def newest(self, repository: str, pull_request: int, target: str) -> ServedPlan | Missing | None:
        if repository != "shop" or target != "dev":
            return None
        return self.served if pull_request == 41 else MISSING


@pytest.fixture
def plans() -> Known:
    return Known()


@pytest.fixture
def running(plans: Known) -> Iterator[Running]:
    emitter = Emitter(lambda _: None, SystemClock())
    made = Running(outside=public_app(emitter, {PREFIX: PlanPages(plans).handle}))
    yield made
    made.host.stop()


def test_a_plan_is_served_by_its_digest_and_can_be_checked(running: Running) -> None:
    answer = running.ask("public", f"{PREFIX}/{PLAN.digest()}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    read = ServedPlan.from_json(canonical.loads_object(answer.content, what="plan", max_bytes=10**6))
    assert read == SERVED
    assert Digest.of(read.plan.to_bytes()) == PLAN.digest()


def test_the_newest_plan_of_a_pull_request_is_served_or_what_is_missing(running: Running) -> None:
    ask = f"{PREFIX}?repository=shop&target=dev&pull_request="
    assert running.ask("public", ask + "41").json()["digest"] == PLAN.digest()
    answer = running.ask("public", ask + "42")
    assert answer.status_code == 200
    assert Missing.from_json(answer.json()) == MISSING


def test_an_unchanged_answer_is_not_sent_again_and_a_changed_one_is(running: Running, plans: Known) -> None:
    path = f"{PREFIX}/{PLAN.digest()}"
    tag = running.ask("public", path).headers["ETag"]
    again = running.ask("public", path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    plans.served = SERVED._replace(current=(None, None))
    assert running.ask("public", path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PREFIX}/{Digest.of(b'other')}", 404),
        (f"{PREFIX}/{PLAN.digest().hex}", 404),
        (f"{PREFIX}/{str(PLAN.digest()).upper()}", 404),
        (f"{PREFIX}/", 404),
        (f"{PREFIX}/x/y", 404),
        (f"{PREFIX}x", 404),
        (f"{PREFIX}/{PLAN.digest()}?x=1", 400),
        (PREFIX, 400),
        (f"{PREFIX}?repository=shop&target=dev", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=0", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=-1", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=%D9%A1", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=99999999999", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=41&pull_request=42", 400),
        (f"{PREFIX}?repository=shop&target=dev&pull_request=41&more=1", 400),
        (f"{PREFIX}?repository=other&target=dev&pull_request=41", 404),
        (f"{PREFIX}?repository=shop&target=prod&pull_request=41", 404),
    ],
)
def test_anything_else_is_not_answered(running: Running, path: str, status: int) -> None:
    assert running.ask("public", path).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_plans_are_read_only(running: Running, method: str) -> None:
    assert running.ask("public", f"{PREFIX}/{PLAN.digest()}", method).status_code == 405


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": Digest.of(b"other")},
        {"plan": {**PLAN.to_json(), "pull_request": 42}},
        {"current": []},
        {"current": [1, None]},
        {"current": ["x" * 2000, None]},
        {"base": "main"},
        {"more": 1},
    ],
)
def test_an_answer_that_is_not_as_the_daemon_writes_it_is_not_read(changed: dict[str, canonical.Json]) -> None:
    with pytest.raises(InvalidValue):
        ServedPlan.from_json({**SERVED.to_json(), **changed})
