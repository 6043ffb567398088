"""The kinds of values that the config file is made of: each with its form, checked once."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from state.git import RefName
from state.git_url import Transport, log_transport, transport

PATH_MAX_CHARS: Final = 1024


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts or len(str(path)) > PATH_MAX_CHARS or not str(path).isprintable():
        raise ValueError(f"expected an absolute path without .., at most {PATH_MAX_CHARS} printable characters")
    return path


def _inside(text: str) -> str:
    parts = text.split("/")
    if not text.isprintable() or "\\" in text or any(p in {"", ".", "..", ".git"} for p in parts) or len(text) > 255:
        raise ValueError("expected a path inside the repository such as ameide/inventory.yaml")
    return text


def _branch(text: str) -> str:
    if text.startswith("refs/"):
        raise ValueError("expected a branch by its short name such as main, not a full ref")
    RefName.branch(text)
    return text


def _ref(text: str) -> str:
    return str(RefName(text))


def _git_url(text: str) -> str:
    transport(text)
    return text


def _log_url(text: str) -> str:
    log_transport(text)
    return text


def _forge_url(text: str) -> str:
    if transport(text) not in {Transport.HTTPS, Transport.HTTP}:
        raise ValueError("expected the forge's address such as https://github.com")
    return text


def _address(text: str) -> str:
    split_address(text)
    return text


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError("expected an IP address or network such as 10.2.3.4 or 10.2.3.0/24") from None
    if network.prefixlen == 0:
        raise ValueError("expected the addresses of the proxy, not every address there is")
    return text


def split_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:8080` or `[::1]:8080` as host and port. Raises ValueError."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    try:
        right_form = isinstance(ipaddress.ip_address(bare), ipaddress.IPv6Address) == bracketed
    except ValueError:
        right_form = False
    if not right_form or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("expected an IP address and a port such as 127.0.0.1:8080 or [::]:8080")
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether a registry host (`name[:port]`) can only be this machine."""
    bare = re.sub(r":[0-9]+$", "", host).strip("[]")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare == "localhost"


def known_hosts_fit(url: str, credential_file: Path | None, known_hosts_file: Path | None) -> None:
    """Whether the files fit how a git URL is reached. Raises ValueError."""
    reached_by = transport(url)
    if reached_by is Transport.FILE and credential_file is not None:
        raise ValueError("credential_file has no meaning for a local path; set it to null")
    if reached_by is Transport.SSH and known_hosts_file is None:
        raise ValueError("url is reached by ssh: set known_hosts_file to a file with the server's host keys")
    if reached_by is not Transport.SSH and known_hosts_file is not None:
        raise ValueError("known_hosts_file has a meaning only where url is reached by ssh; set it to null")


AbsolutePath: TypeAlias = Annotated[Path, AfterValidator(_absolute)]
InsidePath: TypeAlias = Annotated[str, AfterValidator(_inside)]
BranchName: TypeAlias = Annotated[str, AfterValidator(_branch)]
FullRef: TypeAlias = Annotated[str, AfterValidator(_ref)]
GitUrl: TypeAlias = Annotated[str, AfterValidator(_git_url)]
LogUrl: TypeAlias = Annotated[str, AfterValidator(_log_url)]
Address: TypeAlias = Annotated[str, AfterValidator(_address)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]
Label: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
ForgeUrl: TypeAlias = Annotated[str, AfterValidator(_forge_url)]
ForgeId: TypeAlias = Annotated[int, Field(ge=1, le=2**53 - 1)]
RegistryHost: TypeAlias = Annotated[
    str, Field(max_length=255, pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[0-9]{1,5})?$")
]


class Section(BaseModel):
    """What all parts of the file share: unknown keys are errors, values never change, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
