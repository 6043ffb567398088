"""Trees of a repository, and what is at a path of them.

Trees are read raw: names are bytes (they need not be UTF-8), and neither grafts nor replacements apply. What is known
of a tree is kept by its id, which never changes its meaning, so a head costs only the trees it does not share.

A path is looked up as a file system would look it up: symbolic links on the way and below it are followed inside the
repository, and every link and every target outside the declared inputs is one of the path's entries. A link whose
target leaves the repository (an absolute path, or `..` above the top) counts by its text only: no commit can change
what it leads to. A submodule counts by its commit id, an LFS file by its pointer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple, TypeAlias

import pygit2
from pygit2.enums import ObjectType

from state.errors import IntegrityError, Terminal
from state.git import CommitId

_TREE_ENTRY: Final = re.compile(rb"([0-7]{5,6}) ([^\0/]+)\0(.{20})", re.DOTALL)
_WELL_FORMED: Final = re.compile(rb"(?:[0-7]{5,6} [^\0/]+\0.{20})*+", re.DOTALL)
_SUBTREES: Final = re.compile(
    rb"(?:(?!0?40000 )[0-7]{5,6} [^\0/]+\0.{20})++|0?40000 [^\0/]+\0(.{20})",
    re.DOTALL,
)
"""Of a well-formed tree: the id of each subtree, and an empty one for each run of other entries, so none is skipped."""
_COMMIT_TREE: Final = re.compile(rb"tree ([0-9a-f]{40})\n")
_TREE: Final = ObjectType.TREE
_Oid: Final = pygit2.Oid
TREE: Final = b"040000"
LINK: Final = b"120000"
SUBMODULE: Final = b"160000"
ABSENT: Final = b"absent"
_LOOP: Final = b"loop"

LINK_MAX_BYTES: Final = 4096
"""PATH_MAX of Linux: no longer target can be followed."""
_HOPS_MAX: Final = 40
_LINKS_MAX: Final = 10_000
_DEPTH_MAX: Final = 200
_KNOWN_MAX: Final = 1_000_000
"""Entries of trees that are remembered; then the memory is emptied."""

Parts: TypeAlias = "tuple[bytes, ...]"


class Entry(NamedTuple):
    """What is at a path: git's mode as six octal digits and the raw object id, or a marker and no id."""

    path: Parts
    mode: bytes
    id: bytes


Entries: TypeAlias = "tuple[Entry, ...]"


class MissingObjects(Exception):
    """A request rather than an error: objects that a partial clone left out. Fetch them and ask again."""

    def __init__(self, ids: frozenset[str]) -> None:
        super().__init__(f"{len(ids)} objects are not in this repository")
        self.ids = ids


