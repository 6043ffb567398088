"""What one repository shows: the last pass, where it stands, and where its log lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from reconciler.shown import Shown
from reconciler.web.status.matrix import Index
from state.oci import Digest

PullRequestUrl = Callable[[int], str | None]
"""The address of a pull request at its forge, for a person's browser; None where it has none."""


class Condition(NamedTuple):
    """Where a repository stands, copied from the loop."""

    condition: str
    why: str
    unread: int
    """How many things the last pass could not read."""


@dataclass(slots=True)
class Site:
    """One repository of the configuration."""

    name: str
    log_path: Path
    repository_id: Callable[[], int | None]
    shown: Callable[[], Shown | None]
    """What its last pass left; None before the first one."""
    pull_request_url: PullRequestUrl
    change_urls: Mapping[str, PullRequestUrl] = field(default_factory=dict)
    """By target: the same for its GitOps pull requests."""
    _index: tuple[str, Index] | None = None

    def index(self, shown: Shown) -> Index:
        """The matrix of `shown`, sorted out once a pass and not once a view."""
        kept = self._index
        if kept is None or kept[0] != shown.pass_id:
            kept = self._index = (shown.pass_id, Index.of(shown.matrix.cells))
        return kept[1]


class Quota(NamedTuple):
    """What a forge still grants in its window, as it said last."""

    remaining: int
    limit: int


class Process(Protocol):
    """What the process says of itself. Every answer comes at once and from memory."""

    def live(self) -> bool: ...

    def ready(self) -> tuple[bool, str]: ...

    def config_digest(self) -> Digest | None:
        """Of the configuration in force."""

    def condition(self, name: str) -> Condition:
        """Where the repository `name` stands."""

    def quota(self, name: str) -> Quota | None:
        """Of the forge of the repository `name`; None where it has told none."""
