"""The text of a Dockerfile as instructions, taken apart as the builder does it, or refused (pure).

A Dockerfile comes from a stranger, and what is read here decides what is let through. So whatever two readers could
take for two things is a problem, not a guess: odd white space, other escape characters, here-documents, quoted flags.
Source: openshift/imagebuilder 1.2.3 (dockerfile/parser), which buildah 1.28 reads with, and the Dockerfile reference.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LINE_MAX_BYTES: Final = 32 * 1024
"""At a line of 64 KiB imagebuilder drops the rest of the file without a word."""
_NAMES: Final = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "RUN",
    "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
_FLAGGED: Final = frozenset({"ADD", "COPY", "FROM", "RUN"})
_BLANK: Final = " \t"
_BLANKS: Final = re.compile(r"[ \t]+")
_CONTINUED: Final = re.compile(r"\\[ \t]*\Z")
_ESCAPE: Final = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*+(?!\\)", re.IGNORECASE)
_FLAG: Final = re.compile(r"--([a-z][a-z-]*)(?:=([!#-&(-\[\]-~]*))?")
"""No white space, and nothing that quotes or escapes: of such a word only one reading is possible."""
_HERE: Final = re.compile(r"(?:^|[ \t])[0-9]*<<-?[^<\s]")


class Instruction(NamedTuple):
    """One instruction, its name in capitals. `text` is what follows the name and the flags."""

    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    """Of those instructions that take something from outside: (name without `--`, value)."""
    text: str

    @property
    def words(self) -> list[str]:
        """`text` between blanks."""
        return _BLANKS.split(self.text) if self.text else []


class Text(NamedTuple):
    """The instructions, and each problem with its line. Nothing may be built where there are problems."""

    instructions: tuple[Instruction, ...]
    problems: tuple[tuple[int, str], ...]


def instructions(text: str) -> Text:
    """Take `text` apart."""
    lines = text.replace("\r\n", "\n").split("\n")
    problems = [(number, odd) for number, line in enumerate(lines, 1) if (odd := _odd(line))]
    made: list[Instruction] = []
    pending: str | None = None
    began = 0
    for number, line in enumerate(lines, 1):
        bare = line.lstrip(_BLANK)
        if not bare or bare.startswith("#"):  # inside a continued instruction, too
            if pending is None and not made and _ESCAPE.match(bare):
                problems.append((number, "the escape character of this file has to stay \\; take the directive out"))
            continue
        if pending is None:
            pending, began = "", number
        pending += _CONTINUED.sub("", line)  # with no blank between, and with those that the line begins with
        if not _CONTINUED.search(line):
            made.append(_instruction(began, pending, problems))
            pending = None
    if pending is not None:
        made.append(_instruction(began, pending, problems))
    return Text(tuple(made), tuple(problems))


def _odd(line: str) -> str:
    if (size := len(line.encode())) > LINE_MAX_BYTES:
        return f"expected at most {LINE_MAX_BYTES} bytes, got {size}"
    found = next((c for c in line if c not in _BLANK and (c.isspace() or ord(c) < 32 or c == "\x7f")), None)
    return "" if found is None else f"expected no white space but blanks and tabs, and no control character: {found!a}"


def _instruction(line: int, text: str, problems: list[tuple[int, str]]) -> Instruction:
    name, rest = _first(text.strip(_BLANK))
    if not name.isascii() or (name := name.upper()) not in _NAMES:
        why = "an image of OCI's own types keeps no triggers; write the step where it is to be done"
        problems.append(
            (line, f"ONBUILD: {why}" if name == "ONBUILD" else f"no instruction that is known: {name[:80]!r}")
        )
        return Instruction(line, name, (), rest)
    flags = []
    while name in _FLAGGED and rest.startswith("--"):
        word, rest = _first(rest)
        found = _FLAG.fullmatch(word)
        if found is None or ("--from" in word and found[1] != "from"):
            problems.append(
                (line, f"a flag that could be read as another one: {word[:200]!r}; write it without quotes")
            )
            break
        flags.append((found[1], found[2] or ""))
    if name in ("ADD", "COPY", "RUN") and _HERE.search(rest):
        problems.append((line, "a here-document; put it into a file of the context"))
    return Instruction(line, name, tuple(flags), rest)


def _first(text: str) -> tuple[str, str]:
    """The first word, and the rest without the blanks between."""
    parts = _BLANKS.split(text, maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""
