"""The log's remote: read its tips, fetch, and push by fast-forward only.

A plain push is a compare-and-swap on the server. libgit2's push returns normally when the server refuses a ref, so the
per-ref report (`push_update_reference`) decides, and a missing report counts as unknown, never as success.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import CredentialType, Option
from pygit2.remotes import PushUpdate

from state.errors import ConfigError, Denied, InvalidValue, ReconcilerError, Terminal, Unavailable
from state.git import CommitId
from state.git_url import log_transport

FETCH_MAX_BYTES: Final = 4 * 1024**3
CONNECT_TIMEOUT_S: Final = 20
ANSWER_TIMEOUT_S: Final = 60

_NO_COMMIT: Final = "0" * 40
_CREDENTIAL_MAX_BYTES: Final = 64 * 1024
_DENIED: Final = ("401", "403", "authentication", "authorization", "credentials", "permission denied")


class Refused(Exception):
    """The remote has answered, and did not move the ref. `args[0]` is its reason."""


class LogRemote:
    """One remote repository, named by URL; the credential is read from its file at each use, so it can be rotated."""

    def __init__(self, url: str, credential_file: Path | None) -> None:
        """`credential_file` holds one line: a token, or `user:password`. Raises ConfigError on another kind of URL."""
        try:
            log_transport(url)
        except InvalidValue as error:
            raise ConfigError(str(error)) from None
        self.url = url
        self._credential_file = credential_file

    def branches(self, repository: pygit2.Repository, prefix: str) -> dict[str, CommitId]:
        """The remote's refs whose names start with `prefix`, and their tips. Raises Unavailable or Denied."""
        with self._errors("read"):
            heads = self._open(repository).list_heads(callbacks=self._callbacks())
        return {h.name: CommitId(str(h.oid)) for h in heads if h.name is not None and h.name.startswith(prefix)}

    def fetch(self, repository: pygit2.Repository, ref: str, into: str) -> None:
        """Have everything `ref` leads to, and keep it under the local ref `into`. Raises Unavailable or Denied."""
        with self._errors("fetch"):
            self._open(repository).fetch([f"+{ref}:{into}"], callbacks=self._callbacks())

    def push(
        self,
        repository: pygit2.Repository,
        oid: CommitId,
        ref: str,
        check: Callable[[CommitId | None], None] | None = None,
    ) -> None:
        """Move the remote's `ref` forward to `oid`; never by force.

        `check` is called with the remote's present tip, before anything is sent; what it raises ends the push.

        Raises:
            Refused: the server said no to this ref.
            Unavailable, Denied: no usable answer. The ref may or may not have moved.
        """
        callbacks = self._callbacks()
        callbacks.check = check
        with self._errors("push"):
            self._open(repository).push([f"{oid}:{ref}"], callbacks=callbacks)
        if ref not in callbacks.reported:
            raise Unavailable(f"{self.url}: push of {ref}: the server reported nothing about the ref")
        if (reason := callbacks.reported[ref]) is not None:
            raise Refused(_printable(reason))

    def _open(self, repository: pygit2.Repository) -> pygit2.Remote:
        # libgit2 waits for ever by default; the option is process-wide.
        pygit2.option(Option.SET_SERVER_CONNECT_TIMEOUT, CONNECT_TIMEOUT_S * 1000)
        pygit2.option(Option.SET_SERVER_TIMEOUT, ANSWER_TIMEOUT_S * 1000)
        return repository.remotes.create_anonymous(self.url)

    def _callbacks(self) -> _Callbacks:
        return _Callbacks(self.url, self._credential_file)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except ReconcilerError:
            raise
        except (pygit2.GitError, KeyError, OSError, ValueError) as error:
            text = _printable(str(error))
            if any(word in text.lower() for word in _DENIED):
                raise Denied(f"{self.url}: {what}: {text}; check the log's credential file") from error
            raise Unavailable(f"{self.url}: {what}: {text}") from error


class _Callbacks(pygit2.RemoteCallbacks):
    def __init__(self, url: str, credential_file: Path | None) -> None:
        super().__init__()
        self._url = url
        self._credential_file = credential_file
        self._asked = False
        self.reported: dict[str, str | None] = {}
        self.check: Callable[[CommitId | None], None] | None = None

    def credentials(self, url: str, username_from_url: str | None, allowed_types: CredentialType) -> pygit2.UserPass:
        del url, username_from_url
        if self._credential_file is None:
            raise Denied(f"{self._url}: asks for a credential, and none is configured for the log")
        if self._asked or not allowed_types & CredentialType.USERPASS_PLAINTEXT:
            raise Denied(f"{self._url}: does not accept the credential in {self._credential_file}")
        self._asked = True
        return pygit2.UserPass(*read_credential(self._credential_file))

    def push_negotiation(self, updates: list[PushUpdate]) -> None:
        for update in updates:
            if self.check is not None:
                there = CommitId(str(update.src))
                self.check(None if there == _NO_COMMIT else there)

    def push_update_reference(self, refname: str, message: str | None) -> None:
        self.reported[refname] = message

    def transfer_progress(self, stats: pygit2.remotes.TransferProgress) -> None:
        if stats.received_bytes > FETCH_MAX_BYTES:
            raise Terminal(f"{self._url}: more than {FETCH_MAX_BYTES} bytes of log; fetch it by hand and look at it")


def read_credential(path: Path) -> tuple[str, str]:
    """User and password or token of a log's credential file: one line. Raises ConfigError naming the file alone."""
    try:
        with path.open("rb") as file:
            text = file.read(_CREDENTIAL_MAX_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the log's credential cannot be read ({type(error).__name__})") from error
    if not text or "\n" in text or len(text) >= _CREDENTIAL_MAX_BYTES:
        raise ConfigError(f"{path}: expected one line, a token or user:password")
    user, colon, password = text.partition(":")
    return (user, password) if colon else ("x-access-token", text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:400].strip()
