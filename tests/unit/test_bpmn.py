"""BPMN: what is refused before it is parsed, what is wrong and where, and what it compiles to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.primitive.bpmn_compile import V1, ZEEBE, compile_process
from reconciler.primitive.bpmn_xml import MAX_BYTES, RefusedXml, parse_xml
from reconciler.primitive.bpmn_zeebe import JobType
from reconciler.primitive.layout import BPMN, LOCK, from_templates
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.templates_data import read_templates

GOOD = from_templates(Primitive(Kind.PROCESS, "orders"), read_templates(Kind.PROCESS)).owned[BPMN]
V1_LOCK = b'{"profile": "ameide-v1", "version": 1}'
V1_PROCESS = b"""<?xml version="1.0"?>
<bpmn:definitions xmlns:bpmn="http://www.omg.org/spec/BPMN/20100524/MODEL"
                  xmlns:ameide="https://ameide.io/schema/bpmn/extensions/v1" id="d">
  <bpmn:message id="m" name="orders.paid"/>
  <bpmn:process id="orders" isExecutable="true">
    <bpmn:startEvent id="start"/>
    <bpmn:sequenceFlow id="f1" sourceRef="start" targetRef="charge"/>
    <bpmn:serviceTask id="charge">
      <bpmn:extensionElements><ameide:activity policy="slow"/></bpmn:extensionElements>
    </bpmn:serviceTask>
    <bpmn:sequenceFlow id="f2" sourceRef="charge" targetRef="paid"/>
    <bpmn:receiveTask id="paid" messageRef="m"/>
    <bpmn:sequenceFlow id="f3" sourceRef="paid" targetRef="end"/>
    <bpmn:endEvent id="end"/>
  </bpmn:process>
