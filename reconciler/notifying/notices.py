"""What is told of a state change, and the CloudEvent that it becomes (pure).

Every notice is derived from the log or from what stands after a pass, so it can be derived again with the same id. None
holds a text that a pull request controls: numbers, commit ids, digests, members of closed enums, names of the
configuration. Source: CloudEvents 1.0.2, JSON event format 1.0.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.conditions import About, Condition
from reconciler.janitor.records import Result as DeletionResult
from state import canonical
from state.canonical import Json, reading
from state.entry import Kind, Logged
from state.git import CommitId
from state.publishing import Proposal, ProposalState, Step
from state.writes import Publication, Result

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX: Final = "dev.ameide."


class NoticeType(StrEnum):
    """A closed enum; the CloudEvents `type` is `dev.ameide.` and this."""

    HEAD_COMPLETED = "head.completed"
    """Every image of a head is there and recorded; with `evidence`, its release set is published."""
    HEAD_QUARANTINED = "head.quarantined"
    HEAD_ACCEPTED = "head.accepted"
    """A quarantined head goes on; a person said so."""
    HOLD_APPEARED = "hold.appeared"
    HOLD_CLEARED = "hold.cleared"
    APPROVAL_RECORDED = "approval.recorded"
    APPROVAL_REFUSED = "approval.refused"
    """A recorded approval does not lead to a GitOps pull request now."""
    GITOPS_OPENED = "gitops.opened"
    GITOPS_UPDATED = "gitops.updated"
    GITOPS_ENDED = "gitops.ended"
    """Merged, closed by us or a person, taken over by a person, or not opened after all: `state` says which."""
    INTEGRITY_VIOLATED = "integrity.violated"
    INTEGRITY_CLEARED = "integrity.cleared"
    NAMESPACE_DELETED = "namespace.deleted"
    """The janitor deleted a preview's namespace."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One state change. `at` is UTC as in log entries; `data` is what the receiver reads."""

    id: str
    type: NoticeType
    subject: str
    at: str
    data: Mapping[str, Json]

    def cloud_event(self, repository: str, repository_id: int) -> bytes:
        """The event in structured mode, canonical, so that a repeated one has the same bytes."""
        return canonical.dumps(
            {
                "data": {**self.data, "repository": repository, "repository_id": repository_id},
                "datacontenttype": "application/json",
                "id": self.id,
                "source": f"urn:ameide:repository:{repository_id}",
                "specversion": "1.0",
                "subject": self.subject,
                "time": self.at,
                "type": TYPE_PREFIX + self.type.value,
            }
        )


def of_entry(logged: Logged) -> Iterator[Notice]:
    """What one log entry tells, in its own order. Raises InvalidValue if its body is not of its kind."""
    for number, (kind, subject, data) in enumerate(_of_body(logged)):
        yield Notice(f"{logged.id}-{number}", kind, subject, logged.entry.at, {**data, "log_entry": logged.id})


def of_condition(condition: Condition, *, begins: bool, observed_in: CommitId, at: str) -> Notice | None:
    """What the begin or the end of a condition tells; None where nobody has to hear of it.

    Args:
        observed_in: the log entry by which it is known, and by which this begin is told from a later one.
    """
    kind = _OF_CONDITION[condition.about, begins]
    if kind is None:
        return None
    named: dict[str, Json] = {
        "about": condition.about.value,
        "begins": begins,
        "observed_in": observed_in,
        "reason": condition.reason,
        "subject": condition.subject,
    }
    data: dict[str, Json] = {"log_entry": observed_in, "pull_requests": list(condition.pull_requests)}
    if condition.about is About.APPROVAL:
        data = {"code": condition.reason, "log_entry": observed_in, "marker": condition.subject}
    elif condition.about in {About.HOLD, About.COMPLETE}:
        data["head"] = condition.subject
    if condition.about is About.HOLD:
        data["reason"] = condition.reason
    what = {About.APPROVAL: "marker", About.INTEGRITY: "repository"}.get(condition.about, "head")
    subject = f"{what}/{condition.subject}" if condition.subject else what
    return Notice(canonical.digest(named).removeprefix("sha256:"), kind, subject, at, data)


_OF_CONDITION: Final[Mapping[tuple[About, bool], NoticeType | None]] = {
    (About.COMPLETE, True): NoticeType.HEAD_COMPLETED,
    (About.COMPLETE, False): None,
    (About.HOLD, True): NoticeType.HOLD_APPEARED,
    (About.HOLD, False): NoticeType.HOLD_CLEARED,
    (About.APPROVAL, True): NoticeType.APPROVAL_REFUSED,
    (About.APPROVAL, False): None,
    (About.INTEGRITY, True): NoticeType.INTEGRITY_VIOLATED,
    (About.INTEGRITY, False): NoticeType.INTEGRITY_CLEARED,
}


def _of_body(logged: Logged) -> Iterator[tuple[NoticeType, str, dict[str, Json]]]:
    body = reading(logged.entry.body, f"{logged.entry.kind.value} entry {logged.entry.sequence}")
    match logged.entry.kind:
        case Kind.QUARANTINE:
            head = body.text("head")
            kind = NoticeType.HEAD_ACCEPTED if "accepted" in logged.entry.body else NoticeType.HEAD_QUARANTINED
            yield kind, f"head/{head}", {"head": head}
        case Kind.MARKER:
            data: dict[str, Json] = {"kind": body.text("kind"), "marker": body.text("id")}
            yield NoticeType.APPROVAL_RECORDED, f"marker/{body.text('id')}", data
        case Kind.OUTCOME:
            for row in body.objects("publications") if "publications" in logged.entry.body else ():
                made = Publication.from_json(row)
                if reading(row, "publication").one_of("result", Result) in {Result.WRITTEN, Result.ADOPTED}:
                    data = {"head": made.head, "release_set": f"{made.repository}@{made.digest}"}
                    yield NoticeType.HEAD_COMPLETED, f"head/{made.head}", data
            for row in body.objects("proposals") if "proposals" in logged.entry.body else ():
                yield _of_proposal(row)
            for row in body.objects("deletions") if "deletions" in logged.entry.body else ():
                deletion = reading(row, "deletion")
                if deletion.one_of("result", DeletionResult) is DeletionResult.DELETED:
                    name = deletion.text("name")
                    yield NoticeType.NAMESPACE_DELETED, f"namespace/{name}", {"namespace": name}
        case _:
            pass


def _of_proposal(row: Mapping[str, Json]) -> tuple[NoticeType, str, dict[str, Json]]:
    made, state = Proposal.from_json(row), reading(row, "proposal").one_of("result", ProposalState)
    kind = NoticeType.GITOPS_ENDED
    if state is ProposalState.OPEN:
        kind = NoticeType.GITOPS_UPDATED if made.step is Step.UPDATE else NoticeType.GITOPS_OPENED
    data: dict[str, Json] = {
        "gitops_pull_request": made.change,
        "head": made.head,
        "plan": made.plan,
        "pull_request": made.pull_request,
        "state": state.value,
        "target": made.target,
    }
    return kind, f"head/{made.head}", data
