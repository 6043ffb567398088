"""Scaffolding on a real file system: whole or not there, owned files untouched, nothing through links."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from reconciler.primitive.bpmn_compile import Compiled
from reconciler.primitive.layout import LOCK, Tree
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.scaffold import expected_tree, scaffold
from reconciler.primitive.verify import verify
from state.errors import ConfigError, ReconcilerError, Unavailable
from tests.fixtures.primitives import NAME, repository, tree_hash, tree_of, written
from tests.thorough import examples

ROOT = Path(__file__).parents[3]


def expected(kind: Kind) -> Tree:
    tree = expected_tree(Primitive(kind, NAME), None, None, None)
    assert not isinstance(tree, Compiled)
    return tree


@pytest.mark.parametrize("kind", Kind)
def test_a_second_run_changes_nothing_at_all(kind: Kind, tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, kind)
    assert tree_of(folder) == expected(kind).merged()
    before = tree_hash(repo)
    done = scaffold(repo, Primitive(kind, NAME))
    assert (done.created, done.rewritten, done.removed, done.tests) == ((), (), (), ())
    assert tree_hash(repo) == before


def test_time_place_environment_and_company_do_not_count(tmp_path: Path) -> None:
    repos = [repository(tmp_path / name) for name in ("a", "b/deeper")]
    for repo, kinds in zip(repos, (list(Kind), list(reversed(Kind))), strict=True):
        code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.scaffold import scaffold
for kind in {[k.value for k in kinds]!r}:
    scaffold(Path({str(repo)!r}), Primitive(Kind(kind), {NAME!r}))
"""
        seed = str(len(str(repo)))
        environment = {"PATH": "", "PYTHONHASHSEED": seed, "HOME": str(repo), "LC_ALL": "C", "TZ": f"X{seed[-1]}"}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd="/")
    assert tree_of(repos[0]) == tree_of(repos[1])


@examples(25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from([Kind.DOMAIN, Kind.PROCESS, Kind.UISURFACE]))
def test_whatever_is_there_owned_files_stay_and_generated_ones_are_made_anew(
    data: st.DataObject, kind: Kind, tmp_path: Path
) -> None:
    repo = repository(tmp_path / os.urandom(8).hex())
    folder = written(repo, kind)
    tree = expected(kind)
    # The process itself stays: it is what the others are compiled from.
    owned, generated = sorted(tree.owned.keys() - {"bpmn/process.bpmn"}), sorted(tree.generated)
    gone = data.draw(st.sets(st.sampled_from([*owned, *generated])))
    edited = data.draw(st.sets(st.sampled_from([*owned, *generated]))) - gone
    for path in gone:
        (folder / path).unlink()
    for path in edited:
        (folder / path).write_bytes(b"mine")
    (folder / "internal/gen/deeper").mkdir(parents=True, exist_ok=True)
    (folder / "internal/gen/deeper/stranger.go").write_text("mine")
    (folder / "own.txt").write_text("mine")
    times = {path: (folder / path).stat().st_mtime_ns for path in edited}

    done = scaffold(repo, Primitive(kind, NAME))
    wanted = {**tree.merged(), "own.txt": b"mine", **{path: b"mine" for path in edited if path in tree.owned}}
    assert tree_of(folder) == dict(sorted(wanted.items()))
    assert {path for path in edited if (folder / path).stat().st_mtime_ns == times[path]} == edited & set(owned)
    prefix = f"primitives/{kind}/{NAME}/"
    assert set(done.created) == {prefix + path for path in gone}
    assert set(done.rewritten) == {prefix + path for path in edited if path in tree.generated}
    assert done.removed == (f"{prefix}internal/gen/deeper",)


def test_a_process_that_does_not_compile_changes_nothing(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.PROCESS)
    bpmn = folder / "bpmn/process.bpmn"
    (folder / "README.md").unlink()
    good = bpmn.read_text()
    bpmn.write_text(good.replace("work.completed.v1", "other"))
    before = tree_hash(repo)
    done = scaffold(repo, Primitive(Kind.PROCESS, NAME))
    assert done.violations
    assert done.created == ()
    assert "nothing was written" in done.summary
    assert tree_hash(repo) == before
    bpmn.write_text(good.replace("</bpmn:definitions>", ""))
    before = tree_hash(repo)
    with pytest.raises(ConfigError, match=r"process\.bpmn: line [0-9]+: \(document\): not well-formed"):
        scaffold(repo, Primitive(Kind.PROCESS, NAME))
    assert tree_hash(repo) == before


