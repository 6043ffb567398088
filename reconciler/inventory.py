"""The inventory file: which components are previewed, and where each is pinned.

It lives in the GitOps repository and is read at its trusted ref. What a component's image is and what it is built
from is the catalogue's word.

    version: 1
    components:
      orders-v0:
        previewed: true
        pins:
          - environment: dev
            file: sources/values/env/dev/apps/orders-v0.yaml
            key: image.ref

What a key may be: `reconciler.gitops.keys`. One with brackets inside `{…}` has to be in quotes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator

from reconciler.declared import Declared, InsidePath, Reading
from reconciler.gitops.keys import key_text
from reconciler.strict_yaml import Location
from state.git import CommitId
from state.observed import Inventory, Pin
from state.pin_plan import target_name

DEFAULT_PATH: Final = "ameide/inventory.yaml"
DEFAULT_KEY: Final = "image.ref"

_CATALOGUE: Final = "the catalogue (code repository)"
_MISPLACED: Final = dict.fromkeys(("images", "image", "repository", "inputs", "platforms"), _CATALOGUE)


class _Pin(Declared):
    environment: Annotated[str, AfterValidator(target_name)]
    file: InsidePath
    key: Annotated[str, AfterValidator(key_text)] = DEFAULT_KEY


class _Component(Declared):
    previewed: bool
    pins: tuple[_Pin, ...] = ()


class _File(Declared):
    version: Literal[1]
    components: dict[str, Any]


def parse_inventory(raw: bytes, commit: CommitId, *, what: str = "inventory") -> Inventory:
    """Read the file's bytes as found at `commit`. Pure. `previewed` comes out sorted.

    Raises ConfigError: `problems` lists every problem, each with its path and line.
    """
    reading = Reading(raw, what)
    top = reading.top(_File, _MISPLACED)
    previewed: list[str] = []
    pins: dict[str, tuple[Pin, ...]] = {}
    owners: dict[Pin, str] = {}
    for name, value in reading.section(top, "components").items():
        at: Location = ("components", name)
        reading.name(at, name)
        component = reading.model(_Component, at, value, _MISPLACED)
        if component is None:
            continue
        pins[name] = tuple(Pin(p.file, p.key, p.environment) for p in component.pins)
        for n, pin in enumerate(pins[name]):
            if pin in owners:
                reading.note((*at, "pins", n), f"{pin.file} {pin.key} is already a pin of components.{owners[pin]}")
            owners.setdefault(pin, name)
        if component.previewed:
            previewed.append(name)
    reading.finish()
    return Inventory(commit, tuple(sorted(previewed)), pins)
