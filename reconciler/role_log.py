"""Logs of roles beside the reconciler: read as the remote has them, or opened for writing with the role's own key.

What is read is a copy below `state_dir`, brought up to date each time. The writer's repository is left alone: it may
be on another machine, and reading must not take its lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pygit2

from reconciler.adapters.signer_ssh import SshSigner
from reconciler.events import Emitter
from reconciler.log_pushing import Mirror, mirrored, pushed
from reconciler.ports import Clock
from reconciler.settings.log import LogSettings
from reconciler.settings.model import RepositorySettings, Settings
from reconciler.standby import writer_name
from state.errors import ConfigError, LogRollback, Unavailable
from state.git import CommitId
from state.log import GitLog
from state.log_branch import LogName, Role
from state.log_mirror import LogMirror
from state.log_read import LogReader, ObjectStore, open_repository, target
from state.log_recovery import remove_dead_locks
from state.log_remote import LogRemote

TIPS: Final = "tips"
"""Below `state_dir`: what is remembered of logs."""

_ARRIVED: Final = "refs/arrived/tip"


def pushed_log(state_dir: Path, settings: LogSettings, name: LogName) -> LogReader | None:
    """The log of this name, as far as it was pushed; None if there is none yet.

    Form and ids of entries are checked by the reader, signatures are not.

    Raises:
        ConfigError: the log has no remote.
        LogRollback: the remote lost entries that the copy has.
        Denied, Transient: the remote gives no usable answer.
    """
    if settings.remote is None:
        raise ConfigError("log.remote: required to read this log; set it")
    path = state_dir / "log-copies" / f"{name.file_stem}.git"
    remote = LogRemote(settings.remote, settings.remote_credential_file)
    try:
        if not (path / "HEAD").exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pygit2.init_repository(str(path), bare=True, initial_head=name.ref)
        # A lock is there for an instant, unless its process was killed. At worst two commands write the same copy.
        remove_dead_locks(path, (_ARRIVED, name.ref))
        repository = open_repository(path)
        before = target(repository, name.ref)
        now = remote.branches(repository, name.ref).get(name.ref)
        if now is None and before is None:
            return None
        if now is not None and now != before:
            remote.fetch(repository, name.ref, _ARRIVED)
        if before is not None and not ObjectStore(repository).contains(now, before):
            raise LogRollback(
                f"{settings.remote}: {name.ref} had {before}, is now at {now or 'no entry'} without it; find out who "
                f"moved the branch. If the loss is understood, remove {path}"
            )
        if now is not None and now != before:
            repository.references.create(name.ref, now, force=True)
    except (pygit2.GitError, OSError) as error:
        raise Unavailable(f"{path}: the copy of the log cannot be written: {error}") from error
    return LogReader(path, name.ref)


def mirror_of(settings: LogSettings, name: LogName) -> Mirror | None:
    """What brings the log's mirror up to an entry, or None without one. Raises ConfigError on another kind of URL."""
    if settings.mirror is None:
        return None
    return LogMirror(settings.path, name, settings.mirror, settings.mirror_credential_file).follow


@contextmanager
def open_role_log(
    settings: Settings, repository: RepositorySettings, name: LogName, *, key_file: Path, clock: Clock, emit: Emitter
) -> Iterator[GitLog]:
    """A log in the reconciler's repository, active for the block; at its end the mirror is brought forward.

    Raises ConfigError if the key cannot be used, and what `GitLog.activate` raises.
    """
    mirror = mirror_of(repository.log, name)
    with _log(settings, repository, name, key_file, clock, writer=repository.log.writer) as log:
        yield log
        if pushed(log, emit) and mirror is not None and (tip := log.tip()) is not None:
            mirrored(mirror, tip, emit)


def reconciler_log(
    settings: Settings,
    repository: RepositorySettings,
    repository_id: int,
    clock: Clock,
    *,
    known_whole: CommitId | None = None,
) -> GitLog:
    """The reconciler's own log, not active yet. Raises ConfigError if the key cannot be used."""
    name, writer = LogName(repository_id, Role.RECONCILER), writer_name(settings, repository.log)
    return _log(settings, repository, name, repository.log.key_file, clock, writer=writer, known_whole=known_whole)


def _log(
    settings: Settings,
    repository: RepositorySettings,
    name: LogName,
    key_file: Path,
    clock: Clock,
    *,
    writer: str,
    known_whole: CommitId | None = None,
) -> GitLog:
    signer = SshSigner.from_file(key_file)
    return GitLog(
        repository.log.path,
        name.repository_id,
        name.role,
        sign=signer.sign,
        public_key=signer.public_key(),
        writer=writer,
        now=clock.now,
        tips_dir=settings.state_dir / TIPS,
        remote=repository.log.remote,
        remote_credential_file=repository.log.remote_credential_file,
        known_whole=known_whole,
    )


def operator_key(repository: RepositorySettings) -> Path:
    """What signs the operator's log. Raises ConfigError where it is missing."""
    if repository.log.operator_key_file is None:
        raise ConfigError(f"{repository.name}: log.operator_key_file is required for an operator's command; set it")
    return repository.log.operator_key_file
