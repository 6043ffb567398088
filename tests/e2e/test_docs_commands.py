"""The commands in docs/ do what the pages say: each is executed, in a world made for its page.

A page joins by marking its blocks (tests/fixtures/docs_commands.py says how). A new world is one fixture below that
gives a directory and the variables, and a line in `WORLDS`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.cli import main
from reconciler.demo.world import REPOSITORY_ID
from reconciler.role_log import reconciler_log
from reconciler.settings import load
from tests.conftest import PROGRAMS
from tests.fixtures import warm_cli
from tests.fixtures.audited import Audited
from tests.fixtures.docs_commands import PAGES, Block, blocks_of, run
from tests.fixtures.shop import DOCS, LOG_REF, Shop


class YearAgo(SystemClock):
    """The middle of last year."""

    def now(self) -> datetime:
        return datetime(super().now().year - 1, 6, 30, tzinfo=UTC)


class World(NamedTuple):
    """Where the commands of a page run."""

    folder: Path
    variables: Mapping[str, str]


def environment(home: Path, programs: Path) -> dict[str, str]:
    """What every shell has: `ameide` of this checkout first in PATH, and no configuration of this machine."""
    made = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    if (cosign := PROGRAMS["cosign"].path) is not None:
        made["PATH"] = f"{Path(cosign).parent}{os.pathsep}{made['PATH']}"
    return made


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH with the `ameide` of this checkout in it."""
    return warm_cli.caller(tmp_path_factory.mktemp("cli") / "ameide").parent


@pytest.fixture
def auditor(audited: Audited, programs: Path, tmp_path: Path) -> World:
    """An auditor at an empty desk, with what the guide says that one has."""
    shop, proving = audited.shop, audited.approving.proving
    desk = tmp_path / "desk"
    desk.mkdir()
    handed = tmp_path / "evidence.tar"
    with pytest.raises(SystemExit) as ended:
        main(["log", "export", "--config", str(shop.config), "--sha", audited.built, "--out", str(handed)])
    assert not ended.value.code
    (opened,) = audited.approving.opened()
    anchor = re.search(r"^- log `([0-9a-f]{40})`$", opened.body, re.MULTILINE)
    assert anchor is not None
    stricter = tmp_path / "approvers-new.yaml"
    stricter.write_text(audited.approving.policy_file.read_text().replace('"threshold": 1', '"threshold": 2'))
    variables = {
        "ANCHOR": anchor[1],
        "YEAR": str(datetime.now(UTC).year),
        "APPROVERS": str(audited.approving.policy_file),
        "BUILDER_KEY": str(proving.ci.public),
        "EVIDENCE": str(handed),
        "HEAD_SHA": audited.built,
        "IMAGE": str(shop.world.repository("orders")),
        "LOG_URL": str(audited.approving.log_remote),
        "NEW_APPROVERS": str(stricter),
        "SIGNERS": str(shop.allowed_signers),
        "SIGNER_KEY": str(proving.own.public),
    }
    return World(desk, {**environment(tmp_path, programs), **variables})


@pytest.fixture
def restoring(shop: Shop, programs: Path) -> World:
    """An operator's machine with a log, its remote and its mirror, and a pull request to work on."""
    remote, mirror = shop.root / "log-remote.git", shop.root / "log-mirror.git"
    for path in (remote, mirror):
        pygit2.init_repository(str(path), bare=True).free()
    shop.configure(
        shop={"log": {**shop.repository_settings["log"], "remote": str(remote), "mirror": str(mirror)}},
    )
    begun = datetime.now(UTC).year - 1
    loaded = load(shop.config, {}).settings
    with reconciler_log(loaded, loaded.repositories[0], REPOSITORY_ID, YearAgo()):
        pass  # it was begun last year
    shop.opens("docs", DOCS)
    variables = {
        "YEAR": str(begun),
        "BRANCH": LOG_REF,
        "CONFIG": str(shop.config),
        "LOG": str(shop.log),
        "MIRROR": str(mirror),
        "REMOTE": str(remote),
        "SIGNERS": str(shop.allowed_signers),
        "STATE": str(shop.root / "state"),
    }
    return World(shop.root, {**environment(shop.root, programs), **variables})


WORLDS: Final = ("auditor", "restoring")
"""Names of fixtures of this module."""

BLOCKS: Final = [block for page in sorted(PAGES.glob("*.md")) for block in blocks_of(page.name, page.read_text())]


def _cases() -> list[object]:
    """One test for each page and world, with all that can run here; and one that is skipped for what is missing."""
    made: list[object] = []
    for page, world in sorted({(b.page, b.world) for b in BLOCKS}):
        here = [b for b in BLOCKS if (b.page, b.world) == (page, world)]
        missing = {b.suite for b in here if b.suite is not None and PROGRAMS[b.suite].path is None}
        made.append(pytest.param(world, [b for b in here if b.suite not in missing], id=f"{page}-{world}"))
        for suite in sorted(missing):
            marks = [getattr(pytest.mark, suite)]
            made.append(pytest.param(world, here, id=f"{page}-{world}-{suite}", marks=marks))
    return made


@pytest.mark.parametrize(("world", "blocks"), _cases())
def test_the_commands_of_a_page_do_what_it_says(
    world: str, blocks: list[Block], request: pytest.FixtureRequest
) -> None:
    assert world in WORLDS, f"{blocks[0].where}: no such world; there are {', '.join(WORLDS)}"
    made: World = request.getfixturevalue(world)
    run(blocks, made.folder, made.variables)


def test_the_auditors_guide_has_its_commands_executed() -> None:
    here = [b for b in BLOCKS if b.page == "auditor-guide.md"]
    assert len(here) >= 8
    assert {b.suite for b in here} == {None, "openssh", "cosign"}


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("```sh test=w\nfalse\n```", "exit code 1, the page says 0"),
        ("```sh test=w exit=3\ntrue\n```", "exit code 0, the page says 3"),
        ("```sh test=w\nexit 0\n```\n\n```sh test=w\ntest -e missing\n```", "docs/page:5"),
        ("```console test=w\n$ echo one\ntwo\n```", "it prints:\none"),
        ("```console test=w\n$ echo one; echo two\none\n```", "the page shows:\none"),
        ("```sh test=w\necho $UNSET_VARIABLE\n```", "exit code"),
    ],
)
def test_a_page_that_lies_is_found(page: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(told)):
        run(blocks_of("page", page), tmp_path, {"PATH": os.environ["PATH"]})


def test_a_page_that_tells_the_truth_passes(tmp_path: Path) -> None:
    page = (
        "```sh\nfalse\n```\n\n```sh test=w\necho $WORD > file\n```\n\n"
        "```console test=w exit=1\n$ cat \\\n> file\n…lo\n$ printf '1\\n2\\n3\\n4\\n'; exit 1\n1\n[…]\n4\n```\n"
    )
    blocks = blocks_of("page", page)
    assert [(b.line, b.language) for b in blocks] == [(5, "sh"), (9, "console")]
    run(blocks, tmp_path, {"PATH": os.environ["PATH"], "WORD": "hello"})
    assert (tmp_path / "file").read_text() == "hello\n"


@pytest.mark.parametrize("info", ["yaml test=w", "sh test=w exti=1", "console test=w\nno command"])
def test_a_block_that_is_not_understood_is_an_error(info: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="docs/page"):
        run(blocks_of("page", f"```{info}\n```\n"), tmp_path, {})
