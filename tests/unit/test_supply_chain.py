"""What is installed: pinned by hash, under a licence that is allowed, for a reason that is written down."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.catalogue import parse_catalogue, parse_recipes
from reconciler.producing.dockerfile import read
from state.git import CommitId

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "requirements.lock", ROOT / "tools" / "fuzz-requirements.lock"]
LICENCES = tomllib.loads((ROOT / "tools" / "licences.toml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / "examples" / "github").glob("*.y*ml"))

# A requirement's first line, and the lines that belong to it.
_REQUIREMENT = re.compile(r"^[A-Za-z0-9].*(?:\n[ \t].*)*", re.MULTILINE)
_PINNED = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,-]+\])?==[0-9][0-9A-Za-z.+!-]*(?: ; [^\\\n]+)? \\\n"
    r"(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+(?:[ \t]+#.*\n?)*"
)
_USES = re.compile(r"^[ \t-]*uses:[ \t]*(\S+)", re.MULTILINE)
_BY_COMMIT = re.compile(r"\./\S*|[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def unpinned(lock: str) -> list[str]:
    """The requirements that are not one exact version with hashes."""
    return [found.splitlines()[0] for found in _REQUIREMENT.findall(lock) if not _PINNED.fullmatch(found)]


def names(lock: str) -> set[str]:
    return {found["name"] for found in _PINNED.finditer(lock)}


def direct() -> Iterator[str]:
    """The dependencies that the project itself names."""
    for text in (*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]):
        yield re.split(r"[\[<>=~! ]", text, maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


def moving(workflow: str) -> list[str]:
    """The actions that are not named by a full commit."""
    return [used for used in _USES.findall(workflow) if not _BY_COMMIT.fullmatch(used)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_is_one_version_with_its_hashes(lock: Path) -> None:
    assert names(lock.read_text())
    assert unpinned(lock.read_text()) == []


@pytest.mark.parametrize(
    "line", ["a==1", "a>=1 \\\n    --hash=sha256:" + "0" * 64, "a==1 \\\n    --hash=md5:0", "a @ https://h/a.whl"]
)
def test_a_requirement_without_version_or_hash_is_found(line: str) -> None:
    good = "b==1 \\\n    --hash=sha256:" + "0" * 64
    assert unpinned(f"{good}\n{line}\n{good}\n") == [line.splitlines()[0]]


def test_every_dependency_is_in_the_lock() -> None:
    assert set(direct()) - names(LOCKS[0].read_text()) == set()


def test_every_locked_package_has_a_licence_that_is_allowed() -> None:
    locked = set[str]().union(*(names(lock.read_text()) for lock in LOCKS))
    assert set(LICENCES["packages"]) == locked, "tools/licences.toml lists the packages of the locks, no more, no less"
    assert {n: said for n, said in LICENCES["packages"].items() if said not in LICENCES["allowed"]} == {}
    assert set(LICENCES["allowed"]) == set(LICENCES["packages"].values()), "what nobody has is not allowed in advance"
    assert all(reason.strip() for reason in LICENCES["allowed"].values())


def test_what_is_installed_says_the_licence_that_was_reviewed() -> None:
    """Where a package says one as an SPDX expression (core metadata 2.4)."""
    said = {}
    for name in LICENCES["packages"]:
        try:
            said[name] = metadata.metadata(name).get("License-Expression")
        except metadata.PackageNotFoundError:  # of another platform, or of the fuzzer
            continue
    assert len([one for one in said.values() if one]) > 30
    assert {n: one for n, one in said.items() if one and one != LICENCES["packages"][n]} == {}


def test_every_direct_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "adr" / "0001-dependencies.md").read_text().lower().replace(".", "-")
    words = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", page))
    assert [name for name in direct() if name not in words] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_examples_of_workflows_name_actions_by_commit(workflow: Path) -> None:
    assert moving(workflow.read_text()) == []


@pytest.mark.parametrize("used", ["actions/checkout@v4", "actions/checkout@main", "actions/checkout", "docker://x:1"])
def test_an_action_by_tag_or_branch_is_found(used: str) -> None:
    pinned = f"steps:\n  - uses: actions/checkout@{'a' * 40} # v4\n  - uses: ./local\n"
    assert moving(pinned) == []
    assert moving(f"{pinned}  - uses: {used}\n") == [used]


def test_the_image_of_this_project_is_declared_as_it_is_built() -> None:
    """contract/image/test_image.py publishes it from there."""
    raw, commit = (ROOT / "ameide.yaml").read_bytes(), CommitId("c" * 40)
    image, recipe = parse_catalogue(raw, commit).images["ameide"], parse_recipes(raw, commit)["ameide"]
    arguments = dict(recipe.arguments_at(commit))
    assert (arguments["VERSION"], arguments["REVISION"]) == (__version__, commit)
    file = (ROOT / recipe.file).read_text()
    assert [base.reference for base in read(file.encode(), recipe.file, arguments).bases] == [arguments["BASE"]]
    copied = {word for line in re.findall(r"(?m)^COPY ([^-].*)$", file) for word in line.split()[:-1]}
    assert {recipe.file, *copied} == set(image.inputs)
