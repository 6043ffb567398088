"""Worlds of the commands that write beside the reconciler, to kill them in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from reconciler.adapters.local_record import State
from state.entry import Kind, Logged
from state.log_verify import verify
from tests.faults.forks import Forks, Ran
from tests.fixtures.janitor import Bench
from tests.fixtures.kubernetes_api import not_targeted, run_simulation
from tests.fixtures.lane_shop import LaneShop
from tests.fixtures.shop import DOCS, IMAGE_NAMES, open_shop
from tests.fixtures.tag_yard import OPERATOR, WEEK_S, Yard

NAMESPACES = (7, 8, 9)

Run = Callable[..., Ran]
World = Callable[[Path], Run]


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }


def each_intent_has_one_outcome(entries: Iterable[Logged]) -> None:
    found = list(entries)
    intents = [str(e.id) for e in found if e.entry.kind is Kind.INTENT]
    outcomes = [e.entry.body["intent"] for e in found if e.entry.kind is Kind.OUTCOME]
    assert Counter(o for o in outcomes if o is not None) == Counter(intents)


def _runs(forks: Forks, root: Path, arguments: list[str], check: Callable[[], None]) -> Run:
    def run(**kill: int) -> Ran:
        ran = forks.run(arguments, root, **kill)
        if not kill:
            assert ran.code == 0, f"it ended with {ran.code}: {forks.said()}"
            check()
            assert not list(root.rglob("*.lock")), "lock files were left behind"
        return ran

    return run


def proposing(forks: Forks) -> World:
    """`gitops propose` of a lane that takes the place of an open one."""

    def world(root: Path) -> Run:
        root.mkdir(parents=True)
        shop = LaneShop(root)
        shop.run()
        shop.configure(base_services=["postgres"])

        def check() -> None:
            # A number may be lost to a kill, a pull request not.
            assert [r.state for r in shop.records() if r.head_branch is not None] == [State.CLOSED, State.OPEN]
            ours = [r for r in shop.git.references if r.startswith("refs/heads/ameide/")]
            assert len(ours) == 2
            each_intent_has_one_outcome(shop.entries())
            assert shop.verified()

        return _runs(forks, root, ["gitops", "propose", "--config", str(shop.config)], check)

    return world


def deleting_namespaces(forks: Forks, stack: ExitStack, *, one: int = len(NAMESPACES)) -> World:
    """`janitor run --once` with `one` namespaces due."""

    def world(root: Path) -> Run:
        root.mkdir(parents=True)
        cluster = stack.enter_context(run_simulation())
        assert cluster.simulated is not None
        cluster.simulated.admission = not_targeted(cluster.simulated)
        cluster.hands.application("shop", "shop-dev")
        bench = Bench(root, cluster)
        bench.marked(*NAMESPACES[:one])

        def check() -> None:
            assert sorted(bench.simulated.deletes) == [f"pr-{n}" for n in NAMESPACES[:one]], "each exactly once"
            each_intent_has_one_outcome(bench.entries())
            assert bench.verified()

        return _runs(forks, root, ["janitor", "run", "--once", "--config", str(bench.config())], check)

    return world


def removing_tags(forks: Forks, stack: ExitStack) -> World:
    """`tags gc --apply` with the tags of one closed pull request due."""

    def world(root: Path) -> Run:
        shop = stack.enter_context(open_shop(root))
        yard = Yard.of(shop)
        _, head = yard.closes("words", DOCS)
        yard.clock.skew_s = -WEEK_S - 60  # the program itself goes by the real time
        yard.run()
        mains = {image: shop.main(image) for image in IMAGE_NAMES}

        def check() -> None:
            assert set(shop.tags(head).values()) == {None}
            assert {image: shop.main(image) for image in IMAGE_NAMES} == mains
            each_intent_has_one_outcome(yard.entries())
            assert verify(shop.root / "remote.git", OPERATOR, allowed_signers_file=shop.allowed_signers).clean

        return _runs(forks, shop.root, ["tags", "gc", "--apply", "--config", str(shop.config)], check)

    return world
