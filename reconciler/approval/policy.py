"""The approvers' policy file → `ApproversPolicy`, every problem at once with its path and line.

version: 1
principals:
  alice:
    forge_id: 1001
    ssh_keys: ["ssh-ed25519 AAAA…"]
  gate:
    forge_id: null
    identities:
      - issuer: https://token.actions.githubusercontent.com
        subject: https://github.com/acme/ci/.github/workflows/approve.yml@refs/heads/main
        environment: publish-approval
targets:
  dev: {approvers: [alice], threshold: 1, max_life_s: 86400, revokers: []}
admission: {approvers: [alice], threshold: 1, max_life_s: 86400, revokers: []}
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Annotated, Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from pydantic import AfterValidator, Field

from reconciler.approval.approvers import ApproversPolicy, Identity, Principal, Rule, VerifyingKey
from reconciler.declared import Declared, Reading
from reconciler.strict_yaml import Location
from state.approval import principal_name
from state.errors import InvalidValue
from state.oci import Digest
from state.pin_plan import target_name
from state.sshsig import PublicKey

PRINCIPALS_MAX: Final = 200
LIFE_MIN_S: Final = 60
LIFE_MAX_S: Final = 30 * 24 * 3600
_FORGE_ID_MAX: Final = 2**53 - 1
_KEY_MAX_CHARS: Final = 400


def _ssh_key(text: str) -> str:
    PublicKey.parse(text)
    return text


def _verifying_key(text: str) -> str:
    verifying_key(text)
    return text


def _name(text: str) -> str:
    return principal_name(text)


class _Identity(Declared):
    issuer: str = Field(pattern=r"^https?://[!-~]{1,500}$")
    subject: str = Field(min_length=1, max_length=1000)
    environment: str | None = Field(default=None, min_length=1, max_length=255)


class _Principal(Declared):
    forge_id: int | None = Field(ge=1, le=_FORGE_ID_MAX)
    ssh_keys: tuple[Annotated[str, AfterValidator(_ssh_key)], ...] = Field(default=(), max_length=16)
    public_keys: tuple[Annotated[str, AfterValidator(_verifying_key)], ...] = Field(default=(), max_length=16)
    identities: tuple[_Identity, ...] = Field(default=(), max_length=16)


class _Rule(Declared):
    approvers: tuple[Annotated[str, AfterValidator(_name)], ...] = Field(min_length=1, max_length=PRINCIPALS_MAX)
    threshold: int = Field(ge=1, le=PRINCIPALS_MAX)
    max_life_s: int = Field(ge=LIFE_MIN_S, le=LIFE_MAX_S)
    revokers: tuple[Annotated[str, AfterValidator(_name)], ...] = Field(default=(), max_length=PRINCIPALS_MAX)


class _File(Declared):
    version: Literal[1]
    principals: dict[str, Any] = Field(min_length=1, max_length=PRINCIPALS_MAX)
    targets: dict[str, Any] = Field(max_length=100)
    admission: dict[str, Any] | None = None


def parse_policy(
    raw: bytes, *, what: str = "approvers' policy", targets: Collection[str] | None = None
) -> ApproversPolicy:
    """Read the file's bytes.

    Args:
        raw: at most `declared.MAX_BYTES`.
        what: names the file in messages.
        targets: the names that the configuration has; a policy for any other is a problem. None does not look.

    Raises:
        ConfigError: `problems` lists every problem, each with its path and line.
    """
    reading = Reading(raw, what)
    top = reading.top(_File, {})
    principals: dict[str, Principal] = {}
    declared = reading.section(top, "principals")
    for name, value in declared.items():
        at: Location = ("principals", name)
        _checked(reading, at, principal_name, name)
        if (read := reading.model(_Principal, at, value, {})) is not None:
            principals[name] = _principal(reading, at, name, read)
    _check_owners(reading, principals)
    rules: dict[str, Rule] = {}
    for name, value in reading.section(top, "targets").items():
        at = ("targets", name)
        _checked(reading, at, target_name, name)
        if targets is not None and name not in targets:
            reading.note(at, f"the configuration has no such target; there are {', '.join(sorted(targets)) or 'none'}")
        if (rule := _rule(reading, at, value, declared)) is not None:
            rules[name] = rule
    admission = None
    if isinstance(value := top.get("admission"), dict):
        admission = _rule(reading, ("admission",), value, declared)
    reading.finish()
    return ApproversPolicy(principals, rules, admission)


def verifying_key(text: str) -> VerifyingKey:
    """A key as the file has it: what is between the first and the last line of a PEM public key, on one line.

    Raises InvalidValue.
    """
    try:
        der = base64.b64decode(text, validate=True) if len(text) <= _KEY_MAX_CHARS else b""
        key = serialization.load_der_public_key(der)
    except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
        raise InvalidValue(
            "expected the base64 lines of a PEM public key joined to one, without BEGIN and END, got something else"
        ) from error
    fits = isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    )
    if not fits:
        raise InvalidValue(
            f"expected an ECDSA P-256 or Ed25519 key, got {type(key).__name__.removesuffix('PublicKey')}"
        )
    # One key has one spelling, so that it cannot be listed twice: a compressed point is written out.
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return VerifyingKey(Digest.of(der), der)


def _principal(reading: Reading, at: Location, name: str, read: _Principal) -> Principal:
    if not (read.ssh_keys or read.public_keys or read.identities):
        reading.note(at, "expected a key or an identity: without one this principal can sign nothing")
    return Principal(
        name,
        read.forge_id,
        tuple(PublicKey.parse(line) for line in read.ssh_keys),
        tuple(verifying_key(text) for text in read.public_keys),
        tuple(Identity(i.issuer, i.subject, i.environment) for i in read.identities),
    )


def _check_owners(reading: Reading, principals: Mapping[str, Principal]) -> None:
    """Nobody counts twice: a key, an identity and an account belong to one principal, and are listed once."""
    owners: dict[Hashable, str] = {}

    def own(thing: Hashable, name: str, where: Location, what: str) -> None:
        if (owner := owners.get(thing)) is not None:
            said = "is listed twice" if owner == name else f"already belongs to {owner}"
            reading.note(where, f"this {what} {said}; give each principal its own")
        owners.setdefault(thing, name)

    for name, principal in principals.items():
        at: Location = ("principals", name)
        if principal.forge_id is not None:
            own(principal.forge_id, name, (*at, "forge_id"), "account")
        for n, ssh in enumerate(principal.ssh_keys):
            own(ssh.raw, name, (*at, "ssh_keys", n), "key")
        for n, key in enumerate(principal.keys):
            own(_material(key), name, (*at, "public_keys", n), "key")
        for n, identity in enumerate(principal.identities):
            _own_identity(own, principals, identity, (*at, "identities", n), name)


def _own_identity(
    own: Callable[[Hashable, str, Location, str], None],
    principals: Mapping[str, Principal],
    identity: Identity,
    where: Location,
    name: str,
) -> None:
    """An identity without an environment covers the same one with any."""
    own(identity, name, where, "identity")
    for other in principals.values():
        for theirs in other.identities:
            overlap = theirs[:2] == identity[:2] and None in {theirs.environment, identity.environment}
            if overlap and other.name != name and theirs != identity:
                own(("overlap", *identity[:2]), other.name, where, "identity")
                own(("overlap", *identity[:2]), name, where, "identity")
                return


def _material(key: VerifyingKey) -> bytes:
    """The raw bytes of an Ed25519 key, which an SSH key line may hold too; the whole of any other."""
    loaded = serialization.load_der_public_key(key.der)
    return loaded.public_bytes_raw() if isinstance(loaded, ed25519.Ed25519PublicKey) else key.der


def _rule(reading: Reading, at: Location, value: object, declared: Mapping[str, Any]) -> Rule | None:
    read = reading.model(_Rule, at, value, {})
    for key in ("approvers", "revokers"):
        listed = value.get(key) if isinstance(value, dict) else None
        seen: set[str] = set()
        for n, name in enumerate(listed if isinstance(listed, list) else ()):
            if not isinstance(name, str):
                continue
            if name not in declared:
                reading.note((*at, key, n), f"expected the name of a principal declared here, got {name[:80]!r}")
            if name in seen:
                reading.note((*at, key, n), f"{name[:80]!r} is already in the list")
            seen.add(name)
    if read is None:
        return None
    if read.threshold > len(set(read.approvers)):
        reading.note(
            (*at, "threshold"),
            f"expected at most the number of approvers, {len(set(read.approvers))}, got {read.threshold}",
        )
    return Rule(frozenset(read.approvers), read.threshold, read.max_life_s, frozenset(read.revokers))


def _checked(reading: Reading, at: Location, check: Callable[[str], str], text: str) -> None:
    try:
        check(text)
    except InvalidValue as error:
        reading.note(at, str(error))
