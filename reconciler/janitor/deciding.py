"""Which preview namespaces end: a pure function of one look, the standing tombstones and a policy.

A namespace is deleted only after two looks that both were complete: the first puts up a tombstone, a later one, after
the grace period, finds the same namespace (by UID) still without any Application. Its age counts from its creation, the
grace period from the tombstone.

Which tombstones have their turn in a run is settled before Applications are looked at. So one more Application can take
a deletion away and never adds one, not even below the cap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from reconciler.janitor.cluster import Application, Condition, Listing, Namespace
from reconciler.preview.names import MANAGED_BY, MANAGED_BY_PREVIEW, PR_LABEL, namespace_pattern


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be deleted, and how much at once."""

    prefix: str
    min_age_s: int
    grace_s: int
    max_deletes: int
    max_share_percent: int
    """Of all preview namespaces; at least one is always allowed."""
    stuck_after_s: int


class Tombstone(NamedTuple):
    """A namespace that a complete look found unreferenced. `entry` is the log entry that says so."""

    name: str
    uid: str
    seen_at: datetime
    entry: str


class Reason(StrEnum):
    """Why a namespace is treated as it is. Closed: each has its line in docs/janitor.md."""

    DUE = "due"
    UNREFERENCED = "unreferenced"
    IN_GRACE = "in-grace"
    OVER_THE_CAP = "over-the-cap"
    TOO_YOUNG = "too-young"
    REFERENCED = "referenced"
    TERMINATING = "terminating"
    STUCK = "stuck"
    OTHER_NAME = "other-name"
    OTHER_LABELS = "other-labels"
    INCOMPLETE = "incomplete"


class Act(StrEnum):
    """What is done about it in this run."""

    DELETE = "delete"
    BURY = "bury"
    """Put up a tombstone."""
    KEEP = "keep"


class Ruling(NamedTuple):
    """One namespace and what becomes of it."""

    namespace: Namespace
    act: Act
    reason: Reason
    why: str
    tombstone: Tombstone | None = None


class Withdrawal(NamedTuple):
    """A tombstone that is taken down."""

    tombstone: Tombstone
    why: str


class Decision(NamedTuple):
    """Rulings in order of the names' numbers; nothing is done unless `complete`."""

    complete: bool
    why: str
    rulings: tuple[Ruling, ...]
    withdrawn: tuple[Withdrawal, ...]

    def acts(self, act: Act) -> tuple[Ruling, ...]:
        return tuple(r for r in self.rulings if r.act is act)

    @property
    def is_noop(self) -> bool:
        return not self.withdrawn and all(r.act is Act.KEEP for r in self.rulings)


def is_ours(policy: Policy, namespace: Namespace) -> bool:
    """Exactly `<prefix><number>`, labelled as a preview's and with that number."""
    return named(policy, namespace.name) and _labelled(policy, namespace)


def named(policy: Policy, name: str) -> bool:
    return re.fullmatch(namespace_pattern(policy.prefix), name) is not None


def _labelled(policy: Policy, namespace: Namespace) -> bool:
    labels = namespace.labels
    return (
        labels.get(MANAGED_BY) == MANAGED_BY_PREVIEW
        and labels.get(PR_LABEL) == namespace.name.removeprefix(policy.prefix)
    )  # fmt: skip


def decide(
    namespaces: Listing[Namespace],
    applications: Listing[Application],
    policy: Policy,
    now: datetime,
    tombstones: Iterable[Tombstone],
) -> Decision:
    """What is done now, and why. `now` is the API server's time.

    Equal sets of namespaces, Applications and tombstones give equal decisions, in whatever order they come. There is at
    most one tombstone for a name.
    """
    shown = [n for n in namespaces.items if named(policy, n.name) or n.labels.get(MANAGED_BY) == MANAGED_BY_PREVIEW]
    shown.sort(key=lambda n: (len(n.name), n.name))
    if not (namespaces.complete and applications.complete):
        why = "; ".join(text for text in (namespaces.why, applications.why) if text) or "a listing is not complete"
        return Decision(False, why, tuple(Ruling(n, Act.KEEP, Reason.INCOMPLETE, why) for n in shown), ())
    standing = {t.name: t for t in tombstones}
    ours = {n.name: n for n in shown if is_ours(policy, n)}
    view = _View(policy, now, _referrers(applications.items, ours), _turn(ours, standing, policy, now))
    rulings = {n.name: _ruling(n, _of(standing, n), view) for n in shown}
    voided = ((stone, _void(stone, rulings.get(name), view.referrers)) for name, stone in sorted(standing.items()))
    withdrawn = tuple(Withdrawal(stone, reason) for stone, reason in voided if reason is not None)
    return Decision(True, "", tuple(rulings.values()), withdrawn)


