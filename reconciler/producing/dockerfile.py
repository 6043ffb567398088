"""What a Dockerfile takes from outside, and what of it has to be run (pure).

Enough of the format to refuse what a build must not depend on; what it means is the builder's affair. Source: the
Dockerfile reference (docs.docker.com/reference/dockerfile): parser directives, line continuation, FROM, COPY --from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from state.errors import ConfigError, InvalidValue
from state.oci import Digest

SCRATCH: Final = "scratch"
_ESCAPE: Final = re.compile(r"#\s*escape\s*=\s*([\\`])\s*", re.IGNORECASE)
_DIRECTIVE: Final = re.compile(r"#\s*[A-Za-z]+\s*=")
_FLAG: Final = re.compile(r"--([a-z-]+)(?:=(\S*))?")
_REMOTE: Final = re.compile(r"(?:https?|ftp|git|ssh)://|git@", re.IGNORECASE)
_PINNED: Final = re.compile(r"[^\s@$]+@(sha256:[0-9a-f]{64})")
_BUILD_PLATFORM: Final = frozenset({"$BUILDPLATFORM", "${BUILDPLATFORM}"})
_TARGET_PLATFORM: Final = frozenset({"", "$TARGETPLATFORM", "${TARGETPLATFORM}"})


class Base(NamedTuple):
    """An image that the build takes from outside, by digest."""

    reference: str
    digest: Digest


class Run(NamedTuple):
    """A stage with RUN instructions: the line of the first, and the platform that they run on."""

    line: int
    platform: str | None
    """As the stage's FROM says it; None for the platform that is built, "" for the machine's own."""


class Dockerfile(NamedTuple):
    """What a file says."""

    bases: tuple[Base, ...]
    """Without repetitions, in the order of the file."""
    runs: tuple[Run, ...]


class _Instruction(NamedTuple):
    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


def read(raw: bytes, what: str) -> Dockerfile:
    """Read a file, named `what` in messages.

    Raises ConfigError with every line that takes something which may be another thing tomorrow: a base image that is
    not named by digest, or whose name is a variable, and ADD of an address.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: expected UTF-8, got another byte at position {error.start}") from error
    problems: list[str] = []
    bases: dict[str, Base] = {}
    runs: list[Run] = []
    stages: list[str] = []
    platform: str | None = None
    ran = False

    def takes(one: _Instruction, name: str) -> None:
        if name.lower() in (SCRATCH, *stages) or name in map(str, range(len(stages))):
            return
        found = _PINNED.fullmatch(name)
        if found is None:
            problems.append(f"line {one.line}: expected an image by digest (name@sha256:…), got {name[:200]!r}")
            return
        bases.setdefault(name, Base(name, Digest(found[1])))

    for one in _instructions(text):
        flags = dict(one.flags)
        match one.name:
            case "FROM" if one.words:
                takes(one, one.words[0])
                named = len(one.words) == 3 and one.words[1].upper() == "AS"
                stages.append(one.words[2].lower() if named else "")
                platform, ran = _platform(flags.get("platform", "")), False
            case "COPY" | "ADD":
                if source := flags.get("from"):
                    takes(one, source)
                problems += [
                    f"line {one.line}: ADD of an address gives other bytes one day; commit the file, got {word[:200]!r}"
                    for word in one.words[:-1]
                    if one.name == "ADD" and _REMOTE.match(word.strip('[]",'))
                ]
            case "RUN":
                for mount in (value for name, value in one.flags if name == "mount"):
                    for part in mount.split(","):
                        if part.startswith("from="):
                            takes(one, part.removeprefix("from="))
                if not ran:
                    runs.append(Run(one.line, platform))
                    ran = True
            case _:
                pass
    if not stages:
        problems.append("line 1: expected a FROM instruction, got none")
    if problems:
        raise ConfigError(f"{what}: cannot be built so that it stays the same", tuple(problems))
    return Dockerfile(tuple(bases.values()), tuple(runs))


def _platform(text: str) -> str | None:
    if text in _BUILD_PLATFORM:
        return ""
    return None if text in _TARGET_PLATFORM else text


def _instructions(text: str) -> Iterator[_Instruction]:
    lines = text.replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    pending, began = "", 0
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue  # inside a continued instruction, too
        began = began or number
        if bare.endswith(escape):
            pending += bare[:-1] + " "
            continue
        yield _instruction(began, pending + bare)
        pending, began = "", 0
    if pending.strip():
        yield _instruction(began, pending)


def _instruction(line: int, text: str) -> _Instruction:
    name, *words = text.split()
    flags = []
    while words and (found := _FLAG.fullmatch(words[0])):
        flags.append((found[1], found[2] or ""))
        words.pop(0)
    return _Instruction(line, name.upper(), tuple(flags), tuple(words))


def _escape(lines: list[str]) -> str:
    for line in lines:
        if found := _ESCAPE.fullmatch(line.strip()):
            return found[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"


def split_platform(text: str) -> tuple[str, str, str]:
    """Operating system, architecture and variant ("" for none). Raises InvalidValue."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidValue(f"platform: expected os/architecture or os/architecture/variant, got {text[:100]!r}")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
