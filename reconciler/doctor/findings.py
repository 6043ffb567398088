"""What a check of `ameide doctor` says, and how checks are run."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from reconciler.secret_modes import open_to_others
from state.errors import ReconcilerError


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One check: its name, how it went, what was found, and what to do unless it is ok."""

    check: str
    status: Status
    found: str
    remedy: str = ""


def attempt(check: str, run: Callable[[], str | Finding], remedy: str) -> Finding:
    """What `run` found, or the error it raised as a failure with `remedy`."""
    try:
        found = run()
    except (ReconcilerError, OSError, subprocess.SubprocessError) as error:
        return Finding(check, Status.FAIL, str(error), remedy)
    return found if isinstance(found, Finding) else Finding(check, Status.OK, found)


def secret(check: str, path: Path) -> Finding:
    """Existence, kind and mode of a secret's file; its content is not looked at."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return Finding(check, Status.FAIL, f"{path}: {error.strerror}", "put the file there, or mount the secret")
    if not stat.S_ISREG(mode) or not os.access(path, os.R_OK):
        return Finding(check, Status.FAIL, f"{path}: not a regular file that this user can read", f"chmod 600 {path}")
    if open_to_others(path):
        found = f"{path}: mode {stat.S_IMODE(mode):04o} lets others of this machine read or change it"
        return Finding(check, Status.WARN, found, f"chmod 600 {path}; in Kubernetes set the volume's defaultMode")
    return Finding(check, Status.OK, f"{path}: mode {stat.S_IMODE(mode):04o}")
