"""The `lane:` section: everything that the rendered preview lane depends on (design §10).

The namespace prefix is this one setting for the renderer, the linter, the janitor and the admission policies.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.settings.forge import ForgeSettings
from reconciler.settings.types import AbsolutePath, BranchName, InsidePath, Label, Section
from state.git_url import Transport, transport
from state.oci import Digest, Repository

NAME_MAX_CHARS: Final = 63
NUMBER_MAX_CHARS: Final = 9
SUPPORTED: Final = ("3.3", "3.4", "3.5")
"""Argo CD series that the lane is rendered for and held against."""

_DNS_LABEL: Final = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"

DnsLabel = Annotated[str, Field(pattern=_DNS_LABEL)]
Hostname = Annotated[
    str, Field(max_length=200, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")
]
Kind = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Z][A-Za-z0-9]{1,62}$")]
ValueKey = Annotated[
    str, Field(max_length=255, pattern=r"^[A-Za-z0-9_-]+(\[[0-9]+\])?(\.[A-Za-z0-9_-]+(\[[0-9]+\])?)*$")
]
ArgoVersion = Literal["3.3", "3.4", "3.5"]


def _image_prefix(text: str) -> str:
    Repository(f"{text}/x")
    return text


def _pinned(text: str) -> str:
    name, _, digest = text.partition("@")
    if re.search(r":[^/]*$", name):
        raise ValueError("expected repository@sha256:…, without a tag")
    return f"{Repository(name)}@{Digest(digest)}"


def _https(text: str) -> str:
    if transport(text) is not Transport.HTTPS:
        raise ValueError("expected the address that Argo CD clones, such as https://git.example/acme/gitops.git")
    return text


def _digest(text: str) -> str:
    return str(Digest(text))


def _repository(text: str) -> str:
    return str(Repository(text))


class RouteSettings(Section):
    """The host that a component answers at in a preview: `<host>-<namespace prefix><number>.<lane.domain>`."""

    key: ValueKey
    """Key in the chart's values that takes the host name, such as httproute.hostname or grpcRoute.hostnames[0]."""
    host: DnsLabel
    """First part of the host name, such as www."""


class ComponentSettings(Section):
    """One previewed component, an element of the list generator."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
    """Name of the component; at most 40 characters, since it ends an Application's name."""
    chart: InsidePath
    """Path of its chart in the GitOps repository."""
    image: Annotated[str, AfterValidator(_repository)] | None = None
    """Its image repository; null for `<image_prefix>/<name>`."""
    baseline: Annotated[str, AfterValidator(_digest)] | None = None
    """Digest that a preview shows without the images label; required with `images: label`."""
    route: RouteSettings | None = None
    """Its own host in a preview; null for none."""


class WebhookRouteSettings(Section):
    """The public way to the ApplicationSet controller's webhook."""

    hostname: Hostname
    """Host name that the forge delivers to; the path is /api/applicationset-webhook."""
    gateway: DnsLabel
    """Name of the Gateway."""
    gateway_namespace: DnsLabel
    """Namespace of the Gateway."""


class ExternalSecretsSettings(Section):
    """Where secrets come from: a store of the External Secrets Operator."""

    store: DnsLabel
    """Name of the ClusterSecretStore."""
    webhook_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,200}$")]
    """Key in the store with the webhook's secret."""
    token_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,200}$")]
    """Key in the store with the token that the generator lists pull requests with; with `generator: plugin` the plugin
    endpoint's token."""
    generation: int = Field(default=1, ge=1, le=1_000_000)
    """Raise it after rotating: the secrets are read anew and the ApplicationSet controller restarts, which reads its
    webhook secret only once."""


class ReconcilerSettings(Section):
    """Our own workloads in the cluster."""

    image: Annotated[str, AfterValidator(_pinned)]
    """The image of this program as repository@sha256:…."""
    storage: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(Mi|Gi)$")] = "2Gi"
    """Size of the volume behind `state_dir` and `log.path`."""
    data_dir: AbsolutePath = Path("/var/lib/ameide")
    """Where that volume is mounted; `state_dir` and `log.path` are below it."""
    cpu: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}m$")] = "250m"
    """CPU request of the reconciler."""
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}Mi$")] = "512Mi"
    """Memory request and limit of the reconciler."""
    janitor: Literal["cronjob", "daemon"] = "cronjob"
    """How the janitor runs; never both."""
    janitor_interval_min: int = Field(default=15, ge=5, le=60)
    """Minutes between two runs of the janitor."""
    token_audience: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,200}$")] | None = None
    """Audience of a service-account token at /var/run/ameide/token, such as sigstore for keyless signing; null for no
    token at all."""


class LaneProposalsSettings(Section):
    """How `ameide gitops propose` reaches the GitOps repository; the branch that it proposes to is
    `lane.gitops_branch`."""

    forge: ForgeSettings
    """The repository of `lane.gitops_url` at its forge, with the credential that pushes branches and opens pull
    requests there."""
    commit_key_file: AbsolutePath
    """OpenSSH private key (ed25519, mode 0600) that signs the commits; a key of its own, not a log's."""


