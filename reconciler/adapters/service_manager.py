"""Telling the service manager how this process is: sd_notify(3), without a library.

`NOTIFY_SOCKET` and `WATCHDOG_USEC` are no settings: they say who asks, and whether a watchdog listens. How long the
loop may be silent is the configuration's word alone, so the watchdog's time is set from here (`WATCHDOG_USEC=`), and so
is the time that starting and stopping may take (`EXTEND_TIMEOUT_USEC=`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final, Self

from reconciler.ports import Clock
from state.errors import ConfigError, Unavailable

STATUS_MAX_CHARS: Final = 400
ALIVE_EVERY_S: Final = 1.0
"""More signs of life than one in so many seconds are not passed on."""
_SEND_S: Final = 1.0
_PATH_MAX_BYTES: Final = 107
"""sun_path of unix(7), without its end."""


class ServiceManager:
    """Sends one datagram a message; says nothing where nobody asked. Its methods may be called by any thread.

    Args:
        address: the socket, as a path or as `@name` for an abstract one; None for nobody.
        watchdog: whether the manager ends this process when it hears nothing for too long.
    """

    def __init__(self, address: str | None, clock: Clock, *, watchdog: bool = False) -> None:
        self._clock = clock
        self._watchdog = watchdog
        self._address: bytes | None = None
        self._alive_at_s = -ALIVE_EVERY_S
        self._status = ""
        if address is None:
            return
        raw = os.fsencode(address)
        if raw[:1] not in {b"/", b"@"} or len(raw) > _PATH_MAX_BYTES:
            raise ConfigError(f"NOTIFY_SOCKET: expected /path or @name of a Unix socket, got {address[:80]!r}")
        self._address = b"\0" + raw[1:] if raw[:1] == b"@" else raw

    @classmethod
    def of_environment(cls, clock: Clock, environ: Mapping[str, str] | None = None) -> Self:
        """The manager that started this process. Raises ConfigError if its address is none."""
        found = os.environ if environ is None else environ
        for_us = found.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(found.get("NOTIFY_SOCKET") or None, clock, watchdog="WATCHDOG_USEC" in found and for_us)

    def starting(self, within_s: float, status: str) -> None:
        """The start goes on, and this step of it takes so many seconds at most."""
        self._send(f"EXTEND_TIMEOUT_USEC={_usec(within_s)}", self._changed(status))

    def ready(self, silent_s: float) -> None:
        """It works; from now on a silence of more than so many seconds means that it does not.

        Raises Unavailable if the manager does not take it: it would end a process that it never saw start.
        """
        watchdog = (f"WATCHDOG_USEC={_usec(silent_s)}", "WATCHDOG=1") if self._watchdog else ()
        try:
            self._must_send("READY=1", *watchdog)
        except OSError as error:
            raise Unavailable(f"NOTIFY_SOCKET: the service manager does not take READY=1: {error}") from error

    def alive(self) -> bool:
        """The loop turns. Passed on at most once in ALIVE_EVERY_S; whether it was."""
        now = self._clock.monotonic_s()
        if self._address is None or now - self._alive_at_s < ALIVE_EVERY_S:
            return False
        self._alive_at_s = now
        if self._watchdog:
            self._send("WATCHDOG=1")
        return True

    def status(self, text: str) -> None:
        """One line for people (`systemctl status`), sent when it has changed."""
        if changed := self._changed(text):
            self._send(changed)

    def stopping(self, within_s: float) -> None:
        """It ends after its drain, within so many seconds. May be called from a signal handler."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={_usec(within_s)}", self._changed("draining"))

    def _changed(self, text: str) -> str:
        line = "".join(c if c.isprintable() else " " for c in text)[:STATUS_MAX_CHARS]
        if line == self._status:
            return ""
        self._status = line
        return f"STATUS={line}"

    def _send(self, *assignments: str) -> None:
        # What gets lost is said again, or leads to a restart, which the manager tells.
        with contextlib.suppress(OSError):
            self._must_send(*assignments)

    def _must_send(self, *assignments: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(_SEND_S)
            sending.sendto("\n".join(a for a in assignments if a).encode("utf-8", "replace"), self._address)


def _usec(seconds: float) -> int:
    return round(seconds * 1_000_000)
