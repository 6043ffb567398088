"""Our evaluation of templates against Go's own engine, set as Argo CD's controller sets it.

`gotp` is text/template and Sprig in a wheel; `--strict` is `missingkey=error`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.preview.gotemplate import is_template
from reconciler.preview.gotemplate_eval import render
from reconciler.preview.manifests import parse, texts
from state.errors import InvalidValue, Unsupported
from tests.fixtures.lane import HEAD, VARIANTS, lane_files

GOTP = shutil.which("gotp", path=str(Path(sys.executable).parent)) or shutil.which("gotp")
pytestmark = pytest.mark.skipif(GOTP is None, reason="Go's template engine skipped: gotp is missing (pip install gotp)")

GIVEN: dict[str, Any] = {
    "number": "7",
    "head_sha": HEAD,
    "labels": ["preview", "preview-images"],
    "component": "orders",
    "chart": "charts/orders",
    "image": "ghcr.io/acme/orders",
    "baseline": "ghcr.io/acme/orders@sha256:" + "2" * 64,
    "host": "www",
    "host_key": "httproute.hostname",
    "nothing": None,
    "empty": "",
}


def go(template: str, parameters: dict[str, Any]) -> str | None:
    """What Go prints; None if it refuses."""
    done = subprocess.run(
        [str(GOTP), "render", "--text", "--sprig", "--strict", "--data", "@-", "--", "t.tmpl"],
        input=json.dumps(parameters).encode(), capture_output=True, check=False, timeout=30, cwd=_folder(template),
    )  # fmt: skip
    return done.stdout.decode() if done.returncode == 0 else None


def ours(template: str, parameters: dict[str, Any]) -> str | None:
    try:
        return render(template, parameters)
    except InvalidValue:
        return None


_FOLDER: list[Path] = []


def _folder(template: str) -> Path:
    _FOLDER[0].joinpath("t.tmpl").write_text(template)
    return _FOLDER[0]


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> Any:
    _FOLDER[:] = [tmp_path]
    yield
    _FOLDER.clear()


def lane_templates() -> list[str]:
    """Every template of every variant of the lane, each once."""
    files = {content for lane in VARIANTS.values() for content in lane_files(**lane).values()}
    found = {
        text
        for content in files
        if b"kind: ApplicationSet" in content  # before it is parsed, which takes long
        for manifest in parse(content, "lane")
        if manifest.kind == "ApplicationSet"
        for _, text in texts(manifest.value)
        if is_template(text)
    }
    return sorted(found)


CHANGES: list[dict[str, Any]] = [
    {},
    {"labels": []},
    {"labels": ["preview"]},
    {"head_sha": HEAD[:8]},
    {"head_sha": HEAD.upper()},
    {"head_sha": HEAD + "\n"},
    {"head_sha": f"{HEAD}0"},
    {"head_sha": ""},
    {"number": "0"},
    {"number": "7\n"},
    {"number": "7; x"},
    {"number": "１"},
    {"number": "1234567890"},
    {"component": None},
]


@pytest.mark.parametrize("template", lane_templates())
def test_every_template_of_the_lane_prints_what_go_prints(template: str) -> None:
    for change in CHANGES:
        if any(key in template for key in change) or not change:
            parameters = {**GIVEN, **change}
            assert ours(template, parameters) == go(template, parameters), change
    for key in (key for key in GIVEN if key in template):
        without = {k: v for k, v in GIVEN.items() if k != key}
        assert ours(template, without) == go(template, without), f"without {key}"


@pytest.mark.parametrize(
    "template",
    [
        "{{.number}}",
        "a {{- .number -}} b",
        "a\n  {{- /* why */ -}}  \n b",
        "{{/* why */}}x",
        "{{ `raw ${x}` }}",
        '{{ "a\\"b\\n" }}',
        '{{ if .empty }}a{{ else if .number }}b{{ else }}c{{ end }}',
        '{{ if and .number .head_sha }}a{{ end }}{{ if or .empty "" }}b{{ end }}',
        '{{ if eq .number "7" }}a{{ end }}{{ if ne .number "7" }}b{{ else }}c{{ end }}',
        '{{ .number | regexMatch "^7$" }}',
        '{{ regexMatch "[0-9]" "a7b" }} {{ not true }} {{ not "" }}',
        '{{ if (has "preview" .labels) }}yes{{ end }}',
        "{{ .nothing }}",
        "{{ $.number }}",
        "{{ .missing }}",
        '{{ fail "no" }}',
        "{{ .number",
        "{{ if .number }}",
        "{{ end }}",
        "{{ }}",
        "{{ .number | }}",
        "{{ eq .number }}",
        '{{ has "a" .number }}',
        '{{ "unclosed }}',
        "{{ not }}",
        "plain } text { and }}",
    ],
)  # fmt: skip
def test_the_evaluated_part_of_the_language_is_go_s(template: str) -> None:
    assert ours(template, GIVEN) == go(template, GIVEN)


@pytest.mark.parametrize(
    "template",
    [
        "{{ . }}",
        "{{ .labels }}",
        "{{ .number | upper }}",
        "{{ range .labels }}{{ . }}{{ end }}",
        "{{ with .number }}{{ . }}{{ end }}",
        "{{ $x := .number }}{{ $x }}",
        '{{ index . "number" }}',
        '{{ define "x" }}{{ end }}',
        '{{ regexMatch "(?i)a" .number }}',
        '{{ regexMatch "\\\\d" .number }}',
        "{{ now }}",
        "{{ (.number).x }}",
        "{{ 7 }}",
    ],
)
def test_what_is_not_evaluated_is_refused_by_name_and_never_guessed(template: str) -> None:
    with pytest.raises(Unsupported, match="offline"):
        render(template, GIVEN)
