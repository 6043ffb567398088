"""The container image: built from Containerfile by buildah, run with a read-only root by a user of no name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import __version__
from tests.fixtures.image import ROOT, Images

pytestmark = [pytest.mark.buildah, pytest.mark.debootstrap]

USER = 65532
PROGRAM = "/opt/ameide/bin/ameide"
LABELS = {"VERSION": "1.2.3", "REVISION": "0" * 40, "SOURCE": "https://git.example.org/acme/ameide"}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if os.geteuid() != 0:
        pytest.skip("building with --isolation chroot needs root")
    made = Images(tmp_path_factory.mktemp("images"))
    yield made
    made.buildah("rm", "--all")
    made.buildah("rmi", "--all", "--force")


@pytest.fixture(scope="session")
def built(images: Images) -> str:
    """The digest of the image."""
    return images.builds("ameide", **LABELS)


@pytest.fixture(scope="session")
def rootfs(images: Images, built: str) -> Iterator[Path]:
    with images.rootfs("ameide") as root:
        yield root


_SANDBOX = """
root=$1 state=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
[ -z "$state" ] || mount --bind "$state" "$root/var/lib/ameide"
exec chroot "$root" /usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs --bounding-set=-all \\
    --inh-caps=-all /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 "$@"
"""


def runs(rootfs: Path, program: str, *arguments: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of the image under the restricted profile with a read-only root, as Kubernetes would."""
    inside = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "sh", "-e", "-c", _SANDBOX, "sandbox")
    where = (str(rootfs), "" if state is None else str(state))
    command = (*inside, *where, program, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_it_says_which_version_it_is(rootfs: Path) -> None:
    made = runs(rootfs, PROGRAM, "--version")
    assert (made.returncode, made.stdout) == (0, f"ameide, version {__version__}\n"), made.stderr


def test_the_whole_path_works_in_it_with_nothing_writable_but_its_state(rootfs: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, USER, USER)
    made = runs(rootfs, PROGRAM, "demo", "--no-serve", "--json", "--dir", "/var/lib/ameide/shop", state=state)
    assert made.returncode == 0, made.stderr[-3000:]
    assert (state / "shop").is_dir()
    assert {p.stat().st_uid for p in state.rglob("*")} == {USER}


def test_its_root_is_read_only_and_its_user_owns_nothing_of_it(rootfs: Path) -> None:
    assert "Read-only file system" in runs(rootfs, "/usr/bin/touch", "/opt/x").stderr
    assert "Permission denied" in runs(rootfs, "/usr/bin/cat", "/etc/shadow").stderr
    config = (rootfs / "etc" / "passwd").read_text().splitlines()
    assert f"ameide:x:{USER}:{USER}::/var/lib/ameide:/usr/sbin/nologin" in config
    owned = [p for p in rootfs.rglob("*") if p.lstat().st_uid == USER]
    assert owned == [rootfs / "var" / "lib" / "ameide"]
    writable = [p for p in (rootfs / "opt").rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022]
    assert writable == []


def test_only_what_runs_is_in_it(rootfs: Path) -> None:
    packages = {p.name.partition("-")[0].lower() for p in (rootfs / "opt").rglob("*.dist-info")}
    locked = set(re.findall(r"(?m)^([a-z0-9._-]+)==", (ROOT / "requirements-run.lock").read_text()))
    assert packages - {"ameide"} <= {name.replace("-", "_").lower() for name in locked}
    assert not {"pip", "setuptools", "mypy", "pytest", "hatchling"} & packages
    assert not (rootfs / "src").exists()
    assert list((rootfs / "var" / "lib" / "apt" / "lists").rglob("*")) == []


def test_its_labels_and_its_command_say_what_it_is(images: Images, built: str) -> None:
    config = json.loads(images.buildah("inspect", "--type", "image", "localhost/ameide"))["OCIv1"]["config"]
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in config["Labels"].items()}
    assert labels["version"] == LABELS["VERSION"]
    assert labels["revision"] == LABELS["REVISION"]
    assert labels["source"] == LABELS["SOURCE"]
    assert labels["base.name"] == images.base
    assert (labels["title"], labels["licenses"]) == ("ameide", "Apache-2.0")
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/opt/ameide/bin/ameide"]


def test_a_second_build_gives_the_same_digest(images: Images, built: str) -> None:
    assert images.builds("again", **LABELS) == built


@pytest.mark.parametrize("base", ["localhost/ameide-base:latest"])
def test_a_base_that_is_no_digest_ends_the_build(images: Images, built: str, base: str) -> None:
    with pytest.raises(AssertionError, match="BASE: expected an image by digest"):
        images.builds("refused", BASE=base)
