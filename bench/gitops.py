"""`gitops.check-images`: the digest policy over a tree of 20,000 files, against `git grep` for the same key."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from bench.measure import Bench, Contender, Row, Target, seconds, versus

FILES = 20_000
_VALUES = """\
# {name}: {comment}
replicas: {n}
image:
  ref: ghcr.io/acme/{name}@sha256:{digest}
  pullPolicy: IfNotPresent
resources:
  requests: {{cpu: {n}0m, memory: {n}28Mi}}
env:
  - {{name: LOG_LEVEL, value: info}}
  - {{name: GRPC_URL, value: "http://{name}:50051"}}
"""
_COMPONENT = """\
name: {name}
project: acme
domain: apps
componentType: workload
rolloutPhase: "650"
chart:
  repoURL: https://git.example/acme/gitops.git
  path: sources/charts/apps/{name}
  version: main
syncOptions: [CreateNamespace=false]
"""
_MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  replicas: {n}
  template:
    spec:
      initContainers:
        - name: migrate
          image: ghcr.io/acme/{name}-migrations@sha256:{digest}
      containers:
        - name: app
          image: ghcr.io/acme/{name}:v1.{n}.0@sha256:{digest}
          imagePullPolicy: IfNotPresent
          ports: [{{containerPort: 50051}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 50051}}]}}
"""
_CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  a: '{digest}'\n  b: |\n    {comment}\n"
_SHAPES = (_VALUES, _VALUES, _COMPONENT, _MANIFEST, _CONFIG)
_FORBIDDEN = "image:\n  ref: ghcr.io/acme/{name}:main\n"


def tree(folder: Path, forbidden: int) -> None:
    """A git work tree of FILES files, of which so many have an image that is not pinned."""
    chance = random.Random(7)
    bad = set(chance.sample(range(FILES), forbidden))
    for number in range(FILES):
        below = folder / f"sources/values/{number % 4}/{number // 100}"
        below.mkdir(parents=True, exist_ok=True)
        text = _FORBIDDEN if number in bad else _SHAPES[number % len(_SHAPES)]
        filled = text.format(
            name=f"app-{number}", n=number % 9 + 1, digest=f"{chance.getrandbits(256):064x}", comment="x " * 20
        )
        (below / f"app-{number}.yaml").write_text(filled)
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=b", "-c", "user.email=b@x", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def run(bench: Bench) -> list[Row]:
    rows = []
    for forbidden in (0, 20):
        folder = bench.folder(f"tree-{forbidden}")
        tree(folder, forbidden)
        target = Target("<=", 3)

        def ours(folder: Path = folder, expected: int = forbidden) -> float:
            command = [sys.executable, "-m", "reconciler.cli", "gitops", "check-images", "--json", "."]
            return seconds(lambda: _run([sys.executable, "-c", _PROGRAM, *command[3:]], folder, 1 if expected else 0))

        def peer(folder: Path = folder) -> float:
            return seconds(lambda: _run(["git", "grep", "-n", "image:"], folder, 0))

        contenders: dict[str, Contender] = {"git grep": peer}
        found = versus(f"check-images, {forbidden} forbidden", bench.rounds, ours, contenders)["git grep"]
        what = f"{FILES} files, {forbidden} not pinned"
        note = "`git grep -n image:`; ours is the whole command"
        rows.append(Row("gitops.check-images", what, found.ours, found.peer, "s", found.ratio, target, note))
    return rows


_PROGRAM = "from reconciler.cli import main; main()"


def _run(command: list[str], folder: Path, expected: int) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != expected:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}, expected {expected}")
