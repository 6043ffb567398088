"""A commit that replaces, adds or removes files, made object by object without a work tree.

Only the trees on the way to such a file are written anew; names, modes and order of every other entry stay as they are.
Source: gitformat-commit; git-hash-object(1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

import pygit2
from pygit2.enums import ObjectType

from reconciler.adapters.git_tree import LINK, SUBMODULE, TREE, MissingObjects, Parts, Trees, parts
from reconciler.declared import check_path, refuse
from reconciler.ports import Signer
from state import log_commit
from state.errors import InvalidValue
from state.git import CommitId

FILE_MAX_BYTES: Final = 4 * 1024 * 1024
MESSAGE_MAX_BYTES: Final = 64 * 1024
PARENTS_MAX: Final = 16
_NEW_FILE: Final = (b"100644", b"")
_KINDS: Final = {TREE: "a directory", LINK: "a symbolic link", SUBMODULE: "a submodule"}


class Paths(Enum):
    """Which files a commit may differ in from its first parent."""

    THERE = "there"
    """Those that are there, and they stay: only their contents are replaced."""
    ANY = "any"
    """Also new ones, and ones that go: their content is None."""


def blobs(trees: Trees, commit: CommitId, paths: Iterable[str]) -> dict[str, bytes]:
    """path → raw id of the regular file there; those that are not there are left out.

    Raises ConfigError naming every path that is something else, or leads through a link or a submodule.
    """
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for path in sorted(set(paths)):
        try:
            id_ = _blob(trees, trees.root(commit), parts(check_path(path)))
        except ValueError as error:
            problems.append(f"{path[:200]!r}: {error}")
        else:
            if id_ is not None:
                found[path] = id_
    refuse(f"files at commit {commit.short}", problems)
    return found


def contents(trees: Trees, repository: pygit2.Repository, ids: Mapping[str, bytes]) -> dict[str, bytes]:
    """path → bytes. Raises MissingObjects for all that have to be fetched, ConfigError for files that are too large."""
    _here(repository, ids.values())
    sizes = {path: repository.odb.read_header(pygit2.Oid(raw=id_))[1] for path, id_ in ids.items()}
    refuse(
        "files",
        (
            f"{path}: expected a file of at most {FILE_MAX_BYTES} bytes, got {size}"
            for path, size in sizes.items()
            if size > FILE_MAX_BYTES
        ),
    )
    return {path: trees.blob(id_, FILE_MAX_BYTES, path) for path, id_ in ids.items()}


def write_commit(
    repository: pygit2.Repository,
    parents: Sequence[CommitId],
    files: Mapping[str, bytes | None],
    message: str,
    at: int,
    *,
    signer: Signer,
    writer: str,
    paths: Paths,
) -> CommitId:
    """Store the signed commit whose tree is the first parent's with `files` as they are given.

    Raises ConfigError for a file that is too large or that `paths` does not allow, InvalidValue for a message, time or
    number of parents that git would not take.
    """
    text = message.encode()
    if not message.strip() or "\0" in message or len(text) > MESSAGE_MAX_BYTES:
        raise InvalidValue(f"commit message: expected 1 to {MESSAGE_MAX_BYTES} bytes without NUL")
    if not 0 <= at < 2**40 or not 1 <= len(parents) <= PARENTS_MAX or len(set(parents)) != len(parents):
        raise InvalidValue(f"commit: expected a time since 1970 and 1 to {PARENTS_MAX} different parents")
    trees = Trees(repository)
    roots = [trees.root(parent) for parent in parents]  # each is a commit that is here
    there = blobs(trees, parents[0], files)
    problems = [*_not_allowed(files, there, paths)]
    problems += [
        f"{path}: {len(raw)} bytes, at most {FILE_MAX_BYTES}"
        for path, raw in files.items()
        if raw is not None and len(raw) > FILE_MAX_BYTES
    ]
    refuse(f"commit on {parents[0].short}", sorted(problems))
    _here(repository, there.values())  # git makes a delta against the old contents when it pushes
    new = {
        parts(path): None if raw is None else repository.odb.write(ObjectType.BLOB, raw).raw
        for path, raw in files.items()
    }
    tree = _tree(trees, repository, roots[0], new) or repository.odb.write(ObjectType.TREE, b"").raw
    who = f"{writer} <{log_commit.principal(writer)}> {at} +0000"
    lines = [f"tree {tree.hex()}", *(f"parent {p}" for p in parents), f"author {who}", f"committer {who}"]
    unsigned = "\n".join(lines).encode() + b"\n\n" + text
    raw = log_commit.signed(unsigned, signer.sign(unsigned).removesuffix("\n"))
    return CommitId(str(repository.odb.write(ObjectType.COMMIT, raw)))


def _here(repository: pygit2.Repository, ids: Iterable[bytes]) -> None:
    """Raises MissingObjects for those that have to be fetched."""
    missing = frozenset(id_.hex() for id_ in ids if pygit2.Oid(raw=id_) not in repository.odb)
    if missing:
        raise MissingObjects(missing)


def _blob(trees: Trees, root: bytes, path: Parts) -> bytes | None:
    """The raw id of the regular file at `path`. Raises ValueError if it is something else."""
    mode, id_ = TREE, root
    for number, part in enumerate(path):
        if mode != TREE:
            raise ValueError(f"{b'/'.join(path[:number]).decode()} is {_KINDS.get(mode, 'a file')}, not a directory")
        found = trees.children(id_).get(part)
        if found is None:
            return None
        mode, id_ = found
    if mode in _KINDS:
        raise ValueError(f"expected a regular file, got {_KINDS[mode]}")
    return id_


def _not_allowed(files: Mapping[str, bytes | None], there: Mapping[str, bytes], paths: Paths) -> Iterator[str]:
    for path, raw in files.items():
        if path not in there and (raw is None or paths is Paths.THERE):
            yield f"{path}: not there, and only files that are there are {'removed' if raw is None else 'replaced'}"
        elif raw is None and paths is Paths.THERE:
            yield f"{path}: to be removed, and files are only replaced here"
        folders = path.split("/")[:-1]
        above = ("/".join(folders[:n]) for n in range(1, len(folders) + 1))
        if raw is not None and (both := next((a for a in above if files.get(a) is not None), None)) is not None:
            yield f"{path}: {both} is given as a file, and not a directory"


def _tree(
    trees: Trees, repository: pygit2.Repository, tree: bytes | None, new: Mapping[Parts, bytes | None]
) -> bytes | None:
    """The raw id of `tree` (None for an empty one) with these blobs at their paths; None if nothing is left of it."""
    entries = {} if tree is None else dict(trees.children(tree))  # in git's order
    before = frozenset(entries)
    below: dict[bytes, dict[Parts, bytes | None]] = {}
    for path, id_ in new.items():
        if len(path) > 1:
            below.setdefault(path[0], {})[path[1:]] = id_
        elif id_ is None:
            del entries[path[0]]
        else:
            entries[path[0]] = entries.get(path[0], _NEW_FILE)[0], id_
    for name, inner in below.items():
        mode, id_ = entries.get(name, (TREE, None))
        made = _tree(trees, repository, id_, inner)
        if made is None:
            del entries[name]
        else:
            entries[name] = mode, made
    if not entries:
        return None
    if not entries.keys() <= before:
        # git orders a directory as if its name ended with a slash.
        entries = dict(sorted(entries.items(), key=lambda at: at[0] + b"/" if at[1][0] == TREE else at[0]))
    raw = b"".join(b"%s %s\0%s" % (mode.lstrip(b"0"), name, id_) for name, (mode, id_) in entries.items())
    return repository.odb.write(ObjectType.TREE, raw).raw
