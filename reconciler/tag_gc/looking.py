"""What `ameide tags gc` sees: open heads, the tags themselves, and whether their digests have other tags that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from reconciler.absence import MAIN, PassReads
from reconciler.ports import Executor, ForgeReader, RegistryReader
from reconciler.tag_gc.deciding import Custody, Seen
from reconciler.tag_gc.records import Given
from state.errors import ReconcilerError, Terminal, Transient
from state.git import CommitId, RefName
from state.history import Cell
from state.observed import Present, TagState
from state.oci import Digest, Repository, Tag

READS_PER_REPOSITORY: Final = 2000
"""Tags of one repository that are read to find one beside a candidate; beyond them it is not known."""


class BaseHistory(Protocol):
    """The code repository's base branches."""

    def branch_tip(self, branch: RefName) -> CommitId | None: ...

    def own_commits(self, tip: CommitId, commits: frozenset[CommitId]) -> frozenset[CommitId]: ...


@dataclass(slots=True)
class Looker:
    """Reads for one repository. `refusing`: registry host → why nothing is removed there, as far as it is known."""

    forge: ForgeReader
    git: BaseHistory
    registry: RegistryReader
    executor: Executor
    bases: tuple[RefName, ...]
    refusing: Mapping[str, str] = field(default_factory=dict)

    def look(self, candidates: Sequence[Custody], given: Given) -> Seen:
        """One look. What fails of it is not known, and so kept; a listing that is not complete ends it.

        Raises Transient, Denied or Terminal where the forge or the code repository does not answer.
        """
        listing = self.forge.open_pull_requests()
        heads = frozenset(pr.head for pr in listing.pull_requests)
        if not listing.complete:
            return _nothing("the listing of open pull requests is not complete", heads)
        on_base: frozenset[CommitId] = frozenset()
        for base in self.bases:
            tip = self.git.branch_tip(base)
            if tip is None:
                return _nothing(f"there is no base branch {base}", heads)
            on_base |= self.git.own_commits(tip, frozenset(c.head for c in candidates))
        asked = [
            c
            for c in candidates
            if c.head not in heads and c.head not in on_base and c.repository.host not in self.refusing
        ]
        reads = PassReads(self.registry)
        states = self.executor.map(lambda c: reads.tag(c.repository, Tag(c.head)), asked)
        tags: dict[Cell, TagState] = {}
        for custody, state in zip(asked, states, strict=True):
            if isinstance(state, Exception):
                raise state
            tags[custody.cell] = state
        ours = [c for c in asked if _is(tags[c.cell], c.digest)]
        return Seen(True, "", heads, tags, self._beside(ours, given), self.refusing, on_base, given.published)

    def _beside(self, ours: Sequence[Custody], given: Given) -> dict[Cell, Tag | None]:
        """Candidate → a tag of its digest that is no candidate itself."""
        leaving: dict[Repository, set[Tag]] = {}
        wanted: dict[Repository, dict[Digest, list[Cell]]] = {}
        for custody in ours:
            leaving.setdefault(custody.repository, set()).add(Tag(custody.head))
            wanted.setdefault(custody.repository, {}).setdefault(custody.digest, []).append(custody.cell)
        ended = {(c.repository, Tag(c.head)) for c in given.custodies}
        found: dict[Cell, Tag | None] = {}
        for repository, by_digest in wanted.items():
            likely = [MAIN, *(Tag(h) for d in by_digest if (h := given.held.get((repository, d))) is not None)]
            whole = self._search(repository, dict.fromkeys(likely), by_digest, found)
            if not by_digest:
                continue
            try:
                listed = self.registry.tags(repository)
            except (Transient, Terminal):
                continue
            rest = [t for t in listed or () if t not in likely and (repository, t) not in ended]
            rest.sort(key=lambda t: t in leaving[repository])
            whole &= len(rest) <= READS_PER_REPOSITORY
            whole &= self._search(repository, dict.fromkeys(islice(rest, READS_PER_REPOSITORY)), by_digest, found)
            if whole and listed:
                found.update((cell, None) for cells in by_digest.values() for cell in cells)
        return found

    def _search(
        self,
        repository: Repository,
        tags: Mapping[Tag, None],
        by_digest: dict[Digest, list[Cell]],
        found: dict[Cell, Tag | None],
    ) -> bool:
        """Take the digests that these tags have out of `by_digest`; False if one could not be read."""
        whole = True
        for tag, digest in zip(
            tags, self.executor.map(lambda t: self.registry.resolve(repository, t), tags), strict=True
        ):
            if isinstance(digest, ReconcilerError):
                whole = False
            elif isinstance(digest, Exception):
                raise digest
            elif digest is not None:
                found.update((cell, tag) for cell in by_digest.pop(digest, ()))
        return whole


def _is(state: TagState, digest: Digest) -> bool:
    return isinstance(state, Present) and state.digest == digest


def _nothing(why: str, heads: frozenset[CommitId]) -> Seen:
    return Seen(False, why, heads, {}, {}, {}, frozenset(), frozenset())
