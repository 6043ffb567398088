"""One run of `ameide gitops propose`: the rendered lane → one pull request of the GitOps repository.

1. Look: the base, the files that differ, our branch and its pull requests; decide. A dry run ends here, and so does a
   run without work.
2. Become the operator's writer, close what a crash left open by looking, look and decide again.
3. Commit on the base. One intent, on the log's remote before the branch is pushed (never by force); the pull request is
   looked for again, then opened. One outcome.
4. What is open of earlier renderings is closed with a link, each with an intent and an outcome; what others merged or
   closed is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple

from reconciler.events import Emitter, Event
from reconciler.lane.deciding import Act, Ruling, Seen, decide, ended
from reconciler.lane.file_list import PATH, Difference, difference, read_list
from reconciler.lane.records import Proposal, Proposals, Standing, State, Step, intent_body, outcome_body
from reconciler.lane.wording import Changed, body, changed, commit_message, title
from reconciler.ports import ForgeWriter, LaneWriter, LogStore
from state.canonical import Json
from state.entry import Kind, Logged
from state.errors import ConfigError, IntegrityError, StaleObservation, Terminal
from state.git import CommitId, RefName
from state.oci import Digest

_AT_WORK = (Act.OPEN, Act.UPDATE)
_SUPERSEDES = (Act.NONE, Act.KEEP, *_AT_WORK)


class Look(NamedTuple):
    """What is there now."""

    base: CommitId
    difference: Difference
    files: tuple[Changed, ...]
    seen: Seen


class Ended(NamedTuple):
    """What became of a pull request of an earlier run."""

    branch: RefName
    change: int | None
    state: State


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and done."""

    look: Look
    ruling: Ruling
    ended: tuple[Ended, ...] = ()
    applied: bool = False

    @property
    def clean(self) -> bool:
        """The lane is in place, or its pull request is open."""
        return self.ruling.act in (Act.NONE, Act.KEEP) or (self.applied and self.ruling.act in _AT_WORK)

    def to_json(self, name: str, branch: RefName) -> dict[str, Json]:
        return {
            "act": self.ruling.act.value,
            "applied": self.applied,
            "base": self.look.base,
            "branch": branch,
            "change": self.ruling.change,
            "edited": list(self.look.difference.edited),
            "ended": [{"branch": e.branch, "change": e.change, "state": e.state.value} for e in self.ended],
            "files": [{"diff": "\n".join(f.lines), "path": f.path, "what": f.what} for f in self.look.files],
            "repository": name,
            "why": self.ruling.why,
        }


