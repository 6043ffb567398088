"""`ameide release show|verify` and `ameide evidence verify`, on a registry that was tampered with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reconciler.demo.ci import publisher
from reconciler.demo.images import build_and_push
from state.oci import OCI_MANIFEST, Digest, Manifest, Tag
from state.release_set import ReleaseSet
from tests.fixtures.oci_images import put_raw
from tests.fixtures.proving import Proving
from tests.fixtures.shop import DOCS, IMAGE_NAMES, open_shop


@pytest.fixture
def proving(tmp_path: Path) -> Iterator[Proving]:
    with open_shop(tmp_path / "shop") as shop, publisher(shop.host) as ci:
        yield Proving(shop, ci)


def test_release_show_and_verify_say_exactly_what_no_longer_holds(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)
    config = ("--config", str(shop.config))
    assert shop.runs("release", "show", head, *config).returncode == 1
    with shop.reconciler() as running:
        running.until_quiet()
    found = proving.release(head)
    assert found is not None
    shown = shop.runs("release", "show", head, *config, "--json")
    assert json.loads(shown.stdout) == {"manifest": found[0], "release_set": json.loads(found[1].to_bytes())}
    assert "orders, orders-dispatcher" in shop.runs("release", "show", head, *config).stdout
    good = shop.runs("release", "verify", head, *config)
    assert (good.returncode, good.stderr) == (0, "")
    evidence = sum(len(i.evidence) for i in found[1].images)
    assert f"of {2 + 2 * len(IMAGE_NAMES) + evidence} claims" in good.stdout.replace("\n", " ")
    web = next(i for i in found[1].images if i.repository.path == "shop/web")
    build_and_push(web.repository, Tag(head), "f" * 40)
    assert shop.registry is not None
    gone = shop.registry.call("DELETE", f"/v2/shop/billing/manifests/{_evidence(found[1], 'billing')}")
    assert gone.status_code == 202
    bad = shop.runs("release", "verify", head, *config, "--json")
    assert bad.returncode == 1
    against = {c["claim"]: c["against"] for c in json.loads(bad.stdout)["claims"] if not c["holds"]}
    assert next(iter(against.values())) == "it is gone"
    assert against[f"{web.repository}:{head} is {web.digest}"].startswith("the tag reads sha256:")
    assert sorted(claim.partition("/shop/")[2].partition("@")[0].partition(":")[0] for claim in against) == [
        "billing", "billing", "web",
    ]  # fmt: skip


def test_release_verify_tells_evidence_that_is_there_and_not_whole_from_evidence_that_is_gone(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    found = proving.release(head)
    assert found is not None
    assert shop.registry is not None
    (evidence,) = next(i.evidence for i in found[1].images if i.repository.path == "shop/web")
    layer = proving.get(f"web/manifests/{evidence}").json()["layers"][0]["digest"]
    assert shop.registry.call("DELETE", f"/v2/shop/web/blobs/{layer}").status_code == 202
    bad = shop.runs("release", "verify", head, "--config", str(shop.config), "--json")
    broken = [(c["claim"], c["against"]) for c in json.loads(bad.stdout)["claims"] if not c["holds"]]
    web = shop.world.repository("web")
    assert broken[0] == (
        f"{web}: evidence {evidence} is there",
        f"{evidence.short}: its blob {layer[:19]} is not there",
    )
    assert broken[1][0].endswith("counts as baseline now")
    assert len(broken) == 2


def test_release_verify_notices_another_spelling_of_the_same_set(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    found = proving.release(head)
    assert found is not None
    held = proving.get(f"release-sets/manifests/{head}")
    with requests.Session() as session:
        other = Manifest.of(OCI_MANIFEST, held.content.rstrip() + b"\n")
        put_raw(f"http://{shop.host}/v2/shop/release-sets", session, head, other)
    bad = shop.runs("release", "verify", head, "--config", str(shop.config), "--json")
    against = {c["claim"]: c["against"] for c in json.loads(bad.stdout)["claims"] if not c["holds"]}
    assert against == {
        "the manifest is the one of this set": f"expected {found[0]}, found {other.digest}",
        "the set is signed by the configured signer": "nothing is attached to it",
    }


def test_a_release_set_of_another_key_is_not_ours(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    other = proving.settings()
    other["evidence"]["signer"] |= {
        "key_file": str(proving.stranger.private),
        "password_file": str(proving.stranger.password),
    }
    shop.configure(shop=other)
    bad = shop.runs("release", "verify", head, "--config", str(shop.config), "--json")
    broken = [c for c in json.loads(bad.stdout)["claims"] if not c["holds"]]
    assert [c["claim"] for c in broken] == ["the set is signed by the configured signer"]
    assert "signed by none of the configured keys" in broken[0]["against"]


def test_evidence_verify_tells_one_digest_apart_from_another(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains("web")
    config = ("--config", str(shop.config))
    orders, web = (f"{shop.world.repository(i)}@{shop.main(i)}" for i in ("orders", "web"))
    good = shop.runs("evidence", "verify", orders, *config, "--json")
    assert (good.returncode, json.loads(good.stdout)["outcome"]) == (0, "accepted")
    bad = shop.runs("evidence", "verify", web, *config, "--json")
    assert (bad.returncode, json.loads(bad.stdout)["refusal"]) == (1, "no-evidence")
    built = shop.runs("evidence", "verify", orders, *config, "--head", "f" * 40)
    assert built.returncode == 1
    assert "refused (wrong-revision) as pull request" in built.stdout
    assert shop.runs("evidence", "verify", "orders", *config).returncode == 2


def _evidence(release: ReleaseSet, image: str) -> Digest:
    return next(i.evidence[0] for i in release.images if i.repository.path == f"shop/{image}")
