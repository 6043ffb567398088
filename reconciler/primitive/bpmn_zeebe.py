"""The current profile: Zeebe's extensions, job types, and requests that wait for their answer (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.primitive.bpmn_model import FlowNode, Model, extensions, is_bpmn, label
from reconciler.primitive.bpmn_xml import Node

ZEEBE_NS: Final = "http://camunda.org/schema/zeebe/1.0"
_OTHER_ENGINES: Final = {
    "http://camunda.org/schema/1.0/bpmn": "Camunda 7",
    "https://ameide.io/schema/bpmn/extensions/v1": "the older profile",
}
_NODES: Final = frozenset(
    {
        "boundaryEvent",
        "businessRuleTask",
        "callActivity",
        "endEvent",
        "eventBasedGateway",
        "exclusiveGateway",
        "inclusiveGateway",
        "intermediateCatchEvent",
        "intermediateThrowEvent",
        "manualTask",
        "parallelGateway",
        "receiveTask",
        "scriptTask",
        "sendTask",
        "serviceTask",
        "startEvent",
        "subProcess",
        "task",
        "userTask",
    }
)
_ALWAYS_JOBS: Final = frozenset({"serviceTask", "sendTask"})
_MAYBE_JOBS: Final = frozenset({"businessRuleTask", "scriptTask"})
_THROWS: Final = frozenset({"intermediateThrowEvent", "endEvent"})
_CATCHES: Final = frozenset({"boundaryEvent", "intermediateCatchEvent", "receiveTask"})
_JOB_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[._-][A-Za-z0-9]+)*")
_JOB_TYPE_MAX_CHARS: Final = 100
_REQUEST: Final = re.compile(r"(?:^|.*[._-])request[._-]v[0-9]+")
_COMPLETED: Final = re.compile(r"(?:.*\.)?work\.completed\.v[0-9]+")
_BY_WORK_ID: Final = re.compile(r"=\s*(?:[A-Za-z_][A-Za-z0-9_]*\.)*work_id\s*")
# Endings that make Go leave a file out of some builds.
_GO_ENDINGS: Final = frozenset(
    re.findall(
        r"\S+",
        "test aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows "
        "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm hurd nacl zos unix "
        "amd64p32 armbe arm64be ppc riscv s390 sparc sparc64 mips64p32 mips64p32le",
    )
)


@dataclass(frozen=True, slots=True, order=True)
class JobType:
    """A kind of job, and what it is called in Go."""

    name: str

    @property
    def identifier(self) -> str:
        return "".join(word[0].upper() + word[1:] for word in re.split(r"[._-]", self.name))

    @property
    def file(self) -> str:
        words = re.split(r"[._-]", self.name.lower())
        return f"handler_{'_'.join([*words, 'job'] if words[-1] in _GO_ENDINGS else words)}.go"

    @property
    def is_request(self) -> bool:
        return _REQUEST.fullmatch(self.name) is not None


def lint(model: Model, root: Node) -> list[JobType]:
    """The job types, sorted; what is wrong goes to `model.violations`."""
    _namespaces(model, root)
    jobs: dict[JobType, FlowNode] = {}
    starts: dict[str, list[str]] = {}
    for node in model.nodes.values():
        if node.kind == "startEvent":
            starts.setdefault(node.scope, []).append(node.id)
    for node in model.nodes.values():
        if node.kind not in _NODES:
            model.wrong(node.xml, f"{node.kind} is not run by this profile; known are {', '.join(sorted(_NODES))}")
            continue
        job = _job(model, node)
        if job is not None:
            jobs.setdefault(job, node)
            if job.is_request:
                _request_waits(model, node, starts)
        if node.kind in _CATCHES:
            _catch(model, node)
    _distinct(model, jobs)
    return sorted(jobs)


def _namespaces(model: Model, root: Node) -> None:
    def look(xml: Node, inside: bool) -> None:
        for used in (xml.namespace, *(a[1:].partition("}")[0] for a in xml.attributes if a.startswith("{"))):
            if used in _OTHER_ENGINES:
                model.wrong(xml, f"an extension of {_OTHER_ENGINES[used]}; this profile takes Zeebe's ({ZEEBE_NS})")
        if xml.namespace == ZEEBE_NS and not inside:
            model.wrong(xml, "expected Zeebe's elements inside extensionElements only")
        for child in xml.children:
            look(child, inside or is_bpmn(xml, "extensionElements"))

    look(root, inside=False)


def _job(model: Model, node: FlowNode) -> JobType | None:
    found = [e for e in extensions(node.xml) if e.namespace == ZEEBE_NS and e.name == "taskDefinition"]
    wanted = node.kind in _ALWAYS_JOBS or (node.kind in _THROWS and "messageEventDefinition" in node.definitions)
    if not found:
        if wanted:
            model.wrong(node.xml, f"expected {node.kind} to have a zeebe:taskDefinition, found none")
        return None
    if not wanted and node.kind not in _MAYBE_JOBS:
        model.wrong(found[0], f"{label(node.xml)}: {node.kind} makes no jobs, yet has a zeebe:taskDefinition")
        return None
    if len(found) > 1:
        model.wrong(found[1], f"{label(node.xml)}: expected one zeebe:taskDefinition, found {len(found)}")
    kind = found[0].get("type")
    if len(kind) > _JOB_TYPE_MAX_CHARS or _JOB_TYPE.fullmatch(kind) is None:
        model.wrong(
            node.xml,
            f"expected the job type on line {found[0].line} to be plain words of ASCII letters and digits joined by "
            f". - or _, at most {_JOB_TYPE_MAX_CHARS} characters (no expression); got {kind[:80]!a}",
        )
        return None
    return JobType(kind)


def _catch(model: Model, node: FlowNode) -> None:
    if node.kind == "receiveTask" and node.message_ref is None:
        model.wrong(node.xml, "expected a receiveTask to name its message in messageRef")
    if node.message_ref in model.messages and not _correlation(model, node):
        model.wrong(node.xml, f"its message {node.message_ref} has no zeebe:subscription with a correlationKey")


def _correlation(model: Model, node: FlowNode) -> str:
    message = model.messages.get(node.message_ref or "")
    if message is None:
        return ""
    keys = [e.get("correlationKey") for e in extensions(message.xml) if e.namespace == ZEEBE_NS]
    return next((k for k in keys if k), "")


def _distinct(model: Model, jobs: dict[JobType, FlowNode]) -> None:
    for called in ("identifier", "file"):
        taken: dict[str, JobType] = {}
        for job, node in sorted(jobs.items(), key=lambda item: item[0]):
            other = taken.setdefault(getattr(job, called), job)
            if other != job:
                model.wrong(node.xml, f"job types {other.name} and {job.name} are both {getattr(job, called)} in Go")


def _request_waits(model: Model, request: FlowNode, starts: Mapping[str, list[str]]) -> None:
    """On every path after a request comes a wait for its completion, correlated by work_id, before another request."""
    seen: set[str] = set()
    waiting = list(model.next.get(request.id, []))
    if not waiting:
        model.wrong(request.xml, f"{_REQUIRED}; nothing follows this request")
    while waiting:
        node = model.nodes[waiting.pop()]
        if node.id in seen or _waits(model, node):
            continue
        seen.add(node.id)
        if node.kind in _CATCHES and _completes(model, node):
            key = _correlation(model, node)
            model.wrong(node.xml, f"expected correlationKey =work_id after request {request.id}, got {key[:80]!a}")
            continue
        if node.id == request.id or ((job := _job_of(node)) is not None and job.is_request):
            model.wrong(request.xml, f"{_REQUIRED}; {node.id} requests again before that")
            continue
        following = starts.get(node.id) or model.next.get(node.id, [])
        around = node
        while not following and around.scope in model.nodes:
            around = model.nodes[around.scope]
            following = model.next.get(around.id, [])
        if not following:
            model.wrong(request.xml, f"{_REQUIRED}; {node.id} is reached without one")
        waiting.extend(following)


_REQUIRED: Final = "expected a wait for work.completed.v1, correlated by work_id, on every path after a request"


def _waits(model: Model, node: FlowNode) -> bool:
    if node.kind == "eventBasedGateway":
        return any(_waits(model, model.nodes[n]) for n in model.next.get(node.id, []))
    return (
        node.kind in _CATCHES
        and _completes(model, node)
        and _BY_WORK_ID.fullmatch(_correlation(model, node)) is not None
    )


def _completes(model: Model, node: FlowNode) -> bool:
    message = model.messages.get(node.message_ref or "")
    return message is not None and _COMPLETED.fullmatch(message.name) is not None


def _job_of(node: FlowNode) -> JobType | None:
    kinds = [e.get("type") for e in extensions(node.xml) if e.namespace == ZEEBE_NS and e.name == "taskDefinition"]
    return JobType(kinds[0]) if kinds and _JOB_TYPE.fullmatch(kinds[0]) else None
