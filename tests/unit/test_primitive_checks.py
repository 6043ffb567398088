"""The checks that need no tool: each planted violation is found where it is, and what is right is left alone."""

from __future__ import annotations

import json
import time

import pytest
from lxml import etree

from reconciler.primitive import deploy_files, secret_scan
from reconciler.primitive.bpmn_compile import Compiled, compile_process
from reconciler.primitive.checks import static_checks
from reconciler.primitive.imports import check_imports
from reconciler.primitive.layout import BPMN, LOCK, from_templates
from reconciler.primitive.names import Kind, Language, Primitive
from reconciler.primitive.reading import Seen
from reconciler.primitive.report import Check, Issue, Report, Status, TestRun, as_json, as_junit
from reconciler.primitive.runner_output import read
from reconciler.primitive.scaffold import expected_tree
from reconciler.primitive.templates_data import read_templates
from tests.thorough import thorough

GO, AGENT, UI, PROCESS = (Primitive(k, "orders") for k in (Kind.DOMAIN, Kind.AGENT, Kind.UISURFACE, Kind.PROCESS))


def imports(primitive: Primitive, path: str, text: str) -> list[tuple[int, str]]:
    files = {"go.mod": f"module {primitive.module}\n\ngo 1.22\n".encode(), path: text.encode()}
    return [(i.line, i.actual) for i in check_imports(primitive, files)]


@pytest.mark.parametrize(
    ("primitive", "path", "text", "found"),
    [
        (GO, "a.go", 'package a\n\nimport "buf.build/gen/go/acme/x"\n', [(3, "buf.build/gen/go/acme/x")]),
        (
            GO,
            "a.go",
            'package a\nimport (\n\t"fmt"\n\tx "github.com/y/packages/ameide_core_proto/z"\n)\n',
            [(4, "github.com/y/packages/ameide_core_proto/z")],
        ),
        (
            GO,
            "a.go",
            'package a\nimport "ameide.io/primitives/domain/billing/x"\n',
            [(2, "ameide.io/primitives/domain/billing/x")],
        ),
        (GO, "a.go", 'package a\nimport "ameide.io/primitives/domain/orders/x"\nimport "fmt"\n', []),
        (
            GO,
            "a.go",
            'package a\nimport "ameide.io/primitives/domain/orders-2/x"\n',
            [(2, "ameide.io/primitives/domain/orders-2/x")],
        ),
        (GO, "a_test.go", 'package a\nimport "buf.build/gen/go/acme/x"\n', []),
        (GO, "a.go", 'package a\n// import "buf.build/gen/go/x"\n/*\nimport "buf.build/gen/go/x"\n*/\n', []),
        (GO, "a.go", 'package a\nvar x = `\nimport "buf.build/gen/go/x"\n`\n', []),
        (GO, "go.mod", "module x\n\nrequire buf.build/gen/go/a/b v1.0.0\n", [(3, "buf.build/gen/go/a/b")]),
        (GO, "go.mod", "module x\n\nreplace y => ../billing\n", [(3, "../billing")]),
        (AGENT, "src/a.py", "import json\nimport ameide_core_proto.orders\n", [(2, "ameide_core_proto.orders")]),
        (AGENT, "src/a.py", "from primitives.domain.billing import x\n", [(1, "primitives.domain.billing.x")]),
        (AGENT, "src/a.py", "from primitives.agent.orders import x\nfrom . import y\n", []),
        (AGENT, "src/a.py", "import (\n", [(1, "SyntaxError")]),
        (AGENT, "tests/test_a.py", "import ameide_core_proto\n", []),
        (UI, "a.js", "import x from '@buf/acme'\n", [(1, "@buf/acme")]),
        (UI, "a.ts", 'export * from "@ameide/core-proto/x";\n', [(1, "@ameide/core-proto/x")]),
        (UI, "src/a.mjs", 'const x = await import("../../billing/x.js");\n', [(1, "../../billing/x.js")]),
        (
            UI,
            "src/a.cjs",
            'const x = require("../../../../packages/ameide_core_proto/x");\n',
            [(1, "../../../../packages/ameide_core_proto/x")],
        ),
        (UI, "src/a.js", 'import "../server.js";\nimport y from "node:fs";\n', []),
        (UI, "tests/a.test.js", 'import "@buf/x";\n', []),
        (UI, "package.json", '{"dependencies": {\n"@buf/x": "1"}}', [(2, "@buf/x")]),
        (UI, "package.json", '{"dependencies": {"x": "file:../billing"}}', [(1, "../billing")]),
    ],
)
def test_imports(primitive: Primitive, path: str, text: str, found: list[tuple[int, str]]) -> None:
    assert imports(primitive, path, text) == found


