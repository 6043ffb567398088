"""Images by buildah: without a daemon, without a cache from elsewhere, without anything of this process's environment.

Of buildah only this is used: build one platform, write the image into an OCI layout, remove it from the store. Nothing
is pushed by it, so it gets no credential but the one for base images. Tested with 1.28 (Debian 12).
Source: buildah-build(1), buildah-push(1), containers-registries.conf(5), containers-auth.json(5),
containers-policy.json(5).
"""

from __future__ import annotations

import json
import os
import platform as machine
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from reconciler.adapters import bounded_process
from reconciler.ports import BuildRequest
from reconciler.producing.dockerfile import split_platform
from state.canonical import Json
from state.errors import ConfigError, Terminal, Unavailable

_LINES_SHOWN: Final = 15
_SHORT_S: Final = 120
_OUTPUT_MAX_BYTES: Final = 64 * 1024
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_EMULATORS: Final = {
    "amd64": "x86_64", "arm64": "aarch64", "386": "i386", "arm": "arm", "ppc64le": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64",
}  # fmt: skip
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")


_ACCEPTED: Final[Json] = [{"type": "insecureAcceptAnything"}]
_ANYTHING: Final[Json] = {"default": _ACCEPTED}


class Store(NamedTuple):
    """Where buildah keeps images and layers, and how it runs steps; see `BuildahSettings`."""

    program: Path
    folder: Path
    driver: str
    isolation: str
    network: str
    timeout_s: float
    base_credential_file: Path | None
    plain_http_hosts: tuple[str, ...]


