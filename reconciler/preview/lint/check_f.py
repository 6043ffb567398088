"""Rules F: which image a preview runs, and nothing else decides it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import Lane, Set, Shape
from reconciler.preview.lint.reference import GUARD, Use
from reconciler.preview.manifests import Manifest, Path_, listing, mapping, texts

_HEAD: Final = r"\{\{-?\s*\.?head_sha\s*-?\}\}"
_NAME: Final = r"(?:[A-Za-z0-9._/:-]|\{\{-?\s*\.[a-z_]+\s*-?\}\})+"
_REFERENCE: Final = re.compile(rf"{_NAME}:{_HEAD}")
_CHOICE: Final = re.compile(
    r'\{\{-?\s*if has "[^"]+" \.labels\s*-?\}\}(?P<head>.*?)\{\{-?\s*else\s*-?\}\}(?P<base>.*?)\{\{-?\s*end\s*-?\}\}'
)
_PINNED: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_ASIDE: Final = ("pullPolicy", "repository")
_UPDATER: Final = "argocd-image-updater.argoproj.io/"


def f1(lane: Lane) -> Iterator[Hit]:
    for s in lane.workload_sets:
        for place, r in s.references:
            if r.use is Use.FIELD and r.parameter.startswith("head_short"):
                yield hit(s.manifest, place, f"{r.name} is no full commit id")
        for shape in s.shapes:
            for place, name, value in _images(s):
                if problem := _problem(name, value, shape):
                    yield hit(s.manifest, place, problem)


def _images(s: Set) -> Iterator[tuple[Path_, str, str]]:
    for place, source in s.sources():
        for n, p in enumerate(listing(mapping(source.get("helm")).get("parameters"))):
            name = str(mapping(p).get("name", ""))
            if re.search(r"(^|\.)(image|tag)(\.|$)", name, re.IGNORECASE) and not name.endswith(_ASIDE):
                yield (*place, "helm", "parameters", n), name, str(mapping(p).get("value", ""))
        for n, image in enumerate(listing(mapping(source.get("kustomize")).get("images"))):
            yield (*place, "kustomize", "images", n), "image", str(image)


def _problem(name: str, value: str, shape: Shape) -> str:
    bare = GUARD.sub("", value)
    choice = _CHOICE.fullmatch(bare)
    if choice is not None:
        keys = re.findall(r"\{\{-?\s*\.([a-z_]+)\s*-?\}\}", choice["base"])
        bases = [str(e.get(k)) for k in keys for _, e in shape.elements if k in e] if keys else [choice["base"]]
        unpinned = [b for b in bases if not _PINNED.fullmatch(b)]
        if unpinned:
            return f"the baseline {unpinned[0]} is not pinned by digest"
        bare = choice["head"]
    if name.endswith("tag") and re.fullmatch(_HEAD, bare):
        return ""
    if _REFERENCE.fullmatch(bare.rpartition("=")[2]) or _PINNED.fullmatch(bare):
        return ""
    return f"{name} is {value}: expected <repository>:{{{{ .head_sha }}}} or a digest"


def f2(lane: Lane) -> Iterator[Hit]:
    for m, place, spec in lane.pods():
        for group in ("initContainers", "containers", "ephemeralContainers"):
            for n, container in enumerate(listing(spec.get(group))):
                image = str(mapping(container).get("image", ""))
                if image and "{{" not in image and not _PINNED.fullmatch(image):
                    yield hit(m, (*place, group, n, "image"), f"{image} is not pinned by digest")
        for n, volume in enumerate(listing(spec.get("volumes"))):
            image = str(mapping(mapping(volume).get("image")).get("reference", ""))
            if image and "{{" not in image and not _PINNED.fullmatch(image):
                yield hit(m, (*place, "volumes", n, "image"), f"{image} is not pinned by digest")


def f3(lane: Lane) -> Iterator[Hit]:
    inventory = next((m for m in lane.manifests if _is_inventory(m)), None)
    if inventory is None:
        lane.unjudged["F3"] = "no inventory (version: 1, components: …) is in the tree"
        return
    components = mapping(inventory.at("components"))
    previewed = {name for name, value in components.items() if mapping(value).get("previewed") is True}
    shown: dict[str, tuple[Manifest, Path_]] = {}
    for s in lane.workload_sets:
        for shape in s.shapes:
            for place, element in shape.elements:
                if isinstance(name := element.get("component") or element.get("name"), str):
                    shown[name] = (s.manifest, place)
    if not shown:
        return
    for name in sorted(shown.keys() - previewed):
        yield hit(*shown[name], f"the component {name} is not previewed by {inventory.file}: its image never comes")
    for name in sorted(previewed - shown.keys()):
        yield hit(inventory, ("components", name), f"the component {name} is previewed, and the lane does not show it")


def _is_inventory(m: Manifest) -> bool:
    values = mapping(m.at("components")).values()
    return m.at("version") == 1 and not m.kind and any("previewed" in mapping(v) for v in values)


def f4(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, noted in s.given("metadata", "annotations"):
            for key in mapping(noted):
                if key.startswith(_UPDATER):
                    yield hit(s.manifest, (*place, key), "the image updater races the lane")
        for place, source in s.sources():
            for path, text in texts(source):
                if re.search(r"(\.lock|lock\.(json|ya?ml))$", text):
                    yield hit(
                        s.manifest, (*place, *path), f"{text} is a lock file: the image comes from the head alone"
                    )
                if path[-1:] == ("value",) and text == "Always":
                    yield hit(s.manifest, (*place, *path), "imagePullPolicy Always beside an immutable reference")
    for m, place, spec in lane.pods():
        for n, container in enumerate(listing(spec.get("containers"))):
            own: Mapping[str, Any] = mapping(container)
            if own.get("imagePullPolicy") == "Always" and "@sha256:" in str(own.get("image")):
                yield hit(m, (*place, "containers", n, "imagePullPolicy"), "Always, with a digest")


def f5(lane: Lane) -> Iterator[Hit]:
    if lane.observed is None:
        lane.unjudged["F5"] = "--observed names no file with what registries hold"
        return
    images = _components(lane)
    for head in lane.observed.heads:
        where = f"pull request {head.number} at {head.head_sha}"
        for image, (m, place) in sorted(images.items()):
            seen = head.images.get(image)
            if seen is None or seen.tag is None:
                yield hit(m, place, f"{where}: {image}:{head.head_sha[:12]}… is missing")
            elif seen.recorded is None or seen.tag != seen.recorded:
                yield hit(m, place, f"{where}: {image} is {seen.tag}, recorded is {seen.recorded or 'nothing'}")


def _components(lane: Lane) -> dict[str, tuple[Manifest, Path_]]:
    return {
        str(element["image"]): (s.manifest, place)
        for s in lane.workload_sets
        for shape in s.shapes
        for place, element in shape.elements
        if element.get("image")
    }


def g2(lane: Lane) -> Iterator[Hit]:
    if lane.observed is None:
        lane.unjudged["G2"] = "--observed names no file with what is attached to the images"
        return
    images = _components(lane)
    for head in lane.observed.heads:
        for image, seen in sorted(head.images.items()):
            missing = [n for n in ("signature", "provenance", "sbom") if not getattr(seen, n)]
            if missing and image in images and seen.tag is not None:
                told = f"pull request {head.number}: {image}@{seen.tag} has no {', '.join(missing)}"
                yield hit(*images[image], told)