def test_a_primitive_may_import_its_own_module_whatever_that_is_called() -> None:
    own = {"a.go": b'package a\n\nimport "example.org/primitives/domain/intake/x"\n'}
    assert check_imports(GO, {**own, "go.mod": b"module example.org/primitives/domain/intake\n"}) == []
    assert len(check_imports(GO, {**own, "go.mod": b"module example.org/primitives/domain/in\n"})) == 1


MANIFEST = b"# x\napiVersion: apps/v1\nkind: Deployment\n"


@pytest.mark.parametrize(
    ("path", "raw", "found"),
    [
        ("deploy/readme.md", b"", ("deploy folder", 0)),
        ("a/Charts/x", b"", ("deploy folder", 0)),
        ("kustomization.yaml", b"", ("deploy bundle", 0)),
        ("x/Chart.yaml", b"", ("deploy bundle", 0)),
        ("values-dev.yaml", b"", ("deploy bundle", 0)),
        ("images.lock.json", b"", ("lock file", 0)),
        ("deploy.lock", b"", ("lock file", 0)),
        ("bpmn/other.lock.json", b"", ("lock file", 0)),
        ("a.yaml", MANIFEST, ("manifest", 2)),
        ("a.yml.tmpl", b"a: 1\n---\n" + MANIFEST, ("manifest", 4)),
        ("a.json", b'{"apiVersion": "v1", "kind": "Secret"}', ("manifest", 1)),
        ("catalog-info.yaml", b"apiVersion: backstage.io/v1alpha1\nkind: Component\n", None),
        ("catalog-info.yaml", b"apiVersion: backstage.io/v1alpha1\nkind: Component\n---\n" + MANIFEST, ("manifest", 5)),
        (LOCK, b"{}", None),
        ("package-lock.json", b"{}", None),
        ("uv.lock", b"", None),
        ("internal/clock.go", b"", None),
        ("block.json", b"{}", None),
        ("docs/a.md", MANIFEST, None),
        ("config.yaml", b"kind: x\n", None),
    ],
)
def test_files_that_deploy(path: str, raw: bytes, found: tuple[str, int] | None) -> None:
    assert [(i.field, i.line) for i in deploy_files.find({path: raw})] == ([] if found is None else [found])


# Put together here, so that no file of this repository holds one.
SECRETS = {
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2" * 5,
    "AWS access key": "AKIA" + "A1B2" * 4,
    "Slack token": "xoxb-" + "1234567890" * 2,
    "npm token": "npm_" + "a1B2" * 9,
    "Docker token": "dckr_pat_" + "a1B2c" * 5,
    "Vault token": "hvs." + "a1B2c" * 5,
    "model provider key": "sk-ant-" + "a1B2c" * 8,
    "private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "password in a URL": "postgres://app:" + "hunter22" + "@db/orders",
    "random-looking value": 'api_key = "' + "Zx81kQ0mVb7Tn4Lw9Rr2Ys6P" + '"',
}


