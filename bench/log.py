"""The log: appending against a bare commit with fsync, verifying against reading and checking signatures alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pygit2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pygit2.enums import Option

from bench.applying import signed_log
from bench.fast_import import git
from bench.measure import Bench, Row, Target, say, seconds, versus
from state import log_verify
from state.canonical import Json
from state.entry import Kind
from state.log import GitLog

APPENDS: Final = 300
ENTRIES: Final = 10_000
SIGNATURES: Final = 100
_LIMIT: Final = Target("<=", 2)
_FRACTION: Final = Target("<=", 0.1)
_BODY_BYTES: Final = 1024
_REF: Final = "refs/heads/raw"
_WHO: Final = pygit2.Signature("bench", "bench@example.invalid", 1_700_000_000, 0)


def run(bench: Bench) -> list[Row]:
    return [_append(bench), *_verify(bench)]


def _body() -> Mapping[str, Json]:
    """A body of about 1 KiB, as an anchor entry may have."""
    return {"text": "x" * (_BODY_BYTES - len('{"text":""}'))}


def _append(bench: Bench) -> Row:
    folder = bench.folder("append")
    # Before any repository is opened: libgit2 asks then whether its refs are to be synced.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    raw = pygit2.init_repository(str(folder / "raw.git"), bare=True)
    raw.create_commit(_REF, _WHO, _WHO, "first", raw.TreeBuilder().write(), [])
    with signed_log(folder) as log:
        name = "pygit2 create_commit, fsync, no signature"
        found = versus("log.append", bench.rounds, lambda: _appends(log), {name: lambda: _commits(raw)})[name]
    ours, peer = 1000 * found.ours / APPENDS, 1000 * found.peer / APPENDS
    return Row("log.append", "one entry of 1 KiB, on disk", ours, peer, "ms", found.ratio, _LIMIT, name)


def _appends(log: GitLog) -> float:
    return seconds(lambda: [log.append(Kind.ANCHOR, _body()) for _ in range(APPENDS)])


def _commits(repository: pygit2.Repository) -> float:
    """The least that is durable: object and ref, each synced, after the tip that is known."""
    tree = repository.TreeBuilder().write()
    message = "x" * _BODY_BYTES

    def commits() -> None:
        tip = repository.references[_REF].target
        for _ in range(APPENDS):
            tip = repository.create_commit(_REF, _WHO, _WHO, message, tree, [tip])

    return seconds(commits)


def _verify(bench: Bench) -> list[Row]:
    say(f"  log.verify: writing {ENTRIES} entries")
    folder = bench.folder("verify")
    with signed_log(folder, fsync=False) as log:
        for _ in range(ENTRIES):
            log.append(Kind.ANCHOR, _body())
    path = folder / "log.git"
    git(path, "gc", "--quiet", "--prune=now")
    key = Ed25519PrivateKey.generate()
    signature, public = key.sign(b"x" * 100), key.public_key()
    allowed = folder / "allowed_signers"
    allowed.write_text(f'bench@ameide.invalid namespaces="git" {(folder / "key.pub").read_text()}')

    def verified() -> None:
        report = log_verify.verify(path, allowed_signers_file=allowed)
        if not report.clean or report.entries < ENTRIES:
            raise RuntimeError(f"expected a clean log of {ENTRIES} entries, got {report.problems[:3]}")

    def read_and_checked() -> None:
        for _ in range(_read(path)):
            public.verify(signature, b"x" * 100)

    name = "git rev-list | git cat-file --batch, and as many Ed25519 verifications"
    peers = {name: lambda: seconds(read_and_checked)}
    found = versus("log.verify", bench.rounds, lambda: seconds(verified), peers)[name]
    what = f"{ENTRIES} entries, packed"
    row = Row("log.verify", what, found.ours, found.peer, "s", found.ratio, _LIMIT, name)
    return [row, _against_git(path, allowed, found.ours)]


def _against_git(path: Path, allowed: Path, ours: float) -> Row:
    """What an auditor without us does: git asks ssh-keygen about each commit, so only some are measured."""
    what, name = f"of {SIGNATURES} entries", "git log --show-signature"
    if shutil.which("ssh-keygen") is None:
        return Row("log.signatures", what, note="ssh-keygen is not on PATH; install openssh-client")
    listed = f"gpg.ssh.allowedSignersFile={allowed}"
    peer = seconds(lambda: git(path, "-c", listed, "log", "--all", f"-{SIGNATURES}", "--show-signature"))
    share = ours * SIGNATURES / ENTRIES
    return Row("log.signatures", what, 1000 * share, 1000 * peer, "ms", share / peer, _FRACTION, name)


def _read(path: Path) -> int:
    """Every commit by the git command line; how many there were."""
    ids = git(path, "rev-list", "--all")
    git(path, "cat-file", "--batch", given=ids)
    return ids.count(b"\n")
