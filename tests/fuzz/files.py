"""Targets: files of the code and GitOps repositories, the configuration, and what programs print."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

from reconciler.adapters.cosign_key import _parsed
from reconciler.adapters.registry_credential import _parse
from reconciler.catalogue import parse_catalogue
from reconciler.gitops import image_places
from reconciler.gitops.difference import difference
from reconciler.gitops.documents import read
from reconciler.gitops.edits import edited
from reconciler.inventory import parse_inventory
from reconciler.preview import gotemplate_eval
from reconciler.preview.lint import reference
from reconciler.preview.lint.engine import lane_of, lint
from reconciler.preview.lint.observed import parse_observed
from reconciler.primitive import runner_output
from reconciler.primitive.bpmn_compile import compile_process
from reconciler.primitive.names import Language
from reconciler.producing.dockerfile import read as read_dockerfile
from reconciler.settings import loading as settings
from reconciler.strict_yaml import parse
from state import canonical
from state.errors import ConfigError, InvalidValue, ReconcilerError, Unsupported
from state.git import CommitId
from state.oci import Digest, Repository
from state.pin_plan import Edit
from tests.fuzz.target import Target, each, text

_COMMIT: Final = CommitId("a" * 40)
_TODAY: Final = date(2026, 1, 31)
_V1_LOCK: Final = b'{"profile":"ameide-v1"}'
_EDITS: Final = tuple(
    Edit("values.yaml", key, "orders", Repository("ghcr.io/acme/orders"), Digest("sha256:" + "c" * 64))
    for key in ("image.ref", "image.digest", "Deployment/orders#spec.containers[name=app].image")
)


def strict_yaml(raw: bytes) -> None:
    document = parse(raw, what="file")
    assert all(document.line(at) for at, _ in document.problems)


def config(raw: bytes) -> None:
    document = parse(raw, what="config")
    read, _ = settings._validate(document)
    if read is not None:
        list(settings._cross_problems(read))
        canonical.digest(read.model_dump(mode="json"))


def catalogue(raw: bytes) -> None:
    parse_catalogue(raw, _COMMIT)


def dockerfile(raw: bytes) -> None:
    """The first line is the value of the build argument A."""
    value, _, file = raw.partition(b"\n")
    made = read_dockerfile(file, "Dockerfile", {"A": text(value)})
    assert all(base.reference.endswith(f"@{base.digest}") for base in made.bases)


def inventory(raw: bytes) -> None:
    parse_inventory(raw, _COMMIT)


def pins(raw: bytes) -> None:
    """Whatever is edited can be compared, and only what was edited is another."""
    before = {"values.yaml": raw}
    for edit in _EDITS:
        try:
            after = edited(before, [edit])
        except ConfigError:
            continue
        assert len(difference(before, after)) <= 1


def images(raw: bytes) -> None:
    for root in read(raw, "file").roots:
        list(image_places.findings(root))


def lane(raw: bytes) -> None:
    files = {"lane/a.yaml": raw}
    lint(lane_of(files), files, _TODAY)


def template(raw: bytes) -> None:
    given = text(raw)
    each(
        lambda: gotemplate_eval.render(given, {"number": "7", "head_sha": "a" * 40, "labels": ["preview"]}),
        lambda: list(reference.references(given, go=True)),
        lambda: list(reference.references(given, go=False)),
        allowed=(InvalidValue, Unsupported),
    )


def observed(raw: bytes) -> None:
    parse_observed(raw, "observed.json")


def bpmn(raw: bytes) -> None:
    for lock in (None, _V1_LOCK):
        compile_process(raw, lock, None)


def bpmn_beside(raw: bytes) -> None:
    """The files beside a process: its lock, and the policies it names."""
    compile_process(_PROCESS, raw, None)
    compile_process(_PROCESS, _V1_LOCK, raw)


def runner(raw: bytes) -> None:
    for language in Language:
        runner_output.read(language, text(raw))


def docker_credential(raw: bytes) -> None:
    _parse(raw, Path("config.json"), "ghcr.io")


def cosign_key(raw: bytes) -> None:
    _parsed(raw)


_PROCESS: Final = (Path(__file__).parent / "corpus" / "bpmn" / "process").read_bytes()

TARGETS: Final = (
    Target("strict-yaml", strict_yaml, (ConfigError,), max_len=64 * 1024),
    Target("config", config, (ConfigError,)),
    Target("catalogue", catalogue, (ConfigError,)),
    Target("dockerfile", dockerfile, (ConfigError,)),
    Target("inventory", inventory, (ConfigError,)),
    Target("pins", pins, (ConfigError,)),
    Target("image-places", images, (ConfigError,)),
    Target("lane", lane, ()),
    Target("template", template, (), max_len=1024),
    Target("observed", observed, (ConfigError,)),
    Target("bpmn", bpmn, (), max_len=16 * 1024),
    Target("bpmn-beside", bpmn_beside, ()),
    Target("test-output", runner, ()),
    Target("docker-credential", docker_credential, (ConfigError,)),
    Target("cosign-key", cosign_key, (ReconcilerError,)),
)
