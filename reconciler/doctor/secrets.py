"""What `ameide doctor` tests of all credentials together: each opens one thing, and one that leaks not all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.registry_credential import Credential
from reconciler.doctor.findings import Finding, Status
from reconciler.settings.forge import ForgeSettings, GitHubForgeSettings, LocalForgeSettings
from reconciler.settings.model import RepositorySettings, Settings
from state.errors import ReconcilerError
from state.log_remote import read_credential

_CHECK: Final = "credentials"
_REMEDY: Final = "make one for each, with no more than docs/forges.md says: whoever gets hold of one then has only that"


class _Used(NamedTuple):
    """One credential.

    Args:
        purpose: what it opens; several repositories may share one for the same purpose.
        read: its secret parts: several of a file that has one a line while it is being rotated.
    """

    purpose: str
    read: Callable[[], tuple[str, ...]]


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Whether two purposes share a secret. What is compared is kept nowhere and shown nowhere, not even as a digest."""
    used = list(_used(settings))
    purposes: dict[bytes, set[str]] = {}
    unread: set[str] = set()
    for one in used:
        try:
            texts = one.read()
        except ReconcilerError:
            unread.add(one.purpose)  # its own check says why
            continue
        for text in texts:
            purposes.setdefault(hashlib.sha256(text.encode()).digest(), set()).add(one.purpose)
    shared = sorted({" and ".join(sorted(names)) for names in purposes.values() if len(names) > 1})
    if shared:
        found = f"the same secret opens {'; '.join(shared)}"
        yield Finding(_CHECK, Status.WARN, found, _REMEDY)
    if unread:
        found = f"not compared, since they cannot be read: {', '.join(sorted(unread))}"
        yield Finding(f"{_CHECK}: not compared", Status.WARN, found, "see what is said of each, and run doctor again")
    if used and not shared and not unread:
        yield Finding(_CHECK, Status.OK, f"{len({one.purpose for one in used})}, each with a secret of its own")


def telling(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files with what notifications and traces are sent with, each with the name of its check."""
    notified, traced = settings.notifications, settings.tracing
    if notified is not None and notified.signing_secret_file is not None:
        yield "notifications: signing secret", notified.signing_secret_file
    if notified is not None and notified.bearer_token_file is not None:
        yield "notifications: bearer token", notified.bearer_token_file
    if traced is not None and traced.bearer_token_file is not None:
        yield "tracing: bearer token", traced.bearer_token_file


def _used(settings: Settings) -> Iterator[_Used]:
    for repository in settings.repositories:
        yield from _of_repository(repository)
    for registry in settings.registries:
        if registry.credential_file is not None:
            yield _Used(f"the registry {registry.host}", partial(_login, registry.credential_file, registry.host))
    for name, file in telling(settings):
        yield _Used(name.partition(":")[0], _lines(file))


def _of_repository(settings: RepositorySettings) -> Iterator[_Used]:
    yield from _forge("the code repository", settings.forge)
    if settings.gitops.credential_file is not None:
        yield _Used("the GitOps inventory", _whole(settings.gitops.credential_file))
    for target in settings.targets:
        yield from _forge("proposals to GitOps", target.forge)
    if settings.lane is not None and settings.lane.proposals is not None:
        yield from _forge("proposals to GitOps", settings.lane.proposals.forge)
    if settings.log.remote_credential_file is not None:
        yield _Used("the log's remote", partial(_password, settings.log.remote_credential_file))
    if settings.log.mirror_credential_file is not None:
        yield _Used("the log's mirror", partial(_password, settings.log.mirror_credential_file))
    if settings.webhook is not None:
        yield _Used("webhooks", _lines(settings.webhook.secret_file))
    if settings.preview is not None and settings.preview.token_file is not None:
        yield _Used("the plugin endpoint", _lines(settings.preview.token_file))


def _forge(purpose: str, forge: ForgeSettings) -> Iterator[_Used]:
    if isinstance(forge, LocalForgeSettings):
        return
    access = forge.access if isinstance(forge, GitHubForgeSettings) else forge.token_file
    yield _Used(purpose, _whole(access if isinstance(access, Path) else access.private_key_file))


def _whole(file: Path) -> Callable[[], tuple[str, ...]]:
    return lambda: (SecretFile(file, "credential file").read(),)


def _lines(file: Path) -> Callable[[], tuple[str, ...]]:
    return SecretFile(file, "credential file").lines


def _password(file: Path) -> tuple[str, ...]:
    return (read_credential(file)[1],)


def _login(file: Path, host: str) -> tuple[str, ...]:
    login = Credential(file, host).login()
    return (login.identity_token or login.password,)