class Trees:
    """The trees of one repository. Not for use from several threads at once."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._odb = repository.odb
        self._known: dict[bytes, dict[bytes, tuple[bytes, bytes]]] = {}
        self._linkless = set[bytes]()
        self._linked: set[bytes] = set()
        self._count = 0
        self._roots: dict[CommitId, bytes] = {}

    # --- objects

    def root(self, commit: CommitId) -> bytes:
        """The raw id of the commit's tree."""
        known = self._roots.get(commit)
        if known is None:
            kind, raw = self._read(pygit2.Oid(hex=commit))
            found = _COMMIT_TREE.match(raw)
            if kind != ObjectType.COMMIT or not found:
                raise IntegrityError(f"{commit}: expected a commit, got another object")
            if len(self._roots) >= _KNOWN_MAX:
                self._roots.clear()
            known = self._roots[commit] = bytes.fromhex(found[1].decode())
        return known

    def children(self, tree: bytes) -> dict[bytes, tuple[bytes, bytes]]:
        """name → (mode, raw id). Raises IntegrityError on a malformed tree, MissingObjects if it is not here."""
        known = self._known.get(tree)
        if known is None:
            listed = _TREE_ENTRY.findall(self._raw(tree))
            known = {name: (mode.rjust(6, b"0"), id_) for mode, name, id_ in listed}
            if len(known) != len(listed):
                raise IntegrityError(f"tree {tree.hex()}: two entries have one name, so which counts is open")
            self._count += len(known) + 1
            if self._count > _KNOWN_MAX:
                self._known.clear()
                self._count = len(known)
            self._known[tree] = known
        return known

    def _raw(self, tree: bytes) -> bytes:
        return _well_formed(tree, *self._read(_Oid(raw=tree)))

    def blob(self, id_: bytes, max_bytes: int, what: str) -> bytes:
        """The bytes of a blob, named `what` in errors. Raises MissingObjects, or Terminal beyond `max_bytes`."""
        oid = pygit2.Oid(raw=id_)
        try:
            kind, size = self._odb.read_header(oid)
        except KeyError:
            raise MissingObjects(frozenset({id_.hex()})) from None
        if kind != ObjectType.BLOB or size > max_bytes:
            raise Terminal(f"{what}: expected a file of at most {max_bytes} bytes, got {size} bytes (object {oid})")
        return self._odb.read(oid)[1]

    def _read(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        try:
            return self._odb.read(oid)
        except KeyError:
            raise MissingObjects(frozenset({str(oid)})) from None

    # --- paths

    def find(self, root: bytes, path: Parts) -> Entry | None:
        """What the tree itself has at `path`, no link followed; a submodule answers for all paths below it."""
        mode, id_ = TREE, root
        for n, part in enumerate(path):
            if mode == SUBMODULE:
                return Entry(path[:n], mode, id_)
            if mode != TREE:
                return None
            found = self.children(id_).get(part)
            if found is None:
                return None
            mode, id_ = found
        return Entry(path, mode, id_)

    def closure(self, root: bytes, path: Parts) -> Entries:
        """Every entry that says what is at and below `path`, links followed: what a fingerprint is made of.

        Raises MissingObjects naming all link texts that have to be fetched first, as far as they are known.
        """
        found = self.find(root, path)
        if found is not None and found.mode != LINK and (found.mode != TREE or not self.has_links(found.id)):
            return (found,)
        return _Walk(self, root).run(path)

    def exists(self, root: bytes, path: Parts) -> bool:
        """Whether anything is at `path`, links followed. Raises MissingObjects."""
        found = self.find(root, path)
        return found is not None or _Walk(self, root).reaches(path)

    def has_links(self, tree: bytes) -> bool:
        """Whether there is a symbolic link anywhere below. What is found is kept, the trees are not."""
        if tree in self._linkless:
            return False
        if tree in self._linked:
            return True
        passed: list[bytes] = []
        level = [tree]
        for _ in range(_DEPTH_MAX):
            passed += level
            below: list[bytes] = []
            for id_ in level:
                kind, raw = self._read(_Oid(raw=id_))
                # Most trees have neither, which a search of the bytes shows; where it does not, they are parsed.
                if kind is _TREE and b"40000 " not in raw and b"120000 " not in raw:
                    continue
                _well_formed(id_, kind, raw)
                if b"120000 " in raw and any(mode == LINK for mode, _, _ in _TREE_ENTRY.findall(raw)):
                    return self._has_link(tree)
                below += [found for found in _SUBTREES.findall(raw) if found and found not in self._linkless]
            if not self._linked.isdisjoint(below):
                return self._has_link(tree)
            if not below:
                _keep(self._linkless, passed)
                return False
            level = below
        raise Terminal(f"tree {tree.hex()}: directories are nested more than {_DEPTH_MAX} deep")

    def _has_link(self, tree: bytes) -> bool:
        """Keep that there is a link below, and which trees there have none, so that they are not read again."""
        _keep(self._linked, (tree,))
        for id_ in _SUBTREES.findall(self._raw(tree)):
            if id_:
                self.has_links(id_)
        return True

    def links(self, tree: bytes, at: Parts) -> Iterator[tuple[Parts, bytes]]:
        """(path, raw id) of every link below `tree`, which is at `at`."""
        if len(at) > _DEPTH_MAX:
            raise Terminal(f"tree {tree.hex()}: directories are nested more than {_DEPTH_MAX} deep")
        for name, (mode, id_) in self.children(tree).items():
            if mode == LINK:
                yield (*at, name), id_
            elif mode == TREE and self.has_links(id_):
                yield from self.links(id_, (*at, name))


class _Walk:
    """One walk from a path over all links; bounded in links, hops and size of texts."""

    def __init__(self, trees: Trees, root: bytes) -> None:
        self._trees = trees
        self._root = root
        self._entries: set[Entry] = set()
        self._seen: set[Parts] = set()
        self._scanned: set[Parts] = set()
        self._missing: set[str] = set()

    def run(self, path: Parts) -> Entries:
        todo = [path]
        while todo:
            entry = self._follow(todo.pop())
            if entry is None or entry.mode != TREE or entry.path in self._scanned:
                continue
            self._scanned.add(entry.path)
            for link, _ in self._trees.links(entry.id, entry.path):
                if link not in self._seen:
                    self._seen.add(link)
                    todo.append(link)
                if len(self._seen) > _LINKS_MAX:
                    raise Terminal(f"{path!r}: more than {_LINKS_MAX} symbolic links to follow")
        if self._missing:
            raise MissingObjects(frozenset(self._missing))
        return tuple(sorted(self._entries))

    def reaches(self, path: Parts) -> bool:
        found = self._follow(path)
        if self._missing:
            raise MissingObjects(frozenset(self._missing))
        return found is not None

    def _follow(self, path: Parts) -> Entry | None:
        """Walk `path` as open(2) does; every link met and the last object are entries."""
        at: Parts = ()
        rest = [*reversed(path)]
        hops = 0
        while rest:
            part = rest.pop()
            if part in {b"", b"."}:
                continue
            if part == b"..":
                if not at:
                    return None  # Above the top: the text of the link, already an entry, is all there is to it.
                at = at[:-1]
                continue
            at = (*at, part)
            found = self._trees.find(self._root, at)
            if found is None or (rest and found.mode not in {TREE, LINK, SUBMODULE}):
                # Where a file stands in the way, `..` after it leads nowhere: the file itself decides that.
                passed = found is not None and b".." in rest
                self._entries.add(found if found and passed else Entry((*at, *reversed(rest)), ABSENT, b""))
                return None
            if found.mode == SUBMODULE:
                self._entries.add(found)
                return found
            if found.mode != LINK:
                continue
            self._entries.add(found)
            hops += 1
            if hops > _HOPS_MAX:
                self._entries.add(Entry(path, _LOOP, b""))
                return None
            target = self._text(found.id)
            if target is None or target.startswith(b"/"):
                return None
            rest.extend(reversed(target.split(b"/")))
            at = at[:-1]
        entry = self._trees.find(self._root, at)
        if entry is not None:
            self._entries.add(entry)
        return entry

    def _text(self, id_: bytes) -> bytes | None:
        try:
            return self._trees.blob(id_, LINK_MAX_BYTES, "a symbolic link")
        except MissingObjects as missing:
            self._missing |= missing.ids
            return None


def _well_formed(tree: bytes, kind: int, raw: bytes) -> bytes:
    if kind != ObjectType.TREE or not _WELL_FORMED.fullmatch(raw):
        raise IntegrityError(f"{tree.hex()}: expected a well-formed tree, got another object")
    return raw


def _keep(known: set[bytes], found: Collection[bytes]) -> None:
    if len(known) + len(found) > _KNOWN_MAX:
        known.clear()
    known.update(found)


def parts(path: str) -> Parts:
    """A declared path as tree names; the top of the repository is the empty path."""
    return () if path == "." else tuple(path.encode().split(b"/"))


def differing_paths(trees: Trees, old: bytes, new: bytes, at: Parts) -> Iterator[bytes]:
    """Paths at and below `at` that two trees disagree on, in byte order of names; no link is followed."""
    before, after = trees.find(old, at), trees.find(new, at)
    if before == after:
        return
    sides = [{} if e is None or e.mode != TREE else trees.children(e.id) for e in (before, after)]
    names = sorted(n for n in sides[0].keys() | sides[1].keys() if sides[0].get(n) != sides[1].get(n))
    if not names or len(at) > _DEPTH_MAX:
        yield b"/".join(at)
    for name in names:
        yield from differing_paths(trees, old, new, (*at, name))
