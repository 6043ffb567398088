"""The model of the one config file (design §3 and invariant 11).

Every setting is below or in the sections that are imported: its name carries its unit, its docstring is what
`ameide config explain` and docs/configuration.md say. Whatever names something outside this process is required; the
rest has a built-in constant.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from reconciler.settings.forge import ForgeSettings
from reconciler.settings.janitor import JanitorSettings, TagGcSettings
from reconciler.settings.lane import LaneSettings
from reconciler.settings.log import LogSettings
from reconciler.settings.publish import ApprovalsSettings, TargetSettings
from reconciler.settings.standby import StandbySettings
from reconciler.settings.telling import NotificationsSettings, TracingSettings
from reconciler.settings.types import (
    AbsolutePath,
    Address,
    BranchName,
    ForgeId,
    FullRef,
    GitUrl,
    InsidePath,
    Label,
    Network,
    RegistryHost,
    Section,
    is_loopback,
    known_hosts_fit,
)
from reconciler.webhooks.signatures import Sender
from state.observed import BaselinePolicy, Mode
from state.oci import Repository
from state.verdict import Level

CALL_TIMEOUT_FACTOR: Final = 4
"""One call with all its tries, or one fetch, may take so many times `request_timeout_s`."""


class IdentityProxySettings(Section):
    """A proxy that signs people in before they read the status page, such as oauth2-proxy."""

    user_header: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    """Header in which it says who asks, such as X-Auth-Request-Email. It has to take this header out of what clients
    send."""
    addresses: tuple[Network, ...] = Field(min_length=1, max_length=50)
    """Addresses or networks that it connects from, such as 10.2.3.4 or 10.2.3.0/24; requests for pages from any other
    are refused. Health, readiness and metrics are not concerned."""


class ListenSettings(Section):
    """Where the HTTP host listens."""

    private: Address | None = "127.0.0.1:8080"
    """Address of the status page, health, readiness and metrics; null turns it off. In Kubernetes: 0.0.0.0:8080, since
    probes come from outside the pod."""
    public: Address | None = None
    """Address that the outside may reach; null turns it off. Never serves what the private one serves."""
    identity_proxy: IdentityProxySettings | None = None
    """Who signs people in that read the status page; null lets everybody read it who reaches the private address."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.identity_proxy is not None and self.private is None:
            raise ValueError("identity_proxy is for the status page: set private, or drop it")
        if self.private is not None and self.private == self.public and not self.private.endswith(":0"):
            raise ValueError(f"private and public are the same address {self.private}; give each its own port")
        return self


