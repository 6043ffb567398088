"""What doctor finds out of a token: every permission that is missing or too much, and what no forge tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_client import ForgeClient
from reconciler.doctor import gitea as doctor_gitea
from reconciler.doctor import github as doctor_github
from reconciler.doctor import gitlab as doctor_gitlab
from reconciler.doctor import permission_words
from reconciler.doctor.findings import Finding
from reconciler.token_use import TokenUse
from state.errors import RateLimited
from tests.fixtures.forge_clients import client_of, plain
from tests.fixtures.gitea_server import GiteaUnderTest
from tests.fixtures.github_server import NAME, PLAIN_TOKEN, GitHubUnderTest
from tests.fixtures.gitlab_server import PATH, GitLabUnderTest
from tests.fixtures.registry_stub import Reply

JSON = {"Content-Type": "application/json"}
LOOKS, FILLS = TokenUse(writes=False), TokenUse(writes=True)
LABELS, PROPOSES = TokenUse(writes=True, labels=True), TokenUse(writes=True, proposes=True)
READS = {"contents": "read", "pull_requests": "read"}


def found(findings: list[Finding]) -> tuple[str, str]:
    """Status of the first, and the permissions that it names."""
    return findings[0].status.value, plain(findings[0].found)


def test_every_permission_that_can_be_too_much_is_named_with_what_it_lets_its_holder_do() -> None:
    found_out = {probe.permission for probe in doctor_github.probes(NAME)} | {"the role admin", "the role maintain"}
    assert found_out == set(permission_words.GITHUB)
    found_out = {probe.permission for probe in doctor_gitea.probes(NAME)} | {"the role admin"}
    assert found_out == set(permission_words.GITEA)
    assert permission_words.named(["write:admin", "new"], permission_words.GITEA) == (
        "write:admin (lets its holder change all there is, where its user is an administrator), new"
    )


# --- GitHub


@pytest.fixture
def token(github: GitHubUnderTest, tmp_path: Path) -> ForgeClient:
    """A client with the plain token in place of the App's."""
    file = tmp_path / "plain"
    file.write_text(PLAIN_TOKEN)
    file.chmod(0o600)
    return client_of(github.stub.url, TokenFile(file))


@pytest.mark.parametrize(
    ("scopes", "use", "expected"),
    [
        ("repo", FILLS, ("ok", "role push; scopes repo")),
        ("repo:status", FILLS, ("ok", "role push; scopes repo:status")),
        ("repo:status", PROPOSES, ("fail", "missing: the scope repo, got repo:status")),
        ("", FILLS, ("fail", "missing: the scope repo, got none")),
        ("repo, admin:org", FILLS, ("warn", "more than needed: admin:org")),
    ],
)
def test_a_classic_token_s_scopes_are_told(
    github: GitHubUnderTest, token: ForgeClient, scopes: str, use: TokenUse, expected: tuple[str, str]
) -> None:
    github.forge.scopes = scopes
    findings = doctor_github.token("may", token, NAME, use)
    assert (found(findings), len(findings)) == (expected, 1)


@pytest.mark.parametrize(
    ("fine", "use", "expected"),
    [
        (READS, LOOKS, ("ok", "role push; Contents: read, Pull requests: read")),
        ({**READS, "statuses": "write"}, LOOKS, ("warn", "more than needed: Commit statuses: write")),
        (
            {**READS, "statuses": "write"},
            FILLS,
            ("ok", "role push; Commit statuses: write, Contents: read, Pull requests: read"),
        ),
        ({**READS, "statuses": "write"}, LABELS, ("fail", "missing: Pull requests: write")),
        (
            {**READS, "pull_requests": "write"},
            FILLS,
            ("fail", "missing: Commit statuses: write; more than needed: Pull requests: write"),
        ),
        (
            {"contents": "write", "pull_requests": "write"},
            PROPOSES,
            ("ok", "role push; Contents: read, Pull requests: read, Pull requests: write"),
        ),
        ({"statuses": "write"}, FILLS, ("fail", "missing: Contents: read, Pull requests: read")),
        *(
            ({**READS, "statuses": "write", name: "write"}, FILLS, ("warn", f"more than needed: {shown}"))
            for name, shown in {
                "issues": "Issues: write", "actions": "Actions: write", "deployments": "Deployments: write",
                "secrets": "Secrets: read", "variables": "Variables: read",
                "dependabot_secrets": "Dependabot secrets: read",
            }.items()
        ),
    ],
)  # fmt: skip
def test_a_fine_grained_token_is_found_out_by_questions_that_change_nothing(
    github: GitHubUnderTest, token: ForgeClient, fine: dict[str, str], use: TokenUse, expected: tuple[str, str]
) -> None:
    github.forge.fine = fine
    assert found(doctor_github.token("may", token, NAME, use)) == expected
    assert (github.forge.pulls, github.forge.statuses, github.forge.check_runs) == ({}, {}, {})


def test_what_only_administrators_see_is_too_much(github: GitHubUnderTest, token: ForgeClient) -> None:
    github.forge.fine = {**READS, "statuses": "write", "administration": "read", "webhooks": "read"}
    assert found(doctor_github.token("may", token, NAME, FILLS))[0] == "ok"  # its user is none
    github.forge.role = {"push": True, "admin": True}
    assert found(doctor_github.token("may", token, NAME, FILLS)) == (
        "warn",
        "more than needed: Administration: read, Webhooks: read, the role admin",
    )


