"""Bugs that a run has to find: `python -m tests.chaos.plants NAME ARGUMENT…` is `ameide ARGUMENT…` with one of them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from reconciler import apply, guarded_log, leadership, passes, premise, record
from reconciler.adapters import forge_gitea, registry_retry
from reconciler.cli import main as program
from reconciler.publishing import upkeep
from state.entry import Kind


def no_second_look() -> None:
    """A tag is written without looking for it again."""
    _put(premise.Premise, "still_absent", lambda _self, batch: list(batch))


def intent_after_the_writes() -> None:
    """An intent is recorded together with its outcome: a crash before leaves writes that nobody intended."""
    append: Any = record.Recorder.append
    held: list[Any] = []

    def later(self: Any, kind: Kind, body: Any, blobs: Any = None) -> Any:
        if kind is Kind.INTENT and body.get("writes"):
            held.append(body)
            return "0" * 40
        if kind is Kind.OUTCOME and body.get("intent") == "0" * 40:
            body = {**body, "intent": append(self, Kind.INTENT, held.pop())}
        return append(self, kind, body, blobs)

    _put(record.Recorder, "append", later)


def intents_left_open() -> None:
    """What a crash left open is not closed."""
    _put(apply.Applier, "close_intents", lambda _self, _reads: True)


def no_fence() -> None:
    """Who once led goes on although its lease has lapsed."""
    _put(leadership.Leadership, "confirm", lambda _self: None)
    _put(guarded_log.GuardedLog, "confirm", lambda _self: None)


def tries_not_closed() -> None:
    """A registry's connection is not given back where a request has failed and is sent again."""
    kept: list[socket.socket] = []
    delay_s: Any = registry_retry.Retrying._delay_s

    def leaks(self: Any, *given: Any) -> Any:
        kept.append(socket.socket())
        return delay_s(self, *given)

    _put(registry_retry.Retrying, "_delay_s", leaks)


def passes_remembered() -> None:
    """Every pass leaves a little in memory."""
    kept: list[bytearray] = []
    run: Any = passes.Repository.run_pass

    def remembers(self: Any, *given: Any) -> Any:
        kept.append(bytearray(b"x" * 512 * 1024))
        return run(self, *given)

    _put(passes.Repository, "run_pass", remembers)


def revocations_ignored() -> None:
    """A pull request whose approval is revoked stays open."""
    source: Any = upkeep.Upkeep._source
    _put(upkeep.Upkeep, "_source", lambda self, *given: source(self, *given)._replace(revoked=()))


def no_search_before_opening() -> None:
    """A GitOps pull request is opened without looking whether it is there."""
    _put(forge_gitea.GiteaChanges, "find_change", lambda _self, *_given: ())


PLANTS: Final[dict[str, Callable[[], None]]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        no_second_look,
        intent_after_the_writes,
        intents_left_open,
        no_fence,
        tries_not_closed,
        passes_remembered,
        revocations_ignored,
        no_search_before_opening,
    )
}


def _put(owner: Any, name: str, made: Callable[..., Any]) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    setattr(owner, name, made)


if __name__ == "__main__":
    PLANTS[sys.argv[1]]()
    sys.argv = ["ameide", *sys.argv[2:]]
    program()
