"""The demo's story: pull requests of each kind, passes while things happen, and the log verified at the end."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TextIO, TypeAlias

import pygit2

from reconciler import wiring
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.forge_local_writer import LocalPullRequests
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import generate_key_file
from reconciler.demo.approvers import AUTHOR, TARGET, Approvers
from reconciler.demo.ci import BUILDER, SOURCE, Keys, Publisher, publisher
from reconciler.demo.world import FORK_ID, MAIN, Attest, World
from reconciler.events import Emitter, to_stream
from reconciler.loop import Loop
from reconciler.passes import PassReport, Repository
from reconciler.publishing.board import Boards
from reconciler.registry.server import Address, RegistryServer
from reconciler.settings import Loaded, Settings, environment_problems, load
from reconciler.web import plans
from reconciler.web.apps import public_app
from reconciler.web.host import Host
from state.canonical import Json
from state.errors import ConfigError
from state.git import CommitId, RefName
from state.hold import Reason
from state.log_verify import VerifyReport, verify
from state.observed import PullRequest
from state.oci import Digest, Tag
from state.oci import Repository as ImageRepository

CONFIG: Final = "ameide.yaml"
Ready: TypeAlias = Callable[[PassReport], bool]
UNATTESTED: Final = frozenset({"catalog"})
BY_A_STRANGER: Final = frozenset({"web"})


@dataclass(slots=True)
class Telling:
    """What the story tells as it goes; the demo command shows it."""

    chapter: Callable[[str], None]
    matrix: Callable[[PassReport, str], None]
    text: Callable[[str], None]
    passes: list[Json] = field(default_factory=list)
    approvals: list[Json] = field(default_factory=list)
    """What became of each approval: who, for which head, and the code of a refusal or the GitOps pull request."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything lies."""

    root: Path
    registry: str
    config: Path
    approvers: Approvers

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
        generate_key_file(root / "commit-key")
        pygit2.init_repository(str(root / "log-remote.git"), bare=True).free()
        public = _free_address()
        release_sets, own = f"{registry.host}/shop/release-sets", keys["reconciler"].public
        approvers = Approvers(root, registry.host, release_sets, own, public)
        config = root / CONFIG
        config.write_text(_config(root, registry.host, public))
        yield Stage(root, registry.host, config, approvers), world


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
    with _running(loaded, events) as running:
        loop, reports, repository = running

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
        desk = _Desk(set_stage, world, telling)
        telling.chapter("Alice approves what #2 would pin in dev, and its author pushes before anybody acts on it")
        early = desk.approves("alice", 2)
        telling.chapter("A push to #2 changes the web too, CI has built only its orders so far; #6 is closed")
        again = world.branch("orders-fast", {"primitives/uisurface/web/main.txt": "and a new page\n"}, "A new page")
        requests.push(2, again, by=AUTHOR)
        world.ci_builds("orders", again)
        requests.close(6)
        run_until_quiet("While CI still builds the web for #2")
        desk.tells(repository, early)
        telling.chapter("CI has built the web")
        world.ci_builds("web", again)
        loop.hint(pull_request=2)
        last = run_until_quiet("At the end")
        telling.chapter("Two people have to approve. Alice does, for the new head")
        first = desk.approves("alice", 2)
        _until_quiet(loop, reports, lambda _report: True)
        desk.tells(repository, first)
        telling.chapter("Bob does too: the reconciler opens the GitOps pull request, with these pins and nothing else")
        second = desk.approves("bob", 2)
        last = _until_quiet(loop, reports, lambda _report: True)
        desk.tells(repository, second)
        desk.shows_change()
        telling.chapter("Bob approves the same once more")
        third = desk.approves("bob", 2)
        last = _until_quiet(loop, reports, lambda _report: True)
        desk.tells(repository, third)
    telling.chapter("The log is verified, offline, against the list of allowed signers")
    return last, verify(set_stage.ledger, allowed_signers_file=set_stage.allowed_signers)


def summary(set_stage: Stage, last: PassReport, verified: VerifyReport, telling: Telling) -> dict[str, Json]:
    """The demo's result for a machine."""
    return {
        "config": str(set_stage.config),
        "approvals": telling.approvals,
        "dir": str(set_stage.root),
        "ledger": str(set_stage.ledger),
        "log": verified.to_json(),
        "matrix": [c.to_json() for c in last.cells],
        "passes": telling.passes,
        "registry": set_stage.registry,
        "release_sets": set_stage.release_sets,
    }


