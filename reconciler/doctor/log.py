"""What `ameide doctor` tests of where a log is pushed to: the remote and its mirror, and what their credentials may do.

A dry run of a push says whether a credential may push at all, not whereto: rules for branches are looked at by the
server once it has everything. Where the remote lies on one of the configured forges, that forge is asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import pygit2
from pydantic import ValidationError

from reconciler.doctor import forge as doctor_forge
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.settings.forge import ForgeSettings, HttpForgeSettings, LocalForgeSettings
from reconciler.settings.model import RepositorySettings, Settings
from state.git import CommitId, RefName, RepositoryId
from state.log_branch import LogName, Role
from state.log_remote import LogRemote, read_credential

_PREFIX: Final = ".ameide-doctor-"


class _Place(NamedTuple):
    """Where a log goes, and how the configuration names it."""

    check: str
    which: str
    url: str
    credential_file: Path | None


def diagnose(
    settings: RepositorySettings, whole: Settings, repository_id: RepositoryId | None, clock: Clock, random: Random
) -> Iterator[Finding]:
    """Every check of the remote and the mirror of one repository's log.

    Args:
        repository_id: of the code repository, whose log it is; None if its forge did not say.
    """
    log = settings.log
    branches = None if repository_id is None else [LogName(repository_id, role).ref for role in _roles(settings)]
    for which, url, file in (
        ("remote", log.remote, log.remote_credential_file),
        ("mirror", log.mirror, log.mirror_credential_file),
    ):
        if url is not None:
            place = _Place(f"{settings.name}: log {which}", which, url, file)
            yield from _pushed_to(place, whole)
            yield from _apart(place, whole)
            if file is not None:
                yield from _rights(f"{place.check} permissions", url, file, branches, whole, clock=clock, random=random)


def _pushed_to(place: _Place, whole: Settings) -> Iterator[Finding]:
    which, credential_file = place.which, place.credential_file
    if credential_file is not None:
        yield secret(f"{place.check} credential", credential_file)
    there = LogRemote(place.url, credential_file)

    def read() -> str:
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=whole.state_dir) as directory:
            empty = pygit2.init_repository(directory, bare=True)
            try:
                found = there.branches(empty, "refs/heads/log/")
                _ask_to_push(there, empty)
            finally:
                empty.free()
        return f"{there.url}: readable, {len(found)} logs in it, and a push may begin"

    remedy = f"check log.{which}, the network, and that log.{which}_credential_file may read and push there"
    yield attempt(place.check, read, remedy)


class _Asked(Exception):
    """The server was ready for the push that ends here."""


def _ask_to_push(remote: LogRemote, empty: pygit2.Repository) -> None:
    """Begin a push, and send nothing. Raises Denied where the credential may only read, or Unavailable."""
    nobody = pygit2.Signature("ameide doctor", "ameide@localhost", 0, 0)
    commit = empty.create_commit(None, nobody, nobody, "asked, never sent\n", empty.TreeBuilder().write(), [])

    def ask(_: CommitId | None) -> None:
        raise _Asked

    with suppress(_Asked):
        remote.push(empty, CommitId(str(commit)), "refs/heads/log/doctor", check=ask)


def _apart(place: _Place, whole: Settings) -> Iterator[Finding]:
    """Who pushes the log may push to all of a repository that no rule protects."""
    others = {*(forge.git_url for forge in forges(whole)), *(r.gitops.url for r in whole.repositories)}
    if _plain(place.url) in {_plain(other) for other in others}:
        found = f"more than needed: it may push to every branch of {place.url}, which holds more than the log"
        remedy = f"give the log a repository of its own as log.{place.which}, and a credential for that one alone"
        yield Finding(f"{place.check} apart", Status.WARN, found, remedy)


def _plain(url: str) -> str:
    """What tells two repositories apart."""
    return url.rstrip("/").removesuffix(".git").lower()


def _rights(
    check: str, url: str, file: Path, branches: list[RefName] | None, whole: Settings, *, clock: Clock, random: Random
) -> Iterator[Finding]:
    """What the credential may do beyond pushing the log."""
    host = urlsplit(url).netloc or url
    forge = forge_of(url, file, whole)
    if forge is not None and branches is not None:
        yield from doctor_forge.pushing(check, forge, _Token(file), branches, clock=clock, random=random)
        return
    why = f"{host} is none of the configured forges" if forge is None else "the code repository's id is not known"
    found = f"not known what it may do: {why}, so that nothing can be asked"
    yield Finding(f"{check}: not told", Status.WARN, found, doctor_forge.LOOK.format(host))


class _Token:
    """The token in a log's credential file (`forge_client.Token`)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def token(self, *, fresh: bool = False) -> str:
        """Without the user before it. Raises ConfigError."""
        del fresh  # every read is fresh
        return read_credential(self._file)[1]


def forge_of(url: str, credential_file: Path, whole: Settings) -> HttpForgeSettings | None:
    """The forge among the configured ones that a log's address lies on, as one whose repository the log's is."""
    for forge in forges(whole):
        if isinstance(forge, LocalForgeSettings) or not url.startswith(f"{forge.url.rstrip('/')}/"):
            continue
        name = url.removeprefix(f"{forge.url.rstrip('/')}/").rstrip("/").removesuffix(".git")
        access = {"token_file": credential_file, "ca_file": forge.ca_file}
        with suppress(ValidationError):  # it has not the form of a repository's name there
            return type(forge).model_validate({"kind": forge.kind, "url": forge.url, "repository": name, **access})
    return None


def forges(whole: Settings) -> Iterator[ForgeSettings]:
    """Every forge that the configuration names."""
    for repository in whole.repositories:
        yield repository.forge
        yield from (target.forge for target in repository.targets)
        if repository.lane is not None and repository.lane.proposals is not None:
            yield repository.lane.proposals.forge


def _roles(settings: RepositorySettings) -> list[Role]:
    """Who writes a log here."""
    found = [Role.RECONCILER]
    found += [Role.JANITOR] if settings.janitor is not None else []
    return found + ([Role.OPERATOR] if settings.log.operator_key_file is not None else [])
