"""The plan of one publish: which image digest goes where in a GitOps repository, for one complete head (design §6).

A plan holds edits, not file contents, so an unrelated change of those files does not void an approval of it. It names
the release set that its digests come from; its digest is what an approval is bound to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from state import canonical
from state.canonical import Json, reading
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest, Repository

PLAN_MAX_BYTES: Final = 1024 * 1024
EDITS_MAX: Final = 2000
_KEYS: Final = frozenset({"edits", "head", "pull_request", "release_set", "repository_id", "schema_version", "target"})
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PATH_PART: Final = re.compile(r"(?!\.{1,2}$|\.git$)[^/\\\x00-\x1f\x7f]{1,255}")


class Target(NamedTuple):
    """Where a publish goes: a named branch of a GitOps repository and an environment in it."""

    name: str
    gitops_repository_id: int
    """The numeric id of the GitOps repository at its forge."""
    base: RefName
    environment: str

    def to_json(self) -> dict[str, Json]:
        return {
            "base": self.base,
            "environment": self.environment,
            "gitops_repository_id": self.gitops_repository_id,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Target:
        read = reading(value, "target")
        made = cls(
            target_name(read.text("name")),
            read.integer("gitops_repository_id"),
            RefName(read.text("base")),
            target_name(read.text("environment")),
        )
        if set(value) != set(made.to_json()):
            raise InvalidValue("target: expected exactly base, environment, gitops_repository_id and name")
        return made


class Edit(NamedTuple):
    """One scalar of one file that is to hold one image by digest. Edits sort by file and key."""

    file: str
    """Path inside the GitOps repository."""
    key: str
    """Where in it, as `reconciler.gitops.keys` reads it, such as `image.ref`."""
    component: str
    repository: Repository
    digest: Digest

    @property
    def image(self) -> str:
        """`repository@sha256:…`."""
        return f"{self.repository}@{self.digest}"

    def to_json(self) -> dict[str, Json]:
        return {"component": self.component, "file": self.file, "image": self.image, "key": self.key}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Edit:
        read = reading(value, "edit")
        repository, _, digest = read.text("image").partition("@")
        return cls(read.text("file"), read.text("key"), read.text("component"), Repository(repository), Digest(digest))


class PinPlan(NamedTuple):
    """What a publish of `head` to `target` writes. `edits` are sorted, and no two are of one place."""

    repository_id: int
    """The code repository's numeric id at its forge."""
    pull_request: int
    head: CommitId
    release_set: Digest
    """The manifest of the head's signed release set."""
    target: Target
    edits: tuple[Edit, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "edits": [e.to_json() for e in self.edits],
            "head": self.head,
            "pull_request": self.pull_request,
            "release_set": self.release_set,
            "repository_id": self.repository_id,
            "schema_version": 1,
            "target": self.target.to_json(),
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(self.to_json())

    def digest(self) -> Digest:
        """What an approval names."""
        return Digest.of(self.to_bytes())

    def images(self) -> dict[Repository, Digest]:
        """Every image that is pinned; one digest each."""
        return {e.repository: e.digest for e in self.edits}

    @property
    def branch(self) -> RefName:
        """The branch of its GitOps pull request; another plan has another one (design §7)."""
        plan = self.digest().hex[:12]
        return RefName.branch(f"ameide/{self.target.name}/pr-{self.pull_request}/{self.head.short}-{plan}")

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> PinPlan:
        """Raises InvalidValue unless `value` is what `to_json` gives."""
        read = reading(value, "pin plan")
        if set(value) != _KEYS or read.integer("schema_version") != 1:
            raise InvalidValue("pin plan: expected exactly the members of schema version 1")
        made = cls(
            read.integer("repository_id"),
            read.integer("pull_request"),
            CommitId(read.text("head")),
            Digest(read.text("release_set")),
            Target.from_json(read.object("target")),
            tuple(Edit.from_json(row) for row in read.objects("edits")),
        )
        check(made)
        if made.to_json() != value:
            raise InvalidValue("pin plan: an edit has members that are not of schema version 1")
        return made

    @classmethod
    def parse(cls, raw: bytes) -> PinPlan:
        """Read `to_bytes` back. Raises InvalidValue unless it is byte for byte that."""
        made = cls.from_json(canonical.loads_object(raw, what="pin plan", max_bytes=PLAN_MAX_BYTES))
        if made.to_bytes() != raw:
            raise InvalidValue("pin plan: not in canonical form")
        return made


def check(plan: PinPlan) -> None:
    """Raise InvalidValue unless the edits are well formed, sorted, of distinct places, and of one digest an image."""
    if any(n < 1 for n in (plan.repository_id, plan.pull_request, plan.target.gitops_repository_id)):
        raise InvalidValue("pin plan: ids and numbers count from 1")
    for edit in plan.edits:
        _check_edit(edit)
    places = [(e.file, e.key) for e in plan.edits]
    if not places or len(places) > EDITS_MAX:
        raise InvalidValue(f"pin plan: expected 1 to {EDITS_MAX} edits, got {len(places)}")
    if places != sorted(set(places)):
        raise InvalidValue("pin plan: edits must be sorted by file and key, with one edit a place")
    if len({(e.repository, e.digest) for e in plan.edits}) != len(plan.images()):
        raise InvalidValue("pin plan: one image repository has two digests")
    if (size := len(plan.to_bytes())) > PLAN_MAX_BYTES:
        raise InvalidValue(f"pin plan: expected at most {PLAN_MAX_BYTES} bytes, got {size}")


def _check_edit(edit: Edit) -> None:
    file, key, component = edit.file, edit.key, edit.component
    if len(file) > 1024 or not file.isprintable() or not all(_PATH_PART.fullmatch(part) for part in file.split("/")):
        raise InvalidValue(f"edit: file must be a path inside the repository, got {file[:80]!r}")
    if not key or len(key) > 512 or not key.isprintable():
        raise InvalidValue(f"edit: key must be printable and at most 512 characters, got {key[:80]!r}")
    if not component or len(component) > 255 or not component.isprintable():
        raise InvalidValue(f"edit: component must be printable and at most 255 characters, got {component[:80]!r}")


def target_name(text: str) -> str:
    """The name of a target or environment: part of branch names and addresses. Raises InvalidValue."""
    if not _NAME.fullmatch(text):
        raise InvalidValue(f"target: expected at most 63 of [a-z0-9-], not starting with -, got {text[:80]!r}")
    return text
