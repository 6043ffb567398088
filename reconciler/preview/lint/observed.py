"""What was seen of open heads and their images, as a file: for the rules that no tree can decide.

    {"heads": [{"number": 7, "head_sha": "…", "images": {"ghcr.io/acme/orders": {
        "tag": "sha256:…", "recorded": "sha256:…", "signature": true, "provenance": true, "sbom": true}}}]}

`tag` is null where the tag is missing.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from reconciler.settings.types import Section
from state.errors import ConfigError

_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class ObservedImage(Section):
    tag: _Digest | None
    recorded: _Digest | None
    signature: bool = False
    provenance: bool = False
    sbom: bool = False


class ObservedHead(Section):
    number: int = Field(ge=1)
    head_sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    images: dict[str, ObservedImage]


class Observed(Section):
    heads: tuple[ObservedHead, ...]


def parse_observed(raw: bytes, file: str) -> Observed:
    """Raises ConfigError with every problem."""
    try:
        return Observed.model_validate_json(raw)
    except ValidationError as error:
        problems = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ConfigError(f"{file}: not what --observed takes", problems) from error
