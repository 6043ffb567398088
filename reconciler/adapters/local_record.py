"""The record of one pull request of the forge `local`: its fields, and its strict codec.

A record is a git blob of canonical JSON behind `refs/ameide/pull/<number>`. The head is not in it: that is the commit
behind `refs/pull/<number>/head`. Labels, titles and bodies come from strangers; they are bounded here and escaped where
they are shown. Reading accepts exactly the bytes that writing makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from state import canonical
from state.canonical import Json
from state.errors import InvalidValue
from state.git import CommitId, RefName

FORMAT_VERSION: Final = 1
RECORD_MAX_BYTES: Final = 512 * 1024
NUMBER_MAX: Final = 2**31 - 1
ID_MAX: Final = 2**53 - 1
LABELS_MAX: Final = 100
LABEL_MAX_CHARS: Final = 100
TITLE_MAX_CHARS: Final = 256
BODY_MAX_CHARS: Final = 65_536

_REQUIRED: Final = frozenset({"author_id", "base", "draft", "head_repository_id", "labels", "number", "state", "v"})
_OPTIONAL: Final = frozenset({"body", "close_reason", "head_branch", "title"})
_PUSHED: Final = frozenset({"pushed_by", "pushed_head"})


class State(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a pull request, all but its head.

    `head_repository_id` is None where the fork was deleted. `head_branch` is the branch the pull request was opened
    from, in the head's repository. Making one checks every field and raises InvalidValue.
    """

    number: int
    state: State
    base: RefName
    author_id: int
    head_repository_id: int | None
    labels: tuple[str, ...] = ()
    draft: bool = False
    title: str = ""
    body: str = ""
    head_branch: RefName | None = None
    close_reason: str = ""
    pushed: tuple[CommitId, int] | None = None
    """A head and the id of who pushed it; says nothing of any other head."""

    def __post_init__(self) -> None:
        where = f"pull request {self.number}"
        _in_range(self.number, 1, NUMBER_MAX, f"{where}: number")
        _in_range(self.author_id, 1, ID_MAX, f"{where}: author_id")
        if self.head_repository_id is not None:
            _in_range(self.head_repository_id, 1, ID_MAX, f"{where}: head_repository_id")
        if self.pushed is not None:
            _in_range(self.pushed[1], 1, ID_MAX, f"{where}: pushed_by")
        for ref in (self.base, *([self.head_branch] if self.head_branch else [])):
            if not ref.startswith("refs/heads/"):
                raise InvalidValue(f"{where}: expected a branch (refs/heads/…), got {ref!r}")
        if self.labels != tuple(sorted(set(self.labels))) or len(self.labels) > LABELS_MAX:
            raise InvalidValue(f"{where}: expected at most {LABELS_MAX} labels, sorted, each once")
        for label in self.labels:
            if not 1 <= len(label) <= LABEL_MAX_CHARS:
                raise InvalidValue(f"{where}: a label has 1 to {LABEL_MAX_CHARS} characters, got {len(label)}")
        _at_most(self.title, TITLE_MAX_CHARS, f"{where}: title")
        _at_most(self.body, BODY_MAX_CHARS, f"{where}: body")
        _at_most(self.close_reason, BODY_MAX_CHARS, f"{where}: close_reason")

    def to_json(self) -> dict[str, Json]:
        """The fields as they are stored; empty optional ones are left out."""
        made: dict[str, Json] = {
            "author_id": self.author_id,
            "base": self.base,
            "draft": self.draft,
            "head_repository_id": self.head_repository_id,
            "labels": list(self.labels),
            "number": self.number,
            "state": self.state.value,
            "v": FORMAT_VERSION,
        }
        optional = {
            "title": self.title,
            "body": self.body,
            "head_branch": self.head_branch,
            "close_reason": self.close_reason,
        }
        made |= {key: text for key, text in optional.items() if text}
        if self.pushed is not None:
            made |= {"pushed_head": self.pushed[0], "pushed_by": self.pushed[1]}
        return made

    def encode(self) -> bytes:
        """The canonical bytes. Raises InvalidValue if they are more than RECORD_MAX_BYTES."""
        raw = canonical.dumps(self.to_json())
        if len(raw) > RECORD_MAX_BYTES:
            raise InvalidValue(f"pull request {self.number}: {len(raw)} bytes, at most {RECORD_MAX_BYTES} are kept")
        return raw


def decode(raw: bytes, number: int) -> Record:
    """Read a record back. Raises InvalidValue unless it is, byte for byte, what `encode` writes for `number`."""
    what = f"record of pull request {number}"
    value = canonical.loads(raw, what=what, max_bytes=RECORD_MAX_BYTES)
    if not isinstance(value, dict) or not _REQUIRED <= set(value) <= _REQUIRED | _OPTIONAL | _PUSHED:
        raise InvalidValue(f"{what}: not an object with exactly the keys of format version {FORMAT_VERSION}")
    if value["v"] != FORMAT_VERSION:
        raise InvalidValue(f"{what}: format version {value['v']!r:.40}, this program reads {FORMAT_VERSION}")
    read = canonical.reading(value, what)
    optional = {key: read.text(key) for key in sorted(_OPTIONAL & set(value))}
    try:
        state = State(read.text("state"))
    except ValueError as error:
        raise InvalidValue(f"{what}: expected a state of {', '.join(State)}, got {value['state']!r:.80}") from error
    made = Record(
        number=read.integer("number"),
        state=state,
        base=RefName(read.text("base")),
        author_id=read.integer("author_id"),
        head_repository_id=None if value["head_repository_id"] is None else read.integer("head_repository_id"),
        labels=tuple(read.texts("labels")),
        draft=read.flag("draft"),
        title=optional.get("title", ""),
        body=optional.get("body", ""),
        head_branch=RefName(optional["head_branch"]) if "head_branch" in optional else None,
        close_reason=optional.get("close_reason", ""),
        pushed=(CommitId(read.text("pushed_head")), read.integer("pushed_by")) if _PUSHED & set(value) else None,
    )
    if made.number != number:
        raise InvalidValue(f"{what}: it says that it is number {made.number}")
    if made.encode() != raw:
        raise InvalidValue(f"{what}: not in canonical form")
    return made


def _in_range(value: int, low: int, high: int, what: str) -> None:
    if not low <= value <= high:
        raise InvalidValue(f"{what}: expected {low} to {high}, got {value}")


def _at_most(text: str, chars: int, what: str) -> None:
    if len(text) > chars:
        raise InvalidValue(f"{what}: at most {chars} characters, got {len(text)}")
