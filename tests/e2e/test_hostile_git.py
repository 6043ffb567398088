"""Code repositories that are hostile or broken: what the matrix says, that nothing is written, and that it heals."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest

from reconciler.adapters.local_store import head_ref
from reconciler.cli import main
from reconciler.demo.world import COMPONENTS, MAIN
from reconciler.matrix import State
from state.entry import Kind
from state.errors import ReconcilerError
from state.git import CommitId, RefName
from tests.fixtures.registry_stub import Front, Stub, error
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, cells, refs, serving

HEAD_ONLY = ""
EVIL = "x\r\n\x1b[2J\x07\x9b31m\u202e\u2066\u200b[red]ok"
"""Ends a line, steers a terminal, and turns the direction of what follows."""


def git(shop: Shop) -> pygit2.Repository:
    return pygit2.Repository(str(shop.code))


def filled(shop: Shop, head: CommitId) -> bool:
    return shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}


def untouched(shop: Shop, head: CommitId) -> bool:
    return set(shop.tags(head).values()) == {None}


# --- names that strangers choose


@pytest.mark.parametrize("spoiled", ["the registry", "the catalogue", "the inventory"])
def test_what_strangers_wrote_reaches_no_screen_line_or_entry_unescaped(
    tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str], spoiled: str
) -> None:
    (tmp_path / "shop").mkdir()
    with serving(tmp_path / "registry") as upstream:
        front = Front(stub, upstream.host)
        shop = Shop(tmp_path / "shop", front.host)
        branch = "evil\u202e\u2066\u200bname"
        _, head = shop.opens(branch, DOCS, title=EVIL, body=EVIL, labels=[EVIL], head_branch=RefName.branch(branch))
        elsewhere = RefName.branch("main\u202e")
        git(shop).references.create(elsewhere, shop.world.tip(shop.code))
        shop.pulls.open(head, elsewhere, title=EVIL, labels=[EVIL])
        quoted = json.dumps(EVIL)
        match spoiled:
            case "the registry":
                front.fault = lambda _: error(400, EVIL, EVIL)
            case "the catalogue":
                shop.commits_to_main(
                    {"ameide.yaml": f"version: {quoted}\nimages: {{orders: {{inputs: [{quoted}]}}}}\n"}
                )
            case _:
                shop.commits_to_main({"ameide/inventory.yaml": f"version: {quoted}\n"}, shop.world.gitops)
        with shop.reconciler() as running:
            running.one_pass()
            told = running.lines.getvalue().splitlines(keepends=True)
            assert running.events("pass_problem")
        config = ("--config", str(shop.config))
        for arguments in (
            ("reconciler", "plan", *config),
            ("reconciler", "plan", *config, "--json"),
            ("reconciler", "once", *config),
            ("reconciler", "once", *config, "--json"),
            ("reconciler", "explain", *config, "--pr", "1", "--component", "orders"),
            ("reconciler", "explain", *config, "--pr", "2", "--component", "orders"),
            ("reconciler", "explain", *config, "--pr", "3", "--component", EVIL),
            ("reconciler", "plan", *config, "--repo", EVIL),
            ("local", "pr", "list", "--repo", str(shop.code)),
            ("local", "pr", "list", "--repo", str(shop.code), "--json"),
            ("log", "show", str(shop.log)),
            ("log", "show", str(shop.log), "--json"),
            ("log", "verify", str(shop.log)),
        ):
            with pytest.raises(SystemExit):
                main(list(arguments))
            out, err = capsys.readouterr()
            assert out + err
            told += re.split(r"(?<=\n)", out + err)
        assert [line for line in told if not line.removesuffix("\n").isprintable()] == []
        assert not [line for line in told if line.startswith(("[red]ok", "ok"))]
        assert not [e for e in shop.entries() if "\u202e" in json.dumps(e.entry.body, ensure_ascii=False)]


# --- histories


def test_a_head_without_any_common_history_is_all_changed_and_waits_for_its_builds(shop: Shop) -> None:
    orphan = shop.world.commit(shop.code, RefName.branch("orphan"), None, DOCS, "no parent")
    number = shop.pulls.open(orphan, MAIN).record.number
    with shop.reconciler() as running:
        assert {c.reason for c in cells(running.until_quiet(), number).values()} == {"awaits-build"}
        assert untouched(shop, orphan)
        for image in IMAGE_NAMES:
            shop.world.ci_builds(image, orphan)
        report = running.until_quiet(number)
    assert {c.state for c in cells(report, number).values()} == {State.BUILT}


def test_a_repository_without_its_base_branch_holds_and_goes_on_when_it_is_back(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    tip = shop.world.tip(shop.code)
    git(shop).references.delete(MAIN)
    with shop.reconciler() as running:
        report = running.one_pass()
        assert cells(report, number)[HEAD_ONLY].state is State.HELD
        assert any("the base branch main does not exist" in e["error"] for e in running.events("pass_problem"))
        assert untouched(shop, head)
        git(shop).references.create(MAIN, tip)
        assert running.until_quiet().converged
    assert filled(shop, head)


def test_an_empty_repository_is_a_quiet_one(shop: Shop) -> None:
    repository = git(shop)
    for name in list(repository.references):
        if name.startswith("refs/heads/"):
            repository.references.delete(name)
    with shop.reconciler() as running:
        report = running.one_pass()
    assert (report.cells, report.plan.actions, report.complete) == ((), (), True)


def test_a_base_branch_that_was_rewritten_changes_no_decision_and_new_heads_go_by_the_new_one(shop: Shop) -> None:
    old, old_head = shop.opens("old", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        before = [e.id for e in shop.entries(Kind.DECISION)]
        # The same tree without the history: the old head has no merge base with it any more.
        repository = git(shop)
        tree = repository[shop.world.tip(shop.code)].peel(pygit2.Tree)
        who = pygit2.Signature("Dev", "dev@example.org", 1_800_000_000, 0)
        root = repository.create_commit(None, who, who, "rewritten", tree.id, [])
        repository.references.create(MAIN, root, force=True)
        new, new_head = shop.opens("new", {"README.md": "newer\n"})
        with shop.requests_made() as made:
            report = running.until_quiet()
        assert {c.state for c in cells(report, old).values()} == {State.RETAGGED}
        assert {c.state for c in cells(report, new).values()} == {State.RETAGGED}
        assert [e.id for e in shop.entries(Kind.DECISION)][:1] == before
        assert not [path for method, path, _ in made if method == "PUT" and old_head in path]
    assert filled(shop, old_head)
    assert filled(shop, new_head)
    shop.verified()


def test_a_head_that_was_pushed_away_and_back_is_decided_once(shop: Shop) -> None:
    number, first = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        repository = git(shop)
        who = pygit2.Signature("Dev", "dev@example.org", 1_800_000_000, 0)
        tree = repository[first].peel(pygit2.Tree)
        base = shop.world.tip(shop.code)
        second = CommitId(str(repository.create_commit(None, who, who, "amended", tree.id, [base])))
        shop.pulls.push(number, second)
        assert running.until_quiet().converged
        shop.pulls.push(number, first)
        with shop.requests_made() as made:
            report = running.until_quiet()
        assert {c.head for c in report.cells} == {first}
        assert report.converged
        assert not [method for method, _, _ in made if method == "PUT"]
    decided = [e.entry.body["head"] for e in shop.entries(Kind.DECISION)]
    assert decided == [first, second]
    shop.verified()


def test_a_commit_that_exists_only_in_a_fork_is_not_taken_for_a_head(shop: Shop) -> None:
    """Fork networks share objects, so that it exists proves nothing; here the pull request's ref does not have it."""
    number, head = shop.opens("docs", DOCS)
    fork = pygit2.init_repository(str(shop.root / "fork.git"), bare=True)
    who = pygit2.Signature("Stranger", "s@example.org", 1_800_000_000, 0)
    theirs = str(fork.create_commit("refs/heads/x", who, who, "theirs", fork.TreeBuilder().write(), []))
    (shop.code / head_ref(number)).write_text(theirs + "\n")
    with shop.reconciler() as running:
        report = running.one_pass()
        assert not [c for c in report.cells if c.state is not State.HELD]
        assert report.plan.actions == ()
        (shop.code / head_ref(number)).write_text(head + "\n")
        assert running.until_quiet().converged
    assert not [e for e in shop.entries(Kind.DECISION) if e.entry.body["head"] == theirs]


