"""Answers that are not what they claim: digests, media types, sizes, slowness, redirects, pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.registry_limits import Limits
from state.errors import ConfigError, Denied, IntegrityError, TagFixed, Terminal, Transient, Unavailable, Unsupported
from state.oci import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Digest, Tag
from tests.contract.registry.support import MANIFEST, TAG, Connect, ManualClock, repository
from tests.fixtures.certificates import Certificate
from tests.fixtures.registry_stub import Reply, Seen, Stub, error

LIE = Digest.of(b"other bytes")
ONE_TRY = Limits(attempts=1, writes_per_s=None)


def served(body: bytes = MANIFEST.raw, media_type: str = OCI_INDEX, **headers: str) -> Reply:
    named = {"Docker-Content-Digest": str(Digest.of(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(200, {"Content-Type": media_type} | {k: v for k, v in named.items() if v}, body)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_all_four_types_are_accepted_in_one_header_on_get_and_head(stub: Stub, client: Connect) -> None:
    stub.script(served())
    registry = client(stub.host)
    registry.resolve(repository(stub.host), TAG)
    registry.manifest(repository(stub.host), TAG)
    for seen, method in zip(stub.requests, ("HEAD", "GET"), strict=True):
        accepted = seen.headers["accept"].split(", ")
        assert set(accepted) == {OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST}
        assert (seen.method, seen.headers["accept-encoding"]) == (method, "identity")


# --- digests and media types -----------------------------------------------------------------------------------------


def test_a_body_of_another_digest_than_asked_for_is_an_integrity_error(stub: Stub, client: Connect) -> None:
    stub.script(served())
    with pytest.raises(IntegrityError, match=f"asked for {LIE}, got bytes of {MANIFEST.digest}"):
        client(stub.host).manifest(repository(stub.host), LIE)


def test_a_body_of_another_digest_than_announced_is_an_integrity_error(stub: Stub, client: Connect) -> None:
    stub.script(served(Docker_Content_Digest=LIE))
    with pytest.raises(IntegrityError, match=f"announced {LIE}, got bytes of {MANIFEST.digest}"):
        client(stub.host).manifest(repository(stub.host), TAG)


def test_a_digest_of_another_algorithm_is_unsupported(stub: Stub, client: Connect) -> None:
    stub.script(served(Docker_Content_Digest="sha512:" + "0" * 128))
    with pytest.raises(Unsupported, match="Docker-Content-Digest"):
        client(stub.host).resolve(repository(stub.host), TAG)


def test_a_put_whose_answer_names_another_digest_is_an_integrity_error(stub: Stub, client: Connect) -> None:
    stub.script(Reply(201, {"Docker-Content-Digest": LIE}))
    with pytest.raises(IntegrityError, match=f"sent {MANIFEST.digest}, the registry says it stored {LIE}"):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)


@pytest.mark.parametrize(("shown", "raised"), [(MANIFEST.raw, None), (b"{}", IntegrityError), (None, Unavailable)])
def test_a_put_whose_answer_names_no_digest_is_read_back(
    stub: Stub, client: Connect, shown: bytes | None, raised: type[Exception] | None
) -> None:
    stub.script(Reply(201), Reply(404) if shown is None else served(shown))
    registry = client(stub.host)
    if raised is None:
        registry.put_manifest(repository(stub.host), TAG, MANIFEST)
    else:
        with pytest.raises(raised):
            registry.put_manifest(repository(stub.host), TAG, MANIFEST)
    assert stub.methods() == ["PUT", "HEAD"]


@pytest.mark.parametrize("status", [202, 204, 304])
def test_a_put_that_was_not_stored_is_not_taken_as_stored(stub: Stub, client: Connect, status: int) -> None:
    stub.script(Reply(status, {"Docker-Content-Digest": MANIFEST.digest}))
    with pytest.raises(Unavailable, match=f"answered {status}"):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)


_TAGS = [Tag("a"), Tag("b"), Tag("c")]


def test_only_tags_that_the_answer_names_are_confirmed(stub: Stub, client: Connect) -> None:
    stub.script(Reply(201, {"Docker-Content-Digest": MANIFEST.digest, "OCI-Tag": "c,a , other"}))
    assert client(stub.host).put_tags(repository(stub.host), _TAGS, MANIFEST) == {"a", "c"}
    (seen,) = stub.requests
    assert (seen.path, seen.query) == (f"/v2/acme/orders/manifests/{MANIFEST.digest}", "tag=a&tag=b&tag=c")


@pytest.mark.parametrize("status", [201, 400, 404, 414])
def test_a_registry_that_does_not_know_several_tags_is_asked_once(stub: Stub, client: Connect, status: int) -> None:
    stub.script(Reply(status, {}))
    registry = client(stub.host)
    for confirmed in (frozenset(), None, None):
        assert registry.put_tags(repository(stub.host), _TAGS, MANIFEST) == confirmed
    assert len(stub.requests) == 1


def test_several_tags_stored_as_another_digest_are_an_integrity_error(stub: Stub, client: Connect) -> None:
    stub.script(Reply(201, {"Docker-Content-Digest": LIE, "OCI-Tag": "a, b, c"}))
    with pytest.raises(IntegrityError, match="says it stored"):
        client(stub.host).put_tags(repository(stub.host), _TAGS, MANIFEST)


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "TAG_INVALID", "the tag is immutable"),
        error(403, "DENIED", "tag is immutable"),
        error(409, "CONFLICT"),
        error(412, "PRECONDITION"),
    ],
)
def test_an_immutable_tag_that_holds_our_digest_counts_as_written(stub: Stub, client: Connect, refusal: Reply) -> None:
    stub.script(refusal, served())
    client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    stub.script(refusal, served(b"{}"))
    fixed = b"immutable" in refusal.body
    told = f"expected to put {MANIFEST.digest}, it has {Digest.of(b'{}')}" if fixed else "PUT answered"
    with pytest.raises(TagFixed if fixed else Terminal, match=told) as caught:
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    assert isinstance(caught.value, TagFixed) == fixed  # a conflict may have another reason, and end


def test_an_immutable_tag_that_does_not_show_yet_may_be_ours(stub: Stub, client: Connect) -> None:
    """A request that was delivered twice is answered as its second delivery was."""
    stub.script(error(409, "CONFLICT"), error(404, "MANIFEST_UNKNOWN"))
    with pytest.raises(Unavailable, match="does not show yet"):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)


def test_a_head_without_a_digest_is_followed_by_one_bounded_get(stub: Stub, client: Connect) -> None:
    stub.script(served(Docker_Content_Digest=""))
    assert client(stub.host).resolve(repository(stub.host), TAG) == MANIFEST.digest
    assert stub.methods() == ["HEAD", "GET"]


def test_a_registry_without_head_is_read_by_get(stub: Stub, client: Connect) -> None:
    stub.script(Reply(405), served())
    assert client(stub.host).resolve(repository(stub.host), TAG) == MANIFEST.digest


def test_parameters_of_the_media_type_are_cut_off(stub: Stub, client: Connect) -> None:
    stub.script(served(media_type=f"{OCI_INDEX}; charset=utf-8"))
    assert client(stub.host).manifest(repository(stub.host), TAG) == MANIFEST


@pytest.mark.parametrize("subtype", ["v1+prettyjws", "v1+json"])
def test_docker_schema_1_is_unsupported(stub: Stub, client: Connect, subtype: str) -> None:
    stub.script(served(media_type=f"application/vnd.docker.distribution.manifest.{subtype}"))
    registry = client(stub.host)
    for read in (registry.resolve, registry.manifest):
        with pytest.raises(Unsupported, match="schema 1"):
            read(repository(stub.host), TAG)


@pytest.mark.parametrize("media_type", ["text/html; charset=utf-8", "application/json", ""])
def test_a_page_that_says_200_is_no_manifest_and_no_listing(stub: Stub, client: Connect, media_type: str) -> None:
    stub.script(Reply(200, {"Content-Type": media_type}, b"<html>sign in</html>"))
    registry = client(stub.host)
    for read in (
        lambda: registry.resolve(repository(stub.host), TAG),
        lambda: registry.manifest(repository(stub.host), TAG),
        lambda: registry.tags(repository(stub.host)),
    ):
        with pytest.raises(Unavailable):
            read()


# --- sizes and time --------------------------------------------------------------------------------------------------

SMALL = Limits(attempts=1, writes_per_s=None, manifest_max_bytes=1000, tags_max_bytes=1000)


def test_a_manifest_of_too_many_announced_bytes_is_not_read(stub: Stub, client: Connect) -> None:
    stub.script(served(b" " * 1001))
    with pytest.raises(Terminal, match="has 1001 bytes, at most 1000"):
        client(stub.host, limits=SMALL).manifest(repository(stub.host), TAG)


def _endless(stub: Stub, chunk: bytes) -> Iterator[bytes]:
    while not stub.closing.wait(0.001):
        yield chunk


def test_an_endless_manifest_is_read_up_to_the_bound(stub: Stub, client: Connect) -> None:
    stub.script(Reply(200, {"Content-Type": OCI_INDEX}, chunks=_endless(stub, b" " * 400)))
    with pytest.raises(Terminal, match="more than 1000 bytes"):
        client(stub.host, limits=SMALL).manifest(repository(stub.host), TAG)


def test_an_endless_error_is_read_up_to_the_bound(stub: Stub, client: Connect) -> None:
    stub.script(Reply(400, {}, chunks=_endless(stub, b"x" * 1000)))
    with pytest.raises(Terminal) as caught:
        client(stub.host, limits=ONE_TRY).manifest(repository(stub.host), TAG)
    assert len(str(caught.value)) < 500


def test_a_body_that_drips_is_given_up_at_the_deadline(stub: Stub, client: Connect) -> None:
    stub.script(Reply(200, {"Content-Type": OCI_INDEX}, chunks=_endless(stub, b" ")))
    with pytest.raises(Unavailable, match="did not end in time"):
        client(stub.host, limits=SMALL, clock=ManualClock(step_s=10)).manifest(repository(stub.host), TAG)


def test_a_server_that_says_nothing_is_given_up(stub: Stub, client: Connect) -> None:
    def silent(_: Seen) -> Reply:
        stub.closing.wait(30)
        return Reply(500)

    stub.answer = silent
    limits = Limits(attempts=1, read_timeout_s=0.05, writes_per_s=None)
    with pytest.raises(Unavailable, match="no usable answer"):
        client(stub.host, limits=limits).resolve(repository(stub.host), TAG)


def test_an_answer_cut_short_is_unavailable(stub: Stub, client: Connect) -> None:
    stub.script(Reply(200, {"Content-Type": OCI_INDEX}, MANIFEST.raw, announce=len(MANIFEST.raw) + 5))
    with pytest.raises(Unavailable):
        client(stub.host, limits=ONE_TRY).manifest(repository(stub.host), TAG)


def test_a_compressed_manifest_is_refused(stub: Stub, client: Connect) -> None:
    stub.script(served(Content_Encoding="gzip"))
    with pytest.raises(Unsupported, match="compressed"):
        client(stub.host).manifest(repository(stub.host), TAG)


def test_small_answers_keep_the_connection(stub: Stub, client: Connect) -> None:
    stub.script(Reply(404), error(400, "MANIFEST_INVALID"), served())
    registry = client(stub.host)
    assert registry.resolve(repository(stub.host), TAG) is None
    with pytest.raises(Terminal):
        registry.manifest(repository(stub.host), TAG)
    for _ in range(3):
        registry.manifest(repository(stub.host), TAG)
    assert stub.connections == 1


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_follows_redirects(stub: Stub, client: Connect, status: int) -> None:
    stub.script(Reply(status, {"Location": "/elsewhere?x=1"}), served())
    assert client(stub.host).manifest(repository(stub.host), TAG) == MANIFEST
    assert [(r.path, r.query) for r in stub.requests][1] == ("/elsewhere", "x=1")


def test_redirects_are_bounded(stub: Stub, client: Connect) -> None:
    stub.script(Reply(307, {"Location": "/again"}))
    with pytest.raises(Terminal, match="more than 5 redirects"):
        client(stub.host).manifest(repository(stub.host), TAG)
    assert len(stub.requests) == 6


def test_a_redirected_put_is_refused(stub: Stub, client: Connect) -> None:
    stub.script(Reply(307, {"Location": "/elsewhere"}), Reply(201, {"Docker-Content-Digest": MANIFEST.digest}))
    with pytest.raises(Terminal, match="PUT was redirected"):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    assert stub.methods() == ["PUT"]


def test_a_redirected_404_is_not_absence(stubs: Callable[..., Stub], client: Connect) -> None:
    registry, storage = stubs(), stubs()
    registry.script(Reply(307, {"Location": f"{storage.url}/blob?signature=hush"}))
    one = client(registry.host)
    for read in (
        lambda: one.resolve(repository(registry.host), TAG),
        lambda: one.manifest(repository(registry.host), TAG),
        lambda: one.tags(repository(registry.host)),
    ):
        with pytest.raises(Unavailable, match="after a redirect") as caught:
            read()
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/x", "http://[", "http://"])
def test_a_redirect_to_no_usable_place_is_refused(stub: Stub, client: Connect, location: str) -> None:
    stub.script(Reply(307, {"Location": location}))
    with pytest.raises(Terminal) as caught:
        client(stub.host).manifest(repository(stub.host), TAG)
    assert "pw" not in str(caught.value)


def test_a_redirect_without_a_location_is_unavailable(stub: Stub, client: Connect) -> None:
    stub.script(Reply(302))
    with pytest.raises(Unavailable, match="without Location"):
        client(stub.host, limits=ONE_TRY).manifest(repository(stub.host), TAG)


def test_a_redirect_from_https_to_http_is_refused(
    stubs: Callable[..., Stub], client: Connect, loopback_certificate: Certificate
) -> None:
    plain, secure = stubs(), stubs(loopback_certificate.server_context())
    secure.script(Reply(307, {"Location": f"{plain.url}/x"}))
    plain.script(served())
    registry = client(secure.host, plain_http=False, ca_file=loopback_certificate.certificate_file)
    with pytest.raises(Terminal, match="from https to http"):
        registry.manifest(repository(secure.host), TAG)
    assert plain.requests == []


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_private_ca_is_accepted_by_file_and_refused_without(
    stubs: Callable[..., Stub], client: Connect, loopback_certificate: Certificate
) -> None:
    secure = stubs(loopback_certificate.server_context())
    secure.script(served())
    known = client(secure.host, plain_http=False, ca_file=loopback_certificate.certificate_file)
    assert known.resolve(repository(secure.host), TAG) == MANIFEST.digest
    with pytest.raises(ConfigError, match="ca_file"):
        client(secure.host, plain_http=False).resolve(repository(secure.host), TAG)
    with pytest.raises(ConfigError, match="CA file"):
        client(secure.host, plain_http=False, ca_file=Path("/nowhere/ca.pem"))


# --- pages -----------------------------------------------------------------------------------------------------------


def page(*tags: str, link: str = "") -> Reply:
    headers = {"Content-Type": "application/json"} | ({"Link": link} if link else {})
    return Reply(200, headers, json.dumps({"name": "acme/orders", "tags": list(tags)}).encode())


PATH = "/v2/acme/orders/tags/list"


def test_pages_are_followed_in_order_without_duplicates(stub: Stub, client: Connect) -> None:
    stub.script(
        page("b", "a", link=f'<{PATH}?last=a&n=2>; rel="next"'),
        page("a", "z", link=f"<http://{stub.host}{PATH}?last=z>; rel=next"),
        page("c", link='<?last=c>; rel="prev", <list?last=c>; title="x"; rel="Next"'),
        page("d"),
    )
    assert client(stub.host).tags(repository(stub.host)) == ("b", "a", "z", "c", "d")
    assert [r.query for r in stub.requests] == ["n=1000", "last=a&n=2", "last=z", "last=c"]


def test_a_link_with_the_scheme_of_an_inner_proxy_is_followed_on_ours(
    stubs: Callable[..., Stub], client: Connect, loopback_certificate: Certificate
) -> None:
    secure = stubs(loopback_certificate.server_context())
    secure.script(page("a", link=f'<http://{secure.host}{PATH}?last=a>; rel="next"'), page("b"))
    registry = client(secure.host, plain_http=False, ca_file=loopback_certificate.certificate_file)
    assert registry.tags(repository(secure.host)) == ("a", "b")


def test_null_tags_are_none_of_them(stub: Stub, client: Connect) -> None:
    stub.script(Reply(200, {"Content-Type": "application/json"}, b'{"name":"acme/orders","tags":null}'))
    assert client(stub.host).tags(repository(stub.host)) == ()


def test_pages_that_loop_are_unavailable(stub: Stub, client: Connect) -> None:
    stub.script(page("a", link=f'<{PATH}?last=a>; rel="next"'))
    with pytest.raises(Unavailable, match="loop"):
        client(stub.host, limits=Limits(tags_max_pages=20)).tags(repository(stub.host))
    assert len(stub.requests) == 2


def test_pages_without_end_are_terminal(stub: Stub, client: Connect) -> None:
    stub.answer = lambda _: page("a", link=f'<{PATH}?last={len(stub.requests)}>; rel="next"')
    with pytest.raises(Terminal, match="more than 7 pages"):
        client(stub.host, limits=Limits(tags_max_pages=7)).tags(repository(stub.host))


def test_pages_of_too_many_bytes_together_are_terminal(stub: Stub, client: Connect) -> None:
    stub.answer = lambda _: page("a" * 100, link=f'<{PATH}?last={len(stub.requests)}>; rel="next"')
    with pytest.raises(Terminal, match="at most"):
        client(stub.host, limits=SMALL).tags(repository(stub.host))
    assert len(stub.requests) < 12


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("http://127.0.0.1:1/v2/acme/orders/tags/list?last=a", "another place"),
        ("/v2/other/tags/list?last=a", "another place"),
        ("//evil.example/x", "another place"),
        ("http://[", "no URL"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused(stub: Stub, client: Connect, link: str, why: str) -> None:
    stub.script(page("a", link=f'<{link}>; rel="next"'))
    with pytest.raises(Terminal, match=why):
        client(stub.host).tags(repository(stub.host))


@pytest.mark.parametrize("second", [Reply(404), error(401, "UNAUTHORIZED"), Reply(500)])
def test_a_listing_that_breaks_off_is_no_listing(stub: Stub, client: Connect, second: Reply) -> None:
    stub.script(page("a", link=f'<{PATH}?last=a>; rel="next"'), second)
    with pytest.raises((Transient, Terminal)):
        client(stub.host, limits=ONE_TRY).tags(repository(stub.host))


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"tags":"a"}', b'{"tags":[1]}', b'{"tags":["../x"]}', b'{"tags":["a"']
)
def test_what_is_no_listing_is_unavailable(stub: Stub, client: Connect, body: bytes) -> None:
    stub.script(Reply(200, {"Content-Type": "application/json"}, body))
    with pytest.raises(Unavailable):
        client(stub.host).tags(repository(stub.host))


# --- what is told ----------------------------------------------------------------------------------------------------


def test_an_error_names_the_thing_the_status_and_the_code_in_printable_words(stub: Stub, client: Connect) -> None:
    stub.script(error(400, "MANIFEST_INVALID", "bad\x1b[31m\nnews " + "x" * 5000))
    with pytest.raises(Terminal) as caught:
        client(stub.host).manifest(repository(stub.host), TAG)
    text = str(caught.value)
    assert text.startswith(f"{stub.host}/acme/orders:{TAG}: GET answered 400 (MANIFEST_INVALID: bad?[31m news xxx")
    assert text.isprintable()
    assert len(text) < 400


def test_an_error_repeats_no_signature_of_an_address(stub: Stub, client: Connect) -> None:
    stub.script(error(403, "DENIED", "see https://u:hush@storage.example/a?X-Sig=hush&b=1#hush now"))
    with pytest.raises(Denied) as caught:
        client(stub.host).manifest(repository(stub.host), TAG)
    assert "hush" not in str(caught.value)
    assert "see https://storage.example/a now" in str(caught.value)


def test_a_host_that_is_no_registry_fails_the_check(stub: Stub, client: Connect) -> None:
    with pytest.raises(Unsupported, match="no OCI registry"):
        client(stub.host).check()


@pytest.mark.parametrize("name", ["push", "pull", "login", "get_manifest", "upload_manifest", "delete_tag", "get_tags"])
def test_what_oras_does_unsoundly_is_refused(stub: Stub, client: Connect, name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        getattr(client(stub.host), name)("x")
    assert stub.requests == []
