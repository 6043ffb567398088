"""Recorded tags that somebody moves or removes: found by the sweep, held in quarantine, accepted by a person."""

from __future__ import annotations

import json
from pathlib import Path

import requests
from click.testing import CliRunner, Result

from reconciler.adapters.acceptance_files import AcceptanceFiles
from reconciler.cli.head import command as head_command
from reconciler.demo.world import REPOSITORY_ID
from reconciler.matrix import State
from state.entry import Kind
from state.git import CommitId
from state.oci import Manifest
from state.quarantine import Acceptance
from tests.fixtures.shop import DOCS, Running, Shop, cells

DAY_S = 24 * 3600.0


def filled(shop: Shop, running: Running) -> tuple[int, CommitId]:
    number, head = shop.opens("docs", DOCS)
    assert running.until_quiet().converged
    return number, head


def swept(running: Running) -> None:
    """Let the sweep's interval pass, and a pass find what there is."""
    running.clock.skew_s += DAY_S
    running.one_pass()


def moved(shop: Shop, image: str, tag: str) -> Manifest:
    """Somebody pushes the same content as another manifest under the tag."""
    manifest = shop.tag(image, "main")
    assert manifest is not None
    made = Manifest.of(manifest.media_type, manifest.raw + b"\n")
    put(shop, image, tag, made)
    return made


def put(shop: Shop, image: str, tag: str, manifest: Manifest) -> None:
    with requests.Session() as session:
        session.trust_env = False
        url = f"http://{shop.host}/v2/shop/{image}/manifests/{tag}"
        answer = session.put(url, data=manifest.raw, headers={"Content-Type": manifest.media_type}, timeout=20)
        assert answer.status_code == 201, answer.text


def removed(shop: Shop, image: str, tag: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.delete(f"http://{shop.host}/v2/shop/{image}/manifests/{tag}", timeout=20)
        assert answer.status_code == 202, answer.text


def accept(shop: Shop, number: int, *more: str) -> Result:
    arguments = ["accept", "--config", str(shop.config), "--pr", str(number), "--reason", "the registry was restored"]
    return CliRunner().invoke(head_command, [*arguments, *more], standalone_mode=False)


def test_a_tag_that_was_moved_quarantines_its_head_and_shows_both_digests(shop: Shop) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        recorded = shop.main("orders")
        found = moved(shop, "orders", head)
        running.one_pass()
        assert not shop.entries(Kind.QUARANTINE)  # not due yet
        swept(running)
        [logged] = shop.entries(Kind.QUARANTINE)
        assert logged.entry.body["breaches"] == [
            {"found": found.digest, "recorded": recorded, "repository": f"{shop.host}/shop/orders"}
        ]
        shown = cells(running.one_pass(), number)["orders"]
        assert (shown.state, shown.reason) == (State.HELD, "tag-conflict")
        assert (shown.digest, shown.recorded) == (found.digest, recorded)
        assert len(shop.entries(Kind.QUARANTINE)) == 1
    assert shop.tags(head)["orders"] == found.digest  # left as it is, for whoever looks into it


def test_nothing_more_is_written_for_a_quarantined_head_and_a_new_head_starts_afresh(shop: Shop) -> None:
    shop.previews("orders")
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        removed(shop, "orders", head)
        swept(running)
        shop.previews("orders", "billing")
        shown = cells(running.until_quiet(), number)
        assert (shown["orders"].reason, shown["billing"].reason) == ("tag-lost", "quarantined")
        assert set(shop.tags(head).values()) == {None}
        fresh = shop.world.branch("docs", {"docs/more.md": "1"}, "more")
        shop.pulls.push(number, fresh)
        assert running.until_quiet().converged
        assert shop.tags(fresh)["orders"] == shop.main("orders")


def test_an_accepted_tag_counts_as_it_is_and_a_lost_one_is_filled_again(shop: Shop) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        found = moved(shop, "orders", head)
        removed(shop, "billing", head)
        swept(running)
        done = accept(shop, number, "--json")
        assert done.return_value == 0, done.output
        assert len(json.loads(done.output)["breaches"]) == 2
        report = running.until_quiet()
        assert report.converged
        assert shop.tags(head)["orders"] == found.digest
        assert shop.tags(head)["billing"] == shop.main("billing")
        shown = cells(report, number)["orders"]
        assert (shown.digest, shown.proven) == (found.digest, False)
        accepted = shop.entries(Kind.QUARANTINE)[-1].entry.body["accepted"]
        assert isinstance(accepted, dict)
        assert accepted["reason"] == "the registry was restored"
        assert accept(shop, number).return_value == 1  # no longer in quarantine
    shop.verified()


def test_an_acceptance_of_another_state_than_the_present_one_changes_nothing(shop: Shop) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        moved(shop, "orders", head)
        swept(running)
        assert accept(shop, number).return_value == 0
        [path] = (shop.root / "state" / "acceptances" / str(REPOSITORY_ID)).iterdir()
        early = path.read_bytes()
        path.unlink()
        removed(shop, "billing", head)
        swept(running)
        path.write_bytes(early)
        path.chmod(0o600)
        running.one_pass()
        assert cells(running.one_pass(), number)["orders"].reason == "tag-conflict"
        assert not path.exists()
        assert len(shop.entries(Kind.QUARANTINE)) == 2
        assert running.events("acceptance_refused")


def test_a_file_that_others_may_write_is_not_believed(shop: Shop, tmp_path: Path) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        moved(shop, "orders", head)
        swept(running)
        accept(shop, number)
        [path] = (shop.root / "state" / "acceptances" / str(REPOSITORY_ID)).iterdir()
        path.chmod(0o622)
        running.one_pass()
        assert cells(running.one_pass(), number)["orders"].reason == "tag-conflict"
        path.unlink()
        files = AcceptanceFiles(path.parent)
        target = tmp_path / "elsewhere.json"
        target.write_text("{}")
        path.symlink_to(target)
        assert cells(running.one_pass(), number)["orders"].reason == "tag-conflict"
        path.unlink()
        word = Acceptance(head, shop.entries(Kind.QUARANTINE)[-1].id, "somebody", "x")
        files.put(word).write_text("{")
        assert cells(running.one_pass(), number)["orders"].reason == "tag-conflict"


def test_a_repository_that_cannot_be_read_any_more_is_no_drift(shop: Shop) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
        for tag in ("main", head):
            removed(shop, "orders", tag)
        swept(running)
        assert not shop.entries(Kind.QUARANTINE)
        assert cells(running.one_pass(), number)["orders"].state is State.RETAGGED


def test_a_sweep_on_demand_finds_it_at_once(shop: Shop) -> None:
    with shop.reconciler() as running:
        number, head = filled(shop, running)
    removed(shop, "orders", head)
    done = shop.runs("reconciler", "once", "--config", str(shop.config), "--sweep", "--json")
    assert done.returncode == 1, done.stderr
    row = next(r for r in json.loads(done.stdout)["matrix"] if r["component"] == "orders")
    assert (row["reason"], row["digest"], row["recorded"]) == ("tag-lost", None, shop.main("orders"))
    assert number == row["pr"]
