"""The OCI distribution conformance test on `ameide registry serve`, as a user starts it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.fixtures.shop import command
from tools import go_tools

WORKFLOWS = {
    "pull": {
        "Blob get", "Blob get range", "Blob head", "Manifest get by digest", "Manifest get by tag",
        "Manifest head by digest", "Manifest head by tag", "Ping",
    },
    "push": {
        "Blob chunked", "Blob mount", "Blob post only", "Blob post put", "Blob push", "Blob streaming",
        "Blob upload cancel", "Manifest put by digest", "Manifest put by tag", "Manifest put with subject",
        "Manifest put with tag params",
    },
    "content discovery": {"Referrers", "Tag listing"},
    "content management": {
        "Blob delete", "Blob delete atomic", "Manifest delete", "Manifest delete atomic", "Tag delete",
        "Tag delete atomic",
    },
}  # fmt: skip
"""The specification's four workflows, in the words of the report's table of API results."""
OPTIONAL = {"mount anonymous/blob-mount-anonymous", "range requests/range 500-0"}
"""A registry may leave these out, and ours does: a mount without a source, and a range that ends before it begins."""
LEAST_PASSED = 700
"""The pinned version runs 785 cases that pass; far fewer would mean that most of it did not run."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The host of an embedded registry in a process of its own."""
    argv = command("registry", "serve", "--root", str(root), "--listen", "127.0.0.1:0", "--json")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["host"]
        finally:
            process.terminate()


@pytest.mark.conformance
def test_the_embedded_registry_passes_every_workflow_of_the_oci_conformance_test(tmp_path: Path) -> None:
    # "dev" is 1.1 with its recommendations and what the next version adds: digest headers, cancelled uploads and
    # several tags in one PUT. A program that ran nothing ends well too, so its reports are what counts.
    program = go_tools.path_of("conformance")
    with served(tmp_path / "registry") as host:
        settings = {"OCI_REGISTRY": host, "OCI_TLS": "disabled", "OCI_VERSION": "dev", "OCI_RESULTS_DIR": str(tmp_path)}
        ran = subprocess.run(
            [program], check=False, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
    cases = [
        (case.attrib["name"].removeprefix("OCI Conformance Test/"), case.attrib["status"])
        for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")  # noqa: S314  # made by our own program
    ]
    assert [case for case in cases if case[1] not in {"passed", "skipped"}] == []
    assert (ran.returncode, ran.stderr) == (0, "")
    skipped = sorted(name for name, status in cases if status == "skipped")
    assert skipped == sorted(f"{algorithm} blobs/{name}" for algorithm in ("sha256", "sha512") for name in OPTIONAL)
    assert Counter(status for _, status in cases)["passed"] >= LEAST_PASSED
    verdicts = dict(_verdicts(ran.stdout))
    for workflow, names in WORKFLOWS.items():
        assert {name: verdicts.get(name) for name in names} == dict.fromkeys(names, "Pass"), workflow
    assert "OCI Conformance Result: Pass\n" in ran.stdout


def _verdicts(report: str) -> Iterator[tuple[str, str]]:
    """The lines `Tag listing...:   Pass` of the table of API results."""
    _, _, table = report.partition("API conformance:\n")
    for line in table.partition("\n\n")[0].splitlines():
        name, _, verdict = line.rpartition(":")
        yield name.strip().rstrip("."), verdict.strip()
