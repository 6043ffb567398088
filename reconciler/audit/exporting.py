"""Everything that proves one head, gathered into a folder: from the log, the registry and the policy files.

It is complete or not made: a piece of evidence that is gone, a policy that is not the one an approval names, or a
signature that does not hold ends the export.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.adapters import git_bundle
from reconciler.approval.envelopes import signatures_of
from reconciler.approval.policy import parse_policy
from reconciler.audit import evidence_file as form
from reconciler.audit.evidence_file import Index, Piece, Trusted
from reconciler.declared import MAX_BYTES
from reconciler.evidence.authority import Authority
from reconciler.evidence.finding import find
from reconciler.evidence.found import Found, Layout, Refused
from reconciler.evidence.release_check import Published, Reader, published, signed
from reconciler.strict_yaml import read_regular
from state import log_verify
from state.approval import Approval
from state.approval import parse as parse_marker
from state.canonical import reading
from state.entry import Kind
from state.errors import ConfigError, IntegrityError, Terminal
from state.git import CommitId
from state.log_read import LogReader
from state.oci import Digest, Repository
from state.publishing import Proposal, Step
from state.release_set import layer_of


class Sources(NamedTuple):
    """Where an export gets its facts."""

    log_path: Path
    log: LogReader
    reader: Reader
    release_sets: Repository
    own: Authority
    """Who signs release sets."""
    signer: Trusted
    builder: Trusted | None
    approvers_root: Trusted | None
    trust_files: Mapping[str, bytes]
    """Member name → bytes of the keys and roots that `signer` and `builder` name."""
    approvers: tuple[Path, ...]
    """Files of approvers' policies."""
    allowed_signers: Path | None


