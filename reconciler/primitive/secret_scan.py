"""Secrets that were left in files: known prefixes, private keys, and random-looking values of telling names (pure).

A finding names file, line and rule, never the value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.primitive.report import Issue

_LINE_MAX_CHARS: Final = 2_000
_ENTROPY_MIN_BITS: Final = 3.7
_PREFIXES: Final = {
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})"),
    "GitLab token": re.compile(r"\bgl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{20}"),
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{20}"),
    "Stripe key": re.compile(r"\b[rs]k_live_[0-9A-Za-z]{20}"),
    "npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}"),
    "PyPI token": re.compile(r"\bpypi-AgE[A-Za-z0-9_-]{50}"),
    "Docker token": re.compile(r"\bdckr_pat_[A-Za-z0-9_-]{20}"),
    "Vault token": re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{24}"),
    "model provider key": re.compile(r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32}"),
    "private key": re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "password in a URL": re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>${}]{1,64}:[^\s/:@\"'<>${}]{6,128}@"),
}
_ASSIGNED: Final = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|pwd|api_?-?key|private_?-?key|access_?-?key|credential)[a-z0-9_-]{0,32}"
    r"[\"']?\s{0,8}(?::=|[:=])\s{0,8}[\"'`]?([A-Za-z0-9+/=_.-]{20,200})(?![A-Za-z0-9+/=_.(-])"
)


def scan(files: Mapping[str, bytes]) -> list[Issue]:
    """What looks like a secret. Files that are no text are left out."""
    issues = []
    for path, raw in files.items():
        if b"\0" in raw[:8192]:
            continue
        for number, line in enumerate(raw.decode("utf-8", "replace").split("\n"), start=1):
            issues += [Issue(path, rule, "no secret in the sources", "one (not shown)", number) for rule in _in(line)]
    return issues


def _in(line: str) -> Iterator[str]:
    # Long lines (minified, data) are looked at in overlapping parts, so that each look is bounded.
    for start in range(0, max(1, len(line)), _LINE_MAX_CHARS - 300):
        part = line[start : start + _LINE_MAX_CHARS]
        found = [rule for rule, pattern in _PREFIXES.items() if pattern.search(part)]
        yield from found
        if not found and any(_random(value) for value in _ASSIGNED.findall(part)):
            yield "random-looking value"


def _random(value: str) -> bool:
    """Letters and digits in no order that words have: no identifier, path, version or digest of a kind we write."""
    has_digit, has_letter = any(c.isdigit() for c in value), any(c.isalpha() for c in value)
    if not has_digit or not has_letter or value.startswith("sha256"):
        return False
    words = re.split(r"[._/-]", value)
    if max(map(len, words)) < 16:  # io.example.v1, some/path-2, 2025-01-01: words, not randomness
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    hexadecimal = all(c in "0123456789abcdefABCDEF-" for c in value)
    return bits >= (3.0 if hexadecimal else _ENTROPY_MIN_BITS)
