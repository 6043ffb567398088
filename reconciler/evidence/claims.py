"""Whether what was proven says what the policy asks for (pure).

Two sources speak: the signing certificate and the provenance. Each that says something has to agree with the policy and
with the other one, exactly; what neither says is refused wherever the policy depends on it. The checks run in the order
of `state.verdict.Refusal`, so that a later refusal has come further.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.evidence import provenance
from reconciler.evidence.authority import CertificateClaims, Proven
from reconciler.evidence.found import Refused
from reconciler.evidence.provenance import PROVENANCE_TYPES, Said, Source, normalised
from reconciler.ports import Purpose
from state import canonical, statement
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.verdict import Level, Refusal

SIMPLE_SIGNING: Final = "simplesigning"
"""`Proven.payload_type` of a cosign v2 signature."""
_SIMPLE_SIGNING_KIND: Final = "cosign container image signature"
_SIMPLE_SIGNING_MAX_BYTES: Final = 256 * 1024
_NOTHING: Final = Source((), (), (), None, None)


class ClaimsPolicy(NamedTuple):
    """What evidence has to say for one purpose. Every field that is set has to match, exactly."""

    purpose: Purpose
    level: Level
    """PROVENANCE or SIGNATURE."""
    source_repository: str
    """URL of the code repository, such as https://github.com/org/shop."""
    source_repository_id: str | None = None
    """Its numeric id at the forge, which a rename or a new owner of the name does not change."""
    issuer: str | None = None
    """OIDC issuer; required where certificates are used, else None."""
    workflow: str | None = None
    """URL of the workflow file, without `@ref`; required where certificates are used, else None."""
    baseline_refs: tuple[RefName, ...] = (RefName("refs/heads/main"),)
    """Refs that a baseline may be built from; never one under refs/pull."""
    builder: str | None = None
    """`builder.id` of the provenance."""


def check(
    proven: Proven, policy: ClaimsPolicy, repository: Repository, digest: Digest, source_revision: CommitId | None
) -> None:
    """Pass if `proven` lets `digest` of `repository` count. Raises Refused with the first reason against it.

    `source_revision` is the commit that the image has to be built from; required for PULL_REQUEST.
    """
    source = _subject_and_predicate(proven, policy, repository, digest)
    certificate = _signer(proven, policy)
    if certificate is None and source is None:
        _bare_key_signature(policy)
        return
    said = source or _NOTHING
    _source_repository(certificate, said, policy)
    _source_ref(certificate, said, policy)
    _source_revision(certificate, source, policy, source_revision)
    if source is not None and policy.builder is not None:
        _equal(Refusal.WRONG_BUILDER, "builder", policy.builder, source.builder)


# --- what was signed -------------------------------------------------------------------------------------------------


def _subject_and_predicate(
    proven: Proven, policy: ClaimsPolicy, repository: Repository, digest: Digest
) -> Source | None:
    """What the provenance says; None if it is a signature and nothing more."""
    if proven.payload_type == SIMPLE_SIGNING:
        _simple_signing(proven.payload, repository, digest)
        kind = "a cosign v2 signature"
    elif proven.payload_type == statement.PAYLOAD_TYPE:
        try:
            made = statement.parse(proven.payload)
        except InvalidValue as error:
            raise Refused(Refusal.MALFORMED, str(error)) from error
        if digest not in made.subjects:
            shown = ", ".join(made.subjects[:3]) or "nothing with a sha256"
            raise Refused(Refusal.WRONG_SUBJECT, f"statement: expected the subject {digest}, got {shown}")
        if made.predicate_type in PROVENANCE_TYPES:
            return provenance.read(made)
        kind = f"the predicate {made.predicate_type[:200]}"
        if made.predicate_type != statement.COSIGN_SIGNATURE:
            raise _wrong_predicate(policy, kind)
    else:
        shown = proven.payload_type[:120]
        raise Refused(Refusal.UNSUPPORTED, f"payload type: expected {statement.PAYLOAD_TYPE}, got {shown}")
    if policy.level is not Level.SIGNATURE:
        raise _wrong_predicate(policy, kind)
    return None


def _wrong_predicate(policy: ClaimsPolicy, got: str) -> Refused:
    also = f" or {statement.COSIGN_SIGNATURE}" if policy.level is Level.SIGNATURE else ""
    return Refused(Refusal.WRONG_PREDICATE, f"expected {' or '.join(PROVENANCE_TYPES)}{also}, got {got}")


def _simple_signing(payload: bytes, repository: Repository, digest: Digest) -> None:
    """Source: cosign specs/SIGNATURE_SPEC.md and containers/image docs/containers-signature.5.md."""
    try:
        value = canonical.loads_object(payload, what="simple signing payload", max_bytes=_SIMPLE_SIGNING_MAX_BYTES)
        critical = canonical.reading(canonical.reading(value, "simple signing payload").object("critical"), "critical")
        kind = critical.text("type")
        image = canonical.reading(critical.object("image"), "critical.image").text("docker-manifest-digest")
        name = canonical.reading(critical.object("identity"), "critical.identity").text_or_none("docker-reference")
    except InvalidValue as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error
    if image != digest:
        raise Refused(Refusal.WRONG_SUBJECT, f"signature: expected one of {digest}, got one of {image[:80]}")
    if name and name != repository:
        raise Refused(Refusal.WRONG_SUBJECT, f"signature: expected one of {repository}, got one of {name[:255]}")
    if kind != _SIMPLE_SIGNING_KIND:
        raise Refused(
            Refusal.WRONG_PREDICATE, f"signature: expected the type {_SIMPLE_SIGNING_KIND!r}, got {kind[:80]!r}"
        )


