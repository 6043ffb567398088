"""Garbage collection and clones keep exactly what entries name, and nothing else is ever compacted."""

from __future__ import annotations

from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from state.entry import Kind
from state.log_read import LogReader
from state.log_verify import verify
from tests.fixtures.log import NAME, LogBench, git

PARTS = {"pr.1": b'{"head":"a"}', "listing": b'{"complete":true}'}


def test_what_entries_name_outlives_gc_and_clones_and_garbage_does_not(bench: LogBench, tmp_path: Path) -> None:
    with bench.log() as log:
        log.append(Kind.OBSERVATION, {}, PARTS)
        log.append(Kind.OBSERVATION, {"removed": ["pr.1"]}, {"listing": b'{"complete":false}'})
        tip = log.append(Kind.CONFIG, {}).id
    opened = pygit2.Repository(str(bench.repo))
    garbage = str(opened.odb.write(ObjectType.BLOB, b"of an entry that never came to be"))
    opened.free()
    before = entries(bench.repo)
    # No writer is active: only then may young objects go, too.
    bench.git("gc", "--quiet", "--prune=now")
    for clone in ("--bare", "--mirror"):
        git(tmp_path, "clone", "--quiet", "--no-local", clone, str(bench.repo), f"clone{clone}")
    for place in (bench.repo, tmp_path / "clone--bare", tmp_path / "clone--mirror"):
        assert verify(place, allowed_signers_file=bench.allowed(), anchor=tip).clean
        assert entries(place) == before
        assert garbage not in pygit2.Repository(str(place))
    with bench.log() as log:
        assert log.blob(next(iter(before[2][1].values()))) in PARTS.values()


def entries(place: Path) -> list[tuple[str, dict[str, str]]]:
    """Every entry's id, and the blobs that it names; each of them is read."""
    reader = LogReader(place, NAME.ref)
    found = [(e.id, dict(e.entry.blobs)) for e in reader.entries()]
    for _, blobs in found:
        for oid in blobs.values():
            reader.blob(oid)
    return found
