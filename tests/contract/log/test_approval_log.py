"""`ameide approval list`, `show` and `explain` over a real log."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reconciler.approval.envelopes import verify
from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import Signers
from reconciler.cli import root as cli
from state.entry import Kind
from state.errors import ConfigError, Terminal
from state.oci import Digest
from tests.fixtures.approvals import (
    admits,
    approves,
    revokes,
    sealed,
)
from tests.fixtures.approver_machine import POLICY
from tests.fixtures.log import LogBench


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    """A log with an approval that was used, one that was taken back, one that is over, and an admission."""
    bench = LogBench(tmp_path)
    now = int(time.time())
    with bench.log() as log:

        def taken(marker: Any, kind: str = "approval") -> None:
            raw = sealed(marker)
            body = {
                "digest": Digest.of(raw),
                "envelope": base64.b64encode(raw).decode(),
                "id": marker.id,
                "principals": list(marker.approvers),
            }
            if kind == "revocation":
                log.append(Kind.REVOCATION, body)
            else:
                log.append(Kind.MARKER, {**body, "kind": kind})

        fresh = {"issued_at": now, "not_after": now + 3600}
        taken(approves(id="a" * 32, **fresh))
        intent = log.append(Kind.INTENT, {"action": "propose", "approvals": ["a" * 32], "pr": 41})
        log.append(Kind.OUTCOME, {"intent": intent.id, "result": "done"})
        taken(approves("bob", id="b" * 32, **fresh))
        taken(revokes("bob", id="b" * 32), "revocation")
        taken(approves(id="c" * 32, issued_at=1, not_after=2))
        taken(approves(id="d" * 32, **fresh))
        taken(admits(id="e" * 32, pull_request=7, **fresh), "admission")
        log.append(Kind.ANCHOR, {"text": "unrelated"})
    return bench.repo


def ask(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["approval", *map(str, arguments)], standalone_mode=False)


def test_every_marker_is_listed_with_what_became_of_it(log_path: Path) -> None:
    rows = json.loads(ask("list", "--log", log_path, "--json").output)
    assert [(row["id"][0], row["kind"], row["state"]) for row in rows] == [
        ("a", "approval", "consumed"),
        ("b", "approval", "revoked"),
        ("c", "approval", "expired"),
        ("d", "approval", "open"),
        ("e", "admission", "in force"),
    ]
    table = ask("list", "--log", log_path, "--pr", "7").output
    assert "e" * 32 in table
    assert "a" * 32 not in table


def test_a_marker_is_shown_as_it_was_signed(log_path: Path) -> None:
    shown = json.loads(ask("show", "--log", log_path, "a" * 32).output)
    assert shown["predicate"]["id"] == "a" * 32
    raw = ask("show", "--log", log_path, "a" * 32, "--envelope").stdout_bytes
    assert verify(raw, Signers(parse_policy(json.dumps(POLICY).encode()))).marker.id == "a" * 32


def test_what_became_of_a_marker_is_told_entry_by_entry(log_path: Path) -> None:
    told = json.loads(ask("explain", "--log", log_path, "a" * 32, "--json").output)
    assert [row["kind"] for row in told["entries"]] == ["marker", "intent", "outcome"]
    text = ask("explain", "--log", log_path, "b" * 32).output
    assert "approval " + "b" * 32 + " by bob: revoked" in text
    assert "taken back by bob" in text


def test_a_marker_that_is_not_in_the_log_is_told(log_path: Path, tmp_path: Path) -> None:
    for arguments in (("show", "--log", log_path, "f" * 32), ("explain", "--log", log_path, "f" * 32)):
        assert isinstance(ask(*arguments).exception, ConfigError)
    assert isinstance(ask("list", "--log", tmp_path / "none").exception, Terminal)
