"""What a pull request is told of its head: one state, and a text whose first line says it all (pure).

    12 of 14 ready · waiting for CI: orders, billing (8 min)

Then one remedy per reason, then a table. Nothing that a pull request controls is in it (no label, branch name, title or
author, and nothing that a verifier quotes from evidence): component names come from trusted refs, and are written so
that they can be neither markup nor a mention nor a link. Equal heads give equal texts, so that a status is written only
where something changed; waiting grows in steps for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.matrix import DONE, Cell, State
from reconciler.ports import StatusState
from reconciler.publishing.notes import Note
from state.hold import REMEDY, Reason
from state.oci import Digest

FIRST_LINE_MAX_CHARS: Final = 140
"""A commit status of GitHub holds no more. Source: docs.github.com/rest/commits/statuses."""
TEXT_MAX_BYTES: Final = 65_535
"""What a check run of GitHub holds, in characters; bytes are never fewer. Source: docs.github.com/rest/checks/runs."""
NAME_MAX_CHARS: Final = 80

_MINUTES: Final = (2, 4, 6, 8, 10, 20, 30, 40, 50, 60, 2 * 60, 3 * 60, 6 * 60, 12 * 60)
_DAY_MIN: Final = 24 * 60
_PASSING: Final = frozenset(
    {
        # These end by themselves, or when the author says that the work is ready: nothing has failed.
        Reason.BACKING_OFF.value,
        Reason.DRAFT.value,
        Reason.HOLD_LABEL.value,
        Reason.LABEL_MISSING.value,
        Reason.LISTING_INCOMPLETE.value,
        Reason.NOT_YET_READ.value,
        Reason.OBSERVE_MODE.value,
        Reason.SUSPENDED.value,
        Reason.TAG_SETTLING.value,
        Reason.WRITE_BUDGET_SPENT.value,
    }
)
_ORDER: Final = (State.HELD, State.WAITING, State.PLANNED, State.BUILT, State.RETAGGED, State.NOT_PREVIEWED)
"""Of the table: what somebody has to do something about comes first, and is cut last."""
_TABLE_HEAD: Final = "| component | state | digest | why |\n|---|---|---|---|"


def status(
    cells: Sequence[Cell],
    age_s: float | None = None,
    *,
    notes: Sequence[Note] = (),
    max_bytes: int = TEXT_MAX_BYTES,
) -> tuple[StatusState, str]:
    """The state and text of one head.

    Args:
        cells: the rows of one pull request, as `matrix.heads_of` gives them; at least one.
        age_s: seconds since the head was decided; None where it was not.
        notes: on its publishing, one for each target.
        max_bytes: of the text in UTF-8, at least FIRST_LINE_MAX_CHARS. A description that holds one line of 140 or 255
            characters takes the first line.

    Raises ValueError where there is no cell or `max_bytes` is less.
    """
    if not cells or max_bytes < FIRST_LINE_MAX_CHARS:
        raise ValueError(f"expected a cell and at least {FIRST_LINE_MAX_CHARS} bytes, got {len(cells)} and {max_bytes}")
    text = _with_shorts(_first_line(cells, age_s, max_bytes), notes, max_bytes)
    if notes:
        text = _cut(f"{text}\n", [note.line for note in notes], "\n\nand {} more targets", max_bytes) or text
    for add in (_with_remedies, _with_table):
        text = add(text, cells, max_bytes)
    return _state(cells), text


def waited(age_s: float) -> str:
    """In steps that grow: every two minutes up to ten, every ten up to an hour, some hours, days; empty before two."""
    minutes = int(age_s // 60)
    if minutes >= _DAY_MIN:
        return f"{minutes // _DAY_MIN} d"
    step = max((m for m in _MINUTES if m <= minutes), default=0)
    return f"{step // 60} h" if step >= 60 else f"{step} min" if step else ""


def _state(cells: Sequence[Cell]) -> StatusState:
    if all(c.state in DONE for c in cells):
        return StatusState.SUCCESS
    if any(c.state is State.HELD and c.reason not in _PASSING for c in cells):
        return StatusState.FAILURE
    return StatusState.PENDING


# --- the first line


def _first_line(cells: Sequence[Cell], age_s: float | None, max_bytes: int) -> str:
    named = [c for c in cells if c.component is not None]
    waiting = [plain(c.component) for c in named if c.state is State.WAITING and c.component is not None]
    held = sorted({c.reason for c in cells if c.state is State.HELD})
    ends = []
    if named and named[0].release is not None:
        ends.append("released")
    if any(not c.proven for c in named if c.state in (State.RETAGGED, State.BUILT)):
        ends.append("unproven")
    starts = []
    if named:
        starts.append(f"{sum(c.state in DONE for c in named)} of {len(named)} ready")
    elif not held:
        starts.append("nothing is previewed")
    since = waited(age_s) if age_s is not None else ""
    shown = [len(waiting), len(held)]
    while True:
        lists = []
        if waiting:
            listed = _listed(waiting, shown[0], "component")
            lists.append(f"waiting for CI: {listed}" + (f" ({since})" if since else ""))
        if held:
            lists.append("held: " + _listed(held, shown[1], "reason"))
        line = " · ".join((*starts, *lists, *ends))
        if (len(line) <= FIRST_LINE_MAX_CHARS and len(line.encode()) <= max_bytes) or shown == [0, 0]:
            return line
        # Fair: the list that takes more room gives up its last name.
        room = [sum(map(len, names[:n])) for names, n in zip((waiting, held), shown, strict=True)]
        shown[room.index(max(room))] -= 1


def _with_shorts(line: str, notes: Sequence[Note], max_bytes: int) -> str:
    """With what each target has to say, as far as it fits."""
    for note in notes:
        longer = f"{line} · {note.short}"
        if len(longer) > FIRST_LINE_MAX_CHARS or len(longer.encode()) > max_bytes:
            break
        line = longer
    return line


def _listed(names: Sequence[str], shown: int, noun: str) -> str:
    more = len(names) - shown
    if not more:
        return ", ".join(names)
    if not shown:
        return f"{more} {noun}{'s' if more > 1 else ''}"
    return f"{', '.join(names[:shown])} and {more} more"


# --- what follows it


def _with_remedies(text: str, cells: Sequence[Cell], max_bytes: int) -> str:
    reasons = sorted({c.reason for c in cells if c.state not in (State.BUILT, State.RETAGGED)} & set(Reason))
    lines = [f"- `{reason}`: {REMEDY[Reason(reason)]}" for reason in reasons]
    return _cut(f"{text}\n", lines, "\n\nand {} more reasons", max_bytes) or text


def _with_table(text: str, cells: Sequence[Cell], max_bytes: int) -> str:
    rows = [_row(c) for c in sorted(cells, key=lambda c: (_ORDER.index(c.state), c.component or "", c.image or ""))]
    return _cut(f"{text}\n\n{_TABLE_HEAD}", rows, "\n\nand {} more", max_bytes) or text


def _cut(before: str, lines: Sequence[str], more: str, max_bytes: int) -> str | None:
    """As many of the lines as fit below `before`, the others counted; None if not even one fits.

    `more` begins with an empty line: without it, a table would take it for a row.
    """
    if not lines:
        return None
    room = max_bytes - len(before.encode())
    sizes = [len(line.encode()) + 1 for line in lines]
    if sum(sizes) <= room:
        return "\n".join((before, *lines))
    fitting = 0
    left = room - len(more.format(len(lines)).encode())
    for size in sizes:
        left -= size
        if left < 0:
            break
        fitting += 1
    return "\n".join((before, *lines[:fitting])) + more.format(len(lines) - fitting) if fitting else None


def _row(cell: Cell) -> str:
    whole = "(release set)" if cell.of_release_set else "(all)"
    name = f"`{plain(cell.component)}`" if cell.component is not None else whole
    return f"| {name} | {cell.state.value} | {_digest(cell.digest)} | {_why(cell)} |"


def _digest(digest: Digest | None) -> str:
    return f"`{digest.hex[:12]}`" if digest is not None else ""


def _why(cell: Cell) -> str:
    # `detail` is left out: it may quote what a signer wrote into evidence.
    return " ".join(
        (cell.reason, *(["(main has moved on)"] if cell.drift else ()), *(["(unproven)"] if _unproven(cell) else ()))
    )


def _unproven(cell: Cell) -> bool:
    return cell.state in (State.RETAGGED, State.BUILT) and not cell.proven


def plain(name: str) -> str:
    """A name that is only itself in markdown, in a table, in a code span and as plain text.

    Catalogues hold names to a narrow grammar already; this is so that nothing depends on it. Whatever is no letter,
    digit or one of `._-/` becomes `?`, and so does the dot that would make `www.` a link.
    """
    kept = "".join(_characters(name[:NAME_MAX_CHARS]))
    return kept + ("…" if len(name) > NAME_MAX_CHARS else "")


def _characters(name: str) -> Iterator[str]:
    for n, character in enumerate(name):
        link = character == "." and name[max(0, n - 3) : n].lower() == "www"
        yield character if character.isascii() and (character.isalnum() or character in "._-/") and not link else "?"
