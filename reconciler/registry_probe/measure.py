"""The measurements, one function each, in an order where none disturbs the next.

A step needs its own tags and manifests, so that what one did to them is nothing to another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests

from reconciler.adapters.registry_answers import next_page, tag_page
from reconciler.registry_probe.measured import (
    Conditional,
    Deletion,
    Docker,
    Immutability,
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
from reconciler.registry_probe.scratch import ARTIFACT_TYPE, Scratch, attempt
from state.errors import ReconcilerError, Transient
from state.oci import DOCKER_MANIFEST, MANIFEST_MAX_BYTES, OCI_INDEX, Digest, Manifest, Tag

SIZES: Final = (1024 * 1024, 3 * 1024 * 1024, MANIFEST_MAX_BYTES, MANIFEST_MAX_BYTES + 1)
"""Manifest sizes tried, in bytes; 4 MiB is what every registry has to take (distribution-spec, Pushing Manifests)."""
_PUSHED: Final = ("c", "a", "B", "b")
"""Pushed in this order, which is neither ASCII (B a b c) nor alphabetical (a B b c)."""
_LISTING_MAX_BYTES: Final = MANIFEST_MAX_BYTES


def measure(scratch: Scratch, tell: Callable[[str], None] = lambda _: None) -> Measured:
    """Measure everything; `tell` hears what comes next. The caller cleans up, whatever this raises.

    Raises Denied or Terminal if the repository cannot be written at all, Transient if it does not answer now.
    """
    tell("tags there before")
    before = len(scratch.client.tags(scratch.repository) or ())
    tell("writes and reads")
    plain = _manifests(scratch)
    tell("tag listings")
    paging = _paging(scratch)
    tell("referrers")
    referrers = _referrers(scratch)
    tell("writing tags that exist")
    immutability = _immutability(scratch)
    tell("conditional requests")
    conditional = _conditional(scratch, moves=immutability.other_digest_moves)
    tell("Docker schema 2")
    docker = _docker(scratch)
    tell("several tags in one PUT")
    multi = _multi_tag(scratch)
    tell("manifest sizes")
    sizes = tuple(_sizes(scratch))
    tell("deletion")
    deletion = _deletion(scratch)
    # A registry that went away on the way would have looked like one that cannot do things.
    scratch.client.check()
    return Measured(before, plain, paging, referrers, immutability, conditional, deletion, docker, sizes, multi)


def _manifests(scratch: Scratch) -> Manifests:
    tag = scratch.tag("plain")
    absent = scratch.head(tag).status_code
    first, second = scratch.image("plain"), scratch.image("moved")
    answer = scratch.must_put(tag, first)
    new_tag = scratch.lag(lambda: scratch.reads(tag, first.digest))
    listed = scratch.lag(lambda: tag in (scratch.client.tags(scratch.repository) or ()))
    kept = scratch.get(first.digest)
    moved = None
    if scratch.put(tag, second).status_code in {200, 201}:
        moved = scratch.lag(lambda: scratch.reads(tag, second.digest))
    return Manifests(
        absent_tag_status=absent,
        put_names_digest=answer.headers.get("Docker-Content-Digest") == first.digest,
        bytes_kept=_same(kept, first),
        new_tag=new_tag,
        moved_tag=moved,
        listed_tag=listed,
    )


def _paging(scratch: Scratch) -> Paging:
    ours = [scratch.tag(f"order-{name}") for name in _PUSHED]
    image = scratch.image("order")
    for tag in ours:
        scratch.must_put(tag, image)
    listed = tuple(scratch.client.tags(scratch.repository) or ())
    shown = [tag for tag in listed if tag in ours]
    without_n, _, _ = _page(scratch, "tags/list")
    one, first, link = _page(scratch, "tags/list?n=1")
    continues = None
    if link is not None:
        following = _tags(scratch, scratch.client.do_request(link))
        continues = bool(following) and not set(following) & set(first)
    return Paging(
        total=len(listed),
        without_n=without_n,
        n_1=one,
        n_1000=_page(scratch, "tags/list?n=1000")[0],
        n_10000=_page(scratch, "tags/list?n=10000")[0],
        next_page_continues=continues,
        order=_order(shown, ours),
    )


def _order(shown: list[Tag], pushed: list[Tag]) -> Order:
    if shown == pushed:
        return Order.PUSHED
    if shown == sorted(pushed):
        return Order.ASCII
    # B and b are equal there, so either may come first.
    if len(shown) == len(pushed) and [t.lower() for t in shown] == sorted(t.lower() for t in pushed):
        return Order.CASE_INSENSITIVE
    return Order.OTHER


def _page(scratch: Scratch, path: str) -> tuple[Page | None, list[Tag], str | None]:
    """One page: its size, its tags, and where the next one is. None where the registry refuses to answer it."""
    _, answer = attempt(lambda: scratch.ask("GET", path))
    if answer is None or answer.status_code != 200:
        return None, [], None
    tags = _tags(scratch, answer)
    base = f"{scratch.client.prefix}://{scratch.repository.host}/v2/"
    link = next_page(answer, base, f"{scratch.repository.path}/tags/list", f"{scratch.repository} {path}")
    return Page(len(tags), link is not None), tags, link


def _tags(scratch: Scratch, answer: requests.Response) -> list[Tag]:
    return tag_page(answer, f"{scratch.repository} tags", _LISTING_MAX_BYTES)


def _referrers(scratch: Scratch) -> Referrers:
    subject = scratch.image("subject")
    scratch.must_put(scratch.tag("subject"), subject)
    note = {"dev.ameide.probe": scratch.prefix}
    artifact = _artifact(scratch, subject, annotations=note)
    push_status, pushed = attempt(lambda: scratch.put(artifact.digest, artifact))
    api_status, answer = attempt(lambda: scratch.ask("GET", f"referrers/{subject.digest}"))
    is_index = api_status == 200 and answer is not None and _bare_type(answer) == OCI_INDEX
    oci_subject = pushed is not None and pushed.headers.get("OCI-Subject") == subject.digest
    listed, complete = False, False
    announced, applied = False, None
    if is_index:
        listed = scratch.lag(lambda: _row(scratch, subject, artifact) is not None).shown
        row = _row(scratch, subject, artifact) or {}
        complete = row.get("artifactType") == ARTIFACT_TYPE and row.get("annotations") == note
        theirs = scratch.ask("GET", f"referrers/{subject.digest}?artifactType=application/vnd.ameide.other")
        announced = "artifactType" in theirs.headers.get("OCI-Filters-Applied", "")
        applied = not _rows(theirs) if listed else None
    mode = Mode.API if listed and oci_subject else Mode.UNCLEAR if listed or oci_subject else Mode.TAG_SCHEMA
    schema_status, schema_moves = None, None
    if not listed and push_status in {200, 201}:
        schema_status, schema_moves = _tag_schema(scratch, subject, artifact)
    return Referrers(
        mode=mode,
        push_status=push_status,
        oci_subject=oci_subject,
        api_status=api_status,
        api_is_index=is_index,
        listed=listed,
        complete_descriptor=complete,
        filter_announced=announced,
        filter_applied=applied,
        tag_schema_status=schema_status,
        tag_schema_moves=schema_moves,
    )


def _artifact(scratch: Scratch, subject: Manifest, **members: Any) -> Manifest:
    row = {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.raw)}
    return scratch.image("artifact", artifactType=ARTIFACT_TYPE, subject=row, **members)


def _row(scratch: Scratch, subject: Manifest, artifact: Manifest) -> dict[str, Any] | None:
    rows = _rows(scratch.ask("GET", f"referrers/{subject.digest}"))
    return next((row for row in rows if row.get("digest") == artifact.digest), None)


def _rows(answer: requests.Response) -> list[dict[str, Any]]:
    """The descriptors of an index; none where it is not one."""
    try:
        rows = json.loads(answer.content)["manifests"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _tag_schema(scratch: Scratch, subject: Manifest, artifact: Manifest) -> tuple[int, bool | None]:
    """Write the referrers tag of our own subject twice. Source: distribution-spec, Referrers Tag Schema."""
    tag = Tag(subject.digest.replace(":", "-"))
    first, second = (scratch.index(artifact, artifactType=ARTIFACT_TYPE) for _ in range(2))
    status, _ = attempt(lambda: scratch.put(tag, first))
    if status not in {200, 201}:
        return status, None
    again, _ = attempt(lambda: scratch.put(tag, second))
    return status, again in {200, 201} and scratch.lag(lambda: scratch.reads(tag, second.digest)).shown


def _immutability(scratch: Scratch) -> Immutability:
    tag = scratch.tag("existing")
    first, other = scratch.image("existing"), scratch.image("other")
    scratch.must_put(tag, first)
    scratch.lag(lambda: scratch.reads(tag, first.digest))
    same, _ = attempt(lambda: scratch.put(tag, first))
    try:
        scratch.client.put_manifest(scratch.repository, tag, first)
        counts = True
    except Transient:
        raise
    except ReconcilerError:
        counts = False
    status, _ = attempt(lambda: scratch.put(tag, other))
    moves = status in {200, 201} and scratch.lag(lambda: scratch.reads(tag, other.digest)).shown
    return Immutability(same, counts, status, moves)


def _conditional(scratch: Scratch, *, moves: bool) -> Conditional:
    tag = scratch.tag("conditional")
    first, other = scratch.image("conditional"), scratch.image("conditional")
    scratch.must_put(tag, first)
    scratch.lag(lambda: scratch.reads(tag, first.digest))
    served = scratch.head(tag).headers.get("ETag", "")
    etag = served or f'"{first.digest}"'
    got, _ = attempt(lambda: scratch.get(tag, If_None_Match=etag))
    headed, _ = attempt(lambda: scratch.head(tag, If_None_Match=etag))
    match = create = None
    if moves:
        wrong = f'"{Digest.of(b"")}"'
        refused = _refused(lambda: scratch.put(tag, other, If_Match=wrong))
        # Honoured is only what also lets the right one through.
        match = refused and attempt(lambda: scratch.put(tag, first, If_Match=etag))[0] in {200, 201}
        refused = _refused(lambda: scratch.put(tag, other, If_None_Match="*"))
        fresh = scratch.tag("created")
        create = refused and attempt(lambda: scratch.put(fresh, first, If_None_Match="*"))[0] in {200, 201}
    return Conditional(bool(served), got, headed, match, create)


def _refused(put: Callable[[], requests.Response]) -> bool:
    """Whether a precondition failed. Source: RFC 9110 §13.1 (412); some answer 409 or 428."""
    return attempt(put)[0] in {409, 412, 428}


def _docker(scratch: Scratch) -> Docker:
    tag = scratch.tag("docker")
    made = scratch.image("docker", media_type=DOCKER_MANIFEST)
    status, _ = attempt(lambda: scratch.put(tag, made))
    if status not in {200, 201} or not scratch.lag(lambda: scratch.head(tag).status_code == 200).shown:
        return Docker(status, None, None)
    answer = scratch.get(tag)
    return Docker(status, _bare_type(answer) == made.media_type, answer.content == made.raw)


def _multi_tag(scratch: Scratch) -> MultiTag:
    made = scratch.image("multi")
    tags = [scratch.tag("multi-1"), scratch.tag("multi-2")]
    query = "&".join(f"tag={tag}" for tag in tags)
    status, answer = attempt(lambda: scratch.put(made.digest, made, query=query))
    told = {t.strip() for t in answer.headers.get("OCI-Tag", "").split(",")} if answer is not None else set()
    return MultiTag(status, len(told & set(tags)), sum(scratch.reads(tag, made.digest) for tag in tags))


def _sizes(scratch: Scratch) -> Iterator[Size]:
    """Ends at the first size that is refused: what is larger would be, too."""
    for size in SIZES:
        made = scratch.image("size", size=size)
        status, _ = attempt(lambda made=made: scratch.put(made.digest, made))  # type: ignore[misc]
        if status not in {200, 201}:
            yield Size(size, status, None)
            return
        read_back = None
        if size <= MANIFEST_MAX_BYTES:
            _, answer = attempt(lambda made=made: scratch.get(made.digest))  # type: ignore[misc]
            read_back = answer is not None and _same(answer, made)
        yield Size(size, status, read_back)


def untagging(scratch: Scratch) -> tuple[int, bool | None, bool | None]:
    """DELETE of one of two tags of a digest: the status, whether the tag is gone, whether the other one stays."""
    alone, sibling = scratch.tag("delete-tag"), scratch.tag("delete-sibling")
    shared = scratch.image("delete-tag")
    for tag in (alone, sibling):
        scratch.must_put(tag, shared)
    tag_status, _ = attempt(lambda: scratch.ask("DELETE", f"manifests/{alone}"))
    if tag_status not in {200, 202, 204}:
        return tag_status, None, None
    return tag_status, _gone(scratch, alone), scratch.reads(sibling, shared.digest)


def _deletion(scratch: Scratch) -> Deletion:
    tag_status, tag_gone, spares = untagging(scratch)
    doomed = scratch.image("delete-digest")
    tags = scratch.tag("delete-digest-1"), scratch.tag("delete-digest-2")
    for tag in tags:
        scratch.must_put(tag, doomed)
    artifact = _artifact(scratch, doomed)
    attached = attempt(lambda: scratch.put(artifact.digest, artifact))[0] in {200, 201}
    digest_status, _ = attempt(lambda: scratch.ask("DELETE", f"manifests/{doomed.digest}"))
    gone = takes_tags = takes_referrer = None
    if digest_status in {200, 202, 204}:
        gone = _gone(scratch, doomed.digest)
        takes_tags = all(scratch.head(tag).status_code == 404 for tag in tags)
        takes_referrer = scratch.head(artifact.digest).status_code == 404 if attached else None
    return Deletion(tag_status, tag_gone, spares, digest_status, gone, takes_tags, takes_referrer)


def _gone(scratch: Scratch, reference: str) -> bool:
    return scratch.lag(lambda: scratch.head(reference).status_code == 404).shown


def _same(answer: requests.Response, manifest: Manifest) -> bool:
    return (
        answer.status_code == 200
        and _bare_type(answer) == manifest.media_type
        and manifest.digest.matches(answer.content)
    )


def _bare_type(answer: requests.Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
