"""The code repository's forge: the routes of GitHub, Gitea and GitLab that a pass uses, over the world's pull requests.

Pages are short, so that lists change between two of them. What each forge answers in full is held to its documentation
by tests/contract/forge; here is only what the adapters read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from random import Random
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote

from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_gitea import HEADERS as GITEA_HEADERS
from reconciler.adapters.forge_gitea import GiteaForge
from reconciler.adapters.forge_github import HEADERS as GITHUB_HEADERS
from reconciler.adapters.forge_github import GitHubForge
from reconciler.adapters.forge_github_status import CommitStatuses
from reconciler.adapters.forge_gitlab import HEADERS as GITLAB_HEADERS
from reconciler.adapters.forge_gitlab import GitLabForge, GitLabProject
from reconciler.adapters.forge_gitlab_status import GitLabStatusReporter
from reconciler.adapters.forge_identity import ForgeRepository, OwnedRepository
from reconciler.adapters.forge_reader import RestForge
from reconciler.adapters.forge_status import ForgeStatus
from tests.fixtures.registry_stub import Reply, Seen
from tests.simulation.faults import GET, SEND, Fault
from tests.simulation.ports import SimRefs, Steps
from tests.simulation.wire.network import Server
from tests.simulation.world import REPOSITORY_ID, ForgeKind, Pr

FORGE_HOST: Final = "forge.example"
NAME: Final = "acme/shop"
TOKEN: Final = "hunter2-forge"
PAGE: Final = 2
EVIL: Final = "evil`$(touch x)` {{ .x }}"
"""Every text that a pull request's author chooses."""
_REPOSITORY: Final = re.compile(r"/api/(?:repos/acme/shop|projects/(?:acme%2Fshop|4711))(?P<rest>/.*)?")


class _GitHub(GitHubForge):
    QUERY: ClassVar = {**GitHubForge.QUERY, "per_page": PAGE}
    PAGE_SIZE: ClassVar = PAGE


class _Gitea(GiteaForge):
    QUERY: ClassVar = {**GiteaForge.QUERY, "limit": PAGE}
    PAGE_SIZE: ClassVar = PAGE


class _GitLab(GitLabForge):
    QUERY: ClassVar = {**GitLabForge.QUERY, "per_page": PAGE}
    PAGE_SIZE: ClassVar = PAGE


_HEADERS: Final = {
    ForgeKind.GITHUB: GITHUB_HEADERS,
    ForgeKind.GITEA: GITEA_HEADERS,
    ForgeKind.GITLAB: GITLAB_HEADERS,
}
_READER: Final[dict[ForgeKind, type[RestForge]]] = {
    ForgeKind.GITHUB: _GitHub,
    ForgeKind.GITEA: _Gitea,
    ForgeKind.GITLAB: _GitLab,
}


def headers_of(kind: ForgeKind) -> dict[str, str]:
    return dict(_HEADERS[kind])


def adapters(kind: ForgeKind, client: ForgeClient, refs: SimRefs) -> tuple[RestForge, ForgeStatus[Any]]:
    """The product's reader and status reporter for a forge of this kind."""
    gitlab = kind is ForgeKind.GITLAB
    named: ForgeRepository = (GitLabProject if gitlab else OwnedRepository)(client, NAME, REPOSITORY_ID)
    status: ForgeStatus[Any] = GitLabStatusReporter(named) if gitlab else CommitStatuses(named)
    return _READER[kind](named, refs), status  # type: ignore[arg-type]


