"""The kept history is a cache: what was kept and the entries after it add up to what all entries do."""

from __future__ import annotations

import typing
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import history_file, typed_json
from state.canonical import Json
from state.decision import AwaitBuild, RetagFrom, Unresolved
from state.entry import Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId
from state.history import History
from state.history_file import Folded, HistoryFile
from state.hold import Reason
from state.log_branch import LogName
from state.observed import How
from state.oci import Digest, Repository
from state.publishing import ProposalState, Step
from state.quarantine import Acceptance, Breach
from state.writes import Attachment, Publication, Result, Write
from tests.unit.strategies import BASELINES, BILLING, BUILT, HEADS, ORDERS, Ledger, decision, outcome_row
from tests.unit.test_publishing_history import OPEN, plan_of

NAME = LogName.make(4711, "reconciler")
SETS = Repository("ghcr.io/acme/sets")
IMAGES = (BILLING, ORDERS)


class Story:
    """Entries that could follow each other, one at a time, of every kind that a history knows."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.log = Ledger()
        self.history = History()
        self._markers = 0

    def tell(self) -> None:
        """One more entry; none where what was drawn cannot follow."""
        steps: list[Callable[[CommitId], None]] = [
            self._decide, self._intend, self._conclude, self._breach, self._accept, self._end, self._observe,
            self._configure, self._plan, self._mark, self._revoke, self._propose, self._close,
        ]  # fmt: skip
        self.draw(st.sampled_from(steps))(self.draw(st.sampled_from(HEADS)))

    def _append(self, kind: Kind, body: dict[str, Any], blobs: dict[str, str] | None = None) -> None:
        entry_id = self.log.append(kind, body, blobs, after_s=self.draw(st.sampled_from((1, 3000))))
        self.history.apply(entry_id, self.log.read(entry_id))

    def _write(self, head: CommitId, image: Repository) -> Write:
        return Write(image, head, self.draw(st.sampled_from(BASELINES)), (1, 2), self.draw(st.booleans()))

    def _decide(self, head: CommitId) -> None:
        if head in self.history.decisions or head in self.history.ended:
            return
        wanted = st.sampled_from(
            [RetagFrom(BASELINES[0], main=BUILT), AwaitBuild(), Unresolved(Reason.BASELINE_UNKNOWN)]
        )
        self._append(Kind.DECISION, decision(head, {i: self.draw(wanted) for i in IMAGES}).to_json())

    def _intend(self, head: CommitId) -> None:
        attached = Attachment(ORDERS, BUILT, "https://spdx.dev/Document", BASELINES[0])
        body: dict[str, Any] = {"writes": [self._write(head, i).to_json() for i in IMAGES]}
        if self.draw(st.booleans()):
            body |= {"attachments": [attached.to_json()], "publications": [Publication(SETS, head, BUILT).to_json()]}
        self._append(Kind.INTENT, body)

    def _conclude(self, head: CommitId) -> None:
        intent = self.draw(st.sampled_from([None, *self.history.open_intents]))
        results, hows = st.sampled_from(list(Result)), st.sampled_from(list(How))
        rows = [
            outcome_row(self._write(head, i), self.draw(results), self.draw(hows), settled=self.draw(st.booleans()))
            for i in IMAGES
        ]
        published = {**Publication(SETS, head, BUILT).to_json(), "result": self.draw(results).value}
        attached = Attachment(ORDERS, BUILT, "https://spdx.dev/Document", BASELINES[0], BASELINES[1]).to_json()
        more: dict[str, Any] = {"attachments": [attached], "publications": [published]}
        self._append(Kind.OUTCOME, {"intent": intent, "writes": rows, **(more if self.draw(st.booleans()) else {})})

    def _breach(self, head: CommitId) -> None:
        cells = [(r, h) for r, h in self.history.recorded if h == head]
        if cells:
            found = self.draw(st.sampled_from([None, BUILT]))
            breach = Breach(cells[0][0], self.history.recorded[cells[0]].digest, found)
            self._append(Kind.QUARANTINE, {"breaches": [breach.to_json()], "head": head, "pull_requests": [1]})

    def _accept(self, head: CommitId) -> None:
        seen = self.history.quarantined.get(head)
        if seen is not None and len({b.repository for b in seen.breaches}) == len(seen.breaches):
            said = Acceptance(head, seen.entry, "alice", "it is meant").to_json()
            self._append(Kind.QUARANTINE, {"accepted": said, "head": head, "pull_requests": [1]})

    def _end(self, head: CommitId) -> None:
        if head in self.history.decisions:
            self._append(Kind.TOMBSTONE, self.history.tombstone(head, (1, 2)))

    def _observe(self, head: CommitId) -> None:
        body: dict[str, Any] = {"holds": BUILT, "removed": self.draw(st.sampled_from([[], ["pr.1"]]))}
        if head in self.history.ended and self.draw(st.booleans()):
            live = Folded().extended(Logged(i, e) for i, e in self.log.entries).history
            live.revive(head, self.log.read)
            body["revived"] = live.revivals()
        self._append(Kind.OBSERVATION, body, self.draw(st.sampled_from([{}, {"pr.1": "e" * 40, "listing": "f" * 40}])))

    def _configure(self, head: CommitId) -> None:
        self._append(Kind.CONFIG, {"digest": Digest.of(head.encode())})

    def _plan(self, head: CommitId) -> None:
        plan = plan_of(self.draw(st.sampled_from((1, 7))), head)
        people = {"author_id": self.draw(st.sampled_from([None, 5])), "last_pusher_id": None}
        body = {"base": "refs/heads/main", "head": head, "plan": plan.to_json(), "pull_requests": [1], **people}
        self._append(Kind.PLAN, body)

    def _mark(self, head: CommitId) -> None:
        self._markers += 1
        plan = self.draw(st.sampled_from([None, *self.history.publishing.plans]))
        text = f"{self._markers % 3:032x}"
        body = {"digest": Digest.of(text.encode()), "envelope": "e30=", "id": text, "kind": "approval", "plan": plan}
        self._append(Kind.MARKER, {**body, "principals": ["alice"], "statement": Digest.of(head.encode())})

    def _revoke(self, head: CommitId) -> None:
        for marker in list(self.history.publishing.markers)[:1]:
            self._append(Kind.REVOCATION, {"digest": Digest.of(head.encode()), "id": marker, "kind": "revocation"})

    def _propose(self, head: CommitId) -> None:
        plans = [p for p in self.history.publishing.plans.values() if p.head == head]
        step = self.draw(st.sampled_from(Step))
        for plan in plans[:1]:
            if step is Step.OPEN or plan.branch in self.history.publishing.proposals:
                made = OPEN._replace(plan=plan.digest(), head=head, branch=plan.branch, step=step)
                self._append(Kind.INTENT, {"proposals": [made.to_json()], "writes": []})

    def _close(self, _: CommitId) -> None:
        for intent, steps in list(self.history.publishing.open_steps.items())[:1]:
            state = self.draw(st.sampled_from(ProposalState))
            rows: list[Json] = [{**s._replace(change=5).to_json(), "result": state.value} for s in steps]
            self._append(Kind.OUTCOME, {"intent": intent, "proposals": rows, "writes": []})


@st.composite
def stories(draw: st.DrawFn) -> list[Logged]:
    story = Story(draw)
    for _ in range(draw(st.integers(1, 30))):
        story.tell()
    return [Logged(i, e) for i, e in story.log.entries]


def everything(folded: Folded) -> Any:
    """All that a fold is made of, with the order of what has one."""

    def ordered(value: object) -> object:
        return list(value.items()) if isinstance(value, dict) else value

    own, publishing = dict(vars(folded.history)), dict(vars(folded.history.publishing))
    del own["publishing"]
    values = [{name: ordered(value) for name, value in of.items()} for of in (own, publishing)]
    return values, folded.entry, folded.sequence, folded.observed


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> HistoryFile:
    return HistoryFile(tmp_path_factory.mktemp("tips"), NAME, fsync=False)


@settings(max_examples=60, deadline=None)
@given(stories(), st.data())
def test_what_was_kept_and_the_rest_add_up_to_all(
    kept: HistoryFile, entries: list[Logged], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    kept.save(Folded().extended(entries[:cut])) if cut else kept.path.unlink(missing_ok=True)
    again = kept.load() or Folded()
    assert everything(again) == everything(Folded().extended(entries[:cut]))
    assert everything(again.extended(entries[cut:])) == everything(Folded().extended(entries))


def test_every_value_of_a_history_is_kept() -> None:
    made = History()
    assert vars(made).keys() - {"publishing"} == history_file._HISTORY.keys()
    assert vars(made.publishing).keys() == history_file._PUBLISHING.keys()


@pytest.fixture
def file(tmp_path: Path) -> HistoryFile:
    log = Ledger()
    log.append(Kind.DECISION, decision(HEADS[0], {ORDERS: AwaitBuild()}).to_json())
    made = HistoryFile(tmp_path, NAME)
    made.save(Folded().extended(Logged(i, e) for i, e in log.entries))
    assert made.load() is not None
    return made


def test_a_file_that_is_torn_at_any_place_is_never_believed(file: HistoryFile) -> None:
    whole = file.path.read_bytes()
    for end in range(0, len(whole), 9):
        file.path.write_bytes(whole[:end])
        with pytest.raises(InvalidValue):
            file.load()
    for place in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.path.write_bytes(changed)
        with pytest.raises(InvalidValue):
            file.load()


def test_a_file_of_another_version_of_the_program_is_passed_over(
    file: HistoryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "program_digest", lambda: Digest.of(b"older"))
    with pytest.raises(InvalidValue, match="another version"):
        file.load()


def test_a_file_is_replaced_as_a_whole(file: HistoryFile, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.path.read_bytes()
    monkeypatch.setattr(history_file.os, "fsync", _killed)
    with pytest.raises(KeyboardInterrupt):
        file.save(Folded())
    assert file.path.read_bytes() == before
    monkeypatch.undo()
    assert file.load() is not None
    assert HistoryFile(file.path.parent / "none", NAME).load() is None


def _killed(_: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("of", "json"),
    [
        (int, True),
        (bool, 1),
        (str, None),
        (CommitId, "abc"),
        (Reason, "no-reason"),
        (list[int], {}),
        (int | None, "1"),
        (tuple[int, str], [1]),
        (tuple[int, ...], [1, "2"]),
        (dict[str, int], [["a"]]),
        (AwaitBuild | Unresolved, [2, []]),
        (AwaitBuild | Unresolved, [True, []]),
        (Breach, [1, 2, 3, 4]),
    ],
)
def test_what_is_not_of_its_type_is_refused(of: Any, json: Json) -> None:
    with pytest.raises(InvalidValue):
        typed_json.form(of).read(json)


def test_a_type_without_a_form_is_a_mistake_of_the_program() -> None:
    for of in (float, typing.Callable, object):
        with pytest.raises(TypeError):
            typed_json.form(of)
    form = typed_json.form(deque[int])
    assert form.read(form.write(deque([2, 1]))) == deque([2, 1])
