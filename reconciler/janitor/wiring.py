"""Settings → a janitor for one repository, and the loop of the daemon mode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.kubernetes_api import ClusterLimits, KubernetesApi
from reconciler.events import Emitter, Event
from reconciler.janitor.deciding import Policy
from reconciler.janitor.records import Result
from reconciler.janitor.running import Janitor, Report
from reconciler.ports import Clock
from reconciler.role_log import open_role_log, pushed_log
from reconciler.settings import Loaded, load
from reconciler.settings.forge import LocalForgeSettings
from reconciler.settings.janitor import JanitorSettings
from reconciler.settings.lane import LaneSettings
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RepositorySettings, Settings
from reconciler.telling import tell_of_janitor
from state.entry import Logged
from state.errors import ConfigError, ReconcilerError, Transient
from state.log_branch import LogName, Role
from state.observed import Mode


def policy_of(janitor: JanitorSettings, lane: LaneSettings) -> Policy:
    """What the configuration allows to be deleted."""
    return Policy(
        prefix=lane.namespace_prefix,
        min_age_s=janitor.min_age_s,
        grace_s=janitor.grace_s,
        max_deletes=janitor.max_deletes,
        max_share_percent=janitor.max_share_percent,
        stuck_after_s=janitor.stuck_after_s,
    )


def sections_of(repository: RepositorySettings) -> tuple[JanitorSettings, LaneSettings]:
    """The two sections that a janitor needs. Raises ConfigError where they are missing."""
    if repository.janitor is None or repository.lane is None:
        raise ConfigError(f"{repository.name}: has no section janitor; add it with lane, see docs/janitor.md")
    return repository.janitor, repository.lane


def repository_id(repository: RepositorySettings) -> int:
    """The forge's id, which names the log; no forge is asked for it."""
    forge = repository.forge
    if isinstance(forge, LocalForgeSettings):
        return LocalForge(forge.path).repository().id
    if forge.repository_id is None:
        raise ConfigError(f"{repository.name}: forge.repository_id is required with janitor")
    return forge.repository_id


def writes(settings: Settings, repository: RepositorySettings) -> bool:
    """Whether this configuration lets anything be written: `mode: observe` and `suspend` do not."""
    return settings.mode is not Mode.OBSERVE and not repository.suspend


@contextmanager
def cluster(settings: Settings, repository: RepositorySettings, clock: Clock) -> Iterator[KubernetesApi]:
    """The API server as the section names it, open for the block."""
    janitor, lane = sections_of(repository)
    timeout_s = float(settings.request_timeout_s)
    made = KubernetesApi(
        janitor.server,
        token_file=janitor.token_file,
        ca_file=janitor.ca_file,
        application_namespaces=lane.all_application_namespaces,
        require_applications=janitor.require_applications,
        clock=clock,
        limits=ClusterLimits(read_timeout_s=timeout_s, call_timeout_s=timeout_s * CALL_TIMEOUT_FACTOR),
    )
    try:
        yield made
    finally:
        made.close()


@contextmanager
def janitor_of(
    settings: Settings,
    repository: RepositorySettings,
    clock: Clock,
    emit: Emitter,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Janitor]:
    """One repository's janitor. The signing key is opened only when something is to be written."""
    janitor, lane = sections_of(repository)
    named = LogName(repository_id(repository), Role.JANITOR)

    def peek() -> Iterable[Logged]:
        log = pushed_log(settings.state_dir, repository.log, named)
        return () if log is None else log.entries()

    with cluster(settings, repository, clock) as api:
        told = emit.bind(repository=repository.name)
        yield Janitor(
            api,
            policy_of(janitor, lane),
            peek,
            lambda: open_role_log(settings, repository, named, key_file=janitor.key_file, clock=clock, emit=told),
            told,
            stopping,
        )


def with_janitor(settings: Settings) -> tuple[RepositorySettings, ...]:
    """The repositories that have a janitor. Raises ConfigError if none has."""
    found = tuple(r for r in settings.repositories if r.janitor is not None)
    if not found:
        raise ConfigError("no repository has a section janitor; see docs/janitor.md")
    return found


def one_run(
    loaded: Loaded,
    clock: Clock,
    emit: Emitter,
    stopping: Callable[[], bool] = lambda: False,
    *,
    dry_run: bool = False,
    failed: Callable[[str, ReconcilerError], None],
) -> Iterator[tuple[str, Report]]:
    """One run over every repository that has a janitor. `failed` is told what fails, and the next one has its turn."""
    for repository in with_janitor(loaded.settings):
        try:
            with janitor_of(loaded.settings, repository, clock, emit, stopping) as janitor:
                rehearse = dry_run or not writes(loaded.settings, repository)
                report = janitor.run(rehearse=rehearse)
            if any(done.result is Result.DELETED for done in report.done) and not rehearse:
                tell_of_janitor(loaded.settings, repository, repository_id(repository), clock, emit)
            yield repository.name, report
        except ReconcilerError as error:
            failed(repository.name, error)


class Daemon:
    """Runs again and again, with the configuration as it then is, until it is stopped."""

    def __init__(
        self, config: Path, clock: Clock, emit: Emitter, on_report: Callable[[str, Report], None] | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._emit = emit
        self._on_report = on_report
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the deletion that was begun."""
        self._stopping.set()

    def run(self) -> None:
        """Returns after `stop`. Raises what an operator has to mend, after every repository had its turn; an outage is
        told, and the next run tries again."""
        loaded = load(self._config)
        while not self._stopping.is_set():
            self._run_once(loaded)
            self._stopping.wait(60 * min(_minutes(r) for r in with_janitor(loaded.settings)))
            loaded = self._reloaded(loaded)

    def _run_once(self, loaded: Loaded) -> None:
        failures: list[ReconcilerError] = []

        def failed(name: str, error: ReconcilerError) -> None:
            failures.append(error)
            self._emit.emit(Event.PASS_FAILED, repository=name, error=str(error))

        for name, report in one_run(loaded, self._clock, self._emit, self._stopping.is_set, failed=failed):
            if self._on_report is not None:
                self._on_report(name, report)
        if final := [e for e in failures if not isinstance(e, Transient)]:
            raise final[0]

    def _reloaded(self, loaded: Loaded) -> Loaded:
        try:
            found = load(self._config)
            with_janitor(found.settings)
        except ConfigError as error:
            self._emit.emit(Event.CONFIG_REFUSED, path=str(self._config), error=str(error))
            return loaded
        if found.digest != loaded.digest:
            self._emit.emit(Event.CONFIG_LOADED, config_digest=found.digest, path=str(found.path))
        return found


def _minutes(repository: RepositorySettings) -> int:
    return sections_of(repository)[1].reconciler.janitor_interval_min
