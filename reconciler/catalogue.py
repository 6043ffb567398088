"""The catalogue file: which images there are, which paths each is built from, which component runs which image.

It lives in the code repository and is read at the base branch's commit, so that CI can say what a head changes with
that repository alone. Which components are previewed, and where they are pinned, is the inventory's word.

    version: 1
    images:
      orders:
        repository: ghcr.io/acme/primitive-domain-orders
        inputs: [primitives/domain/orders, packages/sdk_go, go.work]
        platforms: [linux/amd64, linux/arm64]
        build: {file: primitives/domain/orders/Dockerfile.main, context: primitives/domain/orders}
    components:
      orders-v0: orders
      orders-v0-dispatcher: orders

`build` is for `ameide publish` alone; an image without it is built by somebody else. It may have `args`, the build
arguments: a mapping of names to texts, in which `{commit}` is the commit that is built, and nothing else is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from reconciler.build_arguments import check_count, check_name, check_value
from reconciler.declared import Declared, InsidePath, Reading, check_path
from reconciler.strict_yaml import Location
from state.git import CommitId
from state.observed import Catalogue, Image, Recipe
from state.oci import Repository

DEFAULT_PATH: Final = "ameide.yaml"
WHOLE_REPOSITORY: Final = "."
"""The input that means every file of the repository."""

_INVENTORY: Final = "the inventory (GitOps repository)"
_MISPLACED: Final = {"previewed": _INVENTORY, "pins": _INVENTORY}
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?")


def _input(text: str) -> str:
    return text if text == WHOLE_REPOSITORY else check_path(text)


def _platform(text: str) -> str:
    if len(text) > 100 or not _PLATFORM.fullmatch(text):
        raise ValueError("expected os/architecture or os/architecture/variant, such as linux/arm64")
    return text


class _Build(Declared):
    file: InsidePath
    context: Annotated[str, AfterValidator(_input)] = WHOLE_REPOSITORY
    args: Annotated[dict[str, Annotated[str, AfterValidator(check_value)]], AfterValidator(check_count)] = Field(
        default_factory=dict
    )


class _Image(Declared):
    repository: Annotated[str, AfterValidator(Repository)]
    inputs: tuple[Annotated[str, AfterValidator(_input)], ...] = Field(min_length=1)
    platforms: tuple[Annotated[str, AfterValidator(_platform)], ...] = Field(min_length=1)
    build: _Build | None = None


class _File(Declared):
    version: Literal[1]
    images: dict[str, Any] = Field(min_length=1)
    components: dict[str, Any]


def parse_catalogue(raw: bytes, commit: CommitId, *, what: str = "catalogue") -> Catalogue:
    """Read the file's bytes as found at `commit`. Pure: whether the inputs exist there is the caller's question.

    Args:
        raw: at most `declared.MAX_BYTES`.
        what: names the file in messages.

    Raises:
        ConfigError: `problems` lists every problem, each with its path and line.
    """
    return _parsed(raw, commit, what)[0]


def parse_recipes(raw: bytes, commit: CommitId, *, what: str = "catalogue") -> Mapping[str, Recipe]:
    """Image name → how it is built, for each image that says it. Raises ConfigError as `parse_catalogue` does."""
    return _parsed(raw, commit, what)[1]


def _parsed(raw: bytes, commit: CommitId, what: str) -> tuple[Catalogue, dict[str, Recipe]]:
    reading = Reading(raw, what)
    top = reading.top(_File, _MISPLACED)
    images: dict[str, Image] = {}
    recipes: dict[str, Recipe] = {}
    declared = reading.section(top, "images")
    for name, value in declared.items():
        at: Location = ("images", name)
        reading.name(at, name)
        image = reading.model(_Image, at, value, _MISPLACED)
        _check_inputs(reading, (*at, "inputs"), _texts(value, "inputs"))
        _check_twice(reading, (*at, "platforms"), _texts(value, "platforms"))
        _check_names(reading, (*at, "build", "args"), value)
        if image is not None:
            images[name] = Image(name, Repository(image.repository), image.inputs, image.platforms)
            if image.build is not None:
                build = image.build
                recipes[name] = Recipe(build.file, build.context, tuple(build.args.items()))
                _check_recipe(reading, (*at, "build"), recipes[name], image.inputs)
    _check_repositories(reading, declared)
    components = reading.section(top, "components")
    for name, value in components.items():
        at = ("components", name)
        reading.name(at, name)
        match value:
            case str() if value not in declared:
                reading.note(at, f"expected the name of an image declared here, got {value[:80]!r}")
            case dict() if found := [key for key in value if key in _MISPLACED]:
                for key in found:
                    reading.note((*at, key), f"belongs in {_INVENTORY}, not here")
                reading.note(at, "expected only the name of an image, got a mapping")
            case str():
                pass
            case _:
                reading.note(at, "expected the name of an image, got something else")
    reading.finish()
    return Catalogue(commit, images, {str(k): str(v) for k, v in components.items()}), recipes


def below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or in it; everything is in the whole repository."""
    return folder in (WHOLE_REPOSITORY, path) or path.startswith(f"{folder}/")


