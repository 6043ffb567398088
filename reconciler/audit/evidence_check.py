"""Every claim of an evidence file, checked offline: nothing is asked of a registry, a forge, or the one who made it.

What is enclosed can show that everything fits together. That these are the right keys only the reader can know: each
list of keys that is given from outside takes the place of the enclosed one, and what was taken from the file is told.
"""

from __future__ import annotations

import binascii
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.adapters import git_bundle
from reconciler.approval.approvers import Signed
from reconciler.approval.codes import RefusedMarker
from reconciler.approval.envelopes import inspect, signatures_of, verify
from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import Signers
from reconciler.audit import evidence_file as form
from reconciler.audit.evidence_file import Index, Piece, Trusted
from reconciler.audit.exporting import policy_name
from reconciler.audit.recorded import Recorded, recorded_of
from reconciler.evidence.authority import Authority, Proven
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Found, Layout, Refused
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.release_check import Claim
from state import log_verify, statement
from state.approval import Approval, Revocation
from state.canonical import Json
from state.errors import ConfigError, IntegrityError, InvalidValue
from state.git import CommitId
from state.log_read import LogReader
from state.oci import OCI_MANIFEST, Digest, Manifest
from state.publishing import Proposal
from state.release_set import ReleaseSet, layer_of

_SMALL_MAX_BYTES: Final = form.MEMBER_MAX_BYTES
_NOBODY: Final = Trusted("keys", ())


@dataclass(frozen=True, slots=True)
class Outside:
    """What the reader brings along; None and empty take what is enclosed."""

    allowed_signers: Path | None = None
    anchor: CommitId | None = None
    signer_files: tuple[Path, ...] = ()
    """Keys (PEM), or one trusted root, of who signs release sets."""
    builder_files: tuple[Path, ...] = ()
    approvers: Path | None = None
    approvers_root: Path | None = None
    """A trusted root, for approvers' certificates."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it."""

    index: Index
    claims: tuple[Claim, ...]
    taken: tuple[str, ...]
    """What was believed because the file says so."""

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)

    def to_json(self) -> dict[str, Json]:
        return {
            "claims": [claim.to_json() for claim in self.claims],
            "head": self.index.head,
            "holds": self.holds,
            "log_tip": self.index.log_tip,
            "not_checked_against_outside": list(self.taken),
            "release_set": self.index.release_manifest,
        }


def check(path: Path, folder: Path, outside: Outside) -> Checked:
    """Check the evidence file `path`; `folder` is an empty directory to work in.

    Raises IntegrityError if it is no evidence file, or not whole; ConfigError for a file of `outside`.
    """
    # Apart from each other: a member must never lie where git looks for a configuration.
    members, work = folder / "members", folder / "work"
    members.mkdir()
    work.mkdir()
    index = form.unpack(path, members)
    checker = _Checker(index, members, work, outside)
    try:
        return Checked(index, tuple(checker.claims()), tuple(checker.taken))
    except (InvalidValue, RefusedMarker, binascii.Error) as error:
        raise IntegrityError(f"{path}: {error}") from error


