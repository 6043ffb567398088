"""The log's section of the configuration (design §8)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from reconciler.settings.types import AbsolutePath, LogUrl, Section


class LogSettings(Section):
    """The signed log of this repository."""

    path: AbsolutePath
    """The bare repository that holds the log; made if it does not exist. Several repositories may share it."""
    key_file: AbsolutePath
    """The OpenSSH private key that signs the log; mode 0600."""
    operator_key_file: AbsolutePath | None = None
    """The OpenSSH private key, mode 0600, of log/<repository id>/operator: for `tag_gc` and `lane.proposals`."""
    writer: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Name of this writer in the log; two replicas need two names. With `standby` the host's name is put after it."""
    remote: LogUrl | None = None
    """Where the log is pushed to: https://host/path or an absolute path; null keeps it on this machine."""
    remote_credential_file: AbsolutePath | None = None
    """One line for the remote: a token, or user:password. Null where it needs none."""
    mirror: LogUrl | None = None
    """A second remote, on another host, that is brought up to the first one after each pass; what is wrong with it is
    told and stops nothing. Null for none."""
    mirror_credential_file: AbsolutePath | None = None
    """One line for the mirror: a token, or user:password. Null where it needs none."""

    @model_validator(mode="after")
    def _mirrored(self) -> Self:
        if self.mirror is None:
            if self.mirror_credential_file is not None:
                raise ValueError("mirror_credential_file is for a mirror; set mirror, or drop it")
            return self
        if self.remote is None:
            raise ValueError("mirror is brought up to remote; set remote, or drop it")
        if self.mirror.rstrip("/") == self.remote.rstrip("/"):
            raise ValueError("mirror and remote are the same repository; a mirror is on another host")
        return self
