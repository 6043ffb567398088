"""Verified baselines and builds, and a signed release set per complete head, from configuration to registry and log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.demo.ci import publisher
from reconciler.demo.world import COMPONENTS
from state.entry import Kind
from state.git import CommitId
from state.oci import Repository, Tag
from state.release_set import PREDICATE_TYPE
from state.statement import SPDX, VERIFICATION_SUMMARY
from tests.fixtures.evidence import statement
from tests.fixtures.oci_images import push_with_buildkit_statement
from tests.fixtures.proving import BRANCH, Proving, own_statements, sign_v2, spdx, statements_of
from tests.fixtures.shop import DOCS, IMAGE_NAMES, SWEPT_S, Shop, cells, changes, open_shop
from tests.fixtures.sigstore import PrivateSigstore, claims, token, write_json


@pytest.fixture
def proving(tmp_path: Path) -> Iterator[Proving]:
    with open_shop(tmp_path / "shop") as shop, publisher(shop.host) as ci:
        yield Proving(shop, ci)


def states(report: Any, pr: int) -> dict[str, tuple[str, str, str]]:
    return {c: (cell.state.value, cell.reason, cell.detail[:14]) for c, cell in cells(report, pr).items()}


def test_only_proven_baselines_fill_a_head_and_the_matrix_says_why_the_others_do_not(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains("catalog", "web")
    proving.attests("web", "main", shop.world.tip(shop.code), proving.stranger)
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        report = running.until_quiet()
    rows = cells(report, number)
    assert {c: r.state.value for c, r in rows.items()} == {
        "orders": "retagged", "orders-dispatcher": "retagged", "billing": "retagged",
        "catalog": "held", "web": "held",
    }  # fmt: skip
    assert rows["orders"].proven
    assert (rows["catalog"].reason, rows["catalog"].detail) == ("baseline-refused", "nothing is attached to the digest")
    assert rows["web"].reason == "baseline-refused"
    assert "signed by none of the configured keys" in rows["web"].detail
    assert shop.tags(head)["catalog"] is None
    assert shop.tags(head)["web"] is None
    assert proving.release(head) is None


def test_a_complete_head_gets_one_signed_release_set_that_names_every_image_and_its_evidence(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    number, head = shop.opens("orders", {**DOCS, **changes("orders")})
    shop.world.ci_builds("orders", head)
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, number)["orders"].reason == "build-refused"
        assert proving.release(head) is None
        proving.attests("orders", head, head, ref=BRANCH)
        report = running.until_quiet(number)
        found = proving.release(head)
        assert found is not None
        digest, released = found
        assert {c.release for c in cells(report, number).values()} == {digest}
        assert released.digests() == {shop.world.repository(i): d for i, d in shop.tags(head).items()}
        assert sorted(c for i in released.images for c in i.components) == sorted(COMPONENTS)
        assert {i.repository.path: i.how.value for i in released.images} == {
            f"shop/{i}": "built" if i == "orders" else "retagged" for i in IMAGE_NAMES
        }
        for image in released.images:
            attached = {
                row["digest"] for row in proving.referrers(image.repository.path.partition("/")[2], image.digest)
            }
            assert set(image.evidence) < attached
        with shop.requests_made() as asked:
            assert running.one_pass().plan.is_noop
        assert [a for a in asked if a[0] != "GET" and a[0] != "HEAD"] == []
    shop.verified()
    signed = statements_of(proving, "release-sets", digest)
    assert [s.predicate_type for s in signed] == [PREDICATE_TYPE]
    assert set(signed[0].subjects) == {digest, *released.digests().values()}
    assert signed[0].predicate == json.loads(released.to_bytes())


def test_attachments_belong_to_digests_and_do_not_grow_with_heads(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    heads = []
    with shop.reconciler() as running:
        for n in range(4):
            heads.append(shop.opens(f"docs-{n}", {"README.md": f"{n}\n"})[1])
            running.until_quiet()
    for image in IMAGE_NAMES:
        rows = proving.referrers(image, shop.main(image))
        types = sorted(r["annotations"]["dev.sigstore.bundle.predicateType"] for r in rows)
        assert types == ["https://slsa.dev/provenance/v1", VERIFICATION_SUMMARY]
    assert all(proving.release(head) for head in heads)
    attached = [e for e in shop.entries(Kind.INTENT) if e.entry.body.get("attachments")]
    assert len(attached) == 1


def test_a_build_of_another_revision_is_refused_although_ci_signed_it(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    number, head = shop.opens("orders", changes("orders"))
    shop.world.ci_builds("orders", head)
    proving.attests("orders", head, shop.world.tip(shop.code), ref=BRANCH)
    with shop.reconciler() as running:
        report = running.until_quiet()
    row = cells(report, number)["orders"]
    assert (row.state.value, row.reason) == ("held", "build-refused")
    assert head in row.detail


def test_a_tag_that_moves_after_its_release_quarantines_the_head_although_ci_signed_the_new_build(
    proving: Proving,
) -> None:
    shop = proving.shop
    proving.attests_mains()
    number, head = shop.opens("orders", changes("orders"))
    shop.world.ci_builds("orders", head)
    proving.attests("orders", head, head, ref=BRANCH)
    with shop.reconciler() as running:
        running.until_quiet()
        first = proving.release(head)
        assert first is not None
        image = shop.world.repository("orders")
        _push_other(shop, image, head)
        proving.attests("orders", head, head, ref=BRANCH)
        running.clock.skew_s += SWEPT_S
        running.one_pass()
        report = running.until_quiet()
        assert cells(report, number)["orders"].reason == "tag-conflict"
    # Another process has read none of the tags: it must not take them from the release set, which is void by then.
    with shop.reconciler() as running:
        accepted = shop.runs("head", "accept", "--config", str(shop.config), "--pr", str(number), "--reason", "known")
        assert accepted.returncode == 0, accepted.stderr
        report = running.until_quiet()
        second = proving.release(head)
    assert second is not None
    assert second[0] != first[0]
    assert second[1].digests()[image] == shop.tags(head)["orders"] != first[1].digests()[image]
    rows = [row for e in shop.entries(Kind.OUTCOME) for row in e.entry.body["writes"] if row["repository"] == image]  # type: ignore[union-attr]
    assert [row["digest"] for row in rows] == [first[1].digests()[image], second[1].digests()[image]]
    assert cells(report, number)["orders"].state.value == "built"
    shop.verified()


@pytest.mark.parametrize("lost", ["outcome", "tag"])
def test_a_process_that_ends_while_it_releases_is_continued_by_the_next_one(proving: Proving, lost: str) -> None:
    shop = proving.shop
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)

    class Stops:
        """The log of a process that ends right before one entry, or the registry that loses one answer."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def append(self, kind: Kind, body: Any, blobs: Any = None) -> Any:
            if kind is Kind.OUTCOME and body.get("publications") and lost == "outcome":
                raise Gone
            if kind is Kind.INTENT and body.get("publications") and lost == "tag":
                self._inner.append(kind, body, blobs)
                raise Gone
            return self._inner.append(kind, body, blobs)

    class Gone(BaseException):
        pass

    def wrap(ports: Any) -> Any:
        ports.log = _Around(ports.log, Stops(ports.log))
        return ports

    with pytest.raises(Gone), shop.reconciler(wrap) as running:
        running.until_quiet()
    assert (proving.release(head) is not None) is (lost == "outcome")
    with shop.reconciler() as running:
        running.until_quiet()
    found = proving.release(head)
    assert found is not None
    assert len(statements_of(proving, "release-sets", found[0])) == 1
    shop.verified()


