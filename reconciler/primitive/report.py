"""What a verification found: checks with their issues, as JSON and as JUnit (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lxml import etree

from reconciler.primitive.names import Primitive

_UNPRINTABLE: Final = "�"


class Status(StrEnum):
    """The words of the contract. Only a failure makes the whole fail."""

    PASS = "CHECK_STATUS_PASS"  # noqa: S105 - a status, no secret
    WARN = "CHECK_STATUS_WARN"
    FAIL = "CHECK_STATUS_FAIL"
    NOT_RUN = "CHECK_STATUS_NOT_RUN"


@dataclass(frozen=True, slots=True)
class Issue:
    """One place: which file, line (0 where there is none) and part, what was expected and what is there."""

    resource: str
    field: str
    expected: str
    actual: str
    line: int = 0

    @property
    def place(self) -> str:
        return f"{self.resource}:{self.line}" if self.line else self.resource


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    status: Status
    message: str
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class TestRun:
    """What the language's own runner said."""

    __test__ = False

    status: Status
    details: str


@dataclass(frozen=True, slots=True)
class Report:
    primitive: Primitive
    checks: tuple[Check, ...]
    tests: TestRun

    @property
    def passed(self) -> bool:
        return all(check.status is not Status.FAIL for check in self.checks)

    @property
    def next_steps(self) -> tuple[str, ...]:
        return tuple(f"{c.name}: {c.message}" for c in self.checks if c.status in (Status.FAIL, Status.WARN))


def check(name: str, issues: list[Issue], *, good: str, bad: str, severity: Status = Status.FAIL) -> Check:
    """A check that fails, or warns, when there are issues."""
    ordered = tuple(sorted(set(issues), key=lambda i: (i.resource, i.line, i.field, i.expected, i.actual)))
    return Check(name, severity, bad, ordered) if ordered else Check(name, Status.PASS, good)


def as_json(report: Report) -> str:
    """The report for a machine. Equal reports give equal bytes."""
    p = report.primitive
    not_run = "not part of one primitive's tree: the repository's own buf gate holds the protos"
    value: dict[str, Any] = {
        "summary": "pass" if report.passed else "fail",
        "mode": "repo",
        "checks": [
            {
                "check": c.name,
                "status": c.status.value,
                "message": _plain(c.message),
                "issues": [
                    {
                        "resource": _plain(i.resource),
                        "line": i.line or None,
                        "field": _plain(i.field),
                        "expected": _plain(i.expected),
                        "actual": _plain(i.actual),
                    }
                    for i in c.issues
                ],
            }
            for c in report.checks
        ],
        "buf": {
            "lint_status": Status.NOT_RUN.value,
            "lint_details": not_run,
            "breaking_status": Status.NOT_RUN.value,
            "breaking_details": not_run,
        },
        "cascade": [
            {
                "kind": p.kind.value,
                "name": p.name,
                "path": p.path,
                "language": p.language.value,
                "status": report.tests.status.value,
                "details": _plain(report.tests.details),
            }
        ],
        "next_steps": [_plain(step) for step in report.next_steps],
        "health": {"kind": p.kind.value, "name": p.name, "ready": report.passed},
    }
    return json.dumps(value, indent=2)


def as_junit(report: Report) -> bytes:
    """The report as JUnit: one test case a check. Warnings pass, and say so in their output."""
    failed = [c for c in report.checks if c.status is Status.FAIL]
    suites = etree.Element("testsuites")
    suite = etree.SubElement(
        suites,
        "testsuite",
        name=f"ameide primitive verify {report.primitive.path}",
        tests=str(len(report.checks)),
        failures=str(len(failed)),
        errors="0",
        skipped="0",
    )
    for c in report.checks:
        case = etree.SubElement(suite, "testcase", classname=f"primitive.{report.primitive.kind}", name=c.name)
        text = "\n".join([c.message, *map(line_of, c.issues)])
        if c.status is Status.FAIL:
            failure = etree.SubElement(case, "failure", message=_plain(c.message))
            failure.text = _plain(text)
        elif c.status is Status.WARN:
            etree.SubElement(case, "system-out").text = _plain(text)
    made = etree.tostring(suites, xml_declaration=True, encoding="UTF-8", pretty_print=True)
    return bytes(made)


def line_of(issue: Issue) -> str:
    """The issue on one line."""
    return f"{issue.place}: {issue.field}: expected {issue.expected}, got {issue.actual}"


def _plain(text: str) -> str:
    """Text that may be shown and stored anywhere: lines, and what is printable on them."""
    return "".join(c if c in "\n\t" or c.isprintable() else _UNPRINTABLE for c in text)
