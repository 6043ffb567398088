"""`ameide reconciler explain`: the causal chain of a cell, from the log, in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.cli import main
from state.git import CommitId
from state.hold import REMEDY, Reason
from tests.fixtures.shop import DOCS, Shop, changes, open_shop

Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, dict[str, CommitId]]]:
    """#1 all retagged, #2 orders built, #3 billing awaited, #4 a fork; explaining changes none of it."""
    with open_shop(tmp_path_factory.mktemp("explained")) as shop:
        heads = {"docs": shop.opens("docs", DOCS)[1], "orders": shop.opens("orders", changes("orders"))[1]}
        heads["built"] = shop.world.ci_builds("orders", heads["orders"])  # type: ignore[assignment]
        shop.opens("billing", changes("billing"))
        shop.opens("fork", DOCS, head_repository_id=4242)
        with shop.reconciler() as running:
            running.until_quiet()
        yield shop, heads


@pytest.fixture
def explain(told: tuple[Shop, dict[str, CommitId]], capsys: pytest.CaptureFixture[str]) -> Explain:
    def run(pr: int, component: str, *more: str) -> tuple[int, str, str]:
        arguments = ["--config", str(told[0].config), "--pr", str(pr), "--component", component, *more]
        with pytest.raises(SystemExit) as ended:
            main(["reconciler", "explain", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def steps(out: str) -> list[tuple[str, str]]:
    made: dict[str, Any] = json.loads(out)
    return [(step["kind"], step["text"]) for step in made["steps"]]


def test_a_retagged_cell_is_explained_from_observation_to_outcome(
    told: tuple[Shop, dict[str, CommitId]], explain: Explain
) -> None:
    shop, heads = told
    code, out, _ = explain(1, "web", "--json")
    digest, base = shop.main("web"), shop.world.tip(shop.code)
    assert code == 0
    (seen, _), (chosen, decided), (meant, intended), (done, wrote) = steps(out)
    assert (seen, chosen, meant, done) == ("observation", "decision", "intent", "outcome")
    assert decided.startswith(f"decided to retag {digest}: inputs-equal against {base[:12]}; policy sha256:")
    assert intended == f"about to write {shop.host}/shop/web:{heads['docs']} = {digest}"
    assert wrote == f"written and confirmed by the registry: {digest}, unproven"
    assert json.loads(out)["remedy"] is None


def test_a_built_cell_is_explained_by_its_decision_and_the_adoption(
    told: tuple[Shop, dict[str, CommitId]], explain: Explain
) -> None:
    shop, heads = told
    _, out, _ = explain(2, "orders-dispatcher", "--json")
    assert [kind for kind, _ in steps(out)] == ["observation", "decision", "outcome"]
    decided, adopted = (text for _, text in steps(out)[1:])
    assert decided.startswith(
        f"decided to wait for CI's build of this head: inputs-differ (primitives/domain/orders) against "
        f"{shop.world.tip(shop.code)[:12]}"
    )
    assert adopted == f"found in place and adopted: {heads['built']}, unproven"


def test_the_entries_of_a_chain_are_in_the_log_under_their_ids(
    told: tuple[Shop, dict[str, CommitId]], explain: Explain
) -> None:
    shop, _ = told
    _, out, _ = explain(1, "web", "--json")
    in_log = {e.id: e.entry.kind.value for e in shop.entries()}
    assert [in_log[s["entry"]] for s in json.loads(out)["steps"]] == ["observation", "decision", "intent", "outcome"]


@pytest.mark.parametrize(
    ("pr", "component", "reason"),
    [(3, "billing", Reason.AWAITS_BUILD), (4, "orders", Reason.FORK_NOT_ADMITTED)],
)
def test_a_held_cell_comes_with_its_remedy(explain: Explain, pr: int, component: str, reason: Reason) -> None:
    code, out, _ = explain(pr, component)
    assert code == 0
    assert f"why     {reason.value}\n" in out
    assert f"remedy  {REMEDY[reason]}\n" in out
    assert json.loads(explain(pr, component, "--json")[1])["remedy"] == REMEDY[reason]


def test_the_chain_for_a_person_is_one_line_an_entry(explain: Explain) -> None:
    _, out, _ = explain(1, "web")
    assert out.startswith("#1 web at ")
    kinds = [line.split()[2] for line in out.splitlines() if line.startswith("  2")]
    assert kinds == ["observation", "decision", "intent", "outcome"]


@pytest.mark.parametrize(("pr", "component"), [(1, "mail"), (99, "web")])
def test_a_cell_that_does_not_exist_is_bad_input_and_the_known_ones_are_named(
    explain: Explain, pr: int, component: str
) -> None:
    code, out, err = explain(pr, component)
    assert (code, out) == (2, "")
    assert f"no cell #{pr} {component}: open are #1, #2, #3, #4; components are billing, catalog, orders" in err


def test_a_revived_head_is_still_explained(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    number, _ = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        shop.pulls.close(number)
        running.until_quiet()
        shop.pulls.reopen(number)
        running.until_quiet()
    arguments = ["--config", str(shop.config), "--pr", str(number), "--component", "web", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["reconciler", "explain", *arguments])
    assert ended.value.code == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["state"] == "retagged"
    assert {"decision"} <= {s["kind"] for s in explained["steps"]}
