"""What holds for every request and every text, whatever it is about: invariants 11, 13 and 14."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Final

from reconciler.evidence.found import BUNDLE_MAX_BYTES
from state.entry import Logged
from state.release_set import RELEASE_SET_MAX_BYTES
from tests.fixtures.registry_stub import Seen
from tests.simulation.told import Violation

SECRET: Final = "hunter2"
"""Part of every password and token of the simulation."""
POISON: Final = "poison"
"""Part of every credential that lies where other programs look for one."""
READ_MAX_BYTES: Final = 256 * 1024
"""No client of the simulation may read more of one answer; that its limits say less leaves room for one chunk."""
BLOB_MAX_BYTES: Final = max(RELEASE_SET_MAX_BYTES, BUNDLE_MAX_BYTES) + 64 * 1024
"""The same of what is read as a blob, whose bounds are no settings."""
READ_TIMEOUT_MAX_S: Final = 30


class WireChecks:
    """Requests, answers and texts."""

    def __init__(self) -> None:
        self.hosts: dict[str, Callable[[str], bool]] = {}
        """Host → whether it may be sent this `Authorization`; any other host gets none."""
        self.requests = 0

    def sent(self, seen: Seen, timeout: tuple[float, float], options: Mapping[str, object]) -> None:
        """A request is about to go out."""
        self.requests += 1
        host, proof = seen.headers["host"], seen.headers.get("authorization", "")
        if POISON in _plain(proof):
            raise Violation(11, f"{host} was sent a credential that nobody configured")
        if options.get("proxies"):
            raise Violation(11, f"{host} is asked through a proxy that nobody configured")
        if proof and not self.hosts.get(host, lambda _: False)(proof):
            raise Violation(14, f"{host} was sent a credential that is not for it")
        if SECRET in f"{seen.path}{seen.query}{seen.headers.get('referer', '')}":
            raise Violation(14, f"{host}: a secret is part of the address {seen.path}")
        if not 0 < timeout[1] <= READ_TIMEOUT_MAX_S:
            raise Violation(13, f"{host} is waited for up to {timeout[1]} s")

    def answered(self, path: str) -> Callable[[int], None]:
        """Counts the bytes that are read of one answer."""
        total, bound = 0, BLOB_MAX_BYTES if "/blobs/" in path else READ_MAX_BYTES

        def read(size: int) -> None:
            nonlocal total
            total += size
            if total > bound:
                raise Violation(13, f"{total} bytes of one answer were read")

        return read

    def logged(self, logged: Logged, blobs: Mapping[str, bytes]) -> None:
        """An entry was appended to any log."""
        self.told(f"the log ({logged.entry.kind.value})", json.dumps(logged.entry.body))
        for name, raw in blobs.items():
            self.told(f"the log ({name})", raw.decode())

    def told(self, where: str, text: str) -> None:
        """A text is about to leave the process."""
        if SECRET in text or _BASIC in text:
            raise Violation(14, f"{where} has a secret: {text[:300]}")


_BASIC: Final = base64.b64encode(b"puller:hunter2").decode()[:16]


def _plain(proof: str) -> str:
    """The header with what Basic hides."""
    scheme, _, value = proof.partition(" ")
    return f"{proof} {base64.b64decode(value).decode(errors='replace')}" if scheme == "Basic" else proof
