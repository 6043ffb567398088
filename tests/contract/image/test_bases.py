"""What a Dockerfile takes from outside: as it is read here, and as buildah pulls it.

A file that is let through takes nothing but what was read; a file that is refused is refused for a reason, so beside
each trick stands what buildah makes of it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from reconciler.adapters import builder_buildah
from reconciler.adapters.builder_buildah import Buildah, Store
from reconciler.adapters.oci_layout import read_layout
from reconciler.ports import BuildRequest
from reconciler.producing.dockerfile import read
from state.errors import ConfigError, Terminal
from state.oci import DOCKER_MANIFEST
from tests.fixtures.embedded import EmbeddedRegistry, descriptor
from tests.fixtures.producing import OWN
from tests.fixtures.shop import serving

pytestmark = pytest.mark.buildah
_PROGRAM: Final = Path("/usr/bin/buildah")
_MANIFEST: Final = re.compile(r"/v2/([a-z]+)/manifests/(.+)")


class Built(NamedTuple):
    """`pulled` is what buildah took from the registry, by digest, or by a tag where it asked by that."""

    pulled: set[str]
    error: str
    layout: Path


class Builder(NamedTuple):
    """buildah, and a registry with the images `good`, `other`, `evil` and `trigger`, which takes `evil` by its tag."""

    registry: EmbeddedRegistry
    pinned: dict[str, str]
    folder: Path

    @property
    def unpinned(self) -> str:
        return f"{self.registry.host}/evil:latest"

    def text(self, template: str) -> str:
        """With `<good>` for its name by digest, and `<host>` for the registry."""
        made = template.replace("<host>", self.registry.host)
        for name, reference in self.pinned.items():
            made = made.replace(f"<{name}>", reference)
        return made

    def builds(self, dockerfile: str, arguments: dict[str, str], bases: Iterable[str]) -> Built:
        """`bases` is what it may pull."""
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        (context / "a").write_text("a")
        file = self.folder / "Dockerfile"
        file.write_text(dockerfile)
        fresh = Path(tempfile.mkdtemp(dir=self.folder))
        layout, hosts = fresh / "layout", (self.registry.host,)
        program = Buildah(Store(_PROGRAM, fresh / "storage", "vfs", "chroot", "host", 60, None, hosts))
        program.prepare()
        before, error = len(self.registry.answered), ""
        request = BuildRequest(context, file, OWN, 0, tuple(arguments.items()), tuple(bases))
        try:
            program.build(request, layout, lambda _: None)
        except Terminal as ended:
            error = str(ended)
        asked = [path for _, path, _ in self.registry.answered[before:]]
        names = [found for path in asked if (found := _MANIFEST.fullmatch(path))]
        return Built(
            {
                f"{self.registry.host}/{name}{'@' if ':' in reference else ':'}{reference}"
                for name, reference in (found.groups() for found in names)
                if any(path.startswith(f"/v2/{name}/blobs/") for path in asked)
            },
            error,
            layout,
        )


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("bases")
    with serving(folder / "registry") as registry:
        system, architecture = OWN.split("/")
        pinned = {}
        for name in ("good", "other", "evil", "trigger"):
            config = {
                "architecture": architecture,
                "os": system,
                "config": {"Env": [f"SET_BY_IT={registry.host}/evil:latest"], "Labels": {"name": name}},
                "rootfs": {"type": "layers", "diff_ids": []},
            }
            if name == "trigger":
                config["config"]["OnBuild"] = [f"COPY --from={registry.host}/evil:latest /a /b"]
            raw = json.dumps(config).encode()
            registry.push_blob(name, raw)
            body = {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST,
                "config": descriptor(raw, "application/vnd.docker.container.image.v1+json"),
                "layers": [],
            }
            answer = registry.push(name, "latest", json.dumps(body).encode())
            pinned[name] = f"{registry.host}/{name}@{answer.headers['Docker-Content-Digest']}"
        yield Builder(registry, pinned, folder)


_SCOPES: Final = """\
ARG BASE=<good>
FROM $BASE AS one
ARG BASE=<evil>
ENV BASE=<evil>
COPY a /
FROM $BASE
COPY --from=0 /a /b
"""


def of(builder: Builder, *names: str) -> set[str]:
    return {builder.pinned[name] for name in names}


@pytest.mark.parametrize(
    ("template", "given", "taken"),
    [
        ("ARG BASE\nFROM ${BASE} AS one\nCOPY a /\nARG BASE\nFROM $BASE\nCOPY --from=one /a /b", "<good>", ["good"]),
        ("ARG BASE=<other>\nFROM $BASE\nCOPY a /", "<good>", ["good"]),
        ("ARG BASE=<other>\nARG BASE=<good>\nARG BASE\nFROM $BASE\nCOPY a /", None, ["good"]),
        (_SCOPES, None, ["good"]),
        (
            "arg A=\"<good>\" B='<other>'\nfrom $A as one\ncopy a /\nfrom ${B}\ncopy --from=one a b",
            None,
            ["good", "other"],
        ),
        ("FR\\\nOM \\ \t\n# between\n  # too\n\n <good>\nCOPY --from=<other> /a /b", None, ["good", "other"]),
    ],
)
def test_what_is_read_is_what_is_pulled(builder: Builder, template: str, given: str | None, taken: list[str]) -> None:
    dockerfile = builder.text(template)
    arguments = {} if given is None else {"BASE": builder.text(given)}
    bases = {base.reference for base in read(dockerfile.encode(), "Dockerfile", arguments).bases}
    assert bases == of(builder, *taken)
    assert builder.builds(dockerfile, arguments, of(builder, "good", "other", "evil")).pulled == bases


def test_a_tag_beside_the_digest_changes_nothing(builder: Builder) -> None:
    tagged = builder.pinned["good"].replace("/good@", "/good:latest@")
    built = builder.builds(f"FROM {tagged}\nCOPY a /", {}, [tagged])
    assert (built.pulled, built.error) == (of(builder, "good"), "")


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("ARG BASE=<good>\nFROM ${NONE:-<host>/evil}\nCOPY a /", marks=pytest.mark.thorough),
        pytest.param("FROM <good>\nARG X=<host>/evil\nCOPY --from=$X /a /b", marks=pytest.mark.thorough),
        "FROM <good>\nRUN --mount=type=bind,from=$SET_BY_IT,target=/x true",
        pytest.param("FROM <good>\nCOPY --fr\\om=<host>/evil /a /b", marks=pytest.mark.thorough),
        pytest.param("FROM <good>\nCOPY --chown=\u00e0--from=<host>/evil /a /b", marks=pytest.mark.thorough),
        pytest.param("FROM <good>\nCOPY a \\\u00a0\nFROM <host>/evil\nCOPY a /", marks=pytest.mark.thorough),
        pytest.param(
            "# syntax=x\n# escape=`\nFROM <good>\nCOPY a b `\nFROM <host>/evil\nCOPY a /", marks=pytest.mark.thorough
        ),
        "FROM <good>\nFR\\\nOM <host>/evil\nCOPY a /",
    ],
)
def test_a_trick_that_buildah_falls_for_is_refused_and_would_not_be_pulled_either(
    builder: Builder, template: str
) -> None:
    dockerfile = builder.text(template)
    with pytest.raises(ConfigError):
        read(dockerfile.encode(), "Dockerfile")
    assert builder.unpinned not in builder.builds(dockerfile, {}, of(builder, "good")).pulled
    assert builder.unpinned in builder.builds(dockerfile, {}, [*of(builder, "good"), builder.unpinned]).pulled


def test_what_a_base_takes_by_a_trigger_is_not_pulled(builder: Builder) -> None:
    dockerfile = builder.text("FROM <trigger>\nCOPY a /")
    (base,) = read(dockerfile.encode(), "Dockerfile").bases
    built = builder.builds(dockerfile, {}, [base.reference])
    assert built.pulled == {base.reference}
    assert "evil:latest" in built.error
    assert builder.unpinned in builder.builds(dockerfile, {}, [base.reference, builder.unpinned]).pulled


def test_an_address_that_is_put_together_is_refused(builder: Builder) -> None:
    dockerfile = builder.text('FROM <good>\nADD ht"tp://<host>/v2/evil/tags/list" /x')
    with pytest.raises(ConfigError):
        read(dockerfile.encode(), "Dockerfile")
    assert builder.builds(dockerfile, {}, of(builder, "good")).error == ""


def test_arguments_reach_the_build_and_what_is_made_of_them(builder: Builder) -> None:
    dockerfile = builder.text("FROM <good>\nARG A\nARG B=unset\nLABEL a=$A b=$B\nCOPY a /")
    value = "two words, a = and 'quotes' $B"
    built = builder.builds(dockerfile, {"A": value, "B": ""}, of(builder, "good"))
    config = read_layout(built.layout, OWN).blobs[0][1]
    assert json.loads(config.read_bytes())["config"]["Labels"] == {"a": value, "b": "", "name": "good"}


@pytest.mark.parametrize(
    "name", ["docker.io/library/good", "docker.io/good", "docker.io/library/good:1", "index.docker.io/library/good"]
)
def test_the_policy_calls_an_image_of_docker_io_as_buildah_does(builder: Builder, tmp_path: Path, name: str) -> None:
    """Asked for at docker.io, and given out by the registry here."""
    digest = builder.pinned["good"].partition("@")[2]
    config = builder.registry.call("GET", f"/v2/good/manifests/{digest}").json()["config"]["digest"]
    builder.registry.push_blob("library/good", builder.registry.call("GET", f"/v2/good/blobs/{config}").content)
    raw = builder.registry.call("GET", f"/v2/good/manifests/{digest}").content
    builder.registry.push("library/good", "1", raw, DOCKER_MANIFEST)
    mirrored = f'[[registry]]\nprefix = "docker.io"\nlocation = "{builder.registry.host}"\ninsecure = true\n'
    (tmp_path / "registries.conf").write_text(mirrored)
    (tmp_path / "policy.json").write_text(json.dumps(builder_buildah._only([f"{name}@{digest}"])))

    conf = str(tmp_path / "registries.conf")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CONTAINERS_REGISTRIES_CONF": conf}

    def pulls(reference: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(_PROGRAM, "--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs"),
                *("pull", "--signature-policy", tmp_path / "policy.json", reference),
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip

    refused = pulls("docker.io/library/good:1")
    assert (refused.returncode, "rejected by policy" in refused.stderr) == (125, True), refused.stderr
    made = pulls(f"{name}@{digest}")
    assert made.returncode == 0, made.stderr
