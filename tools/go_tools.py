#!/usr/bin/env python3
"""Build the Go programs of the interop suites once, and say where they are. Needs Go and its module proxy; no package.

    tools/go_tools.py          build what is missing, print each program's path

They lie in `${XDG_CACHE_HOME:-~/.cache}/ameide-tools/<program>-<version>/` and are found there by the tests.
Versions are pinned here; Go checks each module against its checksum database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple


class Tool(NamedTuple):
    """`package` is a main package whose last element names the binary that `go install` makes."""

    package: str
    version: str


TOOLS: Final = {
    "distribution3": Tool("github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"),
    "conformance": Tool(
        "github.com/opencontainers/distribution-spec/conformance", "v0.0.0-20260831232431-97274622c111"
    ),
    "cosign": Tool("github.com/sigstore/cosign/v3/cmd/cosign", "v3.1.3"),
    "oras": Tool("oras.land/oras/cmd/oras", "v1.3.6"),
}


def path_of(name: str) -> Path:
    """Where the program `name` lies once it is built."""
    tool = TOOLS[name]
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return cache / "ameide-tools" / f"{name}-{tool.version}" / tool.package.rpartition("/")[2]


def find(name: str) -> Path | None:
    """The built program, or None."""
    path = path_of(name)
    return path if os.access(path, os.X_OK) and path.is_file() else None


def build(name: str) -> Path:
    """Build `name` unless it is there. Raises CalledProcessError if Go cannot."""
    if found := find(name):
        return found
    tool, path = TOOLS[name], path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # a build that is cut short leaves no program
        environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        subprocess.run(["go", "install", f"{tool.package}@{tool.version}"], check=True, env=environment)
        (Path(folder) / path.name).replace(path)
    return path


def main() -> int:
    """Build all; 0 when all are there, 1 when one cannot be built."""
    if any(find(name) is None for name in TOOLS) and shutil.which("go") is None:
        print("go_tools: go is not on PATH. Debian: apt-get install golang · macOS: brew install go", file=sys.stderr)
        return 1
    for name in TOOLS:
        try:
            print(f"{name}: {build(name)}", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"go_tools: {name} {TOOLS[name].version} could not be built: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
