#!/usr/bin/env python3
"""Build the Go programs of the interop suites once, and say where they are. Needs Go and its module proxy; no package.
Gitea needs a C compiler besides.

    tools/go_tools.py             build what is missing of the suites' programs, print each program's path
    tools/go_tools.py NAME...     build these alone, e.g. the peers of `bench/peers.py`, which no suite needs

They lie in `${XDG_CACHE_HOME:-~/.cache}/ameide-tools/<program>-<version>/` and are found there by the tests.
Versions are pinned here; Go checks each module against its checksum database.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple


class Tool(NamedTuple):
    """`package` is a main package whose last element names the binary that `go install` makes.

    With `local` it is the module in that directory beside this file, whose go.mod and go.sum pin everything.
    With `tags` it is a module that `go install` refuses, since its go.mod replaces others: it is built in its own
    directory, with these build tags, by way of C (sqlite); the directories `data` lie beside the program then.
    """

    package: str
    version: str
    tags: str = ""
    data: tuple[str, ...] = ()
    local: str = ""


TOOLS: Final = {
    "distribution3": Tool("github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"),
    "conformance": Tool(
        "github.com/opencontainers/distribution-spec/conformance", "v0.0.0-20260831232431-97274622c111"
    ),
    "cosign": Tool("github.com/sigstore/cosign/v3/cmd/cosign", "v3.1.3"),
    "oras": Tool("oras.land/oras/cmd/oras", "v1.3.6"),
    # A Kubernetes API: upstream's kube-apiserver over an etcd in the same process. Its own go.mod replaces what
    # `go install` would not take. The build is the longest of all: 21 minutes on two busy cores.
    "kubernetes": Tool("ameide.dev/kube-apiserver", "v1.35.3", local="kube_apiserver"),
    # Of later ones the module proxy has no module that builds.
    "gitea": Tool("code.gitea.io/gitea", "v1.26.0", "sqlite sqlite_unlock_notify", ("options", "public", "templates")),
}

PEERS: Final = {
    "crane": Tool("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    "regctl": Tool("github.com/regclient/regclient/cmd/regctl", "v0.11.7"),
    "regsync": Tool("github.com/regclient/regclient/cmd/regsync", "v0.11.7"),
}
"""Programs that benchmarks alone use: built when they are named."""
_ALL: Final = {**TOOLS, **PEERS}


def path_of(name: str) -> Path:
    """Where the program `name` lies once it is built."""
    tool = _ALL[name]
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return cache / "ameide-tools" / f"{name}-{tool.version}" / tool.package.rpartition("/")[2]


def version_of(name: str) -> str:
    """The pinned version."""
    return _ALL[name].version


def find(name: str) -> Path | None:
    """The built program, or None."""
    path = path_of(name)
    return path if os.access(path, os.X_OK) and path.is_file() else None


def build(name: str) -> Path:
    """Build `name` unless it is there. Raises CalledProcessError if Go cannot."""
    if found := find(name):
        return found
    tool, path = _ALL[name], path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # a build that is cut short leaves no program
        if tool.local:
            _build_local(tool, Path(folder) / path.name)
        elif tool.tags:
            _build_in_place(tool, Path(folder) / path.name, path.parent)
        else:
            environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
            subprocess.run(["go", "install", f"{tool.package}@{tool.version}"], check=True, env=environment)
        (Path(folder) / path.name).replace(path)
    return path


def _build_local(tool: Tool, program: Path) -> None:
    subprocess.run(
        ["go", "build", "-C", str(Path(__file__).parent / tool.local), "-trimpath", "-ldflags=-s -w",
         "-o", str(program), "."],
        check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip


def _build_in_place(tool: Tool, program: Path, home: Path) -> None:
    told = subprocess.run(
        ["go", "mod", "download", "-json", f"{tool.package}@{tool.version}"], check=True, capture_output=True, text=True
    )
    source = Path(json.loads(told.stdout)["Dir"])
    subprocess.run(
        ["go", "build", "-C", str(source), "-tags", tool.tags, "-o", str(program), "."],
        check=True,
        env={**os.environ, "CGO_ENABLED": "1"},
    )
    for name in tool.data:
        for folder, _, files in os.walk(source / name):  # not copytree: directories of the module cache are read-only
            to = home / Path(folder).relative_to(source)
            to.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copyfile(Path(folder) / file, to / file)


def main(names: list[str]) -> int:
    """Build these, or all of the suites; 0 when all are there, 1 when one cannot be built, 2 when there is no such."""
    if unknown := [name for name in names if name not in _ALL]:
        print(f"go_tools: no program {', '.join(unknown)}; there are {', '.join(_ALL)}", file=sys.stderr)
        return 2
    wanted = names or list(TOOLS)
    if any(find(name) is None for name in wanted) and shutil.which("go") is None:
        print("go_tools: go is not on PATH. Debian: apt-get install golang · macOS: brew install go", file=sys.stderr)
        return 1
    for name in wanted:
        try:
            print(f"{name}: {build(name)}", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"go_tools: {name} {_ALL[name].version} could not be built: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