class Buildah:
    """Implements `ports.ImageBuilder`. Several builds may run side by side; nobody else may use the store."""

    def __init__(self, store: Store) -> None:
        """Raises ConfigError if the program cannot be used."""
        if not store.program.is_file() or not os.access(store.program, os.X_OK):
            raise ConfigError(
                f"{store.program}: expected the program buildah (builder.program), got no executable file;"
                " Debian: apt-get install buildah"
            )
        self._store = store
        self._lock = Lock()
        self._running = 0
        self._made: set[str] = set()

    def prepare(self) -> None:
        """Make the store and clear away the working containers of a run that was killed. Raises as `build`."""
        try:
            self._store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self._store.folder}: cannot be made: {error.strerror} (builder.storage_dir)"
            ) from error
        if self._store.folder.stat().st_mode & 0o022:
            raise ConfigError(f"{self._store.folder}: others may write there, and so into images; take that right away")
        self._run(["rm", "--all"], "clearing the store", time.monotonic() + _SHORT_S)

    def runs(self, platform: str) -> bool:
        """Whether this machine can run programs of `platform`, by itself or by an emulator of binfmt_misc."""
        system, architecture, _ = split_platform(platform)
        own = _ARCHITECTURES.get(machine.machine(), machine.machine())
        if system != "linux":
            return False
        if architecture == own or (own, architecture) == ("amd64", "386"):
            return True
        try:
            return (_BINFMT / f"qemu-{_EMULATORS[architecture]}").read_text().startswith("enabled")
        except (OSError, KeyError):
            return False

    def build(self, request: BuildRequest, layout: Path, told: Callable[[str], None]) -> None:
        """See ImageBuilder."""
        store, until_s = self._store, time.monotonic() + self._store.timeout_s
        what = f"{request.file.name} for {request.platform}"
        with tempfile.TemporaryDirectory(prefix="buildah-", dir=layout.parent) as folder:
            named = Path(folder) / "image-id"
            arguments = [
                "build",
                "--isolation", store.isolation, "--network", store.network,
                "--platform", request.platform,
                *(f"--build-arg={name}={value}" for name, value in request.arguments),
                "--timestamp", str(request.created_s), "--omit-history", "--identity-label=false",
                # Nothing from a cache: what comes out is a function of context, file and base images.
                "--no-cache", "--layers=false", "--pull=true",
                "--format", "oci", "--iidfile", str(named), "--authfile", str(self._authfile(Path(folder))),
                "--file", str(request.file), str(request.context),
            ]  # fmt: skip
            with self._removing():
                self._run(arguments, what, until_s, told, _only(request.bases))
                image = _identity(named)
                self._made.add(image)
                self._run(["push", "--format", "oci", image, f"oci:{layout}"], what, until_s)

    @contextmanager
    def _removing(self) -> Iterator[None]:
        """Remove what was made once no build is running: two builds of equal bytes have one image in the store."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0 and self._made:
                    made, self._made = sorted(self._made), set()
                    with suppress(Terminal, Unavailable):  # left behind it costs space, and nothing else
                        self._run(["rmi", "--force", *made], "clearing the store", time.monotonic() + _SHORT_S)

    def _authfile(self, folder: Path) -> Path:
        """Without one of its own buildah looks in homes and run directories."""
        if self._store.base_credential_file is not None:
            return self._store.base_credential_file
        made = folder / "auth.json"
        made.write_text('{"auths":{}}')
        return made

    def _run(
        self,
        arguments: Sequence[str],
        what: str,
        until_s: float,
        told: Callable[[str], None] = lambda _line: None,
        policy: Json = _ANYTHING,
    ) -> None:
        store = self._store
        with tempfile.TemporaryDirectory(prefix="home-", dir=store.folder) as home:
            (Path(home) / "registries.conf").write_text(_registries(store.plain_http_hosts))
            (Path(home) / "containers.conf").touch()
            (Path(home) / "policy.json").write_text(json.dumps(policy))
            if arguments[0] in ("build", "push"):
                arguments = [arguments[0], "--signature-policy", f"{home}/policy.json", *arguments[1:]]
            # Settings, short names, mirrors and policies of the machine do not count: two machines build alike.
            environment = {
                "PATH": os.defpath + ":/usr/local/sbin:/usr/sbin:/sbin",
                "HOME": home,
                "XDG_RUNTIME_DIR": home,
                "TMPDIR": home,
                "LC_ALL": "C.UTF-8",
                "CONTAINERS_CONF": f"{home}/containers.conf",
                "CONTAINERS_REGISTRIES_CONF": f"{home}/registries.conf",
                "REGISTRY_AUTH_FILE": str(self._authfile(Path(home))),
            }
            command = [
                str(store.program),
                "--root", str(store.folder / "root"), "--runroot", str(store.folder / "run"),
                "--storage-driver", store.driver,
                *arguments,
            ]  # fmt: skip
            try:
                ended = bounded_process.run(
                    command, cwd=Path(home), env=environment, until_s=until_s, output_max_bytes=_OUTPUT_MAX_BYTES
                )
            except TimeoutError:
                raise Unavailable(f"{what}: not done within {store.timeout_s:g} s (builder.timeout_s)") from None
            except OSError as error:
                raise ConfigError(f"{store.program}: cannot be started: {error.strerror}") from error
        lines = [line for raw in (ended.output, ended.errors) for line in raw.decode(errors="replace").splitlines()]
        for line in lines:
            told(line)
        if ended.code != 0:
            last = "\n  ".join(line[:300] for line in lines[-_LINES_SHOWN:]) or "it said nothing"
            raise Terminal(f"{what}: buildah {arguments[0]} ended with {ended.code}:\n  {last}")


def _identity(file: Path) -> str:
    """The image's id in the store."""
    text = file.read_text().strip()
    bare = text.removeprefix("sha256:")
    if len(bare) != 64 or not set(bare) <= set("0123456789abcdef"):
        raise Terminal(f"buildah wrote no image id, but {text[:100]!r}")
    return bare


def _only(bases: Sequence[str]) -> Json:
    """containers-policy.json(5): these images by their digests may be pulled, and nothing else.

    A base image may have triggers (ONBUILD) that take others by a name which is no digest, and the builder alone sees
    them. By digest is how an image is named here, so whoever gives it out needs no signature beside.
    """
    allowed: dict[str, Json] = {_scope(base): _ACCEPTED for base in bases}
    return {"default": [{"type": "reject"}], "transports": {"docker": allowed}}


def _scope(reference: str) -> str:
    """An image as a policy names it: by its digest alone where it has a tag, too, and in full at docker.io."""
    name, at, digest = reference.partition("@")
    host, _, path = name.partition("/")
    if at:
        path = path.partition(":")[0]
    if host in ("docker.io", "index.docker.io"):
        host, path = "docker.io", path if "/" in path else f"library/{path}"
    return f"{host}/{path}{at}{digest}"


def _registries(plain_http_hosts: Sequence[str]) -> str:
    """containers-registries.conf(5): no short names, and the hosts that are reached without TLS."""
    lines = ["unqualified-search-registries = []", 'short-name-mode = "enforcing"']
    for host in plain_http_hosts:
        lines += ["[[registry]]", f"location = {json.dumps(host)}", "insecure = true"]
    return "\n".join(lines) + "\n"