@dataclass(frozen=True, slots=True)
class LaneProposer:
    """Runs for one repository.

    Args:
        name: the repository's name in the configuration.
        repository_id: the code repository's, which is in the branch's name.
        base: the GitOps branch that Argo CD reads.
        rendered: the files of the lane with their list.
        by: the account that started this.
        peek: the operator's entries as the remote has them.
        open_log: the operator's log, active.
    """

    name: str
    repository_id: int
    base: RefName
    writer: LaneWriter
    changes: ForgeWriter
    rendered: Mapping[str, bytes]
    by: str
    peek: Callable[[], Iterable[Logged]]
    open_log: Callable[[], AbstractContextManager[LogStore]]
    emit: Emitter

    @property
    def content(self) -> Digest:
        """The digest of the list: equal for equal lanes."""
        return Digest.of(self.rendered[PATH])

    @property
    def branch(self) -> RefName:
        """One per content, so that another rendering gets another branch and nothing is ever forced."""
        return RefName.branch(f"ameide/lane/{self.repository_id}/{self.content.hex[:12]}")

    def plan(self, *, again: bool = False) -> Report:
        """What a run would do now. Reads only. Raises as `run`."""
        look = self._look()
        return Report(look, self._decide(look, _fold(self.peek()), again=again))

    def run(self, *, again: bool = False) -> Report:
        """One run.

        Raises ConfigError where somebody else's file is in the way, Denied, Terminal or Transient where the forge, git
        or the log gives no usable answer; Fenced or LedgerMoved where another writer took the operator's log over.
        """
        look, proposals = self._look(), _fold(self.peek())
        ruling = self._decide(look, proposals, again=again)
        if ruling.act in _AT_WORK or proposals.open_intents or any(self._standing_ends(proposals, ruling)):
            with self.open_log() as log:
                return self._act(log, again=again)
        return Report(look, ruling, applied=True)

    # --- 1.

    def _look(self) -> Look:
        base = self.writer.tip(self.base)
        if base is None:
            raise Terminal(
                f"{self.name}: the GitOps repository has no branch {self.base.short}; push it, or name another one as "
                "lane.gitops_branch"
            )
        where = f"{self.base.short} at {base.short}"
        before = {path: read_list(raw, f"{path} in {where}") for path, raw in self.writer.files(base, [PATH]).items()}
        listed = before.get(PATH, {})
        there = self.writer.files(base, sorted({*self.rendered, *listed}))
        differs = difference(self.rendered, there, listed)
        if differs.in_the_way:
            raise ConfigError(
                f"{self.name}: in {where} is somebody else's {', '.join(differs.in_the_way[:20])}, which is never "
                "overwritten; move or remove it, and propose again"
            )
        tip = self.writer.tip(self.branch)
        seen = Seen(
            differs=bool(differs.files),
            tip=tip,
            changes=self.changes.find_change(self.branch, self.base),
            clean=tip is None or self.writer.merges(base, tip),
        )
        return Look(base, differs, changed(differs, there), seen)

    def _decide(self, look: Look, proposals: Proposals, *, again: bool) -> Ruling:
        return decide(proposals.standing.get(self.branch), look.seen, again=again)

    # --- 2.

    def _act(self, log: LogStore, *, again: bool) -> Report:
        proposals = _fold(log.entries())
        for intent, proposal in list(proposals.open_intents.items()):
            self._settle(log, proposals, intent, proposal)
        look = self._look()
        ruling = self._decide(look, proposals, again=again)
        if ruling.act in _AT_WORK:
            ruling = self._propose(log, proposals, look, ruling, again=again)
        done = [self._end(log, proposals, *row, ruling) for row in self._standing_ends(proposals, ruling)]
        log.push()
        return Report(look, ruling, tuple(done), applied=True)

    def _settle(self, log: LogStore, proposals: Proposals, intent: CommitId, proposal: Proposal) -> None:
        """Close what a crash left open: an open counts by what is there, a close is done where it was not."""
        standing = proposals.standing[proposal.branch]
        found = self.changes.find_change(proposal.branch, proposal.base)
        opened = next((c.number for c in found if c.open), None)
        if opened is not None:
            standing = replace(standing, change=opened)
        state = ended(standing, self.writer.tip(proposal.branch), found)
        if proposal.step is Step.CLOSE and state not in (State.MERGED, State.HANDS_OFF):
            self._close(log, proposals, intent, proposal)
            return
        change = proposal.change if opened is None else opened
        self._conclude(log, proposals, intent, proposal._replace(change=change), state or State.OPEN)

    # --- 3.

    def _propose(self, log: LogStore, proposals: Proposals, look: Look, ruling: Ruling, *, again: bool) -> Ruling:
        commit, parents = self._commit(look)
        proposal = Proposal(Step.OPEN, self.branch, self.base, self.by, commit, parents, ruling.change)
        intent = self._intend(log, proposals, proposal)
        standing = proposals.standing[self.branch]
        try:
            self.writer.push(self.branch, commit, log.confirm)
        except StaleObservation:
            if (tip := self.writer.tip(self.branch)) is None or tip in standing.commits:
                raise  # nobody took it: something else was in the way, such as a lock, or a branch `ameide`
        # The world may have moved while the branch was pushed: the tip and the pull requests are looked at once more.
        tip, found = self.writer.tip(self.branch), self.changes.find_change(self.branch, self.base)
        now = decide(standing, Seen(differs=True, tip=tip, changes=found, clean=True), again=again)
        match now.act:
            case Act.OPEN:
                log.confirm()
                change = self.changes.open_change(self.branch, self.base, *self._texts(log, look))
                made = Ruling(ruling.act, ruling.why, change.number)
            case Act.KEEP if now.change is not None:
                log.confirm()
                self.changes.update_change(
                    now.change, **dict(zip(("title", "body"), self._texts(log, look), strict=True))
                )
                made = Ruling(ruling.act, ruling.why, now.change)
            case _:
                made = now
        state = _STATES.get(made.act, State.OPEN)
        self._conclude(log, proposals, intent, proposal._replace(change=made.change, reason=now.why), state)
        return made

    def _commit(self, look: Look) -> tuple[CommitId, tuple[CommitId, ...]]:
        """What the branch is to be at, and its parents; a commit of ours that is there and still merges is taken."""
        base, tip = look.base, look.seen.tip
        if tip is not None and not self.writer.contains(base, tip):
            if look.seen.clean:
                return tip, ()
            parents: tuple[CommitId, ...] = (base, tip)
        else:
            parents = (base,)
        message = commit_message(self.name, look.files, self.content)
        made = self.writer.commit_files(parents, look.difference.files, message, self.writer.committed_at(base))
        differs = self.writer.changed(base, made)
        if list(differs) != sorted(look.difference.files):
            raise IntegrityError(
                f"{self.branch.short}: expected {sorted(look.difference.files)} to differ, got {differs}"
            )
        return made, parents

    def _texts(self, log: LogStore, look: Look) -> tuple[str, str]:
        return title(self.name, look.files), body(look.files, look.difference, self.content, self.by, log.tip())

    # --- 4.

    def _standing_ends(self, proposals: Proposals, ruling: Ruling) -> Iterable[tuple[Standing, State | None]]:
        """Each pull request of ours that is over, and how; None for one that is to be closed now."""
        for branch, standing in sorted(proposals.standing.items()):
            if standing.state is not State.OPEN:
                continue
            found = self.changes.find_change(branch, standing.proposal.base)
            state = ended(standing, self.writer.tip(branch), found)
            obsolete = ruling.act in _SUPERSEDES if branch != self.branch else ruling.act is Act.NONE
            if state is not None or obsolete:
                yield standing, state

    def _end(
        self, log: LogStore, proposals: Proposals, standing: Standing, state: State | None, ruling: Ruling
    ) -> Ended:
        about = standing.proposal._replace(change=standing.change, by=self.by, reason="")
        if state is not None:
            self._conclude(log, proposals, None, about, state)
            return Ended(about.branch, about.change, state)
        link = "" if ruling.change is None or about.branch == self.branch else f"; see #{ruling.change}"
        reason = (
            f"{self.base.short} holds this lane"
            if about.branch == self.branch
            else f"another lane is rendered now{link}"
        )
        closing = about._replace(step=Step.CLOSE, commit=None, parents=(), reason=reason)
        self._close(log, proposals, self._intend(log, proposals, closing), closing)
        return Ended(about.branch, about.change, State.CLOSED)

    def _close(self, log: LogStore, proposals: Proposals, intent: CommitId, proposal: Proposal) -> None:
        if proposal.change is not None:
            log.confirm()
            self.changes.close_change(proposal.change, proposal.reason)
        self._conclude(log, proposals, intent, proposal, State.CLOSED)

    # --- the log

    def _intend(self, log: LogStore, proposals: Proposals, proposal: Proposal) -> CommitId:
        logged = log.append(Kind.INTENT, intent_body(proposal))
        proposals.apply(logged.id, logged.entry)
        if not log.push():
            raise Terminal("log.remote is not configured, so nothing can be proposed; set it")
        return logged.id

    def _conclude(
        self, log: LogStore, proposals: Proposals, intent: CommitId | None, proposal: Proposal, state: State
    ) -> None:
        logged = log.append(Kind.OUTCOME, outcome_body(intent, proposal, state))
        proposals.apply(logged.id, logged.entry)
        event = Event.PROPOSAL_OPENED if state is State.OPEN else Event.PROPOSAL_ENDED
        number = {} if proposal.change is None else {"change": proposal.change}
        self.emit.emit(event, ref=proposal.branch.short, reason=state.value, detail=proposal.reason, **number)


_STATES = {Act.HANDS_OFF: State.HANDS_OFF, Act.DECLINED: State.DECLINED}


def _fold(entries: Iterable[Logged]) -> Proposals:
    proposals = Proposals()
    for logged in entries:
        proposals.apply(logged.id, logged.entry)
    return proposals
