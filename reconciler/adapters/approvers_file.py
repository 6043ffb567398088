"""The approvers' policy in force: its file read anew at every use, parsed where its bytes changed."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import Signers
from reconciler.declared import MAX_BYTES
from reconciler.evidence.authority import Authority
from reconciler.strict_yaml import read_regular


class ApproversFile:
    """Gives `Signers`; may be asked by several threads."""

    def __init__(self, path: Path, targets: Collection[str], certificates: Authority | None) -> None:
        """`targets` are the configured ones; `certificates` vouches for principals without a key of their own."""
        self._path = path
        self._targets = frozenset(targets)
        self._certificates = certificates
        self._lock = threading.Lock()
        self._last: tuple[bytes, Signers] | None = None

    def signers(self) -> Signers:
        """By the file as it is now. Raises ConfigError with every problem; nobody is an approver then."""
        raw = read_regular(self._path, max_bytes=MAX_BYTES)
        with self._lock:
            if self._last is None or self._last[0] != raw:
                policy = parse_policy(raw, what=str(self._path), targets=self._targets)
                self._last = raw, Signers(policy, self._certificates)
            return self._last[1]
