"""Editing pins in place: the bytes outside the changed scalars stay as they are (pure).

Comments, order, quotes, anchors, line ends and a byte order mark are kept, since only the characters of the one scalar
are replaced. `reconciler.gitops.difference` checks the result without any of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from reconciler.gitops import references
from reconciler.gitops.documents import File, line, read
from reconciler.gitops.keys import Key
from reconciler.gitops.places import Finder, Place, Problem, sibling, tag_beside
from state.errors import ConfigError, InvalidValue
from state.pin_plan import Edit

_PARTS: Final = frozenset({"tag", "newTag", "newName", "repository", "registry"})


class Located(Protocol):
    """A place by name: an `Edit`, or a `Pin` of the inventory."""

    @property
    def file(self) -> str: ...

    @property
    def key(self) -> str: ...


def pinned(edit: Edit) -> str:
    """What the place of `edit` has to hold. Raises InvalidValue for a key that is none."""
    return edit.digest if Key.parse(edit.key).holds_digest else edit.image


def edited(files: Mapping[str, bytes], edits: Sequence[Edit]) -> dict[str, bytes]:
    """Every file of `files`, those with edits changed in the named scalars and nowhere else.

    A place that holds its image already is left alone. The order of `edits` does not matter.

    Raises ConfigError: `problems` lists every edit that cannot be made, with file, key and what is there.
    """
    problems: list[str] = []
    made = dict(files)
    for name in sorted({e.file for e in edits}):
        mine = [e for e in edits if e.file == name]
        file = _read(files, name, problems)
        if file is None:
            continue
        splices: dict[int, tuple[Place, str, str]] = {}
        finder = Finder(file)
        for edit in sorted(mine):
            try:
                place, value = _placed(finder, edit)
                if place.start in splices:
                    raise Problem(f"is the same place as {splices[place.start][2]}; name it once")
                splices[place.start] = place, value, edit.key
            except (Problem, InvalidValue) as error:
                problems.append(f"{name}: {edit.key}: {error}")
        made[name] = _spliced(file, [(place, value) for place, value, _ in splices.values()], files[name])
    _refuse("edits", problems)
    return made


def current(files: Mapping[str, bytes], places: Iterable[Located]) -> dict[tuple[str, str], str]:
    """(file, key) → the whole image reference that is there now, `repository@sha256:…`; empty where there is none.

    Raises ConfigError with every place that cannot be read.
    """
    problems: list[str] = []
    found: dict[tuple[str, str], str] = {}
    finders: dict[str, Finder | None] = {}
    for name, key in sorted({(p.file, p.key) for p in places}):
        if name not in finders:
            file = _read(files, name, problems)
            finders[name] = None if file is None else Finder(file)
        finder = finders[name]
        if finder is None:
            continue
        try:
            parsed = Key.parse(key)
            found[name, key] = finder.image(parsed, finder.find(parsed))
        except (Problem, InvalidValue) as error:
            problems.append(f"{name}: {key}: {error}")
    _refuse("pins", problems)
    return found


class Span(NamedTuple):
    """The bytes of one scalar in a file."""

    start: int
    end: int


def spans(raw: bytes, edits: Iterable[Edit], what: str) -> tuple[Span, ...]:
    """Where the places of `edits` are in a file's bytes, in order. Raises ConfigError."""
    file = read(raw, what)
    finder, problems, found = Finder(file), list[str](), set[Span]()
    for edit in edits:
        try:
            place = finder.find(Key.parse(edit.key))
        except (Problem, InvalidValue) as error:
            problems.append(f"{what}: {edit.key}: {error}")
        else:
            before = len(file.bom) + len(file.text[: place.start].encode())
            found.add(Span(before, before + len(file.text[place.start : place.end].encode())))
    _refuse(what, problems)
    return tuple(sorted(found))


def policy_problems(files: Mapping[str, bytes], edits: Iterable[Edit]) -> list[str]:
    """What the digest policy has against the files as they are at these places. Raises ConfigError."""
    problems: list[str] = []
    by_file: dict[str, Finder] = {}
    for edit in edits:
        if edit.file not in by_file:
            by_file[edit.file] = Finder(read(files[edit.file], edit.file))
        finder = by_file[edit.file]
        try:
            key = Key.parse(edit.key)
            place = finder.find(key)
            tag = tag_beside(place.mapping) if key.holds_digest else None
            judged = references.judge(finder.image(key, place))
            if judged.allowed and tag is not None:
                judged = references.judge_parts(tag, place.value)
        except (Problem, InvalidValue) as error:
            problems.append(f"{edit.file}: {edit.key}: {error}")
        else:
            if not judged.allowed:
                problems.append(f"{edit.file}: {edit.key}: {judged.reason}")
    return problems


def _placed(finder: Finder, edit: Edit) -> tuple[Place, str]:
    """The place of an edit and the value for it. Raises Problem or InvalidValue."""
    key = Key.parse(edit.key)
    place = finder.find(key)
    if (last := key.steps[-1].name) in _PARTS:
        raise Problem(f"{last} holds a part of a reference; name a place for the whole of it, or the digest beside it")
    if not key.holds_digest:
        return place, edit.image
    beside, at = sibling(place.mapping), line(place.mapping)
    if beside != edit.repository:
        raise Problem(
            f"expected {edit.repository} beside it, got {beside[:200]} on line {at}; correct it by hand first"
        )
    tag = tag_beside(place.mapping)
    judged = references.judge_parts(tag, edit.digest)
    if not judged.allowed:
        raise Problem(f"beside it on line {at}: {judged.reason}; take the tag away first")
    return place, edit.digest


def _spliced(file: File, splices: list[tuple[Place, str]], raw: bytes) -> bytes:
    text = file.text
    for place, value in sorted(splices, key=lambda one: one[0].start, reverse=True):
        if place.value != value:
            text = text[: place.start] + place.written(value) + text[place.end :]
    return raw if text == file.text else file.bom + text.encode()


def _read(files: Mapping[str, bytes], name: str, problems: list[str]) -> File | None:
    if name not in files:
        problems.append(f"{name}: expected a file with pins, got nothing; add it on the base branch")
        return None
    try:
        return read(files[name], name)
    except ConfigError as error:
        problems.append(str(error))
        return None


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise ConfigError(
            f"{what}: refused, {len(problems)} problem{'s' if len(problems) > 1 else ''}", tuple(problems)
        )
