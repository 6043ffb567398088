"""The digest policy for a tree: what is looked at, what is found, and that screening hides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import main
from reconciler.gitops.check_images import FILE_MAX_BYTES, check_images
from reconciler.gitops.documents import read
from reconciler.gitops.image_places import RULES, findings
from reconciler.gitops.screen import is_suspect, suspects
from state.errors import ConfigError
from tests.thorough import examples

DIGEST = "sha256:" + "ab" * 32
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD = f"ghcr.io/acme/orders@{DIGEST}"


def found(text: str) -> list[tuple[int, str]]:
    """(line, rule) of everything that is found, parsed as a whole and as the screen hands it on."""
    whole = sorted((f.line, f.rule) for root in read(text.encode(), "x").roots for f in findings(root))
    screened = sorted(
        (chunk.lines_before + f.line, f.rule)
        for chunk in suspects(text.encode())
        for root in read(chunk.raw, "x").roots
        for f in findings(root)
    )
    assert screened == whole
    return whole


@pytest.mark.parametrize(
    "text",
    [
        f"image:\n  ref: {GOOD}\n",
        f"image:\n  ref: '{GOOD}'  # why: image\n  pullPolicy: IfNotPresent\nimagePullPolicy: Always\n",
        f"image: {{ref: {GOOD}}}\n",
        f"containers:\n  - image: {GOOD}\n    name: a\n  - name: b\n    image: ghcr.io/x/y:{COMMIT}@{DIGEST}\n",
        f"image:\n  repository: docker.io/x/y\n  tag: v1.2.3\n  digest: {DIGEST}\n",
        f"image:\n  registry: docker.io\n  repository: x/y\n  tag: v1.2.3@{DIGEST}\n",
        f"controller: {{repository: x/y, digest: {DIGEST}}}\n",
        f"images:\n- name: orders\n  newName: ghcr.io/acme/orders\n  digest: {DIGEST}\n- name: web\n  newName: x/web\n",
        f"spec: {{image: {GOOD}, db: {{migrationJobImage: {GOOD}}}}}\n",
        "enabled: false\nimage: {ref: ''}\n",
        "app:\n  enabled: 'false'\n  deep: {image: {ref: }}\n",
        "enabled: false\nimage: {repository: '', tag: ''}\n",
        "chart: {repoURL: https://git.example/x.git, version: main}\nref: main\n",
        "spec: {source: {targetRevision: main, repository: 'https://x/y', ref: refs/heads/main}}\n",
        "source: {repository: 'oci://ghcr.io/acme/charts', tag: main}\n",
        "sourceRef: {kind: GitRepository}\nref: {branch: main}\n",
        "style: {backgroundImage: /static/a.png, heroImage: 'https://x/y.png', logoImage: img/logo}\n",
        f"volumes:\n- name: model\n  image: {{reference: '{GOOD}', pullPolicy: Always}}\nreference: nginx:1\n",
        "kind: ApplicationSet\nspec:\n  templatePatch: |\n    {{- if .x }}\n    image: nginx\n    {{- end }}\n",
        "image: {pullPolicy: Always}\nimagePullSecrets: [{name: image}]\n",
        "kind: CustomResourceDefinition\nspec: {image: {type: string}, properties: {image: {ref: x}}}\n"[:0]
        or "a: 1\n",
        "text: |\n  image: nginx:latest\n# image: nginx:latest\nother: 'image: x'\n",
        f"x: &x {{ref: {GOOD}}}\nimage: *x\n",
        f"helm:\n  values: |\n    image:\n      ref: {GOOD}\n",
        "helm:\n  parameters:\n  - name: image.tag\n    value: v1.2.3\n",
        "kind: ApplicationSet\nhelm:\n  values: |\n    image: {{ .image }}\n",
        "kind: ApplicationSet\nhelm:\n  values: |\n    image: '{{ .image }}'\n",
        "- op: replace\n  path: /spec/replicas\n  value: 2\n",
        "kind: ApplicationSet\nspec: {template: {image: {ref: 'ghcr.io/acme/orders:{{.head_sha}}'}}}\n",
        "",
    ],
)
def test_what_is_allowed_is_not_found(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image:\n  ref: ghcr.io/acme/orders:main\n", [(2, "no-digest")]),
        (f"image:\n  ref: ghcr.io/acme/orders:main@{DIGEST}\n", [(2, "floating-tag")]),
        ("image:\n  ref: ''\n", [(2, "empty-reference")]),
        ("enabled: true\nimage:\n  ref:\n", [(3, "empty-reference")]),
        ("image:\n", [(1, "empty-reference")]),
        ("image: {ref: 'x y'}\n", [(1, "malformed-reference")]),
        ("image: [nginx]\n", [(1, "malformed-reference")]),
        (f"a:\n  image:\n  - {GOOD}\n", [(2, "malformed-reference")]),
        ("image:\n  ref: [nginx]\n", [(2, "malformed-reference")]),
        ("enabled: false\nimage: []\n", [(2, "malformed-reference")]),
        ("image: {ref: '{{ .Values.x }}'}\n", [(1, "malformed-reference")]),
        ("enabled: false\nimage: {ref: 'nginx:latest'}\n", [(2, "no-digest")]),
        ("a:\n- b:\n    initContainers:\n    - name: x\n      image: nginx\n", [(5, "no-digest")]),
        ("- image: nginx\n- image: nginx\n", [(1, "no-digest"), (2, "no-digest")]),
        ("spec: {db: {migrationJobImage: 'ghcr.io/x/y:v1.0.0'}}\n", [(1, "no-digest")]),
        ("image:\n  repository: x/y\n  tag: latest\n", [(3, "no-digest")]),
        ("image:\n  repository: x/y\n  tag: v1.2.3\n", [(3, "no-digest")]),
        ("image:\n  repository: x/y\n", [(2, "no-digest")]),
        ("image:\n  tag: v1.2.3\n", [(2, "no-digest")]),
        (f"image:\n  repository: x/y\n  tag: main\n  digest: {DIGEST}\n", [(3, "floating-tag")]),
        (f"image:\n  ref: {GOOD}\n  tag: v1.2.3\n", [(3, "no-digest")]),
        (f"image:\n  ref: {GOOD}\n\n  tag: main\n", [(4, "no-digest")]),
        ("a: &a {image: nginx}\nb: *a\n", [(1, "no-digest")]),
        ("image:\n  repository: ''\n", [(2, "empty-reference")]),
        ("image:\n  repository: x/y:v1\n", [(2, "no-digest")]),
        ("controller:\n  repository: x/y\n  tag: 1.5\n", [(3, "no-digest")]),
        ("b: &b\n  repository: x/y\nimage:\n  <<: *b\n  tag: main\n", [(5, "no-digest")]),
        ("x: &x {ref: nginx}\nimage: *x\n", [(1, "no-digest")]),
        ("x: &x\n  image: {ref: nginx}\ny: *x\n", [(2, "no-digest")]),
        ("images:\n- name: x\n  newTag: main\n", [(3, "no-digest")]),
        (f"images:\n- name: x\n  newTag: main\n  digest: {DIGEST}\n", [(3, "floating-tag")]),
        ("kustomize:\n  images:\n  - a=b:c\n  - {name: x, newTag: y}\n", [(3, "no-digest"), (4, "no-digest")]),
        ("helm:\n  parameters:\n  - name: image.ref\n    value: x:main\n", [(4, "no-digest")]),
        ("migrations: {ref: 'ghcr.io/acme/orders:main'}\n", [(1, "no-digest")]),
        ('"im\\x61ge": nginx\n', [(1, "no-digest")]),
        ('? "im\\\n  age"\n: nginx\n', [(3, "no-digest")]),
        ("? image\n: nginx\n", [(2, "no-digest")]),
        ("!!str image: nginx\n", [(1, "no-digest")]),
        (f"image: {GOOD}\n  x\n", [(1, "malformed-reference")]),
        (f"- image: {GOOD}\n\n    x\n", [(1, "malformed-reference")]),
        ("a: {b: 'x\n  # y', image: nginx}\n", [(2, "no-digest")]),
        (f"image:\n  ref: {GOOD}\n  repository: x/y\n  tag: latest\n", [(4, "no-digest")]),
        (f"a: 1\n---\nimage: {GOOD}\n---\nimage: nginx\n", [(5, "no-digest")]),
        ("%YAML 1.1\n---\nimage: nginx\n", [(3, "no-digest")]),
        ("\ufeffimage: nginx\n", [(1, "no-digest")]),
        ("kind: Application\nhelm:\n  values: |\n    image:\n      ref: x:main\n", [(5, "no-digest")]),
        ("helm: {values: 'image: nginx'}\n", [(1, "no-digest")]),
        ("helm:\n  values: |\n    image: [\n", [(2, "unreadable")]),
        ("helm:\n  parameters:\n  - name: image.tag\n    value: main\n", [(4, "floating-tag")]),
        ("patches:\n- patch: |-\n    spec: {image: nginx}\n", [(3, "no-digest")]),
        ("patchesStrategicMerge:\n- |-\n  spec: {image: nginx}\n", [(3, "no-digest")]),
        ("patches:\n- patch: |-\n    - op: add\n      path: /a/image\n      value: x:y\n", [(5, "no-digest")]),
        ("- op: replace\n  path: /spec/containers/0/image\n  value: nginx\n", [(3, "no-digest")]),
        ("images: &i\n- {name: x, newTag: main}\na: {images: *i}\n", [(2, "no-digest")]),
        ("# a\rimage: nginx\n", [(2, "no-digest")]),
        ('{"spec": {"image": "nginx"}}', [(1, "no-digest")]),
        ("volumes:\n- name: x\n  image:\n    reference: quay.io/x/y:latest\n", [(4, "no-digest")]),
        ("- op: add\n  path: /spec/volumes/0/image/reference\n  value: x:y\n", [(3, "no-digest")]),
        ("proxyImage: nginx:latest\n", [(1, "no-digest")]),
        ("annotations:\n  sidecar.istio.io/proxyImage: quay.io/x/y\n", [(2, "no-digest")]),
        ("helm:\n  parameters:\n  - name: db.migrationImage\n    value: nginx:1\n", [(4, "no-digest")]),
        ("kind: ApplicationSet\nspec:\n  templatePatch: |\n    image: nginx\n", [(4, "no-digest")]),
        ("!!binary aW1hZ2U= : nginx\n", [(1, "malformed-reference")]),
        ("!!%62inary aW1hZ2U= : nginx\n", [(1, "malformed-reference")]),
        ("%TAG !e! tag:yaml.org,2002:bin\n---\n!e!ary aW1hZ2U= : nginx\n", [(3, "malformed-reference")]),
    ],
)  # fmt: skip
def test_what_is_forbidden_is_found_with_its_line(text: str, expected: list[tuple[int, str]]) -> None:
    assert found(text) == expected
    assert {rule for _, rule in expected} <= set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        # To Go's parser these end a line, and so a comment.
        *(f"a:\n- image: {GOOD} # c{end}- image: nginx\n" for end in ("\u2028", "\u2029", "\x85")),
        *(f"image:\n  ref: {GOOD} # c{end}image: nginx\n" for end in ("\u2028", "\u2029", "\x85")),
        # At the start of a line Go's parser passes over it.
        "a: 1\n\ufeffimage: nginx\n",
    ],
)
def test_what_another_parser_reads_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"line [23]: "):
        found(text)
    assert is_suspect(text.encode())


def test_a_schema_of_custom_resources_is_not_parsed_and_its_neighbour_is() -> None:
    schema = "# one\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {image: nginx}\n"
    chunks = [*suspects(f"{schema}---\nimage: nginx\n---\n{schema}".encode())]
    assert [(chunk.raw, chunk.lines_before) for chunk in chunks] == [(b"---\nimage: nginx\n", 4)]


@pytest.mark.parametrize(
    "text",
    [
        "kind: CustomResourceDefinition\nkind: Pod\nspec: {image: nginx}\n",
        "kind: CustomResourceDefinition\n'kind': Pod\nspec: {image: nginx}\n",
        "kind: Pod\nmetadata: {name: 'a\nkind: CustomResourceDefinition\n'}\nspec: {image: nginx}\n",
        " kind: Pod\n metadata: {name: 'a\nkind: CustomResourceDefinition\nspec: '}\n spec: {image: nginx}\n",
        "{kind: Pod, metadata: {name: 'a\nkind: CustomResourceDefinition\nspec: '}, spec: {image: nginx}}\n",
        "--- {kind: Pod, metadata: {name: 'a\nkind: CustomResourceDefinition\nspec: '}, spec: {image: nginx}}\n",
        "spec: {image: nginx}\rkind: Pod\nmetadata: {name: 'a\nkind: CustomResourceDefinition\nspec: '}\n",
        "kind: CustomResourceDefinition\nimage: nginx\n",
    ],
)
def test_what_only_looks_like_a_schema_somewhere_is_parsed(text: str) -> None:
    assert [chunk.raw for chunk in suspects(text.encode())] == [text.encode()]


@pytest.mark.parametrize(
    "text",
    [
        f"image:\n  ref: {GOOD}\n",
        f"# the image\nimage: # why\n    ref: '{GOOD}' # pinned\n    pullPolicy: Always\nreplicas: 2\n",
        f"spec:\n  containers:\n    - image: {GOOD}\n      name: a\n    - name: b\n      image: x/y:v1.2.3@{DIGEST}\n",
        f"image:\n  registry: ghcr.io\n  repository: x/y\n  tag: 1.2.3\n  digest: {DIGEST}\n",
        f"image:\r\n  ref: {GOOD}\r\nb: 1\r\n",
        f"spec:\n  image: {GOOD}\n  migrationJobImage: {GOOD}",
        "ref: main\nrepository: https://git.example/x.git\nimagePullPolicy: Always\n",
        "a: 1\n",
    ],
)
def test_what_is_plainly_pinned_is_not_even_parsed(text: str) -> None:
    assert not is_suspect(text.encode())


PIECES = f"""\
image:|  image:|- image:|image: {GOOD}|  image: '{GOOD}'|- image: {GOOD}  # c|  - image: {GOOD}|  ref: {GOOD}
    ref: "{GOOD}"|  ref: main|  ref:|ref: a/b|  repository: x/y|    tag: v1.2.3|  tag: v1.2.3|  digest: {DIGEST}
  pullPolicy: Always|  x|    y||# image: nginx|# image'}}|x: '|'|"|{{|}}|  {{|a: |a: >|image: nginx|  image: &a nginx