class LaneSettings(Section):
    """The preview lane as files: `ameide gitops render`, `ameide gitops propose`, `ameide gitops lint`."""

    argocd_version: ArgoVersion
    """Series of Argo CD in the cluster; the oldest one if there are several."""
    argocd_namespace: DnsLabel = "argocd"
    """Argo CD's own namespace; no preview is ever deployed there."""
    application_namespaces: tuple[DnsLabel, ...] = Field(default=(), max_length=50)
    """More namespaces that Argo CD takes Applications from (`--application-namespaces`), each by its full name: the
    janitor looks there too. An empty list where that is not used."""
    system_namespace: DnsLabel = "preview-system"
    """Namespace of the reconciler and the janitor."""
    gitops_url: Annotated[str, AfterValidator(_https)]
    """The GitOps repository as Argo CD clones it."""
    gitops_branch: BranchName
    """Its protected branch: every source is read there."""
    namespace_prefix: Annotated[str, Field(pattern=r"^pr-([a-z][a-z0-9]{0,11}-){0,2}$")] = "pr-"
    """What a preview's namespace begins with; the pull request's number follows. One setting for renderer, linter,
    janitor and policies."""
    base_environment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
    """Environment that previews borrow values and services from, such as dev."""
    base_namespace: DnsLabel | None = None
    """Namespace of the base environment, for `base_services`; null for none."""
    domain: Hostname | None = None
    """Domain that previews answer under; required where a component has a route."""
    image_prefix: Annotated[str, AfterValidator(_image_prefix)]
    """Registry and organisation before every component's name, such as ghcr.io/acme."""
    generator: Literal["pull-request", "plugin"] = "pull-request"
    """`pull-request`: Argo CD lists pull requests itself, by label. `plugin`: it asks this program, which knows whether
    a head's images are all there."""
    images: Literal["head", "label"] = "head"
    """`head`: a preview shows `:<HEAD_SHA>` always. `label`: without the images label it shows each component's
    `baseline`."""
    gate_label: Label = "preview"
    """Label that asks for a preview."""
    images_label: Label = "preview-images"
    """Label that says the head's images are there; the reconciler sets it (`preview.label`)."""
    authors: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\[\]-]{0,99}$")], ...] = Field(
        default=(), max_length=500
    )
    """Logins whose pull requests the pull-request generator takes; an empty list for no such gate. Required with
    `images: label`, where no label of the reconciler guards a preview."""
    requeue_s: int = Field(default=300, ge=60, le=300)
    """Seconds between two listings; webhooks only shorten it."""
    value_files: tuple[InsidePath, ...] = Field(default=(), max_length=20)
    """Value files of every component in the GitOps repository, in order; COMPONENT stands for its name."""
    secrets_chart: InsidePath | None = None
    """Chart that makes a preview's secrets; null leaves out the fourth ApplicationSet."""
    secrets_value_files: tuple[InsidePath, ...] = Field(default=(), max_length=20)
    """Value files of `secrets_chart`."""
    base_services: tuple[DnsLabel, ...] = Field(default=(), max_length=100)
    """Services of `base_namespace` that a preview reaches under the same name."""
    kinds: tuple[Kind, ...] = Field(
        default=(
            "ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount",
            "apps/Deployment", "apps/StatefulSet", "batch/CronJob", "batch/Job",
            "gateway.networking.k8s.io/GRPCRoute", "gateway.networking.k8s.io/HTTPRoute",
            "rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/RoleBinding",
        ),
        max_length=100,
    )  # fmt: skip
    """Namespaced kinds that components may render, as group/Kind, the core group without one. LimitRange, NetworkPolicy
    and ResourceQuota, which the lane renders itself, are added."""
    components: tuple[ComponentSettings, ...] = Field(min_length=1, max_length=500)
    """The previewed components."""
    webhook_route: WebhookRouteSettings | None = None
    """The public way to the controller's webhook; null where it is no Gateway of yours."""
    external_secrets: ExternalSecretsSettings | None = None
    """Where the webhook's secret and the token come from; null where they are made in another way."""
    reconciler: ReconcilerSettings
    """Our own workloads."""
    proposals: LaneProposalsSettings | None = None
    """Where `ameide gitops propose` opens its pull request; null where the files are committed in another way."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        counted = Counter(c.name for c in self.components)
        if twice := sorted(name for name, times in counted.items() if times > 1):
            raise ValueError(f"components names {', '.join(twice[:20])} more than once")
        reserved = sorted(c.name for c in self.components if c.name in {"namespace", "baseline", "secrets"})
        if reserved:
            raise ValueError(f"components: {', '.join(reserved)} is the name of a part of the lane itself")
        longest = len(self.namespace_prefix) + NUMBER_MAX_CHARS + 1 + max(len(c.name) for c in self.components)
        if longest > NAME_MAX_CHARS:
            raise ValueError(f"an Application's name would have {longest} characters, at most {NAME_MAX_CHARS} are")
        if self.domain is None and any(c.route is not None for c in self.components):
            raise ValueError("domain is required, since a component has a route")
        if self.base_services and self.base_namespace is None:
            raise ValueError("base_namespace is required, since base_services names services of it")
        if self.system_namespace == self.argocd_namespace:
            raise ValueError("system_namespace and argocd_namespace are the same; the janitor needs its own namespace")
        if any(n.startswith(self.namespace_prefix) for n in (self.system_namespace, self.argocd_namespace)):
            raise ValueError("system_namespace or argocd_namespace begins with namespace_prefix, as previews do")
        if self.images == "label":
            self._label_images()
        return self

    def _label_images(self) -> None:
        if self.generator == "plugin":
            raise ValueError("images: label needs generator: pull-request; the plugin endpoint tells no labels")
        if not self.authors:
            raise ValueError("authors is required with images: label, where no label of ours guards a preview")
        if bare := [c.name for c in self.components if c.baseline is None]:
            raise ValueError(f"baseline is required with images: label, and {', '.join(bare[:20])} has none")

    @property
    def all_application_namespaces(self) -> tuple[str, ...]:
        """Argo CD's own namespace and the others, each once."""
        return tuple(sorted({self.argocd_namespace, *self.application_namespaces}))

    def image_of(self, component: ComponentSettings) -> str:
        """The image repository of a component."""
        return component.image or f"{self.image_prefix}/{component.name}"
