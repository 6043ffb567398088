"""Which image references may stand in a GitOps repository (pure).

    repository@sha256:…              allowed, and what is proposed
    repository:<commit>@sha256:…     allowed: 40 hex digits
    repository:v1.2.3@sha256:…       allowed: a semantic version, with or without the v
    repository:main@sha256:…         forbidden: the digest decides, the tag says something else
    repository:anything              forbidden: no digest
    (empty)                          forbidden for what is deployed

There is no list of exceptions. A repository may lack a host, as third parties write it (`alpine/k8s`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

REFERENCE_MAX_CHARS: Final = 1024

_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_REPOSITORY: Final = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_VERSION: Final = re.compile(r"v?(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)(?:[-_][0-9A-Za-z._-]+)?")


class Verdict(StrEnum):
    """What is wrong with a reference, or that nothing is."""

    PINNED = "pinned"
    EMPTY = "empty-reference"
    NO_DIGEST = "no-digest"
    FLOATING_TAG = "floating-tag"
    MALFORMED = "malformed-reference"


class Judged(NamedTuple):
    verdict: Verdict
    reason: str

    @property
    def allowed(self) -> bool:
        return self.verdict is Verdict.PINNED


class Reference(NamedTuple):
    """The parts of a reference as they are written."""

    repository: str
    tag: str | None
    digest: str | None


PINNED: Final = Judged(Verdict.PINNED, "pinned by digest")


def split(text: str) -> Reference | None:
    """The parts of a well-formed reference, else None."""
    if len(text) > REFERENCE_MAX_CHARS:
        return None
    named, at, digest = text.partition("@")
    repository, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:  # the colon of a port
        repository, colon, tag = named, "", ""
    well_formed = (
        _REPOSITORY.fullmatch(repository)
        and (not colon or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    return Reference(repository, tag if colon else None, digest if at else None) if well_formed else None


def judge(text: str) -> Judged:
    """Whether this reference may stand in a GitOps repository, and why not."""
    if not text:
        return Judged(Verdict.EMPTY, "no image is named")
    found = split(text)
    if found is None:
        return Judged(Verdict.MALFORMED, "not an image reference such as ghcr.io/acme/orders@sha256:…")
    return judge_parts(found.tag, found.digest)


def judge_parts(tag: str | None, digest: str | None) -> Judged:
    """The same for a tag and a digest that are written apart; None or empty where there is none.

    A tag may carry the digest (`v1.2.3@sha256:…`), as charts without a key for it need.
    """
    if tag and "@" in tag:
        tag, _, inside = tag.partition("@")
        if digest and digest != inside:
            return Judged(Verdict.MALFORMED, "the tag carries another digest than the key beside it")
        digest = inside
    if tag and not _TAG.fullmatch(tag):
        return Judged(Verdict.MALFORMED, "not a tag")
    if not digest:
        return Judged(Verdict.NO_DIGEST, f"tag {tag} without a digest" if tag else "neither tag nor digest")
    if not _DIGEST.fullmatch(digest):
        return Judged(Verdict.MALFORMED, "not a digest: expected sha256: and 64 lower-case hex digits")
    if tag and not (_COMMIT.fullmatch(tag) or _VERSION.fullmatch(tag)):
        return Judged(Verdict.FLOATING_TAG, f"tag {tag} is neither a commit nor a version, whatever the digest says")
    return PINNED
