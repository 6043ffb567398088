"""Closed years: one chain, a signed entry that closes each year, and refs that follow from those entries."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.log import command
from state import log_years
from state.entry import Kind, Logged
from state.errors import IntegrityError, Terminal, Unavailable
from state.git import CommitId
from state.log import GitLog
from state.log_read import LogReader
from state.log_verify import VerifyReport, verify
from tests.fixtures.log import NAME, Forger, LogBench, git
from tests.fixtures.log_remote import GitServer


def year(bench: LogBench, number: int, month: int = 1, day: int = 2) -> None:
    """From now on the writer's clock says so."""
    bench.start = datetime(number, month, day, tzinfo=UTC)


def closing(log: GitLog | LogReader) -> dict[int, CommitId]:
    """What the entries say: closed year → the entry before the one that closes it."""
    found, before = {}, None
    for logged in log.entries():
        if "closes" in logged.entry.body:
            assert before is not None
            found[int(str(logged.entry.body["closes"]))] = before
        before = logged.id
    return found


def refs(bench: LogBench, repo: Path | None = None) -> dict[int, CommitId]:
    rows = bench.git("for-each-ref", "--format=%(refname) %(objectname)", repo=repo).split("\n")
    return log_years.among({row.split()[0]: CommitId(row.split()[1]) for row in rows if row}, NAME.ref)


def three_years(bench: LogBench, remote: Path | None = None) -> list[Logged]:
    """2026 and 2027 closed: one by an entry of the same writer, one by the first of the next."""
    with bench.log(remote=remote) as log:
        log.append(Kind.CONFIG, {"digest": "a"})
        year(bench, 2027)
        log.append(Kind.CONFIG, {"digest": "b"})
        log.append(Kind.OBSERVATION, {}, {"x": b"1"})
        log.push()
    year(bench, 2028)
    with bench.log(remote=remote) as log:
        log.append(Kind.CONFIG, {"digest": "c"})
        log.push()
        return list(log.entries())


def told(report: VerifyReport) -> str:
    return "\n".join(f.what for f in (*report.problems, *report.warnings))


def test_the_first_entry_of_a_year_closes_the_one_before(bench: LogBench) -> None:
    remote = bench.bare("remote.git")
    entries = three_years(bench, remote)
    kinds = [(e.entry.kind, e.entry.at[:4], e.entry.body.get("closes")) for e in entries]
    assert kinds == [
        (Kind.GENESIS, "2026", None),
        (Kind.EPOCH, "2026", None),
        (Kind.CONFIG, "2026", None),
        (Kind.ANCHOR, "2027", 2026),
        (Kind.CONFIG, "2027", None),
        (Kind.OBSERVATION, "2027", None),
        (Kind.EPOCH, "2028", 2027),
        (Kind.CONFIG, "2028", None),
    ]
    expected = {2026: entries[2].id, 2027: entries[5].id}
    assert refs(bench) == refs(bench, remote) == expected
    assert "closes 2026" in bench.git("log", "--oneline", NAME.ref)
    git(bench.root, "clone", "--quiet", str(remote), "clone")
    for place in (bench.repo, remote, bench.root / "clone"):
        report = verify(place, allowed_signers_file=bench.allowed(), anchor=entries[-1].id)
        assert report.clean
        assert not report.warnings
        assert report.branches[0].years == (2026, 2027)


@pytest.mark.parametrize(
    ("clock", "closed"),
    [
        ([(2027, 1), (2026, 12), (2027, 2)], [2026]),
        # It leaps: one year ends too early, and when the clock is right again that end is passed over.
        ([(2099, 1), (2026, 6), (2027, 1), (2028, 1)], [2026, 2027]),
        # It was set back before any year was closed: that one ends, too.
        ([(2025, 1), (2026, 2), (2027, 1)], [2025, 2026]),
        # Years in which nothing is written are not told apart from a leap.
        ([(2029, 1), (2030, 1)], [2026, 2029]),
    ],
)
def test_a_year_is_closed_once_and_never_again_whatever_the_clock_says(
    bench: LogBench, clock: list[tuple[int, int]], closed: list[int]
) -> None:
    for number, month in clock:
        with bench.log() as log:  # each begins where the one before ended, by its own memory
            year(bench, number, month)
            log.append(Kind.CONFIG, {})
            said = closing(log)
    assert list(said) == closed
    assert refs(bench) == said
    report = verify(bench.repo)
    assert report.clean, told(report)
    assert not report.warnings


