"""The templates, as the package brings them."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from reconciler.primitive.names import Kind

_SUFFIX: Final = ".tmpl"


def read_templates(kind: Kind) -> dict[str, str]:
    """Path in the primitive → text of its template, sorted."""
    made: dict[str, str] = {}
    _read(resources.files("reconciler.primitive") / "templates" / kind.value, "", made)
    return dict(sorted(made.items()))


def _read(folder: Traversable, below: str, made: dict[str, str]) -> None:
    for entry in folder.iterdir():
        path = f"{below}{entry.name}"
        if entry.is_dir():
            _read(entry, f"{path}/", made)
        elif entry.name.endswith(_SUFFIX):
            made[path.removesuffix(_SUFFIX)] = entry.read_text(encoding="utf-8")
