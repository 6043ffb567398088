"""The demo's outside: a small monorepo and a GitOps repository on disk, and the people who work on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import pygit2

from reconciler.adapters.forge_local_writer import LocalPullRequests
from reconciler.adapters.local_repository import LocalRepository
from reconciler.demo.images import build_and_push
from state.git import CommitId, RefName
from state.oci import Digest, Repository, Tag

MAIN: Final = RefName.branch("main")
IMAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "orders": ("primitives/domain/orders", "packages/sdk_go"),
    "billing": ("primitives/process/billing", "packages/sdk_go"),
    "catalog": ("primitives/projection/catalog", "packages/sdk_python"),
    "web": ("primitives/uisurface/web", "packages/sdk_ts"),
}
COMPONENTS: Final[Mapping[str, str]] = {
    "orders": "orders",
    "orders-dispatcher": "orders",
    "billing": "billing",
    "catalog": "catalog",
    "web": "web",
}
"""Component → image: a dispatcher runs another entry point of the orders image."""
REPOSITORY_ID: Final = 1001
GITOPS_ID: Final = 2002
FORK_ID: Final = 4242
ENVIRONMENTS: Final = ("dev", "staging")
_EPOCH: Final = 1_767_603_600
"""The demo's commits are made at 2026-01-05 09:00 UTC and later, a minute apart."""


Attest: TypeAlias = Callable[[Repository, Digest, RefName, CommitId], None]
"""(image repository, digest, ref, revision) of a build."""


class World:
    """Two bare repositories and a registry, with the deeds of developers and CI as methods."""

    def __init__(self, root: Path, registry_host: str, attest: Attest | None = None) -> None:
        self.attest = attest
        self.code = root / "shop.git"
        self.gitops = root / "shop-gitops.git"
        self.registry_host = registry_host
        self.main: CommitId
        """The commit that the baselines were built from."""
        self._clock = _EPOCH

    @classmethod
    def create(cls, root: Path, registry_host: str, attest: Attest | None = None) -> World:
        """Make both repositories and publish `:main` of every image, as CI on the main branch does.

        `attest` is what CI does with each image that it has pushed; None for nothing.
        """
        world = cls(root, registry_host, attest)
        LocalRepository(world.code).initialise(REPOSITORY_ID)
        LocalRepository(world.gitops).initialise(GITOPS_ID)
        files = {"README.md": "# shop\n", "go.work": "go 1.26\n", "ameide.yaml": world._catalogue()}
        for inputs in IMAGES.values():
            for path in inputs:
                files[f"{path}/main.txt"] = f"{path}\n"
        world.commit(world.code, MAIN, None, files, "The shop")
        world.main = world.tip(world.code)
        pinned = {image: world.ci_builds(image, world.main, Tag("main")) for image in IMAGES}
        files = {"ameide/inventory.yaml": _inventory()}
        for component, image in COMPONENTS.items():
            for environment in ENVIRONMENTS:
                files[pin_file(environment, component)] = world._values(component, image, pinned[image])
        world.commit(world.gitops, MAIN, None, files, "What is previewed, and what each environment runs")
        return world

    # --- developers

    def tip(self, repository: Path) -> CommitId:
        """The tip of main."""
        return CommitId(str(pygit2.Repository(str(repository)).references[MAIN].target))

    def branch(self, name: str, files: Mapping[str, str], message: str) -> CommitId:
        """Commit `files` on a new or existing branch that started from main."""
        ref = RefName.branch(name)
        found = pygit2.Repository(str(self.code)).references.get(ref)
        parent = CommitId(str(found.target)) if found is not None else self.tip(self.code)
        return self.commit(self.code, ref, parent, files, message)

    def pull_requests(self) -> LocalPullRequests:
        return LocalPullRequests(self.code)

    # --- CI

    def repository(self, image: str) -> Repository:
        return Repository(f"{self.registry_host}/shop/{image}")

    def ci_builds(self, image: str, revision: CommitId, tag: Tag | None = None) -> Digest:
        """Build and push one image of `revision`, under its own commit id unless `tag` says otherwise."""
        digest = build_and_push(self.repository(image), tag or Tag(revision), revision)
        if self.attest is not None:
            ref = MAIN if tag == "main" else RefName.branch("work")
            self.attest(self.repository(image), digest, ref, revision)
        return digest

    # --- files

    def commit(
        self, path: Path, ref: RefName, parent: CommitId | None, files: Mapping[str, str], message: str
    ) -> CommitId:
        """One commit on `ref` that adds or replaces `files`."""
        repository = pygit2.Repository(str(path))
        index = pygit2.Index()
        if parent is not None:
            index.read_tree(repository[parent].peel(pygit2.Tree))
        for name, text in files.items():
            blob = repository.create_blob(text.encode())
            index.add(pygit2.IndexEntry(name, blob, pygit2.enums.FileMode.BLOB))
        self._clock += 60
        who = pygit2.Signature("A developer", "developer@example.invalid", self._clock, 0)
        parents = [parent] if parent is not None else []
        return CommitId(str(repository.create_commit(ref, who, who, message, index.write_tree(repository), parents)))

    def _values(self, component: str, image: str, digest: Digest) -> str:
        return (
            f"# What {component} runs here. Digests are pinned by pull request.\n"
            "replicas: 1\n"
            "image:\n"
            f"  ref: {self.repository(image)}@{digest}  # by digest, never by tag\n"
        )

    def _catalogue(self) -> str:
        lines = ["version: 1", "images:"]
        for image, inputs in IMAGES.items():
            lines += [
                f"  {image}:",
                f"    repository: {self.repository(image)}",
                f"    inputs: [{', '.join(inputs)}]",
                "    platforms: [linux/amd64, linux/arm64]",
            ]
        lines += ["components:", *(f"  {component}: {image}" for component, image in COMPONENTS.items())]
        return "\n".join(lines) + "\n"


def pin_file(environment: str, component: str) -> str:
    """The values file in which a component is pinned for an environment."""
    return f"sources/values/env/{environment}/apps/{component}.yaml"


def _inventory() -> str:
    lines = ["version: 1", "components:"]
    for component in COMPONENTS:
        lines += [
            f"  {component}:",
            "    previewed: true",
            "    pins:",
            *(f"      - {{environment: {e}, file: {pin_file(e, component)}, key: image.ref}}" for e in ENVIRONMENTS),
        ]
    return "\n".join(lines) + "\n"