def _check_recipe(reading: Reading, at: Location, recipe: Recipe, inputs: tuple[str, ...]) -> None:
    """What a build reads has to be declared, or a change of it would change nothing."""
    if not any(below(recipe.file, one) for one in inputs):
        reading.note((*at, "file"), f"{recipe.file!r} is in none of the image's inputs; add it there")
    if not any(below(one, recipe.context) or below(recipe.context, one) for one in inputs):
        reading.note((*at, "context"), f"none of the image's inputs is in {recipe.context!r}, so it would be empty")


def _check_names(reading: Reading, at: Location, image: object) -> None:
    """The names of build arguments, of an image that may be invalid elsewhere."""
    build = image.get("build") if isinstance(image, dict) else None
    declared = build.get("args") if isinstance(build, dict) else None
    for name in declared if isinstance(declared, dict) else ():
        try:
            check_name(name)
        except ValueError as error:
            reading.note((*at, name), str(error))


def _texts(value: object, key: str) -> Mapping[int, str]:
    """The texts of a list by their position, valid or not: one problem of an image must not hide another."""
    items = value.get(key) if isinstance(value, dict) else None
    return {n: i for n, i in enumerate(items) if isinstance(i, str)} if isinstance(items, list) else {}


def _check_inputs(reading: Reading, at: Location, inputs: Mapping[int, str]) -> None:
    _check_twice(reading, at, inputs)
    first = {path: n for n, path in sorted(inputs.items(), reverse=True)}
    for n, path in inputs.items():
        parts = path.split("/")
        above = [WHOLE_REPOSITORY, *("/".join(parts[:i]) for i in range(1, len(parts)))]
        for other in above:
            if other != path and (m := first.get(other)) is not None:
                reading.note((*at, n), f"{path!r} is already covered by inputs[{m}], {other!r}; take one of them out")


def _check_twice(reading: Reading, at: Location, values: Mapping[int, str]) -> None:
    first: dict[str, int] = {}
    for n, value in values.items():
        if (m := first.setdefault(value, n)) != n:
            reading.note((*at, n), f"{value!r} is already {at[-1]}[{m}]")


def _check_repositories(reading: Reading, images: Mapping[str, Any]) -> None:
    """Over what is declared, valid or not, so that a second problem of an image does not hide this one."""
    first: dict[str, str] = {}
    for name, value in images.items():
        repository = value.get("repository") if isinstance(value, dict) else None
        if isinstance(repository, str) and (owner := first.setdefault(repository, name)) != name:
            reading.note(
                ("images", name, "repository"),
                f"{repository[:255]} is already the repository of images.{owner};"
                " let both components name that one image",
            )
