"""A branch as a git bundle, one file that plain git reads, and back into a repository of its own.

Source: git-bundle(1). What comes from a bundle is checked by git as it arrives (`fetch.fsckObjects`); nothing of the
user's or the machine's git configuration takes part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from reconciler.adapters import git_process
from state.errors import IntegrityError, Terminal

TIMEOUT_S: Final = 600.0
_HEADER: Final = b"# v2 git bundle\n"


def create(repository: Path, ref: str, into: Path, home: Path) -> None:
    """Write everything that `ref` (in full) leads to as the bundle `into`. `home` is an empty directory of ours.

    Raises Terminal if git cannot, Unavailable at the deadline.
    """
    arguments = ["-c", "safe.directory=*", "bundle", "create", "--quiet", "--version=2", str(into.resolve()), ref]
    done = git_process.run(arguments, cwd=repository, env=git_process.own_environment(home), timeout_s=TIMEOUT_S)
    if done.code:
        raise Terminal(f"{repository}: git cannot bundle {ref}: {done.errors.strip()[-300:]}")


def unpack(bundle: Path, ref: str, into: Path, home: Path) -> None:
    """Make the bare repository `into` that holds `ref` of a bundle, and no other ref.

    Raises IntegrityError if git refuses the bundle or an object in it, if it has no such ref, or if `into` is there
    already: git would do what a configuration in it says.
    """
    if into.exists():
        raise IntegrityError(f"{into}: is there already; expected a place for a new repository")
    with bundle.open("rb") as file:
        if file.read(len(_HEADER)) != _HEADER:  # git would follow a `gitdir:` in it to a repository
            raise IntegrityError(f"{bundle.name}: no git bundle of version 2")
    env = git_process.own_environment(home)
    steps = (
        ["init", "--quiet", "--bare", "--template=", str(into)],
        [
            *("-c", "fetch.fsckObjects=true", "-c", "transfer.fsckObjects=true", "--git-dir", str(into)),
            *("-c", "protocol.allow=never", "-c", "protocol.file.allow=always"),
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(bundle.resolve()), f"{ref}:{ref}"),
        ],
    )
    for arguments in steps:
        done = git_process.run(arguments, cwd=home, env=env, timeout_s=TIMEOUT_S)
        if done.code:
            raise IntegrityError(f"{bundle.name}: git does not take it: {done.errors.strip()[-300:]}")
