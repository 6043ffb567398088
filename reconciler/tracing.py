"""Spans around stages and outside calls, for whoever listens; nobody does unless `tracing` is configured.

One process has one tracer, as in OpenTelemetry's own API, so that a span can be opened anywhere without being handed
through every constructor. Names and attributes are ours, numbers, or from the configuration: nothing that a pull
request controls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeAlias

Attribute: TypeAlias = "str | int | bool"


class Span(Protocol):
    """One timed piece of work."""

    def set(self, name: str, value: Attribute) -> None:
        """Note something that is known only now."""


class Tracer(Protocol):
    """Where spans go."""

    def span(self, name: str, attributes: dict[str, Attribute], *, client: bool) -> AbstractContextManager[Span]:
        """A span below the one that is open in this context; ends with the block, as an error where that raises.

        Args:
            client: it is a call to somebody outside.
        """


class _NoSpan:
    def set(self, name: str, value: Attribute) -> None:
        del name, value


_NO_SPAN = _NoSpan()
_tracer: Tracer | None = None


def span(name: str, *, client: bool = False, **attributes: Attribute) -> AbstractContextManager[Span]:
    """Open a span with the installed tracer; nothing happens without one. `_` in an attribute's name stands for `.`."""
    if _tracer is None:
        return nullcontext(_NO_SPAN)
    return _tracer.span(name, {key.replace("_", "."): value for key, value in attributes.items()}, client=client)


@contextmanager
def installed(tracer: Tracer) -> Iterator[None]:
    """Make `tracer` the process's one for the block."""
    global _tracer  # noqa: PLW0603 - one process, one tracer; see above
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before
