"""What a fuzz target is, and the form in which targets read an HTTP answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import requests
from requests.structures import CaseInsensitiveDict

from state.errors import ReconcilerError


class Target(NamedTuple):
    """One parser of outside bytes. Whatever they are, it returns or raises one of `allowed`."""

    name: str
    """Also the folder of its corpus."""
    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = (ReconcilerError,)
    max_len: int = 4096
    """Of one input, in bytes; the parser's own bound is held by the tests of it."""


def text(raw: bytes) -> str:
    """The bytes as text: any text that UTF-8 can carry."""
    return raw.decode(errors="replace")


def answer(raw: bytes) -> requests.Response:
    """An HTTP answer out of `status`, `Name: value` lines, an empty line and the body; header text as in RFC 9110 §5.5.

    What has no status of three digits is a 200.
    """
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    response = requests.Response()
    response.status_code = int(first) if first.isascii() and first.isdigit() and len(first) == 3 else 200
    response.headers = CaseInsensitiveDict(
        (name.strip(), value.strip()) for name, colon, value in (line.partition(":") for line in lines) if colon
    )
    response.url = "https://registry.test/v2/"
    response.request = requests.Request("GET", response.url, {"Authorization": "Basic dTpwdw=="}).prepare()
    response._content = body
    response._content_consumed = True  # type: ignore[attr-defined]
    return response


def each(*calls: Callable[[], object], allowed: tuple[type[Exception], ...] = (ReconcilerError,)) -> None:
    """Run every call, though one before it was refused."""
    for call in calls:
        with suppress(*allowed):
            call()
