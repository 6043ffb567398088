"""Configuration files that change into something unusable while the reconciler runs: it keeps the one before."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_daemon import Start, filled, start, swap
from tests.fixtures.shop import DOCS, Shop, eventually

assert start


def test_whatever_becomes_of_the_file_the_configuration_before_stays_in_force(shop: Shop, start: Start) -> None:
    """Half written, emptied, replaced by a directory, removed, a link into nothing, too large, and no text at all."""
    good = shop.config.read_bytes()

    def directory(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def dangling(path: Path) -> None:
        path.unlink()
        path.symlink_to("nowhere.yaml")

    faults: list[tuple[str, Callable[[Path], object]]] = [
        ("half written", lambda path: path.write_bytes(good[: len(good) // 2])),
        ("emptied", lambda path: path.write_bytes(b"")),
        ("a directory", directory),
        ("removed", lambda path: path.unlink()),
        ("a link into nothing", dangling),
        ("endless", lambda path: path.write_bytes(good + b" " * (8 << 20))),
        ("no text", lambda path: path.write_bytes(b"\xff\x00\xfe")),
    ]
    process = start()
    process.until_ready()
    for number, (what, spoil) in enumerate(faults):
        told = len(process.events("config_refused"))
        spoil(shop.config)
        # A file is emptied and then written: what lies between is refused too, so there may be more than one.
        process.until("config_refused", told + 1)
        eventually(f"not ready: {what}", lambda: process.readiness()[0] == 503)
        assert str(shop.config) in process.events("config_refused")[-1]["error"], what
        _, head = shop.opens(f"docs-{number}", {"README.md": f"{number}\n"})
        eventually(f"work goes on: {what}", filled(shop, head))
        if shop.config.is_dir() and not shop.config.is_symlink():
            shutil.rmtree(shop.config)
        shop.config.unlink(missing_ok=True)
        shop.config.write_bytes(good)
        process.until_ready()
    assert process.events("config_loaded") == []
    assert process.ends(signal.SIGTERM) == 0
    assert "Traceback" not in process.log
    shop.verified()


def test_a_config_map_that_is_swapped_again_and_again_ends_with_the_last_one(shop: Shop, start: Start) -> None:
    mounted = shop.root / "mounted"
    config = swap(mounted, {**shop.settings, "mode": "observe"})
    process = start(config)
    process.until_ready()
    for n in range(6):
        swap(mounted, {**shop.settings, "mode": "observe", "poll_interval_s": 2 + n})
    last = {**shop.settings, "mode": "fill", "poll_interval_s": 3}
    swap(mounted, last)
    _, head = shop.opens("docs", DOCS)
    eventually("every tag of the head", filled(shop, head))
    process.until("started", mode="fill")
    process.until_ready()
    assert process.events("config_refused") == []
    assert json.loads(config.read_text()) == json.loads(json.dumps(last))
    assert process.ends(signal.SIGTERM) == 0
    shop.verified()