class ForgeServer(Server):
    """The forge, as one process reaches it."""

    def __init__(self, steps: Steps, process: str) -> None:
        self._world, self._check, self._process = steps.world, steps.check, process
        self._gitlab = steps.world.forge is ForgeKind.GITLAB

    def faults(self, seen: Seen) -> tuple[Fault, ...]:
        if seen.method != "GET":
            return SEND
        listing = seen.path.endswith(("/pulls", "/merge_requests"))
        return (*GET, Fault.MISSING, Fault.PARTIAL) if listing else (*GET, Fault.MISSING)

    def altered(self, seen: Seen, reply: Reply | None, chance: Random) -> Reply:
        """A page with a record that none can use, and without others."""
        assert reply is not None, seen
        if reply.status != 200:
            return reply
        rows = [row for row in json.loads(reply.body) if chance.random() < 0.5]
        raw = json.dumps([*rows, {"id": 1}]).encode()
        return Reply(200, {k: v for k, v in reply.headers.items() if k != "ETag"}, raw)

    def answer(self, seen: Seen) -> Reply:
        if seen.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._json(401, {"message": "Bad credentials"}, seen)
        found = _REPOSITORY.fullmatch(seen.path)
        if found is None:
            return self._json(404, {"message": "Not Found"}, seen)
        query = {name: values[0] for name, values in parse_qs(seen.query).items()}
        match (seen.method, *(unquote(found["rest"] or "").strip("/").split("/"))):
            case ("GET", ""):
                return self._json(200, {"id": REPOSITORY_ID, "full_name": NAME, "path_with_namespace": NAME}, seen)
            case ("GET", "pulls" | "merge_requests"):
                return self._page([self._shown(pr, lagging=True) for pr in self._world.open_prs()], query, seen)
            case ("GET", "pulls" | "merge_requests", number) if int(number) in self._world.prs:
                return self._json(200, self._shown(self._world.prs[int(number)], lagging=False), seen)
            case ("GET", "activity"):
                rows = [
                    {"ref": b, "after": h, "actor": {"id": 7, "login": "dev"}} for b, h in self._pushes(query["ref"])
                ]
                return self._json(200, rows, seen)
            case ("GET", "events"):
                pushed = [
                    {
                        "author_id": 7,
                        "push_data": {"ref_type": "branch", "ref": b.removeprefix("refs/heads/"), "commit_to": h},
                    }
                    for b, h in self._pushes("refs/heads/")
                ]
                return self._json(200, pushed, seen)
            case ("GET", "commits", head, "status"):
                return self._json(200, {"statuses": self._statuses(head)}, seen)
            case ("GET", "repository", "commits", head, "statuses"):
                return self._page(self._statuses(head), query, seen)
            case ("POST", "statuses", head):
                self._check.status_set(self._process, seen.body)
                body = json.loads(seen.body)
                self._world.statuses[head] = {**body, "id": len(self._world.statuses) + 1, "status": body["state"]}
                return self._json(201, self._world.statuses[head], seen)
            case _:
                return self._json(404, {"message": "Not Found"}, seen)

    def _pushes(self, ref: str) -> list[tuple[str, str]]:
        """Newest first."""
        branches = {f"refs/heads/{_branch(pr)}": pr for pr in self._world.prs.values()}
        return [(b, h) for b, pr in branches.items() if b.startswith(ref) for h in reversed(pr.heads)]

    def _statuses(self, head: str) -> list[dict[str, Any]]:
        return [self._world.statuses[head]] if head in self._world.statuses else []

    def _shown(self, pr: Pr, *, lagging: bool) -> dict[str, Any]:
        head = pr.shown if lagging and pr.shown is not None else pr.head
        base, updated = pr.base.removeprefix("refs/heads/"), f"2026-01-01T00:00:00.{pr.changes:06}Z"
        if self._gitlab:
            return {
                "id": 9000 + pr.number, "iid": pr.number, "state": "opened" if pr.open else "closed", "title": EVIL,
                "description": EVIL, "author": {"id": 7}, "labels": [*pr.labels, EVIL], "sha": head, "draft": False,
                "source_branch": _branch(pr), "target_branch": base, "source_project_id": pr.fork,
                "updated_at": updated,
            }  # fmt: skip
        own = {"id": REPOSITORY_ID, "full_name": NAME}
        repo = own if pr.fork == REPOSITORY_ID else {"id": pr.fork, "full_name": "them/shop"} if pr.fork else None
        return {
            "id": 9000 + pr.number, "number": pr.number, "state": "open" if pr.open else "closed", "title": EVIL,
            "body": EVIL, "user": {"id": 7, "login": "dev"}, "labels": [{"name": n} for n in (*pr.labels, EVIL)],
            "draft": False, "merged_at": None, "head": {"ref": _branch(pr), "sha": head, "repo": repo},
            "base": {"ref": base, "repo": own}, "updated_at": updated,
        }  # fmt: skip

    def _page(self, rows: Iterable[dict[str, Any]], query: dict[str, str], seen: Seen) -> Reply:
        listed = list(rows)
        size, page = int(query.get("per_page") or query.get("limit") or 100), int(query.get("page", 1))
        more = len(listed) > page * size
        link = {"Link": '<https://forge.example/next>; rel="next"'} if more else {}
        total = {} if self._world.forge is ForgeKind.GITHUB else {"X-Total-Count": str(len(listed))}
        return self._json(200, listed[(page - 1) * size : page * size], seen, **link, **total)

    def _json(self, status: int, body: object, seen: Seen, **headers: str) -> Reply:
        raw = json.dumps(body).encode()
        if self._world.forge is ForgeKind.GITEA:
            return Reply(status, {"Content-Type": "application/json", **headers}, raw)
        etag = f'W/"{hashlib.sha256(raw).hexdigest()}"'
        fields = {"Content-Type": "application/json", "ETag": etag, **headers}
        if seen.method == "GET" and status == 200 and seen.headers.get("if-none-match") == etag:
            return Reply(304, fields)
        return Reply(status, fields, raw)


def _branch(pr: Pr) -> str:
    return f"evil/{pr.number}"
