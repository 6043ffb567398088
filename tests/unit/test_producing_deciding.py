"""What is done with each image of a commit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.producing.deciding import (
    REMEDY,
    Build,
    Channel,
    Leave,
    MainSeen,
    Move,
    Reason,
    Refuse,
    Relation,
    Seen,
    Step,
    Tagged,
    Why,
    decide,
)
from state.git import CommitId
from state.observed import Image, Recipe
from state.oci import Digest, Repository
from state.verdict import Outcome, Refusal, Verdict

BASE, HEAD = CommitId("a" * 40), CommitId("b" * 40)
IMAGE = Image("orders", Repository("ghcr.io/acme/orders"), ("src",), ("linux/amd64",))
RECIPE = Recipe("src/Dockerfile", "src")
OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
YES = Verdict(Outcome.ACCEPTED, Digest.of(b"policy"))
NO = Verdict(Outcome.REFUSED, Digest.of(b"policy"), "nothing is attached", Refusal.NO_EVIDENCE)
UNCHECKED = Verdict(Outcome.UNCHECKED, Digest.of(b"policy"))


def step(channel: Channel, seen: Seen) -> Step:
    (made,) = decide(channel, BASE, HEAD, [seen]).steps
    return made


def on_head(*, changed: bool = True, tag: Tagged | None = None, recipe: Recipe | None = RECIPE) -> Step:
    return step(Channel.PULL_REQUEST, Seen(IMAGE, recipe, changed, tag))


def on_main(main: MainSeen, tag: Tagged | None = None, recipe: Recipe | None = RECIPE) -> Step:
    return step(Channel.MAIN, Seen(IMAGE, recipe, True, tag, main))


def test_a_changed_image_is_built_once() -> None:
    assert on_head() == Build(IMAGE, RECIPE, None)
    assert on_head(tag=Tagged(NEW, YES)) == Leave(IMAGE, Why.DONE, NEW)


def test_an_unchanged_image_is_the_reconcilers() -> None:
    assert on_head(changed=False) == Leave(IMAGE, Why.UNCHANGED, None)
    assert on_head(changed=False, tag=Tagged(OLD, NO)) == Leave(IMAGE, Why.UNCHANGED, OLD)
    assert on_head(changed=False, recipe=None) == Leave(IMAGE, Why.UNCHANGED, None)


def test_a_tag_that_proves_nothing_is_left_and_refused() -> None:
    for proof in (NO, UNCHECKED):
        made = on_head(tag=Tagged(OLD, proof))
        assert isinstance(made, Refuse)
        assert made.reason is Reason.TAG_UNPROVEN
        assert OLD in made.text


def test_an_image_without_a_build_is_refused_only_where_it_would_be_built() -> None:
    for made in (on_head(recipe=None), on_main(MainSeen(None), recipe=None)):
        assert isinstance(made, Refuse)
        assert made.reason is Reason.NO_BUILD


def test_main_is_filled_where_nothing_is_or_nothing_that_counts() -> None:
    for main in (MainSeen(None), MainSeen(OLD)):
        assert on_main(main) == Build(IMAGE, RECIPE, main)


def test_main_moves_along_the_history_only() -> None:
    changed = MainSeen(OLD, Relation.BEFORE, True)
    assert on_main(changed) == Build(IMAGE, RECIPE, changed)
    assert on_main(MainSeen(OLD, Relation.BEFORE, False)) == Leave(IMAGE, Why.UNCHANGED, OLD)
    assert on_main(MainSeen(OLD, Relation.AFTER)) == Leave(IMAGE, Why.NEWER, OLD)
    assert on_main(MainSeen(OLD, Relation.SAME)) == Leave(IMAGE, Why.DONE, OLD)
    apart = on_main(MainSeen(OLD, Relation.APART))
    assert isinstance(apart, Refuse)
    assert apart.reason is Reason.MAIN_APART


def test_a_build_that_only_lacked_the_move_is_moved() -> None:
    main = MainSeen(OLD, Relation.BEFORE, True)
    assert on_main(main, Tagged(NEW, YES)) == Move(IMAGE, NEW, main)


def test_on_main_the_build_of_a_pull_request_keeps_its_tag_and_is_not_mains() -> None:
    main = MainSeen(OLD, Relation.BEFORE, True)
    assert on_main(main, Tagged(NEW, NO, by_pull_request=True)) == Build(IMAGE, RECIPE, main, keeps=NEW)
    stray = on_main(main, Tagged(NEW, NO))
    assert isinstance(stray, Refuse)
    assert stray.reason is Reason.TAG_UNPROVEN


def test_every_refusal_has_a_remedy() -> None:
    assert set(REMEDY) == set(Reason)


_tags = st.none() | st.builds(Tagged, st.sampled_from([OLD, NEW]), st.sampled_from([YES, NO, UNCHECKED]), st.booleans())
_mains = st.builds(MainSeen, st.none() | st.just(OLD), st.none() | st.sampled_from(Relation), st.none() | st.booleans())
_seen = st.builds(Seen, st.just(IMAGE), st.none() | st.just(RECIPE), st.booleans(), _tags, _mains)


@given(st.sampled_from(Channel), _seen)
def test_a_tag_of_the_commit_that_is_there_is_never_written(channel: Channel, seen: Seen) -> None:
    made = step(channel, seen)
    if isinstance(made, Build) and seen.tag is not None:
        assert made.keeps == seen.tag.digest
    if isinstance(made, Move):
        assert seen.tag is not None
        assert seen.tag.proven
    if channel is Channel.PULL_REQUEST:
        assert not isinstance(made, Move)
        assert not (isinstance(made, Build) and made.main is not None)


@given(_seen)
def test_main_never_goes_back(seen: Seen) -> None:
    made = step(Channel.MAIN, seen)
    if isinstance(made, Build | Move):
        assert made.main is not None
        assert made.main.relation in (None, Relation.BEFORE)
