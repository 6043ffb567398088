"""The texts of a GitOps pull request and its commits (pure).

They are made of checked values alone: nothing that a code pull request's author wrote is in them. Equal facts give
equal texts, since the commit's id depends on its message.
"""

from __future__ import annotations

from typing import Final

from state.git import CommitId
from state.pin_plan import PinPlan

TITLE_MAX_CHARS: Final = 120
_ROWS_MAX: Final = 200
_ROWS_MAX_CHARS: Final = 40_000
"""A forge takes 65,536 characters at least, approvals and approvers with it; a text that it refuses would be refused
each time."""
_NO_END: Final = str.maketrans("`|", "'/")


def commit_message(plan: PinPlan, approvals: tuple[str, ...], principals: tuple[str, ...]) -> str:
    """A subject line, then what the commit stands on as trailers."""
    lines = [
        title(plan),
        "",
        f"Target: {plan.target.name}",
        f"Head: {plan.head}",
        f"Release-Set: {plan.release_set}",
        f"Plan: {plan.digest()}",
        *(f"Approval: {marker}" for marker in approvals),
        *(f"Approved-By: {name}" for name in principals),
    ]
    return "\n".join(lines) + "\n"


def title(plan: PinPlan) -> str:
    """One line: how many images, from which head, to where."""
    count = len(plan.images())
    images = "1 image" if count == 1 else f"{count} images"
    return f"{plan.target.environment}: pin {images} of #{plan.pull_request} at {plan.head.short}"


def body(plan: PinPlan, approvals: tuple[str, ...], principals: tuple[str, ...], log_tip: CommitId | None) -> str:
    """What is pinned where, who approved it, and how to check that. `log_tip` is an anchor outside of our power."""
    rows = _rows(plan)
    more = len(plan.edits) - len(rows)
    lines = [
        f"Pins the images of pull request #{plan.pull_request} at `{plan.head}` in `{plan.target.environment}`.",
        "",
        "| file | key | image |",
        "|---|---|---|",
        *rows,
        *(["", f"and {more} more edits"] if more else []),
        "",
        f"- approved by {', '.join(principals)} (marker {', '.join(f'`{m}`' for m in approvals)})",
        f"- plan `{plan.digest()}`",
        f"- release set `{plan.release_set}`",
        *([f"- log `{log_tip}`"] if log_tip is not None else []),
        "",
        "Nothing else is changed. A commit of yours on this branch makes it yours; closing it is a no that stays.",
    ]
    return "\n".join(lines) + "\n"


def _rows(plan: PinPlan) -> list[str]:
    """As many as there is room for. What could end a cell or its code is written otherwise."""
    rows: list[str] = []
    room = _ROWS_MAX_CHARS
    for edit in plan.edits[:_ROWS_MAX]:
        row = " | ".join(f"`{text.translate(_NO_END)}`" for text in (edit.file, edit.key, edit.image))
        room -= len(row)
        if room < 0:
            break
        rows.append(f"| {row} |")
    return rows


def update_message(plan: PinPlan, base: CommitId) -> str:
    """Of the commit that brings a branch up to a base that it no longer merges into."""
    return f"{title(plan)}\n\nThe same edits on {base}.\n\nPlan: {plan.digest()}\n"
