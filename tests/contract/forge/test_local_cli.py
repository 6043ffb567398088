"""`ameide local …`, through the console script's own entry point."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.adapters.forge_local import LocalForge
from reconciler.cli import main
from state.git import RefName
from tests.contract.forge.driver import ForgeUnderTest
from tests.fixtures.local_forge import LocalDriver

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["local", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


@pytest.fixture
def driver(local_forge: ForgeUnderTest) -> LocalDriver:
    assert isinstance(local_forge.driver, LocalDriver)
    local_forge.driver.branch(RefName("refs/heads/main"), local_forge.driver.commit())
    return local_forge.driver


def listing(run: Run, driver: LocalDriver, *options: str) -> list[dict[str, Any]]:
    code, out, _ = run("pr", "list", "--repo", driver.path, "--json", *options)
    assert code == 0
    found = json.loads(out)
    assert found["complete"] is True
    return list(found["pull_requests"])


def test_a_pull_request_lives_through_the_commands(run: Run, driver: LocalDriver) -> None:
    first, second = driver.commit(), driver.commit()
    driver.branch(RefName("refs/heads/feature"), first)
    at = ("--repo", driver.path)
    code, out, _ = run(
        "pr", "open", *at, "--branch", "feature", "--author", 42, "--label", "b", "--label", "a", "--draft",
        "--title", "Faster", "--json",
    )  # fmt: skip
    assert code == 0
    expected = {
        "number": 1, "state": "open", "head": first, "base": "refs/heads/main", "author_id": 42, "labels": ["a", "b"],
        "draft": True, "title": "Faster", "head_branch": "refs/heads/feature", "head_repository_id": 4711, "v": 1,
    }  # fmt: skip
    pushed = {"pushed_by": 42, "pushed_head": first}
    assert json.loads(out) == {**expected, **pushed}
    assert listing(run, driver) == [{**expected, **pushed}]
    assert run("pr", "push", *at, 1, "--head", second, "--by", 43)[0] == 0
    assert LocalForge(driver.path).last_pusher(1, second) == 43
    assert run("pr", "push", *at, 1, "--head", second)[0] == 0
    assert run("pr", "label", *at, 1, "--add", "hold", "--remove", "a")[0] == 0
    assert listing(run, driver) == [{**expected, "head": second, "labels": ["b", "hold"]}]
    assert run("pr", "close", *at, 1, "--reason", "done")[0] == 0
    assert listing(run, driver) == []
    assert [(p["state"], p["close_reason"]) for p in listing(run, driver, "--all")] == [("closed", "done")]
    assert run("pr", "reopen", *at, 1)[0] == 0
    assert [p["head"] for p in listing(run, driver)] == [second]


def test_a_pull_request_is_merged_by_a_commit_on_its_base(run: Run, driver: LocalDriver) -> None:
    at = ("--repo", driver.path)
    opened = pygit2.Repository(str(driver.path))
    head = driver.commit()
    tip = opened.references["refs/heads/main"].target
    assert run("pr", "open", *at, "--head", head)[0] == 0
    assert run("pr", "merge", *at, 1)[0] == 0
    merged = opened[opened.references["refs/heads/main"].target]
    assert [str(parent) for parent in merged.parent_ids] == [str(tip), head]
    assert [p["state"] for p in listing(run, driver, "--all")] == ["merged"]
    assert run("pr", "merge", *at, 1)[0] == 2
    assert run("pr", "reopen", *at, 1)[0] == 2
    assert run("pr", "merge", *at, 2)[0] == 2


def test_what_conflicts_is_not_merged_and_says_so(run: Run, driver: LocalDriver) -> None:
    at = ("--repo", driver.path)
    opened = pygit2.Repository(str(driver.path))
    main = "refs/heads/main"
    base = opened.references[main].target
    heads = []
    for text in (b"one\n", b"two\n"):
        index = pygit2.Index()
        index.read_tree(opened[base].tree)
        index.add(pygit2.IndexEntry("same.txt", opened.create_blob(text), pygit2.enums.FileMode.BLOB))
        who = pygit2.Signature("Dev", "dev@example.org", 1_700_000_000, 0)
        heads.append(str(opened.create_commit(None, who, who, "work", index.write_tree(opened), [base])))
        assert run("pr", "open", *at, "--head", heads[-1])[0] == 0
    assert run("pr", "merge", *at, 1)[0] == 0
    tip = opened.references[main].target
    code, _, err = run("pr", "merge", *at, 2)
    assert (code, "conflicts with main" in err) == (2, True)
    assert opened.references[main].target == tip
    assert [p["number"] for p in listing(run, driver)] == [2]


def test_the_head_may_be_fetched_from_a_work_tree(run: Run, driver: LocalDriver, tmp_path: Path) -> None:
    tree = pygit2.init_repository(str(tmp_path / "clone"))
    who = pygit2.Signature("Dev", "dev@example.org", 1_700_000_000, 0)
    head = str(tree.create_commit("HEAD", who, who, "work", tree.TreeBuilder().write(), []))
    at = ("--repo", driver.path)
    code, _, err = run("pr", "open", *at, "--head", head)
    assert (code, "--from" in err) == (2, True)
    assert run("pr", "open", *at, "--head", "HEAD", "--from", tmp_path / "clone")[0] == 0
    assert [p["head"] for p in listing(run, driver)] == [head]
    newer = str(tree.create_commit("HEAD", who, who, "more", tree.TreeBuilder().write(), [pygit2.Oid(hex=head)]))
    assert run("pr", "push", *at, 1, "--head", newer, "--from", tmp_path / "clone")[0] == 0
    assert LocalForge(driver.path).head_of(1) == newer
    for revision in ("--upload-pack=touch x", "nowhere"):
        code, _, err = run("pr", "push", *at, 1, "--head", revision, "--from", tmp_path / "clone")
        assert (code, "is no commit there" in err) == (2, True)


def test_a_fork_is_kept_by_its_id(run: Run, driver: LocalDriver) -> None:
    assert run("pr", "open", "--repo", driver.path, "--head", driver.commit(), "--fork", 99)[0] == 0
    seen = LocalForge(driver.path).pull_request(1)
    assert seen is not None
    assert seen.head_repository_id == 99


def test_what_strangers_wrote_cannot_steer_the_terminal(run: Run, driver: LocalDriver) -> None:
    evil = "\x1b[2J\x07\x9b31m\u202e[red]ok"
    at = ("--repo", driver.path)
    outputs = [
        run("pr", "open", *at, "--head", driver.commit(), "--title", evil, "--label", evil),
        run("pr", "list", *at),
        run("pr", "list", *at, "--json"),
    ]
    for code, out, err in outputs:
        assert code == 0
        assert not set("\x1b\x07\x9b\u202e") & set(out + err)
    assert listing(run, driver)[0]["title"] == evil


def test_a_damaged_record_is_told_and_the_exit_code_is_one(run: Run, driver: LocalDriver) -> None:
    kept, damaged = driver.open(driver.commit()), driver.open(driver.commit())
    driver.corrupt(damaged)
    code, out, err = run("pr", "list", "--repo", driver.path)
    assert (code, str(kept) in out, f"pull request {damaged}" in err) == (1, True, True)
    code, out, _ = run("pr", "list", "--repo", driver.path, "--json")
    found = json.loads(out)
    assert (code, found["complete"], len(found["problems"]), len(found["pull_requests"])) == (1, False, 1, 1)
    assert run("init", driver.path)[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("pr", "list", "--repo", "nowhere.git"),
        ("pr", "open", "--repo", "{repo}"),
        ("pr", "open", "--repo", "{repo}", "--head", "nobranch"),
        ("pr", "open", "--repo", "{repo}", "--head", "f" * 40),
        ("pr", "open", "--repo", "{repo}", "--branch", "feature", "--author", "0"),
        ("pr", "open", "--repo", "{repo}", "--branch", "feature", "--base", "a..b"),
        ("pr", "open", "--repo", "{repo}", "--branch", "feature", "--label", ""),
        ("pr", "push", "--repo", "{repo}", "9", "--head", "feature"),
        ("pr", "close", "--repo", "{repo}", "9"),
        ("pr", "reopen", "--repo", "{repo}", "9"),
        ("pr", "label", "--repo", "{repo}", "9"),
        ("pr", "label", "--repo", "{repo}", "9", "--add", "x"),
        ("init", "{repo}", "--id", "5"),
    ],
)
def test_bad_input_ends_with_two_and_a_message_and_changes_nothing(
    run: Run, driver: LocalDriver, arguments: tuple[str, ...]
) -> None:
    driver.branch(RefName("refs/heads/feature"), driver.commit())
    before = sorted(driver.git.references)
    code, out, err = run(*(a.format(repo=driver.path) for a in arguments))
    assert (code, out) == (2, "")
    assert err
    assert sorted(driver.git.references) == before


def test_init_makes_what_the_other_commands_need(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.git"
    code, out, _ = run("init", path, "--id", 12)
    assert (code, "repository id 12" in out) == (0, True)
    code, out, err = run("pr", "list", "--repo", path)
    assert (code, "no pull requests" in out, err) == (0, True, "")
    head = subprocess.run(["git", "-C", str(path), "symbolic-ref", "HEAD"], capture_output=True, text=True, check=True)
    assert head.stdout == "refs/heads/main\n"


@pytest.mark.parametrize(
    "words", [("init",), *(("pr", v) for v in ("open", "push", "close", "reopen", "label", "list"))]
)
def test_every_command_shows_an_example(run: Run, words: tuple[str, ...]) -> None:
    code, out, _ = run(*words, "--help")
    assert code == 0
    assert f"ameide local {' '.join(words)}" in out


def test_a_pull_request_needs_a_base_branch_that_is_there(run: Run, driver: LocalDriver) -> None:
    at = ("--repo", driver.path)
    for base in ("nope", driver.commit()):
        code, _, err = run("pr", "open", *at, "--head", driver.commit(), "--base", base)
        assert (code, err.count("\n")) == (2, 1)
        assert f"no branch {base}" in err
    assert listing(run, driver, "--all") == []


def test_a_forge_that_cannot_be_made_is_one_line(run: Run) -> None:
    code, _, err = run("init", "/proc/app.git")
    assert (code, err.count("\n")) == (2, 1)
    assert "/proc/app.git: cannot be made" in err
