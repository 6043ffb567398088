"""The HTTP forges whose answers can be scripted, under one set of hands for the faults that all of them must bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_gitea import GiteaStatuses
from reconciler.adapters.forge_github import GitHubForge
from reconciler.adapters.forge_github_status import CheckRuns, CommitStatuses
from reconciler.adapters.forge_github_writer import GitHubChanges
from reconciler.adapters.forge_gitlab import GitLabProject
from reconciler.adapters.forge_gitlab_status import GitLabStatusReporter
from reconciler.adapters.forge_identity import OwnedRepository
from reconciler.ports import StatusReporter
from state.git import CommitId
from tests.contract.forge.driver import ForgeUnderTest
from tests.fixtures.forge_clients import client_of
from tests.fixtures.gitea_server import gitea_at
from tests.fixtures.github_server import APP_ID, NAME, github_at
from tests.fixtures.gitlab_server import PATH, gitlab_at
from tests.fixtures.registry_stub import Reply, Seen, Stub

JSON = {"Content-Type": "application/json"}
Fault = Callable[[Seen], Reply | None]


@dataclass(frozen=True)
class Scripted:
    forge: Any
    """The server's state, whose `fault` answers first."""
    stub: Stub
    client: ForgeClient
    tested: ForgeUnderTest
    token_file: Path | None
    """None for an App, which makes its tokens itself."""
    page_size: int
    collection: str
    pulls: dict[int, dict[str, Any]]
    """What the server knows of each pull request."""
    number: str
    """The member that holds its number."""
    ref: str
    name: str
    """Of the attribute with the repository's name."""
    new_status: Callable[[], StatusReporter]
    """A reporter of a process that has just been started."""

    def open(self, count: int) -> None:
        """So many, of which only the first is in git. Of thousands the server tells no more than anybody reads."""
        driver = self.tested.driver
        self.forge.brief = count > 1000
        first = self.pulls[driver.open(driver.commit())]
        for number in range(len(self.pulls) + 1, count + 1):
            self.pulls[number] = {**first, "id": 9000 + number, self.number: number}

    def page_of(self, seen: Seen) -> int | None:
        """Which page of the listing is asked for."""
        if seen.method != "GET" or not seen.path.endswith(self.collection):
            return None
        return int(dict(part.split("=", 1) for part in seen.query.split("&"))["page"])

    def on_page(self, number: int, reply: Reply, times: int = 1_000_000) -> None:
        left = [times]

        def fault(seen: Seen) -> Reply | None:
            if self.page_of(seen) != number or left[0] == 0:
                return None
            left[0] -= 1
            return reply

        self.forge.fault = fault

    def before_page(self, number: int, happens: Callable[[], None]) -> None:
        """Each time that the page is asked for."""

        def fault(seen: Seen) -> None:
            if self.page_of(seen) == number:
                happens()

        self.forge.fault = fault

    def close_first(self) -> None:
        first = min(n for n, one in self.pulls.items() if one["state"] != "closed")
        self.pulls[first] = {**self.pulls[first], "state": "closed"}

    def listed(self) -> list[int]:
        """The numbers of a listing that has to be whole."""
        listing = self.tested.reader.open_pull_requests()
        assert listing.complete
        return [pr.number for pr in listing.pull_requests]

    def rename(self, to: str) -> None:
        self.forge.renamed_from.add(getattr(self.forge, self.name))
        setattr(self.forge, self.name, to)

    def move_ref(self, number: int, head: CommitId) -> None:
        """Git has the push already, the API has not."""
        self.forge.git.references.create(self.ref.format(number), head, force=True)


@contextmanager
def github_app(root: Path) -> Iterator[Scripted]:
    with github_at(root) as made:
        yield Scripted(
            made.forge, made.stub, made.client, made.tested, None, 100, "/pulls", made.forge.pulls, "number",
            "refs/pull/{}/head", "name",
            lambda: CheckRuns(OwnedRepository(made.client, NAME), APP_ID),
        )  # fmt: skip


@contextmanager
def github_token(root: Path) -> Iterator[Scripted]:
    with github_app(root) as app:
        file = root / "token"
        client = client_of(app.stub.url, TokenFile(file))
        repository = OwnedRepository(client, NAME)
        reader = app.tested.reader
        assert isinstance(reader, GitHubForge)
        tested = replace(
            app.tested,
            reader=GitHubForge(repository, reader._refs),
            writer=GitHubChanges(repository),
            labels=GitHubChanges(repository),
            status=CommitStatuses(repository),
        )
        yield replace(
            app, client=client, tested=tested, token_file=file,
            new_status=lambda: CommitStatuses(OwnedRepository(client, NAME)),
        )  # fmt: skip
        client.close()


@contextmanager
def gitea(root: Path) -> Iterator[Scripted]:
    with gitea_at(root) as made:
        yield Scripted(
            made.forge, made.stub, made.client, made.tested, made.token_file, 50, "/pulls", made.forge.pulls, "number",
            "refs/pull/{}/head", "name",
            lambda: GiteaStatuses(OwnedRepository(made.client, NAME)),
        )  # fmt: skip


@contextmanager
def gitlab(root: Path) -> Iterator[Scripted]:
    with gitlab_at(root) as made:
        yield Scripted(
            made.forge, made.stub, made.client, made.tested, made.token_file, 100, "/merge_requests",
            made.forge.merge_requests, "iid", "refs/merge-requests/{}/head", "path",
            lambda: GitLabStatusReporter(GitLabProject(made.client, PATH)),
        )  # fmt: skip


SCRIPTED = {"github-app": github_app, "github-token": github_token, "gitea": gitea, "gitlab": gitlab}
