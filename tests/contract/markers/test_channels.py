"""Every channel gives the bytes that were brought, bounded, and nothing else: one suite, then each one's own traps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.adapters import marker_files, markers_branch
from reconciler.adapters.git_remote import remote
from reconciler.adapters.markers_branch import BranchMarkers
from reconciler.adapters.markers_directory import DirectoryMarkers
from reconciler.adapters.markers_joined import JoinedMarkers
from reconciler.adapters.markers_none import NoMarkers
from reconciler.adapters.markers_posted import PostedMarkers
from reconciler.ports import Markers
from state.approval import MARKER_MAX_BYTES
from state.errors import ConfigError, ReconcilerError
from tests.fixtures.git_repos import Content, Link, Repo, Submodule

REF = "refs/heads/approvals"
ONE, TWO = b'{"one": 1}', b'{"two": 2}'


@dataclass
class Channel:
    """A channel and how something is brought by it."""

    markers: Markers
    bring: Callable[[str, bytes], object]


class Branch:
    """A branch of markers, whose files are added one by one."""

    def __init__(self, root: Path) -> None:
        self.repo = Repo(root / "approvals.git")
        self.files: dict[str | bytes, Content] = {"README.md": b"markers"}
        self.tip = self.repo.commit(self.files, ref=REF)
        self.markers = BranchMarkers(root / "mirror", remote(str(self.repo.path)), ref=REF, timeout_s=20)

    def put(self, path: str, content: Content) -> None:
        self.files[path] = content
        self.tip = self.repo.commit(self.files, [self.tip], ref=REF)

    def close(self) -> None:
        self.markers.close()
        self.repo.close()


@pytest.fixture
def branch(tmp_path: Path) -> Iterator[Branch]:
    made = Branch(tmp_path)
    yield made
    made.close()


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    made.mkdir()
    return made


@pytest.fixture(params=["directory", "posted", "branch", "joined"])
def channel(request: pytest.FixtureRequest, tmp_path: Path, drop: Path) -> Channel:
    match request.param:
        case "directory":
            return Channel(DirectoryMarkers(drop), lambda name, raw: (drop / name).write_bytes(raw))
        case "posted":
            store = PostedMarkers(tmp_path / "posted")
            return Channel(store, lambda _, raw: store.put(raw))
        case "branch":
            found: Branch = request.getfixturevalue("branch")
            return Channel(found.markers, lambda name, raw: found.put(f"markers/{name}", raw))
        case _:
            channels = {"a": DirectoryMarkers(drop), "b": NoMarkers()}
            joined = JoinedMarkers(channels, lambda name, error: pytest.fail(f"{name}: {error}"))
            return Channel(joined, lambda name, raw: (drop / name).write_bytes(raw))


def test_what_was_brought_is_given_byte_for_byte_and_again(channel: Channel) -> None:
    assert channel.markers.pending() == ()
    channel.bring("1.json", ONE)
    assert channel.markers.pending() == (ONE,)
    channel.bring("2.json", TWO)
    assert set(channel.markers.pending()) == {ONE, TWO}
    assert set(channel.markers.pending()) == {ONE, TWO}


def test_nothing_given_is_larger_than_the_bound_and_a_byte(channel: Channel) -> None:
    channel.bring("1.json", b"x" * (2 * MARKER_MAX_BYTES))
    channel.bring("2.json", TWO)
    given = channel.markers.pending()
    assert TWO in given
    assert all(len(raw) <= MARKER_MAX_BYTES + 1 for raw in given)


# --- the directory


def test_a_directory_gives_the_oldest_first(drop: Path) -> None:
    for n, (name, raw) in enumerate((("b", ONE), ("a", TWO))):
        (drop / name).write_bytes(raw)
        os.utime(drop / name, ns=(0, n))
    assert DirectoryMarkers(drop).pending() == (ONE, TWO)


def test_only_regular_files_of_a_directory_count(drop: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (drop / ".partial").write_bytes(ONE)
    (drop / "link").symlink_to(tmp_path / "secret")
    (drop / "directory").mkdir()
    os.mkfifo(drop / "pipe")
    (drop / "good").write_bytes(TWO)
    assert DirectoryMarkers(drop).pending() == (TWO,)


def test_a_file_that_became_a_link_or_a_pipe_since_it_was_looked_at_is_not_read(
    drop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (drop / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(drop / "pipe")
    seen = (tmp_path / "secret").stat()
    monkeypatch.setattr(marker_files, "_status", lambda *_: seen)
    assert DirectoryMarkers(drop).pending() == ()


def test_a_file_that_cannot_be_read_takes_nothing_from_others(drop: Path) -> None:
    (drop / "locked").write_bytes(ONE)
    (drop / "locked").chmod(0)
    (drop / "good").write_bytes(TWO)
    assert TWO in DirectoryMarkers(drop).pending()


def test_of_too_many_files_the_newest_are_given(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marker_files, "FILES_MAX", 3)
    for n in range(5):
        (drop / str(n)).write_bytes(b"%d" % n)
        os.utime(drop / str(n), ns=(0, n))
    assert DirectoryMarkers(drop).pending() == (b"2", b"3", b"4")


def test_all_files_together_are_bounded(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marker_files, "TOTAL_MAX_BYTES", 25)
    for n in range(5):
        (drop / str(n)).write_bytes(b"%d" % n * 10)
        os.utime(drop / str(n), ns=(0, n))
    assert DirectoryMarkers(drop).pending() == (b"3" * 10, b"4" * 10)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it, readable by this user"):
        DirectoryMarkers(tmp_path / "none").pending()


# --- what was posted


def test_what_was_posted_outlives_the_process_and_half_a_file_does_not_count(tmp_path: Path) -> None:
    PostedMarkers(tmp_path).put(ONE)
    (tmp_path / ".half.json").write_bytes(b"{")
    assert PostedMarkers(tmp_path).pending() == (ONE,)


# --- the branch


def test_only_files_of_the_directory_of_markers_count(branch: Branch) -> None:
    branch.put("other/1.json", ONE)
    branch.put("markers/README.md", ONE)
    branch.put("markers/.hidden.json", ONE)
    branch.put("markers/link.json", Link("/etc/passwd"))
    branch.put("markers/module.json", Submodule("1" * 40))
    branch.put("markers/deep/1.json", ONE)
    branch.put("markers/good.json", TWO)
    assert branch.markers.pending() == (TWO,)


def test_what_was_taken_off_the_branch_is_not_given_any_more(branch: Branch) -> None:
    branch.put("markers/1.json", ONE)
    branch.put("markers/2.json", TWO)
    assert branch.markers.pending() == (ONE, TWO)
    del branch.files["markers/1.json"]
    branch.put("README.md", b"less")
    assert branch.markers.pending() == (TWO,)


def test_a_file_in_place_of_the_directory_is_no_marker(branch: Branch) -> None:
    branch.put("markers", ONE)
    assert branch.markers.pending() == ()


def test_too_many_markers_on_a_branch_are_told(branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers_branch, "FILES_MAX", 1)
    branch.put("markers/1.json", ONE)
    branch.put("markers/2.json", TWO)
    with pytest.raises(ConfigError, match="remove old ones"):
        branch.markers.pending()


def test_a_branch_that_is_not_there_is_told(tmp_path: Path, branch: Branch) -> None:
    path = str(branch.repo.path)
    with (
        BranchMarkers(tmp_path / "other", remote(path), ref="refs/heads/none", timeout_s=20) as markers,
        pytest.raises(ConfigError, match="no ref refs/heads/none"),
    ):
        markers.pending()


# --- several


def test_a_channel_that_fails_takes_nothing_from_the_others(drop: Path, tmp_path: Path) -> None:
    failed: list[tuple[str, ReconcilerError]] = []
    (drop / "1").write_bytes(ONE)
    channels = {"gone": DirectoryMarkers(tmp_path / "gone"), "drop": DirectoryMarkers(drop)}
    joined = JoinedMarkers(channels, lambda name, error: failed.append((name, error)))
    assert joined.pending() == (ONE,)
    assert [(name, type(error)) for name, error in failed] == [("gone", ConfigError)]


def test_what_came_by_two_channels_is_given_once(drop: Path, tmp_path: Path) -> None:
    posted = PostedMarkers(tmp_path / "posted")
    posted.put(ONE)
    (drop / "1").write_bytes(ONE)
    (drop / "2").write_bytes(TWO)
    joined = JoinedMarkers({"posted": posted, "drop": DirectoryMarkers(drop)}, lambda *_: None)
    assert sorted(joined.pending()) == [ONE, TWO]


def test_a_channel_full_of_junk_is_not_given_before_what_came_by_another(drop: Path, tmp_path: Path) -> None:
    for number in range(5):
        (drop / str(number)).write_bytes(b"junk %d" % number)
    posted = PostedMarkers(tmp_path / "posted")
    posted.put(ONE)
    joined = JoinedMarkers({"drop": DirectoryMarkers(drop), "posted": posted}, lambda *_: None)
    assert len(joined.pending()) == 6
    assert ONE in joined.pending()[:2]
