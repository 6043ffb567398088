"""The older profile, kept for primitives whose lock names it: durable workflows from a closed set of nodes (pure).

Its nodes, namespace and output paths are given; the content of the outputs is tables of the standard library's types,
so that they build without the SDK of an engine.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.primitive.bpmn_go import HEADER
from reconciler.primitive.bpmn_model import FlowNode, Model, Violation, extensions, is_bpmn, label
from reconciler.primitive.bpmn_xml import Node
from reconciler.primitive.layout import POLICIES
from reconciler.strict_yaml import parse
from state.errors import ConfigError

AMEIDE_NS: Final = "https://ameide.io/schema/bpmn/extensions/v1"
_NODES: Final = frozenset(
    {
        "endEvent",
        "exclusiveGateway",
        "intermediateCatchEvent",
        "intermediateThrowEvent",
        "receiveTask",
        "sendTask",
        "serviceTask",
        "startEvent",
        "subProcess",
        "userTask",
    }
)
_ACTIVITIES: Final = frozenset({"serviceTask", "sendTask"})


def lint(model: Model, root: Node, policies: bytes | None) -> None:
    """Add what is wrong to `model.violations`."""
    _namespace(model, root)
    known = _policies(model, policies)
    names: dict[str, str] = {}
    for node in model.nodes.values():
        if node.kind not in _NODES or node.xml.get("triggeredByEvent") == "true":
            model.wrong(node.xml, f"{node.kind} is not in the older profile; known are {', '.join(sorted(_NODES))}")
        if strange := [d for d in node.definitions if d != "messageEventDefinition"]:
            model.wrong(node.xml, f"{strange[0]} is not in the older profile; known is messageEventDefinition")
        if node.kind.startswith("intermediate") and node.message_ref is None:
            model.wrong(node.xml, "expected an event between start and end to name a message")
        if node.kind in _ACTIVITIES and (other := names.setdefault(identifier(node), node.id)) != node.id:
            model.wrong(node.xml, f"is called {identifier(node)} in Go, as {other} is")
        for extension in extensions(node.xml):
            policy = extension.get("policy")
            if extension.namespace == AMEIDE_NS and policy and policy not in known:
                model.wrong(extension, f"{label(node.xml)}: {POLICIES} has no policy {policy[:80]!a}")


def _namespace(model: Model, root: Node) -> None:
    def look(xml: Node, inside: bool) -> None:
        if xml.namespace == AMEIDE_NS and not inside:
            model.wrong(xml, "expected the elements of ameide inside extensionElements only")
        if "taskDefinition" in xml.name and xml.namespace != AMEIDE_NS:
            model.wrong(xml, "an extension of another profile; delete the lock to take the current profile")
        for child in xml.children:
            look(child, inside or is_bpmn(xml, "extensionElements"))

    look(root, inside=False)


def _policies(model: Model, raw: bytes | None) -> set[str]:
    """The names in `bpmn/policies.yaml`: version 1, unique names, positive timeouts."""
    if raw is None:
        return set()

    def wrong(why: str) -> None:
        model.violations.append(Violation(model.line, POLICIES, why))

    try:
        document = parse(raw, what=POLICIES)
    except ConfigError as error:
        wrong(str(error))
        return set()
    for at, problem in document.problems:
        wrong(f"line {document.line(at)}: {problem}")
    value = document.value
    listed = value.get("policies") if isinstance(value, dict) and value.get("version") == 1 else None
    if not isinstance(listed, list):
        wrong("expected version: 1 and a list of policies")
        return set()
    names: set[str] = set()
    for number, policy in enumerate(listed):
        line = document.line(("policies", number))
        name = policy.get("name") if isinstance(policy, dict) else None
        timeout = policy.get("timeout_s") if isinstance(policy, dict) else None
        if not isinstance(name, str) or not name or name in names:
            wrong(f"line {line}: expected a name that is there once")
        elif not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 1:
            wrong(f"line {line}: {name}: expected timeout_s to be a whole number of seconds, at least 1")
        else:
            names.add(name)
    return names


def identifier(node: FlowNode) -> str:
    """What an activity is called in Go."""
    words = [w for w in re.split(r"[^A-Za-z0-9]+", node.id) if w]
    return "Do" + "".join(w[0].upper() + w[1:] for w in words)


def sources(model: Model) -> dict[str, str]:
    """The three generated files."""
    nodes = sorted(model.nodes.values(), key=lambda n: n.id)
    return {
        "internal/activities/activities_gen.go": _activities([n for n in nodes if n.kind in _ACTIVITIES]),
        "internal/ingress/router_gen.go": _router(model, nodes),
        "internal/workflows/workflow_gen.go": _workflow(model, nodes),
    }


def _activities(nodes: list[FlowNode]) -> str:
    methods = "".join(
        f'\t// {identifier(n)} does the {n.kind} "{n.id}".\n'
        f"\t{identifier(n)}(ctx context.Context, variables map[string]any) (map[string]any, error)\n"
        for n in nodes
    )
    if not nodes:
        return f"{HEADER}\npackage activities\n\n// Activities is empty.\ntype Activities interface{{}}\n"
    return (
        f'{HEADER}\npackage activities\n\nimport "context"\n\n'
        f"// Activities does the activities of the process.\ntype Activities interface {{\n{methods}}}\n"
    )


def _router(model: Model, nodes: list[FlowNode]) -> str:
    waits: dict[str, list[str]] = {}
    for node in nodes:
        message = model.messages.get(node.message_ref or "")
        if message is not None and node.kind in {"startEvent", "receiveTask", "intermediateCatchEvent"}:
            waits.setdefault(message.name, []).append(node.id)
    cases = "".join(
        f"\tcase {_quoted(name)}:\n\t\treturn []string{{{', '.join(map(_quoted, ids))}}}\n"
        for name, ids in sorted(waits.items())
    )
    return (
        f"{HEADER}\npackage ingress\n\n"
        "// WaitingFor returns the nodes that wait for a message.\n"
        f"func WaitingFor(message string) []string {{\n\tswitch message {{\n{cases}"
        "\tdefault:\n\t\treturn nil\n\t}\n}\n"
    )


def _workflow(model: Model, nodes: list[FlowNode]) -> str:
    rows = "".join(
        f"\t\t{{ID: {_quoted(n.id)}, Kind: {_quoted(n.kind)}, "
        f"Next: []string{{{', '.join(_quoted(t) for t in model.next.get(n.id, []))}}}}},\n"
        for n in nodes
    )
    return (
        f"{HEADER}\n// Package workflows holds the steps of process {model.process_id}.\npackage workflows\n\n"
        "// Step is one node of the process, and the nodes that follow it.\n"
        "type Step struct {\n\tID   string\n\tKind string\n\tNext []string\n}\n\n"
        f"// Steps returns every node, sorted by id.\nfunc Steps() []Step {{\n\treturn []Step{{\n{rows}\t}}\n}}\n"
    )


def _quoted(text: str) -> str:
    """A Go string literal in ASCII."""
    spelt = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{spelt}"'
