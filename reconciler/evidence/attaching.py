"""Statements of ours, attached to digests: signed once per statement, however many heads share the digest.

An ECDSA or keyless signature differs on every call, so what is there already is looked for, and verified, before
anything is signed (design §5).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from reconciler.evidence import bundles
from reconciler.evidence.authority import Authority
from reconciler.evidence.finding import EMPTY_BLOB, OLDER_LAYOUTS, attach_manifest, find, older_tag
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Evidence, Found, Layout, Refused
from reconciler.ports import ArtifactReader, ArtifactWriter, EvidenceSigner
from state.errors import Terminal
from state.oci import Descriptor, Digest, Repository

ATTACHED_MAX: Final = 40
"""Nothing is attached to a digest that has so many artifacts: Kyverno refuses more than 50 (facts, dec. 3)."""


class Statement(NamedTuple):
    """The bytes to sign, and what they are."""

    predicate_type: str
    raw: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


class Ready(NamedTuple):
    """A bundle that somebody else signed, to be attached byte for byte. `digest` names the piece that it came from."""

    predicate_type: str
    raw: bytes
    digest: Digest


class ArtifactStore(ArtifactReader, ArtifactWriter, Protocol):
    """Both sides of one registry client."""


class Attacher:
    """Attaches signed statements, and bundles of others. `own` proves what `signer` signed, and nothing else."""

    def __init__(self, store: ArtifactStore, signer: EvidenceSigner, own: Authority) -> None:
        self.store = store
        self._signer = signer
        self.own = own
        self._shadowed: set[tuple[Repository, Digest]] = set()

    def look(self, repository: Repository, subject: Digest) -> Evidence:
        """What is attached to `subject` now."""
        return find(self.store, repository, subject, cosign_v2=False)

    def existing(self, evidence: Evidence, statement: Statement | Ready) -> Digest | None:
        """The artifact that holds `statement`, byte for byte, signed by us; None if there is none.

        Of a bundle of others: the artifact with its envelope, payload and signature.
        """
        if isinstance(statement, Ready):
            return _holding(evidence, statement)
        for found in evidence.found:
            if found.layout is Layout.BUNDLE:
                try:
                    proven = self.own.prove(found)
                except Refused:
                    continue  # somebody else's
                if hmac.compare_digest(proven.payload, statement.raw):
                    return found.manifest
        return None

    def made(self, found: Found) -> bool:
        """Whether we signed this."""
        try:
            self.own.prove(found)
        except Refused:
            return False
        return True

    def shadows(self, repository: Repository, subject: Digest) -> bool:
        """Whether a first bundle here would hide what cosign v2 wrote: cosign v3 then no longer looks at it.

        A yes is remembered: such a digest is met again with every head.
        """
        if (repository, subject) in self._shadowed:
            return True
        if all(self.store.manifest(repository, older_tag(subject, layout)) is None for layout in OLDER_LAYOUTS):
            return False
        if any(f.layout is Layout.BUNDLE for f in self.look(repository, subject).found):
            return False
        self._shadowed.add((repository, subject))
        return True

    def look_again(self, repository: Repository, subject: Digest) -> None:
        """Forget a yes of `shadows`: somebody is told to mend it."""
        self._shadowed.discard((repository, subject))

    def attach(
        self,
        repository: Repository,
        subject: Descriptor,
        statement: Statement | Ready,
        evidence: Evidence,
        confirm: Callable[[], None],
    ) -> Digest:
        """Sign `statement` and attach it to `subject`, unless that was done before; the artifact's manifest digest.

        A bundle of others is attached as it is.

        `evidence` is what `look` saw. Raises what the signer and the registry raise, and Terminal for a digest that has
        too many artifacts already.
        """
        if (there := self.existing(evidence, statement)) is not None:
            return there
        if (count := len({f.manifest for f in evidence.found}) + len(evidence.failed)) >= ATTACHED_MAX:
            raise Terminal(
                f"{repository}@{subject.digest.short}: has {count} attached artifacts, at most {ATTACHED_MAX} are"
                " extended: admission controllers refuse a digest with more than 50; remove what is not needed"
            )
        bundle = statement.raw if isinstance(statement, Ready) else self._signer.sign(statement.raw)
        blob = self.store.put_blob(repository, bundle, confirm)
        self.store.put_blob(repository, EMPTY_BLOB, confirm)
        manifest, referrer = attach_manifest(
            subject, Descriptor(BUNDLE_MEDIA_TYPE, blob.digest, blob.size), statement.predicate_type
        )
        self.store.put_artifact(repository, manifest, subject.digest, referrer, confirm)
        self._shadowed.discard((repository, subject.digest))
        return manifest.digest


def _holding(evidence: Evidence, bundle: Ready) -> Digest | None:
    wanted = bundles.parse_bundle(bundle.raw).envelope
    for found in evidence.found:
        if found.layout is Layout.BUNDLE:
            try:
                envelope = bundles.parse_bundle(found.raw).envelope
            except Refused:
                continue  # not even readable, so not this one
            if envelope[:3] == wanted[:3]:  # the hint of the signer is nobody's statement
                return found.manifest
    return None
