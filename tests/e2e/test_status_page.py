"""The status page of real passes: what it tells is what the log says, and looking at it asks nobody outside."""

from __future__ import annotations

import re
import signal
from datetime import timedelta

from reconciler.demo.world import REPOSITORY_ID
from state.entry import Entry, Kind
from state.git import RefName
from state.history import stamp
from tests.e2e.test_daemon import Start, start
from tests.fixtures.approving import Approving
from tests.fixtures.shop import DOCS, Shop, changes, eventually
from tests.fixtures.status import Served, serving

__all__ = ["start"]

HOSTILE = "<script>alert(1)</script>\"'"


def intents(shop: Shop) -> list[Entry]:
    return [logged.entry for logged in shop.entries(Kind.INTENT)]


def crawl(served: Served) -> dict[str, str]:
    """Every page that can be reached by links, with its text. Fails on a link that leads nowhere."""
    found: dict[str, str] = {}
    to_see = ["/"]
    while to_see:
        path = to_see.pop()
        if path in found:
            continue
        answer = served.ask(path)
        assert answer.status_code in (200, 302), (path, answer.status_code, answer.text)
        found[path] = answer.text
        links = (
            [answer.headers["Location"]] if answer.status_code == 302 else re.findall(r' href="([^"#]+)"', answer.text)
        )
        for link in links:
            whole = f"{path.partition('?')[0]}{link}" if link.startswith("?") else link
            if whole.startswith("/") and "format=json" not in whole:
                to_see.append(whole.replace("&amp;", "&"))
    return found


def test_the_pages_of_a_publish_tell_what_the_log_says_and_every_link_leads_somewhere(approving: Approving) -> None:
    shop = approving.shop
    branch = "orders<b>'name"
    number, head = shop.opens(
        branch, changes("orders"), author_id=21, title=HOSTILE, body=HOSTILE, labels=[HOSTILE, "it's"]
    )
    digest = shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch(branch))
    shop.opens("billing", changes("billing"), author_id=21)
    with shop.reconciler() as running:
        running.until_quiet()
        marker = approving.approves(number, "alice")
        running.until_quiet()
        with serving({"shop": running.repository.shown}, shop.log) as served, shop.requests_made() as asked:
            for site in served.pages._sites.values():
                site.change_urls = {"dev": Served.url_of}
            pages = crawl(served)
            cell = served.json(f"/repositories/shop/pull-requests/{number}/orders")
            release = served.json(f"/repositories/shop/heads/{head}")
            approvals = served.json("/repositories/shop/approvals")
            gitops = served.json("/repositories/shop/gitops")
            log = served.json("/repositories/shop/log")
            (health,) = served.json("/health")["repositories"]
        assert asked == []
    text = "".join(pages.values())
    for strangers_word in ("script>alert", "orders<b>", "orders&lt;b&gt;", "it&#39;s", "it's"):
        assert strangers_word not in text
    entries = {logged.id for logged in shop.entries()}
    assert [step["kind"] for step in cell["steps"]] == ["observation", "decision", "outcome"]
    assert {step["entry"] for step in cell["steps"]} <= entries
    assert (cell["state"], cell["digest"], cell["proven"]) == ("built", digest, True)
    assert cell["evidence"]
    assert release["release"] == cell["release"]
    assert {i["image"]: i["digest"] for i in release["images"]} == {
        str(shop.world.repository(i)): d for i, d in shop.tags(head).items()
    }
    assert all(image["evidence"] and image["recorded_at"] for image in release["images"])
    ((became, name),) = [(a["became"], a["principals"]) for a in approvals["approvals"] if a["id"] == marker]
    assert (became, name) == ("consumed", ["alice"])
    ((state, change),) = [(p["state"], p["change"]) for p in gitops["proposals"]]
    assert (state, [r.number for r in approving.opened()]) == ("open", [change])
    assert [e["id"] for e in log["entries"]] == [logged.id for logged in shop.entries()][::-1][: len(log["entries"])]
    left = running.repository.shown
    assert left is not None
    since = stamp(left.at - timedelta(hours=1))
    written = sum(len(e.body["writes"]) for e in intents(shop) if e.at >= since)  # type: ignore[arg-type]
    assert written
    assert {b["name"]: (b["left"], b["of"]) for b in health["budgets"]}["tag writes"] == (2000 - written, 2000)
    assert health["log_sequence"] == len(shop.entries()) - 1
    assert REPOSITORY_ID == 1001  # the id that the pages look for


def test_a_running_process_serves_it_and_a_closed_pull_request_leaves_it(shop: Shop, start: Start) -> None:
    number, head = shop.opens("docs", DOCS)
    process = start()
    eventually("every tag", lambda: None not in shop.tags(head).values(), within_s=60)
    row = f"/repositories/shop/pull-requests/{number}"
    eventually("the row", lambda: "retagged" in process.get(row).text, within_s=60)
    page = process.get("/repositories/shop")
    assert (page.status_code, head[:12] in page.text) == (200, True)
    assert "ready" in process.get("/health").text
    closed = shop.runs("local", "pr", "close", "--repo", str(shop.code), str(number))
    assert closed.returncode == 0, closed.stderr
    eventually("its end", lambda: process.get(row).status_code == 404, within_s=60)
    assert "No pull request is open." in process.get("/repositories/shop").text
    assert process.ends(signal.SIGTERM) == 0
