"""From a commit to checked image layouts on this machine: context, build, and what an earlier run left done.

A layout is built aside and renamed into place, under a name that covers everything it was made of. So a run that is
killed at any time leaves whole layouts, which the next one takes, and rubbish, which it removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, Protocol, TypeAlias

from reconciler.adapters.oci_layout import PlatformImage, image_index, read_layout
from reconciler.ports import BuildRequest, ImageBuilder
from reconciler.producing.dockerfile import Base, Dockerfile, read
from state import canonical
from state.errors import ConfigError, IntegrityError, Terminal
from state.git import CommitId
from state.observed import Image, Recipe
from state.oci import Digest, Manifest

_NEW: Final = ".new-"
Told: TypeAlias = Callable[[str], None]


class Sources(Protocol):
    """The commit's files, by git. Not for use from several threads at once."""

    def dockerfile(self, recipe: Recipe) -> bytes:
        """The recipe's file. Raises ConfigError."""

    def context(self, image: Image, recipe: Recipe, target: Path) -> None:
        """Write the build context. Raises Terminal, ConfigError."""

    def fingerprint(self, image: Image) -> Digest:
        """Of the image's declared inputs."""

    @property
    def time_s(self) -> int:
        """The commit's time, seconds since 1970."""


class Machine(ImageBuilder, Protocol):
    """A builder that knows what this machine can run."""

    def runs(self, platform: str) -> bool:
        """Whether RUN steps of `platform` can be executed here."""


class Built(NamedTuple):
    """A whole image on this machine. `top` is the index, or the one platform's manifest."""

    top: Manifest
    platforms: tuple[PlatformImage, ...]
    fingerprint: Digest
    bases: tuple[Base, ...]
    arguments: tuple[tuple[str, str], ...] = ()
    """Build arguments as the builder got them."""


class _Asked(NamedTuple):
    image: Image
    recipe: Recipe
    arguments: tuple[tuple[str, str], ...]
    bases: tuple[Base, ...]
    dockerfile: bytes
    platform: str


class Workshop:
    """Builds images of one commit below `folder`, which nobody else uses."""

    def __init__(self, folder: Path, head: CommitId, sources: Sources, machine: Machine, builder: str) -> None:
        """`builder` names the settings of the builder that decide what comes out."""
        self._folder = folder / head
        for older in folder.glob("*") if folder.is_dir() else ():  # of another commit: space, and nothing else
            if older.name != head:
                shutil.rmtree(older, ignore_errors=True)
        self._head = head
        self._sources = sources
        self._machine = machine
        self._builder = builder
        self._git = Lock()

    def build(self, image: Image, recipe: Recipe, told: Told) -> Built:
        """The image as it is at the commit; layouts of an earlier run are used if they are whole.

        Raises ConfigError for a file that depends on what may change, Terminal where a platform cannot be built here,
        and what the builder raises.
        """
        with self._git:
            raw = self._sources.dockerfile(recipe)
            fingerprint = self._sources.fingerprint(image)
        arguments = recipe.arguments_at(self._head)
        file = read(raw, recipe.file, dict(arguments))
        self._check_runnable(image, recipe, file)
        folder = self._folder / f"{image.name}-{self._key(image, recipe, fingerprint, raw).hex[:16]}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(folder)
        made = []
        for platform in image.platforms:
            layout = folder / platform.replace("/", "-")
            if (found := _kept(layout, platform)) is None:
                self._platform(_Asked(image, recipe, arguments, file.bases, raw, platform), layout, told)
                found = read_layout(layout, platform)
            else:
                told(f"{platform}: built before")
            made.append(found)
        platforms = tuple(made)
        top = platforms[0].manifest if len(platforms) == 1 else image_index(platforms)
        return Built(top, platforms, fingerprint, file.bases, arguments)

    def done(self, image: Image) -> None:
        """Remove the layouts of an image that is in the registry."""
        for folder in self._folder.glob(f"{image.name}-{'[0-9a-f]' * 16}"):
            shutil.rmtree(folder, ignore_errors=True)

    def _platform(self, asked: _Asked, layout: Path, told: Told) -> None:
        aside = layout.with_name(f"{_NEW}{layout.name}")
        aside.mkdir()
        with self._git:
            self._sources.context(asked.image, asked.recipe, aside / "context")
        file = aside / Path(asked.recipe.file).name
        file.write_bytes(asked.dockerfile)
        bases = tuple(base.reference for base in asked.bases)
        request = BuildRequest(aside / "context", file, asked.platform, self._sources.time_s, asked.arguments, bases)
        self._machine.build(request, aside / "layout", lambda line: told(f"{asked.platform}: {line}"))
        read_layout(aside / "layout", asked.platform)
        (aside / "layout").rename(layout)
        shutil.rmtree(aside, ignore_errors=True)

    def _check_runnable(self, image: Image, recipe: Recipe, file: Dockerfile) -> None:
        for platform in image.platforms:
            for run in file.runs:
                where = platform if run.platform is None else run.platform
                if where and not self._machine.runs(where):
                    raise Terminal(
                        f"{recipe.file}: line {run.line}: RUN needs programs of {where}, which this machine cannot run;"
                        " build that stage `FROM --platform=$BUILDPLATFORM`, use a machine of that kind, or register"
                        " an emulator (qemu-user-static)"
                    )

    def _key(self, image: Image, recipe: Recipe, fingerprint: Digest, raw: bytes) -> Digest:
        return canonical.digest(
            {
                "arguments": [[*one] for one in recipe.arguments_at(self._head)],
                "builder": self._builder,
                "context": recipe.context,
                "dockerfile": Digest.of(raw),
                "file": recipe.file,
                "fingerprint": fingerprint,
                "inputs": [*image.inputs],
                "time_s": self._sources.time_s,
            }
        )


def _kept(layout: Path, platform: str) -> PlatformImage | None:
    """The layout of an earlier run; one that is not whole is removed."""
    if not layout.exists():
        return None
    try:
        return read_layout(layout, platform)
    except (Terminal, IntegrityError):
        shutil.rmtree(layout)
        return None


def _sweep(folder: Path) -> None:
    for rubbish in folder.glob(f"{_NEW}*"):
        try:
            shutil.rmtree(rubbish)
        except OSError as error:
            raise ConfigError(f"{rubbish}: cannot be removed: {error.strerror} (state_dir)") from error
