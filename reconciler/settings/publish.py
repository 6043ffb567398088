"""Publishing in the config file: where approved digests are proposed to, and how approvals arrive."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from reconciler.settings.forge import ForgeSettings
from reconciler.settings.types import AbsolutePath, BranchName, FullRef, GitUrl, Section, known_hosts_fit
from state.pin_plan import target_name

TargetName = Annotated[str, AfterValidator(target_name)]


class TargetSettings(Section):
    """A place that approved digests are proposed to: a branch of a GitOps repository, and an environment in it."""

    name: TargetName
    """Name of the target; approvals, branches of GitOps pull requests and the approvers' policy use it."""
    environment: TargetName
    """Environment whose pins of the inventory are edited, such as dev."""
    base: BranchName
    """Branch of the GitOps repository that its pull requests are for, such as main."""
    forge: ForgeSettings
    """The GitOps repository at its forge, with the credential that pushes branches and opens pull requests there."""
    commit_key_file: AbsolutePath
    """OpenSSH private key (ed25519, mode 0600) that signs the commits; a key of its own, not the log's."""
    after: TargetName | None = None
    """For a promotion: the target before it. Only what that one's environment runs is copied, digest by digest. Null
    for a target that is published to from a release set."""


class MarkersBranchSettings(Section):
    """A branch of a git repository in which approvers put markers, as files `markers/<name>.json`."""

    url: GitUrl
    """Where it is: an absolute path, https://host/path, ssh://host/path or user@host:path."""
    ref: FullRef
    """The ref that is read, in full."""
    credential_file: AbsolutePath | None = None
    """File with the credential for `url`; null where it needs none."""
    known_hosts_file: AbsolutePath | None = None
    """File with the host keys that count; required for ssh, null for everything else."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known_hosts_fit(self.url, self.credential_file, self.known_hosts_file)
        return self


class CarrierSettings(Section):
    """Who may post markers over HTTP. The token tells who carries a marker, never who approved."""

    issuer: str = Field(pattern=r"^https?://[^\s?#]{1,500}$")
    """OIDC issuer of the carrier's token, such as https://token.actions.githubusercontent.com."""
    audience: str = Field(min_length=1, max_length=500)
    """Audience that the token has to be made for."""
    claims: dict[str, str] = Field(min_length=1, max_length=20)
    """Claims that the token has to carry, each with its exact value, such as repository_id."""
    keys_file: AbsolutePath | None = None
    """File with the issuer's public keys (JWKS); null asks the issuer for them."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for the issuer; null for the built-in list."""


class CertificatesSettings(Section):
    """A Sigstore deployment whose certificates may sign markers."""

    trusted_root_file: AbsolutePath
    """The deployment's trusted root (JSON). It is pinned: nothing is fetched, no cache is read."""
    transparency_log: bool = True
    """False where bundles carry no log entry; then each needs a timestamp of an authority in the trusted root."""


class ApprovalsSettings(Section):
    """Whose approvals count, and the ways by which signed markers arrive. A way is only transport."""

    approvers_file: AbsolutePath
    """The approvers' policy: principals with their keys, and who may approve what (docs/approvals.md)."""
    certificates: CertificatesSettings | None = None
    """For principals that sign without a key of their own; null where all of them have keys."""
    http: CarrierSettings | None = None
    """Markers posted to `/v1/markers` on `listen.public`; null for no such endpoint."""
    branch: MarkersBranchSettings | None = None
    """Markers in a git repository; null for none."""
    directory: AbsolutePath | None = None
    """Directory in which markers are dropped as files; null for none."""

    @field_validator("directory", mode="after")
    @classmethod
    def _not_root(cls, path: AbsolutePath | None) -> AbsolutePath | None:
        if path is not None and len(path.parts) < 2:
            raise ValueError("expected a directory of its own")
        return path

    @model_validator(mode="after")
    def _some_way(self) -> Self:
        if self.http is None and self.branch is None and self.directory is None:
            raise ValueError("expected http, branch or directory: a marker has to arrive somehow")
        return self
