"""The log's mirror: brought forward after the remote, never set back, never in the way of the writer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.settings.log import LogSettings
from state import log_years
from state.entry import Kind
from state.errors import ConfigError, Denied, IntegrityError, LogRollback, Unavailable
from state.log import GitLog
from state.log_mirror import LogMirror
from state.log_verify import verify
from tests.fixtures.log import NAME, START, Forger, LogBench
from tests.fixtures.log_remote import GitServer
from tests.fixtures.shop import DOCS, LOG_REF, Shop, refs


@pytest.fixture
def writing(bench: LogBench) -> Iterator[GitLog]:
    bench.bare("remote.git")
    with bench.log(remote=bench.root / "remote.git") as log:
        yield log


def mirror_at(bench: LogBench, url: str | Path, credential: Path | None = None) -> LogMirror:
    return LogMirror(bench.repo, NAME, str(url), credential)


def appended(log: GitLog) -> Any:
    made = log.append(Kind.CONFIG, {})
    log.push()
    return made.id


def test_a_mirror_is_brought_forward_with_its_blobs(bench: LogBench, writing: GitLog) -> None:
    there = bench.bare("mirror.git")
    mirror = mirror_at(bench, there)
    writing.append(Kind.OBSERVATION, {}, {"x": b"1"})
    tip = appended(writing)
    mirror.follow(tip)
    mirror.follow(tip)
    assert bench.tip(there) == tip
    assert verify(there, allowed_signers_file=bench.allowed(), anchor=tip).clean
    mirror_at(bench, there).follow(newer := appended(writing))
    assert bench.tip(there) == newer


def test_a_mirror_with_another_story_is_told_and_left_as_it_is(bench: LogBench, writing: GitLog) -> None:
    there = bench.bare("mirror.git")
    mirror_at(bench, there).follow(appended(writing))
    forger = Forger(bench, there)
    oid, entry = forger.chain()[-1]
    forger.point(other := forger.entry(replace(entry, sequence=entry.sequence + 1), oid))
    with pytest.raises(IntegrityError, match=f"has {other}, which is not in the log"):
        mirror_at(bench, there).follow(appended(writing))
    assert bench.tip(there) == other


def test_the_ends_of_closed_years_follow_the_tip_that_is_on_the_remote(bench: LogBench, writing: GitLog) -> None:
    there = bench.bare("mirror.git")
    year = log_years.ref_of(NAME.ref, 2026)
    mirror = mirror_at(bench, there)
    tip = appended(writing)
    bench.start = START.replace(year=2027)
    newer = appended(writing)
    mirror.follow(tip)
    assert refs(there) == {NAME.ref: tip}, "its year was closed after that entry"
    mirror.follow(newer)
    assert refs(there) == {NAME.ref: newer, year: tip}
    # One that ends elsewhere is another story, too: told by whoever looks anew, and left.
    bench.git("update-ref", year, newer, repo=there)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="-2026 is at"):
            mirror_at(bench, there).follow(newer)
    assert refs(there) == {NAME.ref: newer, year: newer}


def test_a_mirror_that_is_ahead_of_the_log_is_told_and_not_set_back(bench: LogBench, writing: GitLog) -> None:
    there = bench.bare("mirror.git")
    older = writing.tip()
    assert older is not None
    mirror_at(bench, there).follow(newer := appended(writing))
    with pytest.raises(IntegrityError, match="which is not in the log that ends with"):
        mirror_at(bench, there).follow(older)
    assert bench.tip(there) == newer


@pytest.mark.parametrize("how", ["set back", "gone"])
def test_a_mirror_that_loses_entries_is_told_while_the_process_lives(
    bench: LogBench, writing: GitLog, how: str
) -> None:
    there = bench.bare("mirror.git")
    older = writing.tip()
    mirror = mirror_at(bench, there)
    mirror.follow(appended(writing))
    bench.git("update-ref", *(("-d", NAME.ref) if how == "gone" else (NAME.ref, str(older))), repo=there)
    tip = appended(writing)
    for _ in range(2):
        with pytest.raises(LogRollback, match="is now at"):
            mirror.follow(tip)
    # The next process knows nothing of it, and brings it forward.
    mirror_at(bench, there).follow(tip)
    assert bench.tip(there) == tip


def test_a_mirror_that_does_not_answer_or_refuses_is_for_now(
    bench: LogBench, writing: GitLog, git_server: GitServer, tmp_path: Path
) -> None:
    served = git_server.bare("mirror.git")
    mirror = mirror_at(bench, git_server.url("mirror.git"))
    tip = appended(writing)
    git_server.down = True
    with pytest.raises(Unavailable):
        mirror.follow(tip)
    git_server.down = False
    hook = git_server.hook("mirror.git", "exit 1")
    with pytest.raises(Unavailable, match="does not take"):
        mirror.follow(tip)
    hook.unlink()
    git_server.credential = "user:right"
    wrong = tmp_path / "wrong"
    wrong.write_text("user:wrong")
    with pytest.raises(Denied):
        mirror_at(bench, git_server.url("mirror.git"), wrong).follow(tip)
    git_server.credential = None
    mirror.follow(tip)
    assert bench.tip(served) == tip


def test_passes_bring_the_mirror_forward_and_go_on_without_it(shop: Shop) -> None:
    remote, mirror = shop.root / "remote.git", shop.root / "mirror.git"
    for path in (remote, mirror):
        pygit2.init_repository(str(path), bare=True).free()
    log = {**shop.repository_settings["log"], "remote": str(remote), "mirror": str(mirror)}
    config = str(shop.configure(shop={"log": log}))
    shop.opens("docs", DOCS)
    shop.runs("reconciler", "once", "--config", config)
    assert verify(mirror, allowed_signers_file=shop.allowed_signers, anchor=shop.entries()[-1].id).clean
    away = mirror.rename(shop.root / "away.git")
    _, head = shop.opens("more", {"MORE.md": "more\n"})
    done = shop.runs("reconciler", "once", "--config", config)
    assert "log_not_mirrored" in done.stderr
    assert all(shop.tags(head).values())
    away.rename(mirror)
    shop.runs("reconciler", "once", "--config", config)
    assert refs(mirror)[LOG_REF] == refs(remote)[LOG_REF] == shop.entries()[-1].id


@pytest.mark.parametrize(
    "settings",
    [
        {"mirror": "/m.git"},
        {"mirror_credential_file": Path("/c")},
        {"remote": "/r.git", "mirror": "/r.git/"},
    ],
)
def test_a_mirror_that_makes_no_sense_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="mirror"):
        LogSettings.model_validate({"path": Path("/log.git"), "key_file": Path("/key"), "writer": "rec-0", **settings})
    with pytest.raises(ConfigError):
        LogMirror(Path("/log.git"), NAME, "ftp://host/x", None)
