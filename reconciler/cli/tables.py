"""What a person sees of a pass: the matrix, a plan, an explanation. Texts from outside are never markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.explain import Explanation
from reconciler.matrix import Cell, State
from state.hold import REMEDY, Reason
from state.oci import Digest
from state.plan import Adopt, EndHead, PinDecision, Plan, QuarantineHead, Release, ResolveDecision, Retag

_STYLES = {
    State.RETAGGED: "green",
    State.BUILT: "green",
    State.WAITING: "yellow",
    State.PLANNED: "cyan",
    State.HELD: "red",
    State.NOT_PREVIEWED: "dim",
}

_REMEDIED = (State.HELD, State.WAITING, State.NOT_PREVIEWED)
_PIPE_WIDTH = 120
_WITH_DIGESTS = 100
"""Below this width the matrix has no digests: `explain` has them, in full."""
_LEAST = {"component": 12, "why": 20}
"""Columns that are broken into lines where room is scarce, and how narrow they may become."""
_NARROWEST = 80
"""What the other columns need with these: rich would cut them, and a terminal breaks the line."""


def console(*, stderr: bool = False) -> Console:
    """A console for people; plain text of a fixed width where the output is not a terminal."""
    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def show_matrix(out: Console, cells: Sequence[Cell], title: str) -> None:
    """One row per pull request and component, then one remedy per reason that is in it.

    Numbers and reasons are never cut: on a terminal that is too narrow even so, lines go on in the next one.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    digests = ("digest",) if out.width >= _WITH_DIGESTS else ()
    for heading in ("PR", "head", "component", "state", *digests, "proof", "why"):
        least = _LEAST.get(heading)
        table.add_column(heading, no_wrap=least is None, min_width=least, overflow="fold")
    before = None
    for cell in cells:
        style = _STYLES[cell.state]
        first = cell.pr != before
        before = cell.pr
        table.add_row(
            f"#{cell.pr}" if first else "",
            cell.head.short if first else "",
            Text(cell.component or ("(release set)" if cell.of_release_set else "(all)")),
            Text(cell.state.value, style=style),
            *((cell.digest.hex[:12] if cell.digest is not None else "",) if digests else ()),
            Text(_proof(cell)),
            Text(_why(cell)),
        )
    shown, out.width = out.width, max(out.width, _NARROWEST)
    out.print(table, crop=False)
    out.width = shown
    if not cells:
        out.print("No pull request is open.")
    for reason in sorted({c.reason for c in cells if c.state in _REMEDIED}):
        if reason in set(Reason):
            out.print(Text.assemble((reason, "bold"), ": ", REMEDY[Reason(reason)]))


def _why(cell: Cell) -> str:
    if cell.recorded is not None:
        return f"{cell.reason}: recorded {cell.recorded.hex[:12]}, found {_short(cell.digest)}"
    if cell.detail:
        return f"{cell.reason}: {cell.detail}"
    return f"{cell.reason}, main has moved on" if cell.drift else cell.reason


def _short(digest: Digest | None) -> str:
    return digest.hex[:12] if digest is not None else "no tag"


def _proof(cell: Cell) -> str:
    if cell.state not in (State.RETAGGED, State.BUILT):
        return ""
    return "proven" if cell.proven else "unproven"


def show_plan(out: Console, plan: Plan) -> None:
    """The actions, then the holds counted by reason."""
    if plan.is_noop:
        out.print("Nothing to do.")
    for action in plan.actions:
        match action:
            case PinDecision(decision):
                line = f"decide   {decision.head.short}  for {_numbers(decision.pull_requests)}"
            case ResolveDecision(head, numbers, images):
                line = f"resolve  {head.short}  {len(images)} images for {_numbers(numbers)}"
            case Retag(repository, head, baseline, numbers):
                line = f"retag    {repository}:{head.short}…  from {baseline.short}  for {_numbers(numbers)}"
            case Adopt(repository, head, digest, how, numbers):
                line = f"adopt    {repository}:{head.short}…  {how.value} {digest.short}  for {_numbers(numbers)}"
            case QuarantineHead(head, breaches, numbers):
                line = f"stop     {head.short}  {len(breaches)} tags are not as recorded, for {_numbers(numbers)}"
            case Release(head, numbers):
                line = f"release  {head.short}  for {_numbers(numbers)}"
            case EndHead(head, numbers):
                line = f"end      {head.short}  of {_numbers(numbers)}"
        out.print(Text(line), soft_wrap=True)
    for reason, count in Counter(h.reason for h in plan.holds).most_common():
        out.print(Text(f"held     {count} × {reason.value}: {REMEDY[reason]}"), soft_wrap=True)


def show_explanation(out: Console, explanation: Explanation) -> None:
    """The cell in one line, then the chain of entries, then the remedy."""
    cell = explanation.cell
    where = f"#{cell.pr} {cell.component or '(all components)'}"
    out.print(
        Text.assemble((where, "bold"), f" at {cell.head}: ", (cell.state.value, _STYLES[cell.state])), soft_wrap=True
    )
    if cell.image is not None:
        out.print(Text(f"  image   {cell.image}:{cell.head}"), soft_wrap=True)
    if cell.digest is not None:
        out.print(Text(f"  digest  {cell.digest} {_proof(cell)}".rstrip()))
    if cell.recorded is not None:
        out.print(Text(f"  log     {cell.recorded}"))
    out.print(Text(f"  why     {_why(cell)}"), soft_wrap=True)
    if cell.release is not None:
        out.print(Text(f"  release {cell.release}"))
    for step in explanation.steps:
        out.print(Text(f"  {step.at}  {step.entry[:12]}  {step.kind.value:<11} {step.text}"), soft_wrap=True)
    if explanation.remedy is not None:
        out.print(Text(f"  remedy  {explanation.remedy}"), soft_wrap=True)


def _numbers(pull_requests: Sequence[int]) -> str:
    return ", ".join(f"#{n}" for n in pull_requests)