# --- who signed ------------------------------------------------------------------------------------------------------


def _signer(proven: Proven, policy: ClaimsPolicy) -> CertificateClaims | None:
    certificate = proven.certificate
    if (certificate is None) == (proven.key is None):
        raise Refused(Refusal.UNTRUSTED, "signer: expected either a certificate or a key")
    if certificate is None:
        return None
    if policy.issuer is None or policy.workflow is None:
        raise Refused(Refusal.UNTRUSTED, "signer: a certificate, and the policy names no issuer and workflow for one")
    issuer = None if certificate.issuer is None else Said("certificate", certificate.issuer)
    _equal(Refusal.WRONG_ISSUER, "issuer", policy.issuer, issuer)
    workflow = Said("certificate", certificate.identity.partition("@")[0])
    _equal(Refusal.WRONG_WORKFLOW, "workflow", policy.workflow, workflow)
    return certificate


def _bare_key_signature(policy: ClaimsPolicy) -> None:
    """A key signed the digest and nothing else: it says who, not from what."""
    if policy.purpose is not Purpose.BASELINE:
        raise Refused(
            Refusal.WRONG_REVISION,
            "a signature by a key does not say which commit the image was built from; attach signed provenance",
        )


# --- what it was built from ------------------------------------------------------------------------------------------


def _source_repository(certificate: CertificateClaims | None, source: Source, policy: ClaimsPolicy) -> None:
    expected = normalised(policy.source_repository)
    said = list(source.declared)
    if certificate is not None and certificate.source_repository is not None:
        said.append(Said("certificate", normalised(certificate.source_repository)))
    if not source.declared:  # nothing tells source from dependency: each of them might be what was built
        said += [Said(f"{m.where}.uri", m.repository) for m in source.materials]
    _all_equal(Refusal.WRONG_REPOSITORY, "source repository", expected, said)
    if policy.source_repository_id is None:
        return
    if certificate is not None:
        number = certificate.source_repository_id
        named = None if number is None else Said("certificate", number)
        _equal(Refusal.WRONG_REPOSITORY, "source repository id", policy.source_repository_id, named)
    if certificate is None or source.repository_id is not None:
        _equal(Refusal.WRONG_REPOSITORY, "source repository id", policy.source_repository_id, source.repository_id)


def _source_ref(certificate: CertificateClaims | None, source: Source, policy: ClaimsPolicy) -> None:
    said = list(source.refs)
    ours = normalised(policy.source_repository)
    said += [Said(f"{m.where}.uri", m.ref) for m in source.materials if m.repository == ours and m.ref is not None]
    if certificate is not None:
        _, at, ref = certificate.identity.partition("@")
        if at:
            said.append(Said("certificate identity", ref))
        if certificate.source_ref is not None:
            said.append(Said("certificate source ref", certificate.source_ref))
    if len({s.value for s in said}) > 1:
        shown = ", ".join(f"{s.where} {s.value[:255]}" for s in said)
        foreign = certificate is not None and not certificate.identity.startswith(f"{ours}/")
        why = "; a workflow of another repository, which has refs of its own, cannot be relied on" if foreign else ""
        raise Refused(Refusal.WRONG_REF, f"source ref: expected the same from all, got {shown}{why}")
    if policy.purpose is not Purpose.BASELINE:
        return
    allowed = [ref for ref in policy.baseline_refs if not ref.startswith("refs/pull/")]
    if not said or said[0].value not in allowed:
        shown = f"{said[0].value[:255]} ({said[0].where})" if said else "none"
        raise Refused(Refusal.WRONG_REF, f"source ref: expected {' or '.join(allowed) or 'none'}, got {shown}")


def _source_revision(
    certificate: CertificateClaims | None, source: Source | None, policy: ClaimsPolicy, expected: CommitId | None
) -> None:
    said = []
    ours = normalised(policy.source_repository)
    if source is not None:
        mine = [m for m in source.materials if m.repository == ours]
        said += [Said(m.where, m.revision) for m in mine if m.revision is not None]
        if policy.purpose is Purpose.PULL_REQUEST and not said:
            raise Refused(Refusal.WRONG_REVISION, f"source revision: expected {expected}, the provenance says none")
    if certificate is not None and certificate.source_revision is not None:
        said.append(Said("certificate", certificate.source_revision))
    if policy.purpose is Purpose.PULL_REQUEST and expected is None:
        raise Refused(Refusal.WRONG_REVISION, "source revision: no head is named that the image has to be built from")
    if expected is not None:
        remedy = (
            "; a workflow on `pull_request` events is run for a merge commit: build the head itself, on `push`"
            if policy.purpose is Purpose.PULL_REQUEST
            else ""
        )
        _all_equal(Refusal.WRONG_REVISION, "source revision", expected, said, remedy)
    elif len({s.value for s in said}) > 1:
        shown = ", ".join(f"{s.where} {s.value[:80]}" for s in said)
        raise Refused(Refusal.WRONG_REVISION, f"source revision: expected the same from all, got {shown}")


# --- comparing -------------------------------------------------------------------------------------------------------


def _equal(refusal: Refusal, what: str, expected: str, got: Said | None) -> None:
    _all_equal(refusal, what, expected, [] if got is None else [got])


def _all_equal(refusal: Refusal, what: str, expected: str, said: list[Said], remedy: str = "") -> None:
    """Pass if at least one source says it and all that do say exactly `expected`."""
    if not said:
        raise Refused(refusal, f"{what}: expected {expected}, and nothing says it")
    for where, value in said:
        if value != expected:
            raise Refused(refusal, f"{what}: expected {expected}, got {value[:500]} ({where}){remedy}")
