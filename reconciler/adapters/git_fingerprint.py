"""The fingerprint of an image's declared inputs, from what git has at them.

Fingerprint, version 1. SHA-256 over `ameide-input-fingerprint/1` NUL and then one block for each declared input, the
blocks in ascending byte order. A block is a line for the input and a line for each entry behind it, the entries'
lines in ascending byte order, without duplicates:

    input SP path-length SP path NUL
    mode SP object-id SP path-length SP path NUL

`mode` is six octal digits and `object-id` 40 hex digits, both as the tree has them; `path-length` is decimal, in bytes;
`path` is relative to the top of the repository (`.` for the top itself). Where there is no object, mode and id are
`absent -` (nothing is at this path), or `loop -` (more than 40 symbolic links on the way, as Linux counts).

Fingerprints are recorded in logs for years: any other encoding is another version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.adapters.git_tree import TREE, Entry
from state.oci import Digest

VERSION: Final = b"ameide-input-fingerprint/1"


def block(path: str, entries: Iterable[Entry]) -> bytes:
    """The block of one declared input (module docstring)."""
    declared = path.encode()
    return b"input %d %b\0" % (len(declared), declared) + b"".join(sorted({_line(e) for e in entries}))


def tree_block(path: str) -> tuple[bytes, bytes]:
    """What is before and after the object id in the block of an input that is a directory without links."""
    declared = path.encode()
    size = len(declared)
    return b"input %d %b\0%b " % (size, declared, TREE), b" %d %b\0" % (size, declared)


def _line(entry: Entry) -> bytes:
    path = b"/".join(entry.path) or b"."
    return b"%b %b %d %b\0" % (entry.mode, entry.id.hex().encode() or b"-", len(path), path)


def fingerprint(blocks: Iterable[bytes]) -> Digest:
    """The digest of an image's blocks; their order does not count."""
    return Digest.of(VERSION + b"\0" + b"".join(sorted(blocks)))
