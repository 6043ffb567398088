"""Looking once more right before a batch of writes: what is left of it, and the bytes that are to be written.

What was true when the plan was made need not be true any more: pull requests close, labels are set, others write tags,
evidence is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from reconciler import admission
from reconciler.absence import PassReads
from reconciler.events import Emitter, Event
from reconciler.ports import Purpose
from reconciler.tag_writes import Due, Targets
from state.errors import IntegrityError, ReconcilerError, Transient
from state.git import CommitId
from state.observed import Absent, Present, PullRequest, Snapshot, TagState
from state.oci import Digest, Manifest, Repository, Tag
from state.plan import Release, Retag
from state.verdict import Outcome, Verdict
from state.writes import Write


class Premise:
    """The second look of one repository's plans. What falls away is told, with its reason."""

    def __init__(self, targets: Targets, emit: Emitter) -> None:
        self._targets = targets
        self._emit = emit.emit

    def still_wanted(
        self, batch: Sequence[Retag | Release], hold_label: str | None, planned_on: Snapshot
    ) -> frozenset[CommitId]:
        """The heads of the batch that an admitted open pull request still has, without the hold label."""
        numbers = sorted({n for r in batch for n in r.pull_requests})
        answers = self._targets.executor.map(self._targets.forge.pull_request, numbers)
        seen = dict(zip(numbers, answers, strict=True))
        # The listing may lag: another pull request of this batch may have come to this head with the label on it.
        open_now = [pr for pr in answers if isinstance(pr, PullRequest)]
        held = {pr.head for pr in open_now if hold_label is not None and hold_label in pr.labels}
        wanted = set()
        for retag in batch:
            if retag.head in wanted:
                continue
            now = [seen[n] for n in retag.pull_requests]
            open_here = [pr for pr in now if isinstance(pr, PullRequest) and pr.head == retag.head]
            unread = next((pr for pr in now if isinstance(pr, Exception)), None)
            if unread is not None and not isinstance(unread, ReconcilerError):
                raise unread
            if unread is not None:
                self._drop(retag, f"the pull request could not be read again: {unread}")
            elif not open_here:
                self._drop(retag, "no open pull request has this head any more")
            elif retag.head in held:
                self._drop(retag, "the hold label was set")
            elif None not in (refusals := [admission.refusal(pr, planned_on) for pr in open_here]):
                self._drop(retag, f"no pull request with this head is admitted any more: {refusals[0]}")
            else:
                wanted.add(retag.head)
        return frozenset(wanted)

    def still_absent(self, batch: Sequence[Retag]) -> list[Retag]:
        """Those whose tag nobody made meanwhile."""
        # Read anew with a control of its own: what the credential could see when the pass began, it may not see now.
        reads = PassReads(self._targets.registry)
        found = self._targets.executor.map(lambda r: reads.tag(r.repository, Tag(r.head)), batch)
        absent = []
        for retag, state in zip(batch, found, strict=True):
            if isinstance(state, Absent):
                absent.append(retag)
            else:
                self._drop(retag, f"the tag is no longer absent: {_described(state)}")
        return absent

    def with_bytes(
        self, batch: Sequence[Retag], read: Mapping[tuple[Repository, Digest], Manifest]
    ) -> tuple[list[Due], dict[CommitId, str]]:
        """Those whose baseline is verified now, with its bytes; and head → why its baseline cannot be used.

        `read` are manifests that were read before.
        """
        baselines = sorted({(r.repository, r.baseline) for r in batch})
        answers = self._targets.executor.map(partial(self._baseline, read), baselines)
        known = dict(zip(baselines, answers, strict=True))
        due: list[Due] = []
        unusable: dict[CommitId, str] = {}
        for retag in batch:
            answer = known[retag.repository, retag.baseline]
            if isinstance(answer, IntegrityError):
                self._emit(Event.INTEGRITY_VIOLATED, repository=retag.repository, error=str(answer))
            if isinstance(answer, ReconcilerError):
                # Trying again at once would only ask and record the same again.
                unusable[retag.head] = str(answer)
                self._drop(retag, f"the baseline cannot be used: {answer}")
            elif isinstance(answer, Exception):
                raise answer
            else:
                manifest, verdict = answer
                proven = verdict.outcome is Outcome.ACCEPTED
                write = Write(retag.repository, retag.head, retag.baseline, retag.pull_requests, proven)
                due.append(Due(write, manifest))
        return due, unusable

    def _baseline(
        self, read: Mapping[tuple[Repository, Digest], Manifest], wanted: tuple[Repository, Digest]
    ) -> tuple[Manifest, Verdict]:
        repository, digest = wanted
        manifest = read.get(wanted) or self._targets.registry.manifest(repository, digest)
        if manifest is None:
            raise Transient(f"{repository}@{digest.short}: the baseline is gone from the registry")
        if not digest.matches(manifest.raw):
            raise IntegrityError(f"{repository}: asked {digest}, got bytes of {manifest.digest}")
        verdict = self._targets.verifier.verify(Purpose.BASELINE, repository, digest, None)
        if verdict.outcome is Outcome.REFUSED:
            raise IntegrityError(f"{repository}@{digest}: refused as a baseline: {verdict.reason}")
        return manifest, verdict

    def _drop(self, action: Retag | Release, why: str) -> None:
        where = {"repository": str(action.repository)} if isinstance(action, Retag) else {}
        self._emit(Event.ACTION_DROPPED, tag=action.head, detail=why, **where)


def _described(state: TagState | Exception) -> str:
    match state:
        case Present(digest, _):
            return f"it reads {digest}"
        case Exception() as error if not isinstance(error, ReconcilerError):
            raise error
        case other:
            return str(getattr(other, "why", other))
