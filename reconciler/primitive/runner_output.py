"""What runners print, read: how many tests ran, and which of them failed (pure)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from reconciler.primitive.names import Language

_FAILED_MAX: Final = 50
_PYTEST: Final = re.compile(r"\b(\d{1,9}) (passed|failed|errors?|xpassed|xfailed)\b")
_PYTEST_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) ([^\s]{1,300})", re.MULTILINE)
_NODE: Final = re.compile(r"^(?:#|ℹ) (tests|fail|cancelled) (\d{1,9})[ \t]*$", re.MULTILINE)
_NODE_FAILED: Final = re.compile(r"^[ \t]*(?:not ok \d+ -|✖) (.{1,300}?)(?: \([\d.]+ms\))?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Told:
    """`ran` is None where the output does not say. `text` is what a person wants to read of it."""

    ran: int | None
    failed: tuple[str, ...]
    text: str


def read(language: Language, output: str) -> Told:
    """Read the output of the runner of this language."""
    match language:
        case Language.GO:
            return _go(output)
        case Language.PYTHON:
            counts = _PYTEST.findall(output.rstrip().rpartition("\n")[2])
            ran = sum(int(n) for n, _ in counts)
            return Told(ran, _first(_PYTEST_FAILED.findall(output)), output)
        case Language.NODE:
            totals = {what: int(n) for what, n in _NODE.findall(output)}
            failed = _NODE_FAILED.findall(output) if totals.get("fail", 0) or totals.get("cancelled", 0) else []
            return Told(totals.get("tests"), _first(failed), output)


def _go(output: str) -> Told:
    """Lines of `go test -json`; what is not JSON is the compiler's."""
    ran = 0
    failed, text = [], []
    for line in output.splitlines():
        try:
            event = json.loads(line) if line.startswith("{") else None
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            text.append(line)
            continue
        action, test = event.get("Action"), event.get("Test")
        if action in ("output", "build-output"):
            text.append(str(event.get("Output", "")).rstrip("\n"))
        elif isinstance(test, str) and action in ("pass", "fail", "skip"):
            ran += action != "skip"
            if action == "fail":
                failed.append(f"{event.get('Package', '')} {test}")
        elif action in ("fail", "build-fail") and test is None:
            package = str(event.get("Package") or event.get("ImportPath") or "")
            if not any(name.startswith(f"{package} ") for name in failed):
                failed.append(package)
    return Told(ran, _first(failed), "\n".join(line for line in text if "[no test files]" not in line))


def _first(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.strip() for n in names if n.strip()))[:_FAILED_MAX]
