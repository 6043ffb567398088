"""What is stated and signed about an image that was just pushed, before any tag names it.

SBOM, signature, and the provenance last: where that is, everything is. Each is looked for before it is signed, so that
a run after one that was killed adds only what is missing.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from reconciler.adapters.handing_over import hand_over
from reconciler.evidence import bundles, sbom
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.found import BUNDLE_MAX_BYTES, Refused
from reconciler.evidence.sbom_sources import MadeHere
from reconciler.evidence.slsa import Build, provenance
from reconciler.ports import EvidenceSigner, HandOver
from reconciler.producing.sbom_of_sources import document
from reconciler.strict_yaml import read_regular
from state import canonical, statement
from state.errors import ConfigError, InvalidValue, Terminal
from state.oci import Descriptor, Digest, Repository
from state.statement import COSIGN_SIGNATURE, CYCLONEDX, SLSA_PROVENANCE_V1, SPDX

_PROVENANCE_FILE: Final = "provenance.sigstore.json"
_SUFFIXES: Final = {".spdx.json": SPDX, ".cdx.json": CYCLONEDX}
_ENDS: Final = {kind: suffix for suffix, kind in _SUFFIXES.items()}


class Subject(NamedTuple):
    """The image that everything is about."""

    name: str
    repository: Repository
    descriptor: Descriptor
    build: Build


class Sboms(Protocol):
    """Where SBOMs come from."""

    def statements(self, subject: Subject) -> tuple[Statement, ...]:
        """To be signed; none where one is attached already. Raises ConfigError, Terminal, Transient."""


class Proving(Protocol):
    """How evidence gets to the digest."""

    def prove(self, subject: Subject, confirm: Callable[[], None]) -> None:
        """Raises what signer and registry raise, and ConfigError."""


class FromSources:
    """`sources`: base images and source, no packages."""

    def statements(self, subject: Subject) -> tuple[Statement, ...]:
        """See Sboms."""
        digest = subject.descriptor.digest
        return (_stated(subject, SPDX, document(subject.repository, digest, subject.build)),)


class FromFiles:
    """`files`: what an earlier step of CI wrote, by the image's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def statements(self, subject: Subject) -> tuple[Statement, ...]:
        """See Sboms."""
        made = []
        for suffix, kind in _SUFFIXES.items():
            file = self._folder / f"{subject.name}{suffix}"
            if not file.exists():
                continue
            raw = read_regular(file, max_bytes=BUNDLE_MAX_BYTES)
            try:
                said = statement.parse_object(raw, str(file), BUNDLE_MAX_BYTES)
                made.append(_stated(subject, sbom.check(kind, said), said))
            except InvalidValue as error:
                raise ConfigError(f"{file}: {error}") from error
        if not made:
            ways = " or ".join(f"{subject.name}{suffix}" for suffix in _SUFFIXES)
            raise ConfigError(f"{self._folder}: expected {ways}, got neither (sbom: files)")
        return tuple(made)


class FromSyft:
    """`syft`: of every platform, from the image's bytes in the registry."""

    def __init__(self, maker: MadeHere) -> None:
        self._maker = maker

    def statements(self, subject: Subject) -> tuple[Statement, ...]:
        """See Sboms."""
        made = self._maker.stated(subject.repository, subject.descriptor.digest).statements
        return tuple(one for one in made if isinstance(one, Statement))


class Attached:
    """Evidence as referrers of the digest."""

    def __init__(self, attacher: Attacher, sboms: Sboms) -> None:
        self._attacher = attacher
        self._sboms = sboms

    def prove(self, subject: Subject, confirm: Callable[[], None]) -> None:
        """See Proving."""
        repository, digest = subject.repository, subject.descriptor.digest
        if self._attacher.shadows(repository, digest):
            raise Terminal(
                f"{repository}@{digest.short}: was signed by cosign v2 before, and a first bundle would hide that from"
                " cosign 3; sign it in the newer way first, or remove the older tags"
            )
        for one in (*self._sboms.statements(subject), _signature(subject), _provenance(subject)):
            seen = self._attacher.look(repository, digest)
            self._attacher.attach(repository, subject.descriptor, one, seen, confirm)


class HandedOver:
    """Evidence as files beside the registry, for the reconciler to attach: provenance signed, SBOMs as they are."""

    def __init__(self, folder: Path, reader: HandOver, signer: EvidenceSigner, sboms: Sboms) -> None:
        self._folder = folder
        self._reader = reader
        self._signer = signer
        self._sboms = sboms

    def prove(self, subject: Subject, confirm: Callable[[], None]) -> None:
        """See Proving."""
        digest = subject.descriptor.digest
        for one in self._sboms.statements(subject):
            raw = canonical.dumps(dict(statement.parse(one.raw).predicate))
            confirm()
            hand_over(self._folder, digest, f"sbom-{one.digest.hex[:12]}{_ENDS[one.predicate_type]}", raw)
        made = _provenance(subject)
        if not self._is_there(digest, made):
            confirm()
            hand_over(self._folder, digest, _PROVENANCE_FILE, self._signer.sign(made.raw))

    def _is_there(self, digest: Digest, wanted: Statement) -> bool:
        for file in self._reader.files(digest, _PROVENANCE_FILE):
            try:
                if hmac.compare_digest(bundles.parse_bundle(file.raw).envelope.payload, wanted.raw):
                    return True
            except Refused:
                continue  # whatever it is, it is replaced
        return False


def _signature(subject: Subject) -> Statement:
    """As cosign 3 writes it: a statement that says nothing but the digest."""
    said = statement.build({str(subject.repository): subject.descriptor.digest}, COSIGN_SIGNATURE, {})
    return Statement(COSIGN_SIGNATURE, said)


def _provenance(subject: Subject) -> Statement:
    raw = provenance(subject.repository, subject.descriptor.digest, subject.build)
    return Statement(SLSA_PROVENANCE_V1, raw)


def _stated(subject: Subject, kind: str, said: Any) -> Statement:
    raw = statement.build({str(subject.repository): subject.descriptor.digest}, kind, said)
    return Statement(kind, raw)