class _Checker:
    def __init__(self, index: Index, folder: Path, work: Path, outside: Outside) -> None:
        self._index = index
        self._folder = folder
        self._work = work
        self._outside = outside
        self.taken: list[str] = []

    def claims(self) -> Iterator[Claim]:
        """Each claim, in order."""
        log, claim = self._log()
        yield claim
        if log is None:
            return
        recorded = recorded_of(log, self._index.head)
        release = ReleaseSet.parse(self._read(form.RELEASE_SET))
        yield from self._release(release, recorded)
        yield from self._images(release, recorded)
        yield from self._approvals(recorded)

    # --- the log

    def _log(self) -> tuple[LogReader | None, Claim]:
        index, outside = self._index, self._outside
        claim = f"the log verifies to its tip {index.log_tip}"
        repository, home = self._work / "log.git", self._work / "home"
        home.mkdir()
        try:
            git_bundle.unpack(self._folder / form.LOG, index.log_ref, repository, home)
        except IntegrityError as error:
            return None, Claim(claim, str(error))
        report = log_verify.verify(
            repository, index.log_ref, allowed_signers_file=outside.allowed_signers, anchor=outside.anchor
        )
        if outside.allowed_signers is None:
            self.taken.append("the keys that sign the log (--allowed-signers)")
        if outside.anchor is None:
            self.taken.append("the end of the log (--anchor)")
        if not report.clean:
            first = report.problems[0]
            return None, Claim(claim, f"{first.what}; and {len(report.problems) - 1} more problems")
        if report.branches[0].last != index.log_tip:
            return None, Claim(claim, f"the bundle ends with {report.branches[0].last}")
        return LogReader(repository, index.log_ref), Claim(claim)

    # --- the release set

    def _release(self, release: ReleaseSet, recorded: Recorded) -> Iterator[Claim]:
        index = self._index
        manifest = Manifest.of(OCI_MANIFEST, self._read(form.RELEASE_MANIFEST))
        raw = release.to_bytes()
        against = ""
        if manifest.digest != index.release_manifest or layer_of(manifest) != Digest.of(raw):
            against = "manifest, layer and index do not name each other"
        elif (release.head, release.repository_id) != (index.head, index.repository_id):
            against = f"it is of the head {release.head} of the repository {release.repository_id}"
        yield Claim(f"the release set {index.release_manifest} is whole, and of the head {index.head}", against)
        yield self._signed(release, manifest)
        said = recorded.released
        against = "" if said == manifest.digest else f"the log has {said or 'none'}"
        yield Claim("the log records this release set as published", against)
        unknown = [entry for entry in release.decision if entry not in recorded.entries]
        yield Claim("the log holds the decisions that the release set names", f"not {unknown[0]}" if unknown else "")

    def _signed(self, release: ReleaseSet, manifest: Manifest) -> Claim:
        claim = "the release set is signed"
        own = self._authority(self._index.signer, self._outside.signer_files, "who signs release sets (--signer)")
        found = Found(Layout.BUNDLE, manifest.digest, BUNDLE_MEDIA_TYPE, self._read(form.RELEASE_BUNDLE), {})
        try:
            proven = own.prove(found)
        except Refused as refused:
            return Claim(claim, refused.text)
        if against := other_identity(proven, self._index.signer):
            return Claim(claim, against)
        expected = release.statement(self._index.release_repository, manifest.digest)
        same = hmac.compare_digest(proven.payload, expected)
        return Claim(f"{claim} by {_who(proven)}", "" if same else "the signature is about another content")

    # --- images and their evidence

    def _images(self, release: ReleaseSet, recorded: Recorded) -> Iterator[Claim]:
        enclosed = {(p.repository, p.manifest): p for p in self._index.evidence}
        builder, brought = None, self._outside.builder_files
        if enclosed and (self._index.builder is not None or brought):
            builder = self._authority(self._index.builder or _NOBODY, brought, "who builds images (--builder)")
        elif enclosed:
            self.taken.append("that images need no proof (--builder)")
        for image in release.images:
            said = recorded.tags.get(image.repository)
            against = "" if said == image.digest else f"the log has {said or 'nothing'}"
            yield Claim(f"the log records {image.repository}:{release.head} as {image.digest}", against)
            if not image.evidence:
                yield Claim(f"{image.repository}@{image.digest.short}: evidence is named", "the release set names none")
            for digest in image.evidence:
                claim = f"{image.repository}@{image.digest.short}: evidence {digest.short}"
                piece = enclosed.get((image.repository, digest))
                if piece is None:
                    yield Claim(f"{claim} is enclosed", "it is not")
                else:
                    yield self._piece(claim, piece, image.digest, builder)

    def _piece(self, claim: str, piece: Piece, subject: Digest, builder: Authority | None) -> Claim:
        manifest, raw = self._read(f"{piece.file}.manifest.json"), self._read(f"{piece.file}.evidence")
        if Digest.of(manifest) != piece.manifest:
            return Claim(f"{claim} is whole", f"the enclosed manifest is {Digest.of(manifest)}")
        if Digest.of(raw) not in _layers(manifest):
            return Claim(f"{claim} is whole", "its manifest does not hold the enclosed bytes")
        if builder is None:
            return Claim(f"{claim} is whole, and the policy asked for no proof")
        found = Found(Layout(piece.layout), piece.manifest, piece.media_type, raw, piece.annotations)
        try:
            proven = builder.prove(found)
            about = _about(proven)
        except (Refused, InvalidValue) as error:
            return Claim(f"{claim} is signed", error.text if isinstance(error, Refused) else str(error))
        if against := other_identity(proven, self._index.builder or _NOBODY):
            return Claim(f"{claim} is signed", against)
        against = "" if subject in about else f"it is about {', '.join(about) or 'nothing'}"
        return Claim(f"{claim} is signed by {_who(proven)} and about this image", against)

    # --- approvals

    def _approvals(self, recorded: Recorded) -> Iterator[Claim]:
        index = self._index
        same = recorded.used == index.approvals
        told = ", ".join(recorded.used) or "none"
        yield Claim(f"the approvals that were used up are enclosed: {told}", "" if same else "the index names others")
        signers = self._signers()
        for marker in index.approvals:
            yield self._approval(marker, recorded, signers)
        for proposal in recorded.proposed if same else ():
            yield _enough(proposal, recorded, signers)

    def _signers(self) -> dict[Digest, Signers]:
        found = {}
        outside = self._outside.approvers
        if self._index.policies and outside is None:
            self.taken.append("the approvers' policy (--approvers)")
        certificates, root = None, self._index.approvers_root
        if root is not None:
            files = (self._outside.approvers_root,) if self._outside.approvers_root is not None else ()
            certificates = self._authority(root, files, "what vouches for approvers' certificates (--approvers-root)")
        raws = {str(outside): _bytes(outside)} if outside is not None else {}
        for digest in self._index.policies if outside is None else ():
            raws[policy_name(digest)] = self._read(policy_name(digest))
        for name, raw in raws.items():
            policy = parse_policy(raw, what=name)
            found[policy.digest()] = Signers(policy, certificates)
        return found

    def _approval(self, marker: str, recorded: Recorded, signers: Mapping[Digest, Signers]) -> Claim:
        claim = f"approval {marker}"
        raw = self._read(f"approvals/{marker}.envelope.json")
        if recorded.envelopes.get(marker) != raw:
            return Claim(f"{claim} is the one in the log", "the enclosed envelope is another")
        apart = signatures_of(raw)
        files = [self._read(f"approvals/{marker}.{n}.sig") for n in range(len(apart.signatures))]
        if self._read(f"approvals/{marker}.pae") != apart.signed or tuple(files) != apart.signatures:
            return Claim(f"{claim} is enclosed for ssh-keygen", "the enclosed parts are not the envelope's")
        try:
            signed = _approved(raw, signers)
        except RefusedMarker as refused:
            return Claim(f"{claim} is signed", refused.text)
        if signed is None:
            return Claim(f"{claim} is under a known policy", "no approvers' policy given is the one that it names")
        said = signed.marker
        if not isinstance(said, Approval) or said.head != self._index.head:
            return Claim(f"{claim} is for this head", "it is for another")
        against = "" if said.release_set == self._index.release_manifest else f"it is for {said.release_set}"
        by = ", ".join(signed.principals)
        return Claim(f"{claim} is signed by {by} for this release set and {said.target}", against)

    # --- inside

    def _authority(self, trusted: Trusted, outside: tuple[Path, ...], what: str) -> Authority:
        if not outside:
            self.taken.append(what)
        raws = [_bytes(path) for path in outside] or [self._read(name) for name in trusted.files]
        files = outside or tuple(self._folder / name for name in trusted.files)
        if all(raw.lstrip().startswith(b"-----BEGIN") for raw in raws):
            return KeyAuthority.from_files(files)
        if trusted.identity is not None:
            self.taken.append(f"that {what.partition(' (')[0]} is {trusted.identity} by {trusted.issuer}")
        if len(files) != 1:
            raise ConfigError(f"{files[0]}: expected PEM keys, or exactly one trusted root")
        from reconciler.evidence.trusted_root import RootAuthority  # noqa: PLC0415  (0.3 s, for this kind only)

        return RootAuthority.from_bytes(raws[0], str(files[0]), transparency_log=trusted.transparency_log)

    def _read(self, name: str) -> bytes:
        if name not in self._index.files:
            raise InvalidValue(f"the member {name} is missing")
        return _bytes(self._folder / name)


