"""What the simulated code repository holds, and what is true of it.

A commit is the version of each image's inputs and the catalogue. Whether a head changes an image is computed here from
the graph, by the definition and not by the product's code: this is the truth that the checks use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from state.change import ChangeRecord, ImageChange, Why
from state.git import CommitId
from state.observed import Catalogue, Image
from state.oci import OCI_INDEX, Digest, Manifest, Repository

HOST = "registry.example:5000"
IMAGES = ("orders", "billing", "web", "search")
COMPONENTS = {"orders-api": "orders", "orders-worker": "orders", "billing": "billing", "web": "web", "search": "search"}
"""Two components share one image; `search` is not in every catalogue."""


RELEASES = Repository(f"{HOST}/acme/release-sets")


def repository(image: str) -> Repository:
    return Repository(f"{HOST}/acme/{image}")


def build(image: str, what: str) -> Manifest:
    """The image that a build of `what` gives: an index with bytes of its own, oddly spaced on purpose."""
    raw = json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"image": image, "of": what}}, indent=1)
    return Manifest.of(OCI_INDEX, raw.encode())


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: parents, the version of each image's inputs, which images its catalogue has, and if it is valid."""

    id: CommitId
    parents: tuple[CommitId, ...]
    versions: Mapping[str, int]
    images: tuple[str, ...]
    catalogue_valid: bool = True


@dataclass(slots=True)
class Code:
    """The commit graph."""

    commits: dict[CommitId, Commit] = field(default_factory=dict)
    _ancestors: dict[CommitId, frozenset[CommitId]] = field(default_factory=dict)

    def commit(
        self,
        parents: Iterable[CommitId],
        versions: Mapping[str, int],
        images: Iterable[str],
        *,
        catalogue_valid: bool = True,
    ) -> CommitId:
        number = len(self.commits)
        made = CommitId(hashlib.sha1(b"commit %d" % number, usedforsecurity=False).hexdigest())
        parents = tuple(parents)
        self.commits[made] = Commit(made, parents, dict(versions), tuple(images), catalogue_valid)
        self._ancestors[made] = frozenset({made}).union(*(self._ancestors[p] for p in parents))
        return made

    def merge_bases(self, one: CommitId, other: CommitId) -> tuple[CommitId, ...]:
        """The common ancestors that no other common ancestor descends from."""
        common = self._ancestors[one] & self._ancestors[other]
        return tuple(sorted(c for c in common if not any(c in self._ancestors[o] for o in common if o != c)))

    def changed(self, base: CommitId, head: CommitId, image: str) -> bool:
        """The definition of design §3: differs from any merge base, or there is none."""
        bases = self.merge_bases(base, head)
        mine = self.commits[head].versions.get(image, 0)
        return not bases or any(self.commits[b].versions.get(image, 0) != mine for b in bases)

    def fingerprint(self, commit: CommitId, image: str) -> Digest:
        return Digest.of(f"{image} {self.commits[commit].versions.get(image, 0)}".encode())

    def first_parents(self, commit: CommitId) -> Iterable[CommitId]:
        at: CommitId | None = commit
        while at is not None:
            yield at
            at = next(iter(self.commits[at].parents), None)

    def catalogue(self, commit: CommitId) -> Catalogue:
        images = self.commits[commit].images
        return Catalogue(
            commit,
            {i: Image(i, repository(i), (f"src/{i}",), ("linux/amd64",)) for i in images},
            {c: i for c, i in COMPONENTS.items() if i in images},
        )

    def record(self, base: CommitId, head: CommitId) -> ChangeRecord:
        bases = self.merge_bases(base, head)
        return ChangeRecord(base, head, bases, base, tuple(self._change(base, head, i) for i in self._sorted(base)))

    def _sorted(self, base: CommitId) -> list[str]:
        return sorted(self.commits[base].images, key=repository)

    def _change(self, base: CommitId, head: CommitId, image: str) -> ImageChange:
        changed = self.changed(base, head, image)
        why = Why.INPUTS_DIFFER if changed else Why.INPUTS_EQUAL
        return ImageChange(
            repository(image),
            changed,
            why if self.merge_bases(base, head) else Why.NO_MERGE_BASE,
            (f"src/{image}",) if changed else (),
            None if changed else self.fingerprint(head, image),
            self.fingerprint(base, image),
        )
