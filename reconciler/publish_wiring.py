"""Settings → publishing: the policy, the channels, and the lanes of one repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from reconciler.adapters.approvers_file import ApproversFile
from reconciler.adapters.git_remote import remote
from reconciler.adapters.gitops_writer import GitOpsBranches
from reconciler.adapters.markers_branch import BranchMarkers
from reconciler.adapters.markers_directory import DirectoryMarkers
from reconciler.adapters.markers_joined import JoinedMarkers
from reconciler.adapters.markers_posted import PostedMarkers
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.adapters.used_tokens import UsedTokens
from reconciler.events import Emitter, Event
from reconciler.evidence.assembling import signer_of
from reconciler.evidence.authority import Authority
from reconciler.evidence.release_check import Reader
from reconciler.gitops_forge import opened_gitops
from reconciler.looking import Sources
from reconciler.oidc.keys import FileKeys, IssuerKeys
from reconciler.oidc.tokens import Carrier, Keys
from reconciler.ports import Clock, Markers, Metrics, Random
from reconciler.publishing.lanes import Lane
from reconciler.publishing.publisher import PublishTargets
from reconciler.publishing.releases import PublishedSets
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RepositorySettings, Settings
from reconciler.settings.publish import ApprovalsSettings, CarrierSettings, TargetSettings
from reconciler.web.markers import Inbox, MarkerInboxes
from state.errors import ReconcilerError
from state.git import RefName
from state.oci import Repository
from state.pin_plan import Target


class Common(Protocol):
    """What all repositories of one process share, as publishing needs it (`wiring.Shared`)."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def random(self) -> Random: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def emit(self) -> Emitter: ...


@contextmanager
def publish_targets_of(
    common: Common, repository: RepositorySettings, repository_id: int, sources: Sources, registry: Reader
) -> Iterator[PublishTargets | None]:
    """What publishes for one repository, open for the block; None where nothing is approved.

    Raises ConfigError for a policy, key or credential that cannot be used, Terminal, Denied or Transient where a forge
    or the markers' repository cannot be reached.
    """
    approvals = repository.approvals
    if approvals is None:
        yield None
        return
    approvers = approvers_of(repository, approvals)
    approvers.signers()
    with ExitStack() as stack:
        lanes = {t.name: stack.enter_context(_lane(common, repository, t)) for t in repository.targets}
        sets = None
        if repository.evidence is not None:
            own = signer_of(repository.evidence)[1]
            sets = PublishedSets(registry, Repository(repository.evidence.release_sets), own)
        channels = channels_of(common.settings, repository, approvals, stack)
        yield PublishTargets(
            repository_id=repository_id,
            markers=JoinedMarkers(channels, partial(_unread, common.emit, repository.name)),
            signers=approvers.signers,
            lanes=lanes,
            sets=sets,
            inventory=sources.gitops.inventory,
            forge=sources.forge,
            registry=sources.registry,
            executor=sources.executor,
            clock=sources.clock,
        )


def approvers_of(repository: RepositorySettings, approvals: ApprovalsSettings) -> ApproversFile:
    """The policy file, and what vouches for certificates. Raises ConfigError for a trusted root that cannot be used."""
    targets = [t.name for t in repository.targets]
    return ApproversFile(approvals.approvers_file, targets, certificates_of(approvals))


def certificates_of(approvals: ApprovalsSettings) -> Authority | None:
    """What vouches for approvers' certificates, or None. Raises ConfigError for a trusted root that cannot be used."""
    if approvals.certificates is None:
        return None
    from reconciler.evidence.trusted_root import RootAuthority  # noqa: PLC0415  (0.3 s, for this kind only)

    return RootAuthority.from_file(
        approvals.certificates.trusted_root_file, transparency_log=approvals.certificates.transparency_log
    )


@contextmanager
def marker_inboxes(common: Common, arrived: Callable[[str], None]) -> Iterator[MarkerInboxes]:
    """The HTTP way in of every repository that has one; `arrived` is told a repository's name."""
    settings = common.settings
    with ExitStack() as stack:
        inboxes = {}
        for repository in settings.repositories:
            http = repository.approvals.http if repository.approvals is not None else None
            if http is not None:
                keys = stack.enter_context(_keys(http, common.clock))
                carrier = Carrier(http.issuer, http.audience, http.claims)
                inboxes[repository.name] = Inbox(carrier, keys, PostedMarkers(_posted(settings, repository)))
        used = UsedTokens(settings.state_dir / "used-tokens")
        yield MarkerInboxes(inboxes, used, clock=common.clock, metrics=common.metrics, arrived=arrived)


@contextmanager
def _keys(http: CarrierSettings, clock: Clock) -> Iterator[Keys]:
    if http.keys_file is not None:
        yield FileKeys(http.keys_file)
        return
    keys = IssuerKeys(http.issuer, clock, http.ca_file)
    try:
        yield keys
    finally:
        keys.close()


def _posted(settings: Settings, repository: RepositorySettings) -> Path:
    return settings.state_dir / "markers" / repository.name


def channels_of(
    settings: Settings, repository: RepositorySettings, approvals: ApprovalsSettings, stack: ExitStack
) -> Mapping[str, Markers]:
    """Every configured way in for markers, by its name in the configuration; `stack` closes them."""
    channels: dict[str, Markers] = {}
    if approvals.http is not None:
        channels["http"] = PostedMarkers(_posted(settings, repository))
    if approvals.directory is not None:
        channels["directory"] = DirectoryMarkers(approvals.directory)
    if approvals.branch is not None:
        channels["branch"] = stack.enter_context(
            BranchMarkers(
                settings.state_dir / "mirrors" / f"{repository.name}-markers",
                remote(
                    approvals.branch.url,
                    credential_file=approvals.branch.credential_file,
                    known_hosts_file=approvals.branch.known_hosts_file,
                ),
                ref=approvals.branch.ref,
                timeout_s=float(settings.request_timeout_s) * CALL_TIMEOUT_FACTOR,
            )
        )
    return channels


def _unread(emit: Emitter, name: str, channel: str, error: ReconcilerError) -> None:
    emit.emit(Event.PASS_PROBLEM, name=name, error=f"markers by {channel}: {error}")


@contextmanager
def _lane(common: Common, repository: RepositorySettings, target: TargetSettings) -> Iterator[Lane]:
    settings = common.settings
    signer = SshSigner.from_file(target.commit_key_file)
    base = RefName.branch(target.base)
    name = f"target {target.name}"
    with (
        opened_gitops(
            settings, target.forge, name, clock=common.clock, random=common.random, metrics=common.metrics
        ) as forge,
        GitOpsBranches(
            settings.state_dir / "mirrors" / f"{repository.name}-{target.name}",
            forge.remote,
            timeout_s=float(settings.request_timeout_s) * CALL_TIMEOUT_FACTOR,
            signer=signer,
        ) as writer,
    ):
        named = Target(target.name, forge.identity.id, base, target.environment)
        yield Lane(named, writer, forge.changes, target.after)
