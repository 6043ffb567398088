"""`ameide publish` that is hindered: bad input, others who push, builds that fail, runs that end in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.demo.world import MAIN
from reconciler.producing.deciding import Channel
from reconciler.producing.records import State
from reconciler.registry.server import RegistryServer
from state.errors import ConfigError, InvalidValue, Unavailable
from state.git import CommitId
from state.oci import OCI_INDEX
from tests.fixtures.producing import BOTH, WEB, Ended, Yard, cli, tagged
from tests.fixtures.shop import command, eventually

# --- what is refused


def refused(result: Ended, code: int) -> str:
    assert result.returncode == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result.stderr + result.stdout


def test_a_tag_without_proof_is_never_written_over(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    somebodys = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    yard.registry.push("shop/web", head, somebodys, OCI_INDEX)
    text = refused(cli(yard, "--base", "refs/heads/main", "--head", head), 1)
    assert "tag-unproven" in text
    assert "remove the tag" in text
    assert tagged(yard, "web", head).raw == somebodys
    assert yard.builds() == 0


def test_a_tag_that_comes_while_it_is_built_is_not_written_over(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    somebodys = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

    def pushed() -> bool:
        if yard.builds() and yard.tag("web", head) is None:
            yard.registry.push("shop/web", head, somebodys, OCI_INDEX)
        return False

    row = yard.publishes(head, stopping=pushed)["web"]
    assert (row.state, row.reason) == (State.FAILED, "integrity")
    assert "never written over" in row.why
    assert tagged(yard, "web", head).raw == somebodys


def test_a_main_that_moves_meanwhile_is_left(yard: Yard) -> None:
    yard.publishes(yard.main, Channel.MAIN)
    new = yard.on_main(WEB)
    somebodys = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

    def moved() -> bool:
        if yard.tag("web", new) is not None:
            yard.registry.push("shop/web", "main", somebodys, OCI_INDEX)
        return False

    row = yard.publishes(new, Channel.MAIN, stopping=moved)["web"]
    assert (row.state, row.reason) == (State.FAILED, "transient")
    assert tagged(yard, "web", "main").raw == somebodys


def test_a_build_that_fails_publishes_nothing_of_it_and_the_others_go_on(yard: Yard) -> None:
    head = yard.branch("work", {**BOTH, "src/web/Dockerfile.main": "FROM scratch\nRUN false\n"})
    text = refused(cli(yard, "--base", "refs/heads/main", "--head", head), 2)
    assert "exit status 1" in text
    assert yard.tags("web") == set()
    assert yard.tag("orders", head) is not None
    log = yard.root / "producer" / "pull-request" / head / "web.log"
    assert "exit status 1" in log.read_text()
    status = json.loads((log.parent / "status.json").read_text())
    assert {row["image"]: row["state"] for row in status["images"]} == {"orders": "published", "web": "failed"}


def test_steps_for_a_machine_that_this_is_not_are_told_before_anything_is_built(yard: Yard) -> None:
    yard.on_main({"ameide.yaml": yard.catalogue(web={"platforms": ["linux/s390x"]})})
    head = yard.branch("work", {"src/web/Dockerfile.main": "FROM scratch\nCOPY . /\nRUN true\n"})
    row = yard.publishes(head)["web"]
    assert (row.state, row.reason, yard.builds()) == (State.FAILED, "terminal", 0)
    assert row.why.startswith("src/web/Dockerfile.main: line 3: RUN needs programs of linux/s390x")


def test_a_signer_that_the_reconciler_does_not_believe_gets_no_tag(yard: Yard) -> None:
    key, password = str(yard.stranger.private), str(yard.stranger.password)
    yard.configure(signer={"kind": "key", "key_file": key, "password_file": password})
    head = yard.branch("work", WEB)
    row = yard.publishes(head)["web"]
    assert (row.state, row.reason) == (State.FAILED, "terminal")
    assert "let `signer` be one that `verification.authority` believes" in row.why
    assert yard.tag("web", head) is None


def test_a_repository_that_may_not_be_pushed_to_is_told_before_anything_is_built(yard: Yard) -> None:
    yard.configure(registries=[{**yard.settings["registries"][0], "host": "127.0.0.1:1"}])
    head = yard.branch("work", {"ameide.yaml": "x"})
    moved = yard.world.commit(
        yard.code, MAIN, yard.main, {"ameide.yaml": yard.catalogue().replace(yard.host, "127.0.0.1:1")}, "Elsewhere"
    )
    yard.world._clock += 1
    work = yard.world.commit(yard.code, MAIN.branch("w"), moved, WEB, "w")
    assert head != work
    text = refused(cli(yard, "--base", "refs/heads/main", "--head", work), 3)
    assert "127.0.0.1:1/shop/web" in text
    assert yard.builds() == 0


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ({"build": {"file": "../Dockerfile"}}, "no empty part"),
        ({"build": {"file": "README.md"}}, "in none of the image's inputs"),
        ({"repository": "ghcr.io/acme/web"}, "its registry ghcr.io is not declared"),
    ],
)
def test_a_catalogue_that_cannot_be_built_from_is_refused_with_every_problem(
    yard: Yard, build: dict[str, Any], expected: str
) -> None:
    yard.on_main({"ameide.yaml": yard.catalogue(web=build)})
    text = refused(cli(yard, "--base", "refs/heads/main", "--head", yard.branch("work", WEB)), 2)
    assert expected in text
    assert yard.builds() == 0


def test_the_catalogue_of_a_pull_request_does_not_count(yard: Yard) -> None:
    files = {**WEB, "ameide.yaml": yard.catalogue(web={"repository": f"{yard.host}/shop/stolen"})}
    head = yard.branch("work", files)
    yard.publishes(head)
    assert yard.tag("web", head) is not None
    assert yard.tags("stolen") == set()


def test_an_image_that_the_catalogue_does_not_say_how_to_build_is_a_finding(yard: Yard) -> None:
    catalogue = json.loads(yard.catalogue())
    del catalogue["images"]["web"]["build"]
    yard.on_main({"ameide.yaml": json.dumps(catalogue)})
    head = yard.world.commit(yard.code, MAIN.branch("x"), yard.main, WEB, "x")
    assert "no-build" in refused(cli(yard, "--base", "refs/heads/main", "--head", head), 1)


@pytest.mark.parametrize(
    ("base", "head", "channel", "expected"),
    [
        ("refs/heads/gone", "work", "pull-request", "--base 'refs/heads/gone': no such commit"),
        ("refs/heads/main", "0" * 40, "pull-request", "no such commit"),
        ("refs/heads/main", "stray", "pull-request", "has no commit in common"),
        ("refs/heads/main", "work", "main", "only commits of the main branch"),
        ("refs/heads/main", "stray", "main", "has no commit in common"),
    ],
)
def test_commits_that_cannot_be_published_so_are_refused(
    yard: Yard, base: str, head: str, channel: str, expected: str
) -> None:
    yard.branch("work", WEB)
    yard.world.commit(yard.code, MAIN.branch("stray"), None, {"x": "y"}, "Another line")
    with pytest.raises(InvalidValue, match=expected.replace(".", r"\.")):
        _asked(yard, base, head, Channel(channel))


def _asked(yard: Yard, base: str, head: str, channel: Channel) -> None:
    from reconciler.producing.checkout import Asked
    from reconciler.producing.settings import load_producer
    from reconciler.producing.wiring import opened

    settings = load_producer(yard.config).settings
    with opened(settings, yard.code, Asked(channel, base, head), jobs=1, told=lambda *_: None):
        raise AssertionError("was opened")


def test_a_checkout_with_edits_that_are_not_committed_is_refused(yard: Yard, tmp_path: Path) -> None:
    head = yard.branch("work", WEB)
    work = tmp_path / "work"
    pygit2.clone_repository(str(yard.code), str(work), checkout_branch="work").free()
    (work / "untracked.txt").write_text("does not matter\n")
    arguments = ["--base", "origin/main", "--head", "HEAD"]
    assert cli(yard, *arguments, "--repo", str(work), "--plan").returncode == 0
    (work / "src/web/main.txt").write_text("edited\n")
    text = refused(cli(yard, *arguments, "--repo", str(work)), 2)
    assert "src/web/main.txt" in text
    assert yard.tag("web", head) is None


def test_files_and_directories_that_cannot_be_used_are_told(yard: Yard, tmp_path: Path) -> None:
    head = yard.branch("work", WEB)
    arguments = ["--base", "refs/heads/main", "--head", head]
    assert "cannot be read" in refused(cli(yard, *arguments, config=tmp_path / "gone.yaml"), 2)
    assert "expected a git repository" in refused(cli(yard, *arguments, "--repo", str(tmp_path)), 2)
    yard.settings["builder"]["program"] = str(tmp_path / "gone")
    yard.configure()
    assert "expected the program buildah" in refused(cli(yard, *arguments), 2)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/nothing")):
        yard.configure(state_dir=str(place))
        assert f"{place}: cannot be used" in refused(cli(yard, *arguments), 2)
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    yard.configure(state_dir=str(tmp_path / "open"))
    assert "others may write there" in refused(cli(yard, *arguments), 2)
    assert yard.tag("web", head) is None


def test_a_link_out_of_the_context_is_refused(yard: Yard) -> None:
    repository = pygit2.Repository(str(yard.code))
    index = pygit2.Index()
    index.read_tree(repository[yard.main].peel(pygit2.Tree))
    index.add(pygit2.IndexEntry("src/web/l", repository.create_blob(b"/etc/shadow"), pygit2.enums.FileMode.LINK))
    who = pygit2.Signature("x", "x@example.invalid", 1_700_000_000, 0)
    head = str(repository.create_commit(None, who, who, "x", index.write_tree(repository), [yard.main]))
    row = yard.publishes(head)["web"]
    assert (row.state, row.reason) == (State.FAILED, "terminal")
    assert "leads out of the context" in row.why


# --- runs that end in the middle


def test_a_registry_that_goes_away_in_the_middle_leaves_no_tag(yard: Yard) -> None:
    head = yard.branch("work", WEB)

    def gone() -> bool:
        if yard.builds():
            yard.registry.server.stop()
        return False

    row = yard.publishes(head, stopping=gone)["web"]
    assert (row.state, row.reason) == (State.FAILED, "transient")
    assert f"{yard.host}" in row.why
    with RegistryServer(yard.registry.root, yard.registry.server.address):
        assert yard.tags("web") == set()
        assert yard.publishes(head)["web"].state is State.PUBLISHED
        assert yard.builds() == 1


def test_a_run_that_is_stopped_ends_between_two_steps_and_the_next_one_goes_on(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    asked = 0

    def after_the_build() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    row = yard.publishes(head, stopping=after_the_build)["web"]
    assert (row.state, row.reason, yard.builds()) == (State.FAILED, "transient", 1)
    assert yard.tag("web", head) is None
    assert yard.publishes(head)["web"].state is State.PUBLISHED
    assert yard.builds() == 1  # the layout of the first run is used


def test_a_layout_that_was_spoilt_meanwhile_is_built_again(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    yard.publishes(head, stopping=lambda: yard.builds() > 0)
    layouts = (yard.root / "producer" / "work").rglob("blobs/sha256/*")
    (blob,) = [path for path in layouts if path.read_bytes()[:2] == b"\x1f\x8b"]
    blob.write_bytes(b"spoilt")
    assert yard.publishes(head)["web"].state is State.PUBLISHED
    assert yard.builds() == 2


def test_two_runs_in_one_directory_do_not_mix(yard: Yard) -> None:
    head = yard.branch("work", WEB)

    def another() -> bool:
        with pytest.raises(Unavailable, match="another run"):
            yard.publishes(head)
        return False

    assert yard.publishes(head, stopping=another)["web"].state is State.PUBLISHED


def test_a_killed_process_leaves_no_tag_and_the_same_command_finishes(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    gate, ready = yard.root / "gate", yard.root / "ready"
    os.mkfifo(gate)
    waits = yard.root / "waits"
    lines = ["#!/bin/sh", f'case "$*" in *" build "*) touch {ready}; read x < {gate};; esac']
    waits.write_text("\n".join([*lines, f'exec {yard.program} "$@"', ""]))
    waits.chmod(0o755)
    yard.settings["builder"]["program"] = str(waits)
    yard.configure()
    asked = ["--base", "refs/heads/main", "--head", head]
    arguments = command("publish", "--config", str(yard.config), "--repo", str(yard.code), *asked)
    running = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually("the build began", ready.exists)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    with gate.open("w") as held:  # what it started is let go
        held.write("\n")
    assert yard.tags("web") == set()
    yard.settings["builder"]["program"] = str(yard.program)
    yard.configure()
    done = cli(yard, *asked, "--json")
    assert done.returncode == 0, done.stderr
    (web,) = [row for row in json.loads(done.stdout)["images"] if row["image"] == "web"]
    assert (web["state"], web["digest"]) == ("published", tagged(yard, "web", head).digest)


# --- the command


def test_the_command_tells_a_person_and_a_machine(yard: Yard) -> None:
    head = yard.branch("work", WEB)
    arguments = ["--base", "refs/heads/main", "--head", head]
    plan = cli(yard, *arguments, "--plan", "--json")
    said = {row["image"]: row["action"] for row in json.loads(plan.stdout)["images"]}
    assert said == {"orders": "leave", "web": "build"}
    assert (plan.returncode, yard.builds()) == (0, 0)
    assert not list((yard.root / "producer").rglob("status.json"))  # a plan is no run
    done = cli(yard, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    digest = tagged(yard, "web", head).digest
    states = ["building", *(f"{state} {digest}" for state in ("pushing", "proving", "tagging", "published"))]
    lines = [line for line in done.stdout.splitlines() if line.startswith("web: ")]
    assert lines == [f"web: {state}" for state in states]
    assert str(yard.keys.password.read_text().strip()) not in done.stdout
    again = cli(yard, *arguments, "--json")
    assert json.loads(again.stdout)["head"] == head


def test_a_configuration_that_is_wrong_ends_with_every_problem(yard: Yard) -> None:
    yard.configure(sbom="syft", colour="red")
    with pytest.raises(ConfigError) as caught:
        yard.publishes(CommitId("a" * 40))
    assert len(caught.value.problems) >= 1
