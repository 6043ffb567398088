"""The log that a command reads: a repository or a clone of it by its path, and the branch in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from state.log_branch import Role
    from state.log_read import LogReader

PATH = click.Path(path_type=Path)
BRANCH = click.option("--branch", metavar="B", help="The log, such as log/4711/reconciler; needed if several.")


def open_log(path: Path, branch: str | None, role: Role | None = None) -> LogReader:
    """The log `branch`, or the only one there is, of `role` if that is given; a clone's tracking branch counts, too.

    Raises ConfigError naming what there is, Terminal, or IntegrityError if the history is shallow or grafted.
    """
    from state.errors import ConfigError
    from state.log_read import LogReader, branches, open_repository

    if branch is None:
        known = [b for b in branches(open_repository(path)) if role is None or b.endswith(f"/{role.value}")]
        if len(known) != 1:
            what = "no log branch" if not known else "several logs, choose one by --branch"
            raise ConfigError(f"{path}: {what}; there are: {', '.join(known) or 'none'}")
        branch = known[0]
    return LogReader(path, branch)


def printable(text: str) -> str:
    """The text with everything that could move a terminal's cursor or turn its letters round spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
