"""What `ameide doctor` tests of a forge: who answers, what it lists, and whether the credential may do what it must
and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from reconciler.adapters.forge_access import GitHubAppToken, TokenFile
from reconciler.adapters.forge_client import ForgeClient, Token
from reconciler.adapters.forge_github import HEADERS
from reconciler.adapters.forge_limits import ForgeLimits
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
from reconciler.doctor import branch_rules
from reconciler.doctor import gitea as doctor_gitea
from reconciler.doctor import github as doctor_github
from reconciler.doctor import gitlab as doctor_gitlab
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.settings.forge import (
    GitHubAppSettings,
    GitHubForgeSettings,
    GitLabForgeSettings,
    HttpForgeSettings,
    LocalForgeSettings,
)
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RepositorySettings, Settings
from reconciler.token_use import TokenUse
from state.errors import ReconcilerError, Terminal
from state.git import RefName
from state.observed import Mode

_TOKENS: Final[Mapping[str, Callable[[str, ForgeClient, str, TokenUse], list[Finding]]]] = {
    "github": doctor_github.token,
    "gitea": doctor_gitea.token,
    "gitlab": doctor_gitlab.token,
}
_REMEDIES: Final = {
    "github": "give the token's user the role Write on this repository",
    "gitea": "give the token's user the role Write on this repository",
    "gitlab": "check that the token is still valid and that its user is a member of the project",
}


LOOK: Final = (
    "look it up where it was made, at {}: it should reach this one repository, push there and do nothing else, and "
    "log/*/* should be protected from force pushes and deletion"
)


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


def permissions(repository: RepositorySettings, whole: Settings, clock: Clock, random: Random) -> Iterator[Finding]:
    """What the code credential may do, against what the mode needs: missing is a failure, excess a warning."""
    settings = repository.forge
    if isinstance(settings, LocalForgeSettings):
        return
    check = f"{repository.name}: forge permissions"
    if isinstance(settings, GitHubForgeSettings) and settings.app is not None:
        yield from app_permissions(repository, whole, clock, random)
    else:
        writes = whole.mode is not Mode.OBSERVE
        labels = writes and repository.preview is not None and repository.preview.label is not None
        yield from _token_may(check, settings, TokenUse(writes, labels=labels), clock, random)
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
        yield from _token_may(check, forge, TokenUse(writes=True, proposes=True), clock, random)
    remedy = "check that git reaches the same host as the API, with the same credential"
    yield attempt(f"{check}: git", lambda: _may_push(check, forge, whole, clock), remedy)


def pushing(
    check: str, forge: HttpForgeSettings, token: Token, branches: Sequence[RefName], *, clock: Clock, random: Random
) -> Iterator[Finding]:
    """What a token may do that only pushes to these branches, and what the forge's rules for them are.

    A forge that does not tell it to this token is a warning: that git takes its pushes is asked elsewhere.
    """
    try:
        with _client(forge, token, clock, random) as client:
            yield from _TOKENS[forge.kind](check, client, forge.repository, TokenUse(writes=True, pushes=True))
            rules = {branch: branch_rules.ASKED[forge.kind](client, forge.repository, branch) for branch in branches}
            yield from branch_rules.judged(f"{check}: branches", forge.kind, rules)
    except ReconcilerError as error:
        yield Finding(f"{check}: not told", Status.WARN, f"not known what it may do: {error}", LOOK.format(forge.url))


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

    def ask() -> Finding:
        with (
            closing(app_token(forge, app, READS, clock=clock)) as token,
            _client(forge, _AppJwt(token), clock, random) as client,
        ):
            return doctor_github.installation(check, client, app, needed, {**READS, **WRITES})

    return attempt(check, ask, remedy)


def _token_may(check: str, forge: HttpForgeSettings, use: TokenUse, clock: Clock, random: Random) -> Iterator[Finding]:
    try:
        permissions = PROPOSES if use.proposes else READS
        with _client(forge, _token(forge, permissions, clock), clock, random) as client:
            yield from _TOKENS[forge.kind](check, client, forge.repository, use)
    except ReconcilerError as error:
        yield Finding(check, Status.FAIL, str(error), _REMEDIES[forge.kind])


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
        limits=ForgeLimits(write_spacing_s=0),  # what is asked for is refused: nothing is written
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
