"""What a primitive is called, and what follows from its name (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from state.errors import InvalidValue

NAME_MAX_CHARS: Final = 36
"""`production-integration-<name>-v10` is a label (63), `integration-<name>-v10` a Helm release (53)."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*|[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MODULE_ROOT: Final = "ameide.io/primitives"
# Folders that Go, Python or npm treat in their own way, file names that Windows keeps for itself (Go modules refuse
# them), and path endings that Go reads as a major version.
_RESERVED: Final = frozenset({"internal", "vendor", "testdata", "con", "prn", "aux", "nul"})
_RESERVED_FORMS: Final = re.compile(r"v[0-9]+|(?:com|lpt)[0-9]")


class Kind(StrEnum):
    """The six kinds."""

    DOMAIN = "domain"
    PROCESS = "process"
    PROJECTION = "projection"
    INTEGRATION = "integration"
    AGENT = "agent"
    UISURFACE = "uisurface"


class Language(StrEnum):
    """The toolchain that builds and tests a kind."""

    GO = "go"
    PYTHON = "pytest"
    NODE = "npm"


LANGUAGE: Final = {
    Kind.DOMAIN: Language.GO,
    Kind.PROCESS: Language.GO,
    Kind.PROJECTION: Language.GO,
    Kind.INTEGRATION: Language.GO,
    Kind.AGENT: Language.PYTHON,
    Kind.UISURFACE: Language.NODE,
}


@dataclass(frozen=True, slots=True)
class Primitive:
    """A kind and a name that is valid for it. Raises InvalidValue for any other name."""

    kind: Kind
    name: str

    def __post_init__(self) -> None:
        shown = ascii(self.name[:80])
        if len(self.name) > NAME_MAX_CHARS:
            raise InvalidValue(f"--name: expected at most {NAME_MAX_CHARS} characters, got {len(self.name)}")
        if _NAME.fullmatch(self.name) is None:
            raise InvalidValue(
                f"--name: expected lower-case ASCII letters and digits in words joined by -, such as order-intake "
                f"(or by _, as older names are), beginning with a letter; got {shown}"
            )
        if self.name in _RESERVED or _RESERVED_FORMS.fullmatch(self.name):
            raise InvalidValue(f"--name: {shown} has a meaning of its own to Go, npm or a file system; take another")

    @property
    def language(self) -> Language:
        return LANGUAGE[self.kind]

    @property
    def path(self) -> str:
        """Where it is in a code repository."""
        return f"primitives/{self.kind}/{self.name}"

    @property
    def kebab(self) -> str:
        return self.name.replace("_", "-")

    @property
    def snake(self) -> str:
        """Also a Python identifier and a BPMN process id."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The Go module."""
        return f"{_MODULE_ROOT}/{self.kind}/{self.name}"

    @property
    def values(self) -> dict[str, str]:
        """What templates may use."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "kebab": self.kebab,
            "snake": self.snake,
            "module": self.module,
        }

    def twin_in(self, names: list[str]) -> str | None:
        """The first of these names that differs from this one only in its separators, if any."""
        return next((n for n in sorted(names) if n != self.name and n.replace("_", "-") == self.kebab), None)