b: *a|---|- |imagePullPolicy: Always|repository: https://x/y|? image|: nginx|  <<: *a|enabled: false|[|]
image: {GOOD} # a\u2028image: nginx|  ref: {GOOD} # a\x85image: nginx|!!binary aW1hZ2U= : nginx|\ufeffimage: nginx
ref: {GOOD}|  spec: {{image: {GOOD}}}|\u2028image: nginx|# a\u0085image: nginx|# a\rimage: nginx"""
pieces = st.sampled_from([piece for line in PIECES.split("\n") for piece in line.split("|")] + ["a: |"])


@examples(300)
@given(st.lists(pieces, max_size=7), st.sampled_from(["\n", "\r\n"]))
def test_what_the_screen_lets_pass_holds_nothing_forbidden(lines: list[str], end: str) -> None:
    raw = end.join(lines).encode()
    if is_suspect(raw):
        return
    try:
        roots = read(raw, "x").roots
    except ConfigError:
        return  # no YAML: nothing is deployed of it
    assert [f for root in roots for f in findings(root)] == []


# --- the command


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "values/dev/orders.yaml": f"image:\n  ref: {GOOD}\n",
        "values/dev/web.yml": "a: 1\n---\nimage:\n  ref: ghcr.io/acme/web:main\n",
        "values/dev/broken.yaml": "image: [\n",
        "values/dev/utf16.yaml": "image: nginx",
        "values/notes.md": "image: nginx\n",
        "charts/a/Chart.yaml": "name: a\n",
        "charts/a/values.yaml": "image: nginx\n",
        "charts/a/templates/x.yaml": "image: {{ .Values.image }}\n",
        "other/templates/x.yaml": "image: nginx\n",
        ".git/x.yaml": "image: nginx\n",
        "kustomize/Kustomization": "images:\n- {name: a, newTag: b}\n",
    }
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-16" if "utf16" in name else "utf-8"))
    (tmp_path / "tree/loop").symlink_to(tmp_path / "tree")
    return tmp_path / "tree"


