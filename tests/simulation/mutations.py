"""The product, broken on purpose: one row per rule, and which invariant the simulation must find broken.

Invariant 0 stands for "does not come to rest in the right state".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Final, NamedTuple

import pytest

from tests.simulation.mutations_inside import INSIDE
from tests.simulation.mutations_outside import OUTSIDE
from tests.simulation.run import SimulationFailed, simulate


class Mutation(NamedTuple):
    name: str
    break_it: Callable[[pytest.MonkeyPatch], None]
    invariant: int
    found_by: int | None
    """The first seed that finds it, where one is known: a search begins with it."""


FOUND_BY: Final[dict[str, int]] = {
    "tags are not looked at again": 0,
    "pull requests are not looked at again": 0,
    "absence is always believed": 0,
    "a head ends on half a listing": 6,
    "half a listing is worked on": 2,
    "changed counts as unchanged": 0,
    "everything is said to be changed": 0,
    "any tag in place is adopted": 1,
    "baselines are not verified again": 0,
    "a refused baseline is pinned": 0,
    "the baseline of now is taken for the pinned one": 17,
    "a void release set is believed": 9,
    "forks are admitted": 0,
    "the hold label is ignored": 1,
    "decisions are not pinned": 0,
    "the intent comes after the write": 0,
    "mode observe writes": 6,
    "a suspended repository is worked on": 0,
    "an intent is closed twice": 0,
    "an unanswered write is called written": 1,
    "tags that were not confirmed count as written": 2,
    "a refused intent is ignored": 2,
    "a fenced writer begins a new epoch": 1,
    "the snapshot is recorded without its tags": 0,
    "a revived head is not told": 1,
    "bytes are not checked against their digest": 1,
    "outcomes are not written": 0,
    "every pass is recorded": 0,
    "recorded tags are asked for again": 0,
    "the sweep sees nothing": 1,
    "a quarantine is forgotten when planning": 1,
    "what looks unchanged is not looked at again": 7,
    "the branch of the author is in the title": 6,
    "one person suffices": 6,
    "a write that is refused later never happened": 1,
    "a plan has other digests than the release set": 6,
    "no grace is given": 16,
    "netrc is read": 0,
    "a read may take for ever": 0,
    "the credential follows a redirect": 0,
    "the hold label is not looked at again": 45,
    "other writes than intended": 17,
    "tags whose request was not answered are sent again": 95,
    "a tag that is refused by itself was not made before": 15,
    "open intents are left open": 6,
    "an empty last page does not count": 18,
    "the policy may have changed": 6,
    "a part of a listing is believed": 14,
    "applications are not looked at again": 148,
    "the first pull request at a head decides": 35,
    "an unknown tag closes its intent": 6,
    "a refused request refuses all its tags": 58,
    "a present tag is filled": 19,
    "a quarantined head is filled": 39,
    "a listing is read once": 25,
    "all that is due is deleted at once": 94,
    "answers are read without bound": 19,
    "consumed approvals count": 10,
    "what was begun is not gone on with": 152,
}
"""By name; the first ones from 0 on. Made anew by `python -m tests.simulation --mutations --anew`."""

MUTATIONS: Final = tuple(
    Mutation(name := f.__name__.strip("_").replace("_", " "), f, invariant, FOUND_BY.get(name))
    for f, invariant in (*INSIDE, *OUTSIDE)
)


class Search(NamedTuple):
    """The seed that found a mutation (None: none did), after how many runs, and what else broke in those before."""

    seed: int | None
    runs: int
    others: list[str]


def search(mutation: Mutation, seeds: int, *, anew: bool = False) -> Search:
    """Run the broken product until the invariant is found broken: by the known seed, else by the first `seeds` ones."""
    others, runs = list[str](), 0
    known = () if anew or mutation.found_by is None else (mutation.found_by,)
    with pytest.MonkeyPatch.context() as patch:
        mutation.break_it(patch)
        for runs, seed in enumerate(chain(known, range(seeds)), 1):
            try:
                simulate(seed)
            except SimulationFailed as failure:
                if failure.invariant == mutation.invariant:
                    return Search(seed, runs, others)
                others.append(str(failure))
    return Search(None, runs, others)
