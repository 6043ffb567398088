"""Build contexts from git objects: exactly the declared inputs, and nothing that leads out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from reconciler.adapters.git_context import dockerfile, write_context
from reconciler.adapters.git_tree import MissingObjects
from state.errors import ConfigError, IntegrityError, Terminal
from state.git import CommitId
from state.observed import Image, Recipe
from state.oci import Repository
from tests.fixtures.git_repos import Link, Repo, Script, Submodule

TIME_S = 1_700_000_000


def image(*inputs: str) -> Image:
    return Image("orders", Repository("ghcr.io/acme/orders"), inputs, ("linux/amd64",))


def written(
    repo: Repo, commit: CommitId, target: Path, *inputs: str, context: str = "."
) -> dict[str, tuple[int, bytes | str]]:
    """path → (permissions, content or where a link leads) of the context that is written."""
    count = write_context(repo.git, commit, image(*inputs), Recipe("src/Dockerfile", context), target, time_s=TIME_S)
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(target.rglob("*")):
        told = path.lstat()
        assert told.st_mtime == TIME_S
        if not path.is_dir() or path.is_symlink():
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[path.relative_to(target).as_posix()] = 0 if path.is_symlink() else stat.S_IMODE(told.st_mode), content
    assert count == len(found)
    return found


def test_only_what_is_declared_is_there(git_repo: Repo, tmp_path: Path) -> None:
    files = {"src/a": b"a", "src/run": Script(b"#!"), "src/x/l": Link("../a"), "sdk/s": b"s", "go.work": b"w"}
    commit = git_repo.commit({**files, "secret": b"no"})
    old = os.umask(0o077)  # whoever runs it, the modes are git's
    try:
        found = written(git_repo, commit, tmp_path / "all", "src", "sdk", "go.work")
    finally:
        os.umask(old)
    assert found == {
        "src/a": (0o644, b"a"),
        "src/run": (0o755, b"#!"),
        "src/x/l": (0, "../a"),
        "sdk/s": (0o644, b"s"),
        "go.work": (0o644, b"w"),
    }
    assert set(written(git_repo, commit, tmp_path / "src", "src", "sdk", context="src")) == {"a", "run", "x/l"}


def test_what_a_link_leads_to_is_there_as_the_fingerprint_has_it(git_repo: Repo, tmp_path: Path) -> None:
    commit = git_repo.commit({"src/l": Link("../shared/f"), "src/d": b"", "shared/f": b"f", "shared/g": b"g"})
    found = written(git_repo, commit, tmp_path / "all", "src")
    assert found == {"src/l": (0, "../shared/f"), "src/d": (0o644, b""), "shared/f": (0o644, b"f")}


@pytest.mark.parametrize(
    "files",
    [
        {"src/l": Link("/etc/passwd")},
        {"src/l": Link("../../../../etc/passwd")},
        {"src/l": Link("..")},
        {"src/l": Link("l")},
        {"src/a": Link("b"), "src/b": Link("a")},
        {"src/d/l": Link("../../shared/f"), "shared/f": b"f"},  # in the repository, and out of this context
        {"src/a/b": Link(".."), "src/l": Link("a/b/../../x")},
    ],
)
def test_a_link_that_leads_out_of_the_context_is_refused(
    git_repo: Repo, tmp_path: Path, files: dict[str | bytes, Link | bytes]
) -> None:
    commit = git_repo.commit({**files, "src/f": b"f"})
    with pytest.raises(Terminal, match="leads out of the context"):
        written(git_repo, commit, tmp_path / "x", "src", context="src")


def test_submodules_are_refused(git_repo: Repo, tmp_path: Path) -> None:
    for files, declared in (({"src/m": Submodule("a" * 40), "src/f": b"f"}, "src"), ({"m": Submodule("a" * 40)}, "m")):
        with pytest.raises(Terminal, match="submodule"):
            written(git_repo, git_repo.commit(files), tmp_path / declared, declared)
        assert not (tmp_path / declared).exists()


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT"])
def test_names_that_no_checkout_has_are_refused(git_repo: Repo, tmp_path: Path, name: bytes) -> None:
    commit = git_repo.commit({b"src/" + name: b"x", "src/f": b"f"})
    with pytest.raises(IntegrityError, match="no file of a repository"):
        written(git_repo, commit, tmp_path / "x", "src")
    assert not (tmp_path / "x").exists()


def test_a_context_with_nothing_in_it_is_refused(git_repo: Repo, tmp_path: Path) -> None:
    commit = git_repo.commit({"src/f": b"f", "docs/x": b""})
    with pytest.raises(ConfigError, match="none of the inputs"):
        written(git_repo, commit, tmp_path / "x", "src", context="docs")


def test_names_need_not_be_text(git_repo: Repo, tmp_path: Path) -> None:
    commit = git_repo.commit({b"src/\xff": b"odd"})
    write_context(git_repo.git, commit, image("src"), Recipe("src/Dockerfile", "."), tmp_path / "x", time_s=TIME_S)
    assert [os.fsencode(path.name) for path in (tmp_path / "x" / "src").iterdir()] == [b"\xff"]


def test_everything_that_a_partial_clone_lacks_is_asked_for_at_once(git_repo: Repo, tmp_path: Path) -> None:
    commit = git_repo.commit({"src/a": b"one", "src/b": b"two", "src/c": b"here"})
    ids = {str(git_repo.git.get(commit).tree[f"src/{name}"].id) for name in "ab"}
    for oid in ids:
        (git_repo.path / "objects" / oid[:2] / oid[2:]).unlink()
    fresh = Repo(git_repo.path)
    with pytest.raises(MissingObjects) as caught:
        written(fresh, commit, tmp_path / "x", "src")
    assert caught.value.ids == ids
    assert not (tmp_path / "x").exists()
    fresh.close()


@pytest.mark.parametrize("content", [None, Link("Real"), Submodule("a" * 40)])
def test_the_file_of_a_build_is_a_regular_file(git_repo: Repo, content: Link | Submodule | None) -> None:
    good = git_repo.commit({"src/Dockerfile": b"FROM scratch"})
    assert dockerfile(git_repo.git, good, Recipe("src/Dockerfile", ".")) == b"FROM scratch"
    files: dict[str | bytes, Link | Submodule | bytes] = {"src/Real": b""}
    if content is not None:
        files["src/Dockerfile"] = content
    with pytest.raises(ConfigError, match="src/Dockerfile: expected a file"):
        dockerfile(git_repo.git, git_repo.commit(files), Recipe("src/Dockerfile", "."))