class _Around:
    def __init__(self, log: Any, stops: Any) -> None:
        self._log, self._stops = log, stops

    def __enter__(self) -> Any:
        self._log.__enter__()
        return self

    def __exit__(self, *of: object) -> Any:
        return self._log.__exit__(*of)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stops, name)


def _push_other(shop: Shop, image: Repository, head: CommitId) -> None:
    from reconciler.demo.images import build_and_push

    build_and_push(image, Tag(head), "f" * 40)


def pushes_with_sbom(shop: Shop, image: str, sbom: dict[str, Any]) -> None:
    """CI on main pushes an index with BuildKit's SBOM of its first platform."""
    main = shop.tag(image, "main")
    assert main is not None
    platform = json.loads(main.raw)["manifests"][0]["digest"]
    said = statement(platform, SPDX, sbom)
    push_with_buildkit_statement(shop.host, f"shop/{image}", "main", main, statement=said, predicate_type=SPDX)


def test_an_sbom_of_buildkit_is_signed_and_attached_once_and_an_invalid_one_is_told(proving: Proving) -> None:
    shop = proving.shop
    pushes_with_sbom(shop, "billing", spdx())
    pushes_with_sbom(shop, "web", spdx(dataLicense="MIT"))
    proving.attests_mains()
    heads = []
    with shop.reconciler() as running:
        for n in range(2):
            heads.append(shop.opens(f"docs-{n}", {"README.md": f"{n}\n"})[1])
            running.until_quiet()
        told = running.events("sbom_refused")
    assert all(proving.release(head) for head in heads)
    types = {i: sorted(s.predicate_type for s in own_statements(proving, i)) for i in ("billing", "web")}
    assert types == {"billing": [VERIFICATION_SUMMARY, SPDX], "web": [VERIFICATION_SUMMARY]}
    (attached,) = (s for s in own_statements(proving, "billing") if s.predicate_type == SPDX)
    assert attached.predicate == spdx()
    assert shop.main("billing") in attached.subjects
    assert [(e["repository"].rpartition("/")[2], "dataLicense" in e["detail"]) for e in told] == [("web", True)]
    shop.verified()


