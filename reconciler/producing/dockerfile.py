"""What a Dockerfile takes from outside, and what of it has to be run (pure).

Enough of the format to refuse what a build must not depend on; what it means is the builder's affair. What is taken for
a base here is what the builder pulls, tested on buildah itself. Source: openshift/imagebuilder 1.2.3 (builder.go,
dispatchers.go, shell_parser.go) and the Dockerfile reference (docs.docker.com/reference/dockerfile).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from reconciler import build_arguments
from reconciler.producing import dockerfile_text
from reconciler.producing.dockerfile_text import Instruction
from state.errors import ConfigError, InvalidValue
from state.oci import Digest, Repository, Tag

SCRATCH: Final = "scratch"
_PREPROCESSED: Final = ".in"
"""buildah runs a file with such a name through cpp before it reads it."""
_NO_ARGUMENTS: Final[Mapping[str, str]] = MappingProxyType({})
_STAGE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_VARIABLE: Final = re.compile(rf"\$(?:({build_arguments.NAME})|\{{({build_arguments.NAME})\}})")
_WORD: Final = re.compile(rf"(?:[A-Za-z0-9._:/@-]|{_VARIABLE.pattern})+")
_DECLARED: Final = re.compile(rf"({build_arguments.NAME})(?:=([^\s\"'\\]*|\"[^\"\\]*\"|'[^'\\]*'))?(?=[ \t]|\Z)[ \t]*")
_DECLARES: Final = re.compile(rf"({build_arguments.NAME})(?:=|\Z)")
_QUOTING: Final = re.compile(r"[$\"'\\]")
_REMOTE: Final = re.compile(r"[^/]*://|[^/]*@[^/]*:")
_TRANSPORTS: Final = frozenset({
    "containers-storage", "dir", "docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif",
    "tarball",
})  # fmt: skip
"""What may stand before a colon to mean a place on the builder's disk, in place of a registry's host."""
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


def read(raw: bytes, what: str, arguments: Mapping[str, str] = _NO_ARGUMENTS) -> Dockerfile:
    """Read a file, named `what` in messages, as it is built with these build arguments.

    Raises ConfigError with every line that takes something which may be another thing tomorrow (a base image that is
    not named by digest, ADD of an address) or that could be read in two ways, and every argument that the file does not
    declare.
    """
    if what.endswith(_PREPROCESSED):
        raise ConfigError(f"{what}: buildah has files with that ending rewritten before it reads them; rename it")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: expected UTF-8, got another byte at position {error.start}") from error
    taken_apart = dockerfile_text.instructions(text)
    reader = _Reader(arguments, list(taken_apart.problems))
    for one in taken_apart.instructions:
        reader.take(one)
    if problems := reader.finish():
        raise ConfigError(f"{what}: cannot be built so that it stays the same", problems)
    return Dockerfile(tuple(reader.bases.values()), tuple(reader.runs))


class _Reader:
    """What was found so far."""

    def __init__(self, arguments: Mapping[str, str], problems: list[tuple[int, str]]) -> None:
        self.bases: dict[str, Base] = {}
        self.runs: list[Run] = []
        self._given = arguments
        self._problems = problems
        self._global: dict[str, str | None] = {}
        """ARG before the first FROM, with what it is in a FROM; None for nothing, or nothing that is understood."""
        self._declared: set[str] = set()
        self._stages: list[str] = []
        self._platform: str | None = None
        self._ran = False

    def take(self, one: Instruction) -> None:
        if not self._stages and one.name not in ("ARG", "FROM"):
            self._note(one, f"expected FROM before {one.name[:80]}")
            return
        match one.name:
            case "ARG":
                self._argument(one)
            case "FROM":
                self._stage(one)
            case "COPY" | "ADD":
                for source in (value for name, value in one.flags if name == "from"):
                    self._taken(one, source)
                if one.name == "ADD":
                    self._added(one)
            case "RUN":
                for source in _mounted(one):
                    self._taken(one, source)
                if not self._ran:
                    self.runs.append(Run(one.line, self._platform))
                    self._ran = True
            case _:
                pass

    def finish(self) -> tuple[str, ...]:
        """Every problem, in the order of the file."""
        if not self._stages:
            self._problems.append((1, "expected a FROM instruction, got none"))
        made = [f"line {line}: {text}" for line, text in sorted(self._problems, key=lambda problem: problem[0])]
        unknown = sorted(set(self._given) - self._declared)
        return (*made, *(f"build.args: {name} is declared by no ARG of the file" for name in unknown))

    def _note(self, one: Instruction, text: str) -> None:
        self._problems.append((one.line, text))

    def _argument(self, one: Instruction) -> None:
        if self._stages:
            self._declared |= {found[1] for word in one.words if (found := _DECLARES.match(word))}
            return
        at = 0
        while at < len(one.text) and (found := _DECLARED.match(one.text, at)):
            name, value = found[1], found[2]
            self._declared.add(name)
            if value is not None:  # the last one counts; a name alone changes nothing
                self._global[name] = None if "$" in value else value[1:-1] if value[:1] in ("'", '"') else value
            else:
                self._global.setdefault(name, None)
            at = found.end()
        if at < len(one.text) or not one.text:
            self._note(one, f"expected NAME or NAME=value before FROM, got {one.text[at:][:200]!r}")

    def _stage(self, one: Instruction) -> None:
        words = one.words
        name = words[2] if len(words) == 3 and words[1].upper() == "AS" else None
        if len(words) != 1 and name is None:
            self._note(one, f"expected FROM image or FROM image AS name, got {one.text[:200]!r}")
        if name is not None and not _STAGE.fullmatch(name):
            self._note(one, f"expected a stage's name of letters, digits, _, . and -, got {name[:200]!r}")
        if words and words[0] != SCRATCH and words[0] not in self._stages:
            self._from_outside(one, self._expanded(one, words[0]))
        self._stages.append(name or str(len(self._stages)))
        self._platform, self._ran = _platform(dict(one.flags).get("platform", "")), False

    def _taken(self, one: Instruction, name: str) -> None:
        """By COPY or RUN: an earlier stage by its name or number, or an image."""
        earlier = self._stages[:-1]
        if name in earlier or name in map(str, range(len(earlier))):
            return
        if "$" in name:
            self._note(
                one,
                f"a variable names what is taken, and more than the catalogue sets it; write it out: {name[:200]!r}",
            )
            return
        self._from_outside(one, name)

    def _from_outside(self, one: Instruction, name: str | None) -> None:
        if name is None:
            return
        digest = _pinned(name)
        if digest is None:
            self._note(one, f"expected an image by digest (host/name@sha256:…), got {name[:200]!r}")
            return
        self.bases.setdefault(name, Base(name, digest))

    def _expanded(self, one: Instruction, word: str) -> str | None:
        """A word of FROM with its variables replaced; None once a problem is noted."""
        if "$" not in word:
            return word
        if not _WORD.fullmatch(word):
            self._note(one, f"expected variables as $NAME or ${{NAME}} and nothing quoted, got {word[:200]!r}")
            return None
        values: dict[str, str] = {}
        for found in _VARIABLE.finditer(word):
            name = found[1] or found[2]
            if build_arguments.predefined(name):
                self._note(one, f"{name} is the builder's own, and names no image")
            elif name not in self._global:
                self._note(one, f"{name} is declared by no ARG before the first FROM")
            elif value := self._given.get(name, self._global[name]):
                values[name] = value
            else:
                self._note(
                    one, f"{name} has no value: give it one in the catalogue (build.args), or plainly in its ARG"
                )
        try:
            return _VARIABLE.sub(lambda found: values[found[1] or found[2]], word)
        except KeyError:
            return None

    def _added(self, one: Instruction) -> None:
        for source in _sources(one):
            if _QUOTING.search(source):
                self._note(one, f"ADD of what is not written out could be an address; use COPY: {source[:200]!r}")
            elif _REMOTE.match(source):
                self._note(one, f"ADD of an address gives other bytes one day; commit the file, got {source[:200]!r}")


def _mounted(one: Instruction) -> Iterator[str]:
    """What the mounts of a RUN are taken from."""
    for mount in (value for name, value in one.flags if name == "mount"):
        if "$" in mount:  # it could become any part of it
            yield mount
            continue
        for part in mount.split(","):
            name, _, value = part.partition("=")
            if name.lower() == "from":
                yield value


def _sources(one: Instruction) -> list[str]:
    """Of ADD: all but where it goes."""
    if not one.text.startswith("["):
        return one.words[:-1]
    try:
        listed = json.loads(one.text)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
        return one.words  # the builder takes a list and ignores what follows it, or takes all of it for words
    return listed[:-1]


def _pinned(name: str) -> Digest | None:
    """The digest, where `name` is `host/path[:tag]@digest` and cannot be anything else."""
    named, _, digest = name.partition("@")
    repository, colon, tag = named.rpartition(":")
    try:
        if colon and "/" not in tag:
            Tag(tag)
        else:
            repository = named
        host = Repository(repository).host
        return Digest(digest) if host.partition(":")[0] not in _TRANSPORTS else None
    except InvalidValue:
        return None


def _platform(text: str) -> str | None:
    if text in _BUILD_PLATFORM:
        return ""
    return None if text in _TARGET_PLATFORM else text


def split_platform(text: str) -> tuple[str, str, str]:
    """Operating system, architecture and variant ("" for none). Raises InvalidValue."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidValue(f"platform: expected os/architecture or os/architecture/variant, got {text[:100]!r}")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""
