"""The product, broken on purpose: one row per rule, and which invariant the simulation must find broken.

Invariant 0 stands for "does not come to rest in the right state".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Final, NamedTuple

import pytest

from tests.simulation.mutations_applying import APPLYING
from tests.simulation.mutations_deciding import DECIDING
from tests.simulation.mutations_outside import OUTSIDE
from tests.simulation.run import SimulationFailed, simulate


class Mutation(NamedTuple):
    name: str
    break_it: Callable[[pytest.MonkeyPatch], None]
    invariant: int
    found_by: int | None
    """The first seed that finds it, where one is known: a search begins with it."""


FOUND_BY: Final[dict[str, int]] = {
    "absence is always believed": 0,
    "a head ends on half a listing": 1,
    "half a listing is worked on": 2,
    "a void release set is believed": 6,
    "any tag in place is adopted": 1,
    "the baseline of now is taken for the pinned one": 17,
    "a refused baseline is pinned": 0,
    "changed counts as unchanged": 0,
    "the first pull request at a head decides": 299,
    "everything is said to be changed": 0,
    "forks are admitted": 0,
    "the hold label is ignored": 1,
    "decisions are not pinned": 0,
    "what was decided is decided again": 0,
    "mode observe writes": 6,
    "a suspended repository is worked on": 5,
    "a present tag is filled": 1,
    "recorded tags are asked for again": 0,
    "the sweep sees nothing": 0,
    "a quarantine is forgotten when planning": 0,
    "tags are not looked at again": 0,
    "pull requests are not looked at again": 0,
    "the hold label is not looked at again": 1,
    "baselines are not verified again": 0,
    "bytes are not checked against their digest": 1,
    "other writes than intended": 17,
    "an unanswered write is called written": 13,
    "an unknown tag closes its intent": 33,
    "tags that were not confirmed count as written": 2,
    "tags whose request was not answered are sent again": 50,
    "a request that confirms nothing made nothing": 158,
    "the intent comes after the write": 0,
    "an intent is closed twice": 0,
    "a refused intent is ignored": 23,
    "a fenced writer begins a new epoch": 1,
    "the snapshot is recorded without its tags": 0,
    "a revived head is not told": 6,
    "open intents are left open": 4,
    "outcomes are not written": 0,
    "every pass is recorded": 0,
    "an empty last page does not count": 5,
    "a listing is read once": 2,
    "the branch of the author is in the title": 6,
    "no second look before opening": 20,
    "consumed approvals count": 15,
    "one person suffices": 6,
    "a person's commit on the branch is opened": 66,
    "other approvals stand in for one that was consumed": 143,
    "a moved tag does not count": 59,
    "the policy may have changed": 51,
    "an approval that has ended counts": 4,
    "a new head closes nothing": 36,
    "closes and updates are left open": 211,
    "what was begun is not gone on with": 20,
    "a write that is refused later never happened": 28,
    "a plan has other digests than the release set": 6,
    "pins go by a tag and are not compared": 4,
    "no grace is given": 16,
    "a part of a listing is believed": 15,
    "all that is due is deleted at once": 14,
    "applications are not looked at again": 112,
    "netrc is read": 0,
    "the docker configuration is read": 0,
    "proxies of the environment are used": 0,
    "answers are read without bound": 21,
    "a read may take for ever": 0,
    "the credential follows a redirect": 0,
    "what a server says is told as it is": 13,
    "a revocation that came meanwhile is not read": 143,
    "a quarantined head is filled": 140,
    "a tag that is refused by itself was not made before": 158,
    "the hold label does not count": 490,
    "what a person closed is opened again": 1137,
    "a refused request refuses all its tags": 158,
    "what looks unchanged is not looked at again": 206,
}
"""By name. Each made anew, from 0 on, by `python -m tests.simulation --mutations --anew`."""

MUTATIONS: Final = tuple(
    Mutation(name := f.__name__.strip("_").replace("_", " "), f, invariant, FOUND_BY.get(name))
    for f, invariant in (*DECIDING, *APPLYING, *OUTSIDE)
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
