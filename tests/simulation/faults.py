"""Faults as data: what one seed's weather is, and which fault a call may meet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple


class Fault(StrEnum):
    """What may befall one outside call."""

    LOST = "no answer, nothing happened"
    LATE = "no answer, but it happened"
    TWICE = "delivered twice"
    HANGS = "hangs until the read times out"
    SLOW = "slow"
    CUT = "half of the answer"
    ENDLESS = "an answer without end"
    LIMITED = "429"
    UNAUTHORIZED = "401"
    DENIED = "403"
    MISSING = "404"
    CONFLICT = "409"
    REFUSED = "422"
    REDIRECT = "303 to a login page"
    FAILED = "5xx"
    HTML = "200 with HTML"
    PARTIAL = "half of the listing"
    GARBLED = "bytes of another digest"
    PARTWAY = "refused when some of it was done"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"


class Strike(NamedTuple):
    """A fault of one call, and the chance for its particulars."""

    fault: Fault
    chance: Random


class Crash(BaseException):
    """The process dies here: nothing catches it, nothing is cleaned up."""


READ: Final = (Fault.LOST, Fault.LOST, Fault.LOST, Fault.LIMITED, Fault.DENIED)
"""Of a port that is no HTTP: git."""
PORT_WRITE: Final = (Fault.LOST, Fault.LATE, Fault.LATE, Fault.LIMITED, Fault.DENIED)
LOG: Final = (Fault.LOST,)
_ANY: Final = (
    Fault.LOST, Fault.HANGS, Fault.SLOW, Fault.LIMITED, Fault.UNAUTHORIZED, Fault.DENIED, Fault.REDIRECT, Fault.FAILED,
    Fault.HTML,
)  # fmt: skip
GET: Final = (*_ANY, Fault.LOST, Fault.CUT, Fault.ENDLESS)
"""Of a request that reads."""
SEND: Final = (
    *_ANY, Fault.LATE, Fault.LATE, Fault.LATE, Fault.TWICE, Fault.CONFLICT, Fault.REFUSED, Fault.MISSING,
)  # fmt: skip
"""Of a request that writes."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How often what happens, per step, in one run."""

    calm: int
    """So many rounds at first have no faults, and hardly anything happens: what follows meets a world full of work."""
    rounds: int
    """With those."""
    event: float
    aimed: float
    """How often something happens at a step that has to bear just that."""
    fault: float
    write_fault: float
    partial: float
    """How likely a listing of the forge is not complete."""
    garbled: float
    """How likely the registry answers with other bytes than those of the digest."""
    crash: float
    takeover: float
    cluster: bool
    """Whether there is one, with a janitor."""
    stale: float
    """How likely a write is shown late."""
    sticky: float
    """How likely the call after a faulty one meets the same fault, as it does while a server is down."""
    only: tuple[Fault, ...]
    """The faults that there are in this run; every other never strikes."""
    narrow: bool
    """Whether all of this strikes the calls of a publish alone, in a world that publishes: so that passes get there."""

    @classmethod
    def drawn(cls, rng: Random) -> Weather:
        narrow = rng.random() < 0.25
        calm = 7 if narrow else rng.choice((0, 7))
        return cls(
            calm=calm,
            rounds=calm + rng.randint(8, 20 - calm // 2),
            event=rng.choice((0.02, 0.06, 0.15)),
            aimed=rng.choice((0.1, 0.5) if narrow else (0.0, 0.1, 0.5)),
            fault=rng.choice((0.0, 0.01, 0.04, 0.1)),
            write_fault=0.3 if narrow else rng.choice((0.0, 0.1, 0.3)),
            partial=rng.choice((0.0, 0.1, 0.3)),
            garbled=rng.choice((0.0, 0.05, 0.2)),
            crash=rng.choice((0.0, 0.003, 0.015)),
            takeover=rng.choice((0.0, 0.0, 0.004, 0.02)),
            cluster=rng.random() < 0.3,
            stale=rng.choice((0.0, 0.2, 0.7)),
            sticky=rng.choice((0.0, 0.0, 0.8)),
            only=_some_faults(rng),
            narrow=narrow,
        )

    def strikes(self, rng: Random, possible: tuple[Fault, ...], before: Fault | None) -> Fault | None:
        """The fault of one call, if any; `before` is that of the call before it."""
        write = Fault.LATE in possible
        if rng.random() < self.crash * (6 if write else 1):
            return rng.choice((Fault.CRASH_BEFORE, Fault.CRASH_AFTER))
        if before in possible and rng.random() < self.sticky:
            return before
        if Fault.PARTIAL in possible and rng.random() < self.partial:
            return Fault.PARTIAL
        if Fault.GARBLED in possible and rng.random() < self.garbled:
            return Fault.GARBLED
        if possible and rng.random() < (self.write_fault if write else self.fault):
            left = [fault for fault in possible if fault in self.only]
            return rng.choice(left) if left else None
        return None


def _some_faults(rng: Random) -> tuple[Fault, ...]:
    """All of them, or a few: where there are fewer kinds, each of them meets every situation far more often.

    Source: Groce, Zhang, Eide, Chen and Regehr, "Swarm Testing" (2012).
    """
    share = rng.choice((1.0, 0.5, 0.15))
    return tuple(fault for fault in Fault if rng.random() < share)
