"""Verifying a primitive: reads it, compiles what it should be in memory, runs its tests, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reconciler.primitive.bpmn_compile import Compiled, compile_process
from reconciler.primitive.checks import static_checks
from reconciler.primitive.layout import BPMN, LOCK, POLICIES, from_templates
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.reading import Seen, read_folder
from reconciler.primitive.report import Check, Issue, Report, Status, TestRun, check
from reconciler.primitive.runner import Limits, Outcome, run_tests
from reconciler.primitive.safe_files import Folder
from reconciler.primitive.templates_data import read_templates
from state.errors import ConfigError


def verify(repository: Path, primitive: Primitive, limits: Limits, environment: Mapping[str, str]) -> Report:
    """Every check of the primitive.

    Raises:
        ConfigError: there is no such primitive, or its folder is not one.
    """
    with Folder.open(repository) as root:
        if (kind := root.kind(primitive.path)) != "folder":
            raise ConfigError(
                f"{root.at(primitive.path)}: expected the folder of a primitive, found {kind or 'nothing'}; "
                f"`ameide primitive scaffold --kind {primitive.kind} --name {primitive.name}` writes one"
            )
        with root.descend(primitive.path) as folder:
            seen = read_folder(folder)
            compiled = _compiled(seen) if primitive.kind is Kind.PROCESS else None
            templates = from_templates(primitive, read_templates(primitive.kind))
            checks = static_checks(primitive, seen, templates, compiled)
            outcome = run_tests(primitive.language, repository / primitive.path, limits, environment)
            after = read_folder(folder)
    return Report(
        primitive,
        (*checks, _toolchain(outcome), _tests(outcome, _changed(seen, after))),
        TestRun(Status.PASS if outcome.good else Status.FAIL, outcome.details or outcome.missing or outcome.why),
    )


def _compiled(seen: Seen) -> Compiled:
    return compile_process(seen.files.get(BPMN, b""), seen.files.get(LOCK), seen.files.get(POLICIES))


def _changed(before: Seen, after: Seen) -> list[Issue]:
    """What the tests left in the folder."""
    paths = {*before.files, *after.files, *before.odd, *after.odd}
    return [
        Issue(path, "file", "tests that leave the sources as they are", "written or removed by the tests")
        for path in paths
        if before.files.get(path) != after.files.get(path) or before.odd.get(path) != after.odd.get(path)
    ]


def _toolchain(outcome: Outcome) -> Check:
    if outcome.missing is not None:
        return Check("Toolchain", Status.FAIL, outcome.missing)
    return Check("Toolchain", Status.PASS, "every tool is there")


def _tests(outcome: Outcome, changed: list[Issue]) -> Check:
    if outcome.missing is not None:
        return Check("Tests", Status.FAIL, f"not run: {outcome.missing}")
    issues = [Issue(name, "result", "pass", "fail") for name in outcome.failed]
    if not outcome.good and not issues:
        return Check("Tests", Status.FAIL, outcome.why, tuple(changed))
    bad = outcome.why if not outcome.good else "the tests write into the sources"
    return check("Tests", [*issues, *changed], good=outcome.why, bad=bad)