class RegistrySettings(Section):
    """One OCI registry host and how to talk to it."""

    host: RegistryHost
    """Host and port as image references name it, such as ghcr.io."""
    credential_file: AbsolutePath | None = None
    """File with the credential for this host. Exactly one of this and `anonymous` is set."""
    anonymous: bool = False
    """True to use no credential at all."""
    plain_http: bool = False
    """True for HTTP without TLS; only for a loopback host."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for this host; null for the built-in list."""
    max_writes_per_s: int = Field(default=10, ge=1, le=1000)
    """Manifest writes per second to this host, at most."""
    settle_s: int = Field(default=60, ge=0, le=3600)
    """Seconds that a read may lag behind our own write before the lag counts as a conflict."""
    scratch_repository: str | None = Field(default=None, max_length=255)
    """Image repository of this host that nobody needs, such as ghcr.io/acme/scratch: `ameide tags gc` measures there,
    in each run, whether a tag can be removed without the others of its digest. Null: no tag of this host is removed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.anonymous == (self.credential_file is not None):
            raise ValueError("expected exactly one of credential_file and anonymous: true")
        if self.plain_http and not is_loopback(self.host):
            raise ValueError(f"plain_http is only for a loopback host, and {self.host} is not one; use TLS and ca_file")
        if self.plain_http and self.ca_file is not None:
            raise ValueError("ca_file has no meaning with plain_http: true; take one of them out")
        if self.scratch_repository is not None and Repository(self.scratch_repository).host != self.host:
            raise ValueError(f"scratch_repository is on another host than {self.host}; it measures this one")
        return self


class GitOpsSettings(Section):
    """The GitOps repository, which says what is previewed."""

    url: GitUrl
    """Where it is: an absolute path, https://host/path, ssh://host/path or user@host:path."""
    ref: FullRef
    """The trusted ref, in full: only what is on it counts."""
    inventory: InsidePath
    """Path of the inventory file in it."""
    credential_file: AbsolutePath | None = None
    """File with the credential for `url`: a token or password, for ssh a private key; null where it needs none, as a
    local path does."""
    known_hosts_file: AbsolutePath | None = None
    """File with the host keys that count, as `ssh-keyscan` writes it; required for ssh, null for everything else."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known_hosts_fit(self.url, self.credential_file, self.known_hosts_file)
        return self


class AdmissionSettings(Section):
    """Which pull requests count."""

    base_branches: tuple[BranchName, ...] = Field(min_length=1, max_length=100)
    """Short names of the branches whose pull requests are previewed."""
    hold_label: str | None = Field(default=None, min_length=1, max_length=100)
    """A pull request with this label is left alone; null for no such label."""
    labels: tuple[Label, ...] = Field(default=(), max_length=20)
    """Labels that a pull request needs, all of them, such as preview; an empty list asks for none. A label says what
    somebody wants; it is never an approval."""
    drafts: bool = True
    """False to hold drafts until they are ready for review."""
    members: tuple[ForgeId, ...] | None = Field(default=None, max_length=10_000)
    """Numeric forge ids of the people whose pull requests count; null for everybody who can push a branch to the
    repository itself. Others are held, unless `agents` names them or an approver admits the head."""
    agents: tuple[ForgeId, ...] = Field(default=(), max_length=10_000)
    """Numeric forge ids of bots and agents: their pull requests are previewed, and they can never approve."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for name in ("base_branches", "labels", "members", "agents"):
            counted = Counter(getattr(self, name) or ())
            if twice := sorted(value for value, times in counted.items() if times > 1):
                raise ValueError(f"{name} names {', '.join(map(str, twice[:20]))} more than once")
        if self.hold_label in self.labels:
            raise ValueError("hold_label is one of labels too, so that every pull request would be held; take one out")
        if both := sorted(set(self.members or ()).intersection(self.agents)):
            named = ", ".join(map(str, both[:20]))
            raise ValueError(f"members and agents both name {named}; an id is of a person or of an agent")
        return self


class KeyAuthoritySettings(Section):
    """Evidence is signed by keys that are listed here: for air-gapped use, or keys in a KMS."""

    kind: Literal["keys"]
    """Kind of authority."""
    public_key_files: tuple[AbsolutePath, ...] = Field(min_length=1, max_length=20)
    """PEM files with one public key each: ECDSA P-256, P-384, Ed25519, or RSA of 2048 bits and more."""


class SigstoreAuthoritySettings(Section):
    """Evidence is signed by certificates of a Sigstore deployment, public or private."""

    kind: Literal["sigstore"]
    """Kind of authority."""
    trusted_root_file: AbsolutePath
    """The deployment's trusted root (JSON). It is pinned: nothing is fetched, no cache is read."""
    issuer: str = Field(pattern=r"^https?://[^\s]{1,500}$")
    """OIDC issuer of the signer, such as https://token.actions.githubusercontent.com."""
    workflow: str = Field(pattern=r"^https?://[^\s@]{1,500}$")
    """URL of the workflow that signs, without @ref, such as
    https://github.com/org/shop/.github/workflows/publish.yml."""
    transparency_log: bool = True
    """False where bundles carry no log entry, as GitHub's for private repositories: then each needs a timestamp of an
    authority in the trusted root."""


AuthoritySettings: TypeAlias = Annotated[KeyAuthoritySettings | SigstoreAuthoritySettings, Field(discriminator="kind")]