@pytest.mark.parametrize("rule", SECRETS)
def test_a_secret_is_found_on_its_line_and_never_shown(rule: str) -> None:
    secret = SECRETS[rule]
    for around in ("{}", "  x: {}  # y", "a" * 2_500 + " {}", " " * 1_690 + "{}"):
        (issue,) = secret_scan.scan({"src/a.txt": f"one\ntwo\n{around.format(secret)}\n".encode()})
        assert (issue.place, issue.field) == ("src/a.txt:3", rule)
        assert secret[-8:] not in repr(issue)


@pytest.mark.parametrize(
    "line",
    [
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        'secret_name = "order-intake-database-credentials"',
        'token: "${TOKEN}"',
        "password: os.environ['DATABASE_PASSWORD']",
        "token_sha = 'sha256:" + "ab12" * 16 + "'",
        "FROM golang@sha256:" + "ab12" * 16,
        "https://user@example.org/path?token=x",
        "postgres://app:${PASSWORD}@db/orders",
        "github_token = inputs.github_token_from_the_workflow",
        "-----BEGIN " + "PUBLIC KEY-----",
        "secretRef: example.io/orders/database.v1",
        "uuid = 123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_what_is_no_secret_is_left_alone(line: str) -> None:
    assert secret_scan.scan({"a": line.encode()}) == []


SIZE = 1 if thorough() else 10
"""A file of a tenth shows as well what grows with the square of it."""


def test_long_and_binary_files_are_scanned_or_left_out_in_bounded_time() -> None:
    began = time.monotonic()
    binary = b"\0" + SECRETS["npm token"].encode()
    assert secret_scan.scan({"a": b"token=" * (500_000 // SIZE), "b": b"a" * 3_000_000, "c": binary}) == []
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("a.go", b"/*" * (1_000_000 // SIZE)),
        ("a.go", b"`" * (2_000_000 // SIZE - 1)),
        ("a.go", b'"' + b'\\"' * (1_000_000 // SIZE)),
        ("a.go", b"import (\n" * (200_000 // SIZE)),
        ("a.go", b"\n" * (2_000_000 // SIZE)),
        ("a.js", b"import " * (300_000 // SIZE)),
        ("go.mod", b"a" * (2_000_000 // SIZE)),
        ("Dockerfile", b"\n" * (2_000_000 // SIZE)),
        ("a.yaml", b"apiVersion" * (200_000 // SIZE)),
        ("a.yaml", b"---\n" * (500_000 // SIZE)),
        ("a.py", b"(" * 100_000),
        ("a.py", b"-" * (1_000_000 // SIZE) + b"1"),
        ("a.py", b'x = "\\d"\n'),
        ("package.json", b"[" * (1_000_000 // SIZE)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[:8]!r}",
)
def test_no_file_takes_long(path: str, raw: bytes) -> None:
    began = time.monotonic()
    checks = judged(GO, {path: raw})
    assert checks["Shape"].status is Status.FAIL
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("language", Language)
def test_no_output_takes_long(language: Language) -> None:
    began = time.monotonic()
    for text in ("\n" * 4_000_000, " " * 4_000_000, "not ok 1 - " * 400_000, "FAILED " * 500_000, "{" * 4_000_000):
        assert not read(language, text[: len(text) // SIZE]).ran
    assert time.monotonic() - began < 20


def seen_of(primitive: Primitive) -> dict[str, bytes]:
    tree = expected_tree(primitive, None, None, None)
    assert not isinstance(tree, Compiled)
    return tree.merged()


def judged(primitive: Primitive, files: dict[str, bytes], odd: dict[str, str] | None = None) -> dict[str, Check]:
    compiled = None
    if primitive.kind is Kind.PROCESS:
        compiled = compile_process(files.get(BPMN, b""), files.get(LOCK), None)
    templates = from_templates(primitive, read_templates(primitive.kind))
    return {c.name: c for c in static_checks(primitive, Seen(files, odd or {}), templates, compiled)}


@pytest.mark.parametrize("kind", Kind)
def test_a_fresh_scaffold_fails_by_its_markers_alone(kind: Kind) -> None:
    primitive = Primitive(kind, "orders")
    checks = judged(primitive, seen_of(primitive))
    assert {n for n, c in checks.items() if c.status is not Status.PASS} == {"ScaffoldMarkers"}


HANDLER = "internal/worker/handler_orders_finish_v1.go"
GEN = "internal/gen/domain_services.generated.go"
PLANTS: list[tuple[str, Primitive, dict[str, bytes | None], str, str]] = [
    ("generated file edited", GO, {GEN: b"package gen\n"}, "Codegen", GEN),
    ("generated file missing", GO, {GEN: None}, "Codegen", GEN),
    ("own file in a generated root", GO, {"internal/gen/own.go": b"package gen\n"}, "Codegen", "internal/gen/own.go"),
    (
        "job types edited",
        PROCESS,
        {"internal/worker/job_types_gen.go": b""},
        "BPMN",
        "internal/worker/job_types_gen.go",
    ),
    ("lock missing", PROCESS, {LOCK: None}, "BPMN", LOCK),
    ("lock edited", PROCESS, {LOCK: b"{}\n"}, "BPMN", LOCK),
    ("process missing", PROCESS, {BPMN: None}, "BPMN", BPMN),
    ("process broken", PROCESS, {BPMN: b"<x>\n<y>"}, "BPMN", f"{BPMN}:2"),
    ("handler missing", PROCESS, {HANDLER: None}, "WorkerCoverage", HANDLER),
    (
        "handler only in a test",
        PROCESS,
        {HANDLER: None, "internal/worker/a_test.go": b"package worker\n\nfunc (*Implementation) OrdersFinishV1() {}\n"},
        "WorkerCoverage",
        HANDLER,
    ),
    ("import", GO, {"internal/x.go": b'package x\n\nimport "buf.build/gen/go/x"\n'}, "Imports", "internal/x.go:3"),
    (
        "marker",
        GO,
        {"internal/x_test.go": b"package x\n// AMEIDE_SCAFFOLD\n"},
        "ScaffoldMarkers",
        "internal/x_test.go:2",
    ),
    ("outbox port missing", GO, {"internal/ports/outbox.go": None}, "Shape", "internal/ports/outbox.go"),
    ("migration missing", GO, {"migrations/V1__domain_outbox.sql": None}, "Shape", "migrations/V1__domain_outbox.sql"),
    ("migration image missing", GO, {"migrations/Dockerfile.main": None}, "Shape", "migrations/Dockerfile.main"),
    ("no tests", GO, {"internal/tests/handle_test.go": None}, "Shape", "."),
    ("half-written", GO, {"internal/.a.go.scaffold-new": b""}, "Shape", "internal/.a.go.scaffold-new"),
    ("chart", GO, {"Chart.yaml": b""}, "DeployFiles", "Chart.yaml"),
    ("secret", GO, {"a.txt": SECRETS["npm token"].encode()}, "SecretScan", "a.txt:1"),
    (
        "floating base image",
        GO,
        {"Dockerfile.main": b"# x\nFROM golang:1.25 AS build\nFROM build\nFROM scratch\n"},
        "ImagePins",
        "Dockerfile.main:2",
    ),
]


@pytest.mark.parametrize(("primitive", "plant", "name", "place"), [pytest.param(*p[1:], id=p[0]) for p in PLANTS])
def test_each_planted_violation_is_found_at_its_place(
    primitive: Primitive, plant: dict[str, bytes | None], name: str, place: str
) -> None:
    files = {**seen_of(primitive), **{k: v for k, v in plant.items() if v is not None}}
    checks = judged(primitive, {k: v for k, v in files.items() if plant.get(k, b"") is not None})
    assert checks[name].status is (Status.WARN if name == "ImagePins" else Status.FAIL)
    assert place in [i.place for i in checks[name].issues]


def test_links_and_files_that_were_not_read_are_told() -> None:
    checks = judged(GO, seen_of(GO), {"data.bin": "too long", "internal/link.go": "link"})
    assert [(i.resource, i.actual) for i in checks["Shape"].issues] == [
        ("data.bin", "too long"),
        ("internal/link.go", "link"),
    ]


def test_a_release_dockerfile_of_older_primitives_is_taken_for_the_migrations() -> None:
    files = seen_of(GO)
    files["migrations/Dockerfile.release"] = files.pop("migrations/Dockerfile.main")
    assert judged(GO, files)["Shape"].status is Status.PASS


@pytest.mark.parametrize(
    ("language", "output", "ran", "failed"),
    [
        (Language.GO, '{"Action":"pass","Package":"p","Test":"TestA"}\n{"Action":"pass","Package":"p"}\n', 1, ()),
        (
            Language.GO,
            '{"Action":"fail","Package":"p","Test":"TestA"}\n{"Action":"fail","Package":"p"}\n',
            1,
            ("p TestA",),
        ),
        (Language.GO, '{"Action":"skip","Package":"p","Test":"TestA"}\n', 0, ()),
        (Language.GO, '# p\nx.go:1: broken\n{"Action":"fail","Package":"p"}\n', 0, ("p",)),
        (Language.GO, '{"Action":\n{}\n[]\n{"Action":1,"Test":[]}', 0, ()),
        (Language.PYTHON, "....\n3 passed, 1 skipped in 0.1s", 3, ()),
        (Language.PYTHON, "FAILED tests/a.py::b - x\n1 failed, 2 passed in 1s\n", 3, ("tests/a.py::b",)),
        (Language.PYTHON, "no tests ran in 0.01s", 0, ()),
        (Language.NODE, "# tests 2\n# fail 0\n", 2, ()),
        (Language.NODE, "ℹ tests 2\nℹ fail 1\n✖ a thing (1.2ms)\n", 2, ("a thing",)),
        (Language.NODE, "not ok 1 - a\n# tests 1\n# fail 1\n", 1, ("a",)),
        (Language.NODE, "sh: 1: jest: not found", None, ()),
    ],
)
def test_the_output_of_the_runners(language: Language, output: str, ran: int | None, failed: tuple[str, ...]) -> None:
    told = read(language, output)
    assert (told.ran, told.failed) == (ran, failed)


def test_json_and_junit_say_the_same_and_hold_no_controls() -> None:
    checks = (
        Check("Shape", Status.PASS, "good"),
        Check("ImagePins", Status.WARN, "may change", (Issue("Dockerfile", "FROM", "a digest", "x", 1),)),
        Check("Tests", Status.FAIL, "failed: \x1b[31m<a>\0", (Issue("t\x07", "result", "pass", "fail"),)),
    )
    report = Report(GO, checks, TestRun(Status.FAIL, "out\x1b[0m"))
    value = json.loads(as_json(report))
    assert value["summary"] == "fail"
    assert [c["status"] for c in value["checks"]] == ["CHECK_STATUS_PASS", "CHECK_STATUS_WARN", "CHECK_STATUS_FAIL"]
    assert value["checks"][1]["issues"] == [
        {"resource": "Dockerfile", "line": 1, "field": "FROM", "expected": "a digest", "actual": "x"}
    ]
    assert set(value) == {"summary", "mode", "checks", "buf", "cascade", "next_steps", "health"}
    assert value["cascade"][0] | {"details": ""} == {
        "kind": "domain", "name": "orders", "path": "primitives/domain/orders", "language": "go",
        "status": "CHECK_STATUS_FAIL", "details": "",
    }  # fmt: skip
    suite = etree.fromstring(as_junit(report))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert [c.get("name") for c in suite if c.find("failure") is not None] == ["Tests"]
    assert "\\u001b" not in as_json(report)
    assert b"\x1b" not in as_junit(report)


def test_warnings_alone_pass() -> None:
    report = Report(GO, (Check("ImagePins", Status.WARN, "x"),), TestRun(Status.PASS, ""))
    assert report.passed
    assert json.loads(as_json(report))["summary"] == "pass"
