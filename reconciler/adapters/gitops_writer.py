"""Stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import pygit2

from reconciler.adapters.git_fetch import refused
from reconciler.adapters.git_files import read_file
from reconciler.adapters.git_mirror import BareMirror
from reconciler.adapters.git_process import run
from reconciler.adapters.git_remote import Remote
from reconciler.adapters.signer_ssh import SshSigner
from state.errors import ConfigError, StaleObservation, Terminal
from state.git import CommitId, RefName


class GitOpsBranches:
    def __init__(self, path: Path, source: Remote, signer: SshSigner, *, timeout_s: float) -> None:
        self._mirror = BareMirror(path, source, timeout_s=timeout_s)
        self._signer, self._timeout_s = signer, timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mirror.close()

    def tip(self, branch: RefName) -> CommitId | None:
        return self._mirror.tip(branch)

    def files(self, commit: CommitId, paths: Iterable[str]) -> Mapping[str, bytes]:
        found = {}
        for path in paths:
            try:
                found[path] = self._mirror.with_objects(partial(read_file, commit=commit, path=path))
            except ConfigError:
                continue
        return found

    def commit(self, parents: Sequence[CommitId], files: Mapping[str, bytes], message: str, at: int) -> CommitId:
        def make(repository: pygit2.Repository) -> CommitId:
            index = pygit2.Index()
            index.read_tree(repository[parents[0]].peel(pygit2.Tree))
            for path, raw in files.items():
                index.add(pygit2.IndexEntry(path, repository.create_blob(raw), index[path].mode))
            who = pygit2.Signature("ameide", "ameide@ameide.invalid", at, 0)
            plain = repository.create_commit(None, who, who, message, index.write_tree(repository), list(parents))
            text = repository[plain].read_raw().decode()
            made = repository.create_commit_with_signature(text, self._signer.sign(text.encode()), "gpgsig")
            return CommitId(str(made))

        return self._mirror.with_objects(make)

    def changed(self, base: CommitId, commit: CommitId) -> tuple[str, ...]:
        def look(repository: pygit2.Repository) -> tuple[str, ...]:
            diff = repository.diff(base, commit)
            return tuple(sorted({d.new_file.path for d in diff.deltas}))

        return self._mirror.with_objects(look)

    def merges(self, base: CommitId, commit: CommitId) -> bool:
        return self._mirror.with_objects(lambda r: r.merge_commits(base, commit).conflicts is None)

    def contains(self, commit: CommitId, ancestor: CommitId) -> bool:
        return self._mirror.with_objects(lambda r: commit == ancestor or r.descendant_of(commit, ancestor))

    def push(self, branch: RefName, commit: CommitId, confirm: Callable[[], None] | None = None) -> None:
        tip = self.tip(branch)
        if tip == commit:
            return
        if tip is not None and not self.contains(commit, tip):
            raise StaleObservation(f"{branch.short} is at {tip}")
        if confirm is not None:
            confirm()
        source, home = self._mirror.source, self._mirror.path
        arguments = [*source.configuration(), "push", "--porcelain", "origin", f"{commit}:{branch}"]
        done = run(arguments, cwd=home, env=source.environment(home), timeout_s=self._timeout_s)
        if done.code != 0:
            raise refused(source, done, "push") or Terminal("push")
