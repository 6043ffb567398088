"""The checks that need no tool: what is in the folder against what has to be (pure)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from reconciler.primitive import deploy_files, secret_scan
from reconciler.primitive.bpmn_compile import ZEEBE, Compiled
from reconciler.primitive.imports import check_imports
from reconciler.primitive.layout import BPMN, GENERATED_ROOTS, LEFTOVER, LOCK, MARKER, SHAPE, Tree, in_roots, is_test
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.reading import Seen
from reconciler.primitive.report import Check, Issue, Status, check

_FROM: Final = re.compile(
    r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)(?:[ \t]+AS[ \t]+(\S+))?", re.IGNORECASE | re.MULTILINE
)


def static_checks(primitive: Primitive, seen: Seen, templates: Tree, compiled: Compiled | None) -> list[Check]:
    """Every check but the tests, in the order in which they are told."""
    again = f"ameide primitive scaffold --kind {primitive.kind} --name {primitive.name}"
    checks = [_codegen(primitive, seen, templates, again)]
    if compiled is not None:
        checks += [_bpmn(seen, compiled, again), _workers(seen, compiled, again)]
    return [
        *checks,
        check(
            "Imports",
            check_imports(primitive, seen.files),
            good="only what a primitive may import",
            bad="imports that a primitive may not have",
        ),
        _markers(primitive, seen.files),
        _shape(primitive, seen),
        check(
            "DeployFiles",
            deploy_files.find(seen.files),
            good="nothing here deploys",
            bad="deployment lives in the GitOps repository; remove these files",
        ),
        check(
            "SecretScan",
            secret_scan.scan(seen.files),
            good="no secrets found",
            bad="secrets in the sources: revoke them, then remove them",
        ),
        _images(seen.files),
    ]


def _codegen(primitive: Primitive, seen: Seen, templates: Tree, again: str) -> Check:
    roots = GENERATED_ROOTS[primitive.kind]
    issues = _drift(seen.files, templates.generated)
    for path in [*seen.files, *seen.odd]:
        if in_roots(path, roots) and path not in templates.generated:
            issues.append(Issue(path, "file", "nothing that is not generated", "a file"))
    if not roots:
        return Check("Codegen", Status.PASS, f"nothing is generated for a primitive of kind {primitive.kind}")
    return check("Codegen", issues, good="as generated", bad=f"not as generated; run `{again}`")


def _bpmn(seen: Seen, compiled: Compiled, again: str) -> Check:
    if BPMN not in seen.files:
        return Check("BPMN", Status.FAIL, f"{BPMN} is missing", (Issue(BPMN, "file", "a process", "nothing"),))
    if compiled.violations:
        issues = [Issue(BPMN, v.element, "a process of this profile", v.why, v.line) for v in compiled.violations]
        return check("BPMN", issues, good="", bad=f"the process does not compile as profile {compiled.profile}")
    return check(
        "BPMN",
        _drift(seen.files, compiled.generated),
        good=f"as compiled, profile {compiled.profile}",
        bad=f"not as compiled from {BPMN}; run `{again}`",
    )


def _drift(files: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[Issue]:
    return [
        Issue(path, "content", _digest(content), _digest(files[path]) if path in files else "missing")
        for path, content in wanted.items()
        if files.get(path) != content
    ]


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _workers(seen: Seen, compiled: Compiled, again: str) -> Check:
    if compiled.violations or BPMN not in seen.files:
        return Check("WorkerCoverage", Status.FAIL, "not judged: the process does not compile")
    if compiled.profile != ZEEBE:
        return Check("WorkerCoverage", Status.PASS, "the older profile has no job types")
    sources = "\n".join(
        raw.decode("utf-8", "replace")
        for path, raw in seen.files.items()
        if path.startswith("internal/worker/") and path.endswith(".go") and not path.endswith(("_gen.go", "_test.go"))
    )
    written = set(re.findall(r"^func \([^)\n]{1,200}\) (\w+)\(", sources, re.MULTILINE))
    issues = [
        Issue(f"internal/worker/{job.file}", job.name, f"a method {job.identifier}", "none")
        for job in compiled.jobs
        if job.identifier not in written
    ]
    return check(
        "WorkerCoverage",
        issues,
        good=f"each of {len(compiled.jobs)} job types has its handler",
        bad=f"job types without a handler; run `{again}`",
    )


def _markers(primitive: Primitive, files: Mapping[str, bytes]) -> Check:
    issues = [
        Issue(path, "marker", "what the code must do", MARKER, number)
        for path, raw in files.items()
        if is_test(path, primitive.language)
        for number, line in enumerate(raw.split(b"\n"), start=1)
        if MARKER.encode() in line
    ]
    return check(
        "ScaffoldMarkers",
        issues,
        good="no scaffold marker is left in the tests",
        bad=f"tests still hold {MARKER}: say there what the code must do",
    )


def _shape(primitive: Primitive, seen: Seen) -> Check:
    issues = [
        Issue(wanted.partition("|")[0], "file", "a file", seen.odd.get(wanted, "nothing"))
        for wanted in SHAPE[primitive.kind]
        if not any(path in seen.files for path in wanted.split("|"))
    ]
    if primitive.kind is Kind.PROCESS and LOCK not in seen.files:
        issues.append(Issue(LOCK, "file", "a file", seen.odd.get(LOCK, "nothing")))
    if not any(is_test(path, primitive.language) for path in seen.files):
        issues.append(Issue(".", "tests", "at least one test file", "none"))
    issues += [Issue(path, "file", "a regular file that can be read whole", what) for path, what in seen.odd.items()]
    issues += [
        Issue(path, "file", "no trace of a scaffold that was cut short", "one; scaffold again")
        for path in seen.files
        if LEFTOVER in path
    ]
    return check("Shape", issues, good="every file that its kind needs", bad="not the files that its kind needs")


def _images(files: Mapping[str, bytes]) -> Check:
    """Base images by digest. A warning: the build decides what it takes."""
    issues = []
    for path, raw in files.items():
        if not path.rpartition("/")[2].startswith(("Dockerfile", "Containerfile")):
            continue
        text = raw.decode("utf-8", "replace")
        stages = {"scratch"}
        for found in _FROM.finditer(text):
            if found[1].lower() not in stages and "@sha256:" not in found[1]:
                line = text.count("\n", 0, found.start(1)) + 1
                issues.append(Issue(path, "FROM", "an image by digest", found[1][:200], line))
            if found[2]:
                stages.add(found[2].lower())
    return check(
        "ImagePins",
        issues,
        good="base images are pinned by digest",
        bad="base images that may change under you",
        severity=Status.WARN,
    )
