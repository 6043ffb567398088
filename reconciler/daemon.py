"""The process: loop, wake-ups, HTTP host and live configuration, from start to drain."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from reconciler import __version__, telling, wiring
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.service_manager import ServiceManager
from reconciler.adapters.wakeups import Wakeups, Watched
from reconciler.events import Emitter, Event
from reconciler.leadership import Leadership
from reconciler.log_size import log_size_bytes
from reconciler.looking import Tick
from reconciler.loop import Condition, Loop
from reconciler.notifying.outbox import Standing
from reconciler.notifying.sender import Sender
from reconciler.opening import OpenedLate
from reconciler.passes import PassReport
from reconciler.publish_wiring import marker_inboxes
from reconciler.publishing.board import Boards
from reconciler.settings import Loaded, load
from reconciler.settings.forge import LocalForgeSettings
from reconciler.settings.model import CALL_TIMEOUT_FACTOR
from reconciler.standby import Waiting, leadership_of
from reconciler.status_wiring import status_pages
from reconciler.web import markers as markers_app
from reconciler.web import plans as plans_app
from reconciler.web import plugin as plugin_app
from reconciler.web import webhooks as webhooks_app
from reconciler.web.apps import Handler, public_app
from reconciler.web.host import Host
from reconciler.web.plans import PlanPages
from state.errors import ConfigError, Fenced, IntegrityError, ReconcilerError, Terminal, Transient
from state.oci import Digest

LIVE_MARGIN_S: Final = 60.0
"""A loop is dead that shows no sign of life for so much longer than one call may take, whatever it waits for."""
SIZE_EVERY_S: Final = 300.0
"""The size of a log is looked at this often."""
RESCAN_S: Final = 30.0
"""The configuration is looked at this often even if no file event came."""
_CONFIG: Final = "config"
_POLL: Final = "poll"
_FORGE: Final = "forge:"


class Daemon:
    """Runs loops, one configuration after another, until it is stopped."""

    def __init__(
        self,
        config: Path,
        emit: Emitter,
        on_report: Callable[[str, PassReport], None] = lambda _name, _report: None,
        manager: ServiceManager | None = None,
    ) -> None:
        self._config = config
        self._emit = emit
        self._on_report = on_report
        self._metrics = PrometheusMetrics()
        self._clock = SystemClock()
        self._manager = manager or ServiceManager(None, self._clock)
        self._loop: Loop | None = None
        self._waiting: Waiting | None = None
        self._leadership: Leadership | None = None
        self._refused: str | None = None
        self._next: Loaded | None = None
        self._failed: Digest | None = None
        """The configuration that a start failed with, so that it is not tried again and again."""
        self._live_s = LIVE_MARGIN_S
        self._stopping = threading.Event()
        self._sized_s: dict[str, float] = {}

    def run(self, on_listening: Callable[[Host], None] = lambda _host: None) -> None:
        """Serve and reconcile until `stop`.

        Raises ConfigError at the start; Fenced, LedgerMoved or LogRollback where a log is no longer this writer's.
        """
        with self._leading(load(self._config)) as loaded:
            if loaded is not None:
                self._work(loaded, on_listening)
        self._emit.emit(Event.STOPPED, version=__version__)

    def _work(self, loaded: Loaded, on_listening: Callable[[Host], None]) -> None:
        before: Loaded | None = None
        while not self._stopping.is_set():
            self._may_act()
            try:
                loaded, before = self._serve(loaded, on_listening), loaded
            except (Terminal, Transient) as error:
                if before is None or isinstance(error, Fenced):
                    raise
                # A replaced configuration that cannot start: what ran before goes on.
                self._refuse(error)
                self._failed = loaded.digest
                loaded, before = before, None

    def stop(self) -> None:
        """Drain: finish the batch that was begun, push the log, and return from `run`."""
        if (loop := self._loop) is not None:
            loop.stop()
        self._stopping.set()
        self._manager.stopping(self._live_s)

    # --- health (web.apps.HealthSource)

    def live(self) -> bool:
        """The loop shows signs of life. Outages of others never count: a restart would not mend them."""
        beating = self._waiting or self._loop
        return beating is None or beating.heartbeat_age_s() < self._live_s

    def ready(self) -> tuple[bool, str]:
        """Every repository's last pass was complete and recent, and the configuration on disk is the one in force."""
        loop = self._loop
        if self._waiting is not None:
            return False, self._waiting.why
        if loop is None:
            return False, "starting"
        if self._refused is not None:
            return False, f"the configuration on disk is refused: {self._refused}"
        now = self._clock.monotonic_s()
        notes = []
        for name, standing in loop.standing().items():
            if standing.condition is not Condition.READY:
                return False, f"{name}: {standing.condition.value}: {standing.why}"
            if standing.complete_at_s is None or now - standing.complete_at_s > loop.stale_after_s(name):
                return False, f"{name}: no complete pass lately"
            if standing.unread:
                notes.append(f"{name}: {standing.unread} reads failed in the last pass, what depends on them is held")
        return True, "; ".join(["ready", *notes])

    # --- standing by

    @contextmanager
    def _leading(self, loaded: Loaded) -> Iterator[Loaded | None]:
        """Wait until this replica may work, with the configuration as it then is; None if it is stopped before.

        One that stands alone may work at once.
        """
        standby = loaded.settings.standby
        if standby is None:
            yield loaded
            return
        random = SystemRandom()
        with leadership_of(standby, random, self._emit, alive=self.live, lost=self._lost_lead) as leadership:
            self._leadership = leadership
            # Between two tries lie a pause and two calls, all of them bounded by the lease's own times.
            self._live_s = LIVE_MARGIN_S + 2 * standby.lease_duration_s
            host = Host(
                private=loaded.settings.listen.private,
                public=None,
                health=self,
                metrics=self._metrics.exposition,
                emitter=self._emit,
            )
            self._waiting = Waiting(leadership, standby.retry_period_s, self._clock, random, self._emit)
            with host:
                self._manager.ready(self._live_s)
                leads = self._waiting.until_leading(self._stopping, self._beaten)
            self._waiting = None
            if leads:
                leadership.keep()
            yield self._newest(loaded) if leads else None

    def _newest(self, loaded: Loaded) -> Loaded:
        """What is on disk by now, or what was there at the start if that cannot be taken."""
        try:
            found = load(self._config)
            _same_standby(found, loaded)
        except ReconcilerError as error:
            self._refuse(error)
            return loaded
        return found

    def _lost_lead(self) -> None:
        if (loop := self._loop) is not None:
            loop.stop()

    def _may_act(self) -> None:
        if self._leadership is not None:
            self._leadership.confirm()

    # --- one configuration

    def _serve(self, loaded: Loaded, on_listening: Callable[[Host], None]) -> Loaded:
        """Run one configuration until it is replaced or the process stops; the one to go on with."""
        settings = loaded.settings
        with ExitStack() as stack:
            self._live_s = LIVE_MARGIN_S + CALL_TIMEOUT_FACTOR * settings.request_timeout_s
            stack.enter_context(telling.traced(settings, self._clock, self._metrics))
            common = stack.enter_context(
                wiring.shared(
                    loaded, self._emit, self._metrics, self._stopping, alive=self._alive, may_act=self._may_act
                )
            )
            wiring.refuse_shared_logs(common)
            tick: Tick = self._tick
            made = {
                r.name: OpenedLate(r.name, partial(wiring.writer, common, r, tick), loaded.digest)
                for r in settings.repositories
            }
            for repository in made.values():
                stack.callback(repository.close)
            sender = stack.enter_context(
                telling.notified(
                    settings,
                    lambda name: made[name].repository_id(),
                    clock=common.clock,
                    random=common.random,
                    metrics=self._metrics,
                    emit=self._emit,
                )
            )
            by_name = {r.name: partial(wiring.rules, settings, r) for r in settings.repositories}
            loop = Loop(
                list(made.values()),
                lambda name: by_name[name](),
                common.clock,
                common.random,
                emit=self._emit,
                metrics=self._metrics,
                on_report=partial(self._passed, sender, {r.name: r.log.path for r in settings.repositories}),
                on_failure=partial(_failed, sender),
                on_beat=self._beaten,
            )
            self._loop = loop
            self._may_act()
            stack.callback(self._forget_loop)
            webhooks = wiring.webhooks_of(common, made, loop.hint)
            plugin = wiring.plugin_of(common, made)
            inboxes = stack.enter_context(marker_inboxes(common, loop.hint))
            plans = PlanPages(Boards({r.name: made[r.name].board for r in settings.repositories if r.targets}))
            below: dict[str, Handler] = {
                webhooks_app.PREFIX: webhooks.handle,
                plugin_app.PREFIX: plugin.handle,
                markers_app.PREFIX: inboxes.handle,
                plans_app.PREFIX: plans.handle,
            }
            pages = status_pages(loaded, made, self, loop, self._metrics)
            host = stack.enter_context(self._host(loaded, below, None if pages is None else pages.handle))
            # Probes are answered while logs are opened, which takes its time.
            for n, repository in enumerate(made.values(), 1):
                self._manager.starting(self._live_s, f"opening {repository.name}, {n} of {len(made)}")
                loop.beat()
                repository.start()
            stack.enter_context(self._wakeups(loaded, loop))
            self._in_force(loaded.digest)
            self._emit.emit(Event.STARTED, version=__version__, config_digest=loaded.digest, mode=settings.mode.value)
            on_listening(host)
            self._manager.ready(self._live_s)
            if self._stopping.is_set():
                loop.stop()
            loop.run()
        if self._next is not None:
            loaded, self._next = self._next, None
            self._emit.emit(Event.CONFIG_LOADED, config_digest=loaded.digest, path=str(loaded.path))
        return loaded

    def _in_force(self, digest: Digest) -> None:
        self._metrics.info("config_info", digest=digest)
        self._metrics.gauge("config_last_load_timestamp_seconds", self._clock.now().timestamp())
        self._metrics.gauge("config_last_load_successful", self._refused is None)

    def _passed(self, sender: Sender | None, logs: Mapping[str, Path], name: str, report: PassReport) -> None:
        """What follows from a pass that ended, besides the pass itself."""
        if sender is not None and report.complete:  # what a cut listing lacks has not ended
            sender.passed(name, Standing(report.conditions, report.observed_in))
        now = self._clock.monotonic_s()
        if now - self._sized_s.get(name, -SIZE_EVERY_S) >= SIZE_EVERY_S:
            self._sized_s[name] = now
            self._metrics.gauge("log_size_bytes", log_size_bytes(logs[name]), repository=name)
        self._on_report(name, report)

    def _tick(self, what: str, done: int, total: int) -> None:
        del what, done, total
        self._alive()

    def _alive(self) -> None:
        if (loop := self._loop) is not None:
            loop.beat()

    def _beaten(self) -> None:
        """The loop has shown that it lives; nothing else tells the service manager so."""
        if self._manager.alive() and not self._stopping.is_set():
            self._manager.status(self.ready()[1])

    def _forget_loop(self) -> None:
        self._loop = None

    def _host(self, loaded: Loaded, below: Mapping[str, Handler], pages: Handler | None) -> Host:
        listen = loaded.settings.listen
        return Host(
            private=listen.private,
            public=listen.public,
            health=self,
            metrics=self._metrics.exposition,
            emitter=self._emit,
            outside=public_app(self._emit, below),
            pages=pages,
        )

    def _wakeups(self, loaded: Loaded, loop: Loop) -> Wakeups:
        settings = loaded.settings
        watched = [Watched(loaded.path.absolute().parent, _CONFIG)]
        watched += (
            Watched(r.forge.path / "refs", f"{_FORGE}{r.name}", recursive=True)
            for r in settings.repositories
            if isinstance(r.forge, LocalForgeSettings)
        )

        def wake(reason: str) -> None:
            name = reason.removeprefix(_FORGE) if reason.startswith(_FORGE) else None
            self._metrics.count("wakeups", reason=reason if name is None else "forge")
            if reason == _CONFIG:
                self._look_at_config(loaded, loop)
            elif name is None:
                loop.poll()
            else:
                loop.hint(name)

        return Wakeups(
            wake,
            timers={_POLL: settings.poll_interval_s, _CONFIG: RESCAN_S},
            directories=watched,
            problem=lambda path, error: self._emit.emit(Event.WATCH_FAILED, path=str(path), error=str(error)),
        )

    def _look_at_config(self, loaded: Loaded, loop: Loop) -> None:
        """Take up a changed file after the pass that is running; keep the old one if a start with it would fail."""
        try:
            found = load(self._config)
            if found.digest == self._failed:
                return
            if found.digest != loaded.digest:
                self._rehearse(found, loaded)
        except ReconcilerError as error:
            self._refuse(error)
            return
        self._failed = None
        self._refused = None
        self._metrics.gauge("config_last_load_successful", 1)
        if found.digest != loaded.digest:
            self._metrics.count("config_loads", result="loaded")
            self._next = found
            loop.stop()

    def _refuse(self, error: ReconcilerError) -> None:
        self._metrics.count("config_loads", result="refused")
        self._metrics.gauge("config_last_load_successful", 0)
        if self._refused != str(error):
            self._refused = str(error)
            self._emit.emit(Event.CONFIG_REFUSED, path=str(self._config), error=str(error))

    def _rehearse(self, found: Loaded, loaded: Loaded) -> None:
        """Raise what a start with `found` would raise, while everything still runs with `loaded`."""
        _same_standby(found, loaded)
        wiring.rehearse(found, self._emit, self._metrics, loaded.settings.repositories)
        now, then = loaded.settings.listen, found.settings.listen
        held = {now.private, now.public}
        private, public = (None if address in held else address for address in (then.private, then.public))
        Host(private=private, public=public, health=self, metrics=self._metrics.exposition, emitter=self._emit).stop()


def _failed(sender: Sender | None, name: str, error: ReconcilerError) -> None:
    if sender is not None and isinstance(error, IntegrityError):
        sender.violated(name)


def _same_standby(found: Loaded, loaded: Loaded) -> None:
    if found.settings.standby != loaded.settings.standby:
        raise ConfigError("standby: changes with a restart alone; restart every replica")


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`; a second one falls back to what the system does."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
