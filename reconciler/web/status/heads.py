"""One pull request, one cell of it with its causal chain, and the release set of a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from reconciler.explain import Explanation, Step, explain
from reconciler.matrix import DONE, Cell, State
from reconciler.shown import Approval, Evidence, Planned, Shown
from reconciler.web.status.matrix import Index, Row
from state.canonical import Json, texts
from state.entry import Entry
from state.git import CommitId
from state.history import Trace
from state.oci import Digest
from state.publishing import Standing

CHAIN_MAX: Final = 50
"""Entries about the writes of a head that are read to explain one cell, the newest."""


class _Traces(NamedTuple):
    seen_in: Mapping[int, CommitId]
    traces: Mapping[CommitId, Trace]


class Chain(NamedTuple):
    """Why a cell is what it is: entries of the log in order, then the evidence of its digest."""

    explanation: Explanation
    evidence: tuple[Evidence, ...]
    cut: int
    """Older entries that are left out."""

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.explanation.steps

    def to_json(self) -> dict[str, Json]:
        return {**self.explanation.to_json(), "evidence": evidence_json(self.evidence), "left_out": self.cut}


def chain(shown: Shown, cell: Cell, read: Callable[[CommitId], Entry]) -> Chain:
    """The causal chain of `cell`; reads at most `CHAIN_MAX` entries of its writes. Raises what `read` does."""
    trace = shown.traces.get(cell.head, Trace())
    cut = max(0, len(trace.writes) - CHAIN_MAX)
    kept = _Traces(shown.seen_in, {cell.head: Trace(trace.decision[-CHAIN_MAX:], trace.writes[cut:])})
    return Chain(explain(cell, kept, read), evidence_of(shown, cell), cut)


def evidence_of(shown: Shown, cell: Cell) -> tuple[Evidence, ...]:
    """What is attached to the digest of a cell, as the log records it."""
    if cell.image is None or cell.digest is None:
        return ()
    return shown.evidence.get((cell.image, cell.digest), ())


class Head(NamedTuple):
    """A pull request with everything that is known of its head."""

    row: Row
    decided_at: str | None
    plans: tuple[Planned, ...]
    approvals: tuple[Approval, ...]
    proposals: tuple[Standing, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "cells": [cell.to_json() for cell in self.row.every()],
            "decided_at": self.decided_at,
            "head_sha": self.row.head,
            "plans": [{"plan": p.digest, "target": p.target, "why": p.why} for p in self.plans],
            "pr": self.row.pr,
            "release": self.row.release,
        }


def head_of(shown: Shown, row: Row) -> Head:
    """What the last pass knew of the pull request of `row`."""
    published = shown.published
    return Head(
        row,
        shown.decided_at.get(row.head),
        tuple(p for p in published.plans if p.pull_request == row.pr),
        tuple(a for a in published.approvals if a.pull_request == row.pr),
        tuple(s for s in published.proposals if s.proposal.pull_request == row.pr),
    )


class Released(NamedTuple):
    """One image of a release set, as the log has it."""

    cell: Cell
    components: tuple[str, ...]
    recorded_at: str | None
    evidence: tuple[Evidence, ...]

    def to_json(self) -> dict[str, Json]:
        cell = self.cell
        return {
            "components": texts(self.components),
            "digest": cell.digest,
            "evidence": evidence_json(self.evidence),
            "image": cell.image,
            "proven": cell.proven,
            "recorded_at": self.recorded_at,
            "state": cell.state.value,
        }


class Release(NamedTuple):
    """The release set of a head, or what it lacks."""

    head: CommitId
    pull_requests: tuple[int, ...]
    digest: Digest | None
    reference: str | None
    """Of the artifact, by digest."""
    images: tuple[Released, ...]
    lacking: tuple[Cell, ...]
    """The cells that keep it from being published, without a digest."""
    decision: tuple[CommitId, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "decision": texts(self.decision),
            "head_sha": self.head,
            "images": [image.to_json() for image in self.images],
            "lacking": [cell.to_json() for cell in self.lacking],
            "pull_requests": list(self.pull_requests),
            "reference": self.reference,
            "release": self.digest,
        }


def release_of(shown: Shown, index: Index, head: CommitId) -> Release | None:
    """The release set of an open head; None where no open pull request has that head."""
    rows = [row for row in index.rows if row.head == head]
    if not rows:
        return None
    # A stranger's pull request at our head, which is held as a whole, says nothing of it.
    row = next((r for r in rows if r.whole is None), rows[0])
    by_image: dict[str, list[Cell]] = {}
    for cell in row.cells.values():
        if cell.image is not None and cell.state in DONE:
            by_image.setdefault(cell.image, []).append(cell)
    images = []
    for image in sorted(by_image):
        cells = by_image[image]
        first = cells[0]
        at = shown.recorded_at(first.image, head) if first.image is not None else None
        images.append(Released(first, tuple(c.component or "" for c in cells), at, evidence_of(shown, first)))
    digest = row.release
    reference = f"{shown.release_sets}@{digest}" if shown.release_sets is not None and digest is not None else None
    lacking = tuple(c for c in row.every() if c.state not in DONE and c.state is not State.NOT_PREVIEWED)
    decision = shown.traces.get(head, Trace()).decision
    return Release(head, tuple(r.pr for r in rows), digest, reference, tuple(images), lacking, decision)


def evidence_json(evidence: tuple[Evidence, ...]) -> list[Json]:
    return [{"manifest": e.manifest, "predicate_type": e.predicate_type} for e in evidence]
