"""What a process means, as canonical JSON: equal meanings have one digest, however they are drawn (pure)."""

from __future__ import annotations

from reconciler.primitive.bpmn_model import Model, extensions
from reconciler.primitive.bpmn_xml import Node
from state import canonical
from state.canonical import Json
from state.oci import Digest

_NO_MEANING = frozenset({"documentation", "incoming", "outgoing"})


def ir_digest(model: Model, profile: str) -> Digest:
    """The digest over nodes, flows and messages with all they say to an engine."""
    nodes: list[Json] = [
        {"id": n.id, "kind": n.kind, "scope": n.scope, "says": [] if n.kind == "subProcess" else _said(n.xml)}
        for n in sorted(model.nodes.values(), key=lambda n: n.id)
    ]
    flows: list[Json] = [
        {"id": f.id, "source": f.source, "target": f.target} for f in sorted(model.flows, key=lambda f: f.id)
    ]
    messages: list[Json] = [
        {"id": m.id, "name": m.name, "says": [_value(e) for e in extensions(m.xml)]}
        for m in sorted(model.messages.values(), key=lambda m: m.id)
    ]
    return canonical.digest(
        {"flows": flows, "messages": messages, "nodes": nodes, "process": model.process_id, "profile": profile}
    )


def _said(xml: Node) -> Json:
    return [_attributes(xml), *(_value(c) for c in xml.children if c.name not in _NO_MEANING)]


def _value(xml: Node) -> Json:
    children: list[Json] = [_value(c) for c in xml.children]
    return {"at": _attributes(xml), "in": children, "name": f"{xml.namespace} {xml.name}"}


def _attributes(xml: Node) -> Json:
    # Pairs, since names of attributes may be any letters and keys of canonical JSON are ASCII.
    return [[name, value] for name, value in sorted(xml.attributes.items()) if name not in {"id", "name"}]
