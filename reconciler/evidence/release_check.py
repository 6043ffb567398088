"""Every claim of a published release set, checked anew against the registry and the policy in force."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from reconciler.evidence.authority import Authority
from reconciler.evidence.finding import find
from reconciler.evidence.found import Evidence, Layout, Refused
from reconciler.ports import ArtifactReader, Purpose, RegistryReader, Verifier
from state.canonical import Json
from state.errors import ConfigError, Denied, IntegrityError, InvalidValue, Terminal
from state.git import CommitId
from state.observed import How
from state.oci import Digest, Manifest, Repository, Tag
from state.release_set import RELEASE_SET_MAX_BYTES, ReleasedImage, ReleaseSet, layer_of
from state.verdict import Outcome


class Reader(ArtifactReader, RegistryReader, Protocol):
    """The reading side of one registry client."""


class Published(NamedTuple):
    """A release set as it lies in the registry."""

    manifest: Manifest
    release: ReleaseSet


class Claim(NamedTuple):
    """One claim, and what came: an empty `against` means that it holds."""

    claim: str
    against: str = ""

    @property
    def holds(self) -> bool:
        return not self.against

    def to_json(self) -> dict[str, Json]:
        return {"against": self.against, "claim": self.claim, "holds": self.holds}


def published(reader: Reader, repository: Repository, head: CommitId) -> Published | None:
    """The release set that the tag `<HEAD_SHA>` names; None where there is none.

    Raises IntegrityError if what is there is no release set of this head; Transient or Denied.
    """
    manifest = reader.manifest(repository, Tag(head))
    if manifest is None:
        return None
    where = f"{repository}:{head}"
    try:
        raw = reader.blob(repository, layer_of(manifest), RELEASE_SET_MAX_BYTES)
        if raw is None:
            raise IntegrityError(f"{where}: its layer is gone from the registry")
        release = ReleaseSet.parse(raw)
    except InvalidValue as error:
        raise IntegrityError(f"{where}: {error}") from error
    if release.head != head:
        raise IntegrityError(f"{where}: holds the release set of another head, {release.head}")
    return Published(manifest, release)


def check(reader: Reader, repository: Repository, found: Published, own: Authority, verifier: Verifier) -> list[Claim]:
    """Each claim of `found`, in order; nothing is believed from earlier. Raises Transient or Denied."""
    manifest, release = found
    made = release.manifest()
    against = "" if made.digest == manifest.digest else f"expected {made.digest}, found {manifest.digest}"
    claims = [
        Claim("the manifest is the one of this set", against),
        signed(reader, repository, found, own),
    ]
    for image in release.images:
        claims += _image(reader, image, release.head, verifier)
    return claims


def signed(reader: Reader, repository: Repository, found: Published, own: Authority) -> Claim:
    """Whether the statement about the set is attached to it, signed by `own`. Raises Transient or Denied."""
    claim = "the set is signed by the configured signer"
    statement = found.release.statement(repository, found.manifest.digest)
    evidence = find(reader, repository, found.manifest.digest, cosign_v2=False)
    against = "nothing is attached to it"
    for one in (f for f in evidence.found if f.layout is Layout.BUNDLE):
        try:
            if hmac.compare_digest(own.prove(one).payload, statement):
                return Claim(claim)
            against = f"{one.manifest}: signed, but about another content"
        except Refused as refused:
            against = f"{one.manifest}: {refused.text}"
    return Claim(claim, against)


def _image(reader: Reader, image: ReleasedImage, head: CommitId, verifier: Verifier) -> Iterator[Claim]:
    now = reader.resolve(image.repository, Tag(head))
    against = "" if now == image.digest else f"the tag reads {now or 'nothing'}"
    yield Claim(f"{image.repository}:{head} is {image.digest}", against)
    yield from _evidence(reader, image)
    built = image.how is How.BUILT
    purpose = Purpose.PULL_REQUEST if built else Purpose.BASELINE
    verdict = verifier.verify(purpose, image.repository, image.digest, head if built else None)
    accepted = verdict.outcome is Outcome.ACCEPTED
    why = "" if accepted else f"{verdict.refusal.value if verdict.refusal else verdict.outcome.value}: {verdict.reason}"
    yield Claim(f"{image.repository}@{image.digest} counts as {purpose.value.replace('_', ' ')} now", why)


def _evidence(reader: Reader, image: ReleasedImage) -> Iterator[Claim]:
    """Whether each piece of evidence is there, whole, and attached; whether it counts is another claim."""
    try:
        evidence = find(reader, image.repository, image.digest, cosign_v2=True)
        unusable = ""
    except (Denied, ConfigError):
        raise
    except (Terminal, IntegrityError) as error:
        evidence, unusable = Evidence(()), str(error)
    attached = {found.manifest for found in evidence.found}
    broken = {failed.manifest: failed.text for failed in evidence.failed}
    for digest in image.evidence:
        claim = f"{image.repository}: evidence {digest} is there"
        if digest in attached:
            yield Claim(claim)
        elif digest in broken:
            yield Claim(claim, broken[digest])
        elif reader.manifest(image.repository, digest) is None:
            yield Claim(claim, "it is gone")
        else:
            yield Claim(claim, unusable or "it is no longer attached to the image")


class ReleaseSets:
    """Implements `ports.Releases` over a registry: what we published before, whatever became of the log."""

    def __init__(self, reader: Reader, repository: Repository, own: Authority) -> None:
        self._reader = reader
        self._repository = repository
        self._own = own

    def digests(self, head: CommitId) -> Mapping[Repository, Digest] | None:
        """See Releases."""
        try:
            found = published(self._reader, self._repository, head)
        except IntegrityError:
            return None  # not ours: the tags are read one by one
        if found is None or not signed(self._reader, self._repository, found, self._own).holds:
            return None
        return found.release.digests()


def subject(text: str) -> tuple[Repository, Digest]:
    """`host/path@sha256:…` as repository and digest. Raises InvalidValue."""
    name, _, digest = text.partition("@")
    return Repository(name), Digest(digest)
