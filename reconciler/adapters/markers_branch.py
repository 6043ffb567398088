"""Markers in a git repository: files `markers/<name>.json` at the tip of one ref, over a bare mirror."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import pygit2

from reconciler.adapters.git_mirror import BareMirror
from reconciler.adapters.git_remote import Remote
from reconciler.adapters.git_tree import TREE, MissingObjects, Trees, parts
from state.approval import MARKER_MAX_BYTES
from state.errors import ConfigError, Terminal
from state.git import CommitId, RefName
from state.oci import Digest

DIRECTORY: Final = "markers"
FILES_MAX: Final = 1000
_FILE_MODES: Final = frozenset({b"100644", b"100755", b"100664"})


class BranchMarkers:
    """Implements `ports.Markers`. Arguments are those of `git_pygit2.Mirror`."""

    def __init__(
        self,
        path: Path,
        source: Remote,
        *,
        ref: RefName | str,
        timeout_s: float,
    ) -> None:
        self._ref = RefName(ref)
        self._mirror = BareMirror(path, source, timeout_s=timeout_s)
        self._last: tuple[CommitId, tuple[bytes, ...]] | None = None

    def close(self) -> None:
        """Let go of the mirror."""
        self._mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pending(self) -> Sequence[bytes]:
        """Every marker at the tip, in order of name; links, directories and files beyond 64 KiB are left out.

        Raises ConfigError if there is no such ref or it holds more than FILES_MAX markers, Transient or Denied.
        """
        tip = self._mirror.tip(self._ref)
        if tip is None:
            raise ConfigError(f"{self._mirror.name}: no ref {self._ref}; make the branch of markers, or take it out")
        if self._last is None or self._last[0] != tip:
            self._last = tip, self._mirror.with_objects(lambda repository: self._read(repository, tip))
        self._mirror.drop(self._mirror.kept() - {tip})
        return self._last[1]

    def done(self, markers: Iterable[Digest]) -> None:
        """Nothing: the branch is the approvers'."""
        del markers

    def _read(self, repository: pygit2.Repository, tip: CommitId) -> tuple[bytes, ...]:
        trees = Trees(repository)
        found = trees.find(trees.root(tip), parts(DIRECTORY))
        if found is None or found.mode != TREE:
            return ()
        rows = [
            id_
            for name, (mode, id_) in sorted(trees.children(found.id).items())
            if name.endswith(b".json") and not name.startswith(b".") and mode in _FILE_MODES
        ]
        if len(rows) > FILES_MAX:
            raise ConfigError(
                f"{self._mirror.name}: {len(rows)} files in {DIRECTORY}/ of {self._ref}, expected at most {FILES_MAX};"
                " remove old ones: what was used or expired is in the log"
            )
        missing: set[str] = set()
        made: list[bytes] = []
        for id_ in rows:
            try:
                made.append(trees.blob(id_, MARKER_MAX_BYTES, DIRECTORY))
            except MissingObjects as asked:
                missing |= asked.ids  # all at once: a fetch for each would take minutes
            except Terminal:
                continue
        if missing:
            raise MissingObjects(frozenset(missing))
        return tuple(made)
