"""What a log says of one head, as far as an evidence file has to agree with it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from state.canonical import Json, reading
from state.entry import Entry, Kind
from state.git import CommitId
from state.log_read import LogReader
from state.oci import Digest, Repository
from state.publishing import Proposal, Step
from state.writes import Publication, Result, Write


class Recorded(NamedTuple):
    """What the log says of a head."""

    tags: Mapping[Repository, Digest]
    """The last digest of each tag."""
    released: Digest | None
    """The manifest of its release set."""
    envelopes: Mapping[str, bytes]
    """Marker id → envelope, of every marker in the log."""
    proposed: tuple[Proposal, ...]
    """The steps that opened a GitOps pull request of it."""
    entries: frozenset[CommitId]

    @property
    def used(self) -> tuple[str, ...]:
        """Ids of the approvals that were used up, in order."""
        return tuple(dict.fromkeys(marker for proposal in self.proposed for marker in proposal.approvals))


def recorded_of(log: LogReader, head: CommitId) -> Recorded:
    """What the entries say of the head. Raises InvalidValue or binascii.Error where one is not of its kind."""
    tags: dict[Repository, Digest] = {}
    released: Digest | None = None
    envelopes: dict[str, bytes] = {}
    proposed: list[Proposal] = []
    entries = set()
    for logged in log.entries():
        entry, body = logged.entry, reading(logged.entry.body, logged.entry.kind.value)
        entries.add(logged.id)
        match entry.kind:
            case Kind.MARKER:
                envelopes.setdefault(body.text("id"), base64.b64decode(body.text("envelope"), validate=True))
            case Kind.INTENT if "proposals" in entry.body:
                opened = (p for p in map(Proposal.from_json, body.objects("proposals")) if p.step is Step.OPEN)
                proposed += [proposal for proposal in opened if proposal.head == head]
            case Kind.OUTCOME if "proposals" not in entry.body:
                for row in _done(entry, "writes"):
                    write = Write.from_json(row)
                    if write.head == head:
                        tags[write.repository] = write.digest
                for row in _done(entry, "publications"):
                    publication = Publication.from_json(row)
                    if publication.head == head:
                        released = publication.digest
            case _:
                pass
    return Recorded(tags, released, envelopes, tuple(proposed), frozenset(entries))


def _done(entry: Entry, name: str) -> Iterator[Mapping[str, Json]]:
    """The rows of an outcome that say that something is in place."""
    for row in reading(entry.body, "outcome").objects(name) if name in entry.body else ():
        if row.get("result") in (Result.WRITTEN.value, Result.ADOPTED.value):
            yield row
