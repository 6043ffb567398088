"""A BPMN document as nodes, flows and messages, and what is wrong with it whatever engine runs it (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.primitive.bpmn_xml import Node

BPMN_NS: Final = "http://www.omg.org/spec/BPMN/20100524/MODEL"
MAX_NODES: Final = 1_000

_ID: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_SHOWN: Final = 80
# Parts of a process that are neither nodes nor flows, and carry no meaning for an engine.
_PASSIVE: Final = frozenset(
    {
        "artifact",
        "association",
        "auditing",
        "category",
        "dataObject",
        "dataObjectReference",
        "dataStoreReference",
        "documentation",
        "extensionElements",
        "group",
        "incoming",
        "ioSpecification",
        "laneSet",
        "monitoring",
        "multiInstanceLoopCharacteristics",
        "outgoing",
        "property",
        "standardLoopCharacteristics",
        "textAnnotation",
    }
)
EVENT_DEFINITIONS: Final = frozenset(
    {
        "cancelEventDefinition",
        "compensateEventDefinition",
        "conditionalEventDefinition",
        "errorEventDefinition",
        "escalationEventDefinition",
        "linkEventDefinition",
        "messageEventDefinition",
        "signalEventDefinition",
        "terminateEventDefinition",
        "timerEventDefinition",
    }
)


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """What is wrong, on which line (from 1) and in which element (its id, or `<name>` without one)."""

    line: int
    element: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.element}: {self.why}"


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    name: str
    line: int
    xml: Node


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A task, event, gateway or sub-process. `scope` is the id of what it lies in."""

    id: str
    kind: str
    line: int
    scope: str
    xml: Node

    @property
    def attached_to(self) -> str:
        return self.xml.get("attachedToRef")

    @property
    def message_ref(self) -> str | None:
        """The id of the message that it waits for or sends; None if it is about none."""
        if self.kind in {"receiveTask", "sendTask"} and "messageRef" in self.xml.attributes:
            return self.xml.get("messageRef")
        definitions = [c for c in self.xml.children if is_bpmn(c, "messageEventDefinition")]
        return definitions[0].get("messageRef") if definitions else None

    @property
    def definitions(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.xml.children if c.name in EVENT_DEFINITIONS and c.namespace == BPMN_NS)


@dataclass(frozen=True, slots=True)
class Flow:
    id: str
    source: str
    target: str
    line: int
    scope: str


@dataclass(slots=True)
class Model:
    """One executable process. What could not be read of it is in `violations`."""

    process_id: str = ""
    line: int = 1
    nodes: dict[str, FlowNode] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    next: dict[str, list[str]] = field(default_factory=dict)
    """Node id → the nodes that its sequence flows lead to, in the order of the document."""

    def wrong(self, xml: Node, why: str) -> None:
        self.violations.append(Violation(xml.line, label(xml), why))


def is_bpmn(xml: Node, name: str) -> bool:
    return xml.namespace == BPMN_NS and xml.name == name


def label(xml: Node) -> str:
    """How an element is called in a message; ids of strangers are cut and spelt in ASCII."""
    return ascii(xml.get("id")[:_SHOWN])[1:-1] if xml.get("id") else f"<{xml.name[:_SHOWN]}>"


def extensions(xml: Node) -> Iterator[Node]:
    """The children of its extensionElements."""
    for child in xml.children:
        if is_bpmn(child, "extensionElements"):
            yield from child.children


def read_model(root: Node) -> Model:
    """The process and what is wrong with its structure. Never raises for what the document says."""
    model = Model()
    if not is_bpmn(root, "definitions"):
        model.wrong(root, f"expected the element definitions of {BPMN_NS}")
        return model
    _unique_ids(model, root)
    for child in root.children:
        if is_bpmn(child, "message"):
            model.messages[child.get("id")] = Message(child.get("id"), child.get("name"), child.line, child)
            if not child.get("name"):
                model.wrong(child, "expected a message to have a name")
    processes = [c for c in root.children if is_bpmn(c, "process")]
    if len(processes) != 1:
        model.wrong(processes[1] if processes else root, f"expected exactly one process, found {len(processes)}")
        return model
    (process,) = processes
    if process.get("isExecutable") != "true":
        model.wrong(process, 'expected isExecutable="true"')
    model.process_id, model.line = process.get("id"), process.line
    _read_scope(model, process)
    if len(model.nodes) > MAX_NODES:
        model.wrong(process, f"expected at most {MAX_NODES} nodes, found {len(model.nodes)}")
        return model
    _connect(model)
    _reachable(model, process)
    return model


