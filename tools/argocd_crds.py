#!/usr/bin/env python3
"""Bring Argo CD's own definitions of its three types, one folder a version, and say where they are. Needs Go.

    tools/argocd_crds.py      fetch what is missing, print where they lie

They are files of Argo CD's Go module, which Go checks against its checksum database. They lie in
`${XDG_CACHE_HOME:-~/.cache}/ameide-tools/argocd-crds/<version>/`; of the module nothing else is kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

MODULE: Final = "github.com/argoproj/argo-cd/v3"
VERSIONS: Final = ("v3.3.9", "v3.4.13", "v3.5.1")
"""One of each series that the lane is rendered for."""
NAMES: Final = ("application-crd.yaml", "applicationset-crd.yaml", "appproject-crd.yaml")


def folder() -> Path:
    """Where the versions' folders lie."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return cache / "ameide-tools" / "argocd-crds"


def find() -> Path | None:
    """The same, or None if one is missing."""
    return folder() if all(_is_there(version) for version in VERSIONS) else None


def fetch(version: str) -> None:
    """Have one version's definitions. Raises CalledProcessError if Go cannot, OSError for a file that is not there."""
    target = folder() / version
    if _is_there(version):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        environment = {**os.environ, "GOMODCACHE": f"{scratch}/modules", "GOFLAGS": "-modcacherw"}
        command = ["go", "mod", "download", "-json", f"{MODULE}@{version}"]
        done = subprocess.run(command, check=True, capture_output=True, env=environment, cwd=scratch)
        found = Path(json.loads(done.stdout)["Dir"]) / "manifests" / "crds"
        made = Path(scratch) / "made"
        made.mkdir()
        for name in NAMES:
            shutil.copyfile(found / name, made / name)
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)


def _is_there(version: str) -> bool:
    return all((folder() / version / name).is_file() for name in NAMES)


if __name__ == "__main__":
    try:
        for each in VERSIONS:
            fetch(each)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"argocd_crds: {error}")
    print(folder())
