"""An in-toto statement as others sign it: subjects by digest, a predicate type, a predicate.

Source: in-toto attestation framework, Statement v1 (and v0.1, which differs in its type alone).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from state import canonical
from state.canonical import Json
from state.errors import InvalidValue
from state.oci import Digest

STATEMENT_V1: Final = "https://in-toto.io/Statement/v1"
_TYPES: Final = (STATEMENT_V1, "https://in-toto.io/Statement/v0.1")
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"

SLSA_PROVENANCE_V1: Final = "https://slsa.dev/provenance/v1"
SLSA_PROVENANCE_V02: Final = "https://slsa.dev/provenance/v0.2"
VERIFICATION_SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
COSIGN_SIGNATURE: Final = "https://sigstore.dev/cosign/sign/v1"
SPDX: Final = "https://spdx.dev/Document"
CYCLONEDX: Final = "https://cyclonedx.org/bom"

STATEMENT_MAX_BYTES: Final = 16 * 1024 * 1024
_SUBJECTS_MAX: Final = 10_000


class Statement(NamedTuple):
    """A parsed statement. `subjects` are the sha256 digests it speaks of; others of its digests are not kept.

    `predicate` is as it came: nothing in it is checked here, and numbers may be floats.
    """

    subjects: tuple[Digest, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def parse(raw: bytes) -> Statement:
    """Read a statement from outside. Raises InvalidValue on anything that is not one, duplicate keys included."""
    value = parse_object(raw, "in-toto statement", STATEMENT_MAX_BYTES)
    if value.get("_type") not in _TYPES:
        raise InvalidValue(f"in-toto statement: _type is not {STATEMENT_V1} or v0.1")
    subjects, predicate_type = value.get("subject"), value.get("predicateType")
    predicate = value.get("predicate", {})
    if not isinstance(subjects, list) or not subjects or len(subjects) > _SUBJECTS_MAX:
        raise InvalidValue("in-toto statement: subject is no list of subjects, or an empty one")
    if not isinstance(predicate_type, str) or not isinstance(predicate, dict):
        raise InvalidValue("in-toto statement: predicateType is a string and predicate an object")
    found = []
    for subject in subjects:
        digests = subject.get("digest") if isinstance(subject, dict) else None
        if not isinstance(digests, dict):
            raise InvalidValue("in-toto statement: a subject without a digest set")
        if isinstance(sha256 := digests.get("sha256"), str):
            found.append(Digest(f"sha256:{sha256}"))
    return Statement(tuple(found), predicate_type, predicate)


def parse_object(raw: bytes, what: str, max_bytes: int) -> Mapping[str, Any]:
    """A JSON object from outside, which may have floats. Raises InvalidValue, for duplicate keys too."""
    if len(raw) > max_bytes:
        raise InvalidValue(f"{what}: expected at most {max_bytes} bytes, got {len(raw)}")
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{what}: not acceptable JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise InvalidValue(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value


def build(subjects: Mapping[str, Digest], predicate_type: str, predicate: Mapping[str, Json]) -> bytes:
    """The canonical bytes of a statement of ours: equal facts, equal bytes. `subjects` maps names to digests."""
    rows: list[Json] = [{"digest": {"sha256": d.hex}, "name": name} for name, d in sorted(subjects.items())]
    return canonical.dumps(
        {"_type": STATEMENT_V1, "predicate": dict(predicate), "predicateType": predicate_type, "subject": rows}
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
