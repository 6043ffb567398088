"""Retags through whole passes: the same bytes under another tag, on real registries, for as few requests as can be."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from state.git import CommitId
from tests.fixtures.distribution import RegistryServer
from tests.fixtures.oci_images import push_image
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, cells, changes

_BY_TAG = re.compile(r"/v2/shop/(?P<image>[a-z]+)/manifests/(?P<reference>[0-9a-f]{40}|main)")


@pytest.fixture
def embedded_shop(shop: Shop) -> Shop:
    return shop


@pytest.fixture
def distribution_shop(tmp_path: Path, distribution: RegistryServer) -> Shop:
    return Shop(tmp_path, distribution.host)


@pytest.fixture
def distribution3_shop(tmp_path: Path, distribution3: RegistryServer) -> Shop:
    return Shop(tmp_path, distribution3.host)


@pytest.fixture(
    params=[
        "embedded_shop",
        pytest.param("distribution_shop", marks=pytest.mark.distribution),
        pytest.param("distribution3_shop", marks=pytest.mark.distribution3),
    ]
)
def any_shop(request: pytest.FixtureRequest) -> Shop:
    """The shop on the embedded registry and on distribution."""
    shop: Shop = request.getfixturevalue(request.param)
    return shop


def test_every_kind_of_manifest_is_retagged_byte_for_byte_with_its_media_type(any_shop: Shop) -> None:
    shop = any_shop
    baselines = {
        "orders": push_image(shop.host, "shop/orders", "main", odd_spacing=True, content="a"),
        "billing": push_image(shop.host, "shop/billing", "main", single=True, odd_spacing=True, content="b"),
        "catalog": push_image(shop.host, "shop/catalog", "main", docker=True, single=True, odd_spacing=True),
        "web": push_image(shop.host, "shop/web", "main", docker=True, odd_spacing=True, content="d"),
    }
    assert len({m.media_type for m in baselines.values()}) == 4
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        report = running.until_quiet()
    assert report.converged
    for image, baseline in baselines.items():
        made = shop.tag(image, head)
        assert made is not None
        assert (made.media_type, made.raw) == (baseline.media_type, baseline.raw)
        assert cells(report, number)[image].digest == baseline.digest
    shop.verified()


def test_a_pass_over_finished_heads_asks_the_registry_nothing(shop: Shop) -> None:
    shop.opens("docs", DOCS)
    _, built = shop.opens("orders", changes("orders"))
    shop.world.ci_builds("orders", built)
    with shop.reconciler() as running:
        assert running.until_quiet().converged
        before = len(shop.entries())
        with shop.requests_made() as made:
            running.one_pass()
            running.one_pass(1, 2)
        assert made == []
        assert len(shop.entries()) == before


def test_a_new_head_costs_one_look_one_premise_one_write_and_one_reading_back_for_each_image(shop: Shop) -> None:
    shop.opens("first", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        _, head = shop.opens("second", {"README.md": "other\n"})
        with shop.requests_made() as made:
            report = running.one_pass()
    assert report.converged
    calls = Counter((method, *_asked(path, head)) for method, path, _ in made)
    wanted: Counter[tuple[str, str, str]] = Counter()
    for image in IMAGE_NAMES:
        wanted["GET", image, "main"] = 1  # baseline
        wanted["HEAD", image, "head"] = 3  # observed, premise, read back
        wanted["HEAD", image, "main"] = 1  # the control that the premise's 404 is one
        wanted["PUT", image, "head"] = 1
    assert calls == wanted
    assert {status for method, _, status in made if method == "PUT"} == {201}


def test_several_heads_of_one_baseline_take_fewer_writes_than_tags_and_each_is_read_back(shop: Shop) -> None:
    heads = [shop.opens(f"pr{n}", {"README.md": f"{n}\n"})[1] for n in range(12)]
    with shop.reconciler() as running, shop.requests_made() as made:
        report = running.until_quiet()
    assert report.converged
    puts = [n for n, (method, *_) in enumerate(made) if method == "PUT"]
    assert len(puts) == 2 * len(IMAGE_NAMES)  # 10 tags, then 2
    numbers = running.metrics.exposition().decode().splitlines()
    assert f"ameide_tag_write_seconds_count {len(puts):.1f}" in numbers
    assert f'ameide_tag_writes_total{{result="written"}} {len(heads) * len(IMAGE_NAMES):.1f}' in numbers
    for image in IMAGE_NAMES:
        for head in heads:
            asked = [n for n, call in enumerate(made) if call[:2] == ("HEAD", f"/v2/shop/{image}/manifests/{head}")]
            assert min(asked) < puts[0]  # the premise
            assert max(asked) > puts[-1]  # the reading back
            assert shop.tag(image, head) == shop.tag(image, "main")
    shop.verified()


def test_heads_of_one_baseline_are_all_tagged_whether_or_not_a_registry_takes_several(any_shop: Shop) -> None:
    shop = any_shop
    for image in IMAGE_NAMES:
        push_image(shop.host, f"shop/{image}", "main", content=image)
    heads = [shop.opens(f"pr{n}", {"README.md": f"{n}\n"})[1] for n in range(3)]
    with shop.reconciler() as running:
        assert running.until_quiet().converged
    for image in IMAGE_NAMES:
        assert [shop.tag(image, head) for head in heads] == [shop.tag(image, "main")] * 3
    shop.verified()


def test_a_head_waited_for_is_asked_for_at_growing_intervals(shop: Shop) -> None:
    shop.configure(poll_interval_s=100, sweep_interval_s=7 * 24 * 3600)
    shop.opens("orders", changes("orders"))
    with shop.reconciler() as running:
        running.one_pass()
        for wait_s in (100, 200, 300, 300):
            for part, is_due in ((0.85, False), (0.3, True)):
                running.clock.skew_s += part * wait_s
                with shop.requests_made() as made:
                    running.one_pass()
                assert [method for method, path, _ in made if not path.endswith("/main")] == ["HEAD"] * is_due, wait_s


def _asked(path: str, head: CommitId) -> tuple[str, str]:
    found = _BY_TAG.fullmatch(path)
    assert found is not None, path
    return found["image"], "head" if found["reference"] == head else found["reference"]
