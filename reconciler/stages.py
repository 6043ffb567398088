"""The stages of a pass, each timed as a metric and as a span. They follow each other and never overlap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from reconciler.ports import Metrics
from reconciler.tracing import span


class Stage(StrEnum):
    """A closed enum: the label `stage` of `ameide_pass_stage_seconds`."""

    MARKERS = "markers"
    """Signed approvals, admissions and revocations are taken up."""
    LIST = "list"
    """The forge is asked for the open pull requests."""
    TRUSTED = "trusted"
    """Base branches, catalogue and inventory are read."""
    COMPARE = "compare"
    """Heads are fetched and compared with their bases."""
    BASELINES = "baselines"
    """Baselines are read and verified."""
    TAGS = "tags"
    """Tags of heads are read, swept and proven."""
    PLAN = "plan"
    """The plan is made and the observation recorded."""
    APPLY = "apply"
    """The plan is carried out."""
    PUBLISH = "publish"
    """Plans of a publish, GitOps pull requests and their upkeep."""
    REPORT = "report"
    """Statuses, labels and previews are told."""
    PUSH = "push"
    """The log is pushed."""


_MEASURED: ContextVar[tuple[Metrics, str] | None] = ContextVar("measured", default=None)


@contextmanager
def measured(metrics: Metrics, repository: str) -> Iterator[None]:
    """Have the stages inside the block counted as those of `repository`."""
    token = _MEASURED.set((metrics, repository))
    try:
        yield
    finally:
        _MEASURED.reset(token)


@contextmanager
def stage(which: Stage) -> Iterator[None]:
    """Time the block, also where it raises."""
    told = _MEASURED.get()
    if told is None:
        yield
        return
    metrics, repository = told
    with (
        span(f"stage {which.value}", ameide_repository=repository),
        metrics.timed("pass_stage", repository=repository, stage=which.value),
    ):
        yield
