"""Settings → the adapters of one code repository's forge, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters import forge_gitea, forge_gitlab
from reconciler.adapters.forge_access import GitHubAppToken, TokenFile
from reconciler.adapters.forge_client import ForgeClient, Token
from reconciler.adapters.forge_gitea import GiteaChanges, GiteaForge, GiteaStatuses
from reconciler.adapters.forge_github import HEADERS, GitHubForge
from reconciler.adapters.forge_github_status import CheckRuns, CommitStatuses
from reconciler.adapters.forge_github_writer import GitHubChanges
from reconciler.adapters.forge_gitlab import GitLabForge, GitLabProject
from reconciler.adapters.forge_gitlab_status import GitLabStatusReporter
from reconciler.adapters.forge_gitlab_writer import GitLabChanges
from reconciler.adapters.forge_identity import ForgeRepository, OwnedRepository
from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.forge_local_writer import LocalLabels
from reconciler.adapters.git_pygit2 import Mirror
from reconciler.adapters.git_refs import RemoteRefs
from reconciler.adapters.git_remote import remote
from reconciler.adapters.status_local import LocalStatusReporter
from reconciler.ports import Clock, ForgeReader, LabelWriter, Metrics, Random, RepositoryIdentity, StatusReporter
from reconciler.settings.forge import (
    GiteaForgeSettings,
    GitHubAppSettings,
    GitHubForgeSettings,
    GitLabForgeSettings,
    HttpForgeSettings,
    LocalForgeSettings,
)
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RepositorySettings, Settings
from state.observed import Mode

_HEADERS: Final = {"github": HEADERS, "gitea": forge_gitea.HEADERS, "gitlab": forge_gitlab.HEADERS}
READS: Final[Mapping[str, str]] = {"metadata": "read", "contents": "read", "pull_requests": "read"}
"""What a GitHub App's installation has to grant to look."""
WRITES: Final[Mapping[str, str]] = {"checks": "write"}
"""And to show a status on each head."""
LABELS: Final[Mapping[str, str]] = {"pull_requests": "write"}
"""And to set the preview label."""
PROPOSES: Final[Mapping[str, str]] = {"metadata": "read", "contents": "write", "pull_requests": "write"}
"""What it has to grant at a GitOps repository: to push branches and open pull requests."""


@dataclass(frozen=True, slots=True)
class CodeForge:
    """What a forge is asked, and where its git is. Close nothing of it: `opened` does."""

    reader: ForgeReader
    identity: RepositoryIdentity
    """As it was when the forge was opened."""
    mirror: Callable[[], Mirror]
    """A mirror of its git below `state_dir`; the caller closes it."""
    status: Callable[[], StatusReporter]
    """Shows statuses; called once, by the one writer of this repository's log, under the log's lock."""
    labels: Callable[[], LabelWriter]
    """Sets the preview label; called by the same one writer."""
    client: ForgeClient | None = None
    """The HTTP client of a forge that is reached by one."""


@contextmanager
def opened(
    settings: Settings, repository: RepositorySettings, *, clock: Clock, random: Random, metrics: Metrics
) -> Iterator[CodeForge]:
    """Ask the forge who the repository is, and keep its clients open for the block.

    Raises ConfigError for a credential that cannot be used, Terminal if there is no such repository or another one has
    its name, Denied or Transient if the forge does not answer.
    """
    timeout_s = float(settings.request_timeout_s) * CALL_TIMEOUT_FACTOR
    mirrors, forge = settings.state_dir / "mirrors", repository.forge

    def mirror_of(identity: RepositoryIdentity, token: Callable[[], str] | None, ca_file: Path | None) -> Mirror:
        return Mirror(
            mirrors / str(identity.id),
            remote(forge.git_url, token=token, ca_file=ca_file),
            catalogue_path=repository.catalogue,
            timeout_s=timeout_s,
        )

    with ExitStack() as stack:
        if isinstance(forge, LocalForgeSettings):
            reader = LocalForge(forge.path)
            identity = reader.repository()
            yield CodeForge(
                reader,
                identity,
                mirror=lambda: mirror_of(identity, None, None),
                status=lambda: _recovered(LocalStatusReporter(forge.path)),
                labels=lambda: LocalLabels(forge.path),
            )
            return
        at = stack.enter_context(
            reached(
                settings,
                forge,
                repository.name,
                granted_for(repository, settings.mode),
                clock=clock,
                random=random,
                metrics=metrics,
            )
        )
        seen = at.identity
        source = remote(forge.git_url, token=at.token.token, ca_file=forge.ca_file)
        refs = RemoteRefs(source, settings.state_dir / "git" / str(seen.id), timeout_s=timeout_s)
        asked, status, labels = _adapters(forge, at.named, refs)
        yield CodeForge(
            asked,
            seen,
            mirror=lambda: mirror_of(seen, at.token.token, forge.ca_file),
            status=status,
            labels=labels,
            client=at.client,
        )