</bpmn:definitions>
"""
V1_POLICIES = b"version: 1\npolicies:\n- {name: slow, timeout_s: 60}\n"


def laughs() -> bytes:
    lines = ['<!ENTITY a0 "ha">', *(f'<!ENTITY a{n} "{"".join([f"&a{n - 1};"] * 10)}">' for n in range(1, 10))]
    return f"<?xml version='1.0'?>\n<!DOCTYPE x [{''.join(lines)}]>\n<x>&a9;</x>".encode()


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "entity bomb": (laughs(), 2, "document type"),
    "lower-case document type": (b"<?xml version='1.0'?>\n<!doctype x>\n<x/>", 2, "document type"),
    "external entity": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', 1, "document type"),
    "external document type": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><x/>', 1, "document type"),
    "unknown entity": (b"<x>\n&nothing;</x>", 2, "not well-formed"),
    "depth": (b"<x>" * 100 + b"</x>" * 100, 1, "deep"),
    "huge depth": (b"<x>" * 100_000, 1, "not well-formed"),
    "elements": (b"<x>" + b"<y/>" * 30_000 + b"</x>", 1, "elements"),
    "attributes": (("<x " + " ".join(f"a{n}='1'" for n in range(200)) + "/>").encode(), 1, "attributes"),
    "bytes": (b"<x>" + b" " * MAX_BYTES + b"</x>", 1, "bytes"),
    "lines": (b"<x>" + b"\n" * 60_000 + b"</x>", 50_000, "lines"),
    "two byte letters": ('<?xml version="1.0" encoding="utf-16"?><x/>'.encode("utf-16"), 1, "UTF-8"),
    "another encoding": (b'<?xml version="1.0" encoding="utf-7"?><x/>', 1, "encoding"),
    "not text": (b"<x>\n\xff</x>", 2, "UTF-8"),
    "not closed": (b"<x>\n<y>\n</x>", 3, "not well-formed"),
    "nothing": (b"", 1, "not well-formed"),
    "two roots": (b"<x/>\n<y/>", 2, "not well-formed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_document_is_refused_with_its_line_and_at_once(name: str) -> None:
    raw, line, words = REFUSED[name]
    began = time.monotonic()
    with pytest.raises(RefusedXml, match=words) as caught:
        parse_xml(raw)
    assert caught.value.line == line
    assert time.monotonic() - began < 5
    compiled = compile_process(raw, None, None)
    assert compiled.unreadable
    assert [v.line for v in compiled.violations] == [line]
    assert compiled.generated == {}


@given(raw=st.binary(max_size=200) | st.text(alphabet="<>/!&;x='\" \n[]", max_size=80).map(str.encode))
def test_anything_is_parsed_or_refused(raw: bytes) -> None:
    try:
        line = parse_xml(raw).line
    except RefusedXml as error:
        line = error.line
    assert line >= 1


def wrong(raw: bytes, lock: bytes | None = None, policies: bytes | None = None) -> list[tuple[str, str]]:
    """(the text of the line, element and why) of each violation."""
    lines = raw.decode().split("\n")
    found = compile_process(raw, lock, policies).violations
    return [(lines[v.line - 1].strip(), f"{v.element}: {v.why}") for v in found]


def changed(old: str, new: str) -> bytes:
    text = GOOD.decode()
    assert old in text
    return text.replace(old, new).encode()


ZEEBE_TASK = '<zeebe:taskDefinition type="orders.finish.v1" />'
NO_WAIT = (
    '<bpmn:sequenceFlow id="request_to_wait" sourceRef="request_work" targetRef="wait_for_work" />',
    (
        '<bpmn:sequenceFlow id="request_to_wait" sourceRef="request_work" targetRef="finish" />'
        '<bpmn:sequenceFlow id="also" sourceRef="start" targetRef="wait_for_work" />'
    ),
)
ONE_WAITS = (
    'sourceRef="request_work" targetRef="wait_for_work" />',
    (
        'sourceRef="request_work" targetRef="either" /><bpmn:exclusiveGateway id="either"/>'
        '<bpmn:sequenceFlow id="f1" sourceRef="either" targetRef="wait_for_work" />'
        '<bpmn:sequenceFlow id="f2" sourceRef="either" targetRef="end" />'
    ),
)
LINT: list[tuple[str, bytes, str, str]] = [
    ("no job type", changed(ZEEBE_TASK, ""), '<bpmn:serviceTask id="finish"', "finish: expected serviceTask to have"),
    ("expression", changed("orders.finish.v1", "=x"), '<bpmn:serviceTask id="finish"', "finish: expected the job type"),
    ("two", changed(ZEEBE_TASK, ZEEBE_TASK * 2), ZEEBE_TASK * 2, "<taskDefinition>: finish: expected one"),
    (
        "outside",
        changed("<bpmn:incoming>wait_to_finish</bpmn:incoming>", ZEEBE_TASK),
        ZEEBE_TASK,
        "<taskDefinition>: expected Zeebe's elements inside extensionElements",
    ),
    ("not executable", changed('"true"', '"false"'), "<bpmn:process", "orders: expected isExecutable"),
    (
        "no message",
        changed('messageRef="work_completed"', 'messageRef="x"'),
        "<bpmn:intermediateC",
        "messageRef names no",
    ),
    ("no key", changed('correlationKey="=work_id"', ""), "<bpmn:intermediateC", "no zeebe:subscription"),
    ("another key", changed("=work_id", "=order_id"), "<bpmn:intermediateC", "expected correlationKey =work_id"),
    (
        "another message",
        changed("work.completed.v1", "paid.v1"),
        '<bpmn:serviceTask id="request',
        "expected a wait for",
    ),
    ("no wait", changed(*NO_WAIT), '<bpmn:serviceTask id="request_work"', "end is reached without one"),
    ("one way waits", changed(*ONE_WAITS), '<bpmn:serviceTask id="request_work"', "end is reached without one"),
    (
        "requests twice",
        changed("orders.finish.v1", "orders.more.request.v1"),
        '<bpmn:serviceTask id="finish"',
        "finish: expected a wait for work.completed.v1",
    ),
    (
        "no flow",
        changed('targetRef="finish"', 'targetRef="gone"'),
        "<bpmn:sequenceFlow",
        "targetRef names no node: 'gone'",
    ),
    (
        "unreachable",
        changed('sourceRef="wait_for_work"', 'sourceRef="finish"'),
        "<bpmn:serviceTask",
        "no start leads to",
    ),
    ("twice", changed('<bpmn:endEvent id="end">', '<bpmn:endEvent id="start">'), "<bpmn:endEvent", "start: this id is"),
    ("no end", changed("endEvent", "task"), "<bpmn:process", "expected a endEvent"),
    ("unknown", changed("endEvent", "complexGateway"), "<bpmn:complexGateway", "complexGateway is not run"),
    (
        "other engine",
        changed('name="Take the result"', 'xmlns:c="http://camunda.org/schema/1.0/bpmn" c:type="external"'),
        '<bpmn:serviceTask id="finish"',
        "an extension of Camunda 7",
    ),
    (
        "one name in Go",
        changed("orders.finish.v1", "orders_work_request_v1"),
        "<bpmn:serviceTask",
        "both OrdersWorkRequestV1",
    ),
    ("strange id", changed('"finish_to_end"', '"a b"'), "<bpmn:sequenceFlow", "a b: expected an id of ASCII"),
    ("another root", b"<definitions>\n</definitions>", "<definitions>", "expected the element definitions of"),
    (
        "two processes",
        changed("</bpmn:definitions>", '<bpmn:process id="second" isExecutable="true"/>\n</bpmn:definitions>'),
        '<bpmn:process id="second"',
        "second: expected exactly one process, found 2",
    ),
]


@pytest.mark.parametrize(("raw", "line", "words"), [pytest.param(*case[1:], id=case[0]) for case in LINT])
def test_each_violation_has_its_line_and_element(raw: bytes, line: str, words: str) -> None:
    found = wrong(raw)
    assert [1 for where, why in found if where.startswith(line) and words in why], found


def test_a_good_process_has_no_violations_and_every_path_may_wait_at_its_gateway_or_around() -> None:
    assert wrong(GOOD) == []
    gateway = changed(
        '<bpmn:sequenceFlow id="request_to_wait" sourceRef="request_work" targetRef="wait_for_work" />',
        '<bpmn:sequenceFlow id="request_to_wait" sourceRef="request_work" targetRef="either" />'
        '<bpmn:eventBasedGateway id="either"/>'
        '<bpmn:sequenceFlow id="f1" sourceRef="either" targetRef="wait_for_work"/>'
        '<bpmn:sequenceFlow id="f2" sourceRef="either" targetRef="late"/>'
        '<bpmn:intermediateCatchEvent id="late"><bpmn:timerEventDefinition/></bpmn:intermediateCatchEvent>'
        '<bpmn:sequenceFlow id="f3" sourceRef="late" targetRef="end"/>',
    )
    assert wrong(gateway) == []
    task = GOOD.decode()[GOOD.decode().index('<bpmn:serviceTask id="request_work"') :]
    task = task[: task.index("</bpmn:serviceTask>") + len("</bpmn:serviceTask>")]
    inside = task.replace("<bpmn:incoming>start_to_request</bpmn:incoming>", "")
    nested = GOOD.decode().replace(
        task,
        '<bpmn:subProcess id="sub"><bpmn:startEvent id="s"/><bpmn:sequenceFlow id="sf" sourceRef="s" '
        f'targetRef="request_work"/>{inside}<bpmn:sequenceFlow id="ef" sourceRef="request_work" targetRef="e"/>'
        '<bpmn:endEvent id="e"/></bpmn:subProcess>',
    )
    nested = nested.replace('sourceRef="start" targetRef="request_work"', 'sourceRef="start" targetRef="sub"')
    nested = nested.replace(
        'sourceRef="request_work" targetRef="wait_for_work"', 'sourceRef="sub" targetRef="wait_for_work"'
    )
    assert wrong(nested.encode()) == []
    assert wrong(nested.replace("work.completed.v1", "x").encode()) != []


def test_equal_processes_compile_to_equal_bytes_and_layout_does_not_count() -> None:
    first, again = compile_process(GOOD, None, None), compile_process(GOOD, None, None)
    assert first == again
    assert first.profile == ZEEBE
    drawn = GOOD.replace(b"</bpmn:definitions>", b'<di:x xmlns:di="urn:di"/>\n</bpmn:definitions>')
    spaced = drawn.replace(b"    <bpmn:", b"\n      <bpmn:")
    assert compile_process(spaced, None, None).generated == first.generated
    other = compile_process(GOOD.replace(b'name="Take the result"', b'name="Take it"'), None, None)
    assert other.generated == first.generated
    lock = json.loads(first.generated[LOCK])
    assert lock["job_types"] == ["orders.finish.v1", "orders.work.request.v1"]
    assert set(lock["outputs"]) == set(first.generated) - {LOCK}


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.replace(b"=work_id", b"= work_id"),
        lambda g: g.replace(b"orders.finish.v1", b"orders.finish.v2"),
        lambda g: g.replace(b'<bpmn:task id="x"', b""),
    ],
    ids=["correlation", "job type", "none"],
)
def test_the_digest_follows_the_meaning(change: Callable[[bytes], bytes]) -> None:
    before = json.loads(compile_process(GOOD, None, None).generated[LOCK])["ir_digest"]
    after = json.loads(compile_process(change(GOOD), None, None).generated[LOCK])["ir_digest"]
    assert (before == after) == (change(GOOD) == GOOD)


@pytest.mark.parametrize(
    ("name", "identifier", "file"),
    [
        ("orders.finish.v1", "OrdersFinishV1", "handler_orders_finish_v1.go"),
        ("x", "X", "handler_x.go"),
        ("run.test", "RunTest", "handler_run_test_job.go"),
        ("a-linux", "ALinux", "handler_a_linux_job.go"),
        ("io.amd64", "IoAmd64", "handler_io_amd64_job.go"),
        ("linux.job", "LinuxJob", "handler_linux_job.go"),
    ],
)
def test_job_types_have_names_that_go_builds_everywhere(name: str, identifier: str, file: str) -> None:
    assert (JobType(name).identifier, JobType(name).file) == (identifier, file)


def test_the_older_profile_is_taken_where_the_lock_says_so_and_nowhere_else() -> None:
    compiled = compile_process(V1_PROCESS, V1_LOCK, V1_POLICIES)
    assert compiled.violations == ()
    assert compiled.profile == V1
    assert set(compiled.generated) == {
        "internal/activities/activities_gen.go",
        "internal/ingress/router_gen.go",
        "internal/workflows/workflow_gen.go",
        LOCK,
    }
    assert json.loads(compiled.generated[LOCK])["profile"] == V1
    # Its own lock keeps it there.
    assert compile_process(V1_PROCESS, compiled.generated[LOCK], V1_POLICIES) == compiled
    for lock in (None, b"", b"[]", b"{", b'{"profile": "zeebe"}', b'{"profile": "ameide-v2"}'):
        assert compile_process(V1_PROCESS, lock, V1_POLICIES).profile == ZEEBE
        assert compile_process(V1_PROCESS, lock, V1_POLICIES).violations


@pytest.mark.parametrize(
    ("raw", "policies", "words"),
    [
        (V1_PROCESS, None, "has no policy 'slow'"),
        (V1_PROCESS, b"version: 2\npolicies: []\n", "expected version: 1"),
        (V1_PROCESS, b"version: 1\npolicies: [{name: slow, timeout_s: 0}]\n", "at least 1"),
        (V1_PROCESS, V1_POLICIES + b"- {name: slow, timeout_s: 1}\n", "line 4: expected a name that is there once"),
        (V1_PROCESS, b"{", "not acceptable YAML"),
        (V1_PROCESS.replace(b"receiveTask", b"scriptTask"), V1_POLICIES, "scriptTask is not in the older profile"),
        (
            V1_PROCESS.replace(b'<bpmn:endEvent id="end"/>', b'<ameide:x/><bpmn:endEvent id="end"/>'),
            V1_POLICIES,
            "inside",
        ),
        (GOOD, None, "an extension of another profile"),
    ],
)
def test_the_older_profile_has_its_own_rules(raw: bytes, policies: bytes | None, words: str) -> None:
    found = wrong(raw, V1_LOCK, policies)
    assert [why for _, why in found if words in why], found
