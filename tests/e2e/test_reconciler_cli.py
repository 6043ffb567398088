"""`ameide reconciler once` and `plan`: what they print, what they leave alone, and their exit codes."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from reconciler.cli import main
from reconciler.demo.world import COMPONENTS
from state.entry import Kind
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, changes, refs, tree_bytes


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.out)
        return made

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


Ameide = Callable[..., Ran]


@pytest.fixture
def ameide(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Ameide:
    """`ameide reconciler …` with the shop's config file, in this process."""

    def run(verb: str, *arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["reconciler", verb, "--config", str(shop.config), *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)

    return run


def world(shop: Shop) -> tuple[object, ...]:
    """Everything that a reader must leave as it is."""
    log = tree_bytes(shop.log) if shop.log.exists() else None
    return log, tree_bytes(shop.root / "registry"), refs(shop.code), refs(shop.world.gitops)


# --- plan reads only


def test_plan_on_a_machine_without_key_or_log_shows_the_work_and_writes_nothing(shop: Shop, ameide: Ameide) -> None:
    _, head = shop.opens("docs", DOCS)
    (shop.root / "log-key").unlink()
    before = world(shop)
    with shop.requests_made() as made:
        ran = ameide("plan", "--json")
    assert ran.code == 1
    assert [a["action"] for a in ran.json["actions"]] == ["pin-decision", *["retag"] * len(IMAGE_NAMES)]
    assert {a["head"] for a in ran.json["actions"][1:]} == {head}
    assert set(ran.json) == {"actions", "holds", "planner_version"}
    assert {method for method, _, _ in made} == {"GET", "HEAD"}
    assert world(shop) == before
    assert not shop.log.exists()
    assert not (shop.root / "state" / "tips").exists()


def test_plan_beside_a_log_leaves_every_byte_of_it_and_takes_no_lock(shop: Shop, ameide: Ameide) -> None:
    shop.opens("docs", DOCS)
    assert ameide("once").code == 0
    shop.opens("orders", changes("orders"))
    (shop.root / "log-key").chmod(0)
    before = world(shop)
    with next(shop.log.glob("*.flock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as a running reconciler holds it
        ran = ameide("plan", "--json")
    assert ran.code == 1
    assert [a["action"] for a in ran.json["actions"]] == ["pin-decision", *["retag"] * (len(IMAGE_NAMES) - 1)]
    assert [h["reason"] for h in ran.json["holds"]] == ["awaits-build"]
    assert world(shop) == before


def test_plan_in_observe_mode_is_clean_and_says_what_would_be_done(shop: Shop, ameide: Ameide) -> None:
    shop.configure(mode="observe")
    shop.opens("docs", DOCS)
    ran = ameide("plan")
    assert ran.code == 0
    assert "Nothing to do." in ran.out
    assert f"{len(IMAGE_NAMES)} × observe-mode: set `mode: fill`" in ran.out


def test_plan_is_clean_once_everything_is_done(shop: Shop, ameide: Ameide) -> None:
    shop.opens("docs", DOCS)
    ameide("once")
    ran = ameide("plan", "--json")
    assert (ran.code, ran.json["actions"], ran.json["holds"]) == (0, [], [])


# --- once


def test_once_reports_a_converged_pass_as_one_line_of_json(shop: Shop, ameide: Ameide) -> None:
    number, head = shop.opens("docs", DOCS)
    ran = ameide("once", "--json")
    assert ran.code == 0
    assert ran.out.count("\n") == 1
    report = ran.json
    assert set(report) == {"complete", "converged", "matrix", "pass", "plan", "problems", "repository", "written"}
    assert (report["complete"], report["converged"], report["written"]) == (True, True, len(IMAGE_NAMES))
    rows = {row["component"]: row for row in report["matrix"]}
    assert set(rows) == set(COMPONENTS)
    assert rows["web"] == {
        "component": "web",
        "detail": "",
        "release": None,
        "digest": shop.main("web"),
        "drift": False,
        "recorded": None,
        "head_sha": head,
        "image": f"{shop.host}/shop/web",
        "pr": number,
        "proven": False,
        "reason": "inputs-unchanged",
        "state": "retagged",
    }
    assert "pass_finished" in {e["event"] for e in ran.events}


def test_once_says_by_its_exit_code_that_something_is_waited_for(shop: Shop, ameide: Ameide) -> None:
    _, head = shop.opens("orders", changes("orders"))
    ran = ameide("once")
    assert ran.code == 1
    assert "awaits-build: wait for CI to push this head's image" in ran.out
    shop.world.ci_builds("orders", head)
    assert ameide("once").code == 0


def test_once_is_not_clean_where_a_broken_catalogue_hides_what_is_to_be_done(shop: Shop, ameide: Ameide) -> None:
    shop.opens("docs", DOCS)
    assert ameide("once").code == 0
    shop.commits_to_main({"ameide.yaml": "images: [nonsense\n"})
    ran = ameide("once", "--json")
    assert ran.code == 1
    assert {row["state"] for row in ran.json["matrix"]} == {"retagged"}
    [problem] = ran.json["problems"]
    assert "ameide.yaml" in problem


def test_a_registry_that_does_not_answer_holds_new_heads_and_leaves_finished_ones(shop: Shop, ameide: Ameide) -> None:
    done, _ = shop.opens("docs", DOCS)
    waiting, _ = shop.opens("orders", changes("orders"))
    ameide("once")
    new, _ = shop.opens("new", {"README.md": "new\n"})
    assert shop.registry is not None
    shop.registry.stop()
    ran = ameide("once", "--json")
    assert ran.code == 1
    reasons = {(row["pr"], row["state"], row["reason"]) for row in ran.json["matrix"] if row["component"] == "orders"}
    assert reasons == {
        (done, "retagged", "inputs-unchanged"),
        (waiting, "waiting", "tag-unknown"),
        (new, "held", "baseline-unknown"),
    }
    assert ran.json["written"] == 0
    assert any(f"{shop.host}/shop/orders" in problem for problem in ran.json["problems"])
    ran = ameide("plan", "--json")
    assert (ran.code, ran.json["actions"]) == (1, [])
    assert f"{shop.host}/shop/orders" in ran.err
    # Nothing was written, so nothing but the decision is in the log.
    assert len(shop.entries(Kind.DECISION)) == 3
    shop.verified()


def test_an_unreachable_gitops_repository_holds_the_heads(shop: Shop, ameide: Ameide) -> None:
    number, _ = shop.opens("docs", DOCS)
    shop.world.gitops.rename(shop.root / "elsewhere.git")
    ran = ameide("once", "--json")
    assert ran.code == 1
    assert [(row["pr"], row["reason"]) for row in ran.json["matrix"]] == [(number, "inventory-unknown")]
    assert any("shop-gitops.git" in problem for problem in ran.json["problems"])


# --- exit codes 2 and 3: nothing was tried


@pytest.mark.parametrize("verb", ["once", "plan"])
def test_a_missing_code_repository_is_bad_input(shop: Shop, ameide: Ameide, verb: str) -> None:
    shop.code.rename(shop.root / "elsewhere.git")
    ran = ameide(verb, "--json")
    assert (ran.code, ran.out) == (2, "")
    assert str(shop.code) in ran.err
    assert not shop.log.exists()


def test_one_wrong_value_is_named_by_its_path_with_what_was_expected(shop: Shop, ameide: Ameide) -> None:
    shop.configure(shop={"max_heads": "many"})
    ran = ameide("once")
    assert (ran.code, ran.out) == (2, "")
    assert "repositories[0].max_heads" in ran.err
    assert "expected a whole number, got 'many'" in ran.err


def test_a_missing_key_keeps_once_from_starting(shop: Shop, ameide: Ameide) -> None:
    shop.opens("docs", DOCS)
    (shop.root / "log-key").unlink()
    ran = ameide("once")
    assert (ran.code, ran.out) == (2, "")
    assert str(shop.root / "log-key") in ran.err
    assert not shop.log.exists()


def test_a_log_that_another_process_writes_is_refused_by_name(shop: Shop, ameide: Ameide) -> None:
    with shop.reconciler():
        ran = ameide("once")
    assert (ran.code, ran.out) == (3, "")
    assert "another writer of this log is active on this machine (process " in ran.err


def test_an_unknown_repository_name_is_refused_with_the_known_ones(shop: Shop, ameide: Ameide) -> None:
    ran = ameide("plan", "--repo", "warehouse")
    assert (ran.code, ran.out) == (2, "")
    assert "no repository 'warehouse' in the configuration; there are: shop" in ran.err


def test_a_log_remote_that_does_not_answer_at_the_start_is_a_dependency_that_failed(shop: Shop, ameide: Ameide) -> None:
    shop.configure(shop={"log": {**shop.repository_settings["log"], "remote": str(shop.root / "nowhere.git")}})
    shop.opens("docs", DOCS)
    with shop.requests_made() as made:
        ran = ameide("once")
    assert (ran.code, ran.out) == (3, "")
    assert "nowhere.git" in ran.err
    assert made == []
