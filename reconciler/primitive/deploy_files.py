"""Files that would deploy something: they belong to the GitOps repository (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.primitive.layout import LOCK
from reconciler.primitive.report import Issue

_FOLDERS: Final = frozenset({"argocd", "charts", "deploy", "deployment", "helm", "k8s", "kustomize", "manifests"})
_NAMES: Final = re.compile(
    r"Chart\.ya?ml|Chart\.lock|kustomization\.ya?ml|Kustomization|helmfile\.ya?ml|skaffold\.ya?ml|values[^/]*\.ya?ml"
)
# A lock of a language's packages says what is built, not what is deployed.
_PACKAGE_LOCKS: Final = frozenset(
    {
        "Pipfile.lock",
        "bun.lock",
        "package-lock.json",
        "pdm.lock",
        "pnpm-lock.yaml",
        "poetry.lock",
        "uv.lock",
        "yarn.lock",
    }
)
_LOCKS: Final = re.compile(r".*(?:^|[.-])lock(?:\.(?:json|ya?ml|toml))?")
_MANIFEST_FILE: Final = re.compile(r".*\.(?:ya?ml|json)(?:\.[a-z0-9]+)?")
_DOCUMENT: Final = re.compile(r"^---(?:\s.*)?$", re.MULTILINE)
_API_VERSION: Final = re.compile(
    r"^[\"']?apiVersion[\"']?\s*:\s*[\"']?([^\s\"'#]+)|[{,]\s*\"apiVersion\"\s*:\s*\"([^\"]+)", re.MULTILINE
)
_KIND: Final = re.compile(r"^[\"']?kind[\"']?\s*:|[{,]\s*\"kind\"\s*:", re.MULTILINE)
_CATALOGUE: Final = "backstage.io/"

_ELSEWHERE: Final = "it in the GitOps repository"


def find(files: Mapping[str, bytes]) -> list[Issue]:
    """Every file that renders into a cluster, or pins what is deployed."""
    return [
        Issue(path, what, _ELSEWHERE, "a file here", line)
        for path, raw in files.items()
        for what, line in _of(path, raw)
    ]


def _of(path: str, raw: bytes) -> Iterator[tuple[str, int]]:
    *folders, name = path.split("/")
    if _FOLDERS & {f.lower() for f in folders}:
        yield "deploy folder", 0
    elif _NAMES.fullmatch(name):
        yield "deploy bundle", 0
    elif path != LOCK and name not in _PACKAGE_LOCKS and _LOCKS.fullmatch(name):
        yield "lock file", 0
    elif _MANIFEST_FILE.fullmatch(name) and (line := _manifest(raw.decode("utf-8", "replace"))):
        yield "manifest", line


def _manifest(text: str) -> int:
    """The line of the first Kubernetes object; 0 without one."""
    start = 0
    for document in _DOCUMENT.split(text):
        version = _API_VERSION.search(document)
        if version is not None and _KIND.search(document) and not (version[1] or version[2]).startswith(_CATALOGUE):
            return text.count("\n", 0, text.index(document, start) + version.start()) + 1
        start = text.index(document, start) + len(document)
    return 0
