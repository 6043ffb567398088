"""Forges in the config file: one section for each kind, told apart by `kind`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from reconciler.settings.types import AbsolutePath, ForgeId, ForgeUrl, Section


class LocalForgeSettings(Section):
    """A forge made of bare repositories on this machine."""

    kind: Literal["local"]
    """Kind of forge."""
    path: AbsolutePath
    """The bare code repository; its pull requests are refs in it."""

    @property
    def git_url(self) -> str:
        """Where git fetches from; no two repositories share it."""
        return str(self.path)

    def pull_request_url(self, number: int) -> str | None:
        """Where a person sees a pull request: nowhere but on this machine."""
        del number
        return None


class GitHubAppSettings(Section):
    """A GitHub App: its tokens last an hour and can do no more than the reconciler asks for."""

    app_id: ForgeId
    """The App's id, as its settings page shows it."""
    installation_id: ForgeId
    """The id of its installation in the organisation; the last part of the installation page's address."""
    private_key_file: AbsolutePath
    """PEM file with the App's private key, as GitHub hands it out."""


class GitHubForgeSettings(Section):
    """A repository at github.com, at a GitHub Enterprise Server or at GitHub Enterprise Cloud (ghe.com)."""

    kind: Literal["github"]
    """Kind of forge."""
    url: ForgeUrl
    """Where the forge is: https://github.com, or the address of a GitHub Enterprise Server."""
    repository: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")
    """The code repository as owner/name. A rename is followed."""
    repository_id: ForgeId | None = None
    """Its numeric id: another repository that takes the name is refused from the start. Null takes the id that the
    name has when the process starts."""
    app: GitHubAppSettings | None = None
    """A GitHub App, which shows a whole text on each head. Exactly one of this and `token_file` is set."""
    token_file: AbsolutePath | None = None
    """File with a token on one line, read anew when it changes. A status then shows one line."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for this forge; null for the built-in list."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.app is None) == (self.token_file is None):
            raise ValueError("expected exactly one of app and token_file")
        return self

    @property
    def access(self) -> GitHubAppSettings | Path:
        """The App, or the file with the token: the one that is set."""
        chosen = self.app or self.token_file
        if chosen is None:
            raise ValueError("expected exactly one of app and token_file")
        return chosen

    @property
    def api_root(self) -> str:
        """Root of the REST API. Source: docs.github.com, REST API of GitHub.com, ghe.com and Enterprise Server."""
        scheme, _, host = self.url.rstrip("/").partition("://")
        if host == "github.com" or host.endswith(".ghe.com"):
            return f"{scheme}://api.{host}"
        return f"{scheme}://{host}/api/v3"

    @property
    def git_url(self) -> str:
        """Where git fetches from; no two repositories share it."""
        return f"{self.url.rstrip('/')}/{self.repository}.git"

    def pull_request_url(self, number: int) -> str | None:
        """Where a person sees a pull request."""
        return f"{self.url.rstrip('/')}/{self.repository}/pull/{number}"


class GiteaForgeSettings(Section):
    """A repository at a Gitea or Forgejo."""

    kind: Literal["gitea"]
    """Kind of forge; a Forgejo is one too."""
    url: ForgeUrl
    """Where the forge is, such as https://git.example.org."""
    repository: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")
    """The code repository as owner/name. A rename is followed."""
    repository_id: ForgeId | None = None
    """Its numeric id: another repository that takes the name is refused from the start. Null takes the id that the
    name has when the process starts."""
    token_file: AbsolutePath
    """File with a token of a bot user on one line, read anew when it changes."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for this forge; null for the built-in list."""

    @property
    def api_root(self) -> str:
        """Root of the REST API."""
        return f"{self.url.rstrip('/')}/api/v1"

    @property
    def git_url(self) -> str:
        """Where git fetches from; no two repositories share it."""
        return f"{self.url.rstrip('/')}/{self.repository}.git"

    def pull_request_url(self, number: int) -> str | None:
        """Where a person sees a pull request."""
        return f"{self.url.rstrip('/')}/{self.repository}/pulls/{number}"


class GitLabForgeSettings(Section):
    """A project at gitlab.com or at a GitLab of one's own."""

    kind: Literal["gitlab"]
    """Kind of forge."""
    url: ForgeUrl
    """Where the forge is, such as https://gitlab.com."""
    repository: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}){1,20}$")
    """The project's full path: group, subgroups, project. A rename is followed."""
    repository_id: ForgeId | None = None
    """Its numeric id: another project that takes the path is refused from the start. Null takes the id that the path
    has when the process starts."""
    token_file: AbsolutePath
    """File with a project, group or bot user's access token on one line, read anew when it changes."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for this forge; null for the built-in list."""

    @property
    def api_root(self) -> str:
        """Root of the REST API."""
        return f"{self.url.rstrip('/')}/api/v4"

    @property
    def git_url(self) -> str:
        """Where git fetches from; no two repositories share it."""
        return f"{self.url.rstrip('/')}/{self.repository}.git"

    def pull_request_url(self, number: int) -> str | None:
        """Where a person sees a pull request."""
        return f"{self.url.rstrip('/')}/{self.repository}/-/merge_requests/{number}"


HttpForgeSettings: TypeAlias = GitHubForgeSettings | GiteaForgeSettings | GitLabForgeSettings
ForgeSettings: TypeAlias = Annotated[
    LocalForgeSettings | GitHubForgeSettings | GiteaForgeSettings | GitLabForgeSettings, Field(discriminator="kind")
]
