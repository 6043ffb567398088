"""Writing down what a pass saw, decided and did: the log and the history it adds up to, kept in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from reconciler.ports import LogStore
from state import canonical, parts
from state.canonical import Json
from state.entry import Entry, Kind, Logged
from state.git import CommitId
from state.history import History
from state.history_file import Folded
from state.observed import Snapshot
from state.plan import PLANNER_VERSION, Plan


class Recorder:
    """The only way to append: each entry is on disk before it counts in `history`."""

    def __init__(self, log: LogStore, history: History, *, intents_on_remote: bool = False) -> None:
        self._log = log
        self._intents_on_remote = intents_on_remote
        self.history = history
        self.sequence = -1
        """The sequence number of the newest entry."""
        self.observed: CommitId | None = None
        """The newest entry that recorded an observation."""
        self.appended: Counter[Kind] = Counter()
        """Entries by kind that this process has appended."""

    @classmethod
    def opened(cls, log: LogStore, folded: Folded | None = None, *, intents_on_remote: bool = False) -> Recorder:
        """With the history of every entry so far, read from the log unless it is given.

        With `intents_on_remote` an intent is acted upon once it is there. Raises IntegrityError or InvalidValue if the
        entries do not add up."""
        made = folded if folded is not None else Folded().extended(log.entries())
        recorder = cls(log, made.history, intents_on_remote=intents_on_remote)
        recorder.sequence, recorder.observed = made.sequence, made.observed
        return recorder

    def read(self, entry: CommitId) -> Entry:
        """One entry by id."""
        return self._log.read(entry).entry

    def confirm(self) -> None:
        """Pass if this is still the log's writer. Raises LedgerMoved, Fenced or LogRollback."""
        self._log.confirm()

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> CommitId:
        """Append one entry and return its id. Raises LedgerMoved, Fenced or Transient; then nothing counts.

        Only an intent that the log's remote did not take counts all the same: it is open, and closed by the next pass.
        """
        logged = self._log.append(kind, body, blobs)
        self.history.apply(logged.id, logged.entry)
        self._note(logged)
        self.appended[kind] += 1
        if kind is Kind.INTENT and self._intents_on_remote:
            self._log.push()
        return logged.id

    def _note(self, logged: Logged) -> None:
        self.sequence = logged.entry.sequence
        if logged.entry.kind is Kind.OBSERVATION:
            self.observed = logged.id

    def observation(self, seen: Snapshot, plan: Plan, pass_id: str) -> CommitId | None:
        """Record what this pass saw, if its plan does something or holds something new; None if nothing is new.

        Only the parts that differ from the last recorded ones become blobs.
        """
        rows = plan.to_json()
        holds = canonical.digest(rows["holds"])
        revived = self.history.revivals()
        if plan.is_noop and holds == self.history.last_holds and not revived:
            return None
        now = parts.split(seen)
        before = self.history.parts
        changed = {name: raw for name, raw in now.items() if before.get(name) != parts.blob_id(raw)}
        return self.append(
            Kind.OBSERVATION,
            {
                "holds": holds,
                "pass": pass_id,
                "plan": plan.digest(),
                "planner_version": PLANNER_VERSION,
                "removed": canonical.texts(sorted(before.keys() - now.keys())),
                **({"revived": revived} if revived else {}),
            },
            changed,
        )
