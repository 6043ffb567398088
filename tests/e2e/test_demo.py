"""`ameide demo` as a person and as a script run it: a process of its own, from nothing to a verified log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.adapters.forge_local_writer import LocalPullRequests
from reconciler.demo.world import COMPONENTS, IMAGES, MAIN, pin_file
from tests.fixtures import warm_cli
from tests.fixtures.shop import command, eventually, serving, tree_bytes


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **more,
    }


def ameide(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return warm_cli.run(arguments, environment(home, **more), home)


class Told:
    """A demo that was told: what it printed, and where it lies."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "my, demö #x"
        self.ran = ameide(home, "demo", "--no-serve", "--json", "--dir", str(self.root))
        assert self.ran.returncode == 0, self.ran.stderr
        self.story: dict[str, Any] = json.loads(self.ran.stdout)

    def rows(self, title: str, pr: int) -> dict[str | None, tuple[str, str]]:
        matrix = next(p["matrix"] for p in self.story["passes"] if p["title"] == title)
        return {c["component"]: (c["state"], c["reason"]) for c in matrix if c["pr"] == pr}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("home"))


RETAGGED = ("retagged", "inputs-unchanged")
BUILT = ("built", "inputs-changed")
WAITING = ("waiting", "awaits-build")
REFUSED = ("held", "baseline-refused")


def test_the_matrix_of_the_demo_has_a_right_row_for_every_pull_request_at_every_step(told: Told) -> None:
    unchanged = dict.fromkeys(COMPONENTS, RETAGGED)
    refused, first, then, end = (p["title"] for p in told.story["passes"])
    held = {"catalog": REFUSED, "web": REFUSED}
    assert told.rows(refused, 1) == told.rows(refused, 5) == {**unchanged, **held}
    assert told.rows(refused, 2) == {**unchanged, **held, "orders": BUILT, "orders-dispatcher": BUILT}
    assert told.rows(refused, 6) == {**unchanged, **held, "catalog": WAITING}
    assert told.rows(first, 1) == told.rows(first, 5) == unchanged
    assert told.rows(first, 2) == {**unchanged, "orders": BUILT, "orders-dispatcher": BUILT}
    assert told.rows(first, 3) == {**unchanged, "billing": WAITING}
    assert told.rows(first, 4) == {None: ("held", "fork-not-admitted")}
    assert told.rows(then, 2) == {**unchanged, "orders": BUILT, "orders-dispatcher": BUILT, "web": WAITING}
    assert told.rows(first, 6) == {**unchanged, "catalog": WAITING}
    assert told.rows(then, 6) == told.rows(end, 6) == {}
    assert told.rows(end, 1) == told.rows(end, 5) == unchanged
    assert told.rows(end, 3) == {**unchanged, "billing": WAITING}
    assert told.rows(end, 2) == {**unchanged, "orders": BUILT, "orders-dispatcher": BUILT, "web": BUILT}
    assert [c for p in told.story["passes"][-1:] for c in p["matrix"]] == told.story["matrix"]


def test_the_demo_says_why_each_baseline_was_refused_and_proves_all_that_it_has_in_the_end(told: Told) -> None:
    why = {c["component"]: c["detail"] for c in told.story["passes"][0]["matrix"] if c["pr"] == 1}
    assert why["catalog"] == "nothing is attached to the digest"
    assert "signed by none of the configured keys" in why["web"]
    assert why["orders"] == ""
    assert all(c["proven"] for c in told.story["matrix"] if c["state"] in ("retagged", "built"))


def test_every_complete_head_of_the_demo_has_its_release_set_and_no_other_has(told: Told) -> None:
    with serving(told.root / "registry") as registry:
        tags = set(registry.call("GET", "/v2/shop/release-sets/tags/list").json()["tags"])
    complete = set()
    for told_pass in told.story["passes"]:
        by_head: dict[str, list[dict[str, Any]]] = {}
        for cell in told_pass["matrix"]:
            by_head.setdefault(cell["head_sha"], []).append(cell)
        for head, row in by_head.items():
            done = all(c["state"] in ("retagged", "built") for c in row)
            assert {c["release"] is not None for c in row} == {done}
            complete |= {head} if done else set()
    assert tags == complete
    assert len(complete) == 3  # 1 and 5 share a head; 2 was complete before and after its push


def test_two_pull_requests_at_one_head_show_the_same_digests(told: Told) -> None:
    matrix = told.story["passes"][1]["matrix"]
    by_pr = {pr: {(c["head_sha"], c["component"], c["digest"]) for c in matrix if c["pr"] == pr} for pr in (1, 5)}
    assert by_pr[1] == by_pr[5]
    assert len(by_pr[1]) == len(COMPONENTS)


