"""Settings → adapters → repositories: the one place that knows every adapter."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters.acceptance_files import AcceptanceFiles
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.gitops_pygit2 import GitOpsRepository
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.preview_refresh import ControllerWebhook
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.registry_router import Registries
from reconciler.code_forge import CodeForge, opened
from reconciler.events import Emitter
from reconciler.evidence.assembling import hand_over_of, release_targets_of, releases_of, verifier_of
from reconciler.gitops_forge import inventory_source
from reconciler.guarded_log import GuardedLog
from reconciler.log_upkeep import LogUpkeep
from reconciler.looking import Look, Rules, Sources, Tick
from reconciler.observe import Observer
from reconciler.opening import OpenedLate, Writer, is_outage
from reconciler.passes import Reporting, Repository
from reconciler.previews import LabelMode, Previews
from reconciler.publish_wiring import publish_targets_of
from reconciler.registry_clients import client_of, limits_of, opened_registries
from reconciler.role_log import TIPS, mirror_of, reconciler_log
from reconciler.settings import Loaded, RepositorySettings, Settings, to_policy
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RegistrySettings
from reconciler.web.plugin import Plugin, Source
from reconciler.web.webhooks import Hook, Webhooks
from state.entry import Entry
from state.errors import ConfigError, IntegrityError, Terminal, Transient, Unavailable
from state.git import CommitId
from state.history import History
from state.history_file import Folded
from state.log import GitLog
from state.log_branch import LogName, Role
from state.log_read import LogReader, branches, key_in_force, open_repository
from state.quarantine import Quarantine

ROLE: Final = Role.RECONCILER
ANSWER_AGE_MIN_S: Final = 300.0
ANSWER_AGE_FACTOR: Final = 10
"""Previews are told nothing from a listing that is older than so many poll intervals."""


def rules(settings: Settings, repository: RepositorySettings) -> Rules:
    """What a pass over this repository goes by."""
    return Rules(
        mode=settings.mode,
        suspended=repository.suspend,
        policy=to_policy(repository),
        max_writes_per_hour=repository.max_writes_per_hour,
        settle_s=max(r.settle_s for r in settings.registries),
        poll_interval_s=settings.poll_interval_s,
        tag_reads_per_pass=settings.tag_reads_per_pass,
        sweep_interval_s=settings.sweep_interval_s,
    )


def repository_named(settings: Settings, name: str | None) -> RepositorySettings:
    """The repository of that name, or the only one. Raises ConfigError naming what there is."""
    known = ", ".join(r.name for r in settings.repositories)
    if name is None:
        if len(settings.repositories) == 1:
            return settings.repositories[0]
        raise ConfigError(f"there are several repositories; name one with --repo: {known}")
    found = next((r for r in settings.repositories if r.name == name), None)
    if found is None:
        raise ConfigError(f"no repository {name!r} in the configuration; there are: {known}")
    return found


@dataclass(frozen=True, slots=True)
class Shared:
    """What all repositories of one process share."""

    settings: Settings
    clock: SystemClock
    random: SystemRandom
    executor: ThreadExecutor
    registries: Registries
    metrics: PrometheusMetrics
    emit: Emitter
    stopping: threading.Event
    may_act: Callable[[], None] = lambda: None
    """Raises Fenced where this process may not write any more, although its logs know nothing of it yet."""


@contextmanager
def shared(
    loaded: Loaded,
    emit: Emitter,
    metrics: PrometheusMetrics,
    stopping: threading.Event | None = None,
    *,
    alive: Callable[[], None] = lambda: None,
    may_act: Callable[[], None] = lambda: None,
) -> Iterator[Shared]:
    """The clients and threads that every repository uses. Once `stopping` is set, no call is tried again.

    `alive` is called after each piece of work of those threads.

    Raises ConfigError for a credential that cannot be used.
    """
    settings, clock, random = loaded.settings, SystemClock(), SystemRandom()
    stop = stopping or threading.Event()

    def sleep(seconds: float) -> None:
        if stop.wait(seconds):
            raise Unavailable("the process is stopping")

    def client(registry: RegistrySettings) -> OrasRegistry:
        limits = limits_of(registry, request_timeout_s=settings.request_timeout_s, connections=settings.workers)
        # A batch that was begun is finished, at its pace: those waits do not end with the process's.
        return client_of(registry, limits, clock=clock, random=random, metrics=metrics, sleep=sleep, pace=time.sleep)

    with (
        ThreadExecutor(settings.workers, alive) as executor,
        opened_registries(settings.registries, client) as registries,
    ):
        yield Shared(settings, clock, random, executor, registries, metrics, emit, stop, may_act)


@contextmanager
def code_forge(common: Shared, repository: RepositorySettings) -> Iterator[CodeForge]:
    """The forge of one repository, opened with what all of them share."""
    with opened(common.settings, repository, clock=common.clock, random=common.random, metrics=common.metrics) as forge:
        yield forge


@contextmanager
def readers(
    common: Shared, repository: RepositorySettings, forge: CodeForge, tick: Tick | None = None
) -> Iterator[Sources]:
    """Everything that reads, for one repository; nothing in it can write outside."""
    settings = common.settings
    gitops = GitOpsRepository(
        settings.state_dir / "mirrors" / f"{forge.identity.id}-gitops",
        inventory_source(repository.gitops),
        ref=repository.gitops.ref,
        inventory_path=repository.gitops.inventory,
        timeout_s=float(settings.request_timeout_s) * CALL_TIMEOUT_FACTOR,
    )
    verifier = verifier_of(
        repository.verification,
        common.registries,
        common.clock,
        refused_for_s=float(settings.poll_interval_s),
        hand_over=hand_over_of(repository),
    )
    with gitops, forge.mirror() as mirror:
        sources = Sources(
            forge=forge.reader,
            git=mirror,
            gitops=gitops,
            registry=common.registries,
            verifier=verifier,
            releases=releases_of(repository, common.registries),
            executor=common.executor,
            clock=common.clock,
            random=common.random,
            stopping=common.stopping.is_set,
        )
        yield sources if tick is None else replace(sources, tick=tick)


@contextmanager
def writer(common: Shared, repository: RepositorySettings, tick: Tick | None = None) -> Iterator[Writer]:
    """One repository ready for passes: its log active under a new epoch, its history read.

    Raises Terminal if another process writes this log, LogRollback or IntegrityError if it cannot be stood on.
    """
    with (
        code_forge(common, repository) as forge,
        readers(common, repository, forge, tick) as sources,
        _opened_log(common, repository, forge.identity.id) as (log, folded, upkeep),
        _previews_of(common, repository, forge) as previews,
        publish_targets_of(common, repository, forge.identity.id, sources, common.registries) as publish,
    ):
        reporting = Reporting(common.emit, common.metrics, forge.status())
        accepted = acceptances_of(common.settings, forge.identity.id)
        release = release_targets_of(
            repository, common.registries, sources.verifier, common.executor, common.settings.state_dir
        )
        made = Repository(
            repository.name,
            sources,
            common.registries,
            GuardedLog(log, common.may_act),
            reporting,
            acceptances=accepted,
            release=release,
            previews=previews,
            publish=publish,
            mirror=mirror_of(repository.log, LogName(forge.identity.id, ROLE)),
            intents_on_remote=common.settings.standby is not None,
            folded=folded,
            upkeep=upkeep.after_pass,
        )
        yield Writer(made, forge.identity.id, previews)


@contextmanager
def _previews_of(common: Shared, repository: RepositorySettings, forge: CodeForge) -> Iterator[Previews | None]:
    preview = repository.preview
    if preview is None:
        yield None
        return
    refresh = None
    if preview.refresh is not None:
        file = SecretFile(preview.refresh.secret_file, "refresh secret file")
        refresh = ControllerWebhook(preview.refresh.url, file.lines, common.clock)
    made = Previews(
        common.clock,
        released=repository.evidence is not None,
        max_age_s=max(ANSWER_AGE_MIN_S, ANSWER_AGE_FACTOR * common.settings.poll_interval_s),
        label=None if preview.label is None else LabelMode(preview.label, forge.labels()),
        refresh=refresh,
    )
    try:
        yield made
    finally:
        if refresh is not None:
            refresh.close()


def plugin_of(common: Shared, made: Mapping[str, OpenedLate]) -> Plugin:
    """The plugin generator's endpoint of every repository that has a token for it; `made` by configured name."""
    sources = {}
    for repository in common.settings.repositories:
        preview = repository.preview
        if preview is not None and preview.token_file is not None:
            file = SecretFile(preview.token_file, "plugin token file")
            sources[repository.name] = Source(made[repository.name].preview, file.lines)
    return Plugin(sources, common.metrics)


