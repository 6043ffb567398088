"""Settings → the adapters of a GitOps repository, at whichever forge it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from reconciler.adapters.forge_gitea import GiteaChanges
from reconciler.adapters.forge_github_writer import GitHubChanges
from reconciler.adapters.forge_gitlab_writer import GitLabChanges
from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.forge_local_writer import LocalForgeWriter
from reconciler.adapters.git_remote import Remote, remote
from reconciler.code_forge import PROPOSES, reached
from reconciler.ports import Clock, ForgeWriter, Metrics, Random, RepositoryIdentity
from reconciler.settings.forge import ForgeSettings, GiteaForgeSettings, GitLabForgeSettings, LocalForgeSettings
from reconciler.settings.model import GitOpsSettings, Settings


class GitOpsForge(NamedTuple):
    """Where pull requests are opened, and where its branches are pushed to."""

    identity: RepositoryIdentity
    changes: ForgeWriter
    remote: Remote


def inventory_source(gitops: GitOpsSettings) -> Remote:
    """Where the inventory is read from."""
    return remote(gitops.url, credential_file=gitops.credential_file, known_hosts_file=gitops.known_hosts_file)


@contextmanager
def opened_gitops(
    settings: Settings, forge: ForgeSettings, name: str, *, clock: Clock, random: Random, metrics: Metrics
) -> Iterator[GitOpsForge]:
    """Ask the forge who the GitOps repository is, and keep its client open for the block; errors as `opened`.

    Args:
        name: what it is for, in messages and metrics, such as `target dev`.
    """
    if isinstance(forge, LocalForgeSettings):
        yield GitOpsForge(LocalForge(forge.path).repository(), LocalForgeWriter(forge.path), remote(forge.git_url))
        return
    with reached(settings, forge, name, PROPOSES, clock=clock, random=random, metrics=metrics) as at:
        source = remote(forge.git_url, token=at.token.token, ca_file=forge.ca_file)
        changes: ForgeWriter
        if isinstance(forge, GitLabForgeSettings):
            changes = GitLabChanges(at.named)
        elif isinstance(forge, GiteaForgeSettings):
            changes = GiteaChanges(at.named)
        else:
            changes = GitHubChanges(at.named)
        yield GitOpsForge(at.identity, changes, source)
