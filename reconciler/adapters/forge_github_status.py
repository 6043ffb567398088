"""One status per head at GitHub, replaced in place: a check run for an App, a commit status for a token.

Only Apps may write check runs, and only they show a text; a commit status is one line, and Gitea and Forgejo have it
too. Source: docs.github.com REST API 2022-11-28 (checks/runs, commits/statuses). What the forge shows is read once per
head and process, so that a restart does not write every status anew: 500 writes an hour are all that GitHub takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import AliasChoices, Field

from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.adapters.forge_records import Id, Record, parsed
from reconciler.adapters.forge_status import CONTEXT, ForgeStatus, Shown
from reconciler.ports import StatusState
from state.canonical import Json
from state.errors import Terminal
from state.git import CommitId


class _CommitStatus(Record):
    context: str
    state: str = Field(validation_alias=AliasChoices("state", "status"))
    """Gitea says `status`."""
    description: str | None = None


class _Combined(Record):
    statuses: tuple[_CommitStatus, ...] | None = Field(strict=False)
    """Gitea says null for none."""


class _Output(Record):
    title: str | None = None
    summary: str | None = None


class _App(Record):
    id: Id


class _CheckRun(Record):
    id: Id
    name: str
    status: str
    conclusion: str | None = None
    output: _Output
    app: _App | None = None

    @property
    def state(self) -> StatusState:
        if self.status != "completed":
            return StatusState.PENDING
        return StatusState.SUCCESS if self.conclusion == "success" else StatusState.FAILURE

    @property
    def text(self) -> str:
        title, summary = self.output.title or "", self.output.summary or ""
        return title if summary == title else f"{title}\n{summary}"


class _CheckRuns(Record):
    check_runs: tuple[_CheckRun, ...] = Field(strict=False)


class CommitStatuses(ForgeStatus[None]):
    """A `StatusReporter` for a token: the first line, as the commit status `ameide`."""

    QUERY: ClassVar[Mapping[str, str | int]] = {"per_page": 100}

    def __init__(self, repository: ForgeRepository) -> None:
        super().__init__(repository, whole_text=False)

    def _read(self, head: CommitId) -> Shown[None] | None:
        answer = self._client.get(self._repository.path(f"/commits/{head}/status"), self.QUERY)
        if not answer.found:
            return None
        for status in parsed(_Combined, answer, f"statuses of {head.short}").statuses or ():
            if status.context == CONTEXT and status.state in set(StatusState):
                return Shown(StatusState(status.state), status.description or "", None)
        return None

    def _write(self, head: CommitId, state: StatusState, text: str, shown: Shown[None] | None) -> None:
        del shown  # the newest of a context is what counts
        body: dict[str, Json] = {"state": state.value, "context": CONTEXT, "description": text}
        if not self._client.send("POST", self._repository.path(f"/statuses/{head}"), body).found:
            raise Terminal(f"status of {head.short}: the forge knows no such commit here")


class CheckRuns(ForgeStatus[int]):
    """A `StatusReporter` for an App: the whole text, as the check run `ameide`."""

    def __init__(self, repository: ForgeRepository, app_id: int) -> None:
        super().__init__(repository, whole_text=True)
        self._app_id = app_id

    def _read(self, head: CommitId) -> Shown[int] | None:
        query: dict[str, str | int] = {"check_name": CONTEXT, "filter": "latest", "app_id": self._app_id}
        answer = self._client.get(self._repository.path(f"/commits/{head}/check-runs"), query)
        if not answer.found:
            return None
        for run in parsed(_CheckRuns, answer, f"check runs of {head.short}").check_runs:
            if run.name == CONTEXT and run.app is not None and run.app.id == self._app_id:
                return Shown(run.state, run.text, run.id)
        return None

    def _write(self, head: CommitId, state: StatusState, text: str, shown: Shown[int] | None) -> int:
        title, _, rest = text.partition("\n")
        made: dict[str, Json] = {"output": {"title": title, "summary": rest or title}}
        if state is StatusState.PENDING:
            made["status"] = "in_progress"
        else:
            made |= {"status": "completed", "conclusion": state.value}
        if shown is None:
            new = {"name": CONTEXT, "head_sha": head, **made}
            answer = self._client.send("POST", self._repository.path("/check-runs"), new)
        else:
            answer = self._client.send("PATCH", self._repository.path(f"/check-runs/{shown.handle}"), made)
        if not answer.found:
            raise Terminal(f"status of {head.short}: GitHub knows no such commit or check run here")
        return parsed(_CheckRun, answer, f"check run of {head.short}").id
