"""A snapshot as blobs of the log, and back: a recorded pass can be planned again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planner import plan
from reconciler.record import Recorder
from state import canonical
from state.canonical import Json
from state.entry import Entry, Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.history import History
from state.observed import Baseline, Listing, Snapshot, Unknown
from state.parts import blob_id, join, split
from tests.thorough import examples
from tests.unit.strategies import (
    ACCEPTED,
    BASELINES,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    TIPS,
    Ledger,
    ledger_of,
    pull_request,
    snapshot,
    snapshots,
)

A, B = HEADS
many = examples(150)


def without_why(value: Any) -> Any:
    """The same value, where nothing tells why a read failed."""
    match value:
        case Unknown():
            return Unknown("recorded as unknown")
        case Mapping():
            return {key: without_why(inner) for key, inner in value.items()}
        case _:
            return value


def forgetful(seen: Snapshot) -> Snapshot:
    names = ("bases", "catalogues", "inventory", "changes", "main", "faithful", "tags", "swept")
    return replace(seen, **{name: without_why(getattr(seen, name)) for name in names})


def back(seen: Snapshot) -> Snapshot:
    return join(split(seen), ledger_of(seen).history())


@many
@given(snapshots())
def test_a_snapshot_comes_back_from_its_parts_and_the_log(seen: Snapshot) -> None:
    assert back(seen) == forgetful(seen)


@many
@given(snapshots())
def test_a_pass_planned_again_from_its_parts_gives_the_same_plan(seen: Snapshot) -> None:
    assert plan(back(seen)).digest() == plan(seen).digest()


@many
@given(snapshots())
def test_equal_snapshots_have_equal_parts_with_names_that_the_log_takes(seen: Snapshot) -> None:
    made = split(seen)
    assert split(forgetful(seen)) == made
    Entry(
        Kind.OBSERVATION, 0, 0, "test", "2026-01-31T12:00:00Z", {}, {n: blob_id(raw) for n, raw in made.items()}
    ).encode()


def test_every_field_that_a_pass_can_see_is_kept() -> None:
    branch = RefName.branch("entwicklung-ü")
    seen = snapshot(
        pull_request(1, A, labels=("größe", "\n\x00"), draft=True, head_repository_id=None),
        bases={branch: TIPS[RefName.branch("main")], RefName.branch("main"): Unknown("-")},
        main={ORDERS: Baseline(BASELINES[0], ACCEPTED._replace(reason="why"), BASELINES[1])},
        admitted_forks=frozenset({(FORK, 1, A)}),
        backing_off=frozenset({A}),
        overdue=frozenset({(ORDERS, A)}),
    )
    assert back(seen) == forgetful(seen)


GATES: list[dict[str, Any]] = [
    {"labels": ("größe", "preview")},
    {"drafts": False},
    {"members": ()},
    {"members": (3, 7), "agents": (2**53 - 1,)},
]


@pytest.mark.parametrize("gate", GATES, ids=",".join)
def test_every_rule_of_admission_is_kept_and_only_where_there_is_one(gate: dict[str, Any]) -> None:
    plain = snapshot(pull_request(1, A))
    seen = replace(plain, policy=replace(plain.policy, **gate))
    assert back(seen) == forgetful(seen)
    before, after = (json.loads(split(s)["policy"]) for s in (plain, seen))
    assert after.keys() - before.keys() == gate.keys()


def test_a_part_has_the_id_that_git_gives_its_bytes() -> None:
    raw = split(snapshot())["policy"]
    done = subprocess.run(["git", "hash-object", "--stdin"], input=raw, capture_output=True, check=True)
    assert blob_id(raw) == done.stdout.decode().strip()


# --- parts from outside


def _paths(value: Json, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, ...]] = [at]
    if isinstance(value, dict):
        inner += [path for key, v in value.items() for path in _paths(v, (*at, key))]
    elif isinstance(value, list):
        inner += [path for n, v in enumerate(value) for path in _paths(v, (*at, n))]
    return inner


def _with(value: Any, path: tuple[Any, ...], new: Json) -> Any:
    if not path:
        return new
    made = value.copy()
    made[path[0]] = _with(value[path[0]], path[1:], new)
    return made


@examples(300)
@given(snapshots(), st.data())
def test_a_tampered_part_is_read_strictly_or_refused_but_never_half_read(seen: Snapshot, data: st.DataObject) -> None:
    made = split(seen)
    name = data.draw(st.sampled_from(sorted(made)))
    value = json.loads(made[name])
    path = data.draw(st.sampled_from(_paths(value)))
    new = data.draw(st.sampled_from((None, True, -1, 7, "", "x", "sha256:", [], [[]], ["a b"], {}, {"a": "b"})))
    tampered = {**made, name: canonical.dumps(_with(value, path, new))}
    history = ledger_of(seen).history()
    try:
        read = join(tampered, history)
    except InvalidValue:
        return
    # What was read says what the bytes say: nothing was dropped or guessed.
    assert split(read) == tampered


@pytest.mark.parametrize("name", ["bases", "inventory", "listing", "main", "pass", "policy", "pr.1"])
def test_a_snapshot_without_one_of_its_parts_is_refused(name: str) -> None:
    made = split(snapshot(pull_request(1, A)))
    del made[name]
    with pytest.raises(InvalidValue, match=name):
        join(made, History())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bases", [{"commit": "HEAD", "ref": "refs/heads/main"}]),
        ("bases", [{"commit": None, "ref": "main"}]),
        ("inventory", []),
        ("inventory", {"commit": A, "pins": {"orders": [None]}, "previewed": []}),
        ("listing", {"complete": 1, "numbers": []}),
        ("main", [None]),
        ("main", [{"repository": ORDERS, "state": "there"}]),
        ("main", [{"digest": BASELINES[0], "main": None, "repository": ORDERS, "state": "present", "verdict": None}]),
        (f"catalogue.{A}", {"components": {"orders": "orders"}, "images": []}),
        (f"catalogue.{A}", {"images": []}),
        (f"change.{A}.{A}", []),
        (f"tags.{A}", {}),
        (f"tags.{A}", [{"repository": ORDERS, "state": ""}]),
        ("tags.HEAD", []),
    ],
)
def test_a_malformed_part_is_refused(name: str, value: Json) -> None:
    made = {**split(snapshot()), name: canonical.dumps(value)}
    if name == "tags.HEAD":
        made[name] = canonical.dumps([{"repository": ORDERS, "state": "absent"}])
    with pytest.raises(InvalidValue):
        join(made, History())


@pytest.mark.parametrize("name", ["pr.1", f"change.{TIPS[MAIN]}.{A}", f"tags.{A}"])
def test_a_part_that_speaks_of_something_else_than_its_name_says_is_refused(name: str) -> None:
    made = split(snapshot(pull_request(1, A)))
    other = split(snapshot(pull_request(2, B)))
    made[name] = other[name.replace("pr.1", "pr.2").replace(A, B)]
    if name.startswith("tags"):
        made[name] = b"[]"
    with pytest.raises(InvalidValue, match="not as `split` writes them"):
        join(made, History())


@pytest.mark.parametrize("pair", [[], [ORDERS], [ORDERS, A, A], [ORDERS, 5], ORDERS])
def test_a_malformed_pair_in_the_pass_is_refused(pair: Json) -> None:
    made = split(snapshot())
    made["pass"] = canonical.dumps({**json.loads(made["pass"]), "overdue": [pair]})
    with pytest.raises(InvalidValue):
        join(made, History())


@pytest.mark.parametrize("fork", ["200 1", "200 1 x", {"fork": "200", "head": A, "number": 1}])
def test_a_malformed_admission_of_a_fork_is_refused(fork: Json) -> None:
    made = split(snapshot())
    made["policy"] = canonical.dumps({**json.loads(made["policy"]), "forks": [fork]})
    with pytest.raises(InvalidValue):
        join(made, History())


# --- recording


class MemoryLog:
    """A log of one writer, kept in memory: entries and blobs as the real one returns them."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self.blobs: dict[str, bytes] = {}

    def entries(self) -> list[Logged]:
        return [Logged(i, e) for i, e in self._ledger.entries]

    def read(self, entry: CommitId) -> Logged:
        return Logged(entry, self._ledger.read(entry))

    def blob(self, oid: str) -> bytes:
        return self.blobs[oid]

    def tip(self) -> CommitId | None:
        return self._ledger.entries[-1][0] if self._ledger.entries else None

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        self.blobs.update({blob_id(raw): raw for raw in (blobs or {}).values()})
        self._ledger.append(kind, body, {name: blob_id(raw) for name, raw in (blobs or {}).items()})
        return Logged(*self._ledger.entries[-1])

    def push(self) -> bool:
        return False


