"""What CI hands over as files: whole files of that directory and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.handed_over import FILE_MAX_BYTES, FILES_MAX, HandedOverFiles
from reconciler.ports import HandedFile
from state.errors import Unavailable
from state.oci import Digest

DIGEST = Digest.of(b"image")
NAME = f"sha256-{DIGEST.hex}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "handed" / NAME
    made.mkdir(parents=True)
    return made


def read(folder: Path, suffix: str = ".json") -> list[HandedFile]:
    return list(HandedOverFiles(folder.parent).files(DIGEST, suffix))


def test_files_are_read_by_name_and_by_how_their_name_ends(folder: Path) -> None:
    for name in ("b.json", "a.json", "a.txt", ".hidden.json", ".new"):
        (folder / name).write_text(name)
    assert read(folder) == [HandedFile("a.json", b"a.json"), HandedFile("b.json", b"b.json")]
    assert read(folder, ".txt") == [HandedFile("a.txt", b"a.txt")]
    assert HandedOverFiles(folder.parent).files(Digest.of(b"other"), ".json") == ()


def _link(folder: Path) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "x.json").symlink_to(folder.parent / "secret")


def _folder(folder: Path) -> None:
    (folder / "x.json").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "x.json")


def _open_to_all(folder: Path) -> None:
    (folder / "x.json").write_text("x")
    (folder / "x.json").chmod(0o666)


def _large(folder: Path) -> None:
    with (folder / "x.json").open("wb") as file:
        file.truncate(FILE_MAX_BYTES + 1)


def _empty(folder: Path) -> None:
    (folder / "x.json").touch()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_link, "a link is not followed"),
        (_folder, "expected a regular file"),
        (_pipe, "expected a regular file"),
        (_open_to_all, "the file is writable by everybody"),
        (_large, "expected at most"),
        (_empty, "the file is empty"),
    ],
)
def test_what_is_no_file_that_ci_alone_wrote_is_told_and_not_read(
    folder: Path, make: Callable[[Path], None], told: str
) -> None:
    make(folder)
    (folder / "y.json").write_text("y")
    wrong, good = read(folder)
    assert (wrong.name, wrong.raw) == ("x.json", b"")
    assert told in wrong.problem
    assert good == HandedFile("y.json", b"y")


def test_the_largest_file_that_may_be_is_read_whole(folder: Path) -> None:
    with (folder / "x.json").open("wb") as file:
        file.truncate(FILE_MAX_BYTES)
    (only,) = read(folder)
    assert (len(only.raw), only.problem) == (FILE_MAX_BYTES, "")


def test_more_files_than_are_ever_attached_are_not_read(folder: Path) -> None:
    for n in range(FILES_MAX):
        (folder / f"{n:03}.json").write_text("{}")
    assert len(read(folder)) == FILES_MAX
    (folder / "more.json").write_text("{}")
    (only,) = read(folder)
    assert only.raw == b""
    assert f"at most {FILES_MAX} files" in only.problem


def test_a_directory_that_is_a_link_or_open_to_everybody_is_not_read(folder: Path) -> None:
    (folder / "x.json").write_text("x")
    folder.chmod(0o777)
    (only,) = read(folder)
    assert "writable by everybody" in only.problem
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")
    (only,) = read(folder)
    assert (only.raw, "expected a directory" in only.problem) == (b"", True)


def test_a_hand_over_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="make the directory"):
        HandedOverFiles(tmp_path / "missing").files(DIGEST, ".json")
