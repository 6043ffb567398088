"""Which images a head changes: the record that the daemon pins and `ameide changed` prints."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from state.canonical import Json, reading
from state.git import CommitId
from state.oci import Digest, Repository


class Why(StrEnum):
    """Why an image counts as changed or not."""

    INPUTS_EQUAL = "inputs-equal"
    INPUTS_DIFFER = "inputs-differ"
    NO_MERGE_BASE = "no-merge-base"
    """No common ancestor is known (unrelated or shallow history): everything counts as changed."""


class ImageChange(NamedTuple):
    """One image: changed or not, why, and the fingerprints of its inputs.

    `inputs` names the *declared* inputs that differ, as the trusted catalogue spells them; file names from the
    pull request are not recorded. `fingerprint` is of the head, and None where the image is changed: its build says
    what it was made of. `base_fingerprint` is of the base commit: where the two differ although the image is
    unchanged, main has moved on since the branch point.
    """

    repository: Repository
    changed: bool
    why: Why
    inputs: tuple[str, ...]
    fingerprint: Digest | None
    base_fingerprint: Digest

    @property
    def baseline_moved(self) -> bool:
        """Whether the base branch holds other inputs than an unchanged head (the `:main` image may be newer)."""
        return self.fingerprint is not None and self.fingerprint != self.base_fingerprint


class ChangeRecord(NamedTuple):
    """What git alone says of one head against one base commit; images in order of repository.

    The catalogue is read at `catalogue_commit`, which is the base commit, never at the head.
    """

    base: CommitId
    head: CommitId
    merge_bases: tuple[CommitId, ...]
    catalogue_commit: CommitId
    images: tuple[ImageChange, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "base": self.base,
            "catalogue_commit": self.catalogue_commit,
            "head": self.head,
            "images": [
                {
                    "base_fingerprint": i.base_fingerprint,
                    "changed": i.changed,
                    "fingerprint": i.fingerprint,
                    "inputs": list(i.inputs),
                    "repository": i.repository,
                    "why": i.why.value,
                }
                for i in self.images
            ],
            "merge_bases": list(self.merge_bases),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> ChangeRecord:
        """Read `to_json` back. Raises InvalidValue on anything else."""
        read = reading(value, "change record")
        return cls(
            base=CommitId(read.text("base")),
            head=CommitId(read.text("head")),
            merge_bases=tuple(CommitId(m) for m in read.texts("merge_bases")),
            catalogue_commit=CommitId(read.text("catalogue_commit")),
            images=tuple(_image_from_json(i) for i in read.objects("images")),
        )


def _image_from_json(value: Mapping[str, Json]) -> ImageChange:
    read = reading(value, "image change")
    fingerprint = read.text_or_none("fingerprint")
    return ImageChange(
        repository=Repository(read.text("repository")),
        changed=read.flag("changed"),
        why=read.one_of("why", Why),
        inputs=tuple(read.texts("inputs")),
        fingerprint=None if fingerprint is None else Digest(fingerprint),
        base_fingerprint=Digest(read.text("base_fingerprint")),
    )
