"""The evidence file of one head: a tar archive with an index, so that `tar`, git, ssh-keygen and cosign can read it.

    evidence.json                  the index: canonical JSON, what the file is about and the digest of each member
    log.bundle                     the whole log, as a git bundle
    release/manifest.json          the release set's OCI manifest: cosign's blob
    release/set.json               its layer: every image and digest
    release/bundle.json            the signature of it, a Sigstore bundle
    images/N/M.manifest.json       a manifest of evidence about the image N of the set, and
    images/N/M.evidence            the bytes that it holds, mostly a Sigstore bundle
    approvals/ID.envelope.json     an approval that was used up, as the log has it, and for ssh-keygen
    approvals/ID.pae               the bytes that were signed (DSSE), and
    approvals/ID.N.sig             its signatures
    policy/approvers-DIGEST.yaml   the approvers' policies that those approvals are under
    policy/signer.N, builder.N     the keys or trusted root of who signs release sets, and of who builds
    policy/approvers.0             the trusted root of approvers' certificates, where any sign with one

Equal facts give equal bytes but for the bundle, which git packs as it likes.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.evidence.found import Layout
from state import canonical
from state.canonical import Json, reading
from state.errors import ConfigError, IntegrityError, InvalidValue
from state.git import CommitId
from state.oci import Digest, Repository

INDEX: Final = "evidence.json"
LOG: Final = "log.bundle"
RELEASE_MANIFEST: Final = "release/manifest.json"
RELEASE_SET: Final = "release/set.json"
RELEASE_BUNDLE: Final = "release/bundle.json"

INDEX_MAX_BYTES: Final = 8 * 1024 * 1024
MEMBER_MAX_BYTES: Final = 64 * 1024 * 1024
LOG_MAX_BYTES: Final = 4 * 1024**3
TOTAL_MAX_BYTES: Final = 6 * 1024**3
MEMBERS_MAX: Final = 50_000

_NAME: Final = re.compile(
    r"evidence\.json|log\.bundle|release/(?:manifest|set|bundle)\.json"
    r"|images/[0-9]{1,5}/[0-9]{1,5}\.(?:manifest\.json|evidence)"
    r"|approvals/[0-9a-f]{32}\.(?:envelope\.json|pae|[0-9]{1,2}\.sig)"
    r"|policy/(?:approvers-[0-9a-f]{12}\.yaml|(?:signer|builder|approvers)\.[0-9]{1,5})"
)
"""Every member has its place: none can be put where a program looks for another."""
_KEYS: Final = frozenset(
    {
        "allowed_signers", "approvals", "approvers_root", "builder", "evidence", "files", "head", "log", "policies",
        "release_set", "repository_id", "signer", "version",
    }
)  # fmt: skip
_CHUNK_BYTES: Final = 1024 * 1024


class Trusted(NamedTuple):
    """Who is believed: `keys` (one file each) or `sigstore` (a trusted root), and what a certificate has to say."""

    kind: str
    files: tuple[str, ...]
    transparency_log: bool = True
    issuer: str | None = None
    identity: str | None = None
    """The certificate's identity, or with `@` left off the workflow at whatever ref."""

    def to_json(self) -> dict[str, Json]:
        return {
            "files": canonical.texts(self.files),
            "identity": self.identity,
            "issuer": self.issuer,
            "kind": self.kind,
            "transparency_log": self.transparency_log,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Trusted:
        read = reading(value, "who is believed")
        return cls(
            read.text("kind"),
            tuple(read.texts("files")),
            read.flag("transparency_log"),
            read.text_or_none("issuer"),
            read.text_or_none("identity"),
        )


class Piece(NamedTuple):
    """One piece of evidence about an image: its manifest, its bytes, and how the registry has it."""

    repository: Repository
    subject: Digest
    manifest: Digest
    layout: str
    media_type: str
    annotations: Mapping[str, str]
    file: str
    """Name of the member without its ending."""

    def to_json(self) -> dict[str, Json]:
        return {
            "annotations": dict(self.annotations),
            "file": self.file,
            "layout": self.layout,
            "manifest": self.manifest,
            "media_type": self.media_type,
            "repository": self.repository,
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Piece:
        read = reading(value, "piece of evidence")
        annotations = reading(read.object("annotations"), "annotations")
        return cls(
            Repository(read.text("repository")),
            Digest(read.text("subject")),
            Digest(read.text("manifest")),
            read.one_of("layout", Layout).value,
            read.text("media_type"),
            {name: annotations.text(name) for name in read.object("annotations")},
            read.text("file"),
        )


class Index(NamedTuple):
    """What an evidence file says of itself."""

    head: CommitId
    repository_id: int
    log_ref: str
    log_tip: CommitId
    release_repository: Repository
    release_manifest: Digest
    evidence: tuple[Piece, ...]
    approvals: tuple[str, ...]
    """Ids of the markers that were used up for this head, in the order of the log."""
    policies: tuple[Digest, ...]
    """Of the approvers' policies that are enclosed."""
    approvers_root: Trusted | None
    """What vouches for certificates of approvers; None where they sign with keys."""
    signer: Trusted
    builder: Trusted | None
    """None where the level of verification is `none`."""
    allowed_signers: Digest | None
    """Of the list of log keys that was checked against when it was exported."""
    files: Mapping[str, Digest]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(
            {
                "allowed_signers": self.allowed_signers,
                "approvals": canonical.texts(self.approvals),
                "approvers_root": self.approvers_root.to_json() if self.approvers_root is not None else None,
                "builder": self.builder.to_json() if self.builder is not None else None,
                "evidence": [piece.to_json() for piece in self.evidence],
                "files": dict(self.files),
                "head": self.head,
                "log": {"ref": self.log_ref, "tip": self.log_tip},
                "policies": canonical.texts(self.policies),
                "release_set": {"manifest": self.release_manifest, "repository": self.release_repository},
                "repository_id": self.repository_id,
                "signer": self.signer.to_json(),
                "version": 1,
            }
        )

    @classmethod
    def parse(cls, raw: bytes) -> Index:
        """Read `to_bytes` back. Raises InvalidValue unless it is byte for byte that."""
        value = canonical.loads_object(raw, what=INDEX, max_bytes=INDEX_MAX_BYTES)
        read = reading(value, INDEX)
        if set(value) != _KEYS or read.integer("version") != 1:
            raise InvalidValue(f"{INDEX}: expected exactly the members of version 1")
        log, release = reading(read.object("log"), "log"), reading(read.object("release_set"), "release set")
        signers, files = read.text_or_none("allowed_signers"), reading(read.object("files"), "files")
        made = cls(
            CommitId(read.text("head")),
            read.integer("repository_id"),
            log.text("ref"),
            CommitId(log.text("tip")),
            Repository(release.text("repository")),
            Digest(release.text("manifest")),
            tuple(Piece.from_json(row) for row in read.objects("evidence")),
            tuple(read.texts("approvals")),
            tuple(Digest(d) for d in read.texts("policies")),
            Trusted.from_json(read.object("approvers_root")) if value["approvers_root"] is not None else None,
            Trusted.from_json(read.object("signer")),
            Trusted.from_json(read.object("builder")) if value["builder"] is not None else None,
            Digest(signers) if signers is not None else None,
            {name: Digest(files.text(name)) for name in read.object("files")},
        )
        if made.to_bytes() != raw:
            raise InvalidValue(f"{INDEX}: not in canonical form")
        return made


def pack(folder: Path, index: Index, into: Path) -> None:
    """Write the members below `folder`, which `index` names, as one file; a file that is there is not overwritten.

    Raises ConfigError if it is there or cannot be written.
    """
    try:
        with into.open("xb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            raw = index.to_bytes()
            archive.addfile(_member(INDEX, len(raw)), io.BytesIO(raw))
            for name in sorted(index.files):
                with (folder / name).open("rb") as file:
                    archive.addfile(_member(name, (folder / name).stat().st_size), file)
    except FileExistsError as error:
        raise ConfigError(f"{into}: is there already; name another file, or remove it") from error
    except OSError as error:
        into.unlink(missing_ok=True)
        raise ConfigError(f"{into}: cannot be written: {error.strerror}") from error


def unpack(path: Path, folder: Path) -> Index:
    """Lay the members of an evidence file out below `folder`, each checked against the index.

    Raises ConfigError if the file cannot be read, or is no such file, IntegrityError if it is not whole.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_PlainMember) as archive:
            return _unpack(archive, folder, path)
    except tarfile.TarError as error:
        raise ConfigError(f"{path}: not an evidence file: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except InvalidValue as error:
        raise IntegrityError(f"{path}: {error}") from error


def digest_of(path: Path) -> Digest:
    """SHA-256 of a file, read piece by piece."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            made.update(chunk)
    return Digest(f"sha256:{made.hexdigest()}")


class _PlainMember(tarfile.TarInfo):
    """A file, and nothing else: headers that extend others (pax, GNU) are read whole into memory, however long."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
            raise tarfile.ReadError(f"a member of type {self.type!r}, expected plain files")
        made: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]  # the documented hook
        return made


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Without owner or time, so that equal facts give equal bytes."""
    made = tarfile.TarInfo(name)
    made.size, made.mode = size, 0o644
    return made


def _unpack(archive: tarfile.TarFile, folder: Path, path: Path) -> Index:
    found: dict[str, Digest] = {}
    index: Index | None = None
    total = 0
    for member in archive:
        name = member.name
        if not member.isreg() or not _NAME.fullmatch(name) or name in found or len(found) > MEMBERS_MAX:
            raise IntegrityError(f"{path}: the member {name[:120]!r} has no place in an evidence file")
        total += member.size
        most = {INDEX: INDEX_MAX_BYTES, LOG: LOG_MAX_BYTES}.get(name, MEMBER_MAX_BYTES)
        if member.size > most or total > TOTAL_MAX_BYTES:
            raise IntegrityError(f"{path}: {name} has {member.size} bytes, at most {most} are allowed")
        source = archive.extractfile(member)
        if source is None:
            raise IntegrityError(f"{path}: {name} cannot be read")
        if index is None:
            if name != INDEX:
                raise ConfigError(f"{path}: not an evidence file: expected {INDEX} first, got {name[:120]!r}")
            index = Index.parse(source.read())
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                out.write(chunk)
        found[name] = digest_of(target)
    if index is None:
        raise ConfigError(f"{path}: not an evidence file: it is empty")
    for name in sorted(found.keys() | index.files.keys()):
        if found.get(name) != index.files.get(name):
            said, came = index.files.get(name, "no such member"), found.get(name, "none")
            raise IntegrityError(f"{path}: {name}: the index says {said}, the file has {came}")
    return index
