"""What `ameide doctor` tests of a forge: who answers, what it lists, and whether the credential may do what it must
and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import Field

from reconciler.adapters.forge_access import GitHubAppToken, TokenFile
from reconciler.adapters.forge_client import ForgeClient, Token
from reconciler.adapters.forge_github import HEADERS
from reconciler.adapters.forge_records import Record, parsed
from reconciler.adapters.git_push_probe import may_push
from reconciler.adapters.git_remote import remote
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.code_forge import (
    PROPOSES,
    READS,
    WRITES,
    CodeForge,
    app_token,
    granted_for,
    token_of,
)
from reconciler.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.settings_forge import (
    GitHubAppSettings,
    GitHubForgeSettings,
    GitLabForgeSettings,
    HttpForgeSettings,
    LocalForgeSettings,
)
from reconciler.settings_model import CALL_TIMEOUT_FACTOR, RepositorySettings, Settings
from state.errors import Terminal
from state.observed import Mode

_LEVELS: Final = {"read": 1, "write": 2, "admin": 3}
_REPORTER, _DEVELOPER = 20, 30
_LOOKING: Final = frozenset({"read_api", "read_repository"})
_SCOPES_HARMLESS: Final = frozenset({"repo", "repo:status", "public_repo", "read:org", "read:user"})


class _Installation(Record):
    permissions: Mapping[str, str] = Field(strict=False)
    suspended_at: str | None = None


class _Role(Record):
    permissions: Mapping[str, bool] = Field(default={}, strict=False)


class _Access(Record):
    access_level: int


class _Accesses(Record):
    project_access: _Access | None = None
    group_access: _Access | None = None


class _Project(Record):
    permissions: _Accesses = _Accesses()


class _Scopes(Record):
    scopes: tuple[str, ...] = Field(strict=False)


class _AppJwt:
    """The App's own proof in place of an installation's token."""

    def __init__(self, app: GitHubAppToken) -> None:
        self._app = app

    def token(self, *, fresh: bool = False) -> str:
        del fresh  # made anew each time
        return self._app.app_jwt()


def listed(forge: CodeForge) -> str:
    """Who the repository is and how many pull requests are open. Raises Terminal if the listing is not complete."""
    listing = forge.reader.open_pull_requests()
    if not listing.complete:
        raise Terminal(f"{forge.identity.name}: the listing of open pull requests is not complete")
    return f"{forge.identity.name}, repository id {forge.identity.id}, {len(listing.pull_requests)} open pull requests"


def credential(name: str, forge: HttpForgeSettings) -> Finding:
    """The file that proves who we are."""
    if not isinstance(forge, GitHubForgeSettings):
        return secret(f"{name}: forge credential", forge.token_file)
    file = forge.access if isinstance(forge.access, Path) else forge.access.private_key_file
    return secret(f"{name}: forge credential", file)


def permissions(
    repository: RepositorySettings, whole: Settings, forge: CodeForge, clock: Clock, random: Random
) -> Iterator[Finding]:
    """What the code credential may do, against what the mode needs: missing is a failure, excess a warning."""
    settings = repository.forge
    if isinstance(settings, LocalForgeSettings) or forge.client is None:
        return
    check = f"{repository.name}: forge permissions"
    if isinstance(settings, GitHubForgeSettings) and settings.app is not None:
        yield from app_permissions(repository, whole, clock, random)
    else:
        yield _token_may(check, settings, forge.client, writes=whole.mode is not Mode.OBSERVE)
    remedy = "check that git reaches the same host as the API, with the same credential"
    yield attempt(f"{check}: git", lambda: _pushes(check, settings, whole, clock), remedy)


def app_permissions(repository: RepositorySettings, whole: Settings, clock: Clock, random: Random) -> Iterator[Finding]:
    """What a GitHub App's installation grants; the App may ask that also where it lacks too much to get a token."""
    settings = repository.forge
    if isinstance(settings, GitHubForgeSettings) and (app := settings.app) is not None:
        needed = granted_for(repository, whole.mode)
        yield _app_may(f"{repository.name}: forge permissions", settings, app, needed, clock=clock, random=random)


def proposals(check: str, forge: HttpForgeSettings, whole: Settings, clock: Clock, random: Random) -> Iterator[Finding]:
    """Whether a credential may propose a change: push a branch to the repository, and open a pull request there.

    Nothing is pushed and nothing is opened.
    """
    if isinstance(forge, GitHubForgeSettings) and forge.app is not None:
        yield _app_may(check, forge, forge.app, PROPOSES, clock=clock, random=random)
    else:
        with _client(forge, _token(forge, PROPOSES, clock), clock, random) as client:
            yield _token_may(check, forge, client, writes=True, proposes=True)
    remedy = "check that git reaches the same host as the API, with the same credential"
    yield attempt(f"{check}: git", lambda: _may_push(check, forge, whole, clock), remedy)