def webhooks_of(common: Shared, made: Mapping[str, OpenedLate], hint: Callable[[str, int | None], None]) -> Webhooks:
    """The endpoint of every repository that has a webhook; `made` by configured name."""
    hooks = {}
    for repository in common.settings.repositories:
        if repository.webhook is not None:
            file = SecretFile(repository.webhook.secret_file, "webhook secret file")
            hooks[repository.name] = Hook(repository.webhook.sender, made[repository.name].repository_id, file.lines)
    return Webhooks(hooks, hint, clock=common.clock, metrics=common.metrics, emitter=common.emit)


def acceptances_of(settings: Settings, repository_id: int) -> AcceptanceFiles:
    return AcceptanceFiles(settings.state_dir / "acceptances" / str(repository_id))


@contextmanager
def _opened_log(
    common: Shared, repository: RepositorySettings, repository_id: int
) -> Iterator[tuple[GitLog, Folded, LogUpkeep]]:
    """The repository's log, active, with what its entries add up to."""
    settings, emit = common.settings, common.emit.bind(name=repository.name)
    upkeep = LogUpkeep(repository.log.path, LogName(repository_id, ROLE), settings.state_dir / TIPS, emit)
    kept = upkeep.load()
    entry = kept.entry if kept is not None else None
    with reconciler_log(settings, repository, repository_id, common.clock, known_whole=entry) as log:
        yield log, upkeep.fold(kept, log), upkeep


