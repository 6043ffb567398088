"""What is to be done with each image of one commit: a pure function of what was seen.

On a pull request's head an image that it changed is built and tagged `:<HEAD_SHA>`; the others are the reconciler's,
which retags them. On main an image is built where its inputs, or what the catalogue says of how it is built, differ
from what the proven image behind `:main` was built from, so that a run which was cut off or skipped is made up for by
the next; `:main` only ever moves along the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from state.git import CommitId
from state.observed import Image, Recipe
from state.oci import Digest
from state.verdict import Outcome, Verdict


class Channel(StrEnum):
    """What is published: the head of a pull request, or a commit of the main branch."""

    PULL_REQUEST = "pull-request"
    MAIN = "main"


class Relation(StrEnum):
    """How the commit that `:main` was built from stands to the one that is published."""

    SAME = "same"
    BEFORE = "before"
    """An ancestor of it."""
    AFTER = "after"
    """A descendant: a later run was faster."""
    APART = "apart"
    """Neither: the history was rewritten, or the clone does not have it."""


class Why(StrEnum):
    """Why nothing is built."""

    UNCHANGED = "inputs-unchanged"
    """On a pull request the reconciler puts the baseline's digest under the tag; on main `:main` stays."""
    DONE = "done-before"
    """The tag is there, with proof that it was built from this commit."""
    NEWER = "main-is-newer"
    """`:main` was built from a later commit, and stays."""


class Reason(StrEnum):
    """Why an image is refused; the closed list of what a person has to decide."""

    NO_BUILD = "no-build"
    TAG_UNPROVEN = "tag-unproven"
    MAIN_APART = "main-apart"


REMEDY = {
    Reason.NO_BUILD: "say in the catalogue on the base branch how it is built (`images.<name>.build`), or publish it in"
    " the way that you do",
    Reason.TAG_UNPROVEN: "a tag of a commit is never written over: find out who pushed it, remove the tag, and run this"
    " again, or push another commit",
    Reason.MAIN_APART: "fetch the full history; if the branch was rewritten, remove the tag `main` of this image once",
}


class Tagged(NamedTuple):
    """A tag that is there, and what its evidence comes to."""

    digest: Digest
    proof: Verdict
    """For what is published: built from this commit; on main also from the main branch."""
    by_pull_request: bool = False
    """On main: whether it was at least built from this commit, for a pull request that was merged fast-forward."""

    @property
    def proven(self) -> bool:
        return self.proof.outcome is Outcome.ACCEPTED


class MainSeen(NamedTuple):
    """What is behind `:main`. `relation` and `changed` are None where no evidence that counts names a commit."""

    digest: Digest | None
    relation: Relation | None = None
    changed: bool | None = None


class Seen(NamedTuple):
    """One image as it was seen. `changed` is of a pull request's head; `main` is None there."""

    image: Image
    recipe: Recipe | None
    changed: bool
    tag: Tagged | None
    main: MainSeen | None = None


class Leave(NamedTuple):
    """Nothing to do. `digest` is what the tag names, if it is there."""

    image: Image
    why: Why
    digest: Digest | None


class Build(NamedTuple):
    """Build it, push it, prove it, tag it. `main` is what `:main` names now, to be moved; None without that."""

    image: Image
    recipe: Recipe
    main: MainSeen | None
    keeps: Digest | None = None
    """What `:<sha>` names and goes on naming, though this build may come to other bytes."""


class Move(NamedTuple):
    """It was built and proven before: only `:main` has to be moved to `digest`."""

    image: Image
    digest: Digest
    main: MainSeen


class Refuse(NamedTuple):
    """A person has to decide."""

    image: Image
    reason: Reason
    text: str


Step: TypeAlias = Leave | Build | Move | Refuse


class Plan(NamedTuple):
    """The work for one commit; steps in order of the images' names."""

    channel: Channel
    base: CommitId
    head: CommitId
    steps: tuple[Step, ...]


def decide(channel: Channel, base: CommitId, head: CommitId, seen: Iterable[Seen]) -> Plan:
    """The plan. Pure: equal observations give equal plans."""
    one = _on_main if channel is Channel.MAIN else _on_head
    return Plan(channel, base, head, tuple(one(s) for s in sorted(seen, key=lambda s: s.image.name)))


def _on_head(seen: Seen) -> Step:
    if not seen.changed:
        return Leave(seen.image, Why.UNCHANGED, seen.tag.digest if seen.tag is not None else None)
    if seen.tag is not None:
        if seen.tag.proven:
            return Leave(seen.image, Why.DONE, seen.tag.digest)
        return _unproven(seen, seen.tag)
    return _build(seen)


def _on_main(seen: Seen) -> Step:
    main = seen.main or MainSeen(None)
    match main.relation:
        case Relation.APART:
            text = f"`:main` ({main.digest}) was built from a commit that is not on this line"
            return Refuse(seen.image, Reason.MAIN_APART, text)
        case Relation.AFTER:
            return Leave(seen.image, Why.NEWER, main.digest)
        case Relation.SAME:
            return Leave(seen.image, Why.DONE, main.digest)
        case Relation.BEFORE if main.changed is False:
            return Leave(seen.image, Why.UNCHANGED, main.digest)
        case _:
            pass
    if seen.tag is not None:
        if seen.tag.proven:
            return Move(seen.image, seen.tag.digest, main)
        if not seen.tag.by_pull_request:
            return _unproven(seen, seen.tag)
    return _build(seen, main, seen.tag.digest if seen.tag is not None else None)


def _build(seen: Seen, main: MainSeen | None = None, keeps: Digest | None = None) -> Step:
    if seen.recipe is None:
        return Refuse(seen.image, Reason.NO_BUILD, "the catalogue does not say how it is built")
    return Build(seen.image, seen.recipe, main, keeps)


def _unproven(seen: Seen, tag: Tagged) -> Step:
    why = tag.proof.refusal.value if tag.proof.refusal is not None else tag.proof.outcome.value
    text = f"the tag names {tag.digest}, whose evidence is refused ({why}: {tag.proof.reason})"
    return Refuse(seen.image, Reason.TAG_UNPROVEN, text)
