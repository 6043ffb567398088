"""`claims.check`: what proven statements have to say. One row for each thing that speaks against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from reconciler.evidence import claims
from reconciler.evidence.authority import CertificateClaims, Proven
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.found import Refused
from reconciler.ports import Purpose
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.verdict import Level, Refusal
from tests.fixtures.evidence import (
    BUILDER,
    HEAD,
    IN_TOTO,
    SIGN_V1,
    SLSA_V02,
    SOURCE,
    provenance_v02,
    provenance_v1,
    simple_signing,
    statement,
)

IMAGE: Final = Repository("registry.test/org/api")
DIGEST: Final = Digest.of(b"image")
OTHER: Final = Digest.of(b"another image")
OTHER_COMMIT: Final = "2" * 40
ISSUER: Final = "https://token.actions.githubusercontent.com"
WORKFLOW: Final = f"{SOURCE}/.github/workflows/publish.yml"
FORK: Final = "https://github.com/mallory/shop"
KEY: Final = Digest.of(b"key")
PULL: Final = "refs/pull/7/merge"

BASELINE: Final = ClaimsPolicy(Purpose.BASELINE, Level.PROVENANCE, SOURCE)
BUILD: Final = BASELINE._replace(purpose=Purpose.PULL_REQUEST)
BY_CERTIFICATE: Final = BASELINE._replace(issuer=ISSUER, workflow=WORKFLOW, source_repository_id="77")
BUILD_BY_CERTIFICATE: Final = BY_CERTIFICATE._replace(purpose=Purpose.PULL_REQUEST)
CERTIFICATE: Final = CertificateClaims(
    ISSUER,
    f"{WORKFLOW}@refs/heads/main",
    source_repository=SOURCE,
    source_repository_id="77",
    source_ref="refs/heads/main",
    source_revision=HEAD,
)


def by_key(payload: bytes, payload_type: str = IN_TOTO) -> Proven:
    return Proven(payload_type, payload, None, KEY)


def by_certificate(payload: bytes | None = None, payload_type: str = IN_TOTO, **claimed: Any) -> Proven:
    return Proven(payload_type, payload or statement(DIGEST), CERTIFICATE._replace(**claimed), None)


def judge(proven: Proven, policy: ClaimsPolicy) -> None:
    head = CommitId(HEAD) if policy.purpose is Purpose.PULL_REQUEST else None
    claims.check(proven, policy, IMAGE, DIGEST, head)


def with_dependencies(*rows: tuple[str, str], declared: bool = True) -> dict[str, Any]:
    """Provenance v1 whose dependencies are `rows` of URI and commit."""
    made = provenance_v1()
    definition = made["buildDefinition"]
    definition["resolvedDependencies"] = [{"uri": uri, "digest": {"gitCommit": commit}} for uri, commit in rows]
    if not declared:
        del definition["externalParameters"]
    return made


OURS: Final = f"git+{SOURCE}@refs/heads/main"
PULLED: Final = CERTIFICATE._replace(identity=f"{WORKFLOW}@{PULL}", source_ref=PULL)
SIGNATURE_BASELINE: Final = BASELINE._replace(level=Level.SIGNATURE)
SIGNATURE_BY_CERTIFICATE: Final = BY_CERTIFICATE._replace(level=Level.SIGNATURE)
SIGNATURE_BUILD: Final = BUILD_BY_CERTIFICATE._replace(level=Level.SIGNATURE)

ACCEPTED: Final[dict[str, tuple[Callable[[], Proven], ClaimsPolicy]]] = {
    "provenance v1 by a key": (lambda: by_key(statement(DIGEST)), BASELINE),
    "provenance v0.2 by a key": (lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02())), BASELINE),
    "statement v0.1": (lambda: by_key(statement(DIGEST, _type="https://in-toto.io/Statement/v0.1")), BASELINE),
    "the digest among other subjects": (
        lambda: by_key(statement(DIGEST, subject=[{"digest": {"sha256": d.hex}} for d in (OTHER, DIGEST)])),
        BASELINE,
    ),
    "a build of the head by a key": (lambda: by_key(statement(DIGEST)), BUILD),
    "a build of the head from v0.2": (lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02())), BUILD),
    "a build of the head on a pull request's ref": (
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(ref=PULL))),
        BUILD,
    ),
    "provenance by a certificate": (by_certificate, BY_CERTIFICATE),
    "a build of the head by a certificate": (by_certificate, BUILD_BY_CERTIFICATE),
    "a certificate of an issuer that knows of no source": (
        lambda: by_certificate(
            identity=WORKFLOW, source_repository=None, source_repository_id=None, source_ref=None, source_revision=None
        ),
        BUILD_BY_CERTIFICATE._replace(source_repository_id=None),
    ),
    "the source's name with .git and a slash": (
        lambda: by_certificate(source_repository=f"{SOURCE}.git/"),
        BY_CERTIFICATE._replace(source_repository=f"{SOURCE}/"),
    ),
    "one of two refs": (
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(ref="refs/heads/release"))),
        BASELINE._replace(baseline_refs=(RefName("refs/heads/main"), RefName("refs/heads/release"))),
    ),
    "the builder": (lambda: by_key(statement(DIGEST)), BASELINE._replace(builder=BUILDER)),
    "the source's number by a key": (
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(repository_id="77"))),
        BASELINE._replace(source_repository_id="77"),
    ),
    "another repository as a dependency only": (
        lambda: by_key(statement(DIGEST, predicate=with_dependencies((OURS, HEAD), (f"git+{FORK}", OTHER_COMMIT)))),
        BUILD,
    ),
    "a repository that only a dependency names": (
        lambda: by_key(statement(DIGEST, predicate=with_dependencies((OURS, HEAD), declared=False))),
        BUILD,
    ),
    "a cosign signature where that is enough": (
        lambda: by_key(statement(DIGEST, SIGN_V1, {})),
        SIGNATURE_BASELINE,
    ),
    "a cosign v2 signature where that is enough": (
        lambda: by_key(simple_signing(DIGEST, IMAGE), claims.SIMPLE_SIGNING),
        SIGNATURE_BASELINE,
    ),
    "a cosign v2 signature without a name": (
        lambda: by_key(simple_signing(DIGEST), claims.SIMPLE_SIGNING),
        SIGNATURE_BASELINE,
    ),
    "a certificate's signature of a head": (lambda: by_certificate(statement(DIGEST, SIGN_V1, {})), SIGNATURE_BUILD),
    "provenance where a signature is enough": (by_certificate, SIGNATURE_BY_CERTIFICATE),
}

REFUSED: Final[dict[str, tuple[Refusal, Callable[[], Proven], ClaimsPolicy]]] = {
    # what was signed
    "a payload that is no JSON": (Refusal.MALFORMED, lambda: by_key(b"{"), BASELINE),
    "a key that appears twice": (
        Refusal.MALFORMED,
        lambda: by_key(statement(DIGEST)[:-1] + b',"predicateType":"x"}'),
        BASELINE,
    ),
    "a predicate whose members have other types": (
        Refusal.MALFORMED,
        lambda: by_key(statement(DIGEST, predicate={"buildDefinition": {"resolvedDependencies": "git"}})),
        BASELINE,
    ),
    "two commits for one dependency": (
        Refusal.MALFORMED,
        lambda: by_key(
            statement(
                DIGEST,
                predicate={
                    "buildDefinition": {
                        "resolvedDependencies": [{"uri": OURS, "digest": {"gitCommit": HEAD, "sha1": OTHER_COMMIT}}]
                    }
                },
            )
        ),
        BASELINE,
    ),
    "a payload of another type": (Refusal.UNSUPPORTED, lambda: by_key(statement(DIGEST), "text/plain"), BASELINE),
    "a statement about another digest": (Refusal.WRONG_SUBJECT, lambda: by_key(statement(OTHER)), BASELINE),
    "a subject with another kind of digest": (
        Refusal.WRONG_SUBJECT,
        lambda: by_key(statement(DIGEST, subject=[{"digest": {"sha512": DIGEST.hex}}])),
        BASELINE,
    ),
    "a cosign v2 signature of another digest": (
        Refusal.WRONG_SUBJECT,
        lambda: by_key(simple_signing(OTHER), claims.SIMPLE_SIGNING),
        SIGNATURE_BASELINE,
    ),
    "a cosign v2 signature for another image": (
        Refusal.WRONG_SUBJECT,
        lambda: by_key(simple_signing(DIGEST, "registry.test/org/ap"), claims.SIMPLE_SIGNING),
        SIGNATURE_BASELINE,
    ),
    "a simple signature of another kind": (
        Refusal.WRONG_PREDICATE,
        lambda: by_key(simple_signing(DIGEST, kind="atomic container signature"), claims.SIMPLE_SIGNING),
        SIGNATURE_BASELINE,
    ),
    "a cosign signature where provenance is asked for": (
        Refusal.WRONG_PREDICATE,
        lambda: by_certificate(statement(DIGEST, SIGN_V1, {})),
        BY_CERTIFICATE,
    ),
    "a cosign v2 signature where provenance is asked for": (
        Refusal.WRONG_PREDICATE,
        lambda: by_key(simple_signing(DIGEST), claims.SIMPLE_SIGNING),
        BASELINE,
    ),
    "a verification summary": (
        Refusal.WRONG_PREDICATE,
        lambda: by_key(statement(DIGEST, "https://slsa.dev/verification_summary/v1", {})),
        SIGNATURE_BASELINE,
    ),
    "a predicate type that only begins alike": (
        Refusal.WRONG_PREDICATE,
        lambda: by_key(statement(DIGEST, "https://slsa.dev/provenance/v1.1")),
        SIGNATURE_BASELINE,
    ),
    # who signed
    "neither key nor certificate": (
        Refusal.UNTRUSTED,
        lambda: Proven(IN_TOTO, statement(DIGEST), None, None),
        BASELINE,
    ),
    "a certificate where the policy names none": (Refusal.UNTRUSTED, by_certificate, BASELINE),
    "a certificate where the policy names no workflow": (
        Refusal.UNTRUSTED,
        by_certificate,
        BY_CERTIFICATE._replace(workflow=None),
    ),
    "another issuer": (Refusal.WRONG_ISSUER, lambda: by_certificate(issuer=f"{ISSUER}/"), BY_CERTIFICATE),
    "no issuer": (Refusal.WRONG_ISSUER, lambda: by_certificate(issuer=None), BY_CERTIFICATE),
    "another workflow": (
        Refusal.WRONG_WORKFLOW,
        lambda: by_certificate(identity=f"{SOURCE}/.github/workflows/test.yml@refs/heads/main"),
        BY_CERTIFICATE,
    ),
    "a workflow that begins alike": (
        Refusal.WRONG_WORKFLOW,
        lambda: by_certificate(identity=f"{WORKFLOW}.bak@refs/heads/main"),
        BY_CERTIFICATE,
    ),
    "a workflow in other letters": (
        Refusal.WRONG_WORKFLOW,
        lambda: by_certificate(identity=f"{WORKFLOW.replace('org', 'Org')}@refs/heads/main"),
        BY_CERTIFICATE,
    ),
    "a person": (Refusal.WRONG_WORKFLOW, lambda: by_certificate(identity="ann@org.test"), BY_CERTIFICATE),
    # what it was built from
    "a certificate of another repository": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(source_repository=FORK),
        BY_CERTIFICATE,
    ),
    "a certificate of another number": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(source_repository_id="78"),
        BY_CERTIFICATE,
    ),
    "a certificate without the number": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(
            statement(DIGEST, predicate=provenance_v1(repository_id="77")), source_repository_id=None
        ),
        BY_CERTIFICATE,
    ),
    "a certificate and provenance of two numbers": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(statement(DIGEST, predicate=provenance_v1(repository_id="78"))),
        BY_CERTIFICATE,
    ),
    "a certificate's signature without a repository": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(statement(DIGEST, SIGN_V1, {}), source_repository=None),
        SIGNATURE_BY_CERTIFICATE,
    ),
    "provenance of another repository": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(source=FORK))),
        BASELINE,
    ),
    "provenance of another repository under our certificate": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_certificate(statement(DIGEST, predicate=provenance_v1(source=FORK))),
        BY_CERTIFICATE,
    ),
    "provenance v0.2 of another repository": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02(source=FORK))),
        BASELINE,
    ),
    "provenance of another repository that depends on ours": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_key(
            statement(
                DIGEST,
                predicate=with_dependencies((OURS, HEAD), (f"git+{FORK}@refs/heads/main", HEAD), declared=False),
            )
        ),
        BUILD,
    ),
    "provenance without a repository": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_key(statement(DIGEST, predicate={})),
        BASELINE,
    ),
    "provenance by a key without the number": (
        Refusal.WRONG_REPOSITORY,
        lambda: by_key(statement(DIGEST)),
        BASELINE._replace(source_repository_id="77"),
    ),
    "a baseline from another branch": (
        Refusal.WRONG_REF,
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(ref="refs/heads/main2"))),
        BASELINE,
    ),
    "a baseline from a tag of the branch's name": (
        Refusal.WRONG_REF,
        lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02(ref="refs/tags/main"))),
        BASELINE,
    ),
    "a baseline without a ref": (
        Refusal.WRONG_REF,
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(ref=None))),
        BASELINE,
    ),
    "a baseline from a pull request, even if the policy says so": (
        Refusal.WRONG_REF,
        lambda: by_certificate(
            statement(DIGEST, predicate=provenance_v1(ref=PULL)), identity=PULLED.identity, source_ref=PULL
        ),
        BY_CERTIFICATE._replace(baseline_refs=(RefName(PULL),)),
    ),
    "an identity from another ref than its certificate": (
        Refusal.WRONG_REF,
        lambda: by_certificate(identity=f"{WORKFLOW}@{PULL}"),
        BY_CERTIFICATE,
    ),
    "a certificate from another ref than its identity": (
        Refusal.WRONG_REF,
        lambda: by_certificate(source_ref=PULL),
        BUILD_BY_CERTIFICATE,
    ),
    "a certificate from another ref than the provenance": (
        Refusal.WRONG_REF,
        lambda: by_certificate(statement(DIGEST, predicate=provenance_v1(ref="refs/heads/next"))),
        BY_CERTIFICATE,
    ),
    "a build of another commit by a key": (
        Refusal.WRONG_REVISION,
        lambda: by_key(statement(DIGEST, predicate=provenance_v1(revision=OTHER_COMMIT))),
        BUILD,
    ),
    "a build of another commit from v0.2": (
        Refusal.WRONG_REVISION,
        lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02(revision=OTHER_COMMIT))),
        BUILD,
    ),
    "a build by a certificate of the merge commit": (
        Refusal.WRONG_REVISION,
        lambda: by_certificate(source_revision=OTHER_COMMIT),
        BUILD_BY_CERTIFICATE,
    ),
    "provenance of another commit under the head's certificate": (
        Refusal.WRONG_REVISION,
        lambda: by_certificate(statement(DIGEST, predicate=provenance_v1(revision=OTHER_COMMIT))),
        BUILD_BY_CERTIFICATE,
    ),
    "provenance without a commit under the head's certificate": (
        Refusal.WRONG_REVISION,
        lambda: by_certificate(statement(DIGEST, predicate=provenance_v1(revision=None))),
        BUILD_BY_CERTIFICATE,
    ),
    "a baseline whose certificate and provenance name two commits": (
        Refusal.WRONG_REVISION,
        lambda: by_certificate(source_revision=OTHER_COMMIT),
        BY_CERTIFICATE,
    ),
    "the head's commit of another repository only": (
        Refusal.WRONG_REVISION,
        lambda: by_key(statement(DIGEST, predicate=with_dependencies((f"git+{FORK}", HEAD)))),
        BUILD,
    ),
    "a certificate's signature of another head": (
        Refusal.WRONG_REVISION,
        lambda: by_certificate(statement(DIGEST, SIGN_V1, {}), source_revision=OTHER_COMMIT),
        SIGNATURE_BUILD,
    ),
    "a key's signature of a head": (
        Refusal.WRONG_REVISION,
        lambda: by_key(statement(DIGEST, SIGN_V1, {})),
        BUILD._replace(level=Level.SIGNATURE),
    ),
    "another builder": (
        Refusal.WRONG_BUILDER,
        lambda: by_key(statement(DIGEST, SLSA_V02, provenance_v02(builder=f"{BUILDER}2"))),
        BASELINE._replace(builder=BUILDER),
    ),
    "no builder": (
        Refusal.WRONG_BUILDER,
        lambda: by_key(statement(DIGEST, predicate={**provenance_v1(), "runDetails": {}})),
        BASELINE._replace(builder=BUILDER),
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_evidence_that_says_all_of_it_counts(name: str) -> None:
    made, policy = ACCEPTED[name]
    judge(made(), policy)


@pytest.mark.parametrize("name", REFUSED)
def test_evidence_that_says_something_else_is_refused_for_that(name: str) -> None:
    refusal, made, policy = REFUSED[name]
    with pytest.raises(Refused) as caught:
        judge(made(), policy)
    assert caught.value.refusal is refusal, caught.value.text


def test_a_merge_commit_is_told_as_what_it_is() -> None:
    with pytest.raises(Refused, match=rf"expected {HEAD}, got {OTHER_COMMIT}.*merge commit.*on `push`"):
        judge(by_certificate(source_revision=OTHER_COMMIT), BUILD_BY_CERTIFICATE)


def test_a_reusable_workflow_of_another_repository_is_told_as_what_it_is() -> None:
    workflow = "https://github.com/builders/shared/.github/workflows/build.yml"
    proven = by_certificate(identity=f"{workflow}@refs/tags/v1")
    with pytest.raises(Refused, match=r"refs/tags/v1.*workflow of another repository") as caught:
        judge(proven, BY_CERTIFICATE._replace(workflow=workflow))
    assert caught.value.refusal is Refusal.WRONG_REF
    with pytest.raises(Refused) as caught:
        judge(by_certificate(source_ref=PULL), BY_CERTIFICATE)
    assert "another repository" not in caught.value.text


def test_a_pull_request_without_a_head_proves_nothing() -> None:
    with pytest.raises(Refused, match="no head is named"):
        claims.check(by_key(statement(DIGEST)), BUILD, IMAGE, DIGEST, None)
