"""Where SBOMs come from (`evidence.sbom`): left to CI, out of BuildKit's index, handed over as files, or made here.

Whatever the source, a document is checked for what its format requires, and stated and signed by us. Nothing is added
where somebody attached one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final, Protocol

from reconciler.attesting import Stated
from reconciler.evidence import normalising, sbom
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.finding import platforms
from reconciler.evidence.found import BUNDLE_MAX_BYTES
from reconciler.ports import HandedFile, HandOver, SbomMaker
from state import statement
from state.errors import InvalidValue, Terminal
from state.oci import Digest, Repository
from state.statement import CYCLONEDX, SPDX

_SUFFIXES: Final = {".spdx.json": SPDX, ".cdx.json": CYCLONEDX}
"""How the names of files end that hold an SBOM of each kind."""
DOCUMENT_MAX_BYTES: Final = BUNDLE_MAX_BYTES
_BUNDLE_OVERHEAD: Final = 4096
_KNOWN_MAX: Final = 1000


class Sboms(Protocol):
    """One source."""

    def local(self, repository: Repository, digest: Digest, /) -> tuple[Digest, ...]:
        """Digests of the statements that can be told without asking anybody; looked at with every head."""

    def stated(self, repository: Repository, digest: Digest, /) -> Stated:
        """The statements to sign. Raises Transient, Denied, or Terminal where one should be and cannot be made."""


class Attached:
    """`attached`: CI attaches them itself, or nobody does."""

    def local(self, _repository: Repository, _digest: Digest, /) -> tuple[Digest, ...]:
        return ()

    def stated(self, _repository: Repository, _digest: Digest, /) -> Stated:
        return Stated(())


class FromBuildKit(Attached):
    """`buildkit`: out of the index."""

    def __init__(self, attacher: Attacher) -> None:
        self._attacher = attacher

    def stated(self, repository: Repository, digest: Digest, /) -> Stated:
        return sbom.from_buildkit(self._attacher, repository, digest)


class HandedOver:
    """`handed-over`: files of CI beside the registry, which may come after the image."""

    def __init__(self, attacher: Attacher, hand_over: HandOver) -> None:
        self._attacher = attacher
        self._hand_over = hand_over
        self._lock = Lock()
        self._known: OrderedDict[tuple[Repository, Digest, Digest], Digest | None] = OrderedDict()
        """(Repository, subject, digest of a file's bytes) → its statement's digest; None for one that is no SBOM, or
        is not needed."""

    def local(self, repository: Repository, digest: Digest, /) -> tuple[Digest, ...]:
        made = []
        for kind, file in self._files(digest):
            if file.problem:
                continue
            key = repository, digest, Digest.of(file.raw)
            with self._lock:
                known = self._known.get(key, key)
            if known == key:
                try:
                    known = self._statement(repository, digest, kind, file).digest
                except InvalidValue:
                    known = None
                self._learn(key, known)
            if isinstance(known, Digest):
                made.append(known)
        return tuple(made)

    def stated(self, repository: Repository, digest: Digest, /) -> Stated:
        files = self._files(digest)
        if not files:
            return Stated(())
        if sbom.is_there(self._attacher, repository, digest):
            for _, file in files:
                self._learn((repository, digest, Digest.of(file.raw)), None)
            return Stated(())
        made: dict[Digest, Statement] = {}
        problems = []
        for kind, file in files:
            try:
                if file.problem:
                    raise InvalidValue(file.problem)
                one = self._statement(repository, digest, kind, file)
                made[one.digest] = one
            except InvalidValue as error:
                problems.append(f"{repository}@{digest.short}: the SBOM {file.name[:100]} is refused: {error}")
        return Stated(tuple(made[key] for key in sorted(made)), tuple(problems))

    def _files(self, digest: Digest) -> list[tuple[str, HandedFile]]:
        return [(kind, file) for end, kind in _SUFFIXES.items() for file in self._hand_over.files(digest, end)]

    def _learn(self, key: tuple[Repository, Digest, Digest], known: Digest | None) -> None:
        with self._lock:
            self._known[key] = known
            while len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)

    @staticmethod
    def _statement(repository: Repository, digest: Digest, kind: str, file: HandedFile) -> Statement:
        return _stated({str(repository): digest}, kind, _document(file.raw))


class MadeHere:
    """`syft`: one for each platform, made from the image's own bytes; none where one of ours is attached already."""

    def __init__(self, attacher: Attacher, maker: SbomMaker) -> None:
        self._attacher = attacher
        self._maker = maker

    def local(self, _repository: Repository, _digest: Digest, /) -> tuple[Digest, ...]:
        return ()

    def stated(self, repository: Repository, digest: Digest, /) -> Stated:
        # Another version of the program makes another document: one of ours that is there is left as it is.
        if sbom.is_there(self._attacher, repository, digest, ours=True):
            return Stated(())
        made: dict[Digest, Statement] = {}
        for manifest in platforms(self._attacher.store, repository, digest):
            raw = self._maker.make(repository, manifest)
            try:
                document = normalising.spdx(_document(raw), repository, manifest.digest)
                subjects = {f"{repository}@{manifest.digest}": manifest.digest} | {str(repository): digest}
                one = _stated(subjects, SPDX, document)
            except InvalidValue as error:
                raise Terminal(
                    f"{repository}@{manifest.digest.short}: the SBOM that was made is refused: {error}"
                ) from error
            made[one.digest] = one
        return Stated(tuple(made[key] for key in sorted(made)))


def _document(raw: bytes) -> Mapping[str, Any]:
    """Raises InvalidValue for what is no JSON object, or has duplicate keys."""
    return statement.parse_object(raw, "SBOM", DOCUMENT_MAX_BYTES)


def _stated(subjects: Mapping[str, Digest], kind: str, document: Mapping[str, Any]) -> Statement:
    raw = statement.build(subjects, sbom.check(kind, document), document)
    if len(raw) * 4 // 3 + _BUNDLE_OVERHEAD > BUNDLE_MAX_BYTES:
        raise InvalidValue(f"a bundle with it would have more than {BUNDLE_MAX_BYTES} bytes, which nobody reads")
    return Statement(kind, raw)
