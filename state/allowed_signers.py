"""OpenSSH's allowed_signers file: which key may sign as which principal, in which namespace.

Source: ssh-keygen(1), ALLOWED SIGNERS. The subset that the log needs: Ed25519 keys and the `namespaces` option. Any
other option, key type or form is an error, not skipped: a list that is only half understood protects nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from state.errors import ConfigError, InvalidValue
from state.sshsig import NAMESPACE, PublicKey

FILE_MAX_BYTES: Final = 1024 * 1024

_PATTERN: Final = re.compile(r"!?[A-Za-z0-9@._+*?-]{1,255}")
_MEND: Final = f'each line is `<principal> namespaces="{NAMESPACE}" ssh-ed25519 AAAA…`; mend the file, or name another'
_NAMESPACES: Final = re.compile(r'namespaces="([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """One line: principal patterns (`*`, `?`, `!`), namespace patterns (empty: any namespace), and a key."""

    principals: tuple[str, ...]
    namespaces: tuple[str, ...]
    key: PublicKey

    def allows(self, principal: str, namespace: str) -> bool:
        """Whether this line lets its key sign as `principal` in `namespace`."""
        return _matches(self.principals, principal) and (not self.namespaces or _matches(self.namespaces, namespace))


@dataclass(frozen=True, slots=True)
class AllowedSigners:
    """The lines of the file, in order."""

    lines: tuple[AllowedSigner, ...]

    def refusal(self, key: PublicKey, principal: str, namespace: str = NAMESPACE) -> str | None:
        """Why `key` may not sign as `principal`, or None if it may."""
        mine = [line for line in self.lines if line.key == key]
        if not mine:
            return f"key {key.fingerprint} is not in the list of allowed signers"
        if any(line.allows(principal, namespace) for line in mine):
            return None
        listed = " ".join(",".join(line.principals) for line in mine)
        return f"key {key.fingerprint} is listed for {listed}, not for {principal} in namespace {namespace}"


def load(path: Path) -> AllowedSigners:
    """Read the file. Raises ConfigError if it cannot be read or any line is not understood."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: allowed signers cannot be read: {error.strerror}; name a file that this user may read"
        ) from error
    if len(raw) > FILE_MAX_BYTES:
        raise ConfigError(f"{path}: allowed signers: expected at most {FILE_MAX_BYTES} bytes")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: allowed signers: expected UTF-8 text, byte {error.start} is not; {_MEND}"
        ) from error
    except InvalidValue as error:
        raise ConfigError(f"{path}: {error}; {_MEND}") from error


def parse(text: str) -> AllowedSigners:
    """Parse the file's text. Raises InvalidValue naming the line that is not understood, or if there is none."""
    lines: list[AllowedSigner] = []
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip(" \t\r")
        if content and not content.startswith("#"):
            lines.append(_line(content, f"allowed signers, line {number}"))
    if not lines:
        raise InvalidValue("allowed signers: the list names no key, so it would refuse everything")
    return AllowedSigners(tuple(lines))


def line_for(principal: str, key: PublicKey) -> str:
    """The line, without a newline, that lets `key` sign commits as `principal`. Raises InvalidValue."""
    made = f'{principal} namespaces="{NAMESPACE}" {key.line}'
    parse(made)
    return made


def _line(content: str, where: str) -> AllowedSigner:
    fields = content.split()
    if len(fields) < 3:
        raise InvalidValue(f"{where}: expected principals, options and a key, got {content[:80]!r}")
    principals = _patterns(fields[0], where, "principals")
    namespaces: tuple[str, ...] = ()
    rest = fields[1:]
    if option := _NAMESPACES.fullmatch(rest[0]):
        namespaces = _patterns(option[1], where, "namespaces")
        rest = rest[1:]
    if len(rest) < 2 or rest[0] != "ssh-ed25519":
        raise InvalidValue(
            f'{where}: expected namespaces="…" or nothing, then an ssh-ed25519 key; got {rest[0][:80]!r}, '
            "which this program does not understand"
        )
    try:
        key = PublicKey.parse(" ".join(rest[:2]))
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error}") from error
    return AllowedSigner(principals, namespaces, key)


def _patterns(text: str, where: str, what: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    for pattern in found:
        if not _PATTERN.fullmatch(pattern):
            raise InvalidValue(f"{where}: {what}: {pattern[:80]!r} is not a pattern this program understands")
    return found


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    # ssh's match_pattern_list: a negated match refuses at once, whatever stands beside it.
    if any(p.startswith("!") and fnmatchcase(name, p[1:]) for p in patterns):
        return False
    return any(not p.startswith("!") and fnmatchcase(name, p) for p in patterns)
