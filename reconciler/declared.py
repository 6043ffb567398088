"""What the catalogue and the inventory have in common: reading a small file whole and naming every problem at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from reconciler.strict_yaml import Document, Location, parse, shown
from state.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024
NAME_MAX_CHARS: Final = 63
PATH_MAX_BYTES: Final = 1024
_SHOWN_MAX_CHARS: Final = 80
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

M = TypeVar("M", bound=BaseModel)


class Declared(BaseModel):
    """Strict, frozen, no field that is not declared."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


def check_path(text: str) -> str:
    """A path inside a git tree in its one normal form, never the root. Raises ValueError."""
    if not text or text.startswith("/"):
        raise ValueError("expected a path relative to the top of the repository")
    if "\\" in text or not text.isprintable() or len(text.encode()) > PATH_MAX_BYTES:
        raise ValueError(f"expected at most {PATH_MAX_BYTES} printable characters with / between the parts")
    if any(part in {"", ".", "..", ".git"} for part in text.split("/")):
        raise ValueError("expected a normalised path: no empty part, no . and no ..")
    return text


InsidePath = Annotated[str, AfterValidator(check_path)]


class Reading:
    """One file: its document, and the problems found so far, each with its path and line."""

    def __init__(self, raw: bytes, what: str) -> None:
        """Raises ConfigError where there is no document to speak of."""
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{what}: expected at most {MAX_BYTES} bytes, got {len(raw)}")
        self.what = what
        self._document: Document = parse(raw, what=what)
        self._found: dict[Location, str] = dict(reversed(self._document.problems))

    def top(self, model: type[M], misplaced: Mapping[str, str]) -> Mapping[str, Any]:
        """The top level, its problems noted; a key of `misplaced` is told where it belongs."""
        value = self._document.value
        if not isinstance(value, dict):
            self.note((), f"expected a mapping, got {_kind(value)}")
            return {}
        self.model(model, (), value, misplaced)
        return value

    def section(self, top: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """The mapping below `key`, or an empty one (whose absence is a problem of the top level's model)."""
        value = top.get(key)
        return value if isinstance(value, dict) else {}

    def model(self, model: type[M], at: Location, value: object, misplaced: Mapping[str, str]) -> M | None:
        """`value` as `model`, or None with every problem noted."""
        try:
            # As JSON, so that a list is taken for a tuple and nothing else is taken for anything.
            return model.model_validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                if detail["type"] == "too_short" and detail["input"]:
                    continue  # Every item was refused, and each has its own line.
                self.note((*at, *detail["loc"]), _worded(detail, misplaced))
            return None

    def name(self, at: Location, text: str) -> None:
        if len(text) > NAME_MAX_CHARS or not _NAME.fullmatch(text):
            self.note(at, f"expected a name of at most {NAME_MAX_CHARS} lower-case letters, digits and inner hyphens")

    def note(self, at: Location, problem: str) -> None:
        """The first word on a place stands: the reader's before the model's, the model's before a cross check's."""
        self._found.setdefault(at, problem)

    def finish(self) -> None:
        """Raises ConfigError with every problem, in the order of the file."""
        refuse(
            self.what,
            (
                f"{shown(at)} (line {self._document.line(at)}): {text}"
                for at, text in sorted(self._found.items(), key=lambda item: self._document.line(item[0]) or 0)
            ),
        )


def refuse(what: str, problems: Iterable[str]) -> None:
    """Raises ConfigError if there are problems."""
    found = tuple(problems)
    if found:
        raise ConfigError(f"{what}: refused, {len(found)} problem{'s' if len(found) > 1 else ''}", found)


def _worded(error: ErrorDetails, misplaced: Mapping[str, str]) -> str:
    got = error["input"]
    match error["type"]:
        case "missing":
            return "required, but not there"
        case "extra_forbidden":
            key = str(error["loc"][-1])
            return f"belongs in {misplaced[key]}, not here" if key in misplaced else "unknown key"
        case "value_error":
            text = error["msg"].removeprefix("Value error, ")
            return text if ", got " in text else f"{text}, got {_shown(got)}"
        case "too_short":
            return "expected at least one item, got none"
        case "string_type":
            return f"expected text, got {_kind(got)}"
        case "tuple_type":
            return f"expected a list, got {_kind(got)}"
        case "dict_type" | "model_type":
            return f"expected a mapping, got {_kind(got)}"
        case "bool_type":
            return f"expected true or false, got {_shown(got)}"
        case _:
            text = error["msg"].removeprefix("Input should be ")
            return f"expected {text[:1].lower()}{text[1:]}, got {_shown(got)}"


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return _kind(value)
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX_CHARS else text[:_SHOWN_MAX_CHARS] + "…"
