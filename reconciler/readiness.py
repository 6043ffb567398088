"""Which head of each pull request a preview is to show: the newest complete one (pure). Source: design §10.

| what a complete listing shows | what is served for the pull request |
|---|---|
| its head is complete | that head |
| its head is filled, waited for or held | the head served before; after a restart, the log's newest complete one |
| it is refused (label, draft, base, author), in quarantine, or nothing of it is previewed | nothing: it leaves |
| it is not in the listing | nothing: it leaves |

An incomplete listing changes nothing. Whoever reads the answer deletes what is not in it, so a listing after which more
than half of what was served would leave, or nothing would be served at all, has to be seen twice in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from reconciler.admission import REFUSALS
from reconciler.matrix import Matrix, State
from state.git import CommitId
from state.hold import Reason
from state.observed import Listing

SHARE_MAX: Final = 0.5
"""More than this share of the served pull requests never leaves on one listing. Source: design §2 (10)."""
_LEAVES: Final = REFUSALS | {Reason.QUARANTINED}


class Seen(NamedTuple):
    """The open pull requests of one complete listing."""

    complete: Mapping[int, CommitId]
    """Those whose head is complete now."""
    filling: frozenset[int]
    """Those that stay with what they had."""


def seen_in(matrix: Matrix, *, released: bool) -> Seen:
    """What the matrix says. With `released` a head counts once its release set is published."""
    complete: dict[int, CommitId] = {}
    filling = set()
    for rows in matrix.rows:
        if not rows.reasons.isdisjoint(_LEAVES) or State.NOT_PREVIEWED in rows.states:
            continue
        if rows.done and (rows.released or not released):
            complete[rows.number] = rows.head
        else:
            filling.add(rows.number)
    return Seen(complete, frozenset(filling))


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is served, how sure it is, and since when."""

    served: Mapping[int, CommitId] = field(default_factory=dict)
    seen_at_s: float | None = None
    """Monotonic time of the last complete listing; None before the first one."""
    doubted: Mapping[int, CommitId] | None = None
    """What would be served instead, if a second listing in a row says so."""

    def after(self, seen: Seen, remembered: Mapping[int, CommitId], at_s: float) -> Readiness:
        """After a complete listing. `remembered` is the newest complete head of each pull request by the log."""
        served = dict(seen.complete)
        for number in seen.filling:
            head = self.served.get(number) or remembered.get(number)
            if head is not None:
                served[number] = head
        leaving = self.served.keys() - served.keys()
        much = len(leaving) > SHARE_MAX * len(self.served) or not served
        if much and (self.doubted is None or self.doubted.keys() != served.keys()):
            return replace(self, seen_at_s=at_s, doubted=served)
        return Readiness(served, at_s)

    def unsure(self, now_s: float, max_age_s: float) -> str | None:
        """Why there is no answer at `now_s`; None if `served` is the answer."""
        if self.seen_at_s is None:
            return "no complete listing yet"
        if now_s - self.seen_at_s > max_age_s:
            return f"the last complete listing is {now_s - self.seen_at_s:.0f} s old"
        if self.doubted is not None:
            return f"{len(self.served)} previews would become {len(self.doubted)}: waiting for a second listing"
        return None


def label_changes(
    listing: Listing, seen: Seen, served: Mapping[int, CommitId], label: str
) -> tuple[tuple[int, bool], ...]:
    """Pull requests that are to get the label (True) or lose it (False); a push alone never takes it away."""
    made = []
    for pull_request in listing.pull_requests:
        has, number = label in pull_request.labels, pull_request.number
        if number in served and not has:
            made.append((number, True))
        elif has and number not in seen.complete and number not in seen.filling:
            made.append((number, False))
    return tuple(made)