def _unique_ids(model: Model, root: Node) -> None:
    seen: dict[str, int] = {}
    for xml in root.walk():
        if xml.namespace != BPMN_NS or "id" not in xml.attributes:
            continue
        if _ID.fullmatch(xml.get("id")) is None:
            model.wrong(
                xml, "expected an id of ASCII letters, digits, '_', '-' and '.', beginning with a letter or '_'"
            )
        elif xml.get("id") in seen:
            model.wrong(xml, f"this id is there twice, first on line {seen[xml.get('id')]}")
        else:
            seen[xml.get("id")] = xml.line


def _read_scope(model: Model, scope: Node) -> None:
    for xml in scope.children:
        if xml.namespace != BPMN_NS:
            model.wrong(xml, "expected extensions inside extensionElements only")
        elif xml.name in _PASSIVE or (scope.name != "process" and xml.name in EVENT_DEFINITIONS):
            continue
        elif not xml.get("id"):
            model.wrong(xml, f"expected {xml.name} to have an id")
        elif xml.name == "sequenceFlow":
            model.flows.append(
                Flow(xml.get("id"), xml.get("sourceRef"), xml.get("targetRef"), xml.line, scope.get("id"))
            )
        else:
            model.nodes.setdefault(xml.get("id"), FlowNode(xml.get("id"), xml.name, xml.line, scope.get("id"), xml))
            if xml.name == "subProcess":
                _read_scope(model, xml)


def _connect(model: Model) -> None:
    for flow in model.flows:
        for end, named in (("sourceRef", flow.source), ("targetRef", flow.target)):
            node = model.nodes.get(named)
            if node is None:
                model.violations.append(Violation(flow.line, flow.id, f"{end} names no node: {named[:_SHOWN]!a}"))
            elif node.scope != flow.scope:
                model.violations.append(Violation(flow.line, flow.id, f"{end} is in another scope: {named}"))
        if flow.source in model.nodes and flow.target in model.nodes:
            model.next.setdefault(flow.source, []).append(flow.target)
    for node in model.nodes.values():
        if node.kind == "boundaryEvent" and node.attached_to not in model.nodes:
            model.wrong(node.xml, "attachedToRef names no node")
        if node.message_ref is not None and node.message_ref not in model.messages:
            model.wrong(node.xml, "messageRef names no message")


def _reachable(model: Model, process: Node) -> None:
    """Every node can be reached from a start of its scope; every scope has a start and an end."""
    members: dict[str, list[FlowNode]] = {process.get("id"): []}
    for node in model.nodes.values():
        members.setdefault(node.scope, []).append(node)
        if node.kind == "subProcess":
            members.setdefault(node.id, [])
    for scope, nodes in members.items():
        xml = process if scope == process.get("id") else model.nodes[scope].xml
        for kind in ("startEvent", "endEvent"):
            if not any(n.kind == kind for n in nodes):
                model.wrong(xml, f"expected a {kind}, found none")
    roots = [n.id for n in model.nodes.values() if n.kind == "startEvent" or n.xml.get("triggeredByEvent") == "true"]
    attached: dict[str, list[str]] = {}
    for node in model.nodes.values():
        if node.kind == "boundaryEvent":
            attached.setdefault(node.attached_to, []).append(node.id)
    seen = walk_from(roots, {k: [*v, *attached.get(k, [])] for k, v in _with_keys(model, attached).items()})
    for node in model.nodes.values():
        if node.id not in seen:
            model.wrong(node.xml, f"no start leads to this {node.kind}")


def _with_keys(model: Model, attached: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {key: model.next.get(key, []) for key in {*model.next, *attached}}


def walk_from(roots: list[str], edges: Mapping[str, list[str]]) -> set[str]:
    """All that the edges lead to from these, themselves included."""
    seen, waiting = set(roots), list(roots)
    while waiting:
        for target in edges.get(waiting.pop(), []):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen
