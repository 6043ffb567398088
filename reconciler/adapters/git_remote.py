"""Where a repository is fetched from, and what it takes to ask there.

Nothing of the surroundings counts: no system or user configuration, no credential helper, no agent, no netrc, no
proxy variable. A redirect is not followed, since the credential would go with it.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters.git_process import own_environment
from state.errors import ConfigError
from state.git_url import Transport, safe, transport

DEFAULT_USERNAME: Final = "x-access-token"
"""What GitHub asks for beside a token; Gitea and GitLab take any name beside a token."""

_ASKPASS: Final = """\
#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$GIT_REMOTE_USERNAME" ;;
Password*)
  if [ -n "$GIT_REMOTE_TOKEN" ]; then printf '%s\\n' "$GIT_REMOTE_TOKEN"; else cat -- "$GIT_REMOTE_CREDENTIAL_FILE"; fi
  ;;
*) exit 1 ;;
esac
"""


class Remote(NamedTuple):
    """A checked URL and the files that open it.

    Args:
        credential_file: for HTTP a file with the token or password alone; for SSH a private key.
        username: for HTTP, the name that goes with it.
        known_hosts_file: for SSH, the host keys that count; required there.
        ca_file: for HTTPS, a PEM file with the only authorities that count; None for the built-in list.
        token: for HTTP in place of a credential file, asked before each command: a forge App's token lasts an hour.
            It goes to git in the environment of that one command, which only our own user can read.
    """

    url: str
    transport: Transport
    credential_file: Path | None = None
    username: str = DEFAULT_USERNAME
    known_hosts_file: Path | None = None
    ca_file: Path | None = None
    token: Callable[[], str] | None = None

    def configuration(self) -> list[str]:
        """Options for the command line, before the verb."""
        settings = {
            "protocol.allow": "never",
            f"protocol.{self.transport}.allow": "always",
            "remote.origin.url": self.url,
            "http.followRedirects": "false",
            "http.emptyAuth": "false",
            "credential.helper": "",
            "core.hooksPath": os.devnull,
            "core.fsmonitor": "false",
            "gc.auto": "0",
            "maintenance.auto": "false",
            "fetch.writeCommitGraph": "false",
            "transfer.credentialsInUrl": "die",
        }
        if self.ca_file is not None:
            settings["http.sslCAInfo"] = str(self.ca_file)
        return [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    def environment(self, home: Path) -> dict[str, str]:
        """All of the environment. Raises ConfigError if the credential file is missing or open to others, and what
        asking for a token raises.

        Args:
            home: a directory of ours: `write_askpass` was called for it, and no netrc or ssh configuration is in it.
        """
        made = {
            **own_environment(home),
            "GIT_ASKPASS": "false",
            "GIT_CEILING_DIRECTORIES": str(home.parent),
        }
        if self.credential_file is not None:
            check_private(self.credential_file)
        opened = self.token is not None or self.credential_file is not None
        if self.transport in {Transport.HTTP, Transport.HTTPS} and opened:
            made["GIT_ASKPASS"] = str(_askpass(home))
            made["GIT_REMOTE_USERNAME"] = self.username
            if self.token is not None:
                made["GIT_REMOTE_TOKEN"] = self.token()
            else:
                made["GIT_REMOTE_CREDENTIAL_FILE"] = str(self.credential_file)
        if self.transport is Transport.SSH:
            made["GIT_SSH_COMMAND"] = shlex.join(self._ssh())
            made["GIT_SSH_VARIANT"] = "ssh"
        return made

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts_file),
            "GlobalKnownHostsFile": os.devnull,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "ConnectTimeout": "20",
        }
        identity = [] if self.credential_file is None else ["-i", str(self.credential_file)]
        return ["ssh", "-F", os.devnull, *(p for k, v in options.items() for p in ("-o", f"{k}={v}")), *identity]


def remote(
    url: str,
    *,
    credential_file: Path | None = None,
    username: str = DEFAULT_USERNAME,
    known_hosts_file: Path | None = None,
    ca_file: Path | None = None,
    token: Callable[[], str] | None = None,
) -> Remote:
    """Check `url` as `state.git_url.transport` does, and that the files fit it.

    Raises InvalidValue on a form that is not accepted; ConfigError where ssh lacks its host keys.
    """
    found = transport(url)
    if found is Transport.SSH and known_hosts_file is None:
        raise ConfigError(f"{safe(url)}: ssh needs a file of known host keys, and none is configured")
    if found is Transport.FILE and credential_file is not None:
        raise ConfigError(f"{safe(url)}: a local path takes no credential")
    for file in (credential_file, known_hosts_file, ca_file):
        if file is not None and not file.is_absolute():
            raise ConfigError(f"{file}: expected an absolute path")
    return Remote(url, found, credential_file, username, known_hosts_file, ca_file, token)


def check_private(file: Path) -> None:
    """Raises ConfigError unless `file` is a regular file that others cannot read and the group cannot write."""
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: the credential file cannot be read: {error.strerror}") from error
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or mode & 0o027:
        raise ConfigError(
            f"{file}: expected a regular file that only its owner (and group) may read, got mode {mode:04o};"
            f" chmod 0600 it, or set defaultMode: 0400 on the Kubernetes volume"
        )


def write_askpass(home: Path) -> None:
    """The helper that hands git the credential: it holds no secret, only prints the file that its environment names."""
    file = _askpass(home)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(_ASKPASS)
    fresh.chmod(0o700)
    fresh.rename(file)


def _askpass(home: Path) -> Path:
    return home / "ameide-askpass"