def test_a_digest_whose_only_signature_is_of_cosign_v2_gets_no_bundle_and_is_released_all_the_same(
    proving: Proving,
) -> None:
    shop = proving.shop
    shop.configure(shop=proving.settings(cosign_v2=True, baseline="signature"))
    proving.attests_mains("web")
    password = proving.ci.password.read_bytes().strip()
    key = serialization.load_pem_private_key(proving.ci.private.read_bytes(), password)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    sign_v2(shop.host, "shop/web", shop.main("web"), key)
    heads = []
    with shop.reconciler() as running:
        for n in range(2):
            heads.append(shop.opens(f"docs-{n}", {"README.md": f"{n}\n"})[1])
            running.until_quiet()
    assert all(proving.release(head) for head in heads)
    assert proving.referrers("web", shop.main("web")) == []


def without_its_log(shop: Shop) -> None:
    shutil.rmtree(shop.log)
    shutil.rmtree(shop.root / "state")


def tags_read(asked: list[tuple[str, str, int]], head: CommitId) -> set[str]:
    return {path for _, path, _ in asked if path.endswith(f"/manifests/{head}") and "release-sets" not in path}


def test_a_start_without_a_log_reads_one_release_set_for_each_head_and_no_tag(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    number, head = shop.opens("orders", changes("orders"))
    shop.world.ci_builds("orders", head)
    proving.attests("orders", head, head, ref=BRANCH)
    with shop.reconciler() as running:
        running.until_quiet()
    before = proving.release(head)
    assert before is not None
    without_its_log(shop)
    with shop.reconciler() as running:
        with shop.requests_made() as asked:
            running.one_pass()
        report = running.until_quiet()
    assert tags_read(asked, head) == set()
    assert {method for method, _, _ in asked} <= {"GET", "HEAD"}
    assert {c.state.value for c in cells(report, number).values()} == {"built", "retagged"}
    assert {c.release for c in cells(report, number).values()} == {before[0]}
    assert proving.release(head) == before
    shop.verified()


def test_a_release_set_that_somebody_else_signed_is_not_believed_at_the_start(proving: Proving) -> None:
    shop = proving.shop
    proving.attests_mains()
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    without_its_log(shop)
    other = proving.settings()
    other["evidence"]["signer"] |= {
        "key_file": str(proving.stranger.private),
        "password_file": str(proving.stranger.password),
    }
    shop.configure(shop=other)
    with shop.reconciler() as running:
        with shop.requests_made() as asked:
            running.one_pass()
        for _ in range(5):
            running.clock.skew_s += 400
            report = running.one_pass()
    assert len(tags_read(asked, head)) == len(IMAGE_NAMES)
    assert not [e for e in shop.entries(Kind.INTENT) if e.entry.body.get("publications")]
    images = [c for c in report.cells if c.pr == number and not c.of_release_set]
    assert {(c.state.value, c.release) for c in images} == {("retagged", None)}
    assert [c.reason for c in report.cells if c.pr == number and c.of_release_set] == ["release-refused"]
    (violated,) = running.events("integrity_violated")  # once, not after every pause
    assert "another release set is there" in violated["error"]
    (refused,) = [e.entry.body for e in shop.entries(Kind.OUTCOME) if e.entry.body.get("publications")]
    assert (refused["intent"], refused["publications"][0]["result"]) == (None, "conflict")
    shop.verified()


def test_a_release_set_is_signed_without_any_key_by_a_sigstore_deployment(
    proving: Proving, private_sigstore: PrivateSigstore, tmp_path: Path
) -> None:
    shop = proving.shop

    def logged() -> int:
        return sum(seen.path == "/api/v1/log/entries" for seen in private_sigstore.stub.requests)

    identity = tmp_path / "token"
    identity.write_text(token(claims()))
    trust = write_json(tmp_path / "trust.json", private_sigstore.trust_config())
    settings = proving.settings()
    settings["evidence"]["signer"] = {
        "kind": "sigstore",
        "trust_config_file": str(trust),
        "token_file": str(identity),
    }
    shop.configure(shop=settings)
    proving.attests_mains()
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        found = proving.release(head)
        assert found is not None
        rows = proving.referrers("release-sets", found[0])
        assert len(rows) == 1
    good = shop.runs("release", "verify", head, "--config", str(shop.config))
    assert (good.returncode, good.stderr) == (0, "")
    # A later process finds its own signatures, made with another certificate, and signs nothing again.
    _, second = shop.opens("more", {"README.md": "more\n"})
    before = logged()
    with shop.reconciler() as running:
        running.until_quiet()
    assert proving.release(second) is not None
    assert logged() == before + 1
