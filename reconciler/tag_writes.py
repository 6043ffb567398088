"""Writing the tags of one batch: several of one digest in one request where the registry knows that, proven by reading.

The intent is in the log before, the outcome after it; both are the caller's (`apply`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, TypeVar

from reconciler.looking import Tick, no_tick
from reconciler.ports import (
    TAGS_PER_PUT,
    Clock,
    Executor,
    ForgeReader,
    Metrics,
    RegistryReader,
    RegistryWriter,
    Verifier,
)
from state.canonical import Json
from state.errors import Fenced, IntegrityError, LedgerMoved, LogRollback, ReconcilerError, Transient
from state.observed import Absent, How, Present, TagState
from state.oci import Digest, Manifest, Repository, Tag
from state.writes import Result, Write

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Targets:
    """What applying a plan needs: the readers of the premise, and the one writer."""

    forge: ForgeReader
    registry: RegistryReader
    writer: RegistryWriter
    verifier: Verifier
    executor: Executor
    metrics: Metrics
    clock: Clock
    tick: Tick = no_tick
    """Told of every write: a paced batch takes longer than a loop may be silent."""


class Written(NamedTuple):
    """What became of one write; `why` says it where it did not succeed."""

    write: Write
    result: Result
    settled: bool = False
    found: Digest | None = None
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        return {
            **self.write.to_json(),
            "found": self.found,
            "how": How.RETAGGED.value,
            "result": self.result.value,
            "settled": self.settled,
        }


class Due(NamedTuple):
    """A write that is to be made, with its bytes."""

    write: Write
    manifest: Manifest
    tried: bool = False
    """A request for several tags was answered without this one: it may be in place all the same."""


class TagWriter:
    """Writes the tags of a batch. `confirm` is asked right before each request: whether the log is still ours."""

    def __init__(self, targets: Targets, confirm: Callable[[], None]) -> None:
        self._targets = targets
        self._confirm = confirm

    def write(self, due: Sequence[Due]) -> list[Written]:
        """What became of each, in the order given. Raises Fenced, LedgerMoved or LogRollback: nothing more is sent."""
        begun = count(1)

        def put(one: Due) -> Written:
            self._targets.tick("writing tags", next(begun), len(due))
            return self._put(one)

        made, left = self._put_together(due)
        made |= {d.write: sure(w) for d, w in zip(left, self._targets.executor.map(put, left), strict=True)}
        proved = self._targets.executor.map(self._read_back, [made[d.write] for d in due])
        return [sure(p) for p in proved]

    def _put_together(self, due: Sequence[Due]) -> tuple[dict[Write, Written], list[Due]]:
        """Several heads of one image and digest in one request; what came of it, and what is left to put by itself."""
        same: dict[tuple[Repository, Digest], list[Due]] = {}
        for one in due:
            same.setdefault((one.write.repository, one.write.digest), []).append(one)
        parts = [
            ones[start : start + TAGS_PER_PUT] for ones in same.values() for start in range(0, len(ones), TAGS_PER_PUT)
        ]
        groups = [part for part in parts if len(part) > 1]
        made: dict[Write, Written] = {}
        left = [part[0] for part in parts if len(part) == 1]
        for answer in self._targets.executor.map(self._put_group, groups):
            known, unknown = sure(answer)
            made |= {w.write: w for w in known}
            left += unknown
        return made, left

    def _put_group(self, group: Sequence[Due]) -> tuple[list[Written], list[Due]]:
        tags = [Tag(d.write.head) for d in group]
        targets = self._targets
        targets.tick("writing tags together", len(tags), len(tags))
        began = targets.clock.monotonic_s()
        try:
            confirmed = targets.writer.put_tags(group[0].write.repository, tags, group[0].manifest, self._confirm)
        except (Fenced, LedgerMoved, LogRollback):
            raise  # as for a single write
        except ReconcilerError as error:
            targets.metrics.observe("tag_write", targets.clock.monotonic_s() - began)
            if isinstance(error, Transient | IntegrityError):
                return [_unwritten(d.write, error) for d in group], []
            # One tag that may not be written refuses all of them, perhaps after some were: each by itself tells.
            return [], [d._replace(tried=True) for d in group]
        if confirmed is None:
            return [], list(group)  # such requests are not known there: nothing was sent
        targets.metrics.observe("tag_write", targets.clock.monotonic_s() - began)
        asked = list(zip(group, tags, strict=True))
        written = [Written(d.write, Result.WRITTEN) for d, tag in asked if tag in confirmed]
        return written, [d._replace(tried=True) for d, tag in asked if tag not in confirmed]

    def _put(self, due: Due) -> Written:
        write = due.write
        with self._targets.metrics.timed("tag_write"):
            try:
                self._targets.writer.put_manifest(write.repository, Tag(write.head), due.manifest, self._confirm)
            except (Fenced, LedgerMoved, LogRollback):
                raise  # another writer took over, perhaps while this process stood still: nothing more is sent
            except ReconcilerError as error:
                unwritten = _unwritten(write, error)
                if due.tried and unwritten.result is Result.FAILED:
                    return unwritten._replace(result=Result.UNCERTAIN)  # refused now, but perhaps made before
                return unwritten
        return Written(write, Result.WRITTEN)

    def _read_back(self, made: Written) -> Written:
        """Proof of a write is our own 201; a read that does not show it yet is only not settled."""
        if made.result is not Result.WRITTEN:
            return made
        try:
            found = self._targets.registry.resolve(made.write.repository, Tag(made.write.head))
        except ReconcilerError:
            return made
        if found is None or found == made.write.digest:
            return made._replace(settled=found is not None, found=found)
        return made._replace(result=Result.CONFLICT, found=found, why=f"the tag reads {found}")


def recovered(write: Write, state: TagState | Exception) -> Written | None:
    """What an unfinished write came to; None while the registry cannot tell."""
    match state:
        case Present(digest, _) if digest == write.digest:
            return Written(write, Result.WRITTEN, settled=True, found=digest)
        case Present(digest, _):
            return Written(write, Result.CONFLICT, found=digest)
        case Absent():
            return Written(write, Result.DROPPED)
        case Exception() as error if not isinstance(error, ReconcilerError):
            raise error
        case _:
            return None


def _unwritten(write: Write, error: ReconcilerError) -> Written:
    match error:
        case Transient():
            return Written(write, Result.UNCERTAIN, why=str(error))
        case IntegrityError():
            return Written(write, Result.CONFLICT, why=str(error))
        case _:
            return Written(write, Result.FAILED, why=str(error))


def sure(result: T | Exception) -> T:
    """The result, or the error that came instead, raised."""
    if isinstance(result, Exception):
        raise result
    return result
