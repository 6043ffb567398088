"""What the janitor may delete, as laws over drawn clusters and as the cases that people fear."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.janitor.cluster import Application, Condition, Listing, Namespace
from reconciler.janitor.deciding import Act, Decision, Policy, Reason, Tombstone, decide
from reconciler.preview.names import MANAGED_BY, MANAGED_BY_PREVIEW, PR_LABEL
from tests.thorough import examples

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy("pr-", min_age_s=300, grace_s=900, max_deletes=5, max_share_percent=50, stuck_after_s=600)
LONG_AGO = NOW - timedelta(days=1)


def namespace(name: str = "pr-7", **changes: Any) -> Namespace:
    labels = {MANAGED_BY: MANAGED_BY_PREVIEW, PR_LABEL: name.removeprefix("pr-")}
    return replace(Namespace(name, f"uid-of-{name}", "100", LONG_AGO, labels, finalizers=("kubernetes",)), **changes)


def stone(of: Namespace, *, age_s: int = 900, **changes: Any) -> Tombstone:
    return Tombstone(of.name, of.uid, NOW - timedelta(seconds=age_s), "e" * 40)._replace(**changes)


def application(target: str = "pr-7", **changes: Any) -> Application:
    return replace(Application("argocd", f"app-of-{target}", "https://kubernetes.default.svc", "", target), **changes)


OTHER = application("shop-dev")


def decided(
    namespaces: list[Namespace],
    applications: list[Application] | None = None,
    stones: list[Tombstone] | None = None,
    policy: Policy = POLICY,
    now: datetime = NOW,
) -> Decision:
    found = [OTHER] if applications is None else applications
    return decide(Listing(tuple(namespaces)), Listing(tuple(found)), policy, now, stones or [])


def names(made: Decision, act: Act) -> list[str]:
    return [r.namespace.name for r in made.acts(act)]


def reasons(made: Decision) -> dict[str, str]:
    return {r.namespace.name: r.reason.value for r in made.rulings}


# --- drawn clusters

_NAMES = st.sampled_from(
    ["pr-1", "pr-2", "pr-3", "pr-10", "pr-01", "pr-0", "pr-1-x", "xpr-1", "PR-1", "pr-", "pr-1\n", "pr-1234567890"]
)
_SECONDS = st.sampled_from([0, 299, 300, 899, 900, 901, 86_400])


@st.composite
def _namespaces(draw: st.DrawFn) -> Namespace:
    name = draw(_NAMES)
    made = namespace(name, created_at=NOW - timedelta(seconds=draw(_SECONDS)), uid=draw(st.sampled_from("ab")))
    if draw(st.integers(0, 5)) == 0:
        made = replace(made, labels=draw(st.sampled_from([{}, {MANAGED_BY: "gitops"}, {**made.labels, PR_LABEL: "9"}])))
    if draw(st.integers(0, 5)) == 0:
        made = replace(made, phase="Terminating", deleting_since=NOW - timedelta(seconds=draw(_SECONDS)))
    return made


_APPLICATIONS = st.builds(
    lambda target, held, gone, n: application(
        target, name=f"app-{n}", resource_namespaces=frozenset(held), deleting_since=LONG_AGO if gone else None
    ),
    st.sampled_from(["", "pr-1", "pr-2", "pr-3", "shop-dev"]),
    st.sets(st.sampled_from(["pr-1", "pr-10", "argocd"]), max_size=2),
    st.booleans(),
    st.integers(0, 9),
)
_CLUSTERS = st.tuples(
    st.lists(_namespaces(), max_size=8, unique_by=lambda n: n.name),
    st.lists(_APPLICATIONS, max_size=4),
    st.lists(
        st.builds(
            lambda name, uid, age: Tombstone(name, uid, NOW - timedelta(seconds=age), "e" * 40),
            _NAMES,
            st.sampled_from("ab"),
            _SECONDS,
        ),
        max_size=8,
        unique_by=lambda t: t.name,
    ),
    st.builds(
        lambda most, share: replace(POLICY, max_deletes=most, max_share_percent=share),
        st.integers(1, 3),
        st.sampled_from([1, 34, 100]),
    ),
)
_Cluster = tuple[list[Namespace], list[Application], list[Tombstone], Policy]
_THREE = [namespace(f"pr-{n}", uid="a") for n in (1, 2, 3)]
_DUE: _Cluster = (_THREE, [], [stone(n, age_s=901) for n in _THREE], replace(POLICY, max_deletes=2))


@examples(200)
@given(_CLUSTERS)
@example(_DUE)
def test_what_is_deleted_has_exactly_the_name_and_the_labels_and_nothing_refers_to_it(cluster: _Cluster) -> None:
    found, applications, stones, policy = cluster
    for ruling in decided(found, applications, stones, policy).acts(Act.DELETE):
        deleted = ruling.namespace
        assert re.fullmatch("pr-[0-9]+", deleted.name)
        assert deleted.labels[MANAGED_BY] == MANAGED_BY_PREVIEW
        assert deleted.labels[PR_LABEL] == deleted.name[3:]
        assert not deleted.terminating
        assert not [a for a in applications if deleted.name in {a.target, *a.resource_namespaces}]
        assert (NOW - deleted.created_at).total_seconds() >= policy.min_age_s
        mine = [s for s in stones if (s.name, s.uid) == (deleted.name, deleted.uid)]
        assert [s for s in mine if (NOW - s.seen_at).total_seconds() >= policy.grace_s]


@examples(200)
@given(_CLUSTERS, _APPLICATIONS)
@example(_DUE, application("pr-1"))
@example(_DUE, OTHER)
def test_one_more_application_never_adds_a_deletion_or_a_mark(cluster: _Cluster, added: Application) -> None:
    found, applications, stones, policy = cluster
    before = decided(found, applications, stones, policy)
    after = decided(found, [*applications, added], stones, policy)
    assert set(names(after, Act.DELETE)) <= set(names(before, Act.DELETE))
    assert set(names(after, Act.BURY)) <= set(names(before, Act.BURY))


@examples(200)
@given(_CLUSTERS, st.randoms(use_true_random=False))
def test_the_order_of_what_was_read_does_not_count(cluster: _Cluster, random: Any) -> None:
    found, applications, stones, policy = cluster
    before = decided(found, applications, stones, policy)
    for items in (found, applications, stones):
        random.shuffle(items)
    assert decided(found, applications, stones, policy) == before


@examples(200)
@given(_CLUSTERS)
@example(_DUE)
def test_one_run_never_deletes_more_than_the_cap_and_the_share(cluster: _Cluster) -> None:
    found, applications, stones, policy = cluster
    count = len(decided(found, applications, stones, policy).acts(Act.DELETE))
    ours = [n for n in found if re.fullmatch("pr-[1-9][0-9]{0,8}", n.name) and n.labels.get(PR_LABEL) == n.name[3:]]
    assert count <= policy.max_deletes
    assert count <= max(1, len(ours) * policy.max_share_percent // 100)


@examples(200)
@given(_CLUSTERS, st.sampled_from([(False, True), (True, False), (False, False)]))
@example(_DUE, (True, False))
@example(_DUE, (False, True))
def test_nothing_is_done_on_an_incomplete_listing(cluster: _Cluster, whole: tuple[bool, bool]) -> None:
    found, applications, stones, policy = cluster
    made = decide(
        Listing(tuple(found), whole[0], "" if whole[0] else "cut short"),
        Listing(tuple(applications), whole[1], "" if whole[1] else "cut short"),
        policy,
        NOW,
        stones,
    )
    assert made.is_noop
    assert not made.complete
    assert "cut short" in made.why


@examples(200)
@given(_CLUSTERS)
def test_a_look_after_the_marks_were_put_up_marks_nothing_again(cluster: _Cluster) -> None:
    found, applications, stones, policy = cluster
    made = decided(found, applications, stones, policy)
    gone = {w.tombstone for w in made.withdrawn}
    new = [Tombstone(r.namespace.name, r.namespace.uid, NOW, "f" * 40) for r in made.acts(Act.BURY)]
    after = decided(found, applications, [s for s in stones if s not in gone] + new, policy)
    assert after.acts(Act.BURY) == after.withdrawn == ()
    # A mark that was taken down may have had a turn, which the next run gives to another one.
    assert set(names(made, Act.DELETE)) <= set(names(after, Act.DELETE))
    assert gone or names(after, Act.DELETE) == names(made, Act.DELETE)


# --- cases


def test_the_first_look_marks_and_the_second_deletes() -> None:
    seven = namespace()
    assert names(decided([seven]), Act.BURY) == ["pr-7"]
    made = decided([seven], stones=[stone(seven)])
    assert names(made, Act.DELETE) == ["pr-7"]
    assert made.acts(Act.BURY) == ()


def test_age_counts_from_creation_and_grace_from_the_mark() -> None:
    young = namespace(created_at=NOW - timedelta(seconds=299))
    assert reasons(decided([young])) == {"pr-7": "too-young"}
    assert names(decided([replace(young, created_at=NOW - timedelta(seconds=300))]), Act.BURY) == ["pr-7"]
    old = namespace()  # a day old: its age gives it no grace
    assert reasons(decided([old], stones=[stone(old, age_s=899)])) == {"pr-7": "in-grace"}
    assert names(decided([old], stones=[stone(old, age_s=900)]), Act.DELETE) == ["pr-7"]


def test_a_mark_from_the_future_is_not_old() -> None:
    seven = namespace()
    assert reasons(decided([seven], stones=[stone(seven, age_s=-3600)])) == {"pr-7": "in-grace"}


@pytest.mark.parametrize(
    "refers",
    [
        application(),
        application(namespace="team-a"),
        application(server="https://other.example"),
        application(server="", cluster="in-cluster"),
        application(deleting_since=LONG_AGO),
        application("argocd", resource_namespaces=frozenset({"pr-7"})),
    ],
    ids=["plain", "any-namespace", "another-server", "by-cluster-name", "being-deleted", "by-its-objects"],
)
def test_whatever_refers_to_a_namespace_keeps_it_and_takes_its_mark_down(refers: Application) -> None:
    seven = namespace()
    made = decided([seven], [OTHER, refers], [stone(seven)])
    assert reasons(made) == {"pr-7": "referenced"}
    assert [w.tombstone.name for w in made.withdrawn] == ["pr-7"]
    assert refers.name in made.rulings[0].why
    assert refers.name in made.withdrawn[0].why


def test_a_namespace_made_anew_starts_afresh() -> None:
    anew = namespace(uid="another")
    made = decided([anew], stones=[stone(namespace())])
    assert names(made, Act.BURY) == ["pr-7"]
    assert made.acts(Act.DELETE) == ()
    assert [w.why for w in made.withdrawn] == ["the namespace was made anew"]


def test_a_mark_of_a_namespace_that_is_gone_is_taken_down() -> None:
    assert [w.tombstone.name for w in decided([], stones=[stone(namespace())]).withdrawn] == ["pr-7"]


def test_a_terminating_namespace_is_left_alone_and_reported_with_what_blocks_it() -> None:
    ending = namespace(
        phase="Terminating",
        deleting_since=NOW - timedelta(seconds=600),
        finalizers=("foregroundDeletion", "kubernetes"),
        conditions=(
            Condition("NamespaceFinalizersRemaining", "example.org/hold in 1 resource instances"),
            Condition("Ready", "no matter"),
        ),
    )
    made = decided([ending], stones=[stone(ending)])
    assert made.acts(Act.DELETE) == made.acts(Act.BURY) == ()
    assert reasons(made) == {"pr-7": "stuck"}
    why = made.rulings[0].why
    assert "foregroundDeletion, kubernetes" in why
    assert "example.org/hold" in why
    assert "no matter" not in why
    young = replace(ending, deleting_since=NOW - timedelta(seconds=599))
    assert reasons(decided([young])) == {"pr-7": "terminating"}


@pytest.mark.parametrize("name", ["argocd", "kube-system", "preview-system", "pr-7-db", "pr-", "pr-007"])
def test_a_namespace_of_another_name_is_shown_only_if_it_bears_our_label(name: str) -> None:
    assert reasons(decided([namespace(name)])) == {name: "other-name"}
    assert reasons(decided([namespace(name, labels={})])) == {}


@pytest.mark.parametrize("labels", [{}, {MANAGED_BY: "gitops", PR_LABEL: "7"}, {MANAGED_BY: "preview", PR_LABEL: "8"}])
def test_a_namespace_named_like_ours_without_our_labels_is_reported(labels: dict[str, str]) -> None:
    seven = namespace(labels=labels)
    made = decided([seven], stones=[stone(seven)])
    assert reasons(made) == {"pr-7": "other-labels"}
    assert made.acts(Act.DELETE) == ()


def test_the_oldest_marks_come_first_and_the_rest_waits() -> None:
    found = [namespace(f"pr-{n}") for n in range(1, 11)]
    stones = [stone(n, age_s=1000 + i) for i, n in enumerate(found)]
    made = decided(found, stones=stones, policy=replace(POLICY, max_deletes=3, max_share_percent=100))
    assert names(made, Act.DELETE) == ["pr-8", "pr-9", "pr-10"]
    assert list(reasons(made).values()).count("over-the-cap") == 7
    shared = decided(found, stones=stones, policy=replace(POLICY, max_share_percent=20))
    assert names(shared, Act.DELETE) == ["pr-9", "pr-10"]


def test_another_prefix_is_another_lane() -> None:
    shop = Namespace("pr-shop-7", "u", "1", LONG_AGO, {MANAGED_BY: MANAGED_BY_PREVIEW, PR_LABEL: "7"})
    assert reasons(decided([shop])) == {"pr-shop-7": "other-name"}
    assert names(decided([shop], policy=replace(POLICY, prefix="pr-shop-")), Act.BURY) == ["pr-shop-7"]
    assert decided([namespace()], policy=replace(POLICY, prefix="pr-shop-")).acts(Act.BURY) == ()


def test_every_reason_has_its_line_on_the_page() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "janitor.md").read_text()
    assert [r.value for r in Reason if f"| `{r.value}` |" not in page] == []
