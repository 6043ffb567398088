"""What the images of one head shall be (design invariant 4).

A decision is pinned by one log entry before the first write of its head. A later entry may only resolve an
`Unresolved`; nothing else about it ever changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from state.canonical import Json, reading
from state.change import ChangeRecord
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.hold import Reason
from state.oci import Digest, Repository


class RetagFrom(NamedTuple):
    """The image is unchanged: its tag shall be exactly this baseline digest.

    `main` is what `:main` was at the decision, where the baseline is another digest (`baseline: faithful`).
    """

    baseline: Digest
    main: Digest | None = None


@dataclass(frozen=True, slots=True)
class AwaitBuild:
    """The image is changed: only a build of this head may make its tag."""


class Unresolved(NamedTuple):
    """Not decided yet, and why. A later entry may resolve it."""

    reason: Reason


Wanted: TypeAlias = RetagFrom | AwaitBuild | Unresolved


@dataclass(frozen=True, slots=True)
class Decision:
    """The pinned decision of one head, for all open pull requests that share it; images in order of repository.

    `bases` are the base branches that were considered; a pull request onto another one is compared anew.
    """

    head: CommitId
    pull_requests: tuple[int, ...]
    bases: tuple[RefName, ...]
    changes: tuple[ChangeRecord, ...]
    policy: Digest
    images: Mapping[Repository, Wanted]

    def resolved(self, images: Mapping[Repository, Wanted], changes: tuple[ChangeRecord, ...] = ()) -> Decision:
        """The decision with some unresolved images decided, and images that the catalogue did not have then.

        Raises InvalidValue if one of them was decided before: a decision is never changed.
        """
        for repository in images:
            if not isinstance(self.images.get(repository, _UNDECIDED), Unresolved):
                raise InvalidValue(f"decision {self.head.short}: {repository} is decided already; it stays as it is")
        merged = dict(sorted({**self.images, **images}.items()))
        return replace(self, images=merged, changes=self.changes + changes)

    def to_json(self) -> dict[str, Json]:
        return {
            "bases": list(self.bases),
            "changes": [c.to_json() for c in self.changes],
            "head": self.head,
            "images": images_to_json(self.images),
            "policy": self.policy,
            "pull_requests": list(self.pull_requests),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Decision:
        """Read `to_json` back. Raises InvalidValue on anything else."""
        read = reading(value, "decision")
        return cls(
            head=CommitId(read.text("head")),
            pull_requests=tuple(read.integers("pull_requests")),
            bases=tuple(RefName(b) for b in read.texts("bases")),
            changes=tuple(ChangeRecord.from_json(c) for c in read.objects("changes")),
            policy=Digest(read.text("policy")),
            images=images_from_json(read.objects("images")),
        )


_UNDECIDED = Unresolved(Reason.NOT_PREVIEWED)


def images_to_json(images: Mapping[Repository, Wanted]) -> list[Json]:
    """Each image with what shall become of it, in order of repository."""
    return [{"repository": r, **_wanted_to_json(w)} for r, w in sorted(images.items())]


def images_from_json(values: list[Mapping[str, Json]]) -> dict[Repository, Wanted]:
    """Read `images_to_json` back. Raises InvalidValue."""
    return {Repository(reading(v, "image").text("repository")): _wanted_from_json(v) for v in values}


def _wanted_to_json(wanted: Wanted) -> dict[str, Json]:
    match wanted:
        case RetagFrom(baseline, main):
            return {"digest": baseline, "do": "retag", "main": main}
        case AwaitBuild():
            return {"do": "await-build"}
        case Unresolved(reason):
            return {"do": "unresolved", "reason": reason.value}


def _wanted_from_json(value: Mapping[str, Json]) -> Wanted:
    read = reading(value, "image")
    match read.text("do"):
        case "retag":
            main = read.text_or_none("main")
            return RetagFrom(Digest(read.text("digest")), Digest(main) if main is not None else None)
        case "await-build":
            return AwaitBuild()
        case "unresolved":
            return Unresolved(read.one_of("reason", Reason))
        case other:
            raise InvalidValue(f"decision: expected retag, await-build or unresolved, got {other!r}")
