"""Plans every recorded pass again from the log alone (design invariant 12)."""

from __future__ import annotations

from reconciler.planner import plan
from state import parts
from state.entry import Kind
from state.history import History
from state.log_read import LogReader
from tests.simulation.told import Violation


def replay(log: LogReader) -> int:
    """How many observations there are. Raises Violation at the first whose plan comes out otherwise."""
    history, seen = History(), 0
    for logged in log.entries():
        history.apply(logged.id, logged.entry)
        if logged.entry.kind is Kind.OBSERVATION:
            seen += 1
            blobs = {name: log.blob(oid) for name, oid in history.parts.items()}
            again = plan(parts.join(blobs, history)).digest()
            if again != logged.entry.body["plan"]:
                raise Violation(12, f"observation {logged.entry.sequence} gives another plan when it is replayed")
    return seen
