"""Offline verification of a log, on the log repository or any clone of it.

What a chain of signatures alone cannot show, since its own writer could have made all of it: that nothing was cut off
the end (give an `anchor` that was seen before) and that the keys are the right ones (give a list of allowed signers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import pygit2

from state import allowed_signers, log_chain, log_commit, log_read, log_years
from state.allowed_signers import AllowedSigners
from state.canonical import Json
from state.entry import Entry, Kind
from state.errors import IntegrityError, InvalidValue, Terminal
from state.git import CommitId
from state.log_branch import LogName
from state.log_chain import Standing
from state.log_commit import EntryCommit
from state.log_read import ObjectStore, Span

PROBLEMS_MAX: Final = 1000
"""Verification of a branch ends after so many problems."""


class Finding(NamedTuple):
    """Something wrong, or worth a look, and where: the entry's commit and sequence, if it is about one entry."""

    entry: CommitId | None
    sequence: int | None
    what: str

    def to_json(self) -> dict[str, Json]:
        return {"entry": self.entry, "sequence": self.sequence, "what": self.what}


@dataclass(frozen=True, slots=True)
class BranchReport:
    """One log: how many entries were read, the ids of the first and the last, the number of epochs, each key seen."""

    branch: str
    entries: int
    first: CommitId | None
    last: CommitId | None
    epochs: int
    keys: tuple[str, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    verified: CommitId | None = None
    """The entry that was stood on, if only what follows it was checked; it is not counted."""
    years: tuple[int, ...] = ()
    """The closed years whose ends were found."""
    year: int | None = None
    """The year that was asked for: only its entries were checked, on those up to `verified`."""

    def to_json(self) -> dict[str, Json]:
        return {
            "branch": self.branch,
            "entries": self.entries,
            "epochs": self.epochs,
            "first": self.first,
            "keys": list(self.keys),
            "last": self.last,
            "problems": [p.to_json() for p in self.problems],
            "verified": self.verified,
            "warnings": [w.to_json() for w in self.warnings],
            "year": self.year,
            "years": list(self.years),
        }


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Every log that was verified, and the problems of the repository as a whole."""

    branches: tuple[BranchReport, ...]
    repository_problems: tuple[Finding, ...]
    checked_against_outside_list: bool
    anchor: CommitId | None

    @property
    def entries(self) -> int:
        return sum(b.entries for b in self.branches)

    @property
    def problems(self) -> tuple[Finding, ...]:
        return self.repository_problems + tuple(p for b in self.branches for p in b.problems)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(w for b in self.branches for w in b.warnings)

    @property
    def clean(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Json]:
        return {
            "anchor": self.anchor,
            "branches": [b.to_json() for b in self.branches],
            "checked_against_outside_list": self.checked_against_outside_list,
            "clean": self.clean,
            "problems": [p.to_json() for p in self.repository_problems],
        }


def verify(
    repo_path: Path,
    branch: str | None = None,
    *,
    allowed_signers_file: Path | None = None,
    anchor: CommitId | None = None,
    verified: CommitId | None = None,
    year: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> VerifyReport:
    """Verify one log, or all that the repository holds. What is wrong with a log is a finding, never an error.

    Args:
        repo_path: a bare log repository, or a clone, where logs are branches of `origin`.
        branch: full or short name; None verifies every log branch.
        allowed_signers_file: an OpenSSH list from outside the log; each entry's key must be in it for its writer.
        anchor: the id of an entry that was seen before; it must still be part of a verified log.
        verified: the id of an entry up to which its log was verified before: of that log only what follows is checked,
            and as with an anchor it must still be part of it.
        year: only the entries of this year, on those before it as with `verified`; of every log that has it.
        progress: called with (branch, entries done, entries in all) now and then.

    Raises:
        Terminal: no such path, not a git repository, no such branch, no log branch at all, or none with such a year.
        ConfigError: the list of allowed signers cannot be read.
        IntegrityError: the repository's refs cannot be listed.
    """
    repository = log_read.open_repository(repo_path)
    refs = (log_read.find_branch(repository, branch),) if branch else log_read.branches(repository)
    if not refs:
        raise Terminal(f"{repo_path}: no log branch; expected refs/heads/log/<repository-id>/<role>")
    signers = allowed_signers.load(allowed_signers_file) if allowed_signers_file else None
    spans = log_years.spans(repository, refs, year) if year is not None else {ref: Span(verified) for ref in refs}
    runs = [
        _Branch(repository, ref, signers=signers, anchor=anchor, span=span, progress=progress)
        for ref, span in spans.items()
    ]
    reports = tuple(run.verify() for run in runs)
    whole = [Finding(None, None, what) for what in log_read.hidden_history(repository)]
    whole += [
        Finding(None, None, f"{ref} replaces an object for git's own commands, so `git log` may show another story")
        for ref in log_read.all_refs(repository)
        if ref.startswith("refs/replace/")
    ]
    whole += _divided(repository, reports)
    if anchor is not None and not any(run.anchor_seen for run in runs):
        whole.append(
            Finding(anchor, None, "the anchor is in none of the verified logs: entries were cut off or rewritten")
        )
    if verified is not None and not any(run.stands_on is not None for run in runs):
        gone = "the entry that was verified before is in none of the logs: entries were cut off or rewritten"
        whole.append(Finding(verified, None, gone))
    return VerifyReport(reports, tuple(whole), signers is not None, anchor)


def _divided(repository: pygit2.Repository, reports: Sequence[BranchReport]) -> Iterator[Finding]:
    """Refs of one log that are not on one line: an anchor in one of them says nothing of what another one tells."""
    store = ObjectStore(repository)
    for n, one in enumerate(reports):
        for other in reports[:n]:
            if LogName.of_ref(one.branch) != LogName.of_ref(other.branch) or one.last is None or other.last is None:
                continue
            try:
                on_one_line = store.contains(one.last, other.last) or store.contains(other.last, one.last)
            except IntegrityError:
                continue  # the branch's own report tells what cannot be read
            if not on_one_line:
                yield Finding(one.last, None, f"{one.branch} and {other.branch} tell two histories of one log")


class _Branch:
    """The verification of one branch: first back to the root, then forward by the rules."""

    def __init__(
        self,
        repository: pygit2.Repository,
        ref: str,
        *,
        signers: AllowedSigners | None,
        anchor: CommitId | None,
        span: Span,
        progress: Callable[[str, int, int], None] | None,
    ) -> None:
        name = LogName.of_ref(ref)
        if name is None:
            raise Terminal(f"{ref}: not a log branch")
        self._name = name
        self._ref = ref
        self._repository = repository
        self._store = ObjectStore(repository)
        self._signers = signers
        self._anchor = anchor
        self._span = span
        self._progress = progress
        self.anchor_seen = False
        self.stands_on: CommitId | None = None
        """The entry that was verified before, once it was found."""
        self._problems: list[Finding] = []
        self._warnings: list[Finding] = []
        self._keys: dict[str, None] = {}
        self._listed: dict[tuple[str, str], str | None] = {}
        self._open_intents: dict[CommitId, tuple[int, int]] = {}
        self._epochs = 0
        self._closings: dict[int, CommitId | None] = {}

    def verify(self) -> BranchReport:
        packed = bytearray()
        whole, ended = True, self._span.last is None
        standing: Standing | None = None
        try:
            tip = log_read.target(self._repository, self._ref)
            newer: CommitId | None = None
            for oid in self._store.lineage(tip) if tip else ():
                if oid == self._anchor:
                    self.anchor_seen = True
                if oid == self._span.last:
                    ended = True
                    self._closed_by(newer)
                if oid == self._span.after:
                    standing = log_chain.assume(self._store.entry(oid), oid)
                    self.stands_on = oid
                if self.stands_on is None and ended:
                    packed += bytes.fromhex(oid)
                elif self.stands_on is not None and (self._anchor is None or self.anchor_seen):
                    break
                newer = oid
        except (IntegrityError, InvalidValue) as error:
            # What stands after the break is still checked, so that the report says all there is to say.
            whole = False
            self._problems.append(Finding(None, None, f"the log's older part cannot be read: {error}"))
        whole = whole and standing is None
        return self._forward(log_read.CommitPath(packed, from_root=whole), standing, ended=ended)

    def _closed_by(self, oid: CommitId | None) -> None:
        """The entry after the last one of a year has to close it; its own rules belong to the next year."""
        entry = self._store.entry(oid).entry if oid is not None else None
        if entry is not None and (year := log_chain.closes(entry)) is not None:
            self._closings[year] = self._span.last

    def _forward(self, path: log_read.CommitPath, standing: Standing | None, *, ended: bool) -> BranchReport:
        first, last = None, self.stands_on
        done = 0
        for oid in path:
            first = first or oid
            last = oid
            if len(self._problems) >= PROBLEMS_MAX:
                self._problems.append(Finding(oid, None, f"stopped here after {PROBLEMS_MAX} problems"))
                break
            standing = self._one(oid, standing, start=path.from_root and done == 0)
            done += 1
            if self._progress and (done % 500 == 0 or done == len(path)):
                self._progress(self._ref, done, len(path))
        self._check_years(ended, whole=path.from_root and self._span.last is None)
        return BranchReport(
            branch=self._ref,
            entries=done,
            first=first,
            last=last,
            epochs=self._epochs,
            keys=tuple(self._keys),
            problems=tuple(self._problems),
            warnings=(self._unanswered(standing.epoch) if standing else ()) + tuple(self._warnings),
            verified=self.stands_on,
            years=tuple(sorted(self._closings)),
            year=self._span.year,
        )

    def _check_years(self, ended: bool, *, whole: bool) -> None:
        """Each ref of a closed year is where its signed entry says; what nothing checked tells of is let be."""
        span, closings = self._span, self._closings
        try:
            there = log_years.beside(self._repository, self._ref)
        except IntegrityError as error:
            self._problems.append(Finding(None, None, str(error)))
            return
        for year, last in closings.items():
            found, ref = there.get(year), log_years.ref_of(self._ref, year)
            if found is None and (not there or year == max(closings)):
                self._warnings.append(Finding(last, None, f"{ref}, the last entry of a closed year, is not here"))
            elif found is None:
                self._problems.append(Finding(last, None, f"{ref}, the last entry of a closed year, is missing"))
            elif found != last:
                self._problems.append(Finding(found, None, f"{ref} was moved: the last entry of that year is {last}"))
        oldest, newest = min(closings, default=0), max(closings, default=0)
        asked = {span.year if span.last is not None else None, span.previous}
        for year, found in there.items():
            told = whole or (oldest < year and (year <= newest or (span.last is None and oldest))) or year in asked
            if told and year not in closings:
                what = (
                    f"{log_years.ref_of(self._ref, year)} is not at the end of a year: no entry after it closes {year}"
                )
                self._problems.append(Finding(found, None, what if ended else f"{what}, nor is it in the log"))

    def _one(self, oid: CommitId, before: Standing | None, *, start: bool) -> Standing | None:
        expected = before.sequence + 1 if before else None
        try:
            commit = log_commit.parse(self._store.commit(oid))
        except (InvalidValue, IntegrityError) as error:
            self._problems.append(Finding(oid, expected, str(error)))
            return log_chain.unread(oid, before)
        entry = commit.entry
        if before is None and not start:
            after, found = log_chain.assume(commit, oid), list[str]()
        else:
            after, found = log_chain.advance(before, commit, oid, self._name)
        try:
            self._store.check_blobs(commit)
        except IntegrityError as error:
            found.append(str(error))
        if refusal := self._outside(commit):
            found.append(refusal)
        self._problems += [Finding(oid, entry.sequence, what) for what in found]
        self._keys[commit.signature.key.line] = None
        if (year := log_chain.closes(entry)) is not None:
            self._closings[year] = commit.parent
        self._intents(oid, entry)
        return after

    def _outside(self, commit: EntryCommit) -> str | None:
        if self._signers is None:
            return None
        asked = commit.signature.key.line, commit.entry.writer
        if asked not in self._listed:
            self._listed[asked] = self._signers.refusal(commit.signature.key, log_commit.principal(commit.entry.writer))
        return self._listed[asked]

    def _intents(self, oid: CommitId, entry: Entry) -> None:
        match entry.kind:
            case Kind.INTENT:
                self._open_intents[oid] = (entry.sequence, entry.epoch)
            case Kind.OUTCOME:
                named = entry.body.get("intent")  # null: tags that were found and adopted, which answer no intent
                if isinstance(named, str):
                    self._open_intents = {i: at for i, at in self._open_intents.items() if i != named}
            case Kind.EPOCH:
                self._epochs += 1
            case _:
                pass

    def _unanswered(self, last_epoch: int) -> tuple[Finding, ...]:
        """Intents of an earlier epoch that no outcome names: the writer was stopped, and nobody has looked since."""
        return tuple(
            Finding(intent, sequence, f"an intent of epoch {epoch} without an outcome; now it is epoch {last_epoch}")
            for intent, (sequence, epoch) in self._open_intents.items()
            if epoch < last_epoch
        )
