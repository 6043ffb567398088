"""What led to a tag, a digest or a GitOps pull request: the causal chain, from the log alone (pure).

The subject is first looked up: which heads, and which images of them, it is about. Then every entry that says something
of those is told, in order. What the log says is told as it stands there; whether it is so now is another question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from reconciler.explain import Step, step_of
from state.canonical import Json, reading
from state.entry import Entry, Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId
from state.oci import Digest, Repository
from state.pin_plan import PinPlan
from state.publishing import Proposal
from state.publishing import Step as ProposalStep
from state.writes import Publication, Write

CELLS_MAX: Final = 50
"""Tags that are told of one subject; the newest."""

_HEAD: Final = re.compile(r"[0-9a-f]{40}")
_CHANGE: Final = re.compile(r"(?P<target>[a-z0-9][a-z0-9-]{0,62})#(?P<number>[1-9][0-9]{0,9})")


class Subject(NamedTuple):
    """What is asked about: exactly one of a head, a digest and a GitOps pull request; a head perhaps with an image."""

    head: CommitId | None = None
    repository: Repository | None = None
    digest: Digest | None = None
    target: str = ""
    change: int = 0

    @classmethod
    def parse(cls, text: str) -> Subject:
        """`host/path:HEAD_SHA`, `HEAD_SHA`, `sha256:…` with or without `host/path@`, or `TARGET#N`.

        Raises InvalidValue.
        """
        if _HEAD.fullmatch(text):
            return cls(head=CommitId(text))
        if match := _CHANGE.fullmatch(text):
            return cls(target=match["target"], change=int(match["number"]))
        if text.startswith("sha256:"):
            return cls(digest=Digest(text))
        name, at, digest = text.partition("@")
        if at:
            return cls(repository=Repository(name), digest=Digest(digest))
        name, colon, tag = text.rpartition(":")
        if colon and _HEAD.fullmatch(tag):
            return cls(repository=Repository(name), head=CommitId(tag))
        raise InvalidValue(
            "expected a tag (host/path:HEAD_SHA), a head (40 hex digits), a digest (sha256:…, or host/path@sha256:…) "
            f"or a GitOps pull request (TARGET#N), got {text[:120]!r}"
        )


class Cell(NamedTuple):
    """One image of one head, or None for what concerns the head as a whole."""

    head: CommitId
    image: Repository | None
    pr: int


class Chain(NamedTuple):
    """The entries about one subject, in words, oldest first."""

    steps: tuple[Step, ...]
    left_out: int
    """Older tags of the same digest that are not told."""


class _Found(NamedTuple):
    cells: dict[tuple[CommitId, Repository | None], None]
    plan: Digest | None


def tell(entries: Callable[[], Iterable[Logged]], blob: Callable[[str], bytes], subject: Subject) -> Chain:
    """The chain of `subject`. `entries` gives the log from its start each time it is called; it is read twice.

    Raises InvalidValue if the log says nothing of it, or holds an entry that is not of its kind.
    """
    found = _look_up(entries(), subject)
    if not found.cells:
        raise InvalidValue("the log says nothing of it; see `ameide log show` for what there is")
    told = list(found.cells)[-CELLS_MAX:]
    teller = _Teller(blob, dict.fromkeys(told), found.plan if subject.change else None)
    steps = [step for logged in entries() for step in teller.steps(logged)]
    return Chain(tuple(steps), len(found.cells) - len(told))


def _look_up(entries: Iterable[Logged], subject: Subject) -> _Found:
    """The (head, image) pairs that a subject is about, and the plan of a GitOps pull request."""
    cells: dict[tuple[CommitId, Repository | None], None] = {}
    plans: dict[Digest, PinPlan] = {}
    proposed: Digest | None = None
    for logged in entries:
        entry = logged.entry
        if subject.change:
            if entry.kind is Kind.PLAN:
                plan = PinPlan.from_json(reading(entry.body, "plan").object("plan"))
                plans[plan.digest()] = plan
            for proposal in _proposals(entry):
                if (proposal.target, proposal.change) == (subject.target, subject.change):
                    proposed = proposal.plan
        else:
            for cell in _cells(entry, subject):
                cells.pop(cell, None)  # the newest last
                cells[cell] = None
    if proposed is not None and (plan_of := plans.get(proposed)) is not None:
        cells = {(plan_of.head, repository): None for repository in plan_of.images()}
    return _Found(cells, proposed)


def _cells(entry: Entry, subject: Subject) -> Iterator[tuple[CommitId, Repository | None]]:
    """The cells of one entry that a tag, a head or a digest is about."""
    body = reading(entry.body, entry.kind.value)
    if entry.kind is Kind.DECISION and subject.digest is None:
        head = CommitId(body.text("head"))
        rows = [Repository(reading(row, "image").text("repository")) for row in body.objects("images")]
        for repository in rows:
            if head == subject.head and subject.repository in (None, repository):
                yield head, repository
    if entry.kind not in (Kind.INTENT, Kind.OUTCOME) or "writes" not in entry.body:
        return
    for write in map(Write.from_json, body.objects("writes")):
        if subject.repository not in (None, write.repository):
            continue
        if write.head == subject.head or (subject.digest is not None and write.digest == subject.digest):
            yield write.head, write.repository
    for publication in _publications(entry):
        if publication.digest == subject.digest and subject.repository in (None, publication.repository):
            yield publication.head, None


class _Teller:
    """Puts entries into words, oldest first; of each head the observation that first saw it is told."""

    def __init__(
        self,
        blob: Callable[[str], bytes],
        cells: Mapping[tuple[CommitId, Repository | None], None],
        plan: Digest | None,
    ) -> None:
        self._blob = blob
        self._cells = cells
        self._plan = plan
        self._heads = {head for head, _ in cells}
        self._unseen = set(self._heads)
        self._plans: set[Digest] = set()
        self._markers: set[str] = set()

    def steps(self, logged: Logged) -> Iterator[Step]:
        """What one entry says of the subject: a step for each of its images."""
        entry = logged.entry
        for text in dict.fromkeys(self._texts(logged)):
            yield Step(entry.at, logged.id, entry.kind, text)

    def _texts(self, logged: Logged) -> Iterator[str]:
        entry = logged.entry
        match entry.kind:
            case Kind.OBSERVATION:
                yield from self._seen(entry)
            case Kind.DECISION | Kind.QUARANTINE:
                yield from self._said(logged)
            case Kind.INTENT | Kind.OUTCOME:
                yield from self._said(logged)
                yield from self._published(entry)
                yield from self._proposed(entry)
            case Kind.PLAN:
                yield from self._planned(entry)
            case Kind.MARKER | Kind.REVOCATION:
                yield from self._marked(entry)
            case Kind.TOMBSTONE if (head := _text(entry.body, "head")) in self._heads:
                yield f"{head[:12]}: no open pull request had this head any more; custody ended"
            case _:
                pass

    def _said(self, logged: Logged) -> Iterator[str]:
        named = logged.entry.body.get("head")
        for head, image in self._cells:
            if image is None or (isinstance(named, str) and named != head):
                continue
            if (step := step_of(logged.id, logged.entry, Cell(head, image, 0))) is not None:
                yield step.text if str(image) in step.text else f"{image}:{head[:12]}: {step.text}"

    def _seen(self, entry: Entry) -> Iterator[str]:
        for name, oid in entry.blobs.items():
            if name.startswith("pr.") and self._unseen:
                raw = self._blob(oid)
                for head in [h for h in sorted(self._unseen) if h.encode() in raw]:
                    self._unseen.discard(head)
                    yield f"{head[:12]}: first seen, as the head of #{name[3:]}"

    def _published(self, entry: Entry) -> Iterator[str]:
        for row in _publications(entry):
            if row.head in self._heads:
                what = "about to publish" if entry.kind is Kind.INTENT else "published"
                yield f"{row.head[:12]}: {what} the release set {row.repository}@{row.digest}"

    def _planned(self, entry: Entry) -> Iterator[str]:
        plan = PinPlan.from_json(reading(entry.body, "plan").object("plan"))
        digest = plan.digest()
        if plan.head in self._heads and self._plan in (None, digest):
            self._plans.add(digest)
            yield f"{plan.head[:12]}: plan {digest.short} for {plan.target.name}: {len(plan.edits)} pins"

    def _marked(self, entry: Entry) -> Iterator[str]:
        marker, by = _text(entry.body, "id"), entry.body.get("principals")
        names = ", ".join(map(str, by)) if isinstance(by, list) else ""
        if entry.kind is Kind.REVOCATION:
            if marker in self._markers:
                yield f"approval {marker} taken back by {names}"
        elif (plan := _text(entry.body, "plan")) in self._plans:
            self._markers.add(marker)
            yield f"plan {plan[:19]} approved by {names} (marker {marker})"

    def _proposed(self, entry: Entry) -> Iterator[str]:
        for row, proposal in zip(_proposal_rows(entry), _proposals(entry), strict=True):
            if proposal.plan not in self._plans:
                continue
            number = f"{proposal.target}#{proposal.change}" if proposal.change is not None else proposal.branch.short
            if entry.kind is Kind.OUTCOME:
                why = f": {proposal.reason}" if proposal.reason else ""
                yield f"GitOps pull request {number} is {row.get('result')}{why}"
            else:
                used = f", using up {', '.join(proposal.approvals)}" if proposal.approvals else ""
                yield f"about to {_VERBS[proposal.step]} the GitOps pull request {number}{used}"


_VERBS: Final[Mapping[ProposalStep, str]] = {
    ProposalStep.OPEN: "open",
    ProposalStep.UPDATE: "update",
    ProposalStep.CLOSE: "close",
}


def _text(body: Mapping[str, Json], key: str) -> str:
    """The text there, or an empty one: a log that verifies may hold anything in its bodies."""
    found = body.get(key)
    return found if isinstance(found, str) else ""


def _publications(entry: Entry) -> list[Publication]:
    rows = reading(entry.body, entry.kind.value).objects("publications") if "publications" in entry.body else []
    return [Publication.from_json(row) for row in rows]


def _proposal_rows(entry: Entry) -> list[Mapping[str, Json]]:
    if entry.kind not in (Kind.INTENT, Kind.OUTCOME) or "proposals" not in entry.body:
        return []
    return reading(entry.body, entry.kind.value).objects("proposals")


def _proposals(entry: Entry) -> list[Proposal]:
    return [Proposal.from_json(row) for row in _proposal_rows(entry)]
