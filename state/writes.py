"""What intents and outcomes say of a write (a tag, an attached artifact, a release set), and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from state.canonical import Json, reading
from state.git import CommitId
from state.oci import Digest, Repository


class Write(NamedTuple):
    """One tag write of an intent. `proven` tells whether evidence was accepted for the digest."""

    repository: Repository
    head: CommitId
    digest: Digest
    pull_requests: tuple[int, ...]
    proven: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "digest": self.digest,
            "head": self.head,
            "proven": self.proven,
            "pull_requests": list(self.pull_requests),
            "repository": self.repository,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Write:
        read = reading(value, "write")
        return cls(
            Repository(read.text("repository")),
            CommitId(read.text("head")),
            Digest(read.text("digest")),
            tuple(read.integers("pull_requests")),
            read.flag("proven"),
        )


class Attachment(NamedTuple):
    """One artifact that was to be attached to a digest. `statement` is the digest of the signed statement's bytes; of a
    bundle of others, of the bytes as they were found.

    `manifest` is the artifact's own, once it is there.
    """

    repository: Repository
    subject: Digest
    predicate_type: str
    statement: Digest
    manifest: Digest | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "manifest": self.manifest,
            "predicate_type": self.predicate_type,
            "repository": self.repository,
            "statement": self.statement,
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Attachment:
        read = reading(value, "attachment")
        manifest = read.text_or_none("manifest")
        return cls(
            Repository(read.text("repository")),
            Digest(read.text("subject")),
            read.text("predicate_type"),
            Digest(read.text("statement")),
            Digest(manifest) if manifest is not None else None,
        )

    @property
    def key(self) -> tuple[Repository, Digest, str, Digest]:
        """What makes two attachments the same (design §5)."""
        return self.repository, self.subject, self.predicate_type, self.statement


class Publication(NamedTuple):
    """The release set of a head: its manifest's digest, at the tag of the head in `repository`."""

    repository: Repository
    head: CommitId
    digest: Digest
    replaces: Digest | None = None
    """The release set of the same head that a person's acceptance made void."""

    def to_json(self) -> dict[str, Json]:
        return {
            "digest": self.digest,
            "head": self.head,
            "replaces": self.replaces,
            "repository": self.repository,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Publication:
        read = reading(value, "publication")
        replaces = read.text_or_none("replaces")
        return cls(
            Repository(read.text("repository")),
            CommitId(read.text("head")),
            Digest(read.text("digest")),
            Digest(replaces) if replaces is not None else None,
        )


class Evidence(NamedTuple):
    """What an entry says of evidence: everything that is or was to be written besides image tags."""

    attachments: tuple[Attachment, ...] = ()
    publications: tuple[Publication, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Json]) -> Evidence:
        """From an intent's or outcome's body; both lists may be missing."""
        read = reading(body, "evidence")
        return cls(
            tuple(Attachment.from_json(a) for a in read.objects("attachments")) if "attachments" in body else (),
            tuple(Publication.from_json(p) for p in read.objects("publications")) if "publications" in body else (),
        )


class Result(StrEnum):
    """What became of one write of an intent, or of a tag that was found."""

    WRITTEN = "written"
    """The registry confirmed our write (201 with the expected digest)."""
    ADOPTED = "adopted"
    """The tag was in place and counts; nothing was written."""
    FAILED = "failed"
    """The registry refused, so nothing was written."""
    UNCERTAIN = "uncertain"
    """No answer came, or one for several tags that tells nothing of this: it may be made, and the next pass looks."""
    CONFLICT = "conflict"
    """Another digest was found where ours was to be."""
    DROPPED = "dropped"
    """The writer stopped between intent and write, and the tag is absent."""