def test_one_year_is_shown_and_verified_alone(bench: LogBench, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = three_years(bench)
    spans = {2026: entries[:3], 2027: entries[3:6], 2028: entries[6:]}
    for number, of_year in spans.items():
        report = verify(bench.repo, year=number, allowed_signers_file=bench.allowed(), anchor=entries[0].id)
        assert report.clean, told(report)
        assert not report.warnings
        (branch,) = report.branches
        assert (branch.entries, branch.first, branch.last) == (len(of_year), of_year[0].id, of_year[-1].id)
        done = CliRunner().invoke(command, ["show", str(bench.repo), "--year", str(number), "--json"])
        assert [json.loads(line)["id"] for line in done.output.splitlines()] == [e.id for e in of_year]
        done = CliRunner().invoke(command, ["show", str(bench.repo), "--year", str(number), "-n", "2", "--json"])
        assert [json.loads(line)["id"] for line in done.output.splitlines()] == [e.id for e in of_year[-2:]]
    for absent in (2025, 2029):
        with pytest.raises(Terminal, match=f"no log has a year {absent}: .* has 2026, 2027 and the running one, 2028"):
            verify(bench.repo, year=absent)
    done = CliRunner().invoke(command, ["verify", str(bench.repo), "--year", "2027"])
    assert f"3 entries of 2027, 0 epochs after {entries[2].id}, which was verified before" in done.output
    done = CliRunner().invoke(command, ["verify", str(bench.repo), "--year", "2027", "--verified", entries[2].id])
    assert done.exit_code == 2


def test_a_year_is_verified_with_the_key_that_was_in_force_when_it_began(bench: LogBench) -> None:
    entries = three_years(bench)
    forger = Forger(bench, bench.repo)
    changed = forger.entry(replace(entries[4].entry, writer="rec-0", body={"digest": "z"}), entries[3].id)
    rest = forger.replay([e.entry for e in entries[5:]], changed)
    forger.point(rest)
    problems = verify(bench.repo, year=2026).problems
    assert not problems, "that year is as it was"
    assert not verify(bench.repo, year=2028).clean, "its beginning is another one now"


@pytest.mark.parametrize("mode", ["all", "its year"])
@pytest.mark.parametrize("where", ["earlier", "later", "elsewhere"])
def test_a_year_that_was_moved_is_found(bench: LogBench, where: str, mode: str) -> None:
    entries = three_years(bench)
    if where == "elsewhere":
        forger = Forger(bench, bench.repo)
        forged = forger.entry(replace(entries[2].entry, body={"digest": "z"}), entries[1].id)
    moved = {"earlier": entries[1].id, "later": entries[4].id}.get(where) or forged
    bench.git("update-ref", log_years.ref_of(NAME.ref, 2026), moved)
    for asked in (None,) if mode == "all" else (2026, 2027):
        report = verify(bench.repo, year=asked)
        assert "reconciler-2026" in told(report), asked
        assert report.problems, asked


def test_a_year_that_no_entry_closes_is_found_and_one_that_is_missing(bench: LogBench) -> None:
    entries = three_years(bench)
    tip = entries[-1].id
    for forged in (2025, 2028, 9999):
        ref = log_years.ref_of(NAME.ref, forged)
        bench.git("update-ref", ref, tip)
        assert f"no entry after it closes {forged}" in told(verify(bench.repo))
        bench.git("update-ref", "-d", ref)
    bench.git("update-ref", "-d", log_years.ref_of(NAME.ref, 2026))
    assert "reconciler-2026, the last entry of a closed year, is missing" in told(verify(bench.repo))
    assert not verify(bench.repo).clean
    # The newest may be on its way, and without any there is nothing that could lead astray.
    bench.git("update-ref", "-d", log_years.ref_of(NAME.ref, 2027))
    report = verify(bench.repo)
    assert report.clean
    assert len(report.warnings) == 2


def test_what_was_verified_before_says_nothing_of_older_years(bench: LogBench) -> None:
    entries = three_years(bench)
    for entry in entries:
        assert verify(bench.repo, verified=entry.id).clean, entry.entry.sequence
    bench.git("update-ref", log_years.ref_of(NAME.ref, 2027), entries[0].id)
    assert not verify(bench.repo, verified=entries[2].id).clean


@pytest.mark.parametrize(
    ("closes", "at", "said"),
    [
        (2026, "2028-01-03T00:00:00Z", "closes 2026, but 2027 was closed before"),
        (2027, "2028-01-03T00:00:00Z", "closes 2027, but 2027 was closed before"),
        (2028, "2028-01-03T00:00:00Z", "closes 2028, and is of 2028-01-03T00:00:00Z itself"),
        ("2028", "2029-01-03T00:00:00Z", "closes '2028', expected the year"),
        (True, "2029-01-03T00:00:00Z", "closes True, expected the year"),
    ],
)
def test_an_entry_that_closes_what_cannot_be_closed_does_not_verify(
    bench: LogBench, closes: int, at: str, said: str
) -> None:
    last = three_years(bench)[-1]
    forger = Forger(bench, bench.repo)
    made = replace(last.entry, kind=Kind.ANCHOR, sequence=last.entry.sequence + 1, at=at, body={"closes": closes})
    forger.point(forger.entry(made, last.id))
    assert said in told(verify(bench.repo))


def _appended_and_pushed(log: GitLog) -> None:
    log.append(Kind.CONFIG, {})
    log.push()


@pytest.mark.parametrize("step", ["state.log_years.mark", "state.log.push_tip", "state.log_years.push"])
def test_a_kill_while_a_year_is_closed_is_made_good_by_the_next_start(
    bench: LogBench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = bench.bare("remote.git")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with bench.log(remote=remote) as log:
        log.append(Kind.CONFIG, {})
        year(bench, 2027)
        with monkeypatch.context() as patch:
            patch.setattr(step, killed)
            with pytest.raises(KeyboardInterrupt):
                _appended_and_pushed(log)
        log._release("killed")  # without a last word, as the kernel does it
    (lock := bench.repo / f"{log_years.ref_of(NAME.ref, 2026)}.lock").touch()
    assert (refs(bench) == {}) is step.endswith("mark")
    assert refs(bench, remote) == {}
    with bench.log(remote=remote) as log:
        said = closing(log)
    assert not lock.exists()
    assert list(said) == [2026]
    assert refs(bench) == refs(bench, remote) == said
    assert verify(remote).clean


def test_a_machine_that_lost_all_gets_the_years_back(bench: LogBench, tmp_path: Path) -> None:
    remote = bench.bare("remote.git")
    three_years(bench, remote)
    for tips in (bench.tips, tmp_path / "no-tips"):
        again = tmp_path / f"again-{tips.name}.git"
        with bench.log(repo=again, tips=tips, remote=remote) as log:
            assert refs(bench, again) == refs(bench, remote) == closing(log)
        assert verify(again).clean
        # Even the remote has them no more, as after a restore of the branch alone.
        for number in (2026, 2027):
            bench.git("update-ref", "-d", log_years.ref_of(NAME.ref, number), repo=remote)


def test_a_year_that_only_a_lost_tail_closed_is_forgotten(bench: LogBench, tmp_path: Path) -> None:
    remote = bench.bare("remote.git")
    with bench.log(remote=remote) as old:
        old.append(Kind.CONFIG, {"digest": "common"})
        old.push()
        year(bench, 2027)
        old.append(Kind.CONFIG, {"digest": "lost"})
    year(bench, 2026, 12)
    with bench.log(repo=tmp_path / "b.git", tips=tmp_path / "b-tips", writer="rec-1", remote=remote) as new:
        new.append(Kind.CONFIG, {"digest": "kept"})
        new.push()
    assert list(refs(bench)) == [2026]
    with bench.log(remote=remote):
        assert refs(bench) == {}
        year(bench, 2027)
    with bench.log(remote=remote) as log:
        assert refs(bench) == refs(bench, remote) == closing(log)
        assert list(closing(log)) == [2026]
    assert verify(remote).clean


def test_a_remote_that_takes_no_such_ref_stops_nothing_and_is_told(bench: LogBench, git_server: GitServer) -> None:
    remote = git_server.bare("log.git")
    hook = git_server.hook("log.git", 'while read _ _ ref; do case "$ref" in *-2026) exit 1;; esac; done')
    with bench.log(remote=git_server.url("log.git")) as log:
        year(bench, 2027)
        log.append(Kind.CONFIG, {})
        assert log.push(), "the intent that waits for it is not held up"
        assert bench.tip(remote) == log.tip()
        with pytest.raises(Unavailable, match="does not take the end of a closed year"):
            log.push()
        hook.unlink()
        assert log.push()
        assert refs(bench, remote) == refs(bench) == closing(log)


def test_a_ref_that_somebody_else_made_is_told_and_left(bench: LogBench) -> None:
    remote = bench.bare("remote.git")
    with bench.log(remote=remote) as log:
        first = log.tip()
        log.append(Kind.CONFIG, {})
        log.push()
        bench.git("update-ref", log_years.ref_of(NAME.ref, 2026), str(first), repo=remote)
        year(bench, 2027)
        log.append(Kind.CONFIG, {})
        log.push()
        with pytest.raises(IntegrityError, match="somebody else"):
            log.push()
    assert refs(bench, remote) == {2026: first}
    assert not verify(remote).clean
