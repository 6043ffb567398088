"""The demo's story: pull requests of each kind, passes while things happen, and the log verified at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TextIO, TypeAlias

from reconciler import wiring
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import generate_key_file
from reconciler.demo.ci import BUILDER, SOURCE, Keys, Publisher, publisher
from reconciler.demo.world import FORK_ID, MAIN, Attest, World
from reconciler.events import to_stream
from reconciler.loop import Loop
from reconciler.passes import PassReport
from reconciler.registry.server import Address, RegistryServer
from reconciler.settings import Loaded, environment_problems, load
from state.canonical import Json
from state.errors import ConfigError
from state.git import CommitId, RefName
from state.hold import Reason
from state.log_verify import VerifyReport, verify
from state.oci import Digest, Repository, Tag

CONFIG: Final = "ameide.yaml"
Ready: TypeAlias = Callable[[PassReport], bool]
UNATTESTED: Final = frozenset({"catalog"})
BY_A_STRANGER: Final = frozenset({"web"})


@dataclass(slots=True)
class Telling:
    """What the story tells as it goes; the demo command shows it."""

    chapter: Callable[[str], None]
    matrix: Callable[[PassReport, str], None]
    passes: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything lies."""

    root: Path
    registry: str
    config: Path

    @property
    def code(self) -> Path:
        return self.root / "shop.git"

    @property
    def ledger(self) -> Path:
        return self.root / "log.git"

    @property
    def release_sets(self) -> str:
        """The repository of the release sets."""
        return f"{self.registry}/shop/release-sets"

    @property
    def ci_key(self) -> Path:
        """The public key by which evidence of CI counts."""
        return self.root / "ci.pub"

    @property
    def own_key(self) -> Path:
        """The public key of what the reconciler signs itself."""
        return self.root / "reconciler.pub"

    @property
    def allowed_signers(self) -> Path:
        return self.root / "allowed_signers"


@contextmanager
def stage(root: Path) -> Iterator[tuple[Stage, World]]:
    """Set the stage in an empty directory: registry, repositories, baselines, configuration, keys.

    Raises ConfigError if the directory holds anything or cannot be made, or a variable in the environment looks like a
    setting.
    """
    if stray := environment_problems(os.environ):
        raise ConfigError("the demo takes no setting from the environment", stray)
    try:
        root.mkdir(parents=True, exist_ok=True)
        used = any(root.iterdir())
    except OSError as error:
        raise ConfigError(f"{root}: cannot be made ({error.strerror}); name a new directory with --dir") from error
    if used:
        raise ConfigError(f"{root}: is not empty; name a new directory with --dir")
    if not os.access(root, os.W_OK | os.X_OK):
        raise ConfigError(f"{root}: this user may not write there; name a new directory with --dir")
    with RegistryServer(root / "registry", Address("127.0.0.1", 0)) as registry, publisher(registry.host) as ci:
        keys = {name: Keys(root, name) for name in ("ci", "stranger", "reconciler")}
        world = World.create(root, registry.host, _before_the_story(ci, keys))
        world.attest = partial(ci.attest, keys["ci"])
        key = generate_key_file(root / "log-key")
        (root / "allowed_signers").write_text(f'demo@ameide.invalid namespaces="git" {key}\n')
        config = root / CONFIG
        config.write_text(_config(root, registry.host))
        yield Stage(root, registry.host, config), world


def tell(set_stage: Stage, world: World, telling: Telling, events: TextIO) -> tuple[PassReport, VerifyReport]:
    """Play the story; the last pass's report and what the verifier said of the log."""
    loaded = load(set_stage.config)
    requests = world.pull_requests()
    telling.chapter("Developers open pull requests of each kind")
    docs = world.branch("docs", {"README.md": "# shop\n\nNow with words.\n"}, "Say what this is")
    orders = world.branch("orders-fast", {"primitives/domain/orders/main.txt": "faster\n"}, "Faster orders")
    billing = world.branch("billing-fix", {"primitives/process/billing/main.txt": "fixed\n"}, "Fix billing")
    catalog = world.branch("catalog-idea", {"primitives/projection/catalog/main.txt": "maybe\n"}, "An idea")
    fork = world.branch("stranger", {"primitives/uisurface/web/main.txt": "mine\n"}, "From a fork")
    for head, fork_id, title in (
        (docs, None, "nothing changed"),
        (orders, None, "one component changed, and CI has built it"),
        (billing, None, "one component changed, CI is still building"),
        (fork, FORK_ID, "from a fork"),
        (docs, None, "the same head as #1"),
        (catalog, None, "one component changed, given up before CI has built it"),
    ):
        requests.open(head, MAIN, head_repository_id=fork_id, title=title)
    world.ci_builds("orders", orders)
    with _running(loaded, events) as loop_and_reports:
        loop, reports = loop_and_reports

        def run_until_quiet(title: str, ready: Ready = lambda _report: True) -> PassReport:
            report = _until_quiet(loop, reports, ready)
            telling.passes.append({"title": title, **report.to_json("shop")})
            telling.matrix(report, title)
            return report

        run_until_quiet("While two baselines prove nothing")
        telling.chapter("CI attests the baseline that had no evidence, and the one that a stranger's key had signed")
        for image in (*UNATTESTED, *BY_A_STRANGER):
            world.ci_builds(image, world.main, Tag("main"))
        run_until_quiet("After the first passes", _all_baselines_count)
        telling.chapter("A push to #2 changes the web too, CI has built only its orders so far; #6 is closed")
        again = world.branch("orders-fast", {"primitives/uisurface/web/main.txt": "and a new page\n"}, "A new page")
        requests.push(2, again)
        world.ci_builds("orders", again)
        requests.close(6)
        run_until_quiet("While CI still builds the web for #2")
        telling.chapter("CI has built the web")
        world.ci_builds("web", again)
        loop.hint(pull_request=2)
        last = run_until_quiet("At the end")
    telling.chapter("The log is verified, offline, against the list of allowed signers")
    return last, verify(set_stage.ledger, allowed_signers_file=set_stage.allowed_signers)