EXPECTED = [
    ("charts/a/values.yaml", 1, "no-digest"),
    ("kustomize/Kustomization", 2, "no-digest"),
    ("other/templates/x.yaml", 1, "no-digest"),
    ("values/dev/broken.yaml", 1, "unreadable"),
    ("values/dev/utf16.yaml", 1, "unreadable"),
    ("values/dev/web.yml", 4, "no-digest"),
]


def test_a_tree_is_looked_at_whole(tree: Path) -> None:
    checked = check_images([tree])
    assert [(str(Path(f.path).relative_to(tree)), f.line, f.rule) for f in checked.findings] == EXPECTED
    assert checked.files == 8
    assert check_images([tree / "values/dev/orders.yaml"]) == ((), 1)


def test_many_suspects_are_parsed_by_several_processes_to_the_same_end(tree: Path) -> None:
    for number in range(70):
        text = "".join(f"a{n}: {{image: nginx}} # {'x' * 200}\n" for n in range(10))
        (tree / f"values/many-{number:02}.yaml").write_text(text)
    checked = check_images([tree / "values"])
    assert len(checked.findings) == 70 * 10 + 3
    assert [*checked.findings] == sorted(checked.findings)


def test_files_that_cannot_be_read_are_findings_and_paths_that_are_not_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_bytes(b"#" * (FILE_MAX_BYTES + 1))
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert [(f.rule, f.what.split(":")[0]) for f in check_images([tmp_path]).findings] == [
        ("unreadable", "cannot be read"),
        ("unreadable", f"more than {FILE_MAX_BYTES} bytes"),
    ]
    with pytest.raises(ConfigError, match="name a file or folder"):
        check_images([tmp_path / "none"])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["gitops", "check-images", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def test_the_command_tells_people_machines_and_code_hosts(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    code, out = run(capsys, "values")
    assert code == 1
    assert "values/dev/web.yml:4: no-digest: tag main without a digest; pin it as repository@sha256:" in out
    assert out.endswith("4 files, 3 findings\n")
    code, out = run(capsys, "values", "--json")
    told: dict[str, Any] = json.loads(out)
    assert (code, told["files"], len(told["findings"])) == (1, 4, 3)
    assert set(told["findings"][0]) == {"path", "line", "rule", "what", "remedy"}
    code, out = run(capsys, "values", "--sarif")
    (one,) = json.loads(out)["runs"]
    places = [(r["ruleId"], r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) for r in one["results"]]
    assert (code, places[-1]) == (1, ("no-digest", "values/dev/web.yml"))
    assert {r["id"] for r in one["tool"]["driver"]["rules"]} == set(RULES)
    assert run(capsys, "values/dev/orders.yaml") == (0, "1 file, no findings\n")
    assert run(capsys, "none")[0] == 2
    assert run(capsys, "values", "--json", "--sarif")[0] == 2
    assert run(capsys)[0] == 2


def test_what_strangers_named_cannot_steer_the_terminal(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "values/\x1b[2Jx.yaml").write_text("image: nginx:[red]\n")
    _, out = run(capsys, str(tree / "values"))
    assert "\x1b" not in out
    assert "\\x1b[2Jx.yaml:1: malformed-reference" in out
