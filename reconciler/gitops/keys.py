"""The key of a pin: where in a YAML file one image reference stands (pure).

    image.ref                                                    a mapping in a mapping
    spec.template.spec.containers[name=app].image                the item of a list whose `name` is `app`
    images[name=ghcr.io/acme/orders].digest                      a kustomization's image
    Deployment/orders#spec.template.spec.containers[name=app].image
                                                                 in the document of that kind and metadata.name

Grammar: `[kind "/" name "#"] step *("." step)`, where a step is a mapping's key, and `[field=value]` behind it picks
the one item of the list there. Each key has this one spelling. A place is never named by its number in a list, which
another edit would shift.

A key whose last step is `digest` holds `sha256:…` alone; beside it, `newName`, else `name`, or `repository` names the
image. Every other key holds the whole reference, `repository@sha256:…`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from state.errors import InvalidValue

KEY_MAX_CHARS: Final = 512
STEPS_MAX: Final = 32

_STEP: Final = re.compile(
    r"([A-Za-z0-9_-]{1,128})(?:\[([A-Za-z0-9_-]{1,128})=([A-Za-z0-9][A-Za-z0-9._/:@-]{0,254})\])?"
)
_DOCUMENT: Final = re.compile(r"([A-Za-z][A-Za-z0-9]{0,62})/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)#")


class Item(NamedTuple):
    """Picks the one item of a list that is a mapping in which `field` is `value`."""

    field: str
    value: str


class Step(NamedTuple):
    """Into the mapping's value of `name`, and where `item` is given, into that item of the list there."""

    name: str
    item: Item | None = None

    def __str__(self) -> str:
        return self.name if self.item is None else f"{self.name}[{self.item.field}={self.item.value}]"


class Document(NamedTuple):
    """The document of a file with this `kind` and `metadata.name`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Key(NamedTuple):
    """A parsed key; `str` gives its text back."""

    document: Document | None
    """None for the only document of the file."""
    steps: tuple[Step, ...]

    @property
    def holds_digest(self) -> bool:
        """Whether the place holds `sha256:…` alone, not the whole reference."""
        return self.steps[-1].name == "digest"

    def __str__(self) -> str:
        path = ".".join(map(str, self.steps))
        return path if self.document is None else f"{self.document}#{path}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidValue unless `text` is a key in its one spelling."""
        if not text or len(text) > KEY_MAX_CHARS:
            raise InvalidValue(f"key: expected 1 to {KEY_MAX_CHARS} characters, got {len(text)}")
        document, start = None, 0
        if found := _DOCUMENT.match(text):
            document, start = Document(found[1], found[2]), found.end()
        steps: list[Step] = []
        while True:
            step = _STEP.match(text, start)
            if step is None or len(steps) == STEPS_MAX:
                raise InvalidValue(_expected(text))
            steps.append(Step(step[1], None if step[2] is None else Item(step[2], step[3])))
            start = step.end()
            if start == len(text):
                break
            if text[start] != ".":
                raise InvalidValue(_expected(text))
            start += 1
        if steps[-1].item is not None:
            raise InvalidValue(f"key: ends at an item of a list; name what of it is the image, got {text[:80]!r}")
        return cls(document, tuple(steps))


def key_text(text: str) -> str:
    """`text`, if it is a key. Raises InvalidValue."""
    return str(Key.parse(text))


def _expected(text: str) -> str:
    return (
        "key: expected keys with dots between them, such as image.ref, containers[name=app].image or "
        f"Deployment/orders#spec.image, got {text[:80]!r}"
    )
