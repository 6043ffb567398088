"""What passes make of pull requests, catalogues and registries that change under them: the state of the world after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from reconciler.demo.world import COMPONENTS, MAIN
from reconciler.matrix import State
from state.entry import Kind, Logged
from state.git import CommitId
from state.oci import Digest, Manifest, Repository, Tag
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Ports, Running, Shop, cells, changes

HEAD_ONLY = ""
"""The row of a head that is held as a whole."""


class Before:
    """A log that lets something happen right before the first entry of a kind: between plan and write."""

    def __init__(self, log: Any, kind: Kind, happens: Callable[[], None]) -> None:
        self._log = log
        self._kind = kind
        self._happens: Callable[[], None] | None = happens

    def append(self, kind: Kind, body: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None) -> Logged:
        if kind is self._kind and self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        made: Logged = self._log.append(kind, body, blobs)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@contextmanager
def reconciler_when(shop: Shop, kind: Kind, happens: Callable[[], None]) -> Iterator[Running]:
    def wrap(ports: Ports) -> Ports:
        return Ports(ports.sources, ports.writer, Before(ports.log, kind, happens))

    with shop.reconciler(wrap) as running:
        yield running


def nothing_written(shop: Shop, head: CommitId) -> bool:
    return set(shop.tags(head).values()) == {None}


def decided(shop: Shop, head: CommitId) -> dict[str, list[str]]:
    """Image → what each decision entry of the head says of it, in order."""
    found: dict[str, list[str]] = {}
    for logged in shop.entries(Kind.DECISION):
        if logged.entry.body["head"] == head:
            for row in logged.entry.body["images"]:  # type: ignore[union-attr]
                found.setdefault(row["repository"].rpartition("/")[2], []).append(row["do"])  # type: ignore[index, call-overload, union-attr]
    return found


# --- how far it may go


def test_observe_mode_writes_no_tag_and_pins_nothing_and_fill_then_does(shop: Shop) -> None:
    shop.configure(mode="observe")
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        with shop.requests_made() as made:
            report = running.until_quiet()
        assert {method for method, _, _ in made} <= {"GET", "HEAD"}
        assert {c.state for c in cells(report, number).values()} == {State.PLANNED}
        assert {c.reason for c in cells(report, number).values()} == {"observe-mode"}
        assert not shop.entries(Kind.DECISION, Kind.INTENT, Kind.OUTCOME)
        shop.configure(mode="fill")
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}


def test_a_suspended_repository_is_looked_at_and_left_alone(shop: Shop) -> None:
    shop.configure(shop={"suspend": True})
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, number)[HEAD_ONLY].reason == "suspended"
        assert nothing_written(shop, head)
        shop.configure(shop={"suspend": False})
        assert running.until_quiet().converged


def test_only_the_newest_pull_requests_are_cared_for_where_heads_are_limited(shop: Shop) -> None:
    shop.configure(shop={"max_heads": 1})
    old, old_head = shop.opens("old", DOCS)
    new, _ = shop.opens("new", {"README.md": "newer\n"})
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, old)[HEAD_ONLY].reason == "over-max-heads"
        assert {c.state for c in cells(report, new).values()} == {State.RETAGGED}
        assert nothing_written(shop, old_head)
        shop.pulls.close(new)
        assert {c.state for c in cells(running.until_quiet(), old).values()} == {State.RETAGGED}


def test_the_hourly_budget_bounds_writes_and_the_next_hour_allows_more(shop: Shop) -> None:
    shop.configure(shop={"max_writes_per_hour": 3})
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.one_pass()
        report = running.one_pass()
        assert sum(tag is not None for tag in shop.tags(head).values()) == 3
        assert [h.reason.value for h in report.plan.holds] == ["write-budget-spent"]
        running.clock.skew_s += 3601
        running.one_pass()
        assert {c.state for c in cells(running.one_pass(), number).values()} == {State.RETAGGED}


# --- the premise of a write, looked at again


def test_a_hold_label_set_between_plan_and_write_stops_the_write(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    with reconciler_when(shop, Kind.DECISION, lambda: void(shop.pulls.label(number, ["ameide/hold"]))) as running:
        running.one_pass()
        assert nothing_written(shop, head)
        assert {e["detail"] for e in running.events("action_dropped")} == {"the hold label was set"}
        assert cells(running.until_quiet(), number)[HEAD_ONLY].reason == "hold-label"
        shop.pulls.label(number, remove=["ameide/hold"])
        assert running.until_quiet().converged
    assert not [e for e in shop.entries(Kind.INTENT) if not e.entry.body["writes"]]
    shop.verified()


def test_a_labelled_pull_request_that_comes_to_a_head_between_plan_and_write_stops_its_write(shop: Shop) -> None:
    moving, _ = shop.opens("docs", DOCS)
    _, head = shop.opens("more", {"README.md": "more\n"})

    def arrives() -> None:
        shop.pulls.push(moving, head)
        shop.pulls.label(moving, ["ameide/hold"])

    with reconciler_when(shop, Kind.DECISION, arrives) as running:
        running.one_pass()
        assert nothing_written(shop, head)
        assert "the hold label was set" in {e["detail"] for e in running.events("action_dropped")}


def test_a_push_between_plan_and_write_leaves_the_old_head_without_tags(shop: Shop) -> None:
    number, old = shop.opens("docs", DOCS)
    new = shop.world.branch("docs", {"README.md": "newer\n"}, "newer")
    with reconciler_when(shop, Kind.DECISION, lambda: void(shop.pulls.push(number, new))) as running:
        running.one_pass()
        assert nothing_written(shop, old)
        assert running.until_quiet().converged
    assert shop.tags(new) == {image: shop.main(image) for image in IMAGE_NAMES}
    assert nothing_written(shop, old)


def test_a_tag_that_somebody_makes_between_plan_and_write_is_not_overwritten(shop: Shop) -> None:
    _, head = shop.opens("docs", DOCS)
    theirs: list[Digest] = []
    with reconciler_when(shop, Kind.DECISION, lambda: theirs.append(shop.world.ci_builds("orders", head))) as running:
        report = running.until_quiet()
        assert cells(report, 1)["orders"].reason == "found-unproven"
    assert shop.tags(head)["orders"] == theirs[0] != shop.main("orders")


def test_main_moving_between_decision_and_write_does_not_change_what_is_written(shop: Shop) -> None:
    _, head = shop.opens("docs", DOCS)
    before = shop.main("orders")
    moved = shop.commits_to_main(changes("orders", "on main\n"))
    with reconciler_when(
        shop, Kind.DECISION, lambda: void(shop.world.ci_builds("orders", moved, Tag("main")))
    ) as running:
        running.until_quiet()
    assert shop.tags(head)["orders"] == before != shop.main("orders")
    shop.verified()


# --- the life of a pull request


def test_a_closed_pull_request_ends_its_head_and_the_same_head_reopened_is_taken_up_as_it_was(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        shop.pulls.close(number)
        assert running.until_quiet().cells == ()
        assert [e.entry.body["head"] for e in shop.entries(Kind.TOMBSTONE)] == [head]
        shop.commits_to_main(changes("orders", "on main\n"))
        shop.world.ci_builds("orders", head, Tag("main"))
        shop.pulls.reopen(number)
        with shop.requests_made() as made:
            report = running.until_quiet()
        # Each tag is looked at once, since it was nobody's meanwhile; nothing else is asked, and nothing written.
        assert sorted(made) == sorted(("HEAD", f"/v2/shop/{i}/manifests/{head}", 200) for i in IMAGE_NAMES)
        assert report.converged
    # A fresh process reads the same from the log.
    with shop.reconciler() as again:
        with shop.requests_made() as made:
            assert again.until_quiet().cells == report.cells
        assert made == []
    assert len(shop.entries(Kind.DECISION)) == len(shop.entries(Kind.INTENT)) == 1
    shop.verified()


def test_two_pull_requests_at_one_head_are_one_decision_and_one_set_of_tags(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    second = shop.pulls.open(head, MAIN, head_branch=None).record.number
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert set(cells(report, number)) == set(cells(report, second)) == set(COMPONENTS)
        assert [e.entry.body["pull_requests"] for e in shop.entries(Kind.DECISION)] == [[number, second]]
        shop.pulls.close(number)
        assert running.until_quiet().converged
        assert not shop.entries(Kind.TOMBSTONE)


def test_a_fork_is_held_and_nothing_of_it_is_asked_or_written(shop: Shop) -> None:
    number, head = shop.opens("fork", DOCS, head_repository_id=4242)
    with shop.reconciler() as running:
        with shop.requests_made() as made:
            report = running.until_quiet()
        assert cells(report, number)[HEAD_ONLY].reason == "fork-not-admitted"
        assert made == []
    assert not shop.entries(Kind.DECISION)
    assert nothing_written(shop, head)


# --- catalogue and inventory


def test_a_component_that_is_previewed_later_is_decided_by_a_later_entry(shop: Shop) -> None:
    shop.previews("orders", "billing")
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        assert running.until_quiet().converged
        assert shop.tags(head)["web"] is None
        shop.previews("orders", "billing", "web")
        report = running.until_quiet()
        assert cells(report, number)["web"].state is State.RETAGGED
    assert decided(shop, head) == {
        "orders": ["retag"],
        "billing": ["retag"],
        "catalog": ["unresolved"],
        "web": ["unresolved", "retag"],
    }
    assert shop.tags(head)["web"] == shop.main("web")
    shop.verified()


def test_a_component_that_the_catalogue_gets_later_is_decided_by_a_later_entry(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    shop.previews(*COMPONENTS, "mail")
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, number)["mail"].reason == "component-unknown"
        assert all(c.state is State.RETAGGED for name, c in cells(report, number).items() if name != "mail")
        text = str(shop.world._catalogue())
        image = f"  mail:\n    repository: {shop.host}/shop/mail\n    inputs: [primitives/mail]\n"
        text = text.replace("images:\n", f"images:\n{image}    platforms: [linux/amd64]\n") + "  mail: mail\n"
        shop.commits_to_main({"ameide.yaml": text, "primitives/mail/main.txt": "mail\n"})
        shop.world.ci_builds("mail", head, Tag("main"))
        report = running.until_quiet()
    assert cells(report, number)["mail"].state is State.RETAGGED, cells(report, number)["mail"]
    assert shop.tag("mail", head) == shop.tag("mail", "main")
    shop.verified()


def test_a_broken_catalogue_holds_new_heads_and_leaves_decided_ones_as_they_are(shop: Shop) -> None:
    old, _ = shop.opens("old", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        shop.commits_to_main({"ameide.yaml": "images: [nonsense\n"})
        new, new_head = shop.opens("new", {"README.md": "newer\n"})
        report = running.until_quiet()
        assert cells(report, new)[HEAD_ONLY].reason == "catalogue-invalid"
        assert {c.state for c in cells(report, old).values()} == {State.RETAGGED}
        assert nothing_written(shop, new_head)
        assert any("ameide.yaml" in e["error"] for e in running.events("pass_problem"))


# --- baselines


def test_a_missing_baseline_is_held_and_filled_once_it_is_published(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    shop.world.ci_builds("orders", head, Tag("some-other-tag"))
    assert shop.registry is not None
    assert shop.registry.call("DELETE", "/v2/shop/orders/manifests/main").status_code == 202
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, number)["orders"].reason == "baseline-missing"
        published = shop.world.ci_builds("orders", head, Tag("main"))
        report = running.until_quiet()
        assert cells(report, number)["orders"].state is State.RETAGGED
    assert shop.tags(head)["orders"] == published
    assert decided(shop, head)["orders"] == ["unresolved", "retag"]


def test_a_repository_that_answers_404_to_everything_is_unknown_and_nothing_is_written(shop: Shop) -> None:
    number, head = shop.opens("orders", changes("orders"))
    with shop.reconciler(hiding("orders", "web")) as running:
        report = running.until_quiet()
    assert cells(report, number)["web"].reason == "baseline-unknown"
    assert cells(report, number)["orders"].reason == "tag-unknown"
    assert shop.tags(head) == {
        "billing": shop.main("billing"), "catalog": shop.main("catalog"), "orders": None, "web": None
    }  # fmt: skip
    with shop.reconciler() as running:
        report = running.until_quiet()
    assert shop.tags(head)["web"] == shop.main("web")
    assert cells(report, number)["orders"].reason == "awaits-build"


def test_a_foreign_tag_on_an_unchanged_image_is_held_and_never_overwritten(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    foreign = shop.world.ci_builds("orders", head)
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert cells(report, number)["orders"].reason == "found-unproven"
        assert cells(report, number)["orders"].digest == foreign
        with shop.requests_made() as made:
            running.until_quiet()
    assert not [method for method, _, _ in made if method == "PUT"]
    assert shop.tags(head)["orders"] == foreign


def test_a_tag_in_place_that_is_the_baseline_is_adopted_without_a_write(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    shop.world.ci_builds("orders", shop.world.tip(shop.code), Tag(head))  # the very bytes of :main
    with shop.reconciler() as running, shop.requests_made() as made:
        report = running.until_quiet()
    assert cells(report, number)["orders"].state is State.RETAGGED
    assert not [path for method, path, _ in made if method == "PUT" and "orders" in path]


def test_a_faithful_baseline_is_the_main_build_of_the_same_inputs(shop: Shop) -> None:
    shop.configure(shop={"baseline": "faithful"})
    start = shop.world.tip(shop.code)
    built = shop.world.ci_builds("orders", start)
    number, head = shop.opens("docs", DOCS)
    moved = shop.commits_to_main(changes("orders", "on main\n"))
    newer = shop.world.ci_builds("orders", moved, Tag("main"))
    with shop.reconciler() as running:
        report = running.until_quiet()
    rows = cells(report, number)
    assert (rows["orders"].state, rows["orders"].digest, rows["orders"].drift) == (State.RETAGGED, built, False)
    assert newer != built == shop.tags(head)["orders"]
    # No build of the branch point was ever published for this one, and :main alone is not taken instead.
    assert (rows["web"].state, rows["web"].reason) == (State.HELD, "no-faithful-baseline")
    assert shop.tags(head)["web"] is None


def test_an_image_retagged_from_a_main_that_has_moved_on_is_shown_as_drifted(shop: Shop) -> None:
    number, head = shop.opens("docs", DOCS)
    moved = shop.commits_to_main(changes("orders", "on main\n"))
    newer = shop.world.ci_builds("orders", moved, Tag("main"))
    with shop.reconciler() as running:
        rows = cells(running.until_quiet(), number)
    assert rows["orders"].drift
    assert not rows["billing"].drift
    assert shop.tags(head)["orders"] == newer


# --- helpers


def void(_: object) -> None:
    """For a lambda whose result does not matter."""


class Hidden:
    """A registry reader whose credential may not see some repositories: 404 to everything there."""

    def __init__(self, registry: Any, images: tuple[str, ...]) -> None:
        self._registry = registry
        self._images = images

    def _hides(self, repository: Repository) -> bool:
        return repository.path.rpartition("/")[2] in self._images

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        found: Digest | None = None if self._hides(repository) else self._registry.resolve(repository, tag)
        return found

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        found: Manifest | None = None if self._hides(repository) else self._registry.manifest(repository, reference)
        return found

    def tags(self, repository: Repository) -> Any:
        return None if self._hides(repository) else self._registry.tags(repository)


def hiding(*images: str) -> Callable[[Ports], Ports]:
    def wrap(ports: Ports) -> Ports:
        return Ports(replace(ports.sources, registry=Hidden(ports.sources.registry, images)), ports.writer, ports.log)

    return wrap
