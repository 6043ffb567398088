#!/usr/bin/env python3
"""Install Kubernetes' own Python client for its interop suite, into an environment of its own, and say where that is.

    tools/kubernetes_client.py     install it unless it is there, print the path of its Python

It is a peer in tests (27 distributions, 163 MB), not a dependency: the environment lies in
`${XDG_CACHE_HOME:-~/.cache}/ameide-tools/kubernetes-client-<digest of the lock>/`. Every file is pinned by its digest
in kubernetes_client/requirements.lock; to renew it:

    echo kubernetes==VERSION | uv pip compile --universal --generate-hashes --no-header - -o requirements.lock
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parent / "kubernetes_client" / "requirements.lock"
_DONE: Final = "installed"


def path_of() -> Path:
    """Where the Python that has the client lies once it is installed."""
    return _folder() / "bin" / "python"


def find() -> Path | None:
    """The same, or None if it is not installed whole."""
    return path_of() if (_folder() / _DONE).is_file() else None


def install() -> Path:
    """Install it unless it is there. Raises CalledProcessError if pip cannot."""
    if found := find():
        return found
    folder = _folder()
    shutil.rmtree(folder, ignore_errors=True)  # what an install that was cut short left
    venv.create(folder, with_pip=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    command = [str(path_of()), "-m", "pip", "install", *quiet, "--no-deps", "--require-hashes", "-r", str(LOCK)]
    subprocess.run(command, check=True)
    (folder / _DONE).touch()
    return path_of()


def _folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return cache / "ameide-tools" / f"kubernetes-client-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"


if __name__ == "__main__":
    try:
        print(install())
    except subprocess.CalledProcessError as error:
        sys.exit(f"kubernetes_client: {error}")