def _approved(raw: bytes, signers: Mapping[Digest, Signers]) -> Signed | None:
    """The marker and who signed it, by the policy that it names; None without that. Raises RefusedMarker."""
    said = inspect(raw)
    known = None if isinstance(said, Revocation) else signers.get(said.policy)
    return verify(raw, known) if known is not None else None


def _enough(proposal: Proposal, recorded: Recorded, signers: Mapping[Digest, Signers]) -> Claim:
    """Whether the approvals of one GitOps pull request are of as many approvers as their policy asks for."""
    claim = f"the plan {proposal.plan.short} for {proposal.target} was approved by as many as the policy asks for"
    people: set[str] = set()
    rule = None
    for marker in proposal.approvals:
        try:
            signed = _approved(recorded.envelopes.get(marker, b""), signers)
        except RefusedMarker as refused:
            return Claim(claim, f"approval {marker}: {refused.text}")
        said = signed.marker if signed is not None else None
        if (
            signed is None
            or not isinstance(said, Approval)
            or (said.plan, said.target) != (proposal.plan, proposal.target)
        ):
            return Claim(claim, f"approval {marker} is not for it")
        people.update(signed.principals)
        rule = signers[said.policy].policy.targets.get(said.target)
    wrong = people - (rule.approvers if rule is not None else frozenset())
    if wrong:
        return Claim(claim, f"{', '.join(sorted(wrong))} may not approve for {proposal.target}")
    needed = rule.threshold if rule is not None else 1
    return Claim(claim, "" if len(people) >= needed else f"{needed} are needed, and there are {len(people)}")