def test_a_go_workspace_is_left_alone_and_the_next_step_names_its_command(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    (repo / "go.work").write_text("go 1.22\n")
    assert scaffold(repo, Primitive(Kind.DOMAIN, NAME)).next_steps[0] == f"go work use ./primitives/domain/{NAME}"
    assert not any("go work" in step for step in scaffold(repo, Primitive(Kind.AGENT, NAME)).next_steps)
    assert (repo / "go.work").read_text() == "go 1.22\n"


def test_a_job_that_is_gone_leaves_its_handler_to_its_owner(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.PROCESS)
    bpmn = folder / "bpmn/process.bpmn"
    bpmn.write_text(bpmn.read_text().replace(".finish.v1", ".finish.v2"))
    done = scaffold(repo, Primitive(Kind.PROCESS, NAME))
    assert done.removed == ()
    assert [p.rpartition("/")[2] for p in done.created] == ["handler_order_intake_finish_v2.go"]
    assert {p.rpartition("/")[2] for p in done.rewritten} == {
        "handlers_gen.go",
        "job_types_gen.go",
        "compile.lock.json",
    }
    assert (folder / "internal/worker/handler_order_intake_finish_v1.go").is_file()


def _link_folder(repo: Path, outside: Path) -> None:
    (repo / "primitives").symlink_to(outside)


def _link_kind(repo: Path, outside: Path) -> None:
    (repo / "primitives").mkdir()
    (repo / "primitives/domain").symlink_to(outside)


def _link_name(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain").mkdir(parents=True)
    (repo / "primitives/domain" / NAME).symlink_to(outside)


def _link_inside(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME).mkdir(parents=True)
    (repo / "primitives/domain" / NAME / "internal").symlink_to(outside)


def _link_root(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME / "internal").mkdir(parents=True)
    (repo / "primitives/domain" / NAME / "internal/gen").symlink_to(outside)


def _link_file(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME).mkdir(parents=True)
    (repo / "primitives/domain" / NAME / "README.md").symlink_to(outside / "new")


def _file_kind(repo: Path, outside: Path) -> None:
    (repo / "primitives").mkdir()
    (repo / "primitives/domain").write_text("a file")


def _file_name(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain").mkdir(parents=True)
    (repo / "primitives/domain" / NAME).write_text("a file")


def _file_inside(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME).mkdir(parents=True)
    (repo / "primitives/domain" / NAME / "cmd").write_text("a file")


def _folder_for_file(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME / "go.mod").mkdir(parents=True)


def _pipe_for_file(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME).mkdir(parents=True)
    os.mkfifo(repo / "primitives/domain" / NAME / "go.mod")


def _twin(repo: Path, outside: Path) -> None:
    (repo / "primitives/domain" / NAME.replace("-", "_")).mkdir(parents=True)


def _no_repository(repo: Path, outside: Path) -> None:
    (repo / ".git").rmdir()


@pytest.mark.parametrize(
    "plant",
    [
        _link_folder, _link_kind, _link_name, _link_inside, _link_root, _link_file, _file_kind, _file_name,
        _file_inside, _folder_for_file, _pipe_for_file, _twin, _no_repository,
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_named_and_nothing_is_written(plant, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    outside = tmp_path / "outside"
    outside.mkdir()
    repo = repository(tmp_path / "repo")
    plant(repo, outside)
    before = tree_hash(tmp_path)
    with pytest.raises(ConfigError, match=str(repo)):
        scaffold(repo, Primitive(Kind.DOMAIN, NAME))
    assert tree_hash(tmp_path) == before


def test_a_link_to_nowhere_of_a_process_is_not_read_either(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    folder = written(repo, Kind.PROCESS)
    (tmp_path / "secret.bpmn").write_bytes((folder / "bpmn/process.bpmn").read_bytes())
    (folder / "bpmn/process.bpmn").unlink()
    (folder / "bpmn/process.bpmn").symlink_to(tmp_path / "secret.bpmn")
    with pytest.raises(ConfigError, match="found a link"):
        scaffold(repo, Primitive(Kind.PROCESS, NAME))


def killed(kind: Kind, base: Path) -> list[Path]:
    """The repositories after a kill before the first, second, … change."""
    command = [sys.executable, "-m", "tests.fixtures.killed_scaffold", kind, NAME, str(base)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    return [base / str(n) for n in range(1, int(told.stdout))]


def test_a_new_primitive_is_there_whole_or_not_at_all_wherever_it_is_killed(tmp_path: Path) -> None:
    repository(tmp_path / "0")
    wanted = expected(Kind.PROCESS).merged()
    states = {"absent": 0, "whole": 0}
    repos = killed(Kind.PROCESS, tmp_path)
    assert len(repos) > 2 * len(wanted)
    for repo in repos:
        folder = repo / "primitives/process" / NAME
        states["whole" if folder.exists() else "absent"] += 1
        if folder.exists():
            assert tree_of(folder) == wanted
        scaffold(repo, Primitive(Kind.PROCESS, NAME))
        assert tree_of(repo / "primitives") == {f"process/{NAME}/{path}": raw for path, raw in wanted.items()}
    assert states["absent"] > 0


def test_in_a_primitive_that_is_there_each_file_is_whole_and_the_next_run_heals(tmp_path: Path) -> None:
    repo = repository(tmp_path / "0")
    folder = written(repo, Kind.PROCESS)
    wanted = expected(Kind.PROCESS).merged()
    mine = {"README.md": b"mine", "internal/worker/handlers.go": b"package worker // mine"}
    for path, raw in mine.items():
        (folder / path).write_bytes(raw)
    stale = ["internal/worker/job_types_gen.go", LOCK]
    for path in stale:
        (folder / path).write_bytes(b"stale")
    (folder / "internal/gen/stranger.go").write_text("x")
    for path in ("go.mod", "internal/gen/process_services.generated.go"):
        (folder / path).unlink()
    repos = killed(Kind.PROCESS, tmp_path)
    assert len(repos) > 10
    for killed_repo in repos:
        there = tree_of(killed_repo / "primitives/process" / NAME)
        for path, raw in there.items():
            assert raw == mine.get(path, wanted.get(path)) or path.endswith((*stale, ".scaffold-new", "stranger.go")), (
                path
            )
        assert {path: there[path] for path in mine} == mine
        # As long as anything generated is missing or old, the lock does not vouch for it.
        if there[LOCK] == wanted[LOCK]:
            assert there["internal/worker/job_types_gen.go"] == wanted["internal/worker/job_types_gen.go"]
        scaffold(killed_repo, Primitive(Kind.PROCESS, NAME))
        assert tree_of(killed_repo / "primitives/process" / NAME) == {**wanted, **mine}


def test_what_another_version_left_aside_is_no_part_of_the_primitive(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    aside = repo / "primitives/domain" / f".{NAME}.scaffold-new"
    aside.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (aside / "old.go").write_text("package old")
    (aside / "cmd").symlink_to(tmp_path / "outside")
    folder = written(repo, Kind.DOMAIN)
    assert tree_of(folder) == expected(Kind.DOMAIN).merged()
    assert not aside.exists()
    assert list((tmp_path / "outside").iterdir()) == []


def test_two_runs_at_once_are_refused_and_leave_no_trace(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    written(repo, Kind.DOMAIN, "other")
    before = tree_hash(repo)
    fd = os.open(repo / "primitives/domain", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        with pytest.raises(Unavailable, match="another run is writing"):
            scaffold(repo, Primitive(Kind.DOMAIN, NAME))
    finally:
        os.close(fd)
    assert tree_hash(repo) == before


def mortal(repo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ameide primitive` as somebody whom permissions bind, also where these tests run as root."""
    drop = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    main = "from reconciler.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", drop, "-c", main, "primitive", *arguments, "--repo", str(repo)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="drops a capability of Linux")
def test_a_read_only_tree_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    folder = written(repo, Kind.AGENT)
    shutil.rmtree(folder / "src")
    places = [repo, repo / "primitives", repo / "primitives/agent", folder]
    for place in places:
        place.chmod(0o555)
    before = tree_hash(repo)
    try:
        for name in (NAME, "another"):
            done = mortal(repo, "scaffold", "--kind", "agent", "--name", name)
            assert (done.returncode, done.stdout) == (2, "")
            assert "Permission denied" in done.stderr
            assert str(repo) in done.stderr
        assert tree_hash(repo) == before
    finally:
        for place in places:
            place.chmod(0o755)


def test_verify_of_what_is_no_primitive_is_bad_input(tmp_path: Path) -> None:
    from reconciler.primitive.runner import Limits

    repo = repository(tmp_path)
    (repo / "primitives/domain").mkdir(parents=True)
    place = repo / "primitives/domain" / NAME
    for found in ("nothing", "file", "link"):
        if found == "file":
            place.write_text("x")
        elif found == "link":
            place.unlink()
            place.symlink_to(repo)
        with pytest.raises(ReconcilerError, match=f"expected the folder of a primitive, found {found}"):
            verify(repo, Primitive(Kind.DOMAIN, NAME), Limits(), {})