def gather(sources: Sources, head: CommitId, folder: Path) -> Index:
    """Put all members into `folder`, and return the index of them.

    Raises IntegrityError where something does not hold, Terminal where there is nothing to prove, ConfigError where a
    policy is missing, Transient or Denied.
    """
    found = published(sources.reader, sources.release_sets, head)
    if found is None:
        raise Terminal(f"{sources.release_sets} has no release set of {head}: the head is not complete")
    made = _Folder(folder)
    tip = _log(sources, made)
    _release(sources, found, made)
    pieces = _evidence(sources, found, made)
    approvals, wanted = _approvals(sources.log, head, made)
    policies = _policies(sources.approvers, wanted, made)
    for name, raw in sources.trust_files.items():
        made.put(name, raw)
    return Index(
        head=head,
        repository_id=found.release.repository_id,
        log_ref=sources.log.branch,
        log_tip=tip,
        release_repository=sources.release_sets,
        release_manifest=found.manifest.digest,
        evidence=pieces,
        approvals=approvals,
        policies=policies,
        approvers_root=sources.approvers_root,
        signer=_with_identity(sources, found),
        builder=sources.builder,
        allowed_signers=form.digest_of(sources.allowed_signers) if sources.allowed_signers is not None else None,
        files=made.files,
    )


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Digest] = {}

    def put(self, name: str, raw: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        self.files[name] = Digest.of(raw)


def _log(sources: Sources, made: _Folder) -> CommitId:
    """The log as a bundle; what is handed on is what was verified."""
    bundle, unpacked, home = made.root / form.LOG, made.root / "log.git", made.root / "home"
    home.mkdir()
    git_bundle.create(sources.log_path, sources.log.branch, bundle, home)
    git_bundle.unpack(bundle, sources.log.branch, unpacked, home)
    report = log_verify.verify(unpacked, sources.log.branch, allowed_signers_file=sources.allowed_signers)
    tip = report.branches[0].last
    if not report.clean or tip is None:
        first = report.problems[0] if report.problems else None
        raise IntegrityError(f"{sources.log_path}: the log does not verify: {first.what if first else 'it is empty'}")
    made.files[form.LOG] = form.digest_of(bundle)
    return tip


def _release(sources: Sources, found: Published, made: _Folder) -> None:
    claim = signed(sources.reader, sources.release_sets, found, sources.own)
    if not claim.holds:
        raise IntegrityError(f"{sources.release_sets}@{found.manifest.digest}: {claim.claim}: {claim.against}")
    raw = sources.reader.blob(sources.release_sets, layer_of(found.manifest), form.MEMBER_MAX_BYTES)
    made.put(form.RELEASE_MANIFEST, found.manifest.raw)
    made.put(form.RELEASE_SET, raw or b"")
    made.put(form.RELEASE_BUNDLE, _own_bundle(sources, found).raw)


def _own_bundle(sources: Sources, found: Published) -> Found:
    statement = found.release.statement(sources.release_sets, found.manifest.digest)
    for one in find(sources.reader, sources.release_sets, found.manifest.digest, cosign_v2=False).found:
        try:
            if one.layout is Layout.BUNDLE and sources.own.prove(one).payload == statement:
                return one
        except Refused:
            continue
    raise IntegrityError(f"{sources.release_sets}@{found.manifest.digest}: its signature went while it was read")


def _with_identity(sources: Sources, found: Published) -> Trusted:
    certificate = sources.own.prove(_own_bundle(sources, found)).certificate
    if certificate is None:
        return sources.signer
    return sources.signer._replace(issuer=certificate.issuer, identity=certificate.identity)


def _evidence(sources: Sources, found: Published, made: _Folder) -> tuple[Piece, ...]:
    pieces = []
    for n, image in enumerate(found.release.images):
        attached = {f.manifest: f for f in find(sources.reader, image.repository, image.digest, cosign_v2=True).found}
        for m, digest in enumerate(image.evidence):
            one, manifest = attached.get(digest), sources.reader.manifest(image.repository, digest)
            if one is None or manifest is None:
                raise IntegrityError(
                    f"{image.repository}@{image.digest}: its evidence {digest} is gone from the registry; "
                    "`ameide release verify` tells what else does not hold"
                )
            file = f"images/{n}/{m}"
            made.put(f"{file}.manifest.json", manifest.raw)
            made.put(f"{file}.evidence", one.raw)
            pieces.append(
                Piece(image.repository, image.digest, digest, one.layout.value, one.media_type, one.annotations, file)
            )
    return tuple(pieces)


def _approvals(log: LogReader, head: CommitId, made: _Folder) -> tuple[tuple[str, ...], tuple[Digest, ...]]:
    """The approvals that intents of this head used up, and the policies that they are under."""
    envelopes: dict[str, bytes] = {}
    used: dict[str, None] = {}
    for logged in log.entries():
        body = reading(logged.entry.body, logged.entry.kind.value)
        if logged.entry.kind is Kind.MARKER:
            envelopes.setdefault(body.text("id"), base64.b64decode(body.text("envelope"), validate=True))
        elif logged.entry.kind is Kind.INTENT and "proposals" in logged.entry.body:
            for proposal in map(Proposal.from_json, body.objects("proposals")):
                if proposal.head == head and proposal.step is Step.OPEN:
                    used.update(dict.fromkeys(proposal.approvals))
    policies: dict[Digest, None] = {}
    for marker in used:
        if marker not in envelopes:
            raise IntegrityError(f"the log does not hold the approval {marker}, which it says was used up for {head}")
        said = signatures_of(envelopes[marker])
        made.put(f"approvals/{marker}.envelope.json", envelopes[marker])
        made.put(f"approvals/{marker}.pae", said.signed)
        for n, signature in enumerate(said.signatures):
            made.put(f"approvals/{marker}.{n}.sig", signature)
        approval = parse_marker(said.payload)
        if isinstance(approval, Approval):
            policies[approval.policy] = None
    return tuple(used), tuple(policies)


def _policies(files: Iterable[Path], wanted: tuple[Digest, ...], made: _Folder) -> tuple[Digest, ...]:
    known = {}
    for path in files:
        raw = read_regular(path, max_bytes=MAX_BYTES)
        known[parse_policy(raw, what=str(path)).digest()] = raw
    for digest in wanted:
        if digest not in known:
            raise ConfigError(
                f"an approval of this head is under the approvers' policy {digest}, and no file given is that one; "
                "name the file as it was then by --approvers"
            )
        made.put(policy_name(digest), known[digest])
    return wanted


def policy_name(digest: Digest) -> str:
    """The member that holds an approvers' policy."""
    return f"policy/approvers-{digest.hex[:12]}.yaml"
