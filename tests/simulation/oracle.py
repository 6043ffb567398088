"""What each cell of the matrix must be when the world rests, by the truth of the world.

From the log it takes only what was pinned, which the checker has judged when it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reconciler.matrix import Cell, State
from reconciler.ports import Purpose
from state.observed import BaselinePolicy
from state.oci import Digest, Repository
from state.verdict import Outcome
from tests.simulation.check import Checker
from tests.simulation.content import COMPONENTS, repository
from tests.simulation.told import Chain, admitted
from tests.simulation.world import HOLD, MAIN, RELEASE, REPOSITORY_ID, Pr, World

Expected = tuple[str, Digest | None, str]
"""State, digest, reason; `a or b` where the world allows two reasons."""

WHOLE = ""
"""Stands for the component where the whole pull request is held."""


def differences(world: World, check: Checker, cells: Iterable[Cell]) -> list[str]:
    """What the matrix says otherwise than it should, in words."""
    cells = [c for c in cells if not c.of_release_set]
    shown = {(c.pr, c.component or WHOLE): (c.state.value, c.digest, c.reason) for c in cells}
    expected = dict(_expected(world, check))
    wrong = [
        f"#{key[0]} {key[1]}: is {shown.get(key)}, should be {expected.get(key)}"
        for key in sorted({*shown, *expected})
        if not _agree(shown.get(key), expected.get(key))
    ]
    for cell in cells:
        if cell.state in (State.RETAGGED, State.BUILT) and cell.image is not None:
            here = (cell.image, cell.head)
            if world.registry.now(*here) != cell.digest and world.registry.any_tag(cell.image):
                wrong.append(f"{here}: shown as {cell.digest}, the tag is {world.registry.now(*here)}")
            if check.recorded.get(here, (None,))[0] != cell.digest:
                wrong.append(f"{here}: shown as {cell.digest}, recorded is {check.recorded.get(here)}")
    return wrong


def needless(
    cells: Iterable[Cell], asked: Iterable[tuple[Repository, str]], judged: Collection[Repository]
) -> list[tuple[Repository, str]]:
    """Registry calls for which no cell has a reason, and no approval: the facts in `judged` are read anew for those."""
    reasons = {*judged, *(c.image for c in cells if c.state not in (State.RETAGGED, State.BUILT))}
    return [call for call in asked if call[0] not in reasons]


def _agree(shown: Expected | None, expected: Expected | None) -> bool:
    if shown is None or expected is None:
        return shown is expected
    return shown[:2] == expected[:2] and shown[2] in expected[2].split(" or ")


def _expected(world: World, check: Checker) -> Iterable[tuple[tuple[int, str], Expected]]:
    for pr in world.open_prs():
        twins = [p for p in world.open_prs() if p.head == pr.head and admitted(p.seen())]
        if pr.fork != REPOSITORY_ID:
            yield (pr.number, WHOLE), ("held", None, "fork-not-admitted")
        elif pr.base not in (MAIN, RELEASE):
            yield (pr.number, WHOLE), ("held", None, "base-not-previewed")
        elif any(HOLD in p.labels for p in twins):
            yield (pr.number, WHOLE), ("held", None, "hold-label")
        elif not world.previewed:
            yield (pr.number, WHOLE), ("not-previewed", None, "not-previewed")
        else:
            catalogue = world.code.commits[world.tips[pr.base]].images
            for component in world.previewed:
                if COMPONENTS.get(component) in catalogue:
                    yield (pr.number, component), _cell(world, check, pr, twins, COMPONENTS[component])
                else:
                    yield (pr.number, component), ("held", None, "component-unknown")


def _cell(world: World, check: Checker, pr: Pr, twins: list[Pr], image: str) -> Expected:
    at = repository(image)
    there = world.registry.now(at, pr.head)
    breached = check.quarantined.get(pr.head, {})
    recorded = check.recorded.get((at, pr.head))
    expected = _open_cell(world, check, pr, twins, image)
    if expected[2] == "decision-mismatch":
        return expected
    if at in breached:
        found = breached[at][1]
        return ("held", found, "tag-lost" if found is None else "tag-conflict")
    # A repository that is empty now looks like one that may not be read: nobody can tell that its tag is gone.
    if recorded is not None and there != recorded[0] and world.registry.any_tag(at):
        return ("held", there, "must have been found by the sweep")
    if recorded is not None:
        return (recorded[1], recorded[0], "inputs-unchanged" if recorded[1] == "retagged" else "inputs-changed")
    if breached and expected[0] in ("missing", "retagged", "built"):
        return ("held", None, "quarantined")
    return expected


def _open_cell(world: World, check: Checker, pr: Pr, twins: list[Pr], image: str) -> Expected:
    """A cell whose tag the log does not record."""
    at = repository(image)
    chain = check.chains.get(pr.head, Chain())
    do, pinned, _ = chain.images.get(at, ("unresolved", None, ""))
    there = world.registry.now(at, pr.head)
    if do == "await-build":
        if there is None:
            # An empty repository and one that may not be read look alike.
            empty = not world.registry.any_tag(at)
            return ("waiting", None, "tag-unknown" if empty else "awaits-build")
        if check.verdict(Purpose.PULL_REQUEST, there, pr.head) is Outcome.REFUSED:
            return ("held", there, "build-refused")
        return ("built", there, "inputs-changed")
    if do == "unresolved":
        return ("held", None, _undecided(world, check, pr, twins, image))
    new = {world.tips[p.base] for p in twins if p.base not in chain.pinned_bases}
    if any(image in world.code.commits[tip].images and world.code.changed(tip, pr.head, image) for tip in new):
        return ("held", None, "decision-mismatch")
    if there is None:
        return ("missing", pinned, "must have been filled")
    if there == pinned or check.verdict(Purpose.BASELINE, there, None) is Outcome.ACCEPTED:
        return ("retagged", there, "inputs-unchanged")
    return ("held", there, "found-unproven")


def _undecided(world: World, check: Checker, pr: Pr, twins: list[Pr], image: str) -> str:
    """Why an unchanged image can have no decision. What was compared once is not compared again with later tips."""
    at = repository(image)
    compared = {base: tip for of, base, tip in check.chains.get(pr.head, Chain()).considered if of == at}
    tips = [compared.get(p.base, world.tips[p.base]) for p in twins]
    if any(image in world.code.commits[t].images and world.code.changed(t, pr.head, image) for t in tips):
        return "must have been decided: it is changed"
    if not world.registry.any_tag(at):
        return "baseline-unknown"
    main = world.registry.now(at, "main")
    if world.baseline is BaselinePolicy.FAITHFUL:
        return _unfaithful(world, check, pr, image)
    if main is None:
        return "baseline-missing"
    if check.verdict(Purpose.BASELINE, main, None) is Outcome.REFUSED:
        return "baseline-refused"
    return "must have been decided: it has a baseline"


def _unfaithful(world: World, check: Checker, pr: Pr, image: str) -> str:
    """From every comparison that may have been the one: no build of main with the head's inputs that is accepted."""
    at, reasons = repository(image), set()
    chain = check.chains.get(pr.head, Chain())
    for tip in {world.tips[pr.base], *(tip for of, _, tip in chain.considered if of == at)}:
        found = []
        for base in world.code.merge_bases(tip, pr.head)[:1]:
            for commit in world.code.first_parents(base):
                if world.code.fingerprint(commit, image) != world.code.fingerprint(pr.head, image):
                    break
                found.append(world.registry.now(at, commit))
        verdicts = {check.verdict(Purpose.BASELINE, digest, None) for digest in found if digest is not None}
        if not verdicts:
            reasons.add("no-faithful-baseline")
        elif verdicts == {Outcome.REFUSED}:
            reasons.add("baseline-refused")
    return " or ".join(sorted(reasons)) or "must have been decided: it has a faithful baseline"
