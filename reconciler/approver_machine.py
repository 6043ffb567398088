"""What the commands of an approver have in common: opening `approver.yaml`, checking a plan, bringing a marker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from reconciler.adapters.approval_server import ApprovalServer
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.marker_signers import marker_signer
from reconciler.adapters.registry_router import Registries
from reconciler.approval.approver_settings import (
    ApproverSettings,
    IdentityAuthoritySettings,
    PostDirectorySettings,
    PostHttpSettings,
    ReleaseSetsSettings,
    load_approver,
)
from reconciler.approval.approvers import ApproversPolicy
from reconciler.approval.granting import Asked, differences, unproven
from reconciler.approval.policy import parse_policy
from reconciler.approval.served import Missing, ServedPlan
from reconciler.declared import MAX_BYTES
from reconciler.evidence.authority import Authority, CertificateClaims
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.own import OwnCertificates
from reconciler.evidence.release_check import published, signed
from reconciler.registry_clients import client_of, opened_registries
from reconciler.strict_yaml import read_regular
from state import approval
from state.approval import MARKER_MAX_BYTES, Marker
from state.errors import ConfigError, IntegrityError
from state.oci import Digest, Repository
from state.pin_plan import target_name


class Checked(NamedTuple):
    """A plan as the server has it, and everything that speaks against approving it."""

    served: ServedPlan | None
    missing: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.served is not None and not self.against


class Brought(NamedTuple):
    """A marker that was signed, and where it went."""

    marker: Digest
    where: str


class Approver:
    """One approver's machine."""

    def __init__(self, settings: ApproverSettings, server: ApprovalServer, registries: Registries) -> None:
        self.settings = settings
        self._server = server
        self._registries = registries

    def policy(self) -> ApproversPolicy | None:
        """The approver's own copy of the policy; None without one. Raises ConfigError."""
        file = self.settings.policy_file
        if file is None:
            return None
        policy = parse_policy(read_regular(file, max_bytes=MAX_BYTES), what=str(file))
        if self.settings.principal not in policy.principals:
            raise ConfigError(f"{file}: has no principal {self.settings.principal!r}; see `principal` of approver.yaml")
        return policy

    def asked(self, pull_request: int, target: str | None) -> Asked:
        """What is asked for, with the policy that this machine knows; None for an admission, which has no target.

        Raises InvalidValue for no target's name.
        """
        policy = self.policy()
        return Asked(
            self.settings.repository.id,
            pull_request,
            target_name(target) if target is not None else "",
            policy=policy.digest() if policy is not None else None,
        )

    def checked(self, asked: Asked) -> Checked:
        """The plan that the server has now, held against what was asked for and against the signed release set."""
        name = self.settings.repository.name
        found = self._server.newest(name, asked.pull_request, asked.target)
        if found is None:
            raise ConfigError(f"the server knows no repository {name!r} with a target {asked.target!r}")
        if isinstance(found, Missing):
            return Checked(None, found.why or ("the head is not complete",), ())
        if against := differences(found, asked):
            return Checked(found, (), against)
        return self._held_against_release(found)

    def _held_against_release(self, found: ServedPlan) -> Checked:
        repository = Repository(self.settings.release_sets.repository)
        try:
            release = published(self._registries, repository, found.plan.head)
        except IntegrityError as error:
            return Checked(found, (), (str(error),))
        if release is None:
            return Checked(found, (), (f"{repository} has no release set of {found.plan.head}",))
        claim = signed(self._registries, repository, release, _authority(self.settings.release_sets))
        if not claim.holds:
            return Checked(found, (), (f"the release set is not signed by the configured signer: {claim.against}",))
        return Checked(found, (), unproven(found, release.manifest.digest, release.release))

    def brings(self, marker: Marker, out: Path | None) -> Brought:
        """Sign, and write to `out` or bring it the configured way. Raises ConfigError, Transient, Denied."""
        post = self.settings.post
        if out is None and not isinstance(post, PostHttpSettings | PostDirectorySettings):
            raise ConfigError("post: none is configured; give --out FILE, and bring that file yourself")
        token = SecretFile(post.token_file, "token file").read() if isinstance(post, PostHttpSettings) else ""
        raw = marker_signer(self.settings.signer).sign(approval.payload(marker))
        if len(raw) > MARKER_MAX_BYTES:
            raise ConfigError(f"the envelope has {len(raw)} bytes, at most {MARKER_MAX_BYTES} are taken")
        digest = Digest.of(raw)
        if out is not None:
            return Brought(digest, str(_written(out, raw)))
        if isinstance(post, PostDirectorySettings):
            return Brought(digest, str(_written(post.path / f"{digest.hex}.json", raw)))
        self._server.post(self.settings.repository.name, raw, token)
        return Brought(digest, self.settings.server.url)


@contextmanager
def opened(config: Path) -> Iterator[Approver]:
    """The approver of this file. Raises ConfigError."""
    settings = load_approver(config).settings
    clock = SystemClock()
    with ExitStack() as stack:
        server = ApprovalServer(settings.server.url, clock, settings.server.ca_file)
        stack.callback(server.close)
        registries = stack.enter_context(
            opened_registries(settings.registries, partial(client_of, clock=clock, random=SystemRandom()))
        )
        yield Approver(settings, server, registries)


def now_s() -> int:
    """Seconds since 1970."""
    return int(time.time())


def _authority(settings: ReleaseSetsSettings) -> Authority:
    authority = settings.authority
    if not isinstance(authority, IdentityAuthoritySettings):
        return KeyAuthority.from_files(authority.public_key_files)
    from reconciler.evidence.trusted_root import RootAuthority  # noqa: PLC0415  (0.3 s, for this kind only)

    root = RootAuthority.from_file(authority.trusted_root_file, transparency_log=authority.transparency_log)
    return OwnCertificates(root, lambda: CertificateClaims(authority.issuer, authority.identity))


def _written(path: Path, raw: bytes) -> Path:
    """A file appears whole: whoever watches the directory ignores names that start with a dot."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(raw)
        fresh.rename(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path
