"""The texts of a lane's pull request and its commits, and the difference as a person reads it (pure).

Equal lanes give equal messages, since the commit's id depends on them: neither a time nor who started it is in them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from reconciler.lane.file_list import Difference
from state.git import CommitId
from state.oci import Digest

_ROWS_MAX_CHARS: Final = 20_000
"""Of each table: a forge takes 65,536 characters at least, and a text that it refuses would be refused each time."""
_NO_END: Final = str.maketrans("`|", "'/")


class Changed(NamedTuple):
    """One file of a difference, as it is shown."""

    path: str
    what: str
    """added, changed or removed."""
    lines: tuple[str, ...]
    """As a unified diff."""


def changed(difference: Difference, there: Mapping[str, bytes]) -> tuple[Changed, ...]:
    """Every file that differs, in order of path."""
    return tuple(_changed(path, there.get(path), raw) for path, raw in difference.files.items())


def _changed(path: str, before: bytes | None, after: bytes | None) -> Changed:
    what = "added" if before is None else "removed" if after is None else "changed"
    old, new = ((raw or b"").decode(errors="replace").splitlines() for raw in (before, after))
    lines = difflib.unified_diff(old, new, path, path, lineterm="")
    return Changed(path, what, tuple(lines))


def title(lane: str, files: tuple[Changed, ...]) -> str:
    """One line: whose lane, and how many files are added, changed and removed."""
    counts = [(word, sum(f.what == word for f in files)) for word in ("added", "changed", "removed")]
    return f"Preview lane of {lane}: {', '.join(f'{count} {word}' for word, count in counts if count)}"


def commit_message(lane: str, files: tuple[Changed, ...], content: Digest) -> str:
    return f"{title(lane, files)}\n\nLane: {lane}\nContent: {content}\n"


def body(files: tuple[Changed, ...], difference: Difference, content: Digest, by: str, log_tip: CommitId | None) -> str:
    """What is changed, who started it, and how to check it. `log_tip` is an anchor outside of our power."""
    return "\n".join(_body(files, difference, content, by, log_tip)) + "\n"


def _body(
    files: tuple[Changed, ...], difference: Difference, content: Digest, by: str, log_tip: CommitId | None
) -> Iterator[str]:
    yield "The preview lane as `ameide gitops render` writes it from the configuration."
    yield ""
    yield "| file | |"
    yield "|---|---|"
    yield from _fitting([f"| `{f.path.translate(_NO_END)}` | {f.what} |" for f in files])
    if difference.edited:
        yield ""
        yield "Not rendered any more, but edited by hand, so they stay:"
        yield ""
        yield from _fitting([f"- `{path.translate(_NO_END)}`" for path in difference.edited])
    yield ""
    yield f"- started by `{by.translate(_NO_END)}`"
    yield f"- content `{content}`"
    if log_tip is not None:
        yield f"- operator's log `{log_tip}`"
    yield "- to check: `ameide gitops render --config FILE --check DIR` on this branch"
    yield ""
    yield "No other file is changed. A commit of yours on this branch makes it yours; closing it is a no that stays."


def _fitting(rows: Sequence[str]) -> Iterator[str]:
    """As many as there is room for, and how many are left out."""
    room = _ROWS_MAX_CHARS
    for number, row in enumerate(rows):
        room -= len(row) + 1
        if room < 0:
            yield ""
            yield f"and {len(rows) - number} more"
            return
        yield row
