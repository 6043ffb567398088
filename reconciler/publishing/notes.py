"""What a pull request is told of its publishing, one line a target (pure).

Only names of targets, digests, numbers and closed lists of words are in it: nothing that a pull request controls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from reconciler.approval.codes import MEANING, Code
from state.git import CommitId
from state.oci import Digest
from state.publishing import ProposalState, Publishing


class Note(NamedTuple):
    """`short` goes into the first line of a status, `line` below it."""

    short: str
    line: str


def notes(
    publishing: Publishing,
    targets: Iterable[str],
    at: tuple[int, CommitId],
    problems: Mapping[tuple[int, str], str],
    refused: Mapping[str, Code],
    *,
    holding: Collection[Digest],
) -> tuple[Note, ...]:
    """The notes of one pull request.

    Args:
        at: its number and head.
        problems: (pull request, target) → why there is no plan.
        refused: marker id → why it did not lead to a GitOps pull request.
        holding: the plans that hold now. Another one waits for nothing: an approval of it would be refused.
    """
    number = at[0]
    found = []
    for target in targets:
        if (number, target) in problems:
            text = "there is no plan for this head: see `plan_impossible` in the reconciler's log lines"
            found.append(Note(f"{target}: no plan", f"- `{target}`: {text}"))
        elif (note := _note(publishing, target, at, refused, holding)) is not None:
            found.append(note)
    return tuple(found)


def _note(
    publishing: Publishing,
    target: str,
    at: tuple[int, CommitId],
    refused: Mapping[str, Code],
    holding: Collection[Digest],
) -> Note | None:
    number, head = at
    digest = publishing.newest_plan.get((number, target))
    plan = publishing.plans.get(digest) if digest is not None else None
    if digest is None or plan is None or plan.head != head:
        return None
    standing = publishing.proposals.get(plan.branch)
    if standing is not None and standing.state is not ProposalState.DROPPED:
        shown = f"GitOps #{standing.change}" if standing.change is not None else "its GitOps pull request"
        return Note(f"{target}: {standing.state.value}", f"- `{target}`: {shown} is {standing.state.value}")
    if codes := [refused[m] for m in publishing.of_plan(digest) if m in refused]:
        code, meaning = codes[-1], MEANING[codes[-1]]
        text = f"approval refused (`{code.value}`): {meaning.text} To do: {meaning.remedy}."
        return Note(f"{target}: {code.value}", f"- `{target}`: {text}")
    if digest not in holding:
        return None
    text = f"plan `{digest}` waits for an approval: `ameide approval plan --pr {number} --target {target}`"
    return Note(f"{target}: not approved", f"- `{target}`: {text}")
