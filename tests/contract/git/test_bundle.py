"""A bundle that somebody else made: git may read it, and nothing that lies around may speak to git."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from reconciler.adapters.git_bundle import create, unpack
from state.errors import IntegrityError
from tests.fixtures.log import git

REF = "refs/heads/main"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    pygit2.init_repository(str(made), bare=True)
    tree = git(made, "hash-object", "-t", "tree", "-w", "/dev/null").stdout.strip()
    git(made, "update-ref", REF, git(made, "commit-tree", "-m", "x", tree).stdout.strip())
    create(made, REF, tmp_path / "log.bundle", tmp_path)
    return tmp_path / "log.bundle"


def test_a_configuration_that_lies_there_already_is_not_read(bundle: Path, tmp_path: Path) -> None:
    into, ran = tmp_path / "log.git", tmp_path / "ran"
    into.mkdir()
    allowed = '[protocol]\n\tallow = always\n[protocol "ext"]\n\tallow = always\n'
    (into / "config").write_text(f'{allowed}[url "ext::touch {ran} %s"]\n\tinsteadOf = {tmp_path}\n')
    with pytest.raises(IntegrityError, match="is there already"):
        unpack(bundle, REF, into, tmp_path)
    assert not ran.exists()


def test_a_file_that_leads_to_a_repository_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    bundle.write_text(f"gitdir: {tmp_path / 'made'}\n")
    with pytest.raises(IntegrityError, match="no git bundle"):
        unpack(bundle, REF, tmp_path / "log.git", tmp_path)
