"""The whole way of a primitive, with buildah: scaffold, implement, verify, publish, complete, approve, pin, preview."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.demo.ci import BUILDER, publisher
from reconciler.demo.world import MAIN, pin_file
from reconciler.primitive.names import Kind
from state.git import CommitId, RefName
from state.oci import OCI_INDEX, Digest
from tests.fixtures import warm_cli
from tests.fixtures.approving import Approving
from tests.fixtures.lane import config as lane_config
from tests.fixtures.primitives import environment, implement, replace
from tests.fixtures.producing import OWN, Yard
from tests.fixtures.proving import Proving
from tests.fixtures.shop import Shop, cells, open_shop

pytestmark = pytest.mark.buildah
KIND, NAME = Kind.AGENT, "helper"
IMAGE = f"primitive-{KIND}-{NAME}"
FOLDER = f"primitives/{KIND}/{NAME}"
LDCONFIG = Path("/sbin/ldconfig")
"""A program that needs no library: something for RUN to run in an image that is made from nothing."""


class Loop:
    """A shop whose images of `extra` are built by `ameide publish`, and a checkout that an agent works in."""

    def __init__(self, shop: Shop, proving: Proving, approving: Approving) -> None:
        self.shop, self.proving, self.approving = shop, proving, approving
        self.work = shop.root / "work"
        shop.configure(shop=proving.settings(builder=BUILDER))
        self.git("clone", "-q", str(shop.code), str(self.work), cwd=shop.root)
        self.producer = shop.root / "producer.yaml"
        verification = shop.repository_settings["verification"]
        self.producer.write_text(
            json.dumps(
                {
                    "version": 1,
                    "catalogue": shop.repository_settings["catalogue"],
                    "state_dir": str(shop.root / "producer"),
                    "registries": shop.settings["registries"],
                    "builder": builder(shop.root / "storage"),
                    "verification": verification,
                    "signer": {
                        "kind": "key",
                        "key_file": str(proving.ci.private),
                        "password_file": str(proving.ci.password),
                    },
                    "workflow": ".github/workflows/publish.yml",
                    "sbom": "sources",
                }
            )
        )

    # --- what an agent types

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        identity = ["-c", "user.name=An agent", "-c", "user.email=agent@example.invalid"]
        made = subprocess.run(
            ["git", *identity, *arguments],
            cwd=cwd or self.work,
            env=self.shop.environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return made.stdout.strip()

    def ameide(self, *arguments: str) -> Any:
        made = warm_cli.run([*arguments, "--json"], environment(), self.work, timeout=600)
        assert made.returncode == 0, made.stdout + made.stderr
        return json.loads(made.stdout)

    def publishes(self, *arguments: str) -> dict[str, dict[str, Any]]:
        common = ("publish", "--config", str(self.producer), "--base", "origin/main", "--head", "HEAD")
        return {row["image"]: row for row in self.ameide(*common, *arguments)["images"]}

    def commits(self, message: str, branch: str = "main") -> CommitId:
        self.git("add", "--all")
        self.git("commit", "-q", "--message", message)
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        self.git("fetch", "-q", "origin")
        return CommitId(self.git("rev-parse", "HEAD"))

    def declares(self, name: str, folder: str, platforms: tuple[str, ...], file: str) -> None:
        """Add an image, and a component of the same name, to the catalogue."""
        path = self.work / "ameide.yaml"
        entry = (
            f"  {name}:\n"
            f"    repository: {self.shop.host}/shop/{name}\n"
            f"    inputs: [{folder}]\n"
            f"    platforms: [{', '.join(platforms)}]\n"
            f"    build: {{file: {folder}/{file}, context: {folder}}}\n"
        )
        text = path.read_text().replace("components:\n", f"{entry}components:\n")
        path.write_text(f"{text}  {name}: {name}\n")


def builder(storage: Path) -> dict[str, Any]:
    return {
        "kind": "buildah",
        "program": "/usr/bin/buildah",
        "storage_dir": str(storage),
        "storage_driver": "vfs",
        "isolation": "chroot",
        "network": "host",
    }


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with open_shop(tmp_path / "shop") as shop, publisher(shop.host) as ci:
        proving = Proving(shop, ci)
        proving.attests_mains()
        yield Loop(shop, proving, Approving(shop, proving))


def test_an_agent_brings_a_primitive_from_nothing_to_its_preview(loop: Loop, tmp_path: Path) -> None:
    shop, approving, work = loop.shop, loop.approving, loop.work

    # A base image of the platform's own, published like everything else and pinned by its digest.
    (work / "images/base").mkdir(parents=True)
    (work / "images/base/Dockerfile").write_text("FROM scratch\nCOPY etc /etc\n")
    (work / "images/base/etc").mkdir()
    (work / "images/base/etc/os-release").write_text("ID=base\n")
    loop.declares("base", "images/base", ("linux/amd64", "linux/arm64"), "Dockerfile")
    loop.commits("A base image")
    rows = loop.publishes("--channel", "main")
    assert {name for name, row in rows.items() if row["state"] == "published"} == {"base"}
    assert {row["state"] for name, row in rows.items() if name != "base"} == {"unchanged"}

    # Scaffold.
    made = loop.ameide("primitive", "scaffold", "--kind", KIND, "--name", NAME)
    assert f"{FOLDER}/Dockerfile.main" in made["files_created"]
    dockerfile = work / FOLDER / "Dockerfile.main"
    (pinned,) = [line for line in dockerfile.read_text().splitlines() if line.startswith("FROM ")]
    replace(dockerfile, pinned, f"FROM {shop.host}/shop/base@{rows['base']['digest']}")
    loop.declares(IMAGE, FOLDER, ("linux/amd64", "linux/arm64"), "Dockerfile.main")
    loop.commits("A new primitive")
    first = loop.publishes("--channel", "main")[IMAGE]
    assert first["state"] == "published"
    _deployed(loop, first["digest"])

    # Implement and verify.
    loop.git("switch", "-q", "--create", "helper")
    implement(work / FOLDER, KIND)
    assert loop.ameide("primitive", "verify", "--kind", KIND, "--name", NAME, "--mode", "repo")["summary"] == "pass"
    head = loop.commits("The helper helps", "helper")
    number = shop.pulls.open(head, MAIN, author_id=21).record.number

    # Publish what the head changed, and nothing else.
    rows = loop.publishes()
    assert {name for name, row in rows.items() if row["state"] != "unchanged"} == {IMAGE}
    digest = Digest(rows[IMAGE]["digest"])
    manifest = shop.tag(IMAGE, head)
    assert manifest is not None
    assert (manifest.digest, manifest.media_type) == (digest, OCI_INDEX)

    # The reconciler completes the set; an approval of its plan becomes one pull request with this digest.
    with shop.reconciler() as running:
        report = running.until_quiet()
        states = {name: (cell.state.value, cell.proven) for name, cell in cells(report, number).items()}
        assert states.pop(IMAGE) == ("built", True)
        assert set(states.values()) == {("retagged", True)}
        assert loop.proving.release(head) is not None
        plan = approving.plan(number)
        assert plan.images()[shop.world.repository(IMAGE)] == digest
        approving.approves(number, "alice")
        running.one_pass()
    (change,) = approving.opened()
    assert change.head_branch is not None
    assert f"{shop.host}/shop/{IMAGE}@{digest}" in approving.file("dev", IMAGE, RefName(change.head_branch))
    shop.verified()

    # The preview shows the head's own image.
    (application,) = _previewed(loop, tmp_path, number, head)
    assert application["metadata"]["name"] == f"pr-{number}-{IMAGE}"
    (parameter,) = application["spec"]["sources"][0]["helm"]["parameters"]
    assert (parameter["name"], parameter["value"]) == ("image.ref", f"{shop.host}/shop/{IMAGE}:{head}")


def _deployed(loop: Loop, digest: str) -> None:
    """Somebody writes into GitOps what the new component runs, and that it is previewed."""
    shop = loop.shop
    inventory = loop.approving.inventory()
    pins = [{"environment": "dev", "file": pin_file("dev", IMAGE), "key": "image.ref"}]
    inventory["components"][IMAGE] = {"previewed": True, "pins": pins}
    values = f"image:\n  ref: {shop.host}/shop/{IMAGE}@{digest}\n"
    files = {"ameide/inventory.yaml": json.dumps(inventory), pin_file("dev", IMAGE): values}
    shop.commits_to_main(files, shop.world.gitops)


def _previewed(loop: Loop, tmp_path: Path, number: int, head: CommitId) -> list[Any]:
    """The Applications of the component, by the lane of a reconciler that runs in the cluster."""
    component = {"name": IMAGE, "chart": f"charts/{IMAGE}"}
    values = lane_config(
        "local",
        generator="plugin",
        webhook_route=None,
        image_prefix=f"{loop.shop.host}/shop",
        components=[component],
    )
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(values))
    loop.ameide("gitops", "render", "--config", str(file), "--out", str(tmp_path / "lane"))
    made = loop.ameide("preview", "render", "--pr", str(number), "--head", head, str(tmp_path / "lane"))
    return [one for one in made if IMAGE in json.dumps(one)]


# --- buildah itself


@pytest.fixture
def yard(yard: Yard) -> Yard:
    """A yard with buildah itself."""
    yard.configure(builder=builder(yard.root / "storage"))
    return yard


def commit(yard: Yard, dockerfile: str) -> CommitId:
    """A head whose web image has a program for its steps."""
    import pygit2

    repository = pygit2.Repository(str(yard.code))
    index = pygit2.Index()
    index.read_tree(repository[yard.main].peel(pygit2.Tree))
    program = repository.create_blob(LDCONFIG.read_bytes())
    index.add(pygit2.IndexEntry("src/web/ldconfig", program, pygit2.enums.FileMode.BLOB_EXECUTABLE))
    text = repository.create_blob(dockerfile.encode())
    index.add(pygit2.IndexEntry("src/web/Dockerfile.main", text, pygit2.enums.FileMode.BLOB))
    who = pygit2.Signature("x", "x@example.invalid", 1_700_000_000, 0)
    made = repository.create_commit(None, who, who, "x", index.write_tree(repository), [yard.main])
    return CommitId(str(made))


def test_steps_are_run_and_two_machines_come_to_one_digest(yard: Yard) -> None:
    run = 'RUN ["/ldconfig", "-C", "/etc.cache", "-f", "/main.txt"]'
    head = commit(yard, f'FROM scratch\nCOPY . /\n{run}\nENTRYPOINT ["/ldconfig"]\n')
    first = yard.publishes(head)["web"]
    assert (first.state.value, first.why) == ("published", "")
    yard.registry.call("DELETE", f"/v2/shop/web/manifests/{head}")
    yard.configure(builder=builder(yard.root / "another"), state_dir=str(yard.root / "other"))
    second = yard.publishes(head)["web"]
    assert (second.state.value, second.digest) == ("published", first.digest)
    manifest = yard.tag("web", head)
    assert manifest is not None
    config = yard.registry.call("GET", f"/v2/shop/web/blobs/{json.loads(manifest.raw)['config']['digest']}").json()
    assert (config["created"], f"{config['os']}/{config['architecture']}") == ("2023-11-14T22:13:20Z", OWN)
    assert config["config"]["Entrypoint"] == ["/ldconfig"]
    assert "history" not in config


def test_a_step_that_fails_says_what_it_said(yard: Yard) -> None:
    row = yard.publishes(commit(yard, 'FROM scratch\nCOPY . /\nRUN ["/ldconfig", "--no-such-option"]\n'))["web"]
    assert (row.state.value, row.reason) == ("failed", "terminal")
    assert "no-such-option" in row.why
    assert yard.tags("web") == set()


def test_a_base_that_cannot_be_had_is_told(yard: Yard) -> None:
    base = f"127.0.0.1:1/nobody/base@sha256:{'a' * 64}"
    row = yard.publishes(commit(yard, f"FROM {base}\n"))["web"]
    assert (row.state.value, row.reason) == ("failed", "terminal")
    assert "127.0.0.1:1" in row.why


def test_no_step_reads_a_file_that_the_context_does_not_have(yard: Yard) -> None:
    for source in ("../../producer.yaml", "/etc/passwd", str(yard.config)):
        row = yard.publishes(commit(yard, f"FROM scratch\nCOPY {source} /stolen\n"))["web"]
        assert row.state.value == "failed", source
    assert yard.tags("web") == set()
