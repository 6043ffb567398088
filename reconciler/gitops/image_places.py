"""Every place of a YAML document that names an image, judged by the digest policy (pure).

What is looked at: `image` and `…Image` as text (pods, jobs, custom resources), `image` as a mapping with `ref`, with
`reference` (a pod's image volume) or with `repository`, `tag` and `digest` (charts), any mapping with `repository`
beside `tag` or `digest`, `ref` that holds an image, kustomize `images`, helm parameters of an Application, and
operations of a JSON patch on an `image`. Helm values, kustomize patches and a `templatePatch` that are written as a
text are read like the rest. `version`, `targetRevision`, `repoURL` and a `ref` that names a git revision are none of
them. A place below `enabled: false` may be empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.gitops.documents import FILE_MAX_BYTES, is_null, line, merged, read, text_of
from reconciler.gitops.references import Judged, Verdict, judge, judge_parts, split
from state.errors import ConfigError

_UNREADABLE: Final = "unreadable"
RULES: Final = {
    Verdict.EMPTY.value: "What is deployed names its image.",
    Verdict.NO_DIGEST.value: "Every image is pinned by digest.",
    Verdict.FLOATING_TAG.value: "A tag beside a digest is a commit or a version.",
    Verdict.MALFORMED.value: "An image is one literal reference.",
    _UNREADABLE: "Every YAML file can be read, so that its images can be checked.",
}
_REMEDIES: Final = {
    Verdict.EMPTY: "pin it as repository@sha256:…, or set enabled: false",
    Verdict.NO_DIGEST: "pin it as repository@sha256:… (a tag alone can be moved)",
    Verdict.FLOATING_TAG: "leave the tag out, or use a full commit or a version such as v1.2.3",
    Verdict.MALFORMED: "write one literal reference, repository@sha256:… with 64 hex digits",
}
_IMAGE_KEY: Final = re.compile(r"(?:[A-Za-z0-9_./-]*[a-z0-9])?Image")
_REFS: Final = frozenset({"ref", "reference"})
"""Keys below `image` that hold the whole of it."""
_PARAMETER: Final = re.compile(r"(?:.*\.)?image(?:\.ref)?")
_TAG_PARAMETER: Final = re.compile(r"(?:.*\.)?image\.tag")
_POINTERS: Final = ("/image", "/image/ref", "/image/reference")
_BINARY: Final = "tag:yaml.org,2002:binary"
_SOME_DIGEST: Final = "sha256:" + "0" * 64


class Found(NamedTuple):
    """One place that the policy forbids."""

    rule: str
    line: int
    what: str
    remedy: str


def findings(root: Node, *, in_set: bool = False) -> Iterator[Found]:
    """Every forbidden place once, in no order. What an alias leads to is judged under each name that it has.

    `in_set`: it is a text in an ApplicationSet, so `{{…}}` is filled in.
    """
    in_set = in_set or text_of(root, "kind") == "ApplicationSet"
    seen: set[tuple[int, str, bool, bool, bool]] = set()
    told: set[int] = set()
    waiting: list[tuple[Node, str, bool]] = [(root, "", True)]
    while waiting:
        node, at, enabled = waiting.pop()
        visit = id(node), at.rpartition(".")[2], enabled, _of_kustomize(at), _of_helm(at)
        if visit in seen:
            continue
        seen.add(visit)
        if isinstance(node, SequenceNode):
            waiting.extend((child, at, enabled) for child in node.value)
        if isinstance(node, ScalarNode) and id(node) not in told and _is_inner(at):
            told.add(id(node))
            yield from _inner(node, in_set)
        if not isinstance(node, MappingNode):
            continue
        enabled = enabled and not _disabled(node)
        for place, judged in _judged(node, at):
            templated = in_set and "{{" in str(getattr(place, "value", ""))
            empty = judged.verdict is Verdict.EMPTY and not enabled
            if judged.allowed or templated or empty or id(place) in told:
                continue
            told.add(id(place))
            yield Found(judged.verdict.value, line(place), judged.reason, _REMEDIES[judged.verdict])
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            waiting.append((value, f"{at}.{name}" if at else name, enabled))


def _is_inner(at: str) -> bool:
    """Whether a text here is YAML of its own: helm values, a patch of kustomize or of an ApplicationSet."""
    return at.endswith("helm.values") or at.rpartition(".")[2] in {"patch", "patchesStrategicMerge", "templatePatch"}


def _inner(node: ScalarNode, in_set: bool) -> Iterator[Found]:
    """What is found in such a text. In a block of lines its first line is the one after the node's."""
    text, before = _text(node), line(node) - (node.style not in {"|", ">"})
    try:
        roots = read(text.encode(), "", max_bytes=FILE_MAX_BYTES).roots
    except ConfigError as error:
        if not (in_set and "{{" in text):
            why = str(error).removeprefix(": ")
            yield Found(_UNREADABLE, line(node), why, "correct this text, so that its images can be checked")
        return
    for root in roots:
        for one in findings(root, in_set=in_set):
            yield one._replace(line=before + (one.line if node.style in {"|", ">"} else 1))


