"""What doctor finds out of a credential that pushes the log: what it may do beyond that, and what protects the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.adapters.forge_access import TokenFile
from reconciler.doctor import branch_rules
from reconciler.doctor import gitea as doctor_gitea
from reconciler.doctor import github as doctor_github
from reconciler.doctor import gitlab as doctor_gitlab
from reconciler.doctor.branch_rules import Rules
from reconciler.token_use import TokenUse
from state.git import RefName
from tests.contract.forge.test_token_permissions import found
from tests.fixtures.forge_clients import client_of
from tests.fixtures.gitea_server import GiteaUnderTest
from tests.fixtures.github_server import NAME, PLAIN_TOKEN, GitHubUnderTest
from tests.fixtures.gitlab_server import PATH, GitLabUnderTest
from tests.fixtures.registry_stub import Reply

LOG = RefName("refs/heads/log/4711/reconciler")
PUSHES = TokenUse(writes=True, pushes=True)
FOR_ADMINISTRATORS = "what its branch protection allows is told to administrators alone"
FORCE_FOR_ADMINISTRATORS = "who may push by force is told to administrators alone"
NOT_YET = "there is no such branch yet"


def there(git: pygit2.Repository) -> None:
    """The log's branch is in it."""
    nobody = pygit2.Signature("nobody", "nobody@localhost", 0, 0)
    git.create_commit(LOG, nobody, nobody, "genesis", git.TreeBuilder().write(), [])


@pytest.mark.parametrize(
    ("rules", "exists", "protected", "expected"),
    [
        (["deletion", "non_fast_forward"], False, False, Rules(rewritten=False, deleted=False)),
        (["deletion", "non_fast_forward", "pull_request"], False, False, Rules(False, False, ("pull_request",))),
        ([], True, False, Rules(rewritten=True, deleted=True)),
        (["deletion"], True, False, Rules(rewritten=True, deleted=False)),
        (["non_fast_forward"], True, False, Rules(rewritten=False, deleted=True)),
        ([], False, False, Rules(None, None, why=NOT_YET)),
        ([], True, True, Rules(None, None, why=FOR_ADMINISTRATORS)),
        (["deletion"], True, True, Rules(None, False, why=FOR_ADMINISTRATORS)),
    ],
)
def test_what_github_tells_of_the_log_s_branch(
    github: GitHubUnderTest, rules: list[str], exists: bool, protected: bool, expected: Rules
) -> None:
    github.forge.rules[LOG.short] = rules
    github.forge.protected |= {LOG.short} if protected else set()
    if exists:
        there(github.forge.git)
    assert branch_rules.github(github.client, NAME, LOG) == expected


def test_rules_that_github_does_not_tell_are_not_taken_for_none(github: GitHubUnderTest) -> None:
    there(github.forge.git)
    github.forge.fault = lambda seen: Reply(404, {}, b"{}") if "/rules/" in seen.path else None
    assert branch_rules.github(github.client, NAME, LOG) == Rules(None, None, why="its rules: answered 404")


@pytest.mark.parametrize(
    ("exists", "protected", "pushable", "expected"),
    [
        (True, False, False, Rules(rewritten=True, deleted=True)),
        (True, True, True, Rules(None, False, why=FORCE_FOR_ADMINISTRATORS)),
        (
            True,
            True,
            False,
            Rules(
                None, False, ("its user may not push there",), "who may push by force is told to administrators alone"
            ),
        ),
        (False, False, False, Rules(None, None, why=NOT_YET)),
    ],
)
def test_what_gitea_tells_of_the_log_s_branch(
    gitea: GiteaUnderTest, exists: bool, protected: bool, pushable: bool, expected: Rules
) -> None:
    gitea.forge.protected |= {LOG.short} if protected else set()
    gitea.forge.pushable |= {LOG.short} if pushable else set()
    if exists:
        there(gitea.forge.git)
    assert branch_rules.gitea(gitea.client, NAME, LOG) == expected


