"""The first configuration of a repository, from the addresses of its code and its GitOps repository (pure)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from reconciler.settings.types import is_loopback
from state.errors import ConfigError
from state.git import RefName
from state.git_url import Transport, safe, transport

KINDS: Final = ("github", "gitea", "gitlab")
_KIND_OF: Final = {"github.com": "github", "gitlab.com": "gitlab", "codeberg.org": "gitea"}
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9._/-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_TOKEN: Final = {
    "github": "Contents, Pull requests and Metadata: read; for `mode: fill` also Commit statuses: write",
    "gitea": "of a bot user, read:repository; for `mode: fill` also write:repository",
    "gitlab": "read_api and read_repository, role Reporter; for `mode: fill` api, role Developer",
}


class CodePlace(NamedTuple):
    """Where the code is: `address` of the forge and `repository` on it; for `local` the path and nothing."""

    kind: str
    address: str
    repository: str = ""

    @property
    def name(self) -> str:
        """What the repository is called in the configuration."""
        last = (self.repository or self.address).rstrip("/").rpartition("/")[2]
        return re.sub(r"[^a-z0-9._-]", "-", last.removesuffix(".git").lower()).lstrip("._-")[:63] or "code"

    @property
    def git_url(self) -> str:
        return f"{self.address}/{self.repository}.git" if self.repository else self.address


class ToFill(NamedTuple):
    """A file that the configuration names and that somebody has to put there."""

    file: Path
    content: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration is made of; every path absolute."""

    code: CodePlace
    gitops: str
    base: str
    gitops_ref: RefName
    catalogue: str
    inventory: str
    hosts: tuple[str, ...]
    out: Path
    token_file: Path | None = None
    gitops_credential_file: Path | None = None

    @property
    def log_key(self) -> Path:
        return self.beside("log-key")

    @property
    def state_dir(self) -> Path:
        return self.beside("state")

    @property
    def token(self) -> Path:
        return self.token_file or self.beside("token")

    @property
    def gitops_credential(self) -> Path:
        return self.gitops_credential_file or self.beside("gitops-credential")

    def beside(self, what: str) -> Path:
        """A file or directory beside the configuration, named after it."""
        return self.out.with_name(f"{self.out.stem}-{what}")

    def to_fill(self) -> tuple[ToFill, ...]:
        """The files that are not ours to make: credentials, and what tells a server from another."""
        files = []
        if self.code.kind != "local":
            files.append(ToFill(self.token, f"a token for {self.code.git_url}: {_TOKEN[self.code.kind]}"))
        reached_by = transport(self.gitops)
        if reached_by is not Transport.FILE:
            secret = "a private key" if reached_by is Transport.SSH else "a token or password"
            files.append(ToFill(self.gitops_credential, f"{secret} that may read {safe(self.gitops)}, and no more"))
        if reached_by is Transport.SSH:
            files.append(ToFill(self.beside("known-hosts"), "the server's host keys, as `ssh-keyscan` writes them"))
        return tuple(files)


def code_place(url: str, kind: str | None) -> CodePlace:
    """Which forge an https address is at. Raises ConfigError where that can't be told from it, or `kind` is another."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if transport(url) not in (Transport.HTTPS, Transport.HTTP):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"--code: expected https://host/owner/name or the path of a bare repository, got {safe(url)!r}"
        ) from None
    found = "github" if host.endswith(".ghe.com") else _KIND_OF.get(host)
    if kind is not None and found not in (None, kind):
        raise ConfigError(f"--forge {kind}: {host} is a {found}; leave it out")
    chosen = kind or found
    if chosen is None:
        raise ConfigError(f"--code: what kind of forge {host} is can't be told from its name; add --forge KIND")
    path = parts.path.strip("/").removesuffix(".git").split("/")
    own = len(path) if chosen == "gitlab" else 2
    if len(path) < 2 or "" in path or (chosen == "github" and len(path) > 2):
        raise ConfigError(f"--code: expected {parts.scheme}://{host}/owner/name, got {safe(url)!r}")
    root = "/".join((f"{parts.scheme}://{parts.netloc}", *path[:-own]))
    return CodePlace(chosen, root, "/".join(path[-own:]))


def config_text(wanted: Wanted) -> str:
    """The configuration, of at most 15 lines."""
    q = _quoted
    local = "plain_http: true, anonymous: true"
    registries = [f"{{host: {q(h)}, {local if is_loopback(h) else 'anonymous: true'}}}" for h in wanted.hosts]
    return f"""\
version: 1
mode: observe  # fill: also write missing tags
state_dir: {q(wanted.state_dir)}
registries: [{", ".join(registries)}]
repositories:
  - name: {q(wanted.code.name)}
{_forge(wanted)}
    catalogue: {q(wanted.catalogue)}
    gitops: {{url: {q(wanted.gitops)}, ref: {q(wanted.gitops_ref)}, inventory: {q(wanted.inventory)}{_opens(wanted)}}}
    admission: {{base_branches: [{q(wanted.base)}], hold_label: ameide/hold}}
    verification: {{baseline: none, pull_request: none}}  # nothing is proven: shown as unproven
    log: {{path: {q(wanted.state_dir / "log.git")}, key_file: {q(wanted.log_key)}, writer: ameide-0}}
"""


def _forge(wanted: Wanted) -> str:
    code, q = wanted.code, _quoted
    if code.kind == "local":
        return f"    forge: {{kind: local, path: {q(code.address)}}}"
    named = f"    forge: {{kind: {code.kind}, url: {q(code.address)}, repository: {q(code.repository)},"
    return f"{named}\n      token_file: {q(wanted.token)}}}"


def _opens(wanted: Wanted) -> str:
    reached_by = transport(wanted.gitops)
    if reached_by is Transport.FILE:
        return ""
    opens = f",\n      credential_file: {_quoted(wanted.gitops_credential)}"
    if reached_by is Transport.SSH:
        opens += f", known_hosts_file: {_quoted(wanted.beside('known-hosts'))}"
    return opens


def _quoted(value: object) -> str:
    """A YAML scalar that is read back as this text."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
