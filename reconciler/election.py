"""Who leads: one candidate's view of a shared lease record (pure).

The rules of Kubernetes' leader election, and why two candidates never both hold it:

1. A record is another's as long as it changes. Whether it does is counted from when *this* candidate first saw it as it
   is, on a clock that only goes forward. Times in the record are for people; they are never compared.
2. It may be taken once it has stayed the same for its whole duration, or names nobody, and by compare-and-swap alone.
3. Whoever holds it counts from *before* the last renewal that succeeded was sent, and stops after the renewal deadline,
   which is shorter than the duration. So it has stopped before anybody may have taken the record.

Rule 3 needs clocks that advance at about the same rate: `lease_duration_s` over `renew_deadline_s` is the tolerance.
Source: k8s.io/client-go, tools/leaderelection (its own words: "does not guarantee that only one client is acting as a
leader"; the fence is the log's epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

DURATION_MAX_S: Final = 3600
"""A record that claims to be good for longer is believed for so long."""


class Timing(NamedTuple):
    """Seconds: how long a record is good, how long its holder acts without a renewal, and between two tries."""

    lease_duration_s: float
    renew_deadline_s: float
    retry_period_s: float


class Lease(NamedTuple):
    """The record. An empty `holder` is nobody. Times are RFC 3339 with microseconds, by the holder's wall clock."""

    holder: str
    duration_s: int
    acquired_at: str
    renewed_at: str
    transitions: int


@dataclass(slots=True)
class Election:
    """One candidate. Every `now_s` is of one clock that never goes back and counts time asleep."""

    identity: str
    timing: Timing
    _seen: Lease | None = None
    _seen_at_s: float = 0.0
    _held_until_s: float | None = None

    def saw(self, lease: Lease | None, now_s: float) -> None:
        """The record as it was read just now."""
        if lease != self._seen or lease is None:
            self._seen, self._seen_at_s = lease, now_s

    def may_take(self, now_s: float) -> bool:
        """Whether the record that was seen last may be written by this candidate."""
        seen = self._seen
        if seen is None or seen.holder in {"", self.identity}:
            return True
        duration_s = max(self.timing.lease_duration_s, min(seen.duration_s, DURATION_MAX_S))
        return now_s - self._seen_at_s > duration_s

    def wanted(self, wall: str) -> Lease:
        """The record to write in place of the one that was seen last."""
        seen, duration_s = self._seen, int(self.timing.lease_duration_s)
        if seen is not None and seen.holder == self.identity:
            return seen._replace(duration_s=duration_s, renewed_at=wall)
        transitions = 0 if seen is None else seen.transitions + 1
        return Lease(self.identity, duration_s, wall, wall, transitions)

    def won(self, lease: Lease, sent_at_s: float) -> None:
        """`lease` was written; the request was sent at `sent_at_s`."""
        self._seen, self._seen_at_s = lease, sent_at_s
        self._held_until_s = sent_at_s + self.timing.renew_deadline_s

    def ended(self) -> None:
        """It is held no more, and never again by this candidate's earlier renewals."""
        self._held_until_s = None

    def holds(self, now_s: float) -> bool:
        """Whether this candidate may act at this moment."""
        return self._held_until_s is not None and now_s < self._held_until_s

    @property
    def holder(self) -> str:
        """Whom the record named last; empty for nobody."""
        return "" if self._seen is None else self._seen.holder