def _may_push(check: str, forge: HttpForgeSettings, whole: Settings, clock: Clock) -> Finding:
    if _asked_to_push(forge, PROPOSES, whole, clock):
        return Finding(f"{check}: git", Status.OK, f"{forge.git_url}: it may push a branch")
    remedy = "grant it: Contents: write (GitHub), write:repository and the role Write (Gitea), Developer (GitLab)"
    return Finding(f"{check}: git", Status.FAIL, "missing: it may not push a branch", remedy)


def _app_may(
    check: str,
    forge: GitHubForgeSettings,
    app: GitHubAppSettings,
    needed: Mapping[str, str],
    *,
    clock: Clock,
    random: Random,
) -> Finding:
    remedy = "check app_id, installation_id and the key on the App's settings page"
    return attempt(check, lambda: _granted(check, forge, app, needed=needed, clock=clock, random=random), remedy)


def _token_may(
    check: str, forge: HttpForgeSettings, client: ForgeClient, *, writes: bool, proposes: bool = False
) -> Finding:
    if isinstance(forge, GitLabForgeSettings):
        remedy = "check that the token is still valid and that its user is a member of the project"
        return attempt(check, lambda: _member(check, client, forge.repository, writes=writes), remedy)
    scopes = frozenset({"repo", "public_repo"} if proposes else {"repo", "repo:status"})
    remedy = "give the token's user the role Write on this repository"
    return attempt(check, lambda: _role(check, client, forge.repository, writes=writes, scopes_any=scopes), remedy)


@contextmanager
def _client(
    forge: HttpForgeSettings, token: Token | GitHubAppToken, clock: Clock, random: Random
) -> Iterator[ForgeClient]:
    client = ForgeClient(
        forge.api_root,
        token,
        name="doctor",
        headers=HEADERS if isinstance(forge, GitHubForgeSettings) else {"Accept": "application/json"},
        clock=clock,
        random=random,
        metrics=PrometheusMetrics(),
        ca_file=None if forge.ca_file is None else str(forge.ca_file),
    )
    try:
        yield client
    finally:
        client.close()


def _token(forge: HttpForgeSettings, permissions: Mapping[str, str], clock: Clock) -> Token | GitHubAppToken:
    if isinstance(forge, GitHubForgeSettings):
        return token_of(forge, permissions, clock=clock)
    return TokenFile(forge.token_file)


def _granted(
    check: str,
    forge: GitHubForgeSettings,
    app: GitHubAppSettings,
    *,
    needed: Mapping[str, str],
    clock: Clock,
    random: Random,
) -> Finding:
    """Source: docs.github.com, "Get an installation for the authenticated app"."""
    with (
        closing(app_token(forge, app, READS, clock=clock)) as token,
        _client(forge, _AppJwt(token), clock, random) as client,
    ):
        answer = client.get(f"/app/installations/{app.installation_id}")
    if not answer.found:
        raise Terminal(f"installation {app.installation_id}: GitHub App {app.app_id} has no such installation")
    found = parsed(_Installation, answer, f"installation {app.installation_id}")
    if found.suspended_at is not None:
        return Finding(
            check, Status.FAIL, f"suspended since {found.suspended_at}", "unsuspend the installation on its page"
        )
    allowed = {**READS, **WRITES, **needed}
    missing = [f"{n}: {level}" for n, level in needed.items() if _level(found.permissions.get(n)) < _LEVELS[level]]
    excess = [f"{n}: {level}" for n, level in found.permissions.items() if _level(level) > _level(allowed.get(n))]
    told = [f"missing: {', '.join(sorted(missing))}"] if missing else []
    told += [f"more than needed: {', '.join(sorted(excess))}"] if excess else []
    if missing:
        remedy = "grant them on the App's settings page, and accept the request as the organisation's owner"
        return Finding(check, Status.FAIL, "; ".join(told), remedy)
    if excess:
        remedy = "take them from the App: whoever has its key has them, although we ask for tokens without them"
        return Finding(check, Status.WARN, "; ".join(told), remedy)
    return Finding(check, Status.OK, ", ".join(f"{n}: {level}" for n, level in sorted(found.permissions.items())))


def _level(named: str | None) -> int:
    """An unknown level counts as the highest, so that it is shown."""
    return 0 if named is None else _LEVELS.get(named, max(_LEVELS.values()))