def test_an_admitted_looking_record_with_the_head_of_a_fork_stays_held(shop: Shop) -> None:
    number, head = shop.opens("fork", DOCS)
    shop.pulls.store.edit(number, lambda record: replace(record, head_repository_id=None))
    with shop.reconciler() as running:
        report = running.until_quiet()
    assert cells(report, number)[HEAD_ONLY].reason == "fork-not-admitted"
    assert untouched(shop, head)


# --- size and reach


def test_a_commit_of_ten_thousand_files_is_compared_and_filled(shop: Shop) -> None:
    number, head = shop.opens("many", {f"docs/{n % 100}/{n}.md": "same\n" for n in range(10_000)})
    other, _ = shop.opens("inside", {f"primitives/domain/orders/{n % 100}/{n}.go": "same\n" for n in range(10_000)})
    with shop.reconciler() as running:
        report = running.until_quiet()
    assert {c.state for c in cells(report, number).values()} == {State.RETAGGED}
    assert filled(shop, head)
    assert {n for n, c in cells(report, other).items() if c.reason == "awaits-build"} == {
        component for component, image in COMPONENTS.items() if image == "orders"
    }
    assert max(len(json.dumps(e.entry.body)) for e in shop.entries()) < 100_000


@pytest.mark.parametrize("what", ["code", "gitops"])
def test_a_repository_that_goes_away_while_it_runs_holds_everything_and_heals(shop: Shop, what: str) -> None:
    path = shop.code if what == "code" else shop.world.gitops
    old, _ = shop.opens("old", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        number, head = shop.opens("new", {"README.md": "newer\n"})
        away = path.rename(path.with_suffix(".away"))
        before = refs(shop.log)
        if what == "code":
            with pytest.raises(ReconcilerError, match=r"shop\.git"):
                running.one_pass()
            assert refs(shop.log) == before
        else:
            report = running.one_pass()
            assert {c.state for c in cells(report, old).values()} == {State.RETAGGED}
            assert cells(report, number)[HEAD_ONLY].reason == "inventory-unknown"
        assert untouched(shop, head)
        away.rename(path)
        assert running.until_quiet().converged
    assert filled(shop, head)


def test_submodules_of_a_head_are_never_fetched_or_run(shop: Shop) -> None:
    trap = shop.root / "sprung"
    modules = (
        f'[submodule "a"]\n\tpath = primitives/domain/orders/lib\n\turl = ext::sh -c "touch {trap}"\n'
        f"\tupdate = !touch {trap}\n"
        f'[submodule "../../hooks"]\n\tpath = .git/hooks\n\turl = --upload-pack=touch {trap}\n'
    )
    _, plain = shop.opens("docs", {".gitmodules": modules})
    repository = git(shop)
    index = pygit2.Index()
    index.read_tree(repository[plain].peel(pygit2.Tree))
    index.add(pygit2.IndexEntry("primitives/domain/orders/lib", pygit2.Oid(hex="1" * 40), pygit2.enums.FileMode.COMMIT))
    who = pygit2.Signature("Dev", "dev@example.org", 1_800_000_000, 0)
    head = str(repository.create_commit(None, who, who, "trap", index.write_tree(repository), [plain]))
    number = shop.pulls.open(CommitId(head), MAIN).record.number
    with shop.reconciler() as running:
        rows = cells(running.until_quiet(), number)
    assert rows["orders"].reason == "awaits-build"
    assert rows["web"].state is State.RETAGGED
    assert not trap.exists()