def summary(set_stage: Stage, last: PassReport, verified: VerifyReport, telling: Telling) -> dict[str, Json]:
    """The demo's result for a machine."""
    return {
        "config": str(set_stage.config),
        "dir": str(set_stage.root),
        "ledger": str(set_stage.ledger),
        "log": verified.to_json(),
        "matrix": [c.to_json() for c in last.cells],
        "passes": telling.passes,
        "registry": set_stage.registry,
        "release_sets": set_stage.release_sets,
    }


@contextmanager
def _running(loaded: Loaded, events: TextIO) -> Iterator[tuple[Loop, list[PassReport]]]:
    emit = to_stream(events, SystemClock(), human=False)
    settings = loaded.settings
    metrics = PrometheusMetrics()
    reports: list[PassReport] = []
    shop = settings.repositories[0]
    with wiring.shared(loaded, emit, metrics) as common, wiring.writer(common, shop) as (repository, _, _):
        repository.configured(loaded.digest)
        yield (
            Loop(
                [repository],
                lambda _name: wiring.rules(settings, shop),
                common.clock,
                common.random,
                emit=emit,
                metrics=metrics,
                on_report=lambda _name, report: reports.append(report),
            ),
            reports,
        )


def _all_baselines_count(report: PassReport) -> bool:
    """Evidence that was refused is looked at again only after a poll interval, since it seldom changes."""
    return all(cell.reason != Reason.BASELINE_REFUSED.value for cell in report.cells)


def _until_quiet(loop: Loop, reports: list[PassReport], ready: Ready) -> PassReport:
    """Passes until one finds nothing to do, and the world is as the story needs it."""
    loop.hint()
    while True:
        made = len(reports)
        loop.step()
        if len(reports) == made:
            raise ConfigError(f"the demo's pass failed: {next(iter(loop.standing().values())).why}")
        if reports[-1].plan.is_noop:
            if ready(reports[-1]):
                return reports[-1]
            time.sleep(0.2)
        loop.hint()


def _before_the_story(ci: Publisher, keys: Mapping[str, Keys]) -> Attest:
    """What happened to the baselines: one was pushed without evidence, one was signed by a key that counts nowhere."""

    def attest(repository: Repository, digest: Digest, ref: RefName, revision: CommitId) -> None:
        image = repository.path.rpartition("/")[2]
        if image not in UNATTESTED:
            ci.attest(keys["stranger" if image in BY_A_STRANGER else "ci"], repository, digest, ref, revision)

    return attest


def _config(root: Path, registry: str) -> str:
    def q(name: str) -> str:
        return json.dumps(str(root / name), ensure_ascii=False)  # a JSON string is a YAML scalar, whatever is in it

    return f"""\
version: 1
mode: fill
state_dir: {q("state")}
listen: {{private: "127.0.0.1:0"}}
poll_interval_s: 1
registries:
  - {{host: "{registry}", plain_http: true, anonymous: true, max_writes_per_s: 1000}}
repositories:
  - name: shop
    forge: {{kind: local, path: {q("shop.git")}}}
    catalogue: ameide.yaml
    gitops: {{url: {q("shop-gitops.git")}, ref: refs/heads/main, inventory: ameide/inventory.yaml}}
    admission: {{base_branches: [main], hold_label: ameide/hold}}
    verification:
      baseline: provenance
      pull_request: provenance
      authority: {{kind: keys, public_key_files: [{q("ci.pub")}]}}
      source_repository: {SOURCE}
      builder: {BUILDER}
    evidence:
      signer: {{kind: key, key_file: {q("reconciler.key")}, password_file: {q("reconciler.password")}}}
      release_sets: {registry}/shop/release-sets
    log: {{path: {q("log.git")}, key_file: {q("log-key")}, writer: demo}}
"""
