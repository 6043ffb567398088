"""Process death at every effect of a release: attaching evidence, then publishing the set. The next start finishes it.

Nothing is doubled: one summary for each digest and policy, one signature for each set, one tag, one outcome for each
intent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.demo.ci import publisher
from state.git import CommitId
from state.oci import Digest
from state.release_set import PREDICATE_TYPE
from state.statement import SLSA_PROVENANCE_V1, VERIFICATION_SUMMARY
from tests.faults.test_apply_crash import PREVIEWED, Process, every_intent_has_one_outcome
from tests.fixtures.proving import BRANCH, Proving, statements_of
from tests.fixtures.shop import Death, changes, open_shop
from tests.thorough import thorough

EFFECTS = frozenset({"log.append", "store.put_blob", "store.put_artifact", "store.put_manifest"})
RELEASING = ("store.put_blob", "store.put_artifact", "store.put_manifest")


class Scene(NamedTuple):
    number: int
    head: CommitId
    built: Digest


class Stage:
    """One shop whose baselines have all that they need, and one new head after another with one image of its own."""

    def __init__(self, proving: Proving) -> None:
        self.proving = proving
        self.shop = proving.shop
        self.shop.previews(*PREVIEWED)
        self.shop.configure(shop=proving.settings(), workers=1)
        proving.attests_mains()
        self._count = 0
        self._open: int | None = None

    def next(self) -> Scene:
        if self._open is not None:
            self.shop.pulls.close(self._open)
        self._count += 1
        self._open, head = self.shop.opens(f"orders-{self._count}", changes("orders", f"{self._count}\n"))
        built = self.shop.world.ci_builds("orders", head)
        self.proving.attests("orders", head, head, ref=BRANCH)
        return Scene(self._open, head, Digest(built))

    def dies(self, at: int | None) -> Process:
        process = Process(at, EFFECTS)
        try:
            with self.shop.reconciler(process.wrap) as running:
                running.until_quiet()
        except Death:
            assert process.dead
        return process

    def heals(self, scene: Scene) -> None:
        proving, shop = self.proving, self.shop
        with shop.reconciler() as running:
            running.until_quiet()
        found = proving.release(scene.head)
        assert found is not None
        digest, released = found
        assert released.digests()[shop.world.repository("orders")] == scene.built
        assert [s.predicate_type for s in statements_of(proving, "release-sets", digest)] == [PREDICATE_TYPE]
        rows = proving.referrers("orders", scene.built)
        types = [row["annotations"]["dev.sigstore.bundle.predicateType"] for row in rows]
        assert sorted(types) == [SLSA_PROVENANCE_V1, VERIFICATION_SUMMARY]
        assert shop.registry is not None
        puts = Counter(path for method, path, status in shop.registry.answered if (method, status) == ("PUT", 201))
        assert puts[f"/v2/shop/release-sets/manifests/{scene.head}"] == 1
        every_intent_has_one_outcome(shop)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with open_shop(tmp_path / "shop") as shop, publisher(shop.host) as ci:
        yield Stage(Proving(shop, ci))


def test_death_at_any_effect_of_a_release_is_healed_by_the_next_start_and_nothing_is_doubled(stage: Stage) -> None:
    first = stage.next()
    stage.dies(None)
    stage.heals(first)
    scene = stage.next()
    effects = [call for call in stage.dies(None).calls if call in EFFECTS]
    stage.heals(scene)
    assert {call: effects.count(call) for call in RELEASING} == {
        "store.put_blob": 6, "store.put_artifact": 2, "store.put_manifest": 1
    }  # fmt: skip
    each = range(1, len(effects) + 1)
    # By default once before each kind of effect, in the middle of those of its kind.
    middle = {kind: [at for at in each if effects[at - 1] == kind] for kind in EFFECTS}
    for at in each if thorough() else sorted(found[len(found) // 2] for found in middle.values()):
        scene = stage.next()
        assert stage.dies(at).dead, at
        stage.heals(scene)
    stage.shop.verified()
