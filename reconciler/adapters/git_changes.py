"""Which images a head changes: the one function behind the daemon's worker process and `ameide changed`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Final

import pygit2

from reconciler.adapters.git_fingerprint import fingerprint
from reconciler.adapters.git_history import History
from reconciler.adapters.git_inputs import Inputs, Plain
from reconciler.adapters.git_tree import Trees, parts
from state.change import ChangeRecord, ImageChange, Why
from state.git import CommitId
from state.observed import Catalogue, Image
from state.oci import Digest

_LISTS_KEPT: Final = 64


class _Images:
    """The images of one catalogue in order of repository, and where their inputs are in the list of all."""

    def __init__(self, catalogue: Catalogue, lists: Callable[[tuple[str, ...]], Inputs]) -> None:
        self.ordered = sorted(catalogue.images.values(), key=lambda image: image.repository)
        self.inputs = lists(tuple(path for image in self.ordered for path in image.inputs))
        self.positions = [tuple([self.inputs.position[path] for path in image.inputs]) for image in self.ordered]


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
        self._fingerprints = lru_cache(maxsize=_LISTS_KEPT)(self._fingerprints_at)
        self._latest: tuple[Catalogue, _Images] | None = None

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        """An image is changed if its inputs at `head` differ from those at any merge base, or if there is none."""
        images = self._images(catalogue)
        inputs = images.inputs
        merge_bases = self.history.merge_bases(base, head)
        plain = inputs.plain(self.trees, self.trees.root(head))
        at_head = inputs.followed(self.trees, self.trees.root(head), plain)
        at_base = self._fingerprints(images, self.trees.root(base))  # Every head of one base asks for these.
        differing: set[str] = set()
        for merge_base in merge_bases:
            differing |= self._differing(inputs, self.trees.root(merge_base), at_head, plain)
        why = Why.INPUTS_EQUAL if merge_bases else Why.NO_MERGE_BASE
        made = []
        for image, at, before in zip(images.ordered, images.positions, at_base, strict=True):
            now = self._fingerprint(tuple([at_head[n] for n in at]))
            if differing.isdisjoint(image.inputs):
                made.append(ImageChange(image.repository, not merge_bases, why, (), now, before))
            else:
                changed = tuple(p for p in image.inputs if p in differing)
                made.append(ImageChange(image.repository, True, Why.INPUTS_DIFFER, changed, now, before))
        return ChangeRecord(base, head, merge_bases, catalogue.commit, tuple(made))

    def _images(self, catalogue: Catalogue) -> _Images:
        if self._latest is None or self._latest[0] is not catalogue:
            self._latest = (catalogue, _Images(catalogue, self._inputs))
        return self._latest[1]

    def _fingerprints_at(self, images: _Images, root: bytes) -> tuple[Digest, ...]:
        blocks = images.inputs.blocks(self.trees, root)
        return tuple(self._fingerprint(tuple([blocks[n] for n in at])) for at in images.positions)

    def _differing(self, inputs: Inputs, then: bytes, at_head: tuple[bytes, ...], plain: tuple[Plain, ...]) -> set[str]:
        """The inputs whose blocks differ between tree `then` and the head's.

        Two plain blocks that differ are enough to tell, without reading what is below the older one.
        """
        found = set()
        for path, old, new, now in zip(inputs.paths, inputs.plain(self.trees, then), plain, at_head, strict=True):
            if old.block is not None and old.block == now:
                continue
            both_plain = old.block is not None and new.block is not None and old.block != new.block
            if both_plain or inputs.block(self.trees, then, path, old) != now:
                found.add(path)
        return found

    def fingerprint(self, commit: CommitId, image: Image) -> Digest:
        """The fingerprint of the image's declared inputs at `commit` (`git_fingerprint`, version 1)."""
        return fingerprint(self._inputs(image.inputs).blocks(self.trees, self.trees.root(commit)))

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
