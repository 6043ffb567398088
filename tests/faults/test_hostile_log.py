"""A log that was tampered with or cannot be written: the reconciler does not go on from it, and writes nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2
import pytest

from reconciler.cli import main
from state.entry import Kind
from state.errors import Unavailable
from state.git import CommitId
from tests.faults.test_log_crash import small_disk
from tests.fixtures.shop import DOCS, IMAGE_NAMES, LOG_REF, Shop, open_shop, tree_bytes

assert small_disk
Tamper = Callable[[pygit2.Repository, list[CommitId]], object]


def foreign(repository: pygit2.Repository, parent: CommitId) -> pygit2.Oid:
    who = pygit2.Signature("Somebody", "x@example.org", 1_800_000_000, 0)
    empty = repository.TreeBuilder().write()
    return repository.create_commit(None, who, who, "outcome 9: all is well\n\n{}\n", empty, [pygit2.Oid(hex=parent)])


def points(repository: pygit2.Repository, to: object) -> None:
    repository.references.create(LOG_REF, pygit2.Oid(hex=str(to)), force=True)


def corrupts(repository: pygit2.Repository, entry: CommitId) -> None:
    path = Path(repository.path) / "objects" / entry[:2] / entry[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9] + b"corrupted")


def symbolic(repository: pygit2.Repository, _: list[CommitId]) -> None:
    points(repository, repository.references[LOG_REF].target)
    repository.references.create("refs/heads/elsewhere", repository.references[LOG_REF].target)
    repository.references.create(LOG_REF, "refs/heads/elsewhere", force=True)


TAMPERINGS: dict[str, tuple[Tamper, str]] = {
    "a corrupt entry in the middle": (lambda r, ids: corrupts(r, ids[2]), "ids[2]"),
    "a corrupt newest entry": (lambda r, ids: corrupts(r, ids[-1]), "ids[-1]"),
    "rewound": (lambda r, ids: points(r, ids[-2]), "restore it from the remote"),
    "forked": (lambda r, ids: points(r, foreign(r, ids[-2])), "restore it from the remote"),
    "deleted": (lambda r, _: r.references.delete(LOG_REF), "restore it from the remote"),
    "a foreign commit on top": (lambda r, ids: points(r, foreign(r, ids[-1])), "log"),
    "a symbolic branch": (symbolic, "symbolic"),
    "a shallow file": (lambda r, ids: (Path(r.path) / "shallow").write_text(f"{ids[2]}\n"), "shallow"),
}


def content(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: raw for name, raw in files.items() if not name.endswith("flock")}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop with a log, for all that is done to it; each leaves it healed."""
    with open_shop(tmp_path_factory.mktemp("lasting") / "shop") as made:
        made.opens("old", DOCS)
        with made.reconciler() as running:
            running.until_quiet()
        yield made


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_on_a_log_that_was_tampered_with_nothing_starts_and_nothing_is_written(
    lasting: Shop, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    shop = lasting
    kept = shop.root / "kept.git"
    shutil.copytree(shop.log, kept)
    tamper, said = TAMPERINGS[kind]
    ids = [e.id for e in shop.entries()]
    tamper(pygit2.Repository(str(shop.log)), ids)
    number, head = shop.opens(f"new-{len(ids)}", {"README.md": f"{len(ids)}\n"})
    before = tree_bytes(shop.log)

    with shop.requests_made() as made, pytest.raises(SystemExit) as ended:
        main(["reconciler", "once", "--config", str(shop.config)])
    err = capsys.readouterr().err
    assert ended.value.code == 1
    assert {"ids[2]": ids[2], "ids[-1]": ids[-1]}.get(said, said) in err
    assert "Traceback" not in err
    assert [method for method, _, _ in made if method == "PUT"] == []
    assert content(tree_bytes(shop.log)) == content(before)

    shutil.rmtree(shop.log)
    kept.rename(shop.log)
    with shop.reconciler() as running:
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    shop.verified()
    shop.pulls.close(number)


def test_a_log_on_a_full_disk_keeps_every_write_back_and_is_made_up_for(shop: Shop, small_disk: Path) -> None:
    shop.log = small_disk / "log.git"
    shop.configure(shop={"log": {**shop.repository_settings["log"], "path": str(shop.log)}})
    _, head = shop.opens("docs", DOCS)
    ballast = small_disk / "ballast"
    with shop.reconciler() as running:
        entries = len(shop.entries())
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(os.urandom(4096))
        with shop.requests_made() as made, pytest.raises(Unavailable, match="nothing was appended"):
            running.one_pass()
        assert [method for method, _, _ in made if method == "PUT"] == []
        assert len(shop.entries()) == entries
        ballast.unlink()
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    assert len(shop.entries(Kind.INTENT)) == 1
    shop.verified()


def test_a_state_dir_on_a_full_disk_ends_a_process_with_what_to_do_and_the_next_one_goes_on(
    shop: Shop, small_disk: Path
) -> None:
    state = small_disk / "state"
    state.mkdir()
    shop.configure(state_dir=str(state))
    once = ("reconciler", "once", "--config", str(shop.config))
    _, first = shop.opens("docs", DOCS)
    done = shop.runs(*once)
    assert shop.tags(first) == {image: shop.main(image) for image in IMAGE_NAMES}, done.stderr
    entries = len(shop.entries())
    _, second = shop.opens("more", {"README.md": "more\n"})
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(512))
    done = shop.runs(*once)
    assert done.returncode == 3, done.stderr
    [told] = done.stderr.splitlines()
    assert told.startswith(f"ameide: {state}/")
    assert "No space left on device" in told
    assert len(shop.entries()) == entries
    assert set(shop.tags(second).values()) == {None}
    ballast.unlink()
    done = shop.runs(*once)
    assert shop.tags(second) == {image: shop.main(image) for image in IMAGE_NAMES}, done.stderr
    shop.verified()
