"""Every setting with its value in force, where that came from, whose it is to give, and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from pydantic_core import PydanticUndefined, to_jsonable_python

from reconciler.settings import CONFIG_MAX_BYTES, sections_of
from reconciler.settings.model import Settings
from reconciler.settings.types import Section
from reconciler.strict_yaml import Location, shown
from state.canonical import Json
from state.entry import BLOB_MAX_BYTES, ENTRY_MAX_BYTES
from state.oci import MANIFEST_MAX_BYTES


class Authority(StrEnum):
    """Who gives a value; each has exactly one (design invariant 11)."""

    PLATFORM = "platform-derived"
    GITOPS = "GitOps-provisioned"
    REQUEST = "request-provisioned"


class Source(StrEnum):
    FILE = "file"
    BUILT_IN = "built-in constant"
    REQUEST = "the pull request"


class Explained(NamedTuple):
    path: str
    value: Json
    source: Source
    authority: Authority
    unit: str
    meaning: str


_UNITS: Final = (
    ("_per_hour", "per hour"),
    ("_per_s", "per second"),
    ("_bytes", "bytes"),
    ("_s", "seconds"),
    ("_file", "path of a file; its content is never shown"),
    ("_dir", "path of a directory"),
)

_OUTSIDE_THE_FILE: Final = (
    Explained(
        "platform.config_max_bytes", CONFIG_MAX_BYTES, Source.BUILT_IN, Authority.PLATFORM, "bytes",
        "Largest configuration file that is read.",
    ),
    Explained(
        "platform.manifest_max_bytes", MANIFEST_MAX_BYTES, Source.BUILT_IN, Authority.PLATFORM, "bytes",
        "Largest manifest or index that is read (distribution-spec v1.1.1).",
    ),
    Explained(
        "platform.log_entry_max_bytes", ENTRY_MAX_BYTES, Source.BUILT_IN, Authority.PLATFORM, "bytes",
        "Largest log entry.",
    ),
    Explained(
        "platform.log_blob_max_bytes", BLOB_MAX_BYTES, Source.BUILT_IN, Authority.PLATFORM, "bytes",
        "Largest observation blob of the log.",
    ),
    Explained(
        "request.pr_number", None, Source.REQUEST, Authority.REQUEST, "",
        "PR_NUMBER, an integer. With HEAD_SHA the only value of a pull request that reaches a tag or a file.",
    ),
    Explained(
        "request.head_sha", None, Source.REQUEST, Authority.REQUEST, "",
        "HEAD_SHA, the full commit id (40 hex digits) of a pull request's head.",
    ),
)  # fmt: skip


def explain(settings: Settings) -> tuple[Explained, ...]:
    """One record per value, in the order of the model, then what does not come from the file."""
    return (*_of(settings, ()), *_OUTSIDE_THE_FILE)


def below(records: tuple[Explained, ...], path: str) -> tuple[Explained, ...]:
    """The records at `path` or below it; `repositories.forge` means every repository's."""
    form = str if "[" in path else _plain
    return tuple(r for r in records if form(r.path) == path or form(r.path).startswith((path + ".", path + "[")))


def reference() -> str:
    """The table of docs/configuration.md: every setting, made from the model."""
    lines = ["| setting | unit | if left out | meaning |", "|---|---|---|---|"]
    for path, default, unit, meaning in _fields(Settings, ""):
        lines.append(f"| `{path}` | {unit} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _plain(path: str) -> str:
    return "".join(part.partition("]")[2] if n else part for n, part in enumerate(path.split("[")))


def _of(section: Section, at: Location) -> Iterator[Explained]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        here = (*at, name)
        if isinstance(value, Section):
            yield from _of(value, here)
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for n, item in enumerate(value):
                yield from _of(item, (*here, n))
        else:
            given = name in section.model_fields_set
            yield Explained(
                shown(here),
                to_jsonable_python(value),
                Source.FILE if given else Source.BUILT_IN,
                Authority.GITOPS if given else Authority.PLATFORM,
                _unit(name),
                _meaning(field.description),
            )


def _fields(model: type[Section], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        inner = sections_of(field.annotation)
        if inner:
            many = "[]" if "tuple" in str(field.annotation) else ""
            choice = len(inner) > 1
            for section in inner:
                kind = section.model_fields["kind"].annotation.__args__[0] if choice else ""  # type: ignore[union-attr]
                yield from _fields(section, f"{path}{f'({kind})' if choice else ''}{many}.")
            continue
        required = field.default is PydanticUndefined
        default = "required" if required else f"`{json.dumps(to_jsonable_python(field.default))}`"
        yield path, default, _unit(name), _meaning(field.description)


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS if name.endswith(suffix)), "")


def _meaning(description: str | None) -> str:
    return " ".join((description or "").split())