def _role(check: str, client: ForgeClient, name: str, *, writes: bool, scopes_any: frozenset[str]) -> Finding:
    """By the role on the repository, and by the scopes that GitHub names of a classic token.

    Source: docs.github.com, "Get a repository" (`permissions`), "Scopes for OAuth apps" (`X-OAuth-Scopes`).
    """
    answer = client.get(f"/repos/{name}")
    if not answer.found:
        raise Terminal(f"{name}: no such repository, or the credential may not see it")
    roles = parsed(_Role, answer, name).permissions
    scopes = {scope.strip() for scope in answer.headers.get("x-oauth-scopes", "").split(",")} - {""}
    role = next((r for r in ("admin", "maintain", "push", "triage", "pull") if roles.get(r)), "none")
    if writes and not roles.get("push"):
        remedy = "give the token's user the role Write: a status on a head needs it, and so does a branch"
        return Finding(check, Status.FAIL, f"missing: the role push, got {role}", remedy)
    if writes and scopes and not scopes & scopes_any:
        remedy = "make a token with the scope repo, or a fine-grained one with the permissions in docs/forges.md"
        return Finding(check, Status.FAIL, f"missing: the scope repo, got {', '.join(sorted(scopes))}", remedy)
    excess = sorted(scopes - _SCOPES_HARMLESS) + ([f"the role {role}"] if role in {"admin", "maintain"} else [])
    if excess:
        remedy = "use a fine-grained token of a bot user with the role Write, or better a GitHub App"
        return Finding(check, Status.WARN, f"more than needed: {', '.join(excess)}", remedy)
    told = f"scopes {', '.join(sorted(scopes))}" if scopes else "the forge does not tell what such a token may do"
    return Finding(check, Status.OK, f"role {role}; {told}")


def _member(check: str, client: ForgeClient, name: str, *, writes: bool) -> Finding:
    """By the role in the project and the token's scopes.

    Source: docs.gitlab.com, "Projects API" (`permissions`), "Personal access tokens API" (`self`), "Commits API"
    (a status takes the role Developer and the scope api).
    """
    project = client.get(f"/projects/{quote(name, safe='')}")
    if not project.found:
        raise Terminal(f"{name}: no such project, or the credential may not see it")
    granted = parsed(_Project, project, name).permissions
    level = max((one.access_level for one in (granted.project_access, granted.group_access) if one), default=0)
    answer = client.get("/personal_access_tokens/self")  # 404 before GitLab 15.5
    scopes = frozenset(parsed(_Scopes, answer, "token").scopes) if answer.found else None
    if level < (_DEVELOPER if writes else _REPORTER):
        needed = "Developer" if writes else "Reporter"
        remedy = f"give the token's user the role {needed} in this project"
        return Finding(check, Status.FAIL, f"missing: the role {needed}, got access level {level}", remedy)
    if scopes is not None and writes and "api" not in scopes:
        remedy = "make a token with the scope api: GitLab takes it for a status and for a merge request"
        return Finding(check, Status.FAIL, f"missing: the scope api, got {_listed(scopes)}", remedy)
    if scopes is not None and "api" not in scopes and not scopes >= _LOOKING:
        remedy = f"make a token with the scopes {_listed(_LOOKING)}"
        return Finding(check, Status.FAIL, f"missing: {_listed(_LOOKING - scopes)}, got {_listed(scopes)}", remedy)
    allowed = _LOOKING | ({"read_user", "api"} if writes else {"read_user"})
    excess = sorted((scopes or frozenset()) - allowed) + ([f"access level {level}"] if level > _DEVELOPER else [])
    if excess:
        remedy = "use a project access token with no more than the role and scopes in docs/forges.md"
        return Finding(check, Status.WARN, f"more than needed: {', '.join(excess)}", remedy)
    told = "this GitLab does not tell its scopes" if scopes is None else f"scopes {_listed(scopes)}"
    return Finding(check, Status.OK, f"access level {level}; {told}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _pushes(check: str, forge: HttpForgeSettings, whole: Settings, clock: Clock) -> Finding:
    """Nothing of ours ever pushes to the code repository."""
    pushes = _asked_to_push(forge, READS, whole, clock)
    if pushes:
        remedy = (
            "protect its branches: GitLab lets whoever may set a status push to those that are not"
            if isinstance(forge, GitLabForgeSettings)
            else "use a GitHub App, or a fine-grained token with Contents: read and Commit statuses: write"
        )
        return Finding(f"{check}: git", Status.WARN, "more than needed: it may push to the code repository", remedy)
    return Finding(f"{check}: git", Status.OK, f"{forge.git_url}: it may not push")


def _asked_to_push(forge: HttpForgeSettings, permissions: Mapping[str, str], whole: Settings, clock: Clock) -> bool:
    token = _token(forge, permissions, clock)
    try:
        source = remote(forge.git_url, token=token.token, ca_file=forge.ca_file)
        timeout_s = float(whole.request_timeout_s) * CALL_TIMEOUT_FACTOR
        return may_push(source, whole.state_dir, timeout_s=timeout_s)
    finally:
        if isinstance(token, GitHubAppToken):
            token.close()
