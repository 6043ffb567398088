"""A registry that misbehaves in the middle of passes: what the matrix says, that nothing is written, that it heals.

The registry is real; a stub before it spoils what concerns one image. Client, passes and log are the product's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler import registry_clients, wiring
from reconciler.adapters.registry_limits import Limits
from reconciler.matrix import State
from state.entry import Kind
from state.oci import OCI_INDEX, Digest
from tests.fixtures.registry_stub import Front, Reply, Seen, Stub, error
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, SkewedClock, cells, changes, serving

GIB = 1024 * 1024 * 1024
DROP = Reply(drop=True)
HTML = Reply(200, {"Content-Type": "text/html"}, b"<html>please sign in</html>")
LATER = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
LIE = Digest.of(b"other bytes")
Fault = Callable[[Front, Seen], Reply]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkewedClock:
    """The registry client's clock. Its waits between tries are short, and it gives up a silent server soon."""
    made = SkewedClock()

    def limits(**options: Any) -> Limits:
        return Limits(**{**options, "read_timeout_s": 0.2, "backoff_base_s": 0.001})

    monkeypatch.setattr(wiring, "SystemClock", lambda: made)
    monkeypatch.setattr(registry_clients, "Limits", limits)
    return made


@pytest.fixture
def front(tmp_path: Path, stub: Stub) -> Iterator[Front]:
    with serving(tmp_path / "registry") as upstream:
        made = Front(stub, upstream.host)
        made.answered = upstream.answered  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def shop(tmp_path: Path, front: Front) -> Shop:
    (tmp_path / "shop").mkdir()
    return Shop(tmp_path / "shop", front.host)


def writes(front: Front, image: str) -> list[str]:
    """Every PUT of a manifest that reached the real registry for this image, but for those of its CI."""
    made: list[tuple[str, str, int]] = front.answered  # type: ignore[attr-defined]
    return [path for method, path, _ in made if method == "PUT" and f"/{image}/manifests/" in path
            and not path.endswith("/main") and "sha256:" not in path]  # fmt: skip


def says(reply: Reply) -> Fault:
    return lambda _front, _seen: reply


def silent(front: Front, _: Seen) -> Reply:
    front.stub.closing.wait(1)
    return Reply(500)


def with_wrong_digest(front: Front, seen: Seen) -> Reply:
    true = front.forwards(seen)
    return Reply(true.status, {**true.headers, "Docker-Content-Digest": LIE}, true.body)


def with_other_bytes(front: Front, seen: Seen) -> Reply:
    true = front.forwards(seen)
    return Reply(true.status, true.headers, true.body + b" ")


def cut_short(front: Front, seen: Seen) -> Reply:
    true = front.forwards(seen)
    return Reply(true.status, true.headers, true.body[:20], announce=len(true.body))


def moved(front: Front, _: Seen) -> Reply:
    return Reply(307, {"Location": f"http://{front.host}/elsewhere"})


READS: dict[str, tuple[Fault, str, str]] = {
    "cuts the connection": (says(DROP), "pass_problem", "no usable answer"),
    "says nothing": (silent, "pass_problem", "no usable answer"),
    "401": (says(error(401, "UNAUTHORIZED")), "pass_problem", "credential"),
    "403 denied": (says(error(403, "DENIED", "requested access is denied")), "pass_problem", "check that it exists"),
    "403 rate": (says(error(403, "DENIED", "API rate limit exceeded")), "pass_problem", "limits our rate"),
    "403 quota": (says(error(403, "DENIED", "storage quota exceeded")), "pass_problem", "the owner's quota"),
    "404 to everything": (says(error(404, "NAME_UNKNOWN")), "", ""),
    "429 in seconds": (says(error(429, "TOOMANYREQUESTS", Retry_After="300")), "pass_problem", "limits our rate"),
    "429 as a date": (says(error(429, "TOOMANYREQUESTS", Retry_After=LATER)), "pass_problem", "limits our rate"),
    "500": (says(Reply(500)), "pass_problem", "answered 500"),
    "a page with 200": (says(HTML), "pass_problem", "not a registry's answer"),
    "a cut answer": (cut_short, "pass_problem", "no usable answer"),
    "another digest": (with_wrong_digest, "integrity_violated", f"announced {LIE}"),
    "other bytes": (with_other_bytes, "integrity_violated", "nothing was used"),
    "a redirect to nowhere": (moved, "pass_problem", "after a redirect"),
    "an announced GiB": (
        says(Reply(200, {"Content-Type": OCI_INDEX}, announce=GIB)), "pass_problem", f"has {GIB} bytes"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", READS)
def test_a_spoiled_read_holds_its_image_writes_nothing_and_heals(
    shop: Shop, front: Front, clock: SkewedClock, kind: str
) -> None:
    fault, event, text = READS[kind]
    number, head = shop.opens("docs", DOCS)
    front.fault = lambda seen: fault(front, seen) if "/shop/orders/" in seen.path or "elsewhere" in seen.path else None
    if kind == "a redirect to nowhere":
        front.fault = lambda seen: (
            Reply(404) if "elsewhere" in seen.path else fault(front, seen) if "/shop/orders/" in seen.path else None
        )
    with shop.reconciler() as running:
        report = running.one_pass()
        rows = cells(report, number)
        assert (rows["orders"].state, rows["orders"].reason) == (State.HELD, "baseline-unknown")
        assert rows["orders"] == rows["orders-dispatcher"]._replace(component="orders")
        told = [e["error"] for e in running.events(event)] if event else []
        # A rate limit holds back everything of its owner; any other fault concerns its image alone.
        assert len([line for line in told if "shop/orders" in line and text in line]) == (1 if event else 0)
        assert len(told) <= 1 or "limits our rate" in text
        assert writes(front, "orders") == []

        front.fault = lambda _: None
        clock.skew_s += 400
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    assert len(writes(front, "orders")) == 1
    shop.verified()


def test_a_gibibyte_that_is_streamed_is_cut_off_after_the_bound(shop: Shop, front: Front, clock: SkewedClock) -> None:
    number, _ = shop.opens("docs", DOCS)
    sent = [0]

    def gibibyte() -> Iterator[bytes]:
        while sent[0] < GIB:
            sent[0] += 1 << 20
            yield b" " * (1 << 20)

    front.fault = lambda seen: (
        Reply(200, {"Content-Type": OCI_INDEX}, chunks=gibibyte()) if "/shop/orders/" in seen.path else None
    )
    with shop.reconciler() as running:
        rows = cells(running.one_pass(), number)
        assert rows["orders"].reason == "baseline-unknown"
        assert "has more than 4194304 bytes" in running.events("pass_problem")[0]["error"]
        assert sent[0] < 64 << 20
        front.fault = lambda _: None
        assert running.until_quiet().converged


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(Reply(500), "tag-unknown"), (HTML, "tag-unknown"), (error(404, "NAME_UNKNOWN"), "tag-unknown")],
    ids=["500", "a page", "404 to everything"],
)
def test_a_build_that_cannot_be_looked_for_is_unknown_and_not_waited_for(
    shop: Shop, front: Front, clock: SkewedClock, reply: Reply, reason: str
) -> None:
    number, head = shop.opens("orders", changes("orders"))
    front.fault = lambda seen: reply if "/shop/orders/" in seen.path else None
    with shop.reconciler() as running:
        running.one_pass()
        assert cells(running.one_pass(), number)["orders"].reason == reason
        front.fault = lambda _: None
        assert cells(running.until_quiet(), number)["orders"].reason == "awaits-build"
        shop.world.ci_builds("orders", head)
        assert running.until_quiet(number).converged


