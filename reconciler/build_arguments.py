"""Build arguments: which may be declared for an image, and which are the builder's own.

Source: docs.docker.com/reference/dockerfile, "Predefined ARGs" and "Automatic platform ARGs in the global scope".
"""

from __future__ import annotations

import re
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
COUNT_MAX: Final = 50
NAME_MAX_CHARS: Final = 64
VALUE_MAX_CHARS: Final = 1024
_NAME: Final = re.compile(NAME)
_PLATFORM: Final = frozenset(
    side + part for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT", "STAGE", "OSVERSION")
)
_PROXIES: Final = frozenset(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "FTP", "NO", "ALL"))
_TIME: Final = "SOURCE_DATE_EPOCH"
_BUILDERS_OWN: Final = ("BUILDKIT_", "BUILDAH_")


def predefined(name: str) -> str:
    """Why nobody but the builder gives `name` a value, as half a sentence; empty for any other name."""
    if name in _PLATFORM:
        return "it is what is built and where: say `platforms`"
    if name.upper() in _PROXIES:
        return "it would lead steps to another network, and is in no record of the image"
    if name == _TIME:
        return "the time is the commit's"
    return "it changes the builder itself" if name.startswith(_BUILDERS_OWN) else ""


def check_name(text: str) -> str:
    """A name that the catalogue may give a value. Raises ValueError."""
    if len(text) > NAME_MAX_CHARS or not _NAME.fullmatch(text):
        raise ValueError(
            f"expected a name of at most {NAME_MAX_CHARS} letters, digits and _ that begins with no digit,"
            f" got {text[:NAME_MAX_CHARS]!r}"
        )
    if why := predefined(text):
        raise ValueError(f"the builder gives {text} its value: {why}")
    return text


def check_count(arguments: dict[str, str]) -> dict[str, str]:
    """Raises ValueError."""
    if len(arguments) > COUNT_MAX:
        raise ValueError(f"expected at most {COUNT_MAX} build arguments, got {len(arguments)}")
    return arguments


def check_value(text: str) -> str:
    """Raises ValueError."""
    if len(text) > VALUE_MAX_CHARS or not text.isprintable():
        raise ValueError(f"expected at most {VALUE_MAX_CHARS} printable characters in one line")
    return text
