"""Targets: evidence as a registry or CI hands it over, and approvals as anybody sends them."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.approval import envelopes
from reconciler.approval.codes import RefusedMarker
from reconciler.approval.policy import parse_policy
from reconciler.approval.served import ServedPlan
from reconciler.approval.signatures import Signers
from reconciler.evidence import bundles, claims, provenance, sbom
from reconciler.evidence.authority import Proven
from reconciler.evidence.certificates import claims_of
from reconciler.evidence.claims import SIMPLE_SIGNING, ClaimsPolicy
from reconciler.evidence.found import Refused
from reconciler.evidence.trust import Trust
from reconciler.evidence.trusted_root import _certificate
from reconciler.oidc import tokens
from reconciler.oidc.keys import parse_keys
from reconciler.ports import Purpose
from state import approval, canonical, statement
from state.errors import ConfigError, InvalidValue
from state.git import CommitId
from state.oci import Digest, Repository
from state.verdict import Level
from tests.fixtures import approvals
from tests.fuzz.target import Target, each, text

_IMAGE: Final = Repository("registry.test/org/api")
_DIGEST: Final = Digest("sha256:" + "a" * 64)
_HEAD: Final = CommitId("1" * 40)
_SOURCE: Final = "https://github.com/org/shop"
_LEVELS: Final = (Level.PROVENANCE, Level.SIGNATURE)
_POLICIES: Final = tuple(ClaimsPolicy(purpose, level, _SOURCE) for purpose in Purpose for level in _LEVELS)
_SIGNERS: Final = Signers(approvals.POLICY)
_CARRIER: Final = tokens.Carrier("https://issuer.test", "ameide", {"repository_id": "7"})
_ISSUER_KEY: Final = ec.derive_private_key(7, ec.SECP256R1())
"""Always the same, so that the kept tokens stay signed."""
_IN_TOTO: Final = statement.PAYLOAD_TYPE


def bundle(raw: bytes) -> None:
    read = bundles.parse_bundle(raw)
    assert bundles.parse_envelope(canonical.dumps(read.envelope.to_json())).payload == read.envelope.payload


def envelope(raw: bytes) -> None:
    bundles.parse_envelope(raw)


def in_toto(raw: bytes) -> None:
    provenance.read(statement.parse(raw))


def claimed(raw: bytes) -> None:
    """As by a key, whose signature was good: the claims are a stranger's all the same."""
    for kind, judged in product((_IN_TOTO, SIMPLE_SIGNING), _POLICIES):
        with suppress(Refused):
            claims.check(Proven(kind, raw, None, _DIGEST), judged, _IMAGE, _DIGEST, _HEAD)


def document(raw: bytes) -> None:
    value = statement.parse_object(raw, "SBOM", 1 << 20)
    each(*(lambda k=k: sbom.check(k, value) for k in (statement.SPDX, statement.CYCLONEDX)), allowed=(InvalidValue,))


def certificate(raw: bytes) -> None:
    claims_of(_certificate(raw))


def trusted_root(raw: bytes) -> None:
    Trust.parse(raw, "trusted root")


def marker(raw: bytes) -> None:
    each(
        lambda: envelopes.verify(raw, _SIGNERS),
        lambda: envelopes.inspect(raw),
        allowed=(RefusedMarker,),
    )


def marker_payload(raw: bytes) -> None:
    assert approval.payload(approval.parse(raw)) == raw


def policy(raw: bytes) -> None:
    parse_policy(raw).digest()


def served_plan(raw: bytes) -> None:
    ServedPlan.from_json(canonical.loads_object(raw, what="served plan", max_bytes=1 << 20))


class _AnyKey:
    """Every key id has a key, so that what is behind the look-up is reached."""

    def key(self, key_id: str) -> object:
        return _ISSUER_KEY.public_key() if key_id else None


def carrier_token(raw: bytes) -> None:
    tokens.check(text(raw), _CARRIER, _AnyKey(), 1_800_000_000)


def key_set(raw: bytes) -> None:
    parse_keys(raw, "keys")


TARGETS: Final = (
    Target("sigstore-bundle", bundle, (Refused,)),
    Target("dsse-envelope", envelope, (Refused,)),
    Target("in-toto-statement", in_toto, (InvalidValue, Refused)),
    Target("claims", claimed, ()),
    Target("sbom", document, (InvalidValue,)),
    Target("certificate", certificate, (Refused,)),
    Target("trusted-root", trusted_root, (ConfigError,)),
    Target("marker", marker, (), max_len=8192),
    Target("marker-payload", marker_payload, (InvalidValue,)),
    Target("approvers-policy", policy, (ConfigError,)),
    Target("served-plan", served_plan, (InvalidValue,)),
    Target("carrier-token", carrier_token, (RefusedMarker,)),
    Target("key-set", key_set, (InvalidValue,)),
)