@examples(60)
@given(st.lists(snapshots(), min_size=1, max_size=4))
def test_recorded_passes_add_up_to_what_each_of_them_saw(looks: list[Snapshot]) -> None:
    log = MemoryLog()
    recorder = Recorder.opened(log)
    for look in looks:
        logged = recorder.history  # nothing is carried out here, so there are no decisions, records or quarantines
        seen = replace(look, decisions=dict(logged.decisions), recorded=dict(logged.recorded), quarantined={})
        made = plan(seen)
        entry = recorder.observation(seen, made, "pass")
        if entry is None:
            assert made.is_noop
            continue
        history = Recorder.opened(log).history
        assert history.parts == recorder.history.parts
        again = join({name: log.blob(oid) for name, oid in history.parts.items()}, history)
        assert again == forgetful(seen)
        assert plan(again).digest() == made.digest() == log.read(entry).entry.body["plan"]


def test_a_pass_that_saw_nothing_new_is_not_recorded() -> None:
    log = MemoryLog()
    recorder = Recorder.opened(log)
    held = snapshot(pull_request(1, A), suspended=True)
    assert recorder.observation(held, plan(held), "one") is not None
    assert recorder.observation(held, plan(held), "two") is None
    gone = snapshot(suspended=True)
    entry = recorder.observation(gone, plan(gone), "three")
    assert entry is not None
    assert sorted(log.read(entry).entry.body["removed"]) == [f"change.{t}.{A}" for t in TIPS.values()] + [
        "pr.1",
        f"tags.{A}",
    ]
    assert set(log.read(entry).entry.blobs) == {"listing"}
    assert recorder.sequence == 1


def test_an_incomplete_listing_is_told_apart_from_an_empty_one() -> None:
    seen = snapshot(listing=Listing(False, ()))
    assert back(seen).listing == Listing(False, ())