def _judged(node: MappingNode, at: str) -> Iterator[tuple[Node, Judged]]:
    """Each place of this mapping, and what the policy says of it."""
    own = {str(key.value): value for key, value in node.value if isinstance(key, ScalarNode)}
    keys = {str(key.value): key for key, _ in node.value}  # where nothing stands, its key has the line
    name = at.rpartition(".")[2]
    for key, value in own.items():
        whole = key == "image" or (key in _REFS and name == "image")
        if isinstance(value, SequenceNode) and whole:
            yield keys[key], Judged(Verdict.MALFORMED, "expected one image reference, got a list")
        if not isinstance(value, ScalarNode):
            continue
        text = _text(value)
        if whole:
            yield (value if text else keys[key]), judge(text)
        elif (_IMAGE_KEY.fullmatch(key) and _names_image(text)) or (key == "ref" and _names_image(text, of_git=True)):
            yield value, judge(text)
    for key_node, _ in node.value:
        if str(key_node.tag) == _BINARY:  # Go's parser decodes it, so it may be `image` there
            yield key_node, Judged(Verdict.MALFORMED, "a key in base64, which may name an image")
    yield from _parts(node, own, in_image=name == "image")
    if _of_kustomize(at):
        yield from _kustomized(own)
    if set(own) >= {"name", "value"} and _of_helm(at):
        parameter, value_text = _text(own["name"]), _text(own["value"])
        if _PARAMETER.fullmatch(parameter) or (_IMAGE_KEY.fullmatch(parameter) and _names_image(value_text)):
            yield own["value"], judge(value_text)
        elif _TAG_PARAMETER.fullmatch(parameter):  # its digest may be in a file of values
            yield own["value"], judge_parts(value_text, None if "@" in value_text else _SOME_DIGEST)
    operation = set(own) >= {"op", "path", "value"} and _text(own["path"]).endswith(_POINTERS)
    if operation and isinstance(own["value"], ScalarNode):
        yield own["value"], judge(_text(own["value"]))
    if name == "kustomize" and isinstance(images := own.get("images"), SequenceNode):
        for item in images.value:
            if isinstance(item, ScalarNode):
                yield item, judge(str(item.value).rpartition("=")[2])


def _of_kustomize(at: str) -> bool:
    return at == "images" or at.endswith("kustomize.images")


def _of_helm(at: str) -> bool:
    return "helm" in at.split(".")


def _parts(node: MappingNode, own: dict[str, Node], *, in_image: bool) -> Iterator[tuple[Node, Judged]]:
    """`repository`, `tag` and `digest` apart; a key that is merged in counts too."""
    known = {**{str(k.value): v for one in merged(node) for k, v in getattr(one, "value", ())}, **own}
    parts = {name: known[name] for name in ("tag", "digest", "repository") if name in known}
    if not parts or not all(isinstance(part, ScalarNode) for part in parts.values()):
        return
    if not in_image and ("repository" not in parts or len(parts) == 1):
        return
    repository, tag, digest = (_text(parts.get(name)) for name in ("repository", "tag", "digest"))
    place = next((part for part in parts.values() if _text(part)), parts.get("repository"))
    if place is None or "://" in repository or ("ref" in known and not tag and not digest):
        return  # no image, or one that is named by `ref` alone
    found = split(repository) if repository else None
    if repository and (found is None or found.tag or found.digest):
        yield place, judge(repository)
    elif not repository and not tag and not digest:
        yield place, judge("")
    else:
        yield place, judge_parts(tag, digest)


def _kustomized(own: dict[str, Node]) -> Iterator[tuple[Node, Judged]]:
    """An item of a kustomization's `images`; one that only renames leaves the digest as it is."""
    tag, digest = own.get("newTag"), own.get("digest")
    place = tag if tag is not None else digest
    if place is not None and "name" in own:
        yield place, judge_parts(_text(tag), _text(digest))


def _disabled(node: MappingNode) -> bool:
    return any(
        isinstance(key, ScalarNode) and key.value == "enabled" and isinstance(value, ScalarNode)
        and str(value.value).lower() == "false"
        for key, value in node.value
    )  # fmt: skip


def _names_image(text: str, *, of_git: bool = False) -> bool:
    """Whether a text under another key than `image` is one: `nginx:1` is, `static/a.png` and `nginx` may be anything.

    `of_git`: it may be a git revision as well, which has no host.
    """
    found = split(text)
    if found is None:
        return False
    tag, host = bool(found.tag), _host(found.repository)
    return bool(found.digest) or (host and tag if of_git else host or tag)


def _host(repository: str) -> bool:
    first, slash, _ = repository.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, ScalarNode) and not is_null(node) else ""
