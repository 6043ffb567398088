"""The bytes of the commit that holds an entry, both ways.

Source: gitformat-commit and gitformat-signature ("Commit signatures": header `gpgsig`, continuation lines start with a
space). Everything in the commit follows from the entry, its parent and its signature, so reading rebuilds the bytes
and compares: there is no second spelling of an entry, and no header in which something else could hide.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from state import sshsig
from state.entry import ENTRY_MAX_BYTES, Entry, decode
from state.errors import InvalidValue
from state.git import CommitId
from state.sshsig import Signature

EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
COMMIT_MAX_BYTES: Final = ENTRY_MAX_BYTES + 16 * 1024

_PARENT: Final = re.compile(rb"^parent ([0-9a-f]{40})$", re.MULTILINE)
_TREE: Final = re.compile(rb"tree ([0-9a-f]{40})\n")
_SIGNATURE: Final = b"\ngpgsig "


class EntryCommit(NamedTuple):
    """An entry as read from a commit: what was signed, and by what is said to be whom."""

    entry: Entry
    parent: CommitId | None
    payload: bytes
    signature: Signature


def principal(writer: str) -> str:
    """The e-mail address of a writer, which is also its principal in a list of allowed signers."""
    return f"{writer}@ameide.invalid"


def object_id(kind: str, raw: bytes) -> str:
    """The git object id: SHA-1 over type, size and bytes (gitformat-loose)."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(raw)) + raw, usedforsecurity=False).hexdigest()


def tree_bytes(blobs: Mapping[str, str]) -> bytes:
    """The tree that holds exactly these blobs: plain files, in git's order (by the bytes of the name)."""
    return b"".join(b"100644 %s\0%s" % (name.encode(), bytes.fromhex(blobs[name])) for name in sorted(blobs))


def tree_id(blobs: Mapping[str, str]) -> str:
    """The id of that tree."""
    return object_id("tree", tree_bytes(blobs)) if blobs else EMPTY_TREE


def payload(entry: Entry, parent: CommitId | None, *, message: bytes | None = None) -> bytes:
    """The commit without its signature: the bytes that are signed. Raises InvalidValue on a malformed entry.

    `message` is `entry.encode()` where the caller has it already.
    """
    who = b"%s <%s> %d +0000" % (entry.writer.encode(), principal(entry.writer).encode(), _seconds(entry.at))
    after = b"parent %s\n" % parent.encode() if parent else b""
    return b"tree %s\n%sauthor %s\ncommitter %s\n\n%s" % (
        tree_id(entry.blobs).encode(),
        after,
        who,
        who,
        entry.encode() if message is None else message,
    )


def signed(unsigned: bytes, armour: str) -> bytes:
    """The commit with the signature as its last header."""
    header, _, message = unsigned.partition(b"\n\n")
    return b"%s%s%s\n\n%s" % (header, _SIGNATURE, armour.replace("\n", "\n ").encode(), message)


def sign_entry(entry: Entry, parent: CommitId | None, sign: Callable[[bytes], str]) -> tuple[EntryCommit, bytes]:
    """Sign an entry. Returns it as it reads back, and the bytes of its commit. Raises InvalidValue.

    `sign` gives the armoured signature of a payload. What is not accepted when read is refused here.
    """
    unsigned = payload(entry, parent)
    raw = signed(unsigned, sign(unsigned).removesuffix("\n"))
    if len(raw) > COMMIT_MAX_BYTES:
        raise InvalidValue(f"log entry: a commit of {len(raw)} bytes, at most {COMMIT_MAX_BYTES} are allowed")
    return parse(raw), raw


def parents(raw: bytes) -> tuple[CommitId, ...]:
    """The parents that a commit names, whatever else is in it."""
    header, _, _ = raw.partition(b"\n\n")
    return tuple(CommitId(found.decode()) for found in _PARENT.findall(header))


def parse(raw: bytes) -> EntryCommit:
    """Read a commit. Raises InvalidValue, saying what is wrong, unless it is byte for byte what `signed` makes."""
    header, gap, message = raw.partition(b"\n\n")
    before, mark, armour = header.partition(_SIGNATURE)
    found = parents(raw)
    if len(found) > 1:
        raise InvalidValue(f"a merge commit with {len(found)} parents; a log is one line of commits")
    if not gap or not mark:
        raise InvalidValue("not signed: the commit has no gpgsig header")
    try:
        entry = decode(message)
    except RecursionError as error:
        raise InvalidValue("log entry: nested too deeply") from error
    parent = found[0] if found else None
    unsigned = payload(entry, parent, message=message)  # which decode has found to be the entry's
    if before + b"\n\n" + message != unsigned:
        tree = _TREE.match(before)
        if tree and tree[1].decode() != tree_id(entry.blobs):
            raise InvalidValue(
                f"its tree {tree[1].decode()[:12]} does not hold exactly the blobs that the entry names "
                f"({tree_id(entry.blobs)[:12]})"
            )
        raise InvalidValue("its author, committer, time or other headers do not follow from the entry")
    try:
        text = armour.replace(b"\n ", b"\n").decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidValue("SSH signature: not ASCII") from error
    signature = sshsig.parse(text)
    if signed(unsigned, text.removesuffix("\n")) != raw:
        raise InvalidValue("the commit is not in the one form that this program writes")
    return EntryCommit(entry, parent, unsigned, signature)


def _seconds(at: str) -> int:
    try:
        seconds = int(datetime.fromisoformat(at).timestamp())
    except ValueError as error:
        raise InvalidValue(f"log entry: {at!r} is no time of the calendar") from error
    if seconds < 0:
        raise InvalidValue(f"log entry: {at!r} is before 1970, which git cannot hold")
    return seconds