class Reached(NamedTuple):
    """A repository at a forge that is reached by HTTP, and what reaches it."""

    client: ForgeClient
    named: ForgeRepository
    identity: RepositoryIdentity
    """As it was when the forge was opened."""
    token: Token | GitHubAppToken


@contextmanager
def reached(
    settings: Settings,
    forge: HttpForgeSettings,
    name: str,
    permissions: Mapping[str, str],
    *,
    clock: Clock,
    random: Random,
    metrics: Metrics,
) -> Iterator[Reached]:
    """Ask a forge who the repository is, with a client that is open for the block; errors as `opened`.

    Args:
        name: for messages and metrics.
        permissions: what is asked for where the credential is a GitHub App.
    """
    read_s = float(settings.request_timeout_s)
    limits = ForgeLimits(read_timeout_s=read_s, call_timeout_s=read_s * CALL_TIMEOUT_FACTOR)
    with ExitStack() as stack:
        token: Token | GitHubAppToken
        if isinstance(forge, GitHubForgeSettings):
            token = token_of(forge, permissions, clock=clock, limits=limits)
        else:
            token = TokenFile(forge.token_file)
        if isinstance(token, GitHubAppToken):
            stack.callback(token.close)
        client = ForgeClient(
            forge.api_root,
            token,
            name=name,
            headers=_HEADERS[forge.kind],
            clock=clock,
            random=random,
            metrics=metrics,
            limits=limits,
            ca_file=None if forge.ca_file is None else str(forge.ca_file),
        )
        stack.callback(client.close)
        kind = GitLabProject if isinstance(forge, GitLabForgeSettings) else OwnedRepository
        named: ForgeRepository = kind(client, forge.repository, forge.repository_id)
        yield Reached(client, named, named.look(), token)


def _adapters(
    forge: HttpForgeSettings, named: ForgeRepository, refs: RemoteRefs
) -> tuple[ForgeReader, Callable[[], StatusReporter], Callable[[], LabelWriter]]:
    if isinstance(forge, GitLabForgeSettings):
        return GitLabForge(named, refs), lambda: GitLabStatusReporter(named), lambda: GitLabChanges(named)
    if isinstance(forge, GiteaForgeSettings):
        return GiteaForge(named, refs), lambda: GiteaStatuses(named), lambda: GiteaChanges(named)
    app = forge.app
    status = (lambda: CommitStatuses(named)) if app is None else (lambda: CheckRuns(named, app.app_id))
    return GitHubForge(named, refs), status, lambda: GitHubChanges(named)


def granted_for(settings: RepositorySettings, mode: Mode) -> Mapping[str, str]:
    """The permissions of a GitHub App that this repository needs in `mode`: one that only looks cannot write."""
    if mode is Mode.OBSERVE:
        return READS
    labels = settings.preview is not None and settings.preview.label is not None
    return {**READS, **WRITES, **(LABELS if labels else {})}


def token_of(
    forge: GitHubForgeSettings, permissions: Mapping[str, str], *, clock: Clock, limits: ForgeLimits | None = None
) -> Token | GitHubAppToken:
    """The credential, asking for no more than these permissions where it is an App."""
    if isinstance(forge.access, Path):
        return TokenFile(forge.access)
    return app_token(forge, forge.access, permissions, clock=clock, limits=limits)


def app_token(
    forge: GitHubForgeSettings,
    app: GitHubAppSettings,
    permissions: Mapping[str, str],
    *,
    clock: Clock,
    limits: ForgeLimits | None = None,
) -> GitHubAppToken:
    """Tokens of the App's installation for this one repository; the caller closes it."""
    return GitHubAppToken(
        forge.api_root,
        app.app_id,
        app.installation_id,
        app.private_key_file,
        repository_name=forge.repository.partition("/")[2],
        permissions=permissions,
        clock=clock,
        limits=limits,
        ca_file=None if forge.ca_file is None else str(forge.ca_file),
    )


def _recovered(status: LocalStatusReporter) -> LocalStatusReporter:
    status.recover()  # under the log's lock, so no other process of this log reports now
    return status
