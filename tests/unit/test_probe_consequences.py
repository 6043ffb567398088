"""What follows from a measurement: each unwelcome behaviour is named as such, nothing is promised that is not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from reconciler.registry_probe.consequences import SETTLE_DEFAULT_S, Fit, Row, consequences
from reconciler.registry_probe.measured import (
    Conditional,
    Deletion,
    Docker,
    Immutability,
    Lag,
    Manifests,
    Measured,
    Mode,
    MultiTag,
    Order,
    Page,
    Paging,
    Referrers,
    Size,
)
from reconciler.settings import RegistrySettings
from state.hold import Reason

_AT_ONCE = Lag(shown=True, reads=1, seconds=0)
_MIB = 1024 * 1024
GOOD: Final = Measured(
    tags_before=0,
    manifests=Manifests(404, True, True, _AT_ONCE, _AT_ONCE, _AT_ONCE),
    paging=Paging(5, Page(5, False), Page(1, True), Page(5, False), Page(5, False), True, Order.ASCII),
    referrers=Referrers(Mode.API, 201, True, 200, True, True, True, True, True, None, None),
    immutability=Immutability(201, True, 409, False),
    conditional=Conditional(True, 304, 304, True, True),
    deletion=Deletion(202, True, True, 202, True, False, True),
    docker_schema_2=Docker(201, True, True),
    manifest_sizes=(Size(4 * _MIB, 201, True), Size(4 * _MIB + 1, 413, None)),
    multi_tag=MultiTag(201, 2, 2),
)


def _row(seen: Measured, key: str) -> Row:
    return next(row for row in consequences(seen) if row.key == key)


def test_a_registry_that_does_everything_is_good_in_every_row() -> None:
    assert [row.key for row in consequences(GOOD) if row.fit is not Fit.GOOD] == []


@pytest.mark.parametrize(
    ("change", "key", "fit", "text"),
    [
        ({"manifests": replace(GOOD.manifests, bytes_kept=False)}, "write", Fit.BAD, "do not use"),
        ({"manifests": replace(GOOD.manifests, put_names_digest=False)}, "write", Fit.LIMITED, "one HEAD more"),
        ({"manifests": replace(GOOD.manifests, absent_tag_status=403)}, "absence", Fit.BAD, "never taken for absent"),
        ({"manifests": replace(GOOD.manifests, new_tag=Lag(True, 4, 2.5))}, "settling", Fit.LIMITED, "well above 2.5"),
        ({"manifests": replace(GOOD.manifests, new_tag=Lag(False, 9, 20))}, "settling", Fit.BAD, "tag-lost"),
        ({"manifests": replace(GOOD.manifests, new_tag=Lag(True, 9, 61))}, "settling", Fit.BAD, "tag-lost"),
        ({"manifests": replace(GOOD.manifests, listed_tag=Lag(True, 9, 61))}, "settling", Fit.GOOD, "same pass"),
        ({"paging": replace(GOOD.paging, next_page_continues=False)}, "paging", Fit.BAD, "cannot tell"),
        ({"paging": replace(GOOD.paging, n_1=Page(5, False))}, "paging", Fit.LIMITED, "assumes no order"),
        ({"immutability": Immutability(400, False, 400, False)}, "immutability", Fit.BAD, "recorded as failed"),
        ({"immutability": Immutability(201, True, 201, True)}, "immutability", Fit.LIMITED, "another writer may win"),
        ({"deletion": replace(GOOD.deletion, tag_spares_digest=False)}, "tag_deletion", Fit.BAD, "never a shared one"),
        ({"deletion": replace(GOOD.deletion, digest_takes_tags=True)}, "digest_deletion", Fit.LIMITED, "never delete"),
        ({"docker_schema_2": Docker(415, None, None)}, "docker_schema_2", Fit.LIMITED, "build them as OCI"),
        ({"docker_schema_2": Docker(201, False, True)}, "docker_schema_2", Fit.BAD, "integrity error"),
        ({"manifest_sizes": (Size(_MIB, 201, True), Size(3 * _MIB, 0, None))}, "manifest_size", Fit.LIMITED, "1 MiB"),
        (
            {"manifest_sizes": (Size(_MIB, 201, True), Size(3 * _MIB, 201, False))},
            "manifest_size",
            Fit.LIMITED,
            "1 MiB",
        ),
        ({"multi_tag": MultiTag(201, 2, 0)}, "multi_tag", Fit.LIMITED, "a PUT of its own"),
        ({"multi_tag": MultiTag(201, 2, 2)}, "multi_tag", Fit.GOOD, "share a PUT"),
        ({"conditional": replace(GOOD.conditional, get_status=200)}, "conditional_reads", Fit.LIMITED, "plain HEAD"),
    ],
)
def test_each_unwelcome_behaviour_has_its_consequence(change: dict[str, object], key: str, fit: Fit, text: str) -> None:
    row = _row(replace(GOOD, **change), key)  # type: ignore[arg-type]
    assert row.fit is fit
    assert text in row.therefore


def test_a_registry_that_contradicts_itself_is_not_called_an_api() -> None:
    seen = replace(GOOD, referrers=replace(GOOD.referrers, mode=Mode.UNCLEAR, listed=False, api_status=404))
    assert _row(seen, "referrers").measured.startswith("contradicts itself: OCI-Subject, API answers 404")


def test_what_becomes_of_evidence_is_told_by_what_was_measured() -> None:
    schema = replace(GOOD.referrers, mode=Mode.TAG_SCHEMA, api_status=404, listed=False)
    cases = {
        GOOD.referrers: (Fit.GOOD, "found by the API"),
        replace(schema, tag_schema_status=201, tag_schema_moves=True): (Fit.LIMITED, "read, extended and written"),
        replace(schema, tag_schema_status=201, tag_schema_moves=False): (Fit.BAD, "cannot be written"),
        replace(schema, tag_schema_status=409): (Fit.BAD, "cannot be written"),
        replace(GOOD.referrers, push_status=400): (Fit.BAD, "can be attached"),
    }
    for referrers, (fit, text) in cases.items():
        row = _row(replace(GOOD, referrers=referrers), "referrers")
        assert (row.fit, text in row.therefore) == (fit, True), row


def test_the_default_that_is_told_is_the_default_in_force() -> None:
    assert RegistrySettings.model_fields["settle_s"].default == SETTLE_DEFAULT_S


def test_the_holds_that_are_named_exist() -> None:
    named = {"tag-unknown", "tag-settling", "tag-lost", "baseline-unknown"}
    assert named <= {reason.value for reason in Reason}