@contextmanager
def _running(loaded: Loaded, events: TextIO) -> Iterator[tuple[Loop, list[PassReport], Repository]]:
    emit = to_stream(events, SystemClock(), human=False)
    settings = loaded.settings
    metrics = PrometheusMetrics()
    reports: list[PassReport] = []
    shop = settings.repositories[0]
    with (
        wiring.shared(loaded, emit, metrics) as common,
        wiring.writer(common, shop) as (repository, _, _),
        _plans_served(settings, repository, emit),
    ):
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
            repository,
        )


@contextmanager
def _plans_served(settings: Settings, repository: Repository, emit: Emitter) -> Iterator[None]:
    """The public listener of the reconciler, as far as approvers need it."""
    boards = Boards({repository.name: lambda: repository.publisher.board if repository.publisher else None})
    app = public_app(emit, {plans.PREFIX: plans.PlanPages(boards).handle})
    with Host(private=None, public=settings.listen.public, health=_Alive(), metrics=bytes, emitter=emit, outside=app):
        yield


class _Alive:
    """Nobody probes the story."""

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return True, "the story is being told"


class _Desk:
    """What approvers do in the story, and what is shown of it."""

    def __init__(self, set_stage: Stage, world: World, telling: Telling) -> None:
        self._stage, self._world, self._telling = set_stage, world, telling
        self._said: dict[str, tuple[str, str]] = {}

    def approves(self, name: str, number: int) -> str:
        """Check the plan and sign it; the marker's id."""
        marker = self._stage.approvers.approve(name, number)
        head = next(pr.head for pr in _open(self._stage.code) if pr.number == number)
        self._said[marker] = name, head
        self._telling.text(
            f"{name} checked the plan against the signed release set and approved #{number} at {head[:12]}"
        )
        return marker

    def tells(self, repository: Repository, marker: str) -> None:
        """What became of the approval."""
        name, head = self._said[marker]
        publisher = repository.publisher
        refused = publisher.proposer.refused.get(marker) if publisher and publisher.proposer else None
        row: dict[str, Json] = {"by": name, "head": head, "marker": marker, "refused": None}
        if refused is not None:
            row["refused"] = refused.code.value
            self._telling.text(f"refused ({refused.code.value}): {refused.text}")
        self._telling.approvals.append(row)

    def shows_change(self) -> None:
        """The GitOps pull request, and its difference."""
        (change,) = LocalPullRequests(self._world.gitops).contents().stored
        opened = pygit2.Repository(str(self._world.gitops))
        branch = change.record.head_branch or MAIN
        before, after = (opened.references[ref].peel(pygit2.Commit) for ref in (MAIN, branch))
        difference = opened.diff(before, after, context_lines=1).patch or ""
        self._telling.text(f"#{change.record.number} {change.record.title}\n\n{difference}")


def _open(code: Path) -> tuple[PullRequest, ...]:
    return LocalForge(code).open_pull_requests().pull_requests


def _free_address() -> str:
    """An address of this machine that nothing listens at; approvers name it in their configuration."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


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

    def attest(repository: ImageRepository, digest: Digest, ref: RefName, revision: CommitId) -> None:
        image = repository.path.rpartition("/")[2]
        if image not in UNATTESTED:
            ci.attest(keys["stranger" if image in BY_A_STRANGER else "ci"], repository, digest, ref, revision)

    return attest


def _config(root: Path, registry: str, public: str) -> str:
    def q(name: str) -> str:
        return json.dumps(str(root / name), ensure_ascii=False)  # a JSON string is a YAML scalar, whatever is in it

    return f"""\
version: 1
mode: publish
state_dir: {q("state")}
listen: {{private: "127.0.0.1:0", public: "{public}"}}
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
    approvals: {{approvers_file: {q("approvers.yaml")}, directory: {q("markers")}}}
    targets:
      - name: {TARGET}
        environment: dev
        base: main
        forge: {{kind: local, path: {q("shop-gitops.git")}}}
        commit_key_file: {q("commit-key")}
    log: {{path: {q("log.git")}, key_file: {q("log-key")}, writer: demo, remote: {q("log-remote.git")}}}
"""
