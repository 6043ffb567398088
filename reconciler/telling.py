"""Settings → who is told: the sender of notifications and the tracer, each for a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler import tracing
from reconciler.adapters.clock import SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.notifier_http import HttpReceiver, bearer, signed_by
from reconciler.adapters.tracing_otlp import OtlpTracer
from reconciler.events import Emitter, Event
from reconciler.notifying.memory import Memory
from reconciler.notifying.notices import NoticeType
from reconciler.notifying.outbox import Outbox
from reconciler.notifying.sender import Sender
from reconciler.ports import Clock, Metrics, Random
from reconciler.settings.model import RepositorySettings, Settings
from state.errors import IntegrityError
from state.log_branch import LogName, Role
from state.log_read import LogReader
from state.observed import Mode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from reconciler.settings.telling import NotificationsSettings


@contextmanager
def notified(
    settings: Settings,
    repository_id: Callable[[str], int | None],
    *,
    clock: Clock,
    random: Random,
    metrics: Metrics,
    emit: Emitter,
) -> Iterator[Sender | None]:
    """The sender of the reconciler's notifications, running; None where none are configured, and in mode `observe`,
    which writes nothing outside: what is young enough is told once the mode allows it."""
    told = settings.notifications
    if told is None or settings.mode is Mode.OBSERVE:
        yield None
        return
    by_name = {r.name: r for r in settings.repositories}

    def open_box(name: str) -> tuple[int, Outbox]:
        identity = repository_id(name)
        if identity is None:
            raise ValueError(f"{name}: no pass can have ended before its repository was opened")
        return identity, outbox(settings, by_name[name], identity, clock, emit)

    receiver = receiver_of(told, clock)
    with Sender(receiver, open_box, clock=clock, random=random, metrics=metrics, emit=emit) as sender:
        yield sender


def receiver_of(told: NotificationsSettings, clock: Clock) -> HttpReceiver:
    """The receiver, with the proof that its section names."""
    if told.signing_secret_file is not None:
        headers = signed_by(told.signing_secret_file, clock)
    else:
        assert told.bearer_token_file is not None  # noqa: S101 - the section has exactly one of the two
        headers = bearer(told.bearer_token_file)
    return HttpReceiver(told.url, headers, clock, told.ca_file)


def outbox(
    settings: Settings,
    repository: RepositorySettings,
    repository_id: int,
    clock: Clock,
    emit: Emitter,
    *,
    role: Role = Role.RECONCILER,
) -> Outbox:
    """The outbox of one of a repository's logs."""
    told = settings.notifications
    assert told is not None  # noqa: S101 - only asked for where there is such a section
    named = LogName.make(repository_id, role)

    def lost(error: IntegrityError) -> None:
        emit.emit(Event.NOTIFICATIONS_REDERIVED, name=repository.name, error=str(error))

    return Outbox(
        lambda: LogReader(repository.log.path, named.ref),
        Memory(settings.state_dir / "notifications" / f"{named.file_stem}.json"),
        clock,
        wanted=frozenset(told.types or NoticeType),
        max_age_s=told.max_age_s,
        on_lost=lost,
    )


def tell_of_janitor(
    settings: Settings, repository: RepositorySettings, repository_id: int, clock: Clock, emit: Emitter
) -> None:
    """Tell once what the janitor's log has to tell; what is not taken now is left to the next run."""
    told = settings.notifications
    if told is None:
        return
    box = outbox(settings, repository, repository_id, clock, emit, role=Role.JANITOR)
    sender = Sender(
        receiver_of(told, clock),
        lambda _: (repository_id, box),
        clock=clock,
        random=SystemRandom(),
        metrics=PrometheusMetrics(of_process=False),
        emit=emit,
    )
    sender.once(repository.name)


@contextmanager
def traced(settings: Settings, clock: Clock, metrics: Metrics) -> Iterator[None]:
    """Spans go to the configured collector for the block; nowhere without one."""
    section = settings.tracing
    if section is None:
        yield
        return
    tracer: AbstractContextManager[OtlpTracer] = OtlpTracer(
        section.endpoint,
        clock=clock,
        metrics=metrics,
        bearer_token_file=section.bearer_token_file,
        ca_file=section.ca_file,
    )
    with tracer as made, tracing.installed(made):
        yield
