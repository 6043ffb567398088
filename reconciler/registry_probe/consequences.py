"""What the measured behaviour means for this version of the reconciler. Pure: values in, rows out.

Every `therefore` describes code that is there (named in a comment where it is not obvious).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.ports import TAGS_PER_PUT
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
    Page,
    Paging,
    Referrers,
    Size,
)
from state.oci import MANIFEST_MAX_BYTES

SETTLE_DEFAULT_S: Final = 60
"""`registries[].settle_s` where it is left out (a test holds it to the settings)."""
_MIB: Final = 1024 * 1024


class Fit(StrEnum):
    """How well the registry does what the reconciler stands on."""

    GOOD = "good"
    LIMITED = "limited"
    BAD = "bad"


class Row(NamedTuple):
    """One capability: `key` is stable, `therefore` is what the reconciler does about it."""

    key: str
    capability: str
    measured: str
    therefore: str
    fit: Fit


def consequences(seen: Measured) -> tuple[Row, ...]:
    """One row per capability, always the same keys in the same order."""
    return (
        _bytes(seen.manifests),
        _absence(seen.manifests),
        _settling(seen.manifests),
        _paging(seen.paging),
        _referrers(seen.referrers),
        _immutability(seen.immutability),
        _conditional_reads(seen.conditional),
        _conditional_writes(seen.conditional),
        _tag_deletion(seen.deletion),
        _digest_deletion(seen.deletion),
        _docker(seen.docker_schema_2),
        _sizes(seen.manifest_sizes),
        _multi_tag(seen.multi_tag),
    )


def _bytes(seen: Manifests) -> Row:
    named = "named" if seen.put_names_digest else "not named"
    kept = "kept" if seen.bytes_kept else "CHANGED"
    measured = f"bytes {kept}; digest {named} in the answer to a PUT"
    if not seen.bytes_kept:
        return Row("write", "Write and read", measured, "do not use: every retag would be an integrity error", Fit.BAD)
    if not seen.put_names_digest:
        # put_manifest reads the tag back where the 201 names no digest.
        therefore = "one HEAD more per write, since the answer does not prove what was stored"
        return Row("write", "Write and read", measured, therefore, Fit.LIMITED)
    return Row("write", "Write and read", measured, "the answer to its own PUT is the proof of a write", Fit.GOOD)


def _absence(seen: Manifests) -> Row:
    measured = f"HEAD of a missing tag answers {seen.absent_tag_status}"
    if seen.absent_tag_status == 404:
        therefore = "absent, if something else in that repository can be read in the same pass"
        return Row("absence", "Missing tag", measured, therefore, Fit.GOOD)
    return Row(
        "absence", "Missing tag", measured, "never taken for absent: no tag is filled, hold `tag-unknown`", Fit.BAD
    )


def _settling(seen: Manifests) -> Row:
    rows = [("new tag", seen.new_tag), ("list", seen.listed_tag)]
    if seen.moved_tag is not None:
        rows.insert(1, ("moved tag", seen.moved_tag))
    measured = "; ".join(f"{name}: {_lag(lag)}" for name, lag in rows)
    # apply._read_back is a HEAD, and only absent tags are filled: neither a moved tag nor a listing counts here.
    worst = seen.new_tag
    if not worst.shown or worst.seconds > SETTLE_DEFAULT_S:
        therefore = (
            f"hold `tag-settling`, and `tag-lost` after `settle_s` (default {SETTLE_DEFAULT_S}), which must be well "
            "above the real lag: probe again with a longer `--lag-max-s`"
        )
        return Row("settling", "Read after write", measured, therefore, Fit.BAD)
    if worst.reads > 1:
        therefore = (
            f"hold `tag-settling` until a read shows it; `settle_s` (default {SETTLE_DEFAULT_S}) must be well "
            f"above {worst.seconds:.1f}"
        )
        return Row("settling", "Read after write", measured, therefore, Fit.LIMITED)
    therefore = "a write is settled by the read right after it, in the same pass"
    return Row("settling", "Read after write", measured, therefore, Fit.GOOD)


def _lag(lag: Lag) -> str:
    if not lag.shown:
        return f"not shown after {lag.seconds:.1f} s"
    return "at once" if lag.reads == 1 else f"after {lag.seconds:.1f} s, {lag.reads} reads"


def _paging(seen: Paging) -> Row:
    parts = [
        f"{seen.total} tags",
        f"n=1: {_page(seen.n_1, seen.total)}",
        f"n=1000: {_page(seen.n_1000, seen.total)}",
        f"order {seen.order.value}",
    ]
    if seen.next_page_continues is not None:
        parts.append("Link continues" if seen.next_page_continues else "Link does NOT continue")
    measured = "; ".join(parts)
    if seen.next_page_continues is False or seen.n_1000 is None:
        therefore = (
            "without `:main` it cannot tell a missing tag from a repository it cannot read: hold `tag-unknown` or "
            "`baseline-unknown`"
        )
        return Row("paging", "Tag list", measured, therefore, Fit.BAD)
    # tags(): n=1000, Link to its end, no order assumed; used by PassReads as the control of a 404 only.
    therefore = (
        "asks for 1000 a page, follows Link to the end, assumes no order; lists only to tell a missing tag from a "
        "repository it cannot read"
    )
    capped = seen.n_1 is None or (seen.n_1.tags > 1 and seen.total > 1)
    return Row("paging", "Tag list", measured, therefore, Fit.LIMITED if capped else Fit.GOOD)


def _page(page: Page | None, total: int) -> str:
    if page is None:
        return "refused"
    got = "all" if page.tags == total and not page.more else str(page.tags)
    return f"{got}, Link" if page.more else got


def _referrers(seen: Referrers) -> Row:
    match seen.mode:
        case Mode.API:
            filtered = "filter applied" if seen.filter_announced and seen.filter_applied else "filter not applied"
            whole = "" if seen.complete_descriptor else ", descriptor INCOMPLETE"
            measured = f"API with OCI-Subject, {filtered}{whole}"
        case Mode.TAG_SCHEMA:
            measured = f"no API ({_status(seen.api_status)}); {_schema(seen)}"
        case Mode.UNCLEAR:
            said = "OCI-Subject" if seen.oci_subject else "no OCI-Subject"
            has = "listed by the API" if seen.listed else f"API answers {_status(seen.api_status)} without the referrer"
            measured = f"contradicts itself: {said}, {has}; {_schema(seen)}"
    # `RegistryArtifacts` reads both lists, and writes the index where the API does not list.
    if seen.push_status not in {200, 201}:
        measured = f"a manifest with a subject is refused ({_status(seen.push_status)})"
        return Row("referrers", "Referrers", measured, "no evidence and no release set can be attached here", Fit.BAD)
    if seen.mode is Mode.API:
        return Row("referrers", "Referrers", measured, "evidence is attached, and found by the API", Fit.GOOD)
    if seen.tag_schema_moves:
        therefore = "evidence is found by the tag sha256-…: its index is read, extended and written"
        return Row("referrers", "Referrers", measured, therefore, Fit.LIMITED)
    therefore = "evidence cannot be attached once a digest has some: the index at its tag cannot be written"
    return Row("referrers", "Referrers", measured, therefore, Fit.BAD)


def _schema(seen: Referrers) -> str:
    if seen.tag_schema_status is None:
        return "tag schema not tried"
    if seen.tag_schema_moves is None:
        return f"tag schema refused ({_status(seen.tag_schema_status)})"
    return "tag schema works" if seen.tag_schema_moves else "tag schema once only: its tag cannot be written again"


def _immutability(seen: Immutability) -> Row:
    same = f"same digest {_status(seen.same_digest_status)}"
    other = f"other digest {_status(seen.other_digest_status)}" + (
        ", moved" if seen.other_digest_moves else ", NOT moved"
    )
    measured = f"{same}; {other}"
    if not seen.same_digest_counts:
        therefore = "a write repeated after a lost answer fails and is recorded as failed, although the tag is right"
        return Row("immutability", "Existing tag", measured, therefore, Fit.BAD)
    if seen.other_digest_moves:
        therefore = (
            "protected by the reconciler alone: it reads the tag right before each write, and between the two "
            "another writer may win"
        )
        return Row("immutability", "Existing tag", measured, therefore, Fit.LIMITED)
    therefore = "the registry refuses to move a tag: another writer in between is safe, and shows as a failed write"
    return Row("immutability", "Existing tag", measured, therefore, Fit.GOOD)


def _conditional_reads(seen: Conditional) -> Row:
    measured = (
        f"ETag {'given' if seen.etag else 'missing'}; If-None-Match: GET {seen.get_status}, HEAD {seen.head_status}"
    )
    therefore = "not used: tags are read by plain HEAD, which has no body"
    good = seen.get_status == 304 and seen.head_status == 304
    return Row("conditional_reads", "Conditional reads", measured, therefore, Fit.GOOD if good else Fit.LIMITED)


def _conditional_writes(seen: Conditional) -> Row:
    match, create = _honoured(seen.put_if_match_honoured), _honoured(seen.put_create_only_honoured)
    measured = f"If-Match {match}; If-None-Match: * {create}"
    therefore = "not used: a HEAD right before each write stands for it, on every registry"
    good = seen.put_create_only_honoured is True
    return Row("conditional_writes", "Conditional writes", measured, therefore, Fit.GOOD if good else Fit.LIMITED)


def _honoured(value: bool | None) -> str:
    return "not measurable" if value is None else "honoured" if value else "ignored"


def _tag_deletion(seen: Deletion) -> Row:
    measured = _status(seen.tag_status)
    if seen.tag_gone is not None:
        what = "the tag is gone" if seen.tag_gone else "the tag is STILL there"
        other = "other tags of its digest stay" if seen.tag_spares_digest else "other tags of its digest are GONE too"
        measured = f"{measured}, {what}, {other}"
    # tag_gc.untagging.refusal measures the same again before each run.
    therefore = "`ameide tags gc` refuses: no tag can be removed by itself here"
    if seen.tag_spares_digest is False:
        return Row("tag_deletion", "Delete a tag", measured, f"{therefore}; by hand never a shared one", Fit.BAD)
    if seen.tag_gone:
        therefore = "`ameide tags gc` can remove tags of closed pull requests, one at a time"
    return Row("tag_deletion", "Delete a tag", measured, therefore, Fit.GOOD if seen.tag_gone else Fit.LIMITED)


def _digest_deletion(seen: Deletion) -> Row:
    measured = _status(seen.digest_status)
    if seen.digest_gone is not None:
        went = ["the manifest"] if seen.digest_gone else []
        went += ["every tag of it"] if seen.digest_takes_tags else []
        went += ["its referrers"] if seen.digest_takes_referrer else []
        measured = f"{measured}, gone: {', '.join(went) or 'nothing'}"
    therefore = "never used. A retag shares its digest with `:main`: never delete by digest"
    fit = Fit.LIMITED if seen.digest_takes_tags is not False or seen.digest_gone is None else Fit.GOOD
    return Row("digest_deletion", "Delete a digest", measured, therefore, fit)


def _docker(seen: Docker) -> Row:
    measured = _status(seen.status)
    if seen.bytes_kept is None:
        therefore = "images in Docker's format cannot be retagged here; build them as OCI images"
        return Row("docker_schema_2", "Docker schema 2", measured, therefore, Fit.LIMITED)
    kept = seen.bytes_kept and seen.media_type_kept
    measured += ", returned byte for byte with its media type" if kept else ", returned CHANGED"
    therefore = (
        "retagged as it is, never converted" if kept else "images in Docker's format: integrity error, not retagged"
    )
    return Row("docker_schema_2", "Docker schema 2", measured, therefore, Fit.GOOD if kept else Fit.BAD)


def _sizes(seen: tuple[Size, ...]) -> Row:
    measured = "; ".join(
        f"{_size(s.bytes)}: {_status(s.status)}" + (", NOT read back" if s.read_back is False else "") for s in seen
    )
    usable = [s.bytes for s in seen if s.status in {200, 201} and s.read_back is not False]
    largest = min(max(usable, default=0), MANIFEST_MAX_BYTES)
    if largest == MANIFEST_MAX_BYTES:
        therefore = f"reads and writes manifests of up to {_size(MANIFEST_MAX_BYTES)}, its own limit"
        return Row("manifest_size", "Manifest size", measured, therefore, Fit.GOOD)
    therefore = f"a manifest above {_size(largest)} may be refused or not read back; that write is recorded as failed"
    return Row("manifest_size", "Manifest size", measured, therefore, Fit.LIMITED)


def _size(number: int) -> str:
    whole, rest = divmod(number, _MIB)
    return f"{whole} MiB" if not rest else f"{whole} MiB + {rest}"


def _multi_tag(seen: MultiTag) -> Row:
    measured = f"{_status(seen.status)}, {seen.confirmed} of 2 confirmed by OCI-Tag, {seen.exist} exist"
    if seen.confirmed == seen.exist == 2:
        therefore = f"up to {TAGS_PER_PUT} heads with one image and digest share a PUT"
        return Row("multi_tag", "Several tags in one PUT", measured, therefore, Fit.GOOD)
    therefore = "each tag is a PUT of its own, paced by `max_writes_per_s`"
    return Row("multi_tag", "Several tags in one PUT", measured, therefore, Fit.LIMITED)


def _status(status: int) -> str:
    return str(status) if status else "no answer"
