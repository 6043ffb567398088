"""Running tests of others: bounded in time and output, nothing of it survives, and a missing tool is named."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from reconciler.primitive.bounded_run import Ended, run
from reconciler.primitive.names import Kind, Language, Primitive
from reconciler.primitive.report import Status
from reconciler.primitive.runner import Limits, run_tests
from reconciler.primitive.verify import verify
from tests.fixtures.primitives import environment, repository, without, written

NAME = "order-intake"


def python(code: str, tmp_path: Path, *, timeout_s: float = 60, most: int = 1_000_000):  # type: ignore[no-untyped-def]
    return run([sys.executable, "-c", code], cwd=tmp_path, env={}, timeout_s=timeout_s, output_max_bytes=most)


def gone(pid: int) -> bool:
    """Whether the process has ended, also if nobody has reaped it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while not gone(pid):
        if time.monotonic() > deadline:
            return False
    return True


CHILD = """\
import subprocess, sys
p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
print(p.pid, flush=True)
"""


LOUD = """\
import os


def test_x(capfd):
    with capfd.disabled():
        while True:
            os.write(2, b"x" * 1000)
"""


def test_output_of_both_streams_and_the_code_are_kept(tmp_path: Path) -> None:
    ran = python("import sys, os; print('a', flush=True); os.write(2, b'b'); sys.exit(3)", tmp_path)
    assert (ran.ended, ran.code, ran.output) == (Ended.BY_ITSELF, 3, "a\nb")


def test_there_is_no_input(tmp_path: Path) -> None:
    assert python("import sys; print(repr(sys.stdin.read()))", tmp_path).output == "''\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_at_the_deadline_all_of_it_ends(tmp_path: Path) -> None:
    began = time.monotonic()
    ran = python(f"{CHILD}p.wait()", tmp_path, timeout_s=3)
    assert ran.ended is Ended.TOO_LONG
    assert time.monotonic() - began < 30
    assert eventually_gone(int(ran.output))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_it_left_behind_ends_with_it_and_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    ran = python(CHILD, tmp_path, timeout_s=120)
    assert (ran.ended, ran.code) == (Ended.BY_ITSELF, 0)
    assert time.monotonic() - began < 60
    assert eventually_gone(int(ran.output))


def test_endless_output_is_ended(tmp_path: Path) -> None:
    ran = python("while True: print('x' * 1000)", tmp_path, most=100_000)
    assert ran.ended is Ended.TOO_MUCH
    assert len(ran.output) == 100_000


def test_a_program_that_closes_its_output_and_goes_on_is_ended_too(tmp_path: Path) -> None:
    ran = python("import os, time; os.close(1); os.close(2); time.sleep(600)", tmp_path, timeout_s=3)
    assert ran.ended is Ended.TOO_LONG


@pytest.mark.parametrize(
    ("kind", "there", "missing"),
    [
        (Kind.DOMAIN, (), "go is not on PATH"),
        (Kind.UISURFACE, (), "node is not on PATH"),
        (Kind.AGENT, (), "python3 is not on PATH"),
    ],
)
def test_a_missing_tool_is_a_failure_that_names_it(
    kind: Kind, there: tuple[str, ...], missing: str, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    written(repo, kind)
    path = without(tmp_path / "bin", *there)
    report = verify(repo, Primitive(kind, NAME), Limits(), environment(PATH=path))
    checks = {c.name: c for c in report.checks}
    assert checks["Toolchain"].status is Status.FAIL
    assert missing in checks["Toolchain"].message
    assert checks["Tests"].status is Status.FAIL
    assert not report.passed


def test_a_python_without_pytest_is_a_failure_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    # An interpreter that sees the standard library alone.
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    outcome = run_tests(Language.PYTHON, tmp_path, Limits(), environment(PATH=str(tmp_path / "bin")))
    assert outcome.missing is not None
    assert outcome.missing.startswith("pytest is not importable")


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("import time\n\n\ndef test_x():\n    time.sleep(600)\n", "not done within 8 s"),
        (
            LOUD,
            "printed more than",
        ),
        ("def helper():\n    pass\n", "none found"),
        ("import pytest\n\n\n@pytest.mark.skip\ndef test_x():\n    pass\n", "none found"),
        ("def test_x():\n    raise SystemExit(0)\n", "failed: "),
        ("import os\n\n\ndef test_x():\n    os._exit(0)\n", "none found"),
    ],
    ids=["endless", "loud", "none", "all-skipped", "exits", "dies-well"],
)
def test_tests_that_prove_nothing_fail(test: str, why: str, tmp_path: Path) -> None:
    folder = written(repository(tmp_path), Kind.AGENT)
    (folder / "tests/test_agent.py").write_text(test)
    limits = Limits(timeout_s=8 if "8 s" in why else 120, output_max_bytes=200_000)
    outcome = run_tests(Language.PYTHON, folder, limits, environment())
    assert not outcome.good
    assert outcome.why.startswith(why), outcome
    assert not (folder / ".pytest_cache").exists()
    assert not (folder / "src/__pycache__").exists()
