"""One commit status per head at GitLab, one line; for a head of a fork, one note on its merge request.

Source: docs.gitlab.com REST API v4 (commits, notes); GitLab's app/services/ci/create_commit_status_service.rb. A status
that is pending cannot become pending again, not even with another text, nor running once it runs: what waits is shown
as pending, then as running, and is then withdrawn (canceled, which lets nobody merge) before it waits anew. A commit on
no branch of the project, as a fork's is, can have no status there (404).
"""

from __future__ import annotations

from typing import Final

from reconciler.adapters.forge_gitlab import PAGE_SIZE, MergeRequest
from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_records import Id, Record, parsed, parsed_record
from reconciler.adapters.forge_status import CONTEXT, ForgeStatus, Shown
from reconciler.ports import StatusState
from state.canonical import Json
from state.errors import Terminal, Unavailable
from state.git import CommitId

_STATES: Final = {
    "pending": StatusState.PENDING,
    "running": StatusState.PENDING,
    "success": StatusState.SUCCESS,
    "failed": StatusState.FAILURE,
}
_MARK: Final = "<!-- ameide status -->"
_NOTES_PAGES_MAX: Final = 20


class _Status(Record):
    id: Id
    name: str
    status: str
    description: str | None = None


class _User(Record):
    id: Id


class _Note(Record):
    id: Id
    body: str
    author: _User
    system: bool = False


class GitLabStatusReporter(ForgeStatus[str]):
    """A `StatusReporter`. The handle is the state under GitLab's own name."""

    def __init__(self, repository: ForgeRepository) -> None:
        super().__init__(repository, whole_text=False)
        self._own_id: int | None = None

    def _read(self, head: CommitId) -> Shown[str] | None:
        rows = self._rows(f"/repository/commits/{head}/statuses", f"statuses of {head.short}", name=CONTEXT)
        mine = [
            s for s in (parsed_record(_Status, row, f"status of {head.short}") for row in rows) if s.name == CONTEXT
        ]
        if not mine:
            return None
        # Each pipeline of the commit may have one; ours went to the newest.
        newest = max(mine, key=lambda status: status.id)
        state = _STATES.get(newest.status)
        return None if state is None else Shown(state, newest.description or "", newest.status)

    def _write(self, head: CommitId, state: StatusState, text: str, shown: Shown[str] | None) -> str:
        if state is not StatusState.PENDING:
            wanted = "success" if state is StatusState.SUCCESS else "failed"
        else:
            before = None if shown is None else shown.handle
            wanted = "running" if before == "pending" else "pending"
            if before == "running":
                self._post(head, "canceled", text)
        if not self._post(head, wanted, text):
            self._note(head, state, text)
        return wanted

    def _post(self, head: CommitId, state: str, text: str) -> bool:
        """False where the commit can have no status here."""
        body: dict[str, Json] = {"state": state, "name": CONTEXT, "description": text}
        answer = self._client.send("POST", self._repository.path(f"/statuses/{head}"), body, expected=frozenset({400}))
        if answer.status == 400:
            raise Unavailable(f"status of {head.short}: GitLab refuses {state} (400) after what it shows; asked again")
        return answer.found

    def _note(self, head: CommitId, state: StatusState, text: str) -> None:
        rows = self._rows(f"/repository/commits/{head}/merge_requests", f"merge requests of {head.short}")
        found = [parsed_record(MergeRequest, row, f"merge request of {head.short}") for row in rows]
        mine = [one for one in found if one.is_open and one.sha == head]
        if not mine:
            raise Terminal(f"status of {head.short}: GitLab knows no branch and no open merge request with this head")
        body = f"{_MARK}\n**{CONTEXT}** {state.value}, {head.short}: {text}"
        for one in mine:
            self._write_note(one.number, body)

    def _write_note(self, number: int, body: str) -> None:
        path, what = f"/merge_requests/{number}/notes", f"notes of merge request {number}"
        for row in self._rows(path, what, order_by="created_at", sort="asc"):
            note = parsed_record(_Note, row, what)
            if note.system or note.author.id != self._self() or not note.body.startswith(_MARK):
                continue
            if note.body != body:
                self._client.send("PUT", self._repository.path(f"{path}/{note.id}"), {"body": body})
            return
        self._client.send("POST", self._repository.path(path), {"body": body})

    def _self(self) -> int:
        if self._own_id is None:
            self._own_id = parsed(_User, self._client.get("/user"), "the token's user").id
        return self._own_id

    def _rows(self, path: str, what: str, **query: str) -> tuple[dict[str, Json], ...]:
        found = listing(
            self._client,
            self._repository.path(path),
            {**query, "per_page": PAGE_SIZE},
            what=what,
            key="id",
            page_size=PAGE_SIZE,
            pages_max=_NOTES_PAGES_MAX,
            only_grows=True,
        )
        if found is None:
            return ()
        if not found.complete:
            raise Unavailable(f"{what}: the list could not be read whole; it is asked again")
        return found.records
