"""`ameide changed` in the checkouts that CI makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.changed import command
from state import canonical
from state.change import ChangeRecord
from state.errors import ConfigError, InvalidValue
from state.git import CommitId
from tests.fixtures.git_http import GitServer
from tests.fixtures.git_repos import Content, Link, Repo, catalogue

FILES: dict[str | bytes, Content] = {
    "ameide.yaml": catalogue(orders=["orders", "go.work"], billing=["billing"]),
    "orders/run": Link("../tools/run.sh"),
    "billing/main.go": b"1",
    "tools/run.sh": b"1",
    "go.work": b"1",
}


@pytest.fixture
def commits(git_repo: Repo) -> tuple[CommitId, CommitId]:
    base = git_repo.commit(FILES, ref="refs/heads/main")
    files: dict[str | bytes, Content] = {
        **FILES,
        "go.work": b"2",
        "ameide.yaml": b"!",
        b"orders/\xff[red]\x1b[31m": b"2",
    }
    return base, git_repo.commit(files, [base], ref="refs/heads/topic")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def clone(url: str, into: Path, *options: str) -> Path:
    subprocess.run(["git", "clone", "--quiet", *options, url, str(into)], check=True, capture_output=True)
    return into


def test_a_machine_gets_the_canonical_record(git_repo: Repo, commits: tuple[CommitId, CommitId]) -> None:
    done = run("--base", commits[0], "--head", commits[1], "--repo", git_repo.path, "--json")
    assert done.exit_code == 0
    record = ChangeRecord.from_json(json.loads(done.stdout))
    assert done.stdout_bytes == canonical.dumps(record.to_json()) + b"\n"
    assert (record.base, record.head, record.merge_bases) == (*commits, (commits[0],))
    assert [(i.repository, i.inputs) for i in record.images] == [
        ("ghcr.io/acme/billing", ()),
        ("ghcr.io/acme/orders", ("orders", "go.work")),
    ]


def test_a_person_gets_a_table_with_escaped_examples(git_repo: Repo, commits: tuple[CommitId, CommitId]) -> None:
    done = run("--base", "main", "--head", "topic", "--repo", git_repo.path)
    assert done.exit_code == 0
    assert "1 of 2 images changed" in done.stdout
    assert r"orders/\xff[red]\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert "  go.work" in done.stdout
    assert commits[0] in done.stdout


def test_a_checkout_answers_from_below_its_top(
    git_repo: Repo, commits: tuple[CommitId, CommitId], tmp_path: Path
) -> None:
    work = clone(str(git_repo.path), tmp_path / "work", "--no-checkout")
    (work / "deep").mkdir()
    done = run("--base", "origin/main", "--head", "origin/topic", "--repo", work / "deep", "--json")
    assert json.loads(done.stdout)["head"] == commits[1]


def test_a_blobless_clone_fetches_what_it_needs(
    git_repo: Repo, http_git: GitServer, commits: tuple[CommitId, CommitId], tmp_path: Path
) -> None:
    git_repo.configure(uploadpack_allowfilter="true")
    url = http_git.repository("code.git")
    work = clone(url, tmp_path / "work", "--no-checkout", "--filter=blob:none")
    done = run("--base", "origin/main", "--head", "origin/topic", "--repo", work, "--json")
    full = run("--base", "main", "--head", "topic", "--repo", git_repo.path, "--json")
    assert done.stdout == full.stdout


def test_a_shallow_clone_counts_everything_as_changed_and_says_what_to_do(
    git_repo: Repo, commits: tuple[CommitId, CommitId], tmp_path: Path
) -> None:
    git_repo.commit({**FILES, "x": b"1"}, [commits[0]], ref="refs/heads/main")
    url = f"file://{git_repo.path}"
    work = clone(url, tmp_path / "work", "--no-checkout", "--depth=1", "--no-single-branch")
    done = run("--base", "origin/main", "--head", "origin/topic", "--repo", work, "--json")
    assert done.exit_code == 0
    assert [i["why"] for i in json.loads(done.stdout)["images"]] == ["no-merge-base"] * 2
    assert "fetch-depth: 0" in done.stderr
    with pytest.raises(InvalidValue, match="fetch-depth: 0"):
        run("--base", commits[0], "--head", "origin/topic", "--repo", work)


@pytest.mark.parametrize("revision", ["nope", "HEAD~99", "", "--help x", "f" * 40, "main:go.work", ":/nowhere"])
def test_a_revision_that_is_no_commit_is_bad_input(
    git_repo: Repo, commits: tuple[CommitId, CommitId], revision: str
) -> None:
    with pytest.raises(InvalidValue, match="--head"):
        run("--base", "main", f"--head={revision}", "--repo", git_repo.path)


def test_a_wrong_catalogue_and_a_wrong_place_are_bad_input(
    git_repo: Repo, commits: tuple[CommitId, CommitId], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"other\.yaml"):
        run("--base", "main", "--head", "topic", "--repo", git_repo.path, "--catalogue", "other.yaml")
    with pytest.raises(InvalidValue, match="expected a git repository"):
        run("--base", "main", "--head", "topic", "--repo", tmp_path)
