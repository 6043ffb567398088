"""The container image: published by `ameide publish` itself, run with a read-only root by a user of no name."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import __version__
from state.oci import OCI_MANIFEST
from state.statement import SLSA_PROVENANCE_V1, SPDX
from tests.fixtures.image import ROOT, SOURCE, WORKFLOW, Images, Release
from tests.fixtures.shop import serving
from tools import go_tools

pytestmark = [pytest.mark.buildah, pytest.mark.debootstrap]

USER = 65532
PROGRAM = "/opt/ameide/bin/ameide"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    folder = tmp_path_factory.mktemp("images")
    with serving(folder / "registry") as registry:
        made = Images(folder, registry)
        yield made
        made.buildah("rm", "--all")
        made.buildah("rmi", "--all", "--force")


@pytest.fixture(scope="session")
def release(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release(tmp_path_factory.mktemp("release"), images)


@pytest.fixture(scope="session")
def published(release: Release) -> str:
    """The image by its digest, published by the command."""
    row = release.publishes()
    assert row["state"] == "published", row
    return f"{release.image}@{row['digest']}"


@pytest.fixture(scope="session")
def by_hand(images: Images, release: Release) -> dict[str, Any]:
    """The configuration of the image as the documented line builds it, at the time of the commit."""
    return images.builds("by-hand", release.clone, release.arguments, release.time_s)


@pytest.fixture(scope="session")
def rootfs(images: Images, by_hand: dict[str, Any]) -> Iterator[Path]:
    """The files of the image. The published one has the same, and is not copied once more for it."""
    with images.rootfs("by-hand") as root:
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


def test_its_labels_and_its_command_say_what_it_is(images: Images, release: Release, published: str) -> None:
    config = configuration(images, published)["config"]
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in config["Labels"].items()}
    assert labels["version"] == __version__  # so the catalogue has to say it
    assert labels["revision"] == release.commit
    assert labels["base.name"] == images.base
    assert (labels["title"], labels["licenses"]) == ("ameide", "Apache-2.0")
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/opt/ameide/bin/ameide"]


# --- what is published beside it


def configuration(images: Images, reference: str) -> dict[str, Any]:
    manifest = images.registry.call("GET", f"/v2/ameide/manifests/{reference.partition('@')[2]}").json()
    made: dict[str, Any] = images.registry.call("GET", f"/v2/ameide/blobs/{manifest['config']['digest']}").json()
    return made


def statement(images: Images, published: str, kind: str) -> dict[str, Any]:
    """The predicate of the one attached statement of that kind. Whose it is, is another question."""
    made = []
    for row in images.registry.call("GET", f"/v2/ameide/referrers/{published.partition('@')[2]}").json()["manifests"]:
        manifest = images.registry.call("GET", f"/v2/ameide/manifests/{row['digest']}").json()
        bundle = images.registry.call("GET", f"/v2/ameide/blobs/{manifest['layers'][0]['digest']}").json()
        made.append(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])))
    (found,) = [one for one in made if one["predicateType"] == kind]
    assert found["subject"][0]["digest"] == {"sha256": published.rpartition(":")[2]}
    predicate: dict[str, Any] = found["predicate"]
    return predicate


def test_its_tags_name_it_and_whoever_asks_is_told_that_it_counts(
    images: Images, release: Release, published: str
) -> None:
    digest = published.partition("@")[2]
    for tag in ("main", release.commit):
        answer = images.registry.call("HEAD", f"/v2/ameide/manifests/{tag}", headers={"Accept": OCI_MANIFEST})
        assert answer.headers["Docker-Content-Digest"] == digest
    config = ("--config", release.reconciler())
    for more in ((), ("--head", release.commit)):
        assert release.ameide("evidence", "verify", published, *config, *more)["outcome"] == "accepted"
    assert release.publishes()["state"] == "present"


def test_its_provenance_says_with_what_it_was_built(images: Images, release: Release, published: str) -> None:
    definition = statement(images, published, SLSA_PROVENANCE_V1)["buildDefinition"]
    assert definition["externalParameters"] == {
        "args": {"BASE": images.base, "REVISION": release.commit, "VERSION": __version__},
        "context": ".",
        "dockerfile": "Containerfile",
        "image": "ameide",
        "workflow": {"path": WORKFLOW, "ref": "refs/heads/main", "repository": SOURCE},
    }
    assert definition["resolvedDependencies"] == [
        {"digest": {"gitCommit": release.commit}, "uri": f"git+{SOURCE}@refs/heads/main"},
        {"digest": {"sha256": images.base.rpartition(":")[2]}, "uri": f"docker://{images.base}"},
    ]


def test_its_sbom_lists_what_is_in_it_and_not_what_built_it(images: Images, published: str) -> None:
    packages = {p["name"]: p.get("versionInfo") for p in statement(images, published, SPDX)["packages"]}
    locked = dict(re.findall(r"(?m)^([a-z0-9._-]+)==([^ ;]+)", (ROOT / "requirements-run.lock").read_text()))
    for name in ("cryptography", "pygit2", "sigstore"):
        assert packages[name] == locked[name]
    assert packages["ameide"] == __version__
    assert {"git", "openssh-client", "ca-certificates"} <= set(packages)
    assert "hatchling" not in packages


@pytest.mark.cosign
def test_cosign_believes_it(release: Release, published: str) -> None:
    cosign = [str(go_tools.path_of("cosign"))]
    key = ["--key", str(release.keys.public), "--insecure-ignore-tlog=true"]
    for kind in ("slsaprovenance1", "spdxjson"):
        asked = [*cosign, "verify-attestation", *key, "--type", kind, published]
        made = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
        assert made.returncode == 0, made.stderr


def test_the_documented_line_builds_the_same(images: Images, published: str, by_hand: dict[str, Any]) -> None:
    by_command = configuration(images, published)
    assert by_hand["rootfs"]["diff_ids"] == by_command["rootfs"]["diff_ids"]
    for one in (by_hand, by_command):  # by hand it names its builder
        one["config"]["Labels"].pop("io.buildah.version", None)
    assert by_hand["config"] == by_command["config"]


def test_a_base_that_is_no_digest_ends_the_build(images: Images, release: Release, published: str) -> None:
    with pytest.raises(AssertionError, match="BASE: expected an image by digest"):
        images.builds("refused", release.clone, {"BASE": images.base_by_tag})