def rule(name: str, **force: Any) -> dict[str, Any]:
    return {"id": 1, "name": name, **force}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], Rules(rewritten=True, deleted=True)),
        ([rule("main", allow_force_push=False)], Rules(rewritten=True, deleted=True)),
        ([rule("log", allow_force_push=False)], Rules(rewritten=True, deleted=True)),
        ([rule("log/*", allow_force_push=False)], Rules(rewritten=False, deleted=False)),
        ([rule(LOG.short, allow_force_push=False)], Rules(rewritten=False, deleted=False)),
        ([rule("log/*", allow_force_push=False), rule("*", allow_force_push=True)], Rules(True, deleted=False)),
        ([rule("log/*")], Rules(None, False, why="this GitLab does not tell who may push by force")),
        ([rule(f"b{n}") for n in range(101)], Rules(None, None, why="it has more rules than are read")),
        (None, Rules(None, None, why="answered 403")),
    ],
)
def test_what_gitlab_tells_of_the_log_s_branch(
    gitlab: GitLabUnderTest, rules: list[dict[str, Any]] | None, expected: Rules
) -> None:
    gitlab.forge.protected = rules
    assert branch_rules.gitlab(gitlab.client, PATH, LOG) == expected


def test_each_kind_of_finding_has_its_remedy_and_what_was_not_told_is_none_in_order() -> None:
    other = RefName("refs/heads/log/4711/janitor")
    ok = branch_rules.judged("log: branches", "gitea", {LOG: Rules(rewritten=False, deleted=False)})
    assert [f.status.value for f in ok] == ["ok"]
    told = branch_rules.judged(
        "log: branches", "github", {LOG: Rules(True, True, ("update",)), other: Rules(None, False, why="hidden")}
    )
    assert [(f.check, f.status.value) for f in told] == [
        ("log: branches", "warn"),
        ("log: branches: pushing", "warn"),
        ("log: branches: not told", "warn"),
    ]
    assert "log/4711/reconciler: may be rewritten and deleted (lets whoever has the credential" in told[0].found
    assert "log/4711/reconciler: update" in told[1].found
    assert told[2].found.endswith("log/4711/janitor: hidden")
    assert all("log/" in f.remedy or "log's" in f.remedy for f in told)


# --- the credential itself


@pytest.mark.parametrize(
    ("fine", "expected"),
    [
        ({"contents": "write"}, ("ok", "role push; Contents: read")),
        ({}, ("fail", "missing: Contents: read")),
        (
            {"contents": "write", "pull_requests": "read", "statuses": "write"},
            ("warn", "more than needed: Commit statuses: write, Pull requests: read"),
        ),
    ],
)
def test_what_a_fine_grained_token_has_beyond_pushing(
    github: GitHubUnderTest, tmp_path: Path, fine: dict[str, str], expected: tuple[str, str]
) -> None:
    file = tmp_path / "plain"
    file.write_text(PLAIN_TOKEN)
    file.chmod(0o600)
    client = client_of(github.stub.url, TokenFile(file))
    github.forge.fine = fine
    assert found(doctor_github.token("may", client, NAME, PUSHES)) == expected
    github.forge.scopes = "repo:status"
    assert found(doctor_github.token("may", client, NAME, PUSHES))[0] == "fail"  # it can't push


def test_what_a_gitea_token_has_beyond_pushing(gitea: GiteaUnderTest) -> None:
    gitea.forge.token_scopes = {"write:repository", "write:issue"}
    assert found(doctor_gitea.token("may", gitea.client, NAME, PUSHES)) == ("warn", "more than needed: write:issue")


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["write_repository"], ("ok", "access level 30; scopes write_repository")),
        (["write_repository", "read_api"], ("ok", "access level 30; scopes read_api, write_repository")),
        (["api"], ("warn", "more than needed: the scope api")),
        (
            ["read_repository"],
            ("fail", "missing: the scope write_repository; got access level 30; scopes read_repository"),
        ),
    ],
)
def test_what_a_gitlab_token_has_beyond_pushing(
    gitlab: GitLabUnderTest, scopes: list[str], expected: tuple[str, str]
) -> None:
    gitlab.forge.scopes = scopes
    assert found(doctor_gitlab.token("may", gitlab.client, PATH, PUSHES)) == expected
