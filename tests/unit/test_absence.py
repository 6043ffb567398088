"""Unknown is not absent: a 404 counts only where the same credential could read something else there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.absence import MAIN, PassReads
from state.errors import Denied, IntegrityError, RateLimited, ReconcilerError, Unavailable, Unsupported
from state.observed import Absent, Present, Unknown
from state.oci import OCI_MANIFEST, Digest, Manifest, Repository, Tag
from tests.unit.strategies import BILLING, HEADS, ORDERS

HEAD = Tag(HEADS[0])
OTHER = Tag(HEADS[1])
IMAGE = Manifest.of(OCI_MANIFEST, b"{}")
UNREADABLE = [Denied("no"), Unavailable("later"), RateLimited("slower"), Unsupported("never")]


class Shelf:
    """A registry that answers from a dictionary; `hidden` repositories say 404 to everything, as GHCR does."""

    def __init__(self, *tags: tuple[Repository, Tag], hidden: Sequence[Repository] = ()) -> None:
        self.tags_of = set(tags)
        self.hidden = set(hidden)
        self.errors: dict[str, Exception] = {}
        self.calls: list[tuple[str, Repository]] = []

    def _ask(self, call: str, repository: Repository) -> bool:
        self.calls.append((call, repository))
        if call in self.errors:
            raise self.errors[call]
        return repository not in self.hidden

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        return IMAGE.digest if self._ask("resolve", repository) and (repository, tag) in self.tags_of else None

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        return IMAGE if self._ask("manifest", repository) and (repository, reference) in self.tags_of else None

    def tags(self, repository: Repository) -> list[Tag] | None:
        known = [t for r, t in self.tags_of if r == repository]
        return known if self._ask("tags", repository) and known else None


def test_a_tag_that_is_there_is_present() -> None:
    assert PassReads(Shelf((ORDERS, HEAD))).tag(ORDERS, HEAD) == Present(IMAGE.digest)


def test_a_404_counts_as_absent_where_main_can_be_read() -> None:
    found = PassReads(Shelf((ORDERS, MAIN))).tag(ORDERS, HEAD)
    assert isinstance(found, Absent)


def test_a_404_counts_as_absent_where_any_other_tag_is_listed() -> None:
    assert isinstance(PassReads(Shelf((ORDERS, OTHER))).tag(ORDERS, HEAD), Absent)


def test_a_404_counts_as_absent_after_another_tag_was_read_in_the_same_pass() -> None:
    shelf = Shelf((ORDERS, OTHER))
    reads = PassReads(shelf)
    assert isinstance(reads.tag(ORDERS, OTHER), Present)
    assert isinstance(reads.tag(ORDERS, HEAD), Absent)
    assert shelf.calls == [("resolve", ORDERS), ("resolve", ORDERS)]


@pytest.mark.parametrize("shelf", [Shelf(), Shelf((ORDERS, MAIN), (ORDERS, HEAD), hidden=[ORDERS])])
def test_a_404_where_nothing_can_be_read_is_unknown(shelf: Shelf) -> None:
    found = PassReads(shelf).tag(ORDERS, HEAD)
    assert isinstance(found, Unknown)
    assert ORDERS in found.why


def test_what_one_repository_shows_is_no_proof_for_another() -> None:
    reads = PassReads(Shelf((BILLING, MAIN), hidden=[ORDERS]))
    assert isinstance(reads.tag(BILLING, HEAD), Absent)
    assert isinstance(reads.tag(ORDERS, HEAD), Unknown)


def test_what_an_earlier_pass_could_read_is_no_proof_for_this_one() -> None:
    shelf = Shelf((ORDERS, MAIN))
    assert isinstance(PassReads(shelf).tag(ORDERS, HEAD), Absent)
    shelf.hidden.add(ORDERS)
    assert isinstance(PassReads(shelf).tag(ORDERS, HEAD), Unknown)


@pytest.mark.parametrize("call", ["resolve", "manifest", "tags"])
@pytest.mark.parametrize("error", UNREADABLE, ids=lambda e: type(e).__name__)
def test_a_read_that_fails_is_unknown_wherever_it_fails(call: str, error: ReconcilerError) -> None:
    shelf = Shelf()
    shelf.errors[call] = error
    assert isinstance(PassReads(shelf).tag(ORDERS, HEAD), Unknown)


@pytest.mark.parametrize("error", UNREADABLE, ids=lambda e: type(e).__name__)
def test_a_manifest_that_cannot_be_read_is_unknown_and_says_why(error: ReconcilerError) -> None:
    shelf = Shelf((ORDERS, MAIN))
    shelf.errors["manifest"] = error
    assert PassReads(shelf).manifest(ORDERS, MAIN) == Unknown(f"{type(error).__name__}: {error}")


def test_a_manifest_is_absent_only_where_a_tag_is_listed() -> None:
    assert PassReads(Shelf((ORDERS, MAIN))).manifest(ORDERS, MAIN) == IMAGE
    assert isinstance(PassReads(Shelf((ORDERS, OTHER))).manifest(ORDERS, MAIN), Absent)
    assert isinstance(PassReads(Shelf()).manifest(ORDERS, MAIN), Unknown)


def test_bytes_that_are_not_what_they_claim_are_not_taken_for_unknown() -> None:
    for call, read in (
        ("resolve", lambda reads: reads.tag(ORDERS, HEAD)),
        ("manifest", lambda reads: reads.manifest(ORDERS, MAIN)),
    ):
        shelf = Shelf((ORDERS, MAIN))
        shelf.errors[call] = IntegrityError("other bytes")
        _raises(read, PassReads(shelf))


def _raises(read: Callable[[PassReads], object], reads: PassReads) -> None:
    with pytest.raises(IntegrityError):
        read(reads)


def test_the_control_is_read_once_for_many_missing_tags_of_a_repository() -> None:
    shelf = Shelf((ORDERS, MAIN))
    reads = PassReads(shelf)
    for n in range(20):
        assert isinstance(reads.tag(ORDERS, Tag(f"{n:040x}")), Absent)
    assert shelf.calls == [*[("resolve", ORDERS)] * 21]


def test_many_threads_agree() -> None:
    reads = PassReads(Shelf((ORDERS, MAIN), hidden=[BILLING]))
    wanted = [(r, Tag(f"{n:040x}")) for n in range(100) for r in (ORDERS, BILLING)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda cell: reads.tag(*cell), wanted))
    assert {type(state) for (r, _), state in zip(wanted, found, strict=True) if r == ORDERS} == {Absent}
    assert {type(state) for (r, _), state in zip(wanted, found, strict=True) if r == BILLING} == {Unknown}


def test_the_control_of_an_unreadable_repository_is_asked_for_once() -> None:
    shelf = Shelf(hidden=[ORDERS])
    reads = PassReads(shelf)
    for n in range(20):
        assert isinstance(reads.tag(ORDERS, Tag(f"{n:040x}")), Unknown)
    assert len(shelf.calls) < 20 + 4


def test_what_a_repository_has_shown_in_this_pass_stays_shown() -> None:
    shelf = Shelf((ORDERS, OTHER))
    reads = PassReads(shelf)
    assert isinstance(reads.tag(ORDERS, OTHER), Present)
    shelf.tags_of.clear()
    assert isinstance(reads.manifest(ORDERS, MAIN), Absent)
