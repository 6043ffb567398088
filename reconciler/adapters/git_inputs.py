"""The blocks of many declared inputs at one commit, looked up together.

The inputs of all images form one tree of names. What a directory says of the inputs below it depends on the
directory's id alone, so it is kept by that id: of a new head only the directories that no earlier commit had are read.
Symbolic links can point anywhere, so where one is met the input is walked by itself, from the top.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable
from typing import Final, NamedTuple

from reconciler.adapters.git_fingerprint import block, tree_block
from reconciler.adapters.git_tree import ABSENT, LINK, SUBMODULE, TREE, Entry, Parts, Trees, parts

_KEPT_MAX: Final = 200_000


class Plain(NamedTuple):
    """An input's block as if there were no links below it; None where a link or a file is in the way.

    `tree` is the directory whose links decide whether the block is right; empty where there is none.
    """

    block: bytes | None
    tree: bytes = b""


class Inputs:
    """A fixed list of declared inputs, in ascending order without repetitions."""

    def __init__(self, declared: Iterable[str]) -> None:
        self.paths = tuple(sorted(set(declared)))
        self._position = {path: n for n, path in enumerate(self.paths)}
        self._top = _Node(())
        for path in self.paths:
            node = self._top
            for part in parts(path):
                node = node.below.setdefault(part, _Node((*node.at, part)))
            node.declare(path)
        place = {path: n for n, path in enumerate(self._top.inputs())}
        self._order = tuple(place[path] for path in self.paths)

    def plain(self, trees: Trees, root: bytes) -> tuple[Plain, ...]:
        """One for each of `paths`, in their order."""
        found = self._top.plain(trees, root)
        return tuple([found[n] for n in self._order])

    def blocks(self, trees: Trees, root: bytes, paths: Iterable[str]) -> dict[str, bytes]:
        """path → block for each of `paths`, links followed. Raises MissingObjects."""
        plain = self.plain(trees, root)
        return {path: self._followed(trees, root, path, plain[self._position[path]]) for path in paths}

    def differing(self, trees: Trees, old: bytes, new: bytes) -> set[str]:
        """The inputs whose blocks at two top trees differ, links followed. Raises MissingObjects.

        Two plain blocks that differ are enough to tell, whatever is below; two that are equal are so until a link
        below leads elsewhere.
        """
        found: set[str] = set()
        if old == new:
            return found
        for path, before, after in zip(self.paths, self.plain(trees, old), self.plain(trees, new), strict=True):
            if before.block is not None and after.block is not None:
                if before.block != after.block:
                    found.add(path)
                    continue
                if not (after.tree and trees.has_links(after.tree)):
                    continue
            if self._followed(trees, old, path, before) != self._followed(trees, new, path, after):
                found.add(path)
        return found

    def _followed(self, trees: Trees, root: bytes, path: str, found: Plain) -> bytes:
        if found.block is not None and not (found.tree and trees.has_links(found.tree)):
            return found.block
        return block(path, trees.closure(root, parts(path)))


class _Node:
    """A directory that inputs are in, or an input."""

    def __init__(self, at: Parts) -> None:
        self.at = at
        self.declared: str | None = None
        self._around = (b"", b"")
        self.below: dict[bytes, _Node] = {}
        self._kept: dict[bytes, tuple[Plain, ...]] = {}

    def declare(self, path: str) -> None:
        self.declared, self._around = path, tree_block(path)

    def inputs(self) -> tuple[str, ...]:
        """This and all below, in the order of `plain`."""
        own = () if self.declared is None else (self.declared,)
        return own + tuple(path for node in self.below.values() for path in node.inputs())

    def plain(self, trees: Trees, tree: bytes) -> tuple[Plain, ...]:
        found = self._kept.get(tree)
        if found is None:
            before, after = self._around
            made = [] if self.declared is None else [Plain(before + hexlify(tree) + after, tree)]
            if self.below:
                children = trees.children(tree)
                for part, node in self.below.items():
                    child = children.get(part)
                    if child is not None and child[0] == TREE:
                        made += node.plain(trees, child[1])
                    else:
                        made += node.one(child)
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            found = self._kept[tree] = tuple(made)
        return found

    def one(self, child: tuple[bytes, bytes] | None) -> tuple[Plain, ...]:
        if child is None:
            return self._all(Entry(self.at, ABSENT, b""), absent=True)
        mode, id_ = child
        if mode == SUBMODULE:
            return self._all(Entry(self.at, mode, id_))
        own = () if self.declared is None or mode == LINK else (Plain(block(self.declared, (Entry(self.at, *child),))),)
        return own + (Plain(None),) * (len(self.inputs()) - len(own))

    def _all(self, entry: Entry, *, absent: bool = False) -> tuple[Plain, ...]:
        return tuple(
            Plain(block(path, (Entry(parts(path), ABSENT, b"") if absent else entry,))) for path in self.inputs()
        )
