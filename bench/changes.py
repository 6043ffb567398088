"""What 60 images change in 150 heads of a repository of 20,000 files, against git asked for the same paths."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pygit2

from bench.fast_import import FastImport, git
from bench.measure import Bench, Row, Target, say, seconds, versus
from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_pygit2 import Mirror
from reconciler.adapters.git_remote import remote
from state.change import ChangeRecord
from state.git import CommitId, RefName
from state.observed import Catalogue, Image
from state.oci import Repository

FILES: Final = 20_000
IMAGES: Final = 60
MAIN_COMMITS: Final = 1500
HEADS: Final = 150
SHARED: Final = ("packages", "proto", "tools", "operators")
_KINDS: Final = ("process", "agent", "domain", "projection", "integration", "uisurface")
_FASTER: Final = Target("<", 1)
_TIMEOUT_S: Final = 60.0


def run(bench: Bench) -> list[Row]:
    say(f"  changes: making a repository of {FILES} files")
    repository = bench.folder("code.git")
    main, heads = _build(repository)
    catalogue = _catalogue(main)
    folder = bench.folder("mirror")
    with Mirror(folder / "code", remote(str(repository)), timeout_s=_TIMEOUT_S) as mirror:
        for number, head in enumerate(heads):
            mirror.fetch(head, RefName(f"refs/pull/{number}/head"))
    records = _compare(repository, main, heads, catalogue)
    pairs = _pairs(records, catalogue)

    def worker(tips: Sequence[CommitId]) -> float:
        with Mirror(folder / "code", remote(str(repository)), timeout_s=_TIMEOUT_S) as mirror:
            mirror.changes(main, main, catalogue)  # starts the worker, as the first head of the daemon's life does
            for tip in tips:
                mirror.changes(tip, tip, catalogue)
            return seconds(lambda: [mirror.changes(main, head, catalogue) for head in heads])

    def by_git() -> float:
        return seconds(lambda: git(repository, "cat-file", "--batch-check=%(objectname)", given=pairs))

    tips = sorted({tip for record in records for tip in record.merge_bases})  # each was main once, and compared with
    name = "git cat-file --batch-check, one process"
    rows = []
    for figure, how, ours, target in (
        ("changes.daemon", "by the daemon's worker, which knows main's trees", lambda: worker(tips), _FASTER),
        ("changes.started", "by a worker that has just started", lambda: worker(()), None),
        ("changes.process", "in one process, nothing known", lambda: _alone(repository, main, heads, catalogue), None),
    ):
        found = versus(figure, bench.rounds, ours, {name: by_git})[name]
        each, peer = 1000 * found.ours / HEADS, 1000 * found.peer / HEADS
        rows.append(Row(figure, f"{IMAGES} images of one head, {how}", each, peer, "ms", found.ratio, target, name))
    return rows


def _alone(path: Path, main: CommitId, heads: Sequence[CommitId], catalogue: Catalogue) -> float:
    return seconds(lambda: _compare(path, main, heads, catalogue))


def _compare(path: Path, main: CommitId, heads: Sequence[CommitId], catalogue: Catalogue) -> list[ChangeRecord]:
    """With nothing remembered from before."""
    comparer = Comparer(pygit2.Repository(str(path)))
    return [comparer.changes(main, head, catalogue) for head in heads]


def _pairs(records: Sequence[ChangeRecord], catalogue: Catalogue) -> bytes:
    """`<commit>:<path>` for each head, its merge bases and main, each path once a commit and head."""
    paths = sorted({path for image in catalogue.images.values() for path in image.inputs})
    commits = [commit for record in records for commit in (*record.merge_bases, record.head)]
    asked = [f"{commit}:{path}" for commit in (records[0].base, *commits) for path in paths]
    return "\n".join(asked).encode() + b"\n"


def _components() -> list[str]:
    return [f"primitives/{_KINDS[n % len(_KINDS)]}/c{n:02d}" for n in range(IMAGES)]


def _catalogue(commit: CommitId) -> Catalogue:
    images = {
        path.rpartition("/")[2]: Image(
            path.rpartition("/")[2],
            Repository(f"ghcr.io/acme/{path.rpartition('/')[2]}"),
            (path, *SHARED),
            ("linux/amd64",),
        )
        for path in _components()
    }
    return Catalogue(commit, images, {name: name for name in images})


def _build(path: Path) -> tuple[CommitId, list[CommitId]]:
    """Half of the files belong to components; a head changes a few files, mostly of one component."""
    chance = random.Random(7)
    components = _components()
    files = [
        f"{chance.choice(components) if n % 2 else chance.choice(('docs', *SHARED)) + f'/d{n % 120}'}"
        f"/s{n % 9}/t{n % 5}/f{n}.txt"
        for n in range(FILES)
    ]
    stream = FastImport(path)
    tip = stream.commit("refs/heads/main", None, {file: f"{file}\n" for file in files})
    mains = [tip]
    for n in range(MAIN_COMMITS):
        changed = chance.sample(files, chance.randint(1, 6))
        tip = stream.commit("refs/heads/main", tip, dict.fromkeys(changed, f"main {n}\n"))
        mains.append(tip)
    for n in range(HEADS):
        at, own = chance.choice(mains[-600:]), chance.choice(components)
        mine = [file for file in files if file.startswith(own)]
        for k in range(chance.randint(1, 5)):
            chosen = [chance.choice(mine if chance.random() < 0.7 else files) for _ in range(chance.randint(1, 12))]
            at = stream.commit(f"refs/pull/{n}/head", at, dict.fromkeys(chosen, f"head {n} {k}\n"))
    stream.run()
    git(path, "gc", "--quiet")
    refs = git(path, "for-each-ref", "--format=%(objectname) %(refname)").decode().splitlines()
    named = {name: CommitId(oid) for oid, _, name in (line.partition(" ") for line in refs)}
    return named["refs/heads/main"], [named[f"refs/pull/{n}/head"] for n in range(HEADS)]