class _View(NamedTuple):
    """What every ruling goes by."""

    policy: Policy
    now: datetime
    referrers: Mapping[str, list[str]]
    """Namespace → the Applications that refer to it, in words."""
    turn: frozenset[str]


def _referrers(items: Iterable[Application], ours: Mapping[str, Namespace]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for application in items:
        for name in application.refers_to & ours.keys():
            found.setdefault(name, []).append(str(application))
    return {name: sorted(texts) for name, texts in found.items()}


def _of(standing: Mapping[str, Tombstone], namespace: Namespace) -> Tombstone | None:
    """Its own tombstone: a namespace that was made anew under the same name starts afresh."""
    stone = standing.get(namespace.name)
    return stone if stone is not None and stone.uid == namespace.uid else None


def _turn(
    ours: Mapping[str, Namespace], standing: Mapping[str, Tombstone], policy: Policy, now: datetime
) -> frozenset[str]:
    """The names whose turn it is in this run: the oldest tombstones whose grace is over, as many as are allowed."""
    due = sorted(
        (stone.seen_at, len(name), name)
        for name, namespace in ours.items()
        if (stone := _of(standing, namespace)) is not None
        and not namespace.terminating
        and _aged(namespace.created_at, policy.min_age_s, now)
        and _aged(stone.seen_at, policy.grace_s, now)
    )
    allowed = min(policy.max_deletes, max(1, len(ours) * policy.max_share_percent // 100))
    return frozenset(name for _, _, name in due[:allowed])


def _aged(since: datetime, seconds: int, now: datetime) -> bool:
    return now - since >= timedelta(seconds=seconds)


def _ruling(namespace: Namespace, stone: Tombstone | None, view: _View) -> Ruling:
    policy, now, referrers, turn = view

    def keep(reason: Reason, why: str) -> Ruling:
        return Ruling(namespace, Act.KEEP, reason, why, stone)

    if not named(policy, namespace.name):
        return keep(Reason.OTHER_NAME, f"labelled as a preview's, but not named {policy.prefix}<number>")
    if not _labelled(policy, namespace):
        number = namespace.name.removeprefix(policy.prefix)
        return keep(
            Reason.OTHER_LABELS, f"expected the labels {MANAGED_BY}={MANAGED_BY_PREVIEW} and {PR_LABEL}={number}"
        )
    if namespace.terminating:
        return keep(*_ending(namespace, policy, now))
    if found := referrers.get(namespace.name):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return keep(Reason.REFERENCED, f"{found[0]}{more}")
    if not _aged(namespace.created_at, policy.min_age_s, now):
        return keep(Reason.TOO_YOUNG, f"made {_ago(namespace.created_at, now)} ago, at least {policy.min_age_s} s")
    if stone is None:
        return Ruling(namespace, Act.BURY, Reason.UNREFERENCED, "no Application refers to it")
    if not _aged(stone.seen_at, policy.grace_s, now):
        return keep(Reason.IN_GRACE, f"unreferenced since {_ago(stone.seen_at, now)}, deleted after {policy.grace_s} s")
    if namespace.name not in turn:
        return keep(Reason.OVER_THE_CAP, "as many as one run may delete come before it")
    return Ruling(
        namespace, Act.DELETE, Reason.DUE, f"no Application refers to it, for {_ago(stone.seen_at, now)}", stone
    )


def _ending(namespace: Namespace, policy: Policy, now: datetime) -> tuple[Reason, str]:
    since = namespace.deleting_since
    if since is None or not _aged(since, policy.stuck_after_s, now):
        return Reason.TERMINATING, f"being deleted{'' if since is None else ' for ' + _ago(since, now)}"
    return Reason.STUCK, f"being deleted for {_ago(since, now)}; {blocking(namespace)}"


def blocking(namespace: Namespace) -> str:
    """What keeps a namespace that is being deleted, as the API server tells it."""
    told = [f"finalizers: {', '.join(namespace.finalizers) or 'none'}"]
    told += (f"{kind}: {message}" for kind, message in _blocking(namespace.conditions))
    return "; ".join(told)


def _blocking(conditions: Iterable[Condition]) -> Iterable[Condition]:
    return sorted(c for c in conditions if c.type.startswith("Namespace"))


def _void(stone: Tombstone, ruling: Ruling | None, referrers: Mapping[str, list[str]]) -> str | None:
    """Why a tombstone no longer holds; None while it does."""
    if ruling is None:
        return "the namespace is gone, or is no preview's any more"
    if ruling.namespace.uid != stone.uid:
        return "the namespace was made anew"
    if found := referrers.get(stone.name):
        return f"{found[0]} refers to it"
    if ruling.reason in (Reason.OTHER_LABELS, Reason.OTHER_NAME):
        return "the namespace is no preview's any more"
    if ruling.namespace.terminating:
        return "the namespace is being deleted"
    return None


def _ago(since: datetime, now: datetime) -> str:
    return f"{max(0, int((now - since).total_seconds()))} s"
