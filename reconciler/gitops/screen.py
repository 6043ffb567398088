"""Telling, without parsing, that a YAML document holds no image reference that the policy forbids (pure).

A tree has tens of thousands of files, and nearly all of their images are pinned. So the few words without which no rule
applies are looked for in the bytes, and a line with one of them is accepted if it has one of the forms below, each of
which means the same to every reader and is allowed. A document with any other such line is parsed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

_WORDS: Final = (b"mage", b"repository", b"ref:", b'ref"', b"ref'", b"\\x", b"\\u", b"\\U")
"""`image`, `migrationJobImage`; triples; `ref`; and escapes, by which a quoted key could spell any of them."""

_VERSION: Final = rb"v?(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)(?:[-_][0-9A-Za-z._-]+)?"
_TAG: Final = rb"(?:[0-9a-f]{40}|" + _VERSION + rb")"
_DIGEST: Final = rb"sha256:[0-9a-f]{64}"
_REPOSITORY: Final = rb"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*"
_COMMENT: Final = rb"#(?:(?!\xc2\x85|\xe2\x80[\xa8\xa9])[^\n\r%b])*"
"""Up to the end of its line, which to Go's parser may be a Unicode line break."""
_END: Final = rb"[ ]*(?:[ ]" + _COMMENT % b"" + rb")?\r?(?:\n|\Z)"
_BLANK: Final = rb"(?:[ ]*\r?\n)*"


def _quoted(form: bytes) -> bytes:
    return b"(?:%b|\"%b\"|'%b')" % (form, form, form)


_PINNED: Final = _quoted(_REPOSITORY + b"(?::" + _TAG + b")?@" + _DIGEST)
_IMAGE: Final = rb"(?:[a-zA-Z]*[iI]mage|ref)"
_PART: Final = rb"(?:ref: %b|repository: %b|registry: [\w.:-]+|tag: %b|digest: %b|pullPolicy: \w+)" % (
    _PINNED,
    _quoted(_REPOSITORY),
    _quoted(_TAG),
    _quoted(_DIGEST),
)

_BLOCK: Final = re.compile(
    rb"(?P<i>[ ]*)[a-zA-Z]*[iI]mage:" + _END + rb"(?P<j>(?P=i)[ ]+)" + _PART + _END
    + rb"(?:(?P=j)" + _PART + _END + rb")*(?!" + _BLANK + rb"(?P=i)[ ]+[^ #\r\n])"
)  # fmt: skip
"""`image:` and every key below it."""
_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        # `image: repository@sha256:…`, and no line after it that would belong to the value
        rb"(?P<i>[ ]*)" + _IMAGE + b": " + _PINNED + _END + rb"(?!" + _BLANK + rb"(?P=i)[ ]+[^ #\r\n])",
        rb"(?P<i>[ ]*)- " + _IMAGE + b": " + _PINNED + _END + rb"(?!" + _BLANK + rb"(?P=i)[ ]{3,}[^ #\r\n])",
        rb"[ ]*(?:- )?image(?:PullPolicy|PullSecrets|Registry):[ ]?[\w./-]*" + _END,
        # a comment; with quotes it could as well be the end of a text of several lines
        rb"[ ]*" + _COMMENT % b"\"'" + rb"\r?(?:\n|\Z)",
        # a git revision, a git repository
        rb"[ ]*(?:- )?ref: [\w/-]+" + _END,
        rb"[ ]*(?:- )?repository: https?://[\w./-]+" + _END,
    )
)
_SCHEMA: Final = re.compile(rb"^kind: CustomResourceDefinition[ ]*\r?$", re.MULTILINE)
_SCHEMA_HEAD: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:---)?[ ]*(?:#[^\n]*)?\r?\n)*[a-z]")
_AT_ROOT: Final = re.compile(rb"^[^ #\r\n].*$", re.MULTILINE)
_SCHEMA_ROOT: Final = re.compile(rb"(?:apiVersion|kind|metadata|spec|status):(?:[ ].*)?\r?|---[ ]*(?:#.*)?\r?")
_OTHER_BREAK: Final = re.compile(rb"\r(?!\n)|\xc2\x85|\xe2\x80[\xa8\xa9]")
_SEPARATOR: Final = re.compile(rb"^---(?=\s|\Z)", re.MULTILINE)
_CODED: Final = re.compile(rb"![^\s!]*(?:binary|%)")
"""A tag by which a key is base64, or one whose escapes could spell it."""
_EXPLICIT_KEY: Final = re.compile(rb"(?:^|[-{,\[?:])[ ]*\?\s", re.MULTILINE)


class Chunk(NamedTuple):
    """One document's bytes, and how many lines of the file are before it."""

    raw: bytes
    lines_before: int


def suspects(raw: bytes) -> Iterator[Chunk]:
    """The documents of a file that have to be parsed."""
    if not is_suspect(raw):
        return
    directives = b"\n%" in raw or raw.startswith(b"%")
    starts = [0] if directives else sorted({0, *(found.start() for found in _SEPARATOR.finditer(raw))})
    for start, end in zip(starts, [*starts[1:], len(raw)], strict=True):
        part = raw[start:end]
        # A schema describes images and holds none.
        if is_suspect(part) and (directives or not _is_schema(part)):
            yield Chunk(part, raw.count(b"\n", 0, start))


def _is_schema(raw: bytes) -> bool:
    """Whether every reader takes this document for a schema: the line that says so is its one `kind`, not a part of
    some text, nor one of two."""
    if not _SCHEMA.search(raw) or not _SCHEMA_HEAD.match(raw) or _OTHER_BREAK.search(raw):
        return False
    rows = _AT_ROOT.findall(raw)
    return all(map(_SCHEMA_ROOT.fullmatch, rows)) and sum(row.startswith(b"kind:") for row in rows) == 1


def is_suspect(raw: bytes) -> bool:
    """Whether these bytes may hold something that is forbidden."""
    if b"\0" in raw or (b"\\\n" in raw and b'"' in raw and _EXPLICIT_KEY.search(raw)):
        return True  # another encoding, or a key over several lines
    if b"%TAG" in raw or (b"!" in raw and _CODED.search(raw)):
        return True
    starts: list[int] = []
    ends: list[int] = []
    for word in _WORDS:
        at = raw.find(word)
        while at >= 0:
            block = bisect_right(starts, at) - 1
            if block < 0 or at >= ends[block]:
                start = raw.rfind(b"\n", 0, at) + 1
                end = _accepted(raw, start)
                if end is None:
                    return True
                if word is _WORDS[0]:
                    starts.append(start)
                    ends.append(end)
            else:
                end = ends[block]
            at = raw.find(word, max(at + 1, end))
    return False


def _accepted(raw: bytes, start: int) -> int | None:
    """Where the accepted form ends that begins with the line at `start`; None if it has none."""
    found = _BLOCK.match(raw, start)
    if found is not None:
        whole = found[0]
        pinned = b" digest:" in whole or (b" repository:" not in whole and b" tag:" not in whole)
        return found.end() if pinned else None
    return next((found.end() for form in _FORMS if (found := form.match(raw, start)) is not None), None)