def test_a_user_without_the_role_is_named_first(github: GitHubUnderTest, token: ForgeClient) -> None:
    github.forge.role = {"push": False, "pull": True}
    assert found(doctor_github.token("may", token, NAME, FILLS)) == ("fail", "missing: the role push, got pull")


def test_what_github_never_tells_is_a_finding_that_says_where_to_look(
    github: GitHubUnderTest, token: ForgeClient
) -> None:
    _, untold = doctor_github.token("may", token, NAME, FILLS)
    assert (untold.check, untold.status.value) == ("may: not told", "warn")
    assert "Workflows" in untold.found
    assert "Fine-grained tokens" in untold.remedy


def test_an_answer_that_says_nothing_of_the_permission_is_not_taken_for_either(
    github: GitHubUnderTest, token: ForgeClient
) -> None:
    github.forge.fine = dict(READS)
    archived = Reply(403, JSON, b'{"message": "Repository was archived so is read-only."}')
    github.forge.fault = lambda seen: archived if seen.method == "POST" else None
    first, untold = doctor_github.token("may", token, NAME, FILLS)
    assert "Commit statuses" not in first.found
    assert "Commit statuses: write: answered 403 (Repository was archived so is read-only.)" in untold.found


def test_a_limit_of_the_rate_is_no_refusal(github: GitHubUnderTest, token: ForgeClient) -> None:
    limit = Reply(403, {**JSON, "Retry-After": "3600"}, b'{"message": "Resource not accessible by anybody now"}')
    github.forge.fault = lambda seen: limit if seen.method == "POST" else None
    with pytest.raises(RateLimited):
        doctor_github.token("may", token, NAME, FILLS)


# --- Gitea, as its routers have it; the real one is asked in test_gitea_real.py


@pytest.mark.parametrize(
    ("scopes", "use", "expected"),
    [
        ({"read:repository"}, LOOKS, ("ok", "role push; read:repository")),
        ({"write:repository"}, LOOKS, ("fail", "missing: read:repository; more than needed: write:repository")),
        ({"write:repository"}, FILLS, ("ok", "role push; write:repository")),
        ({"read:repository"}, FILLS, ("fail", "missing: write:repository; more than needed: read:repository")),
        ({"write:repository"}, LABELS, ("fail", "missing: write:issue")),
        ({"write:repository", "write:issue"}, PROPOSES, ("ok", "role push; write:issue, write:repository")),
        (
            {"write:repository", "write:admin", "read:user"},
            FILLS,
            ("warn", "more than needed: read:user, write:admin"),
        ),
    ],
)
def test_a_gitea_token_s_scopes_are_found_out(
    gitea: GiteaUnderTest, scopes: set[str], use: TokenUse, expected: tuple[str, str]
) -> None:
    gitea.forge.token_scopes = scopes
    findings = doctor_gitea.token("may", gitea.client, NAME, use)
    assert (found(findings), len(findings)) == (expected, 1)
    assert gitea.forge.pulls == {}


# --- GitLab


@pytest.mark.parametrize(
    ("level", "scopes", "use", "expected"),
    [
        (30, ["api"], FILLS, ("ok", "access level 30; scopes api")),
        (20, ["read_api", "read_repository"], LOOKS, ("ok", "access level 20; scopes read_api, read_repository")),
        (20, ["api"], FILLS, ("fail", "missing: the role Developer; got access level 20; scopes api")),
        (
            20,
            ["read_api", "sudo"],
            FILLS,
            (
                "fail",
                (
                    "missing: the role Developer, the scope api; more than needed: the scope sudo; "
                    "got access level 20; scopes read_api, sudo"
                ),
            ),
        ),
        (20, ["read_api"], LOOKS, ("fail", "missing: the scope read_repository; got access level 20; scopes read_api")),
        (50, ["api", "sudo"], FILLS, ("warn", "more than needed: access level 50, the scope sudo")),
        (30, ["api"], LOOKS, ("warn", "more than needed: access level 30, the scope api")),
    ],
)
def test_a_gitlab_token_s_role_and_scopes_are_told(
    gitlab: GitLabUnderTest, level: int, scopes: list[str], use: TokenUse, expected: tuple[str, str]
) -> None:
    gitlab.forge.role = {"project_access": None, "group_access": {"access_level": level}}
    gitlab.forge.scopes = scopes
    findings = doctor_gitlab.token("may", gitlab.client, PATH, use)
    assert (found(findings), len(findings)) == (expected, 1)


@pytest.mark.parametrize("scopes", [None, ["granular"]])
def test_where_gitlab_does_not_tell_the_scopes_doctor_says_so(
    gitlab: GitLabUnderTest, scopes: list[str] | None
) -> None:
    gitlab.forge.scopes = scopes
    first, untold = doctor_gitlab.token("may", gitlab.client, PATH, FILLS)
    assert first.status.value == "ok"
    assert (untold.check, untold.status.value) == ("may: not told", "warn")
