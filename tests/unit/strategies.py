"""How snapshots are drawn for the laws of the planner.

The pools are narrow on purpose (two heads, two images, three components, two bases), so that drawn values meet, and a
full mapping is drawn first and thinned out afterwards: a planted bug is then found in most runs instead of a few.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st

from state.change import ChangeRecord, ImageChange, Why
from state.decision import AwaitBuild, Decision, RetagFrom, Unresolved, Wanted
from state.entry import Entry, Kind
from state.git import CommitId, RefName
from state.history import History
from state.hold import Reason
from state.observed import (
    Absent,
    Baseline,
    BaselinePolicy,
    Catalogue,
    How,
    Image,
    Inventory,
    Listing,
    Mode,
    Pin,
    Policy,
    Present,
    PullRequest,
    Recorded,
    Snapshot,
    Unknown,
)
from state.oci import Digest, Repository
from state.plan import QuarantineHead
from state.quarantine import Breach
from state.verdict import Outcome, Verdict
from state.writes import Result, Write

K = TypeVar("K")
V = TypeVar("V")


def commit(letter: str) -> CommitId:
    """A commit id that people can tell from others: forty times one hex digit."""
    return CommitId(letter * 40)


def digest(name: str) -> Digest:
    """The digest of a name."""
    return Digest.of(name.encode())


HERE, FORK = 100, 200
"""The code repository's id, and a fork's."""
HEADS = (commit("a"), commit("b"))
ENDED = commit("e")
MAIN, RELEASE = RefName.branch("main"), RefName.branch("release")
TIPS = {MAIN: commit("1"), RELEASE: commit("2")}
GITOPS = commit("9")
ORDERS, BILLING = Repository("ghcr.io/acme/orders"), Repository("ghcr.io/acme/billing")
REPOSITORIES = (ORDERS, BILLING)
COMPONENTS = {"billing": "billing", "orders": "orders", "orders-worker": "orders"}
IMAGES = {
    name: Image(name, repository, (f"primitives/{name}",), ("linux/amd64",))
    for name, repository in (("billing", BILLING), ("orders", ORDERS))
}
BASELINES = (digest("baseline"), digest("another"))
BUILT = digest("built")
POLICY = digest("policy")
CELLS = tuple((r, h) for r in REPOSITORIES for h in HEADS)

ACCEPTED, REFUSED, UNCHECKED = (Verdict(outcome, POLICY) for outcome in Outcome)


def mostly(usual: V, *others: V) -> st.SearchStrategy[V]:
    """The usual value six times out of seven, else one of the others."""
    return st.sampled_from((usual,) * 6 * len(others) + others)


def thinned(draw: st.DrawFn, full: Mapping[K, V]) -> dict[K, V]:
    """The full mapping, or one time out of four the mapping without one or two of its keys."""
    keys = sorted(full)
    some = (*itertools.combinations(keys, 1), *itertools.combinations(keys, 2))
    out = draw(st.sampled_from((*[()] * 3 * len(some), *some)))
    return {key: value for key, value in full.items() if key not in out}


VERDICTS = (ACCEPTED, ACCEPTED, REFUSED, UNCHECKED)
_UNREAD = (Absent(), Unknown("no answer"))
BASELINE_STATES = st.sampled_from(
    (
        *itertools.starmap(Baseline, itertools.product(BASELINES, VERDICTS, (None, *BASELINES))),
        *(Baseline(BASELINES[0], ACCEPTED, BASELINES[0]),) * 24,
        *_UNREAD * 4,
    )
)
FOUND = st.sampled_from((None, BUILT))
TAG_STATES = st.sampled_from(
    (
        *itertools.starmap(Present, itertools.product((*BASELINES, BUILT), (None, *VERDICTS))),
        *(Absent(),) * 24,
        *_UNREAD * 8,
    )
)
UNRESOLVED = tuple(
    Unresolved(reason)
    for reason in (Reason.NOT_PREVIEWED, Reason.BASELINE_UNKNOWN, Reason.BASELINE_MISSING, Reason.BASELINE_REFUSED)
)


def image_change(repository: Repository, *, changed: bool, moved: bool = False) -> ImageChange:
    why = Why.INPUTS_DIFFER if changed else Why.INPUTS_EQUAL
    inputs = (f"primitives/{repository.path}",) if changed else ()
    fingerprint = None if changed else digest("head")
    return ImageChange(repository, changed, why, inputs, fingerprint, digest("base" if moved or changed else "head"))


def change_record(
    tip: CommitId, head: CommitId, changed: Mapping[Repository, bool], *, moved: Iterable[Repository] = ()
) -> ChangeRecord:
    """What git says of `head` against `tip`: which images changed."""
    images = tuple(image_change(r, changed=c, moved=r in moved) for r, c in sorted(changed.items()))
    return ChangeRecord(tip, head, (tip,), tip, images)


def catalogue(tip: CommitId, names: Iterable[str] = IMAGES) -> Catalogue:
    """A catalogue of some of the images, with the components that run them."""
    images = {name: IMAGES[name] for name in sorted(names)}
    return Catalogue(tip, images, {c: i for c, i in COMPONENTS.items() if i in images})


def inventory(previewed: Iterable[str] = COMPONENTS) -> Inventory:
    names = tuple(sorted(previewed))
    return Inventory(GITOPS, names, {n: (Pin(f"apps/{n}.yaml", "image.ref", "dev"),) for n in names})


def pull_request(number: int, head: CommitId, **changed: Any) -> PullRequest:
    """An open pull request of the repository itself onto main."""
    return PullRequest(number, head, MAIN, HERE, 7)._replace(**changed)


def snapshot(*pull_requests: PullRequest, **changed: Any) -> Snapshot:
    """A snapshot in which everything was read, nothing is changed, and nothing was done yet."""
    seen: dict[str, Any] = {
        "repository_id": HERE,
        "mode": Mode.FILL,
        "suspended": False,
        "policy": Policy(POLICY, (MAIN, RELEASE), "hold"),
        "listing": Listing(True, pull_requests),
        "bases": TIPS,
        "catalogues": {tip: catalogue(tip) for tip in TIPS.values()},
        "inventory": inventory(),
        "changes": {
            (tip, pr.head): change_record(tip, pr.head, dict.fromkeys(REPOSITORIES, False))
            for pr in pull_requests
            for tip in TIPS.values()
        },
        "main": {r: Baseline(BASELINES[0], ACCEPTED, BASELINES[0]) for r in REPOSITORIES},
        "tags": {(r, pr.head): Absent() for pr in pull_requests for r in REPOSITORIES},
        "writes_left": 100,
    }
    return Snapshot(**{**seen, **changed})


def decision(
    head: CommitId,
    images: Mapping[Repository, Wanted],
    *,
    bases: Iterable[RefName] = (MAIN,),
    numbers: Iterable[int] = (1,),
    records: Iterable[ChangeRecord] | None = None,
) -> Decision:
    """A decision whose change records agree with it."""
    if records is None:
        changed = {r: isinstance(w, AwaitBuild) for r, w in images.items()}
        records = [change_record(TIPS[base], head, changed) for base in bases]
    return Decision(head, tuple(numbers), tuple(sorted(bases)), tuple(records), POLICY, dict(sorted(images.items())))


def _pull_requests(number: int) -> tuple[PullRequest, ...]:
    heads, bases = (HEADS[0], HEADS[0], *HEADS), (MAIN, RELEASE)
    owners, labels = (*(HERE,) * 10, FORK, None), (*((),) * 10, ("hold",), ("other",))
    return tuple(
        PullRequest(number, head, base, owner, 7, label)
        for head, base, owner, label in itertools.product(heads, bases, owners, labels)
    )


def _records(tip: CommitId, head: CommitId) -> tuple[ChangeRecord | Unknown, ...]:
    flags = (False, False, True)
    made = (
        change_record(tip, head, {BILLING: billing, ORDERS: orders}, moved=moved)
        for billing, orders, moved in itertools.product(flags, flags, ((), (ORDERS,)))
    )
    return (*made, *(Unknown("-"),) * 2)


def _decisions(head: CommitId) -> tuple[Decision, ...]:
    """Pinned decisions: changed images await their build, the others are retagged or unresolved."""
    wanted: tuple[Wanted, ...] = (AwaitBuild(), *map(RetagFrom, BASELINES), *UNRESOLVED)
    images: list[dict[Repository, Wanted]] = [
        {BILLING: billing, ORDERS: orders} for billing, orders in itertools.product(wanted, wanted)
    ]
    images += [{r: w} for r in REPOSITORIES for w in wanted]
    return tuple(
        decision(head, chosen, bases=bases)
        for chosen in images
        for bases in ((MAIN,), (MAIN,), (RELEASE,), tuple(TIPS))
    )


PULL_REQUESTS = {number: st.sampled_from(_pull_requests(number)) for number in (1, 2, 3)}
COUNTS = st.sampled_from((1, 2, 2, 2, 3))
RECORDS = {(tip, head): st.sampled_from(_records(tip, head)) for tip in TIPS.values() for head in HEADS}
DECISIONS = {
    head: st.sampled_from((*(None,) * len(made), *made)) for head in (*HEADS, ENDED) for made in [_decisions(head)]
}
RECORDED = st.sampled_from(
    (
        *itertools.starmap(Recorded, itertools.product((*BASELINES, BUILT), How, (False, True), (False, True))),
        *(None,) * 24,
    )
)
CATALOGUES = {tip: mostly(catalogue(tip), catalogue(tip, ["orders"]), Unknown("-")) for tip in TIPS.values()}
INVENTORIES = mostly(inventory(), inventory(["orders"]), inventory([*COMPONENTS, "zebra"]), Unknown("-"))
_GATES: tuple[dict[str, Any], ...] = ({"labels": ("other",)}, {"drafts": False, "members": (7,)}, {"members": (8,)})
POLICIES = st.sampled_from(
    tuple(Policy(POLICY, (MAIN, RELEASE), "hold", **gate) for gate in _GATES)
    + tuple(
        Policy(POLICY, bases, label, max_heads, baseline)
        for bases, label, max_heads, baseline in itertools.product(
            (*((MAIN, RELEASE),) * 5, (MAIN,)), (*("hold",) * 5, None), (*(1000,) * 5, 1), BaselinePolicy
        )
    )
)
BASES = {base: mostly(tip, tip, Unknown("-")) for base, tip in TIPS.items()}
MODES = mostly(Mode.FILL, Mode.PUBLISH, Mode.OBSERVE)
SWITCHES = st.sampled_from((False,) * 9 + (True,))
COINS = st.booleans()
BACKING_OFF = mostly(frozenset(), frozenset(HEADS[:1]))
OVERDUE = mostly(frozenset(), frozenset(CELLS), frozenset(CELLS[:1]))
BUDGETS = mostly(100, 0, 1)


def _as_declared(record: ChangeRecord | Unknown, declared: Catalogue | Unknown) -> ChangeRecord | Unknown:
    """A comparison tells of the images that the catalogue at its base declares."""
    if isinstance(record, Unknown) or isinstance(declared, Unknown):
        return record
    known = {image.repository for image in declared.images.values()}
    return record._replace(images=tuple(i for i in record.images if i.repository in known))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    prs = tuple(draw(PULL_REQUESTS[number]) for number in range(1, draw(COUNTS) + 1))
    policy = draw(POLICIES)
    catalogues = {tip: draw(found) for tip, found in CATALOGUES.items()}
    changes = {key: _as_declared(draw(record), catalogues[key[0]]) for key, record in RECORDS.items()}
    drawn = {head: draw(made) for head, made in DECISIONS.items()}
    pinned = {head: made for head, made in drawn.items() if made is not None}
    recorded = {
        (repository, head): done
        for head, made in pinned.items()
        for repository, wanted in made.images.items()
        if not isinstance(wanted, Unresolved) and (done := draw(RECORDED)) is not None
    }
    is_faithful = policy.baseline is BaselinePolicy.FAITHFUL
    return Snapshot(
        repository_id=HERE,
        mode=draw(MODES),
        suspended=draw(SWITCHES),
        policy=policy,
        listing=Listing(not draw(SWITCHES), prs),
        bases={base: draw(tip) for base, tip in BASES.items()},
        catalogues=catalogues,
        inventory=draw(INVENTORIES),
        changes=thinned(draw, changes),
        main=thinned(draw, {r: draw(BASELINE_STATES) for r in REPOSITORIES}),
        faithful=thinned(draw, {cell: draw(BASELINE_STATES) for cell in CELLS}) if is_faithful else {},
        tags=thinned(draw, {cell: draw(TAG_STATES) for cell in CELLS}),
        swept={cell: draw(TAG_STATES) for cell, done in recorded.items() if done.settled and draw(COINS)},
        decisions=pinned,
        recorded=recorded,
        quarantined={
            head: (Breach(repository, done.digest, draw(FOUND)),)
            for (repository, head), done in recorded.items()
            if draw(COINS)
        },
        admitted_forks=frozenset(
            (FORK, pr.number, pr.head) for pr in prs if pr.head_repository_id == FORK and draw(COINS)
        ),
        backing_off=draw(BACKING_OFF),
        overdue=draw(OVERDUE),
        writes_left=draw(BUDGETS),
    )


START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


class Ledger:
    """Entries in a row, kept in memory: what `History` folds and `revive` reads."""

    def __init__(self) -> None:
        self.entries: list[tuple[CommitId, Entry]] = []

    def append(
        self, kind: Kind, body: Mapping[str, Any], blobs: Mapping[str, str] | None = None, *, after_s: int = 1
    ) -> CommitId:
        """One more entry, made `after_s` seconds after START for each one before it; it is encoded and decoded."""
        sequence = len(self.entries)
        at = (START + timedelta(seconds=after_s * sequence)).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = Entry(kind, sequence, 0, "test", at, body, blobs or {})
        made = CommitId(f"{sequence:040x}")
        self.entries.append((made, entry))
        return made

    def read(self, entry_id: CommitId) -> Entry:
        return self.entries[int(entry_id, 16)][1]

    def history(self) -> History:
        """The fold of all entries."""
        made = History()
        for entry_id, entry in self.entries:
            made.apply(entry_id, entry)
        return made


def outcome_row(write: Write, result: Result, how: How = How.RETAGGED, *, settled: bool = True) -> dict[str, Any]:
    """One write of an outcome entry."""
    return {
        **write.to_json(),
        "found": write.digest if settled else None,
        "how": how.value,
        "result": result.value,
        "settled": settled,
    }


def ledger_of(seen: Snapshot) -> Ledger:
    """A log that adds up to the decisions and records of `seen`."""
    log = Ledger()
    for made in seen.decisions.values():
        log.append(Kind.DECISION, made.to_json())
    rows = [
        outcome_row(Write(r, h, done.digest, (1,), done.proven), Result.WRITTEN, done.how, settled=done.settled)
        for (r, h), done in seen.recorded.items()
    ]
    if rows:
        log.append(Kind.OUTCOME, {"intent": None, "writes": rows})
    for head, breaches in seen.quarantined.items():
        log.append(Kind.QUARANTINE, QuarantineHead(head, breaches, (1,)).to_json())
    return log
