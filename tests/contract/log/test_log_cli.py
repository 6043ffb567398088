"""`ameide log show` and `ameide log verify`: what people and scripts see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli import log as log_cli
from reconciler.cli import main
from state.entry import Kind
from tests.fixtures.log import Forger, LogBench


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["log", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def written(bench: LogBench) -> LogBench:
    with bench.log() as log:
        log.append(Kind.DECISION, {"head": "a" * 40, "pull_requests": [1, 7]})
        log.append(Kind.INTENT, {"writes": [{"head": "b" * 40, "pull_requests": [2]}]})
        log.append(Kind.CONFIG, {"text": "\x1b[2Jred\x9b\x7f\u202e"})
    return bench


def test_verify_says_clean_and_what_it_did_not_check(written: LogBench, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", written.repo)
    assert (code, err) == (0, "")
    assert "refs/heads/log/4711/reconciler: 5 entries, 1 epochs" in out
    assert "not checked against an outside list" in out
    assert out.endswith("clean\n")
    code, out, _ = run(
        capsys, "verify", written.repo, "--allowed-signers", written.allowed(), "--anchor", written.tip()
    )
    assert code == 0
    assert "not checked" not in out


def test_verify_exits_1_on_findings_and_names_the_entry(written: LogBench, capsys: pytest.CaptureFixture[str]) -> None:
    forger = Forger(written, written.repo)
    chain = forger.chain()
    anchor = chain[-1][0]
    forger.point(forger.replay([chain[4][1]], chain[2][0]))
    code, out, _ = run(capsys, "verify", written.repo, "--anchor", anchor)
    assert code == 1
    assert f"PROBLEM  {anchor}: the anchor" in out
    assert f"PROBLEM  entry 4 {written.tip()}: sequence 4 follows 2" in out
    assert out.endswith("2 problems\n")
    code, out, _ = run(capsys, "verify", written.repo, "--json")
    assert code == 1
    said = json.loads(out)
    assert (said["clean"], said["checked_against_outside_list"]) == (False, False)
    assert said["branches"][0]["problems"][0]["sequence"] == 4


@pytest.mark.parametrize("command", [("verify",), ("verify", "--json"), ("show",), ("replay",)])
def test_refs_that_cannot_be_listed_are_told_in_one_line(
    written: LogBench, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (written.repo / "packed-refs").write_bytes(b"\xff garbage\n")
    code, out, err = run(capsys, command[0], written.repo, *command[1:])
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "its refs cannot be read: corrupted packed references" in err


def test_bad_input_exits_2(bench: LogBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = bench.bare("empty.git")
    (tmp_path / "dir").mkdir()
    for command in ("verify", "show"):
        for path, why in (
            (tmp_path / "none", "no such directory"),
            (tmp_path / "dir", "not a git repository"),
            (empty, "no log branch"),
        ):
            code, out, err = run(capsys, command, path)
            assert (code, out) == (2, ""), err
            assert why in err
    with bench.log():
        pass
    for arguments in (
        ("verify", bench.repo, "--branch", "nope"),
        ("verify", bench.repo, "--anchor", "abc"),
        ("verify", bench.repo, "--allowed-signers", tmp_path / "none"),
        ("show", bench.repo, "--kind", "nope"),
        ("show", bench.repo, "--head", "xyz"),
        ("show", bench.repo, "-n", "0"),
        ("show", bench.repo, "-n", "9" * 40),
    ):
        code, out, _ = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments


def test_show_lists_one_line_an_entry_newest_last(written: LogBench, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", written.repo)
    lines = out.splitlines()
    assert code == 0
    assert [line.split("  ")[-1] for line in lines] == [
        "genesis 0: epoch 0 by rec-0",
        "epoch 1: epoch 1 by rec-0",
        "decision 2: head aaaaaaaaaaaa pr 1,7",
        "intent 3: 1 writes",
        "config 4:",
    ]
    assert lines[-1].split("  ")[1] == written.tip().short


@pytest.mark.parametrize(
    ("options", "sequences"),
    [
        (["--kind", "intent"], [3]),
        (["--pr", "7"], [2]),
        (["--pr", "2"], [3]),
        (["--head", "b" * 7], [3]),
        (["--head", "a" * 40], [2]),
        (["-n", "2"], [3, 4]),
        (["--pr", "1", "-n", "1"], [2]),
        (["--pr", "99"], []),
        (["--branch", "log/4711/reconciler", "-n", "1"], [4]),
    ],
)
def test_show_filters(
    written: LogBench, capsys: pytest.CaptureFixture[str], options: list[str], sequences: list[int]
) -> None:
    code, out, _ = run(capsys, "show", written.repo, "--json", *options)
    assert code == 0
    assert [json.loads(line)["sequence"] for line in out.splitlines()] == sequences


def test_control_characters_never_reach_the_terminal(written: LogBench, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", written.repo, "--json")
    assert out.replace("\n", "").isprintable()
    assert out.isascii()
    assert json.loads(out.splitlines()[-1])["body"]["text"] == "\x1b[2Jred\x9b\x7f\u202e"
    assert log_cli.printable("\x1b[2J\x9b\u202eü\n") == r"\x1b[2J\x9b\u202eü\n"


def test_show_asks_for_a_branch_if_there_are_several(written: LogBench, capsys: pytest.CaptureFixture[str]) -> None:
    written.git("update-ref", "refs/heads/log/4711/janitor", written.tip())
    code, _, err = run(capsys, "show", written.repo)
    assert code == 2
    assert "choose one by --branch" in err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "verify"):
        code, out, _ = run(capsys, command, "--help")
        assert code == 0
        assert f"ameide log {command} " in out
