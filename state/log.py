"""The log as a git branch: one writer's handle to append, push and read.

Guarantees of `append`: when it returns, the entry is on disk (object, then ref, both fsynced) and follows exactly the
entry that this writer knew as the newest; when it raises, nothing was acknowledged and the known tip is unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import pygit2
from pygit2.enums import Option

from state import log_activation, log_chain, log_commit, log_years, sshsig
from state.canonical import Json
from state.entry import BLOB_MAX_BYTES, CLOSES, Entry, Kind, Logged
from state.errors import (
    Denied,
    Fenced,
    IntegrityError,
    InvalidValue,
    LedgerMoved,
    LogRollback,
    ReconcilerError,
    Terminal,
    Transient,
    Unavailable,
)
from state.git import CommitId, RepositoryId
from state.log_branch import LogName
from state.log_chain import Standing
from state.log_push import Replaced, push_tip
from state.log_read import ObjectStore, between, open_repository, refuse_hidden_history, target
from state.log_recovery import (
    Tips,
    TipsFile,
    WriterLock,
    locked_orphans,
    locked_years,
    outside_of,
    remove_stale_locks,
    save_orphan,
    sync_directory,
)
from state.log_remote import LogRemote, Refused
from state.log_write import advance_branch, create_repository, write_entry
from state.sshsig import PublicKey

WITNESS_EVERY: Final = 64
"""Appends after which the remembered tip is replaced, at the latest."""
_OWN_KINDS: Final = frozenset({Kind.GENESIS, Kind.EPOCH, Kind.KEY})

Sign = Callable[[bytes], str]


class Activation(NamedTuple):
    """What becoming active did: the new epoch, the tail that was lost to another writer, and what was cleaned up."""

    epoch: int
    orphan: CommitId | None
    removed_locks: tuple[Path, ...]
    unpushed_orphans: tuple[str, ...]


class GitLog:
    """The append-only log of one (repository, role). Safe to use from several threads; appends are serialised."""

    def __init__(
        self,
        repo_path: Path,
        repository_id: RepositoryId,
        role: str,
        *,
        sign: Sign,
        public_key: str,
        writer: str,
        now: Callable[[], datetime],
        tips_dir: Path,
        remote: str | None = None,
        remote_credential_file: Path | None = None,
        known_whole: CommitId | None = None,
        fsync: bool = True,
    ) -> None:
        """Name the log and its writer; nothing is touched before `activate`.

        Args:
            repo_path: the bare log repository; made if it does not exist.
            sign: gives the armoured SSH signature (namespace `git`) of a payload.
            public_key: `ssh-ed25519 AAAA…`, the key that `sign` uses.
            writer: at most 64 of [a-z0-9._-], the same across restarts of one daemon.
            now: the time for new entries, timezone-aware.
            tips_dir: where the newest entry seen is remembered; outside the repository.
            remote: URL of the remote, or None.
            remote_credential_file: one line, a token or `user:password`.
            known_whole: an entry up to which the log was read before: what is older is not read at the activation.
            fsync: False only for tests of something else. The option is process-wide in libgit2.

        Raises ConfigError or InvalidValue.
        """
        self.name: Final = LogName.make(repository_id, role)
        self._path = repo_path
        self._sign = sign
        self._key = PublicKey.parse(public_key)
        self._writer = writer
        self._now = now
        self._tips_dir = tips_dir
        self._remote = LogRemote(remote, remote_credential_file) if remote else None
        self._fsync = fsync
        self.known_whole = known_whole
        """That entry; from the activation on None where it is not part of the log."""
        self._lock = threading.RLock()
        self._push_lock = threading.Lock()
        self._writer_lock: WriterLock | None = None
        self._tips_file = TipsFile(tips_dir, self.name, fsync=fsync)
        self._tips = Tips()
        self._standing: Standing | None = None
        self._since_witness = 0
        self._unpushed_years: dict[int, CommitId] = {}
        self._stopped: Callable[[], Terminal] | None = None
        self._stop(Terminal, "not active; call activate() first")

    # --- becoming active, and stopping ---------------------------------------------------------------------------

    def activate(self) -> Activation:
        """Become the writer: lock, recover, reconcile with the remote, verify, and begin a new epoch.

        Raises:
            Terminal: another process on this machine is active, or the key in force is not this writer's.
            LogRollback: the local or the remote branch lost entries.
            IntegrityError: an entry that would be stood on does not verify.
            LedgerMoved: another writer appended meanwhile; activate again.
            Fenced: the remote refused the epoch; the tail is saved.
            Transient: the remote does not answer.
        """
        with self._lock:
            if self._writer_lock is not None:
                raise Terminal(f"log {self.name.ref}: is active already")
            create_repository(self._path, self.name, fsync=self._fsync)
            self._tips_dir.mkdir(parents=True, exist_ok=True)
            outside_of(self._path, self._tips_dir)
            lock = WriterLock(self._path, self.name)
            lock.acquire()
            self._writer_lock = lock
            try:
                return self._activate()
            except BaseException:
                self._release("activation failed; activate again")
                raise

    def _activate(self) -> Activation:
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, self._fsync)
        self._repository = open_repository(self._path)
        refuse_hidden_history(self._repository)
        self._store = ObjectStore(self._repository)
        own = (
            self.name.ref,
            log_activation.tracking_ref(self.name),
            "FETCH_HEAD",  # libgit2 writes it at every fetch
            *locked_orphans(self._path, self._writer),
            *locked_years(self._path, self.name),
        )
        removed = remove_stale_locks(self._path, own)
        standing, self._tips, self._unpushed_years = log_activation.settle(
            self._repository, self._store, self.name, self._tips_file, self._remote
        )
        if standing is not None and standing.key != self._key:
            raise Terminal(
                f"log {self.name.ref}: the key in force is {standing.key.fingerprint}, this writer's is "
                f"{self._key.fingerprint}; sign with the one in force, or rotate to the new one with it"
            )
        # Before anything is appended: a log that is damaged anywhere stays as it is, and can be put back.
        if standing is None or self._store.path(standing.id, self.known_whole).from_root:
            self.known_whole = None
        self._standing = standing
        self._stopped = None
        if standing is None:
            self._append(Kind.GENESIS, log_chain.genesis_body(self.name, self._key), {}, epoch=0)
            if self._fsync:  # the directories of the ref are new too
                for directory in (self._path / self.name.ref).parents[:4]:
                    sync_directory(directory)
        epoch = self._known().epoch + 1
        orphan = self._tips.orphan
        self._append(Kind.EPOCH, {"orphan": orphan, "writer": self._writer}, {}, epoch=epoch)
        self._tips = replace(self._tips, orphan=None)
        self._witness()
        left = log_activation.push_orphans(self._repository, self._remote) if self._remote else ()
        self.push()
        return Activation(epoch, orphan, removed, left)

    def close(self) -> None:
        """Remember the tip and give the lock back. Entries that are not pushed stay; the next activation has them."""
        with self._push_lock, self._lock:
            if self._writer_lock is None:
                return
            try:
                if self._stopped is None:
                    self._witness()
            finally:
                self._release("is closed; activate again")

    def __enter__(self) -> Self:
        self.activate()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def public_key(self) -> str:
        """The key that this writer signs with: `ssh-ed25519 AAAA…`."""
        return self._key.line

    # --- reading -------------------------------------------------------------------------------------------------

    def tip(self) -> CommitId | None:
        """The id of the newest entry that this writer knows."""
        with self._lock:
            return self._standing.id if self._standing else None

    def entries(self, after: CommitId | None = None) -> Iterator[Logged]:
        """Every entry up to the tip, or those that follow `after`, oldest first; see `log_read.between`."""
        tip = self.tip()
        return iter(()) if tip is None else between(self._store, tip, after)

    def read(self, entry: CommitId) -> Logged:
        """One entry by its id. Raises IntegrityError if it is not one."""
        return Logged(entry, self._store.entry(entry).entry)

    def blob(self, oid: str) -> bytes:
        """An observation blob. Raises IntegrityError if it is missing or larger than BLOB_MAX_BYTES."""
        return self._store.read(oid, "blob", BLOB_MAX_BYTES)

    # --- appending -----------------------------------------------------------------------------------------------

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        """Append one entry after the tip this writer knows; when it returns, the entry is on disk.

        Raises:
            InvalidValue: the entry has no canonical form, or is too large. GENESIS, EPOCH and KEY are not for callers.
            LedgerMoved: another writer appended first; activate again.
            Fenced: this writer's epoch is over.
            LogRollback: the branch lost the tip this writer knows.
            Unavailable: the disk is full, or the ref stays locked.
        """
        if kind in _OWN_KINDS:
            raise InvalidValue(f"log: {kind.value} entries are made by activate() and rotate()")
        with self._lock:
            return self._append(kind, body, blobs or {})

    def confirm(self) -> None:
        """Pass if the branch still ends with the entry that this writer appended last; one ref is read.

        Raises what the next append would: LedgerMoved, Fenced, LogRollback. A remote is not asked.
        """
        with self._lock:
            self._must_run()
            known = self._known().id
            if (now := target(self._repository, self.name.ref)) != known:
                raise self._failed(Kind.OUTCOME, known, ValueError(f"the branch reads {now}"))

    def rotate(self, sign: Sign, public_key: str) -> Logged:
        """Announce a new key by an entry that the old one signs; from then on the new one signs."""
        key = PublicKey.parse(public_key)
        probe = f"log {self.name.ref}: may this key sign?".encode()
        sshsig.parse(sign(probe)).check(probe, key=key)
        with self._lock:
            made = self._append(Kind.KEY, {"key": key.line}, {})
            self._sign, self._key = sign, key
            self._standing = self._known()._replace(key=key)
            self._witness()
            return made

    def _append(
        self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes], *, epoch: int | None = None
    ) -> Logged:
        self._must_run()
        if self._since_witness >= WITNESS_EVERY:
            self._witness()
        at = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        closing = log_chain.year_to_close(self._standing, at) if self._standing else None
        if closing is not None and kind is Kind.EPOCH:  # the first of its writer, so no other can stand before it
            body = {**body, CLOSES: closing}
        elif closing is not None:
            self._append_at(at, Kind.ANCHOR, {CLOSES: closing}, {})
        return self._append_at(at, kind, body, blobs, epoch=epoch)

    def _append_at(
        self, at: str, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes], *, epoch: int | None = None
    ) -> Logged:
        before = self._standing
        entry = Entry(
            kind=kind,
            sequence=before.sequence + 1 if before else 0,
            epoch=epoch if epoch is not None else self._known().epoch,
            writer=self._writer,
            at=at,
            body=body,
            blobs={name: log_commit.object_id("blob", raw) for name, raw in blobs.items()},
        )
        made, raw = log_commit.sign_entry(entry, before.id if before else None, self._sign)
        oid = CommitId(log_commit.object_id("commit", raw))
        # The same rules as the verifier's: an entry that would not verify is never written.
        after, problems = log_chain.advance(before, made, oid, self.name)
        if problems:
            raise IntegrityError(f"log {self.name.ref}: refused to append: {'; '.join(problems)}")
        try:
            write_entry(self._repository, made.entry, raw, blobs, fsync=self._fsync)
            advance_branch(self._repository, self.name, before.id if before else None, oid)
        except InvalidValue:
            raise
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            raise self._failed(kind, oid, error) from error
        self._standing = after
        self._since_witness += 1
        if before is not None and (year := log_chain.closes(made.entry)) is not None:
            log_years.mark(self._repository, self.name, year, before.id)
            self._unpushed_years[year] = before.id
        return Logged(oid, made.entry)

    def _failed(self, kind: Kind, attempted: CommitId, error: Exception) -> ReconcilerError:
        """What a failed append means, judged by what the branch says now."""
        standing = self._standing
        before = standing.id if standing else None
        now = target(self._repository, self.name.ref)
        if now == before:
            return Unavailable(f"log {self.name.ref}: nothing was appended after {before}: {error}")
        if now == attempted:
            self._stop(Fenced, f"{now} may or may not be on disk; activate again")
            return Unavailable(f"log {self.name.ref}: {now} was written, but perhaps not to disk: {error}")
        if before is not None and not self._store.contains(now, before):
            self._stop(Terminal, f"lost {before}; an operator has to look")
            return LogRollback(f"log {self.name.ref}: expected the tip {before}, got {now or 'none'} without it")
        newest = self._store.entry(now).entry if now else None
        if newest and standing and newest.epoch > standing.epoch and kind is not Kind.EPOCH:
            return self._stop(
                Fenced,
                f"epoch {newest.epoch} belongs to {newest.writer}; this writer ({self._writer}, epoch "
                f"{standing.epoch}) must stop",
            )
        return LedgerMoved(f"log {self.name.ref}: expected the tip {before}, got {now}; activate again")

    # --- pushing -------------------------------------------------------------------------------------------------

    def push(self) -> bool:
        """Bring the remote up to the tip by a fast-forward; False where no remote is configured.

        Appends may go on meanwhile. The ends of closed years follow the tip; one that the remote does not take is
        raised only by a call that has nothing else to bring, so that it keeps no intent from being pushed. Raises:
            Fenced: the remote refused, or another writer's entries are there; the tail is saved first.
            LogRollback: the remote lost entries that were pushed.
            Transient, Denied: no usable answer, and the remote, asked again, does not have the tip.
            IntegrityError: a closed year ends elsewhere on the remote.
        """
        if self._remote is None:
            return False
        with self._push_lock:
            with self._lock:
                self._must_run()
                tip, pushed, years = self._known().id, self._tips.pushed, dict(self._unpushed_years)
            if tip != pushed:
                try:
                    push_tip(self._remote, self._path, self._store, self.name, tip=tip, pushed=pushed)
                except (Refused, Replaced) as lost:
                    raise self._fence(str(lost)) from lost
                with self._lock:
                    self._tips = replace(self._tips, pushed=tip)
                    self._witness()
            try:
                log_years.push(self._path, self._remote, self.name.ref, years)
            except (Transient, Denied, IntegrityError):
                if tip == pushed:
                    raise
                return True
            with self._lock:
                for year in years:
                    self._unpushed_years.pop(year, None)
            return True

    # --- inside --------------------------------------------------------------------------------------------------

    def _fence(self, why: str) -> Terminal:
        with self._lock:
            self._stop(Fenced, f"{why}; this writer must stop")
            saved = save_orphan(self._repository, self._store, self._known().id)
            return self._stop(Fenced, f"{why}; the tail is saved as {saved}; this writer must stop")

    def _stop(self, family: type[Terminal], why: str) -> Terminal:
        def stopped() -> Terminal:
            return family(f"log {self.name.ref}: {why}")

        self._stopped = stopped
        return stopped()

    def _must_run(self) -> None:
        if self._stopped is not None:
            raise self._stopped()

    def _known(self) -> Standing:
        if self._standing is None:
            raise Terminal(f"log {self.name.ref}: has no entry yet")
        return self._standing

    def _witness(self) -> None:
        """Remember the tip, which is on disk. Raises Unavailable; the log itself is as it was."""
        standing = self._known()
        self._tips = replace(self._tips, tip=standing.id, key=standing.key)
        self._tips_file.save(self._tips)
        self._since_witness = 0

    def _release(self, why: str) -> None:
        self._stop(Terminal, why)
        if self._writer_lock is not None:
            self._writer_lock.release()
            self._writer_lock = None
