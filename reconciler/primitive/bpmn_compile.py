"""From a process to code: the generated files and the lock, and the handlers that are written once (pure).

The lock names the profile. Without one it is the current profile; a lock that says `ameide-v1` keeps the older one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.primitive import bpmn_go, bpmn_v1, bpmn_zeebe
from reconciler.primitive.bpmn_ir import ir_digest
from reconciler.primitive.bpmn_model import Violation, read_model
from reconciler.primitive.bpmn_xml import RefusedXml, parse_xml
from reconciler.primitive.bpmn_zeebe import JobType
from reconciler.primitive.layout import LOCK
from state import canonical
from state.errors import ReconcilerError

ZEEBE: Final = "zeebe"
V1: Final = "ameide-v1"
GENERATED: Final = {
    ZEEBE: ("internal/worker/handlers_gen.go", "internal/worker/job_types_gen.go"),
    V1: (
        "internal/activities/activities_gen.go",
        "internal/ingress/router_gen.go",
        "internal/workflows/workflow_gen.go",
    ),
}
LOCK_MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a process compiles to. With violations there are no files."""

    profile: str
    generated: Mapping[str, bytes] = field(default_factory=dict)
    owned: Mapping[str, bytes] = field(default_factory=dict)
    jobs: tuple[JobType, ...] = ()
    violations: tuple[Violation, ...] = ()
    unreadable: bool = False
    """The only violation is that this is no document to speak of."""


def profile_of(lock: bytes | None) -> str:
    """The profile that a lock names; a lock that cannot be read names none, and drift will tell."""
    if lock is None:
        return ZEEBE
    try:
        value = canonical.loads(lock, what=LOCK, max_bytes=LOCK_MAX_BYTES)
    except ReconcilerError:
        return ZEEBE
    return V1 if isinstance(value, dict) and value.get("profile") == V1 else ZEEBE


def compile_process(bpmn: bytes, lock: bytes | None, policies: bytes | None) -> Compiled:
    """Compile `bpmn/process.bpmn`. Equal bytes give equal files."""
    profile = profile_of(lock)
    try:
        root = parse_xml(bpmn)
    except RefusedXml as error:
        return Compiled(profile, violations=(Violation(error.line, "(document)", error.why),), unreadable=True)
    model = read_model(root)
    if not model.nodes:
        return Compiled(profile, violations=tuple(sorted(set(model.violations))))
    jobs: list[JobType] = []
    if profile == ZEEBE:
        jobs = bpmn_zeebe.lint(model, root)
    else:
        bpmn_v1.lint(model, root, policies)
    if model.violations:
        return Compiled(profile, violations=tuple(sorted(set(model.violations))))
    if profile == ZEEBE:
        sources = {
            "internal/worker/handlers_gen.go": bpmn_go.handlers(jobs),
            "internal/worker/job_types_gen.go": bpmn_go.job_types(model.process_id, jobs),
        }
    else:
        sources = bpmn_v1.sources(model)
    generated = {path: text.encode() for path, text in sorted(sources.items())}
    generated[LOCK] = _lock(profile, model.process_id, str(ir_digest(model, profile)), jobs, generated)
    owned = {f"internal/worker/{job.file}": bpmn_go.handler(job).encode() for job in jobs}
    return Compiled(profile, generated, owned, tuple(jobs))


def _lock(profile: str, process: str, ir: str, jobs: list[JobType], generated: Mapping[str, bytes]) -> bytes:
    value = {
        "ir_digest": ir,
        "job_types": [job.name for job in jobs],
        "outputs": {path: f"sha256:{hashlib.sha256(raw).hexdigest()}" for path, raw in generated.items()},
        "process": process,
        "profile": profile,
        "version": 1,
    }
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
