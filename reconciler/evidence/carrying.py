"""Bundles of others, attached unchanged where they are missing: what CI handed over, and what an older layout holds.

A bundle makes cosign 3 look at bundles alone, no longer at what cosign v2 wrote (`sha256-<hex>.sig` and `.att`). So the
first bundle of a digest is one of these only where everything that cosign v2 wrote is signed by the very key that
signed this one, and everything in `.att` comes with it: whoever could verify with that key before still can.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.evidence import bundles
from reconciler.evidence.attaching import Ready
from reconciler.evidence.authority import Authority
from reconciler.evidence.finding import attach_manifest, older_layout
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Failed, Found, Layout, Refused
from reconciler.evidence.keys import key_bundle
from reconciler.ports import ArtifactReader, HandedFile, HandOver
from state import statement
from state.errors import InvalidValue
from state.oci import Descriptor, Digest, Repository
from state.verdict import Refusal

BUNDLE_SUFFIX: Final = ".sigstore.json"


class Carried(NamedTuple):
    """What may be attached now, and why something that counted may not, which keeps its digest from a release set."""

    ready: tuple[Ready, ...]
    blocked: str = ""


def handed_over(
    hand_over: HandOver, reader: ArtifactReader, repository: Repository, digest: Digest
) -> list[Found | Failed]:
    """The bundles that CI handed over about `digest`. Nothing is asked of the registry where there are none."""
    files = hand_over.files(digest, BUNDLE_SUFFIX)
    if not files:
        return []
    held = reader.manifest(repository, digest)
    if held is None:
        return [Failed(Refusal.INCOMPLETE_INDEX, f"{digest.short} itself is gone from the registry")]
    return [_found(file, held.descriptor) for file in files]


def _found(file: HandedFile, subject: Descriptor) -> Found | Failed:
    where = f"handed over: {file.name[:100]}"
    if file.problem:
        return Failed(Refusal.MALFORMED, f"{where}: {file.problem}")
    try:
        bundle = bundles.parse_bundle(file.raw)
        if not bundle.has_form_of_v03:
            raise Refused(Refusal.UNSUPPORTED, f"expected a bundle v0.3, which cosign 3 reads, got {bundle.media_type}")
        predicate_type = statement.parse(bundle.envelope.payload).predicate_type
    except Refused as refused:
        return Failed(refused.refusal, f"{where}: {refused.text}")
    except InvalidValue as error:
        return Failed(Refusal.MALFORMED, f"{where}: {error}")
    manifest, _ = attach_manifest(subject, _layer(file.raw), predicate_type)
    return Found(Layout.HANDED_OVER, manifest.digest, BUNDLE_MEDIA_TYPE, file.raw, {})


class _Piece(NamedTuple):
    """A proven piece as a bundle, and the key that signed it: None if it was no key."""

    bundle: Ready
    signer: Digest | None


class Carrier:
    """Finds again what a verdict says is to be carried, as bundles to attach. Nothing is signed here."""

    def __init__(self, reader: ArtifactReader, authority: Authority, hand_over: HandOver | None) -> None:
        self._reader = reader
        self._authority = authority
        self._hand_over = hand_over
        self._kept_back: set[tuple[Repository, Digest, tuple[Digest, ...]]] = set()

    def carried(
        self, repository: Repository, digest: Digest, wanted: tuple[Digest, ...], *, shadowing: bool
    ) -> Carried:
        """Of the pieces `wanted` (digests of their bytes) those that may be attached now.

        `shadowing` tells that there is something of cosign v2 and no bundle yet. That nothing may be attached is
        remembered then, unless it has to be mended: such a digest is met again with every head.

        Raises Transient or Denied.
        """
        question = (repository, digest, wanted)
        if not wanted or (shadowing and question in self._kept_back):
            return Carried(())
        handed = self._handed(repository, digest)
        older = self._older(repository, digest) if shadowing or any(one not in handed for one in wanted) else ()
        pieces = {piece.bundle.digest: piece for piece in (*older, *handed.values()) if piece is not None}
        ready = [pieces[one] for one in wanted if one in pieces]
        if not shadowing:
            gone = any(one not in pieces for one in wanted)
            blocked = "evidence that counted is gone before it was attached; hand it over again" if gone else ""
            return Carried(tuple(piece.bundle for piece in ready), blocked)
        signers = {None if piece is None else piece.signer for piece in older} | self._signers(repository, digest)
        if ready and None not in signers and all(signers == {piece.signer} for piece in ready):
            rest = [p for p in older if p is not None and p not in ready]
            return Carried(tuple(piece.bundle for piece in (*ready, *rest)))
        if any(one in handed for one in wanted):
            return Carried((), _HIDES)
        self._kept_back.add(question)
        return Carried(())

    def _handed(self, repository: Repository, digest: Digest) -> dict[Digest, _Piece | None]:
        if self._hand_over is None:
            return {}
        found = handed_over(self._hand_over, self._reader, repository, digest)
        return {Digest.of(one.raw): self._piece(one, digest) for one in found if isinstance(one, Found)}

    def _older(self, repository: Repository, digest: Digest) -> tuple[_Piece | None, ...]:
        """What `.att` holds; None for what is not proven, or is about another digest."""
        found = older_layout(self._reader, repository, digest, Layout.COSIGN_ATTESTATION)
        return tuple(self._piece(one, digest) if isinstance(one, Found) else None for one in found)

    def _signers(self, repository: Repository, digest: Digest) -> set[Digest | None]:
        """The keys behind everything in `.sig`; None stands for what is not proven."""
        signers: set[Digest | None] = set()
        for found in older_layout(self._reader, repository, digest, Layout.COSIGN_SIGNATURE):
            try:
                signers.add(self._authority.prove(found).key if isinstance(found, Found) else None)
            except Refused:
                signers.add(None)
        return signers

    def _piece(self, found: Found, digest: Digest) -> _Piece | None:
        try:
            proven = self._authority.prove(found)
            said = statement.parse(proven.payload)
            if digest not in said.subjects:
                return None
            raw = found.raw
            if found.layout is Layout.COSIGN_ATTESTATION:
                if proven.key is None:
                    return None
                raw = key_bundle(bundles.parse_envelope(found.raw), proven.key)
        except (Refused, InvalidValue):
            return None
        return _Piece(Ready(said.predicate_type, raw, Digest.of(found.raw)), proven.key)


_HIDES: Final = (
    "evidence that was handed over cannot be attached: it would be the first bundle beside what cosign v2 wrote for"
    " another signer, which cosign 3 would then no longer see; have that signer attach a bundle (cosign 3), or remove"
    " the tags .sig and .att of this digest"
)


def _layer(raw: bytes) -> Descriptor:
    return Descriptor(BUNDLE_MEDIA_TYPE, Digest.of(raw), len(raw))
