"""What the reconciler states about digests, attached to them: once per digest and policy, under one intent and outcome.

Attachments belong to digests, not to heads: what the log records as attached is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from reconciler.events import Emitter, Event
from reconciler.evidence.attaching import Attacher, Ready, Statement
from reconciler.ports import Executor
from reconciler.record import Recorder
from state.canonical import Json
from state.entry import Kind
from state.errors import Fenced, LedgerMoved, LogRollback, ReconcilerError, Transient
from state.oci import Digest, Repository
from state.verdict import Verdict
from state.writes import Attachment, Result


class Stated(NamedTuple):
    """What is to be attached besides the summary, and why something else is not.

    `blocked` tells why the digest enters no release set for now.
    """

    statements: tuple[Statement | Ready, ...]
    problems: tuple[str, ...] = ()
    blocked: str = ""


class Statements(Protocol):
    """What is stated about one accepted digest; equal facts give equal bytes."""

    def summary(self, repository: Repository, digest: Digest, verdict: Verdict) -> Statement:
        """The verification summary. Asks nobody."""

    def local(self, repository: Repository, digest: Digest) -> tuple[Digest, ...]:
        """Digests of the statements that are known without asking anybody: SBOMs that CI hands over, at any time."""

    def carried(self, repository: Repository, digest: Digest, verdict: Verdict, *, shadowing: bool) -> Stated:
        """The bundles of others to attach. Raises Transient or Denied.

        `shadowing`: a first bundle would hide what cosign v2 wrote.
        """

    def materials(self, repository: Repository, digest: Digest) -> Stated:
        """The SBOMs to attach, by what the registry has. Raises Transient or Denied."""


class _Todo(NamedTuple):
    """One digest and its statements in order; the summary is the last, so that it stands for all of them."""

    repository: Repository
    subject: Digest
    statements: tuple[Statement | Ready, ...]

    def attachments(self) -> list[Attachment]:
        return [Attachment(self.repository, self.subject, s.predicate_type, s.digest) for s in self.statements]


class _Made(NamedTuple):
    manifests: tuple[Digest, ...]
    error: ReconcilerError | None = None


class Attester:
    """Attaches the statements of one repository's reconciler."""

    def __init__(
        self, attacher: Attacher, statements: Statements, *, executor: Executor, recorder: Recorder, emit: Emitter
    ) -> None:
        self._attacher = attacher
        self._statements = statements
        self._executor = executor
        self._recorder = recorder
        self._emit = emit.emit

    def attach(self, accepted: Mapping[tuple[Repository, Digest], Verdict]) -> dict[tuple[Repository, Digest], str]:
        """Attach what each digest lacks; digest → why not, for those that could not be.

        Raises LedgerMoved, Fenced or LogRollback if the log is no longer ours.
        """
        problems: dict[tuple[Repository, Digest], str] = {}
        summaries = {at: self._statements.summary(*at, verdict) for at, verdict in sorted(accepted.items())}
        attached = {(repository, subject, digest) for repository, subject, _, digest in self._recorder.history.attached}

        def lacks(at: tuple[Repository, Digest]) -> bool:
            wanted = (summaries[at].digest, *accepted[at].carried, *self._statements.local(*at))
            return any((*at, digest) not in attached for digest in wanted)

        lacking = []
        for at, found in zip(summaries, self._executor.map(lacks, list(summaries)), strict=True):
            if isinstance(found, Exception):
                problems[at] = str(_ours(found))
            elif found:
                lacking.append(at)
        todo = []
        looked = self._executor.map(lambda at: self._materials(*at, accepted[at]), lacking)
        for at, materials in zip(lacking, looked, strict=True):
            if isinstance(materials, Exception):
                problems[at] = str(_ours(materials))
            elif materials is not None and materials.blocked:
                problems[at] = f"{at[0]}@{at[1].short}: {materials.blocked}"
            elif materials is not None:
                for why in materials.problems:
                    self._emit(Event.SBOM_REFUSED, repository=at[0], digest=at[1], detail=why)
                todo.append(_Todo(*at, (*materials.statements, summaries[at])))
        if todo:
            problems |= self._carry_out(todo)
        return problems

    def _materials(self, repository: Repository, digest: Digest, verdict: Verdict) -> Stated | None:
        """None where nothing may be attached: a first bundle would hide the only signature there is (facts C.3.5)."""
        shadowing = self._attacher.shadows(repository, digest)
        carried = self._statements.carried(repository, digest, verdict, shadowing=shadowing)
        if carried.blocked:
            self._attacher.look_again(repository, digest)
            return carried
        if shadowing and not carried.statements:
            return None
        materials = self._statements.materials(repository, digest)
        return materials._replace(statements=(*carried.statements, *materials.statements))

    def _carry_out(self, todo: Sequence[_Todo]) -> dict[tuple[Repository, Digest], str]:
        rows: list[Json] = [a.to_json() for t in todo for a in t.attachments()]
        intent = self._recorder.append(Kind.INTENT, {"attachments": rows, "writes": []})
        problems: dict[tuple[Repository, Digest], str] = {}
        outcomes: list[Json] = []
        for each, result in zip(todo, self._executor.map(self._attach_to, todo), strict=True):
            if isinstance(result, Exception):
                raise result
            for n, attachment in enumerate(each.attachments()):
                if n < len(result.manifests):
                    made = attachment._replace(manifest=result.manifests[n])
                    outcomes.append({**made.to_json(), "result": Result.WRITTEN.value})
                else:
                    tried = n == len(result.manifests) and result.error is not None
                    outcomes.append({**attachment.to_json(), "result": _result(result, tried=tried).value})
            if result.error is not None:
                problems[each.repository, each.subject] = str(result.error)
        self._recorder.append(Kind.OUTCOME, {"attachments": outcomes, "intent": intent, "writes": []})
        return problems

    def _attach_to(self, todo: _Todo) -> _Made:
        made: list[Digest] = []
        try:
            manifest = self._attacher.store.manifest(todo.repository, todo.subject)
            if manifest is None:
                raise Transient(f"{todo.repository}@{todo.subject.short}: is gone from the registry")
            evidence = self._attacher.look(todo.repository, todo.subject)
            for statement in todo.statements:
                there = self._attacher.attach(
                    todo.repository, manifest.descriptor, statement, evidence, self._recorder.confirm
                )
                made.append(there)
        except (Fenced, LedgerMoved, LogRollback):
            raise
        except ReconcilerError as error:
            return _Made(tuple(made), error)
        return _Made(tuple(made))


def _result(made: _Made, *, tried: bool) -> Result:
    if not tried:
        return Result.DROPPED
    return Result.UNCERTAIN if isinstance(made.error, Transient) else Result.FAILED


def _ours(error: Exception) -> ReconcilerError:
    """The error, if it is one of ours that concerns a digest alone; anything else is raised."""
    if isinstance(error, Fenced | LedgerMoved | LogRollback) or not isinstance(error, ReconcilerError):
        raise error
    return error