def test_every_row_of_the_demo_is_in_the_registry_and_retags_are_the_bytes_of_main(told: Told) -> None:
    with serving(told.root / "registry") as registry:
        for cell in told.story["matrix"]:
            if cell["state"] not in ("retagged", "built"):
                continue
            path = cell["image"].partition("/")[2]
            accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
            tag = registry.call("GET", f"/v2/{path}/manifests/{cell['head_sha']}", headers=accept)
            main = registry.call("GET", f"/v2/{path}/manifests/main", headers=accept)
            assert tag.headers["Docker-Content-Digest"] == cell["digest"]
            assert (tag.content == main.content) is (cell["state"] == "retagged")
        for image in IMAGES:
            tags = registry.call("GET", f"/v2/shop/{image}/tags/list").json()["tags"]
            fork = next(c["head_sha"] for c in told.story["matrix"] if c["pr"] == 4)
            assert fork not in tags


def test_one_approval_is_stale_one_is_not_enough_two_are_and_a_third_is_refused(told: Told) -> None:
    said = [(row["by"], row["refused"]) for row in told.story["approvals"]]
    assert said == [
        ("alice", "head-moved"), ("alice", "not-enough-approvers"), ("bob", None), ("bob", "already-published"),
    ]  # fmt: skip
    listed = ameide(told.home, "approval", "list", "--log", told.story["ledger"], "--json")
    states = {row["id"]: row["state"] for row in json.loads(listed.stdout)}
    assert [states[row["marker"]] for row in told.story["approvals"]] == ["open", "consumed", "consumed", "open"]


def test_the_gitops_pull_request_of_the_demo_pins_what_the_head_runs_and_changes_nothing_else(told: Told) -> None:
    gitops = pygit2.Repository(str(told.root / "shop-gitops.git"))
    (change,) = LocalPullRequests(told.root / "shop-gitops.git").contents().stored
    assert change.record.state.value == "open"
    assert change.record.head_branch is not None
    before, after = (gitops.references[ref].peel(pygit2.Tree) for ref in (MAIN, change.record.head_branch))
    digests = {c["component"]: (c["image"], c["digest"]) for c in told.story["matrix"] if c["pr"] == 2}
    changed = {delta.new_file.path for delta in gitops.diff(before, after).deltas}
    assert changed == {pin_file("dev", c) for c in ("orders", "orders-dispatcher", "web")}
    for component, (image, digest) in digests.items():
        text = bytes(after[pin_file("dev", component)].data).decode()
        assert f"  ref: {image}@{digest}  # by digest, never by tag\n" in text
        was = bytes(before[pin_file("dev", component)].data).decode()
        assert re.sub("sha256:[0-9a-f]{64}", "", text) == re.sub("sha256:[0-9a-f]{64}", "", was)


def test_the_log_of_the_demo_verifies_from_outside(told: Told) -> None:
    signers = str(told.root / "allowed_signers")
    verified = ameide(told.home, "log", "verify", told.story["ledger"], "--allowed-signers", signers, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["clean"]
    assert told.story["log"]["clean"]


def test_a_second_demo_into_the_same_directory_is_refused_and_loses_nothing(told: Told) -> None:
    before = tree_bytes(told.root)
    again = ameide(told.home, "demo", "--no-serve", "--json", "--dir", str(told.root))
    assert (again.returncode, again.stdout) == (2, "")
    assert f"{told.root}: is not empty; name a new directory with --dir" in again.stderr
    assert tree_bytes(told.root) == before


def test_a_variable_that_looks_like_a_setting_is_refused_by_name(tmp_path: Path) -> None:
    ran = ameide(tmp_path, "demo", "--no-serve", "--dir", str(tmp_path / "demo"), AMEIDE_FOO="1")
    assert ran.returncode == 2
    assert "'AMEIDE_FOO' is set" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "demo").exists()


def test_a_demo_that_goes_on_reconciling_ends_on_sigterm(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    with subprocess.Popen(
        command("demo", "--dir", str(root)),
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            events = root / "events.jsonl"
            eventually("the demo serves", lambda: events.exists() and '"started"' in events.read_text())
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert '"stopped"' in events.read_text()
    assert ameide(tmp_path, "log", "verify", str(root / "log.git")).returncode == 0


@pytest.mark.parametrize("directory", ["taken", "/proc/demo"])
def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, directory: str) -> None:
    (tmp_path / "taken").write_text("mine")
    ran = ameide(tmp_path, "demo", "--no-serve", "--dir", directory)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "cannot be made" in ran.stderr
    assert (tmp_path / "taken").read_text() == "mine"