def _layers(manifest: bytes) -> set[str]:
    try:
        return {str(layer["digest"]) for layer in json.loads(manifest)["layers"]}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise InvalidValue(f"a manifest of evidence cannot be read: {type(error).__name__}") from error


def _about(proven: Proven) -> tuple[Digest, ...]:
    if proven.payload_type == statement.PAYLOAD_TYPE:
        return statement.parse(proven.payload).subjects
    value = statement.parse_object(proven.payload, "simple signing", form.MEMBER_MAX_BYTES)
    critical = value.get("critical")
    image = critical.get("image") if isinstance(critical, dict) else None
    digest = image.get("docker-manifest-digest") if isinstance(image, dict) else None
    return (Digest(str(digest)),)


def _who(proven: Proven) -> str:
    if proven.certificate is not None:
        return f"{proven.certificate.identity} ({proven.certificate.issuer})"
    return f"the key {proven.key}"


def other_identity(proven: Proven, trusted: Trusted) -> str:
    """What speaks against the holder of a certificate; empty for keys, which count by themselves."""
    if proven.certificate is None:
        return ""
    if trusted.identity is None:
        return f"the file names no identity, so that anybody's certificate would do; got {_who(proven)}"
    found, expected = proven.certificate.identity, trusted.identity
    if proven.certificate.issuer == trusted.issuer and (found == expected or found.startswith(f"{expected}@")):
        return ""
    return f"expected {expected} by {trusted.issuer}, got {_who(proven)}"


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(_SMALL_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _SMALL_MAX_BYTES:
        raise ConfigError(f"{path}: expected at most {_SMALL_MAX_BYTES} bytes")
    return raw