def rehearse(
    loaded: Loaded, emit: Emitter, metrics: PrometheusMetrics, running: Container[RepositorySettings] = ()
) -> None:
    """Open what a start with this configuration opens, up to the logs' locks, and close it again.

    Raises ConfigError, Terminal or Transient as such a start would; and for a repository that is out of reach too,
    unless it is among `running` as it is: the outage of one repository keeps no other's settings from being changed.
    """
    with shared(loaded, emit, metrics) as common:
        refuse_shared_logs(common)
        for repository in loaded.settings.repositories:
            try:
                _rehearse(common, repository)
            except (Transient, Terminal) as error:
                if not (is_outage(error) and repository in running):
                    raise


def _rehearse(common: Shared, repository: RepositorySettings) -> None:
    with code_forge(common, repository) as forge, readers(common, repository, forge) as sources:
        release_targets_of(repository, common.registries, sources.verifier, common.executor, common.settings.state_dir)
        with publish_targets_of(common, repository, forge.identity.id, sources, common.registries):
            pass
        log = reconciler_log(common.settings, repository, forge.identity.id, common.clock)
        reader = _log_reader(repository, forge.identity.id)
        if reader is not None and (key := key_in_force(reader)) != log.public_key:
            raise ConfigError(
                f"{repository.name}: the log's key in force is {key}, {repository.log.key_file} holds another; "
                "keep the old key file, or rotate the key with it"
            )


def refuse_shared_logs(common: Shared) -> None:
    """Raise ConfigError if two repositories would write one log: the same forge id and the same log repository.

    Asks the forge of each repository whose log path another one has too. One that is out of reach is left out: should
    it turn out to be the same later, the log's own lock keeps it from writing.
    """
    seen: dict[tuple[Path, int], str] = {}
    paths = Counter(repository.log.path for repository in common.settings.repositories)
    for repository in common.settings.repositories:
        if paths[repository.log.path] == 1:
            continue
        try:
            with code_forge(common, repository) as forge:
                identity = forge.identity
        except (Transient, Terminal) as error:
            if not is_outage(error):
                raise
            continue
        other = seen.setdefault((repository.log.path, identity.id), repository.name)
        if other != repository.name:
            raise ConfigError(
                f"{repository.name} and {other} have the same forge id {identity.id} and would write one log; "
                "give each a log.path of its own, or a copied local repository an id of its own "
                "(`git config ameide.repositoryid`), or drop one of them"
            )


class ReadOnlyLook(NamedTuple):
    """One look without any writer: what a pass would see, and the log it stands on."""

    look: Look
    history: History
    read: Callable[[CommitId], Entry]


def look_only(common: Shared, repository: RepositorySettings, tick: Tick | None = None) -> ReadOnlyLook:
    """Observe one repository with readers alone: no key is read, no lock taken, nothing appended.

    A log that does not exist yet is an empty one.
    """
    history = History()
    with code_forge(common, repository) as forge, readers(common, repository, forge, tick) as sources:
        log = _log_reader(repository, forge.identity.id)
        for logged in log.entries() if log is not None else ():
            history.apply(logged.id, logged.entry)

        def read(entry: CommitId) -> Entry:
            if log is None:
                raise IntegrityError(f"log entry {entry}: there is no log at {repository.log.path}")
            return log.read(entry).entry

        observer = Observer(sources, history, read)
        return ReadOnlyLook(observer.look(rules(common.settings, repository), frozenset()), history, read)


def quarantine_of(
    settings: Settings, repository: RepositorySettings, number: int
) -> tuple[CommitId, Quarantine, AcceptanceFiles] | None:
    """An open pull request's head in quarantine, and where its acceptance is handed over; None if it is in none.

    Reads the forge and the log alone. Raises Terminal if no such pull request is open.
    """
    clock, random, metrics = SystemClock(), SystemRandom(), PrometheusMetrics()
    with opened(settings, repository, clock=clock, random=random, metrics=metrics) as forge:
        pull_request = forge.reader.pull_request(number)
        identity = forge.identity.id
    if pull_request is None:
        raise Terminal(f"{repository.name}: no pull request #{number} is open")
    history = History()
    log = _log_reader(repository, identity)
    for logged in log.entries() if log is not None else ():
        history.apply(logged.id, logged.entry)
    standing = history.quarantined.get(pull_request.head)
    files = acceptances_of(settings, identity)
    return None if standing is None else (pull_request.head, standing, files)


def _log_reader(repository: RepositorySettings, repository_id: int) -> LogReader | None:
    name = LogName(repository_id, ROLE)
    if not repository.log.path.exists() or name.ref not in branches(open_repository(repository.log.path)):
        return None
    return LogReader(repository.log.path, name.ref)
