"""What `ameide doctor` tests of approvals and targets: the policy, the ways in, the keys, the GitOps repositories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from reconciler import doctor_forge
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.findings import Finding, Status, attempt
from reconciler.gitops_forge import opened_target
from reconciler.ports import Clock, Markers, Random
from reconciler.publish_wiring import approvers_of, channels_of
from reconciler.settings import RepositorySettings, Settings
from reconciler.settings_forge import LocalForgeSettings
from reconciler.settings_publish import ApprovalsSettings, TargetSettings
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


def _target(
    settings: RepositorySettings, whole: Settings, target: TargetSettings, clock: Clock, random: Random
) -> Iterator[Finding]:
    name, key = f"{settings.name}: target {target.name}", target.commit_key_file
    yield attempt(f"{name} key", lambda: f"{key}: {SshSigner.from_file(key).public_key()}", f"chmod 600 {key}")
    try:
        with opened_target(whole, target, clock=clock, random=random, metrics=PrometheusMetrics()) as forge:
            branch = RefName.branch(target.base)
            forge.changes.find_change(RefName.branch("ameide/doctor"), branch)
            found = f"{forge.identity.name} (id {forge.identity.id}); its pull requests can be listed"
            yield Finding(f"{name} forge", Status.OK, found)
    except ReconcilerError as error:
        yield Finding(f"{name} forge", Status.FAIL, str(error), "check targets.forge, its credential and the network")
    if not isinstance(target.forge, LocalForgeSettings):
        yield from doctor_forge.proposals(f"{name} permissions", target.forge, whole, clock, random)
