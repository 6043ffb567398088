"""The checkout that `ameide publish` is started in: which commits, and whether they may be published as is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
from pygit2.enums import FileStatus

from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_checkout import commit_of, fetching
from reconciler.adapters.git_context import dockerfile, write_context
from reconciler.adapters.git_files import read_catalogue, read_declared
from reconciler.producing.deciding import Channel, Relation
from reconciler.producing.looking import Source
from state.change import ChangeRecord
from state.errors import ConfigError, InvalidValue
from state.git import CommitId
from state.observed import Catalogue, Image, Recipe
from state.oci import Digest

_SHOWN: Final = 5
_UNCOMMITTED: Final = ~(FileStatus.CURRENT | FileStatus.IGNORED | FileStatus.WT_NEW)


class Asked(NamedTuple):
    """What the command line names. `base` is the base branch's commit; on main, the main branch's tip."""

    channel: Channel
    base: str
    head: str


class Checkout:
    """Implements `building.Sources` for one commit. For one thread at a time."""

    def __init__(self, repository: pygit2.Repository, asked: Asked, catalogue: str) -> None:
        """Raises InvalidValue for commits that cannot be published so, ConfigError for their catalogue."""
        self._repository = repository
        self._path = catalogue
        self._comparer = Comparer(repository)
        self.channel = asked.channel
        self.base = commit_of(repository, "--base", asked.base)
        self.head = commit_of(repository, "--head", asked.head)
        self._check_related(asked)
        self._check_clean()
        # On main the commit itself is trusted; a pull request's own catalogue never counts.
        trusted = self.head if asked.channel is Channel.MAIN else self.base
        self.catalogue: Catalogue = fetching(repository, lambda: read_catalogue(repository, trusted, catalogue))
        self.recipes = fetching(repository, lambda: read_declared(repository, trusted, catalogue))[1]
        self.time_s = int(repository[self.head].peel(pygit2.Commit).commit_time)
        self._changes: dict[CommitId, ChangeRecord] = {}
        self._older: dict[CommitId, tuple[Catalogue, Mapping[str, Recipe]] | None] = {}

    def source(self) -> Source:
        """As `looking.look` takes it."""
        return Source(
            self.channel,
            self.base,
            self.head,
            self.catalogue,
            self.recipes,
            self._changed_since,
            self._related,
            self._declared,
        )

    # --- building.Sources

    def dockerfile(self, recipe: Recipe) -> bytes:
        return fetching(self._repository, lambda: dockerfile(self._repository, self.head, recipe))

    def context(self, image: Image, recipe: Recipe, target: Path) -> None:
        fetching(
            self._repository,
            lambda: write_context(self._repository, self.head, image, recipe, target, time_s=self.time_s),
        )

    def fingerprint(self, image: Image) -> Digest:
        return fetching(self._repository, lambda: self._comparer.fingerprint(self.head, image))

    # --- parts

    def _changed_since(self, base: CommitId) -> ChangeRecord:
        if base not in self._changes:
            compare = self._comparer.changes
            self._changes[base] = fetching(self._repository, lambda: compare(base, self.head, self.catalogue))
        return self._changes[base]

    def _declared(self, commit: CommitId, name: str) -> tuple[Image, Recipe | None] | None:
        if commit not in self._older:
            try:
                self._older[commit] = fetching(
                    self._repository, lambda: read_declared(self._repository, commit, self._path)
                )
            except ConfigError:  # it was published in another way, or the catalogue had another form
                self._older[commit] = None
        older = self._older[commit]
        if older is None or name not in older[0].images:
            return None
        return older[0].images[name], older[1].get(name)

    def _related(self, commit: CommitId) -> Relation:
        if commit == self.head:
            return Relation.SAME
        if commit not in self._repository:
            return Relation.APART
        bases = self._comparer.history.merge_bases(commit, self.head)
        if bases == (commit,):
            return Relation.BEFORE
        return Relation.AFTER if bases == (self.head,) else Relation.APART

    def _check_related(self, asked: Asked) -> None:
        bases = self._comparer.history.merge_bases(self.base, self.head)
        hint = ""
        if self._comparer.history.shallow:
            hint = "; this clone is shallow: fetch the full history (actions/checkout: `fetch-depth: 0`)"
        if not bases:
            raise InvalidValue(
                f"--head {asked.head!r}: {self.head} has no commit in common with --base {asked.base!r}"
                f" ({self.base}), so what it changed is not known{hint}"
            )
        if asked.channel is Channel.MAIN and bases != (self.head,):
            raise InvalidValue(
                f"--head {asked.head!r}: {self.head} is not on --base {asked.base!r} ({self.base}); only commits of the"
                f" main branch are published to its channel{hint}"
            )

    def _check_clean(self) -> None:
        """What is built is the commit; whoever has edits that are not in it would publish something else."""
        repository = self._repository
        if repository.is_bare or repository.head_is_unborn or str(repository.head.target) != self.head:
            return
        found = repository.status(untracked_files="no", ignored=False)
        if edited := sorted(path for path, flags in found.items() if flags & _UNCOMMITTED):
            more = f" and {len(edited) - _SHOWN} more" if len(edited) > _SHOWN else ""
            raise InvalidValue(
                f"--repo {repository.workdir}: has changes that are not committed, and the commit is what is built:"
                f" {', '.join(ascii(path)[1:-1][:100] for path in edited[:_SHOWN])}{more}; commit or undo them"
            )
