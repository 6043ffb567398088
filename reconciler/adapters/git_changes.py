"""Which images a head changes: the one function behind the daemon's worker process and `ameide changed`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final

import pygit2

from reconciler.adapters.git_difference import AtBase, Difference, Images
from reconciler.adapters.git_fingerprint import fingerprint
from reconciler.adapters.git_history import History
from reconciler.adapters.git_inputs import Inputs
from reconciler.adapters.git_tree import Trees, parts
from state.change import ChangeRecord
from state.git import CommitId
from state.observed import Catalogue, Image
from state.oci import Digest

_LISTS_KEPT: Final = 64


class Comparer:
    """Compares commits of one repository by the fingerprints of declared inputs. For one thread.

    What it remembers is keyed by object ids, so it never goes stale. Its methods raise `git_tree.MissingObjects` where
    a partial clone has to fetch something first, Terminal on trees past the bounds, IntegrityError on malformed ones.
    """

    def __init__(self, repository: pygit2.Repository) -> None:
        self.trees = Trees(repository)
        self.history = History(repository)
        self._inputs = lru_cache(maxsize=_LISTS_KEPT)(Inputs)
        self._fingerprint = lru_cache(maxsize=65_536)(fingerprint)
        self._latest: tuple[Catalogue, Images, AtBase] | None = None

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        """An image is changed if its inputs at `head` differ from those at any merge base, or if there is none."""
        if self._latest is None or self._latest[0] is not catalogue or self._latest[2].base != base:
            images = Images(catalogue.images.values())
            self._latest = catalogue, images, AtBase(base, catalogue.commit, images, self.fingerprints(base, images))
        _, images, at_base = self._latest
        return at_base.record(head, self.difference(base, head, images))

    def fingerprints(self, commit: CommitId, images: Images) -> tuple[Digest, ...]:
        """Of each image at `commit`, in their order."""
        return tuple(self._of_images(commit, images, range(len(images.ordered))))

    def difference(self, base: CommitId, head: CommitId, images: Images) -> Difference:
        """See `changes`. Of an input that the head changed no more is read: another tree id says enough."""
        merge_bases = self.history.merge_bases(base, head)
        if not merge_bases:
            return Difference((), frozenset(), {})
        trees, inputs, root = self.trees, images.inputs, self.trees.root(head)
        differing: frozenset[str] = frozenset()
        for merge_base in merge_bases:
            differing |= inputs.differing(trees, trees.root(merge_base), root)
        since = inputs.differing(trees, trees.root(base), root)
        moved = sorted(images.using(since) - images.using(differing))
        return Difference(merge_bases, differing, dict(zip(moved, self._of_images(head, images, moved), strict=True)))

    def _of_images(self, commit: CommitId, images: Images, places: Iterable[int]) -> list[Digest]:
        wanted = [images.ordered[n].inputs for n in places]
        root = self.trees.root(commit)
        blocks = images.inputs.blocks(self.trees, root, {path for paths in wanted for path in paths})
        return [self._fingerprint(tuple([blocks[path] for path in paths])) for paths in wanted]

    def fingerprint(self, commit: CommitId, image: Image) -> Digest:
        """The fingerprint of the image's declared inputs at `commit` (`git_fingerprint`, version 1)."""
        inputs = self._inputs(image.inputs)
        return fingerprint(inputs.blocks(self.trees, self.trees.root(commit), inputs.paths).values())

    def faithful(
        self, image: Image, base: CommitId, merge_base: CommitId, wanted: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        """Commits of `base`'s first-parent history with the fingerprint `wanted`, from `merge_base` back.

        Where the merge base is not itself on that history, it starts at the newest commit there that it descends from.
        """
        start = self.history.nearest_first_parent(base, merge_base)
        found: list[CommitId] = []
        if start is not None:
            for commit in islice(self.history.first_parents(start), limit):
                if self.fingerprint(commit, image) != wanted:
                    break
                found.append(commit)
        return tuple(found)

    def unmatched(self, commit: CommitId, catalogue: Catalogue) -> tuple[str, ...]:
        """One problem for each declared input that has nothing at `commit`."""
        root = self.trees.root(commit)
        return tuple(
            f"images.{image.name}.inputs[{n}]: {path!r} matches nothing at {commit}"
            for image in catalogue.images.values()
            for n, path in enumerate(image.inputs)
            if not self.trees.exists(root, parts(path))
        )