class VerificationSettings(Section):
    """How much proof counts. Written out on purpose: there is no default."""

    baseline: Level
    """Level for the digests that unchanged images are retagged from: provenance, signature or none."""
    pull_request: Level
    """Level for the images that CI builds for a head: provenance, signature or none."""
    authority: AuthoritySettings | None = None
    """Who is believed: keys or a Sigstore deployment, one of them. Required unless both levels are none."""
    source_repository: str | None = Field(default=None, pattern=r"^https?://[^\s@]{1,500}$")
    """URL of the code repository as evidence names it. Required unless both levels are none."""
    source_repository_id: int | None = Field(default=None, ge=1)
    """The code repository's numeric id, which certificates of GitHub and GitLab carry; null where they do not."""
    baseline_refs: tuple[FullRef, ...] = Field(default=("refs/heads/main",), min_length=1, max_length=20)
    """Refs in full that baselines may have been built from; none under refs/pull."""
    builder: str | None = Field(default=None, min_length=1, max_length=500)
    """The `builder.id` that provenance has to name; null for any."""
    cosign_v2: bool = False
    """True to also read evidence at the tags sha256-<hex>.sig and .att, as cosign v2 wrote it."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.baseline is Level.NONE and self.pull_request is Level.NONE:
            return self
        for name in ("authority", "source_repository"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is required unless both levels are none")
        if pulled := [r for r in self.baseline_refs if r.startswith("refs/pull/")]:
            raise ValueError(f"baseline_refs: {pulled[0]} is a pull request's ref; a baseline never comes from one")
        return self


class KeySignerSettings(Section):
    """Statements of ours are signed with a key file, for air-gapped use."""

    kind: Literal["key"]
    """Kind of signer."""
    key_file: AbsolutePath
    """PEM file with an encrypted ECDSA P-256 private key (PKCS #8, or as cosign generate-key-pair writes it)."""
    password_file: AbsolutePath
    """File whose first line is the key's password."""


class SigstoreSignerSettings(Section):
    """Statements of ours are signed by short-lived certificates of a Sigstore deployment."""

    kind: Literal["sigstore"]
    """Kind of signer."""
    trust_config_file: AbsolutePath
    """The deployment's client trust configuration (JSON): trusted root and signing addresses."""
    token_file: AbsolutePath | None = None
    """File with an OIDC token, read anew before each batch (a projected service-account token); null for the ambient
    token of GitHub Actions and other CI."""


SignerSettings: TypeAlias = Annotated[KeySignerSettings | SigstoreSignerSettings, Field(discriminator="kind")]


class SyftSettings(Section):
    """The Syft program, which makes SBOMs; it gets the image's bytes, and neither network address nor credential."""

    program: AbsolutePath
    """The program itself. It is not looked for anywhere else."""
    timeout_s: int = Field(default=300, ge=1, le=3600)
    """Seconds for one platform of an image, its download included."""


class EvidenceSettings(Section):
    """What is attached to digests and published per head."""

    signer: SignerSettings
    """Who signs what the reconciler makes itself."""
    release_sets: str = Field(max_length=255)
    """Image repository in which the release set of each complete head is published, such as
    ghcr.io/org/shop-release-sets; its host is one of `registries`."""

    sbom: Literal["attached", "buildkit", "handed-over", "syft"] = "buildkit"
    """Where SBOMs come from: `attached` leaves them to CI. The others are checked, signed and attached, unless
    somebody attached one: `buildkit` takes those that BuildKit put into the index, `handed-over` the files of CI in
    `handed_over_dir`, `syft` has them made."""
    syft: SyftSettings | None = None
    """Required for `sbom: syft`, else null."""
    handed_over_dir: AbsolutePath | None = None
    """Directory in which CI hands over files about a digest, in `sha256-<hex>/`: signed bundles (`*.sigstore.json`),
    which count like any other evidence and are attached unchanged where they are missing, and SBOMs (`*.spdx.json`,
    `*.cdx.json`). Null for none. Required for `sbom: handed-over`."""

    @field_validator("release_sets")
    @classmethod
    def _repository(cls, text: str) -> str:
        return str(Repository(text))

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if (self.sbom == "syft") != (self.syft is not None):
            raise ValueError("syft is required for sbom: syft, and has no meaning for any other")
        if self.sbom == "handed-over" and self.handed_over_dir is None:
            raise ValueError("handed_over_dir is required for sbom: handed-over")
        return self


class WebhookSettings(Section):
    """Deliveries of the forge, at `POST /webhooks/<name of the repository>` on `listen.public`. They only hasten a
    look."""

    sender: Sender
    """Who delivers: github, gitea (also Forgejo) or gitlab; it decides how deliveries are signed."""
    secret_file: AbsolutePath
    """File with the webhook's secret, read anew when it changes; while it is being rotated one secret a line. For
    gitlab a signing token (whsec_…) or a secret token."""


class RefreshSettings(Section):
    """The ApplicationSet controller's webhook."""

    url: str = Field(pattern=r"^https?://[^\s@?#]{1,500}$")
    """Such as http://argocd-applicationset-controller.argocd:7000/api/webhook; not argocd-server's."""
    secret_file: AbsolutePath
    """File with its `webhook.github.secret`."""


class PreviewSettings(Section):
    """How previews learn which head is complete: by the plugin endpoint, by a label, or both."""

    token_file: AbsolutePath | None = None
    """File with the bearer token of the ApplicationSet controller, for the plugin endpoint
    `/plugins/<name of the repository>` on `listen.public`; read anew when it changes, while it is being rotated one
    token a line. Null for no such endpoint."""
    label: Label | None = None
    """Label that a pull request gets at its first complete head, such as preview-images; null for no label mode."""
    refresh: RefreshSettings | None = None
    """Who is asked to look again when the answer of the endpoint has changed; null leaves it to the generator's
    requeueAfterSeconds."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.token_file is None and self.label is None:
            raise ValueError("expected token_file, label or both; drop the section if there are no previews")
        if self.refresh is not None and self.token_file is None:
            raise ValueError("refresh is for the plugin endpoint: set token_file, or drop it")
        return self


class RepositorySettings(Section):
    """One code repository and all that belongs to it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    """Name for people, in log lines and metrics; the key is the forge's numeric id."""
    forge: ForgeSettings
    """Where its pull requests are."""
    catalogue: InsidePath
    """Path of the catalogue in the code repository, read at the base branch's commit."""
    gitops: GitOpsSettings
    """Where the previewed components are declared."""
    admission: AdmissionSettings
    """Which pull requests count."""
    baseline: BaselinePolicy = BaselinePolicy.MAIN
    """Which digest an unchanged image gets: `main` is what `:main` is now, `faithful` the newest main build from the
    same inputs as the head's."""
    verification: VerificationSettings
    """How much proof counts."""
    evidence: EvidenceSettings | None = None
    """What is attached and published; null attaches nothing and publishes no release sets."""
    suspend: bool = False
    """True to look but write nothing for this repository."""
    max_heads: int = Field(default=1000, ge=1, le=10_000)
    """Heads that are cared for at once; the rest is held, lowest pull request number first."""
    max_writes_per_hour: int = Field(default=2000, ge=1, le=1_000_000)
    """Tag writes per hour, at most."""
    webhook: WebhookSettings | None = None
    """Deliveries that hasten a look; null for polling alone."""
    preview: PreviewSettings | None = None
    """How previews learn which head is complete; null tells them nothing."""
    approvals: ApprovalsSettings | None = None
    """Whose approvals count and how they arrive; null where nothing is approved. Required for `targets`."""
    targets: tuple[TargetSettings, ...] = Field(default=(), max_length=20)
    """Where approved digests are proposed to; used in mode `publish`."""
    lane: LaneSettings | None = None
    """The preview lane of Argo CD as files; null for none."""
    janitor: JanitorSettings | None = None
    """Who deletes preview namespaces that nothing refers to; null for nobody. Required for `lane`'s own janitor."""
    tag_gc: TagGcSettings | None = None
    """How `ameide tags gc` removes tags of closed pull requests; null for not at all."""
    log: LogSettings
    """Where what was done is recorded."""


class Settings(Section):
    """The one config file. Each value has this one source: no environment, no override chain."""

    version: Literal[1]
    """Version of this format."""
    mode: Mode = Mode.OBSERVE
    """How far the reconciler may go: `observe` writes nothing outside (the kill switch), `fill` writes missing tags,
    `publish` also opens GitOps pull requests that were approved."""
    state_dir: AbsolutePath
    """Directory for mirrors and remembered log tips; it can be lost, but then the log's tip is not remembered."""
    listen: ListenSettings = ListenSettings()
    """Where the HTTP host listens."""
    poll_interval_s: int = Field(default=30, ge=1, le=3600)
    """Seconds between two looks at the world; events may only shorten the wait."""
    tag_reads_per_pass: int = Field(default=5000, ge=10, le=1_000_000)
    """Tags that one pass reads at most, new ones newest head first; the others are not-yet-read until their turn."""
    sweep_interval_s: int = Field(default=3600, ge=60, le=7 * 24 * 3600)
    """Seconds after which a recorded tag is read again, to see whether somebody moved or removed it."""
    request_timeout_s: int = Field(default=30, ge=1, le=600)
    """Seconds after which an outside call without an answer is given up."""
    workers: int = Field(default=16, ge=1, le=128)
    """Outside calls side by side, at most."""
    notifications: NotificationsSettings | None = None
    """Who is told of state changes; null for nobody."""
    tracing: TracingSettings | None = None
    """Where spans of passes and outside calls go; null for nowhere."""
    standby: StandbySettings | None = None
    """Several replicas of which one works; null for one alone. Requires `log.remote` in every repository."""
    registries: tuple[RegistrySettings, ...] = Field(min_length=1, max_length=100)
    """Every registry host that the catalogues name."""
    repositories: tuple[RepositorySettings, ...] = Field(min_length=1, max_length=1000)
    """The code repositories."""
