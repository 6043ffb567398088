"""What `ameide doctor` tests of approvals and targets: the policy, the ways in, the keys, the GitOps repositories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.doctor import forge as doctor_forge
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.gitops_forge import opened_gitops
from reconciler.ports import Clock, Markers, Random
from reconciler.publish_wiring import approvers_of, channels_of
from reconciler.settings import RepositorySettings, Settings
from reconciler.settings.forge import ForgeSettings, LocalForgeSettings
from reconciler.settings.publish import ApprovalsSettings, TargetSettings
from state.errors import ReconcilerError, Terminal
from state.git import RefName


def diagnose(settings: RepositorySettings, whole: Settings, clock: Clock, random: Random) -> Iterator[Finding]:
    """Every check of one repository's approvals and targets; none where nothing is approved."""
    approvals = settings.approvals
    if approvals is None:
        return
    remedy = "mend the file that approvals.approvers_file names; docs/approvals.md has its form"
    yield attempt(f"{settings.name}: approvers", partial(_policy, settings, approvals), remedy)
    yield from _channels(settings, whole, approvals)
    for target in settings.targets:
        yield from _target(settings, whole, target, clock, random)


def _policy(settings: RepositorySettings, approvals: ApprovalsSettings) -> str:
    policy = approvers_of(settings, approvals).signers().policy
    lacking = [t.name for t in settings.targets if t.name not in policy.targets]
    if lacking:
        raise Terminal(f"no rule for target {', '.join(lacking)}: nobody can approve there")
    return f"{len(policy.principals)} principals, {policy.digest()}"


def _channels(settings: RepositorySettings, whole: Settings, approvals: ApprovalsSettings) -> Iterator[Finding]:
    if approvals.branch is not None and approvals.branch.credential_file is not None:
        yield secret(f"{settings.name}: markers by branch credential", approvals.branch.credential_file)
    with ExitStack() as stack:
        try:
            channels = channels_of(whole, settings, approvals, stack)
        except ReconcilerError as error:
            yield Finding(f"{settings.name}: markers", Status.FAIL, str(error), "mend what approvals names")
            return
        for name, channel in channels.items():
            remedy = f"mend approvals.{name}, or take it out"
            yield attempt(f"{settings.name}: markers by {name}", partial(_waiting, channel), remedy)


def _waiting(channel: Markers) -> str:
    return f"{len(channel.pending())} markers there"


def lane_proposals(settings: RepositorySettings, whole: Settings, clock: Clock, random: Random) -> Iterator[Finding]:
    """Every check of what `ameide gitops propose` reaches; none where it is not configured."""
    if settings.lane is None or settings.lane.proposals is None:
        return
    proposals = settings.lane.proposals
    place = _Place("lane.proposals", proposals.forge, proposals.commit_key_file, settings.lane.gitops_branch)
    yield from _place(settings, whole, place, clock, random)


class _Place(NamedTuple):
    """Where pull requests are proposed to, and how the configuration names it."""

    named: str
    forge: ForgeSettings
    commit_key_file: Path
    base: str


def _target(
    settings: RepositorySettings, whole: Settings, target: TargetSettings, clock: Clock, random: Random
) -> Iterator[Finding]:
    place = _Place(f"target {target.name}", target.forge, target.commit_key_file, target.base)
    yield from _place(settings, whole, place, clock, random)


def _place(
    settings: RepositorySettings, whole: Settings, place: _Place, clock: Clock, random: Random
) -> Iterator[Finding]:
    name, key = f"{settings.name}: {place.named}", place.commit_key_file
    yield attempt(f"{name} key", lambda: f"{key}: {SshSigner.from_file(key).public_key()}", f"chmod 600 {key}")
    if not isinstance(place.forge, LocalForgeSettings):
        yield doctor_forge.credential(name, place.forge)
    metrics = PrometheusMetrics()
    try:
        with opened_gitops(whole, place.forge, place.named, clock=clock, random=random, metrics=metrics) as forge:
            forge.changes.find_change(RefName.branch("ameide/doctor"), RefName.branch(place.base))
            found = f"{forge.identity.name} (id {forge.identity.id}); its pull requests can be listed"
            yield Finding(f"{name} forge", Status.OK, found)
    except ReconcilerError as error:
        yield Finding(f"{name} forge", Status.FAIL, str(error), "check its forge, its credential and the network")
    if not isinstance(place.forge, LocalForgeSettings):
        yield from doctor_forge.proposals(f"{name} permissions", place.forge, whole, clock, random)
