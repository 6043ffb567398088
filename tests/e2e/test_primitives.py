"""A primitive from scaffold to green, with the real toolchains, as a person or an agent calls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.primitive.names import Kind, Language, Primitive
from tests.fixtures import warm_cli
from tests.fixtures.primitives import NAME, environment, implement, repository, tree_hash, written

SUITES = {
    Kind.DOMAIN: pytest.mark.go,
    Kind.PROCESS: pytest.mark.go,
    Kind.PROJECTION: pytest.mark.go,
    Kind.INTEGRATION: pytest.mark.go,
    Kind.UISURFACE: pytest.mark.node,
}
KINDS = [pytest.param(kind, marks=[SUITES[kind]] if kind in SUITES else [], id=kind) for kind in Kind]
GO_KINDS = [kind for kind in Kind if Primitive(kind, NAME).language is Language.GO]


def ameide(cwd: Path, *arguments: str, **more: str) -> tuple[int, str, str]:
    done = warm_cli.run(["primitive", *arguments], environment(**more), cwd, timeout=600)
    return done.returncode, done.stdout, done.stderr


def verified(repo: Path, kind: Kind, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = ameide(repo, "verify", "--kind", kind, "--name", NAME, "--mode", "repo", "--json", *arguments)
    assert out, err
    return code, json.loads(out)


def failing(report: dict[str, Any]) -> dict[str, str]:
    return {c["check"]: c["message"] for c in report["checks"] if c["status"] == "CHECK_STATUS_FAIL"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_scaffold_builds_is_red_by_its_marker_alone_and_green_once_implemented(kind: Kind, tmp_path: Path) -> None:
    repo = repository(tmp_path)
    code, out, err = ameide(repo, "scaffold", "--kind", kind, "--name", NAME, "--json")
    assert (code, err) == (0, "")
    made = json.loads(out)
    folder = repo / "primitives" / kind / NAME
    assert sorted(made["files_created"]) == sorted(
        p.relative_to(repo).as_posix() for p in folder.rglob("*") if p.is_file()
    )
    assert made["tests_created"]
    assert set(made["tests_created"]) < set(made["files_created"])
    assert made["next_steps"][-1] == f"ameide primitive verify --kind {kind} --name {NAME} --mode repo"

    before = tree_hash(repo)
    code, red = verified(repo, kind)
    assert code == 1
    assert red["summary"] == "fail"
    assert set(failing(red)) == {"ScaffoldMarkers", "Tests"}
    assert failing(red)["Tests"].startswith("failed: ")
    assert "AMEIDE_SCAFFOLD" in red["cascade"][0]["details"]  # They ran, and say themselves why they are red.
    assert tree_hash(repo) == before

    implement(folder, kind)
    before = tree_hash(repo)
    code, green = verified(repo, kind)
    assert failing(green) == {}
    assert (code, green["summary"], green["health"]["ready"]) == (0, "pass", True)
    assert {c["status"] for c in green["checks"]} == {"CHECK_STATUS_PASS"}
    assert tree_hash(repo) == before


@pytest.mark.go
def test_what_is_written_in_go_is_formatted_and_vetted(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    for kind in GO_KINDS:
        folder = written(repo, kind)
        vet = subprocess.run(["go", "vet", "./..."], cwd=folder, capture_output=True, text=True, check=False)
        assert (vet.returncode, vet.stderr) == (0, "")
    told = subprocess.run(["gofmt", "-l", "."], cwd=repo, capture_output=True, text=True, check=True)
    assert told.stdout == ""


@pytest.mark.go
def test_the_older_profile_is_compiled_to_go_that_builds(tmp_path: Path) -> None:
    from tests.unit.test_bpmn import V1_LOCK, V1_POLICIES, V1_PROCESS

    repo = repository(tmp_path)
    bpmn = repo / "primitives/process" / NAME / "bpmn"
    bpmn.mkdir(parents=True)
    (bpmn / "process.bpmn").write_bytes(V1_PROCESS)
    (bpmn / "compile.lock.json").write_bytes(V1_LOCK)
    (bpmn / "policies.yaml").write_bytes(V1_POLICIES)
    folder = written(repo, Kind.PROCESS)
    assert not (folder / "internal/worker").exists()
    subprocess.run(["go", "vet", "./internal/..."], cwd=folder, check=True, timeout=300)
    told = subprocess.run(["gofmt", "-l", "."], cwd=repo, capture_output=True, text=True, check=True)
    assert told.stdout == ""
    _, report = verified(repo, Kind.PROCESS)
    assert not {"Codegen", "BPMN", "WorkerCoverage", "Imports"} & set(failing(report))


@pytest.mark.go
def test_a_process_that_changes_gets_its_new_handler_and_builds_again(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.PROCESS)
    implement(folder, Kind.PROCESS)
    bpmn = folder / "bpmn/process.bpmn"
    # The job type ends like a file of another system: it is built all the same.
    bpmn.write_text(bpmn.read_text().replace("order_intake.finish.v1", "order_intake.finish.windows"))
    code, report = verified(repo, Kind.PROCESS)
    assert code == 1
    assert {"BPMN", "WorkerCoverage"} <= set(failing(report))
    written(repo, Kind.PROCESS)
    assert (folder / "internal/worker/handler_order_intake_finish_windows_job.go").is_file()
    _, report = verified(repo, Kind.PROCESS)
    assert set(failing(report)) == {"Tests"}  # The new job is not implemented, and the test says so.


@pytest.mark.go
@pytest.mark.parametrize(
    ("plant", "failed"),
    [
        ({"internal/handlers/broken.go": "package handlers\n\nfunc broken() { return 1 }\n"}, "does not build"),
        ({"internal/tests/handle_test.go": None}, "none found"),
        ({"internal/tests/handle_test.go": "package tests\n"}, "none found"),
    ],
    ids=["does-not-build", "no-tests", "empty-tests"],
)
def test_a_build_that_fails_and_tests_that_are_none_fail(
    plant: dict[str, str | None], failed: str, tmp_path: Path
) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.PROJECTION)
    implement(folder, Kind.PROJECTION)
    for path, text in plant.items():
        (folder / path).unlink() if text is None else (folder / path).write_text(text)
    code, report = verified(repo, Kind.PROJECTION)
    assert code == 1
    assert failing(report)["Tests"].startswith(failed)


def test_the_table_names_every_check_and_junit_is_written_beside_it(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    written(repo, Kind.AGENT)
    arguments = ("verify", "--kind", "agent", "--name", NAME, "--mode", "repo")
    code, out, _ = ameide(repo, *arguments, "--junit", "verify.xml")
    assert code == 1
    for name in ("Codegen", "Imports", "ScaffoldMarkers", "Shape", "DeployFiles", "SecretScan", "Toolchain", "Tests"):
        assert name in out
    assert "tests/test_agent.py:14" in out
    junit = (repo / "verify.xml").read_text()
    assert 'failures="2"' in junit
    code, _, err = ameide(repo, *arguments, "--junit", f"primitives/agent/{NAME}/verify.xml")
    assert code == 2
    assert "nothing is written there" in err
    assert not (repo / "primitives/agent" / NAME / "verify.xml").exists()


def test_credentials_of_the_caller_do_not_reach_the_tests(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.AGENT)
    (folder / "tests/test_agent.py").write_text(
        "import os\n\n\ndef test_environment():\n    assert 'REGISTRY_TOKEN' not in os.environ\n"
    )
    code, out, _ = ameide(
        repo, "verify", "--kind", "agent", "--name", NAME, "--mode", "repo", REGISTRY_TOKEN="not for tests"
    )
    assert code == 0, out


def test_a_test_that_writes_into_the_sources_is_found(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.AGENT)
    (folder / "tests/test_agent.py").write_text(
        "from pathlib import Path\n\n\ndef test_writes():\n    Path('src/agent.py').write_text('')\n"
    )
    code, report = verified(repo, Kind.AGENT)
    assert code == 1
    assert failing(report) == {"Tests": "the tests write into the sources"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "service", "--name", "a"], "'service' is not one of"),
        (["--kind", "domain"], "Missing option '--name'"),
        *(
            (["--kind", "domain", f"--name={name}"], words)
            for name, words in {
                "a/b": "expected lower-case",
                "..": "expected lower-case",
                "../../etc": "expected lower-case",
                "/abs": "expected lower-case",
                "": "expected lower-case",
                "Orders": "expected lower-case",
                "оrders": "'\\u043erders'",  # the first letter is Cyrillic
                "ｏrders": "'\\uff4frders'",
                "orders\n": "expected lower-case",
                "a" * 300: "at most 36 characters, got 300",
                "vendor": "a meaning of its own",
            }.items()
        ),
    ],
)
def test_bad_input_ends_with_2_one_clear_message_and_nothing_written(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    repo = repository(tmp_path)
    before = tree_hash(tmp_path)
    for command in (["scaffold"], ["verify", "--mode", "repo"]):
        code, out, err = ameide(repo, *command, *arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert "Traceback" not in err
    assert tree_hash(tmp_path) == before


def test_help_has_examples() -> None:
    for command in ("scaffold", "verify"):
        code, out, _ = ameide(Path.cwd(), command, "--help")
        assert code == 0
        assert f"ameide primitive {command} --kind" in out
