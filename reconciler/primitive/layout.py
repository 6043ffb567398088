"""What files a primitive has, and who owns each of them (pure).

A file is either *owned* (written once if it is missing, then never touched) or *generated* (the same bytes for the same
inputs, written anew by every scaffold). A generated root holds generated files only: anything else in it goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.primitive.names import Kind, Language, Primitive

GENERATED_ROOTS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.DOMAIN: ("internal/gen",),
    Kind.PROCESS: ("internal/gen",),
    Kind.PROJECTION: ("internal/gen",),
    Kind.INTEGRATION: (),
    Kind.AGENT: (),
    Kind.UISURFACE: ("internal/gen",),
}
BPMN: Final = "bpmn/process.bpmn"
POLICIES: Final = "bpmn/policies.yaml"
LOCK: Final = "bpmn/compile.lock.json"
MARKER: Final = "AMEIDE_SCAFFOLD"
LEFTOVER: Final = ".scaffold-new"
"""Files and folders of a scaffold that was cut short end like this; the next one clears them away."""

SHAPE: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.DOMAIN: (
        "Dockerfile.main",
        "go.mod",
        "cmd/main.go",
        "cmd/dispatcher/main.go",
        "internal/handlers/handlers.go",
        "internal/ports/outbox.go",
        "internal/adapters/postgres/outbox.go",
        "internal/dispatcher/dispatcher.go",
        "migrations/V1__domain_outbox.sql",
        "migrations/Dockerfile.main|migrations/Dockerfile.release",
    ),
    Kind.PROCESS: (
        "Dockerfile.main",
        "go.mod",
        "bpmn/process.bpmn",
        "cmd/worker/main.go",
        "cmd/ingress/main.go",
        "internal/ingress/router.go",
        "internal/process/state.go",
    ),
    Kind.PROJECTION: ("Dockerfile.main", "go.mod", "cmd/main.go", "internal/handlers/handlers.go"),
    Kind.INTEGRATION: (
        "Dockerfile.main",
        "go.mod",
        "cmd/main.go",
        *(f"internal/mcp/{n}.go" for n in ("auth", "errors", "http", "jsonrpc", "oauth", "origin", "server", "stdio")),
    ),
    Kind.AGENT: (
        "Dockerfile.main",
        "pyproject.toml",
        "src/__init__.py",
        "src/main.py",
        "src/agent.py",
        "src/prompts/default.md",
        "src/tools/__init__.py",
        "langgraph.dev.json",
    ),
    Kind.UISURFACE: ("Dockerfile.main", "package.json", "server.js"),
}
"""What verify asks for; alternatives are joined by `|`."""

_TEST: Final = {
    Language.GO: re.compile(r"(?:^|/)[^/]+_test\.go$"),
    Language.PYTHON: re.compile(r"(?:^|/)(?:test_[^/]*|[^/]+_test|conftest)\.py$"),
    Language.NODE: re.compile(r"(?:^|/)[^/]+\.(?:test|spec)\.[cm]?[jt]sx?$"),
}
_PLACEHOLDER: Final = re.compile(r"\{\{ ([a-z]+) \}\}")


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one primitive: path → content, by who owns them."""

    owned: Mapping[str, bytes]
    generated: Mapping[str, bytes]

    def merged(self) -> dict[str, bytes]:
        return dict(sorted({**self.owned, **self.generated}.items()))


def from_templates(primitive: Primitive, templates: Mapping[str, str]) -> Tree:
    """The files that the templates of this kind make, without what is compiled from a process."""
    made = {path: render(text, primitive.values).encode() for path, text in templates.items()}
    generated = {path for path in made if in_roots(path, GENERATED_ROOTS[primitive.kind])}
    return Tree(
        {path: content for path, content in made.items() if path not in generated},
        {path: content for path, content in made.items() if path in generated},
    )


def render(text: str, values: Mapping[str, str]) -> str:
    """Put the values in. An unknown name is a fault of the template: KeyError."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def in_roots(path: str, roots: tuple[str, ...]) -> bool:
    """Whether the path lies below one of the folders."""
    return any(path.startswith(f"{root}/") for root in roots)


def is_test(path: str, language: Language) -> bool:
    """Whether the language's own runner takes this for a test file."""
    return _TEST[language].search(path) is not None
