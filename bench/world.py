"""A code repository with many pull requests, an inventory, and an embedded registry that counts what it is asked."""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pygit2

from bench.fast_import import FastImport, git
from reconciler import wiring
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.local_record import Record, State
from reconciler.adapters.local_repository import LocalRepository
from reconciler.adapters.local_store import head_ref, record_ref
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import generate_key_file
from reconciler.demo.images import build_and_push
from reconciler.events import to_stream
from reconciler.looking import Rules
from reconciler.passes import PassReport, Repository
from reconciler.registry.server import Address, RegistryServer
from reconciler.settings import load
from state.git import RefName
from state.oci import Repository as ImageRepository
from state.oci import Tag

MAIN: Final = RefName.branch("main")
REPOSITORY_ID: Final = 1001
_REQUESTS: Final = re.compile(rb"^ameide_registry_requests_total\{.*\} ([0-9.]+)$", re.MULTILINE)


@dataclass(slots=True)
class Requests:
    """What the registry was asked, by kind: the method, and `list` for a listing of tags."""

    seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, method: str, path: str, status: int) -> None:
        del status
        kind = "list" if path.endswith("/tags/list") else method
        with self._lock:
            self.seen[kind] += 1

    def taken(self) -> Counter[str]:
        """What was counted since the last time."""
        with self._lock:
            taken, self.seen = self.seen, Counter()
        return taken


@dataclass(frozen=True, slots=True)
class World:
    """The reconciler in production wiring, and what it talks to."""

    code: Path
    log: Path
    requests: Requests
    metrics: PrometheusMetrics
    repository: Repository
    rules: Rules

    def one_pass(self) -> PassReport:
        """One pass. Raises RuntimeError if anything in it went wrong."""
        report = self.repository.run_pass(self.rules, frozenset(), lambda: False)
        if report.problems or report.applied.failed:
            raise RuntimeError(f"a pass had problems: {report.problems[:3]} {report.applied}")
        return report

    def open(self, numbers: range) -> None:
        """Open pull requests, each with a head of its own that changes nothing an image is built from."""
        repository = pygit2.Repository(str(self.code))
        base = repository.references[MAIN].target
        root = repository[base].peel(pygit2.Tree)
        who = pygit2.Signature("A developer", "developer@example.invalid", 1_767_603_600, 0)
        for number in numbers:
            builder = repository.TreeBuilder(root)
            builder.insert("README.md", repository.create_blob(b"%d\n" % number), pygit2.enums.FileMode.BLOB)
            head = repository.create_commit(None, who, who, "words", builder.write(), [base])
            record = Record(number, State.OPEN, MAIN, 1, REPOSITORY_ID)
            repository.references.create(head_ref(number), head)
            repository.references.create(record_ref(number), repository.create_blob(record.encode()))
        git(self.code, "pack-refs", "--all")
        git(self.code, "repack", "-a", "-d", "-q")

    def requests_by_metrics(self) -> int:
        """What a registry of any kind was asked so far, as the adapter counts it."""
        return int(sum(float(value) for value in _REQUESTS.findall(self.metrics.exposition())))

    def log_bytes(self) -> int:
        """The size of the log's repository on disk."""
        return sum(file.stat().st_blocks * 512 for file in self.log.rglob("*") if file.is_file())


@contextmanager
def world(root: Path, images: int, host: str = "") -> Iterator[World]:
    """A world without pull requests; `:main` of every image is published, nothing is counted yet.

    With `host` its images are in that registry, which does its own counting, or none.
    """
    names = [f"image-{n:02d}" for n in range(images)]
    requests = Requests()
    with RegistryServer(root / "registry", Address("127.0.0.1", 0), on_request=requests) as server:
        host = host or server.host
        code = root / "code.git"
        LocalRepository(code).initialise(REPOSITORY_ID)
        files = {f"primitives/{name}/main.txt": f"{name}\n" for name in names}
        catalogue = [
            f"  {n}: {{repository: {host}/bench/{n}, inputs: [primitives/{n}], platforms: [linux/amd64]}}"
            for n in names
        ]
        components = [f"  {name}: {name}" for name in names]
        _commit(
            code,
            {
                "README.md": "0\n",
                "ameide.yaml": "\n".join(["version: 1", "images:", *catalogue, "components:", *components, ""]),
                **files,
            },
        )
        gitops = root / "gitops.git"
        inventory = [
            f"  {name}: {{previewed: true, pins: [{{environment: dev, file: apps/{name}.yaml}}]}}" for name in names
        ]
        _commit(gitops, {"ameide/inventory.yaml": "\n".join(["version: 1", "components:", *inventory, ""])})
        for name in names:
            build_and_push(ImageRepository(f"{host}/bench/{name}"), Tag("main"), "0" * 40)
        generate_key_file(root / "log-key")
        config = root / "ameide.yaml"
        config.write_text(_config(root, host))
        loaded = load(config)
        settings = loaded.settings.repositories[0]
        emit = to_stream(io.StringIO(), SystemClock(), human=False)
        metrics = PrometheusMetrics()
        with (
            wiring.shared(loaded, emit, metrics) as common,
            wiring.writer(common, settings) as (repository, _, _),
        ):
            repository.configured(loaded.digest)
            requests.taken()
            rules = wiring.rules(loaded.settings, settings)
            yield World(code, root / "log.git", requests, metrics, repository, rules)


def _commit(path: Path, files: dict[str, str]) -> None:
    stream = FastImport(path)
    stream.commit(MAIN, None, files)
    stream.run()


def _config(root: Path, registry: str) -> str:
    return f"""\
version: 1
mode: fill
state_dir: {root}/state
listen: {{private: "127.0.0.1:0"}}
registries:
  - {{host: "{registry}", plain_http: true, anonymous: true, max_writes_per_s: 1000}}
repositories:
  - name: bench
    forge: {{kind: local, path: {root}/code.git}}
    catalogue: ameide.yaml
    gitops: {{url: {root}/gitops.git, ref: refs/heads/main, inventory: ameide/inventory.yaml}}
    admission: {{base_branches: [main], hold_label: ameide/hold}}
    max_heads: 10000
    max_writes_per_hour: 1000000
    verification: {{baseline: none, pull_request: none}}
    log: {{path: {root}/log.git, key_file: {root}/log-key, writer: bench}}
"""
