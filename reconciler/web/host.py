"""The HTTP host with its two listeners."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from reconciler.events import Emitter, Event
from reconciler.listener import Bounds, Listener
from reconciler.settings.types import split_address
from reconciler.web.apps import Handler, HealthSource, private_app, public_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["HealthSource", "Host"]

PRIVATE_BODY_MAX_BYTES: Final = 1024
PUBLIC_BODY_MAX_BYTES: Final = 1024 * 1024


class Host:
    """Serves the private and the public application, each on its own socket, threads and connection limit.

    Both are bound when this is made, so a taken address is known before anything starts.

    Args:
        private: address such as 127.0.0.1:8080, or None for no such listener.
        public: likewise.
        health: asked by the probes.
        metrics: the exposition that `/metrics` answers.
        emitter: told about bound addresses and faults.
        outside: the application of the public listener; None answers 404 to everything.
        pages: what the private listener answers besides probes and metrics; None for nothing.

    Raises ConfigError if an address cannot be bound.
    """

    def __init__(
        self,
        *,
        private: str | None,
        public: str | None,
        health: HealthSource,
        metrics: Callable[[], bytes],
        emitter: Emitter,
        outside: WSGIApplication | None = None,
        pages: Handler | None = None,
    ) -> None:
        self._emitter = emitter
        self._listeners: dict[str, Listener] = {}
        with ExitStack() as bound:
            if private is not None:
                app = private_app(health, metrics, emitter, pages)
                # More threads than pages are ever made at once (`status.views`), so that probes do not wait for them.
                bounds = Bounds(PRIVATE_BODY_MAX_BYTES, PRIVATE_BODY_MAX_BYTES, threads=6, connections=100, idle_s=30)
                self._listeners["private"] = Listener(split_address(private), app, bounds)
                bound.callback(self._listeners["private"].stop)
            if public is not None:
                bounds = Bounds(PUBLIC_BODY_MAX_BYTES, PUBLIC_BODY_MAX_BYTES, threads=4, connections=200, idle_s=30)
                self._listeners["public"] = Listener(split_address(public), outside or public_app(emitter), bounds)
            bound.pop_all()

    @property
    def private_address(self) -> tuple[str, int] | None:
        """The bound host and port."""
        return self._listeners["private"].address if "private" in self._listeners else None

    @property
    def public_address(self) -> tuple[str, int] | None:
        """The bound host and port."""
        return self._listeners["public"].address if "public" in self._listeners else None

    def start(self) -> None:
        for name, listener in self._listeners.items():
            listener.start()
            host, port = listener.address
            self._emitter.emit(
                Event.LISTENING, name=name, address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            )

    def stop(self) -> None:
        """Stop both; the public one first. A second call does nothing."""
        while self._listeners:
            self._listeners.popitem()[1].stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