# --- writes


WRITES: dict[str, tuple[Reply, str]] = {
    "cuts the connection": (DROP, "uncertain"),
    "403 denied": (error(403, "DENIED", "requested access is denied"), "failed"),
    "403 quota": (error(403, "DENIED", "storage quota exceeded"), "failed"),
    "429 in seconds": (error(429, "TOOMANYREQUESTS", Retry_After="300"), "uncertain"),
    "500": (Reply(500), "uncertain"),
    "a page with 200": (HTML, "uncertain"),
    "another digest": (Reply(201, {"Docker-Content-Digest": LIE}), "conflict"),
    "a redirect": (Reply(307, {"Location": "/elsewhere"}), "failed"),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_refused_write_is_recorded_as_such_and_made_up_for(
    shop: Shop, front: Front, clock: SkewedClock, kind: str
) -> None:
    reply, result = WRITES[kind]
    number, head = shop.opens("docs", DOCS)
    front.fault = lambda seen: reply if seen.method == "PUT" and "/shop/orders/manifests/" in seen.path else None
    with shop.reconciler() as running:
        running.one_pass()
        report = running.one_pass()
        assert cells(report, number)["orders"].state not in (State.RETAGGED, State.BUILT)
        assert result in results(shop, "orders")
        assert shop.tag("orders", head) is None
        front.fault = lambda _: None
        clock.skew_s += 400
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    shop.verified()


def test_a_write_that_landed_while_its_answer_was_lost_is_found_and_not_repeated(
    shop: Shop, front: Front, clock: SkewedClock
) -> None:
    number, head = shop.opens("docs", DOCS)

    def lands_and_cuts(seen: Seen) -> Reply | None:
        if seen.method == "PUT" and "/shop/orders/manifests/" in seen.path:
            assert front.forwards(seen).status == 201
            return DROP
        return None

    front.fault = lands_and_cuts
    with shop.reconciler() as running:
        running.one_pass()
        assert "uncertain" in results(shop, "orders")
        assert any("the write may have happened" in e["error"] for e in running.events("tag_write_failed"))
        sent = len(writes(front, "orders"))
        report = running.until_quiet()
        assert report.converged
        assert cells(report, number)["orders"].digest == shop.main("orders")
    # The tries of the one call, and none later: the next pass found it in place.
    assert len(writes(front, "orders")) == sent
    assert shop.tags(head)["orders"] == shop.main("orders")
    shop.verified()


def results(shop: Shop, image: str) -> list[str]:
    """What the outcomes in the log say of this image's writes."""
    rows: list[Any] = [row for e in shop.entries(Kind.OUTCOME) for row in e.entry.body["writes"]]  # type: ignore[union-attr]
    return [row["result"] for row in rows if row["repository"].endswith(f"/{image}")]


# --- everything at once


def test_a_registry_that_is_down_holds_new_heads_keeps_old_rows_and_is_made_up_for(
    shop: Shop, front: Front, clock: SkewedClock
) -> None:
    old, _ = shop.opens("old", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        front.fault = lambda _: DROP
        new, head = shop.opens("new", {"README.md": "newer\n"})
        report = running.one_pass()
        assert {c.state for c in cells(report, old).values()} == {State.RETAGGED}
        assert {c.reason for c in cells(report, new).values()} == {"baseline-unknown"}
        assert not [e for e in shop.entries(Kind.INTENT) if head in str(e.entry.body)]
        front.fault = lambda _: None
        clock.skew_s += 400
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
