"""What an auditor asks of a real past, over a plain clone, by the commands: show, replay, explain, rehearse."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import Signers
from reconciler.audit import replay as replaying
from reconciler.audit.rehearsal import PUBLISHED, Proposed, rehearse
from reconciler.audit.replay import Pass, passes, replay
from reconciler.audit.telling import Subject, tell
from reconciler.cli import main
from state.canonical import reading
from state.entry import Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId
from state.log_read import LogReader
from state.plan import PLANNER_VERSION, Plan
from tests.fixtures.audited import Audited
from tests.fixtures.log import git
from tests.fixtures.shop import LOG_REF

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clone(audited: Audited, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(audited.approving.log_remote), "clone")
    return tmp_path / "clone"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["log", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return asked


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def entries(audited: Audited) -> list[Logged]:
    return audited.shop.entries()


# --- replay


def test_every_recorded_pass_gives_the_same_plan_again(audited: Audited, clone: Path, ask: Ask) -> None:
    code, out, _ = ask("replay", clone)
    assert code == 0, out
    count = len(audited.shop.entries(Kind.OBSERVATION))
    assert count >= 3
    assert out == f"{count} passes: {count} give the same plan byte for byte (planner version {PLANNER_VERSION})\n"
    code, out, _ = ask("replay", clone, "--json")
    *each, counts = rows(out)
    assert all(row["same"] and row["plan"] == row["replayed"] for row in each)
    told = {"differ": 0, "other_versions": 0, "passes": count, "same": count}
    assert counts == {**told, "planner_version": PLANNER_VERSION}


def test_another_plan_is_told_with_what_differs(
    audited: Audited, clone: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lazy(seen: Any) -> Plan:
        made = real(seen)
        return Plan(tuple(a for a in made.actions if type(a).__name__ != "Retag"), made.holds)

    real = replaying.plan
    monkeypatch.setattr(replaying, "plan", lazy)
    code, out, _ = ask("replay", clone)
    assert code == 1
    billing = audited.shop.world.repository("billing")
    assert f"the log has, and this plan has not: write {billing}:{audited.retagged} = " in out
    monkeypatch.setattr(replaying, "PLANNER_VERSION", 99)
    code, out, _ = ask("replay", clone)
    assert code == 0, "of another version it may differ, and is told"
    assert f"differs, planned by version {PLANNER_VERSION}" in out
    assert f"of other versions of the planner do not (planner version {PLANNER_VERSION})" in out


def test_a_pass_of_another_version_that_cannot_be_read_is_told_and_the_rest_goes_on(
    audited: Audited, clone: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: object) -> Any:
        raise InvalidValue("snapshot: of another time")

    monkeypatch.setattr(replaying, "join", unread)
    code, _, err = ask("replay", clone)
    assert (code, err) == (2, "ameide: snapshot: of another time\n"), "of this version it has to be read"
    monkeypatch.setattr(replaying, "PLANNER_VERSION", 99)
    count = len(audited.shop.entries(Kind.OBSERVATION))
    code, out, _ = ask("replay", clone)
    assert (code, out.count("recorded in a form that this version does not read")) == (0, count)
    _, out, _ = ask("rehearse", clone, "--policy", audited.approving.policy_file)
    assert f"not in the log ({count}): passes that another version recorded" in out


def test_what_was_recorded_of_a_pass_is_needed_in_full(audited: Audited) -> None:
    reader = LogReader(audited.shop.log, LOG_REF)
    found = [p for p in passes(reader.entries(), reader.blob) if isinstance(p, Pass)]
    assert [p.seen.listing.complete for p in found] == [True] * len(found)
    with pytest.raises(InvalidValue, match="pass: repository_id"):
        list(replay(entries(audited), lambda _oid: b"{}"))


def test_only_a_reconcilers_log_has_passes(clone: Path, ask: Ask, audited: Audited) -> None:
    git(clone, "update-ref", "refs/heads/log/1/janitor", tip(clone))
    code, _, err = ask("replay", clone, "--branch", "log/1/janitor")
    assert code == 2
    assert "holds no passes" in err


# --- explain


def test_a_tag_is_explained_from_the_first_look_to_the_gitops_pull_request(
    audited: Audited, clone: Path, ask: Ask
) -> None:
    orders = audited.shop.world.repository("orders")
    code, out, _ = ask("explain", clone, f"{orders}:{audited.built}")
    assert code == 0
    lines = [line.split("  ", 2)[2] for line in out.splitlines()]
    said = iter(lines)
    for expected in (
        "first seen, as the head of #1",
        "decided to wait for CI's build of this head",
        f"found in place and adopted: {audited.digest}",
        "published the release set",
        "for dev: 5 pins",
        f"approved by alice (marker {audited.marker})",
        f"about to open the GitOps pull request ameide/dev/pr-1/{audited.built[:12]}",
        "GitOps pull request dev#1 is open",
    ):
        assert any(expected in line for line in said), (expected, lines)


def test_a_digest_and_a_gitops_pull_request_lead_to_the_same_head(audited: Audited, clone: Path, ask: Ask) -> None:
    orders = audited.shop.world.repository("orders")
    _, by_digest, _ = ask("explain", clone, audited.digest, "--json")
    _, by_both, _ = ask("explain", clone, f"{orders}@{audited.digest}", "--json")
    assert json.loads(by_digest)["steps"] == json.loads(by_both)["steps"]
    _, by_change, _ = ask("explain", clone, "dev#1", "--json")
    steps = {(s["entry"], s["text"]) for s in json.loads(by_digest)["steps"]}
    wider = {(s["entry"], s["text"]) for s in json.loads(by_change)["steps"]}
    assert steps <= wider, "the pull request pins all images, and so the orders too"
    _, by_head, _ = ask("explain", clone, audited.built, "--json")
    assert {(s["entry"], s["text"]) for s in json.loads(by_head)["steps"]} == wider


@pytest.mark.parametrize("subject", ["dev#99", "0" * 40, f"sha256:{'0' * 64}", "nonsense", "", "x@y", "dev#0"])
def test_what_the_log_does_not_know_is_bad_input(clone: Path, ask: Ask, subject: str) -> None:
    code, out, err = ask("explain", clone, subject)
    assert (code, out) == (2, "")
    assert err.startswith("ameide: ")
    assert err.count("\n") == 1


# --- show


def test_entries_are_found_by_component_person_and_key(audited: Audited, clone: Path, ask: Ask) -> None:
    def kinds(*options: str) -> list[str]:
        code, out, _ = ask("show", clone, "--json", *options)
        assert code == 0
        return [row["kind"] for row in rows(out)]

    every = kinds()
    assert kinds("--by", "rec-0") == every
    assert kinds("--by", "alice") == ["marker", "marker"]
    assert "intent" in kinds("--component", "orders-dispatcher")
    assert kinds("--component", "nothing") == []
    assert kinds("--component", "orders", "-n", "2") == kinds("--component", "orders")[-2:]
    key = (
        subprocess.run(
            ["ssh-keygen", "-l", "-f", str(audited.shop.root / "log-key")], check=True, capture_output=True, text=True
        ).stdout.split()[1]
        if shutil.which("ssh-keygen")
        else LogReader(clone, LOG_REF.short).signer(tip(clone))
    )
    assert kinds("--key", key) == every
    assert kinds("--key", "SHA256:other") == []
    orders, web = (str(audited.shop.world.repository(i)) for i in ("orders", "web"))
    assert "decision" in kinds("--image", orders)
    assert kinds("--image", orders[:-1]) == []
    assert len(kinds("--image", web, "--kind", "plan")) == 2
    assert kinds("--text", "ORDERS-DISPATCHER", "--kind", "marker") == []
    assert kinds("--text", "Orders-Dispatcher", "--kind", "plan") == ["plan", "plan"]


def tip(clone: Path) -> CommitId:
    return CommitId(git(clone, "rev-parse", f"refs/remotes/origin/{LOG_REF.short}").stdout.strip())


def test_entries_are_found_by_time(audited: Audited, clone: Path, ask: Ask) -> None:
    every = entries(audited)
    first, last = every[0].entry.at, every[-1].entry.at
    _, out, _ = ask("show", clone, "--json", "--since", first[:10], "--until", last[:10])
    assert len(rows(out)) == len(every)
    _, out, _ = ask("show", clone, "--json", "--since", last)
    assert {row["at"] for row in rows(out)} == {last}
    _, out, _ = ask("show", clone, "--until", "2020-01-31")
    assert out == ""
    for bad in ("yesterday", "2026-1-1", ""):
        code, out, err = ask("show", clone, "--since", bad)
        assert (code, out) == (2, "")
        assert "2026-01-31T23:59:59Z" in err


# --- rehearse


def test_the_policy_that_was_in_force_would_decide_the_same(audited: Audited, clone: Path, ask: Ask) -> None:
    approving = audited.approving
    code, out, _ = ask("rehearse", clone, "--policy", approving.policy_file, "--config", audited.shop.config, "--json")
    said = json.loads(out)
    # Alice's approval of #2 sufficed, too: nothing of it differed from what dev runs, which no policy says.
    assert [d["about"] for d in said["differences"]] == [f"dev: #2 at {audited.retagged[:12]}"]
    assert said["unknown"] == {}
    assert said["looked_at"]["publishes"] == 1
    assert code == 1


def test_a_stricter_approvers_policy_would_have_kept_the_publish_back(
    audited: Audited, clone: Path, ask: Ask, tmp_path: Path
) -> None:
    policy = json.loads(audited.approving.policy_file.read_text())
    policy["targets"]["dev"]["threshold"] = 2
    stricter = tmp_path / "stricter.yaml"
    stricter.write_text(json.dumps(policy))
    code, out, _ = ask("rehearse", clone, "--policy", stricter)
    assert code == 1
    assert f"approval: dev: #1 at {audited.built[:12]}: was published, would be not published" in out
    assert "(not-enough-approvers)" in out
    assert out.endswith("1 decision would differ\n")
    policy["targets"]["dev"] |= {"threshold": 1, "approvers": ["bob", "carol"]}
    stricter.write_text(json.dumps(policy))
    _, out, _ = ask("rehearse", clone, "--policy", stricter)
    assert "(not-approver)" in out
    del policy["principals"]["alice"]
    policy["admission"]["approvers"] = ["bob"]
    stricter.write_text(json.dumps(policy))
    _, out, _ = ask("rehearse", clone, "--policy", stricter)
    assert "(unknown-key)" in out


def test_another_admission_would_have_kept_heads_out_and_their_writes(
    audited: Audited, clone: Path, ask: Ask, tmp_path: Path
) -> None:
    settings = json.loads(audited.shop.config.read_text())
    settings["repositories"][0]["admission"]["members"] = [11]
    settings["repositories"][0]["verification"]["baseline"] = "none"
    settings["repositories"][0]["baseline"] = "faithful"
    settings["mode"] = "fill"
    for section in ("evidence", "targets", "approvals"):  # none of which goes with unproven baselines
        del settings["repositories"][0][section]
    config = tmp_path / "ameide.yaml"
    config.write_text(json.dumps(settings))
    code, out, err = ask("rehearse", clone, "--config", config, "--json")
    assert (code, err) == (1, "")
    said = json.loads(out)
    admission = [d for d in said["differences"] if d["area"] == "admission"]
    assert [(d["was"], d["would_be"]) for d in admission] == [("admitted", "author-outside")] * 3
    assert said["looked_at"]["tag writes that would not have been made"] == said["looked_at"]["tag writes"] > 0
    verdicts = [d for d in said["differences"] if d["area"] == "verification"]
    assert {d["would_be"] for d in verdicts} == {"unchecked: taken, and shown as unproven"}
    assert any("`baseline: faithful`" in what for what in said["unknown"])


def test_what_the_log_cannot_tell_is_said(audited: Audited, clone: Path, ask: Ask, tmp_path: Path) -> None:
    settings = json.loads(audited.shop.config.read_text())
    settings["repositories"][0]["verification"]["source_repository"] = "https://git.example/another"
    config = tmp_path / "ameide.yaml"
    config.write_text(json.dumps(settings))
    code, out, _ = ask("rehearse", clone, "--config", config)
    assert code == 0
    assert "verdicts on a baseline: the log holds outcomes, no evidence" in out
    assert out.endswith("no decision would differ\n")


def test_nothing_to_rehearse_is_bad_input(clone: Path, ask: Ask, tmp_path: Path) -> None:
    for arguments in ([], ["--policy", tmp_path / "none"], ["--config", tmp_path / "none"], ["--policy", tmp_path]):
        code, out, err = ask("rehearse", clone, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err


# --- entries that are signed and well-formed, and say what no entry of their kind says


def with_body(audited: Audited, kind: Kind, **changed: Any) -> list[Logged]:
    """The log in which the first entry of a kind (an intent or outcome: of a tag write) has another body."""
    found = entries(audited)
    first = next(n for n, e in enumerate(found) if e.entry.kind is kind and {*changed} <= {*e.entry.body})
    body = {**found[first].entry.body, **changed}
    found[first] = replace(found[first], entry=replace(found[first].entry, body=body))
    return found


@pytest.mark.parametrize(
    ("kind", "changed"),
    [(Kind.TOMBSTONE, {"head": ["x"]}), (Kind.MARKER, {"plan": ["x"]})],
)
def test_what_has_another_form_is_not_taken_for_the_subject(
    audited: Audited, kind: Kind, changed: dict[str, Any]
) -> None:
    told = tell(lambda: with_body(audited, kind, **changed), lambda _oid: b"", Subject(head=audited.built))
    assert told.steps


def test_a_result_that_is_none_is_an_error_that_says_so(audited: Audited) -> None:
    found = next(e.entry.body for e in entries(audited) if e.entry.kind is Kind.OUTCOME and e.entry.body.get("writes"))
    row, *more = reading(found, "outcome").objects("writes")
    spoilt = with_body(audited, Kind.OUTCOME, writes=[{**row, "result": "fine"}, *more])
    with pytest.raises(InvalidValue, match="result must be one of"):
        tell(lambda: spoilt, lambda _oid: b"", Subject(head=CommitId(str(row["head"]))))


def test_a_publish_by_an_approval_that_is_not_in_the_log_would_not_have_been_made(audited: Audited) -> None:
    policy = Proposed(signers=Signers(parse_policy(audited.approving.policy_file.read_bytes())))
    reader = LogReader(audited.shop.log, LOG_REF)
    intent = next(e.entry.body for e in entries(audited) if e.entry.kind is Kind.INTENT and "proposals" in e.entry.body)
    (proposal,) = reading(intent, "intent").objects("proposals")
    forged = with_body(audited, Kind.INTENT, proposals=[{**proposal, "approvals": ["0" * 32]}])
    told = {d.would_be for d in rehearse(forged, reader.blob, policy).differences if d.was == PUBLISHED}
    assert f"not published (the log does not hold its approval {'0' * 32})" in told
    with pytest.raises(InvalidValue, match="its envelope is no base64"):
        rehearse(with_body(audited, Kind.MARKER, envelope="?"), reader.blob, policy)
