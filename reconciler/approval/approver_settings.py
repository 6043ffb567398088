"""`approver.yaml`: what an approver's own machine needs, and nothing of the daemon's configuration.

Strict like that one: one file, no environment, every problem at once with its path and line, secrets as paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field

from reconciler.machine_file import MachineFile
from reconciler.settings.model import KeyAuthoritySettings, RegistrySettings
from reconciler.settings.types import AbsolutePath, ForgeId, ForgeUrl, Section
from state.approval import principal_name
from state.errors import ConfigError
from state.oci import Repository


class ServerSettings(Section):
    """The reconciler's public listener."""

    url: ForgeUrl
    """Such as https://ameide.example.org."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for it; null for the built-in list."""


class CodeRepositorySettings(Section):
    """The code repository that pull requests are of."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Its name in the reconciler's configuration."""
    id: ForgeId
    """Its numeric id at the forge: what an approval is bound to."""


class IdentityAuthoritySettings(Section):
    """The reconciler signs release sets by certificate."""

    kind: Literal["sigstore"]
    trusted_root_file: AbsolutePath
    """The deployment's trusted root (JSON). It is pinned: nothing is fetched, no cache is read."""
    issuer: str = Field(pattern=r"^https?://[!-~]{1,500}$")
    """OIDC issuer of the reconciler's certificate."""
    identity: str = Field(min_length=1, max_length=1000)
    """Subject alternative name of it, exactly."""
    transparency_log: bool = True
    """False where bundles carry no log entry."""


class ReleaseSetsSettings(Section):
    """Whose release sets are believed."""

    repository: Annotated[str, AfterValidator(Repository)]
    """Image repository that they are published in; its host is one of `registries`."""
    authority: Annotated[KeyAuthoritySettings | IdentityAuthoritySettings, Field(discriminator="kind")]
    """The reconciler's own signer."""


class SshMarkerSettings(Section):
    """An OpenSSH key file without a password, used in this process."""

    kind: Literal["ssh"]
    key_file: AbsolutePath
    """Private key (ed25519, mode 0600)."""


class SshKeygenMarkerSettings(Section):
    """An OpenSSH key with a password or in an agent, used by `ssh-keygen`, which asks for what it needs."""

    kind: Literal["ssh-keygen"]
    key_file: AbsolutePath
    """Private key, or the public key of one that the agent has (ed25519)."""


class KeyMarkerSettings(Section):
    """An encrypted key file, as `evidence.signer` has it."""

    kind: Literal["key"]
    key_file: AbsolutePath
    """PEM file with an encrypted ECDSA P-256 private key (PKCS #8)."""
    password_file: AbsolutePath
    """File whose first line is its password."""


class SigstoreMarkerSettings(Section):
    """A short-lived certificate of a Sigstore deployment."""

    kind: Literal["sigstore"]
    trust_config_file: AbsolutePath
    """The deployment's client trust configuration (JSON)."""
    token_file: AbsolutePath | None = None
    """File with an OIDC token for the audience sigstore; null for the ambient token of GitHub Actions and other CI."""


class PostHttpSettings(Section):
    """To the reconciler, by HTTP."""

    kind: Literal["http"]
    token_file: AbsolutePath
    """File with the carrier's OIDC token; each token is good for one marker."""


class PostDirectorySettings(Section):
    """As a file."""

    kind: Literal["directory"]
    path: AbsolutePath
    """A directory that the reconciler reads, or a checkout's `markers/` that somebody commits and pushes."""


class PostNoneSettings(Section):
    """Not at all: each command needs --out."""

    kind: Literal["none"]


SignerChoice: TypeAlias = Annotated[
    SshMarkerSettings | SshKeygenMarkerSettings | KeyMarkerSettings | SigstoreMarkerSettings,
    Field(discriminator="kind"),
]
PostChoice: TypeAlias = Annotated[
    PostHttpSettings | PostDirectorySettings | PostNoneSettings, Field(discriminator="kind")
]


class ApproverSettings(Section):
    """The whole file."""

    version: Literal[1]
    server: ServerSettings
    repository: CodeRepositorySettings
    registries: tuple[RegistrySettings, ...] = Field(min_length=1, max_length=20)
    """The registry of the release sets, and how to read it."""
    release_sets: ReleaseSetsSettings
    principal: Annotated[str, AfterValidator(principal_name)]
    """Who signs, by the name in the approvers' policy."""
    policy_file: AbsolutePath | None = None
    """A copy of the approvers' policy: what the server says of it is then checked, and `approval admit` needs it."""
    signer: SignerChoice
    post: PostChoice


class LoadedApprover(NamedTuple):
    """A valid file."""

    settings: ApproverSettings
    path: Path


def load_approver(path: Path, environ: Mapping[str, str] | None = None) -> LoadedApprover:
    """Read and check the file. Raises ConfigError with every problem found."""
    file = MachineFile.open(path, environ)
    settings = file.model(ApproverSettings, (), file.value, {})
    if settings is not None:
        repository = Repository(settings.release_sets.repository)
        file.check_hosts(settings.registries, repository, ("release_sets", "repository"))
    file.finish()
    if settings is None:
        raise ConfigError(f"{path}: refused")
    return LoadedApprover(settings, path)
