"""A head's change record as what the base has and how the head differs from it: little to send, nothing said twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reconciler.adapters.git_inputs import Inputs
from state.canonical import Json, reading
from state.change import ChangeRecord, ImageChange, Why
from state.errors import InvalidValue
from state.git import CommitId
from state.observed import Image
from state.oci import Digest


class Images:
    """The images of one catalogue in order of repository, and their inputs as one list."""

    def __init__(self, images: Iterable[Image]) -> None:
        self.ordered = tuple(sorted(images, key=lambda image: image.repository))
        self.inputs = Inputs(path for image in self.ordered for path in image.inputs)
        self._users: dict[str, list[int]] = {path: [] for path in self.inputs.paths}
        for n, image in enumerate(self.ordered):
            for path in image.inputs:
                self._users[path].append(n)

    def using(self, paths: Iterable[str]) -> set[int]:
        """Places of the images with one of `paths` among their inputs. Raises KeyError for what is no input."""
        return {n for path in paths for n in self._users[path]}


class Difference(NamedTuple):
    """A head against its base.

    `inputs` are the declared inputs that differ from a merge base; the images with one of them are changed. `moved`
    has, by place, the fingerprints of unchanged images where they are not those at the base itself. Without a merge
    base everything is changed and both are empty.
    """

    merge_bases: tuple[CommitId, ...]
    inputs: frozenset[str]
    moved: Mapping[int, Digest]


class AtBase:
    """The images of a catalogue at a base commit: all that the records of its heads have in common."""

    def __init__(
        self, base: CommitId, catalogue_commit: CommitId, images: Images, fingerprints: Sequence[Digest]
    ) -> None:
        """`fingerprints` are those at `base`, in order of `images`. Raises ValueError if there are more or fewer."""
        self.base = base
        self._catalogue_commit = catalogue_commit
        self._images = images
        self._unchanged = [
            ImageChange(image.repository, False, Why.INPUTS_EQUAL, (), at, at)
            for image, at in zip(images.ordered, fingerprints, strict=True)
        ]

    def record(self, head: CommitId, difference: Difference) -> ChangeRecord:
        """The record of one head. Raises LookupError if the difference is that of another catalogue."""
        found = self._unchanged.copy()
        if not difference.merge_bases:
            found = [i._replace(changed=True, why=Why.NO_MERGE_BASE, fingerprint=None) for i in found]
        for n, now in difference.moved.items():
            found[n] = found[n]._replace(fingerprint=now)
        for n in self._images.using(difference.inputs):
            paths = tuple([path for path in self._images.ordered[n].inputs if path in difference.inputs])
            was = found[n]
            found[n] = ImageChange(was.repository, True, Why.INPUTS_DIFFER, paths, None, was.base_fingerprint)
        return ChangeRecord(self.base, head, difference.merge_bases, self._catalogue_commit, tuple(found))


def difference_to_json(difference: Difference) -> dict[str, Json]:
    return {
        "fingerprints": [*difference.moved.values()],
        "inputs": [*sorted(difference.inputs)],
        "merge_bases": [*difference.merge_bases],
        "moved": [*difference.moved],
    }


def difference_from_json(value: Mapping[str, Json]) -> Difference:
    """Read `difference_to_json` back. Raises InvalidValue on anything else."""
    read = reading(value, "difference")
    moved, fingerprints = read.integers("moved"), read.texts("fingerprints")
    if len(moved) != len(fingerprints):
        raise InvalidValue(f"difference: expected {len(moved)} fingerprints, got {len(fingerprints)}")
    return Difference(
        tuple([CommitId(commit) for commit in read.texts("merge_bases")]),
        frozenset(read.texts("inputs")),
        dict(zip(moved, map(Digest, fingerprints), strict=True)),
    )
