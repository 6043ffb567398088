"""A repository of release sets whose tags cannot be moved: after `head accept` nothing is tried for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.demo.ci import publisher
from reconciler.passes import PassReport
from state.entry import Kind
from state.git import CommitId
from state.oci import Digest
from tests.e2e.test_drift import accept
from tests.e2e.test_release import _push_other
from tests.fixtures.proving import BRANCH, Proving
from tests.fixtures.registry_stub import Front, Reply, Seen, Stub, error
from tests.fixtures.shop import SWEPT_S, Shop, cells, changes, serving
from tests.unit.test_config_commands import findings


class Fixed:
    """A shop whose registry moves no tag of the release sets, as ECR and Harbor can be told to."""

    def __init__(self, proving: Proving, front: Front) -> None:
        self.proving = proving
        self.shop = proving.shop
        self.refused: list[str] = []
        self._front = front
        front.fault = self._fixed

    def _fixed(self, seen: Seen) -> Reply | None:
        tag = re.fullmatch(r"/v2/shop/release-sets/manifests/[0-9a-f]{40}", seen.path)
        if seen.method != "PUT" or tag is None:
            return None
        there = self._front.forwards(Seen("HEAD", seen.path, "", dict(seen.headers), b""))
        if there.status == 404 or there.headers["Docker-Content-Digest"] == Digest.of(seen.body):
            return None
        self.refused.append(seen.path)
        return error(400, "TAG_INVALID", "The tag is immutable and exists")

    def built(self, head: CommitId) -> None:
        self.shop.world.ci_builds("orders", head)
        self.proving.attests("orders", head, head, ref=BRANCH)

    def publications(self) -> int:
        return sum("publications" in logged.entry.body for logged in self.shop.entries(Kind.INTENT))


@pytest.fixture
def fixed(tmp_path: Path, stub: Stub) -> Iterator[Fixed]:
    (tmp_path / "shop").mkdir()
    with serving(tmp_path / "registry") as upstream, publisher(stub.host) as ci:
        front = Front(stub, upstream.host)
        yield Fixed(Proving(Shop(tmp_path / "shop", front.host, upstream), ci), front)


def of_the_release(report: PassReport, number: int) -> list[tuple[str, str]]:
    """State and reason of the row of the release set that is not published."""
    return [(c.state.value, c.reason) for c in report.cells if c.pr == number and c.of_release_set]


def test_a_void_release_set_that_cannot_be_replaced_is_held_with_a_remedy_until_a_new_commit(fixed: Fixed) -> None:
    shop, proving = fixed.shop, fixed.proving
    shop.previews("orders")
    number, head = shop.opens("orders", changes("orders"))
    fixed.built(head)
    with shop.reconciler() as running:
        running.until_quiet()
        first = proving.release(head)
        assert first is not None
        _push_other(shop, shop.world.repository("orders"), head)
        proving.attests("orders", head, head, ref=BRANCH)
        running.clock.skew_s += SWEPT_S
        running.one_pass()
        report = running.until_quiet()
        assert cells(report, number)["orders"].reason == "tag-conflict"
        assert accept(shop, number).return_value == 0
        report = running.until_quiet()
        assert of_the_release(report, number) == [("held", "release-refused")]
        tried = (len(fixed.refused), fixed.publications())
        assert tried[0] == 1
        for _ in range(2):
            running.clock.skew_s += SWEPT_S
            report = running.one_pass()
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert of_the_release(report, number) == [("held", "release-refused")]
        assert (len(fixed.refused), fixed.publications()) == tried
        assert proving.release(head) == first
        told = findings(shop.config)[1]["shop: release sets"]
        assert (told["status"], head[:12] in told["found"]) == ("warn", True)
        second = shop.world.branch("orders", {"orders/main.py": "print('again')\n"}, "again")
        shop.pulls.push(number, second)
        fixed.built(second)
        report = running.until_quiet()
    assert of_the_release(report, number) == []
    assert findings(shop.config)[1]["shop: release sets"]["found"] == "1 open heads have one"
    assert proving.release(second) is not None
    shop.verified()
