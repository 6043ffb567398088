"""Tests of everything a configuration names, from the inside out: each with what was found and the remedy.

Nothing outside is changed: what is written is files in `state_dir`, which are removed again, and the mirror of a code
repository that is not on this machine, which is a cache.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from reconciler.doctor import registry as doctor_registry
from reconciler.doctor import repository as doctor_repository
from reconciler.doctor import secrets as doctor_secrets
from reconciler.doctor import standby as doctor_standby
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.settings import Loaded
from state.errors import Terminal
from state.observed import Catalogue

GIT_NEEDED: Final = (2, 30)
_EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)


def diagnose(loaded: Loaded, clock: Clock, random: Random) -> Iterator[Finding]:
    """Every check in turn; one that fails does not keep the next from running."""
    settings = loaded.settings
    wall, steady = clock.now(), clock.monotonic_s()
    yield Finding("config", Status.OK, f"valid, {loaded.digest}")
    yield Finding("environment", Status.OK, "no variable starts with AMEIDE_")
    yield attempt("git", _git_version, f"install git {'.'.join(map(str, GIT_NEEDED))} or newer")
    yield attempt("state_dir", lambda: _state_dir(settings.state_dir), "make it a directory this user may write to")
    catalogues: list[Catalogue] = []
    for repository in settings.repositories:
        yield from doctor_repository.diagnose(repository, settings, catalogues, clock, random)
    yield from doctor_registry.undeclared(settings, catalogues)
    for registry in settings.registries:
        yield from doctor_registry.diagnose(registry, settings, catalogues, clock, random)
    for name, file in doctor_secrets.telling(settings):
        yield secret(name, file)
    yield from doctor_standby.diagnose(settings.standby, clock)
    yield from doctor_secrets.diagnose(settings)
    yield _clock(clock, wall, steady)


def _git_version() -> str:
    made = subprocess.run(["git", "version"], capture_output=True, text=True, timeout=10, check=True)
    match = re.search(r"([0-9]+)\.([0-9]+)[0-9.]*", made.stdout)
    if match is None or (int(match[1]), int(match[2])) < GIT_NEEDED:
        raise Terminal(f"expected git {'.'.join(map(str, GIT_NEEDED))} or newer, got {made.stdout.strip()[:80]!r}")
    return match[0]


def _state_dir(directory: Path) -> str:
    handle, name = tempfile.mkstemp(prefix=".ameide-doctor-", dir=directory)
    written = Path(name)
    moved = written.with_name(written.name + ".moved")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        written.replace(moved)
        if moved.read_bytes() != b"x":
            raise Terminal(f"{directory}: a file did not keep its content over a rename")
    finally:
        for left in (written, moved):
            left.unlink(missing_ok=True)
    return f"{directory}: writable, files can be replaced atomically"


def _clock(clock: Clock, wall: datetime, steady: float) -> Finding:
    drift = abs((clock.now() - wall).total_seconds() - (clock.monotonic_s() - steady))
    if wall < _EARLIEST:
        return Finding("clock", Status.FAIL, f"the time is {wall:%Y-%m-%d}, which is past", "set the clock; run NTP")
    if drift > 1:
        return Finding(
            "clock", Status.WARN, f"the time jumped by {drift:.1f} s during these checks", "run NTP, slewing"
        )
    return Finding("clock", Status.OK, f"{wall:%Y-%m-%dT%H:%M:%SZ}, steady")
