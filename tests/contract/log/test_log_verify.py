"""Offline verification: an honest log is clean on any clone, and every way to tamper with one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ObjectType, Option

from state import log_commit, sshsig
from state.entry import Kind
from state.errors import ConfigError, Terminal
from state.log_verify import VerifyReport, verify
from tests.fixtures.log import NAME, Forger, LogBench, genesis, git, other_signer


@pytest.fixture
def written(bench: LogBench) -> LogBench:
    """Two epochs: 0 genesis, 1 epoch, 2 decision, 3 observation with blobs, 4 intent, 5 outcome, 6 epoch, 7 config."""
    with bench.log() as log:
        log.append(Kind.DECISION, {"head": "a" * 40, "pull_requests": [1]})
        log.append(Kind.OBSERVATION, {}, {"x": b"1", "y": b"2"})
        intent = log.append(Kind.INTENT, {"writes": [1]})
        log.append(Kind.OUTCOME, {"intent": intent.id, "writes": [1]})
    with bench.log() as log:
        log.append(Kind.CONFIG, {"n": 7})
    return bench


def told(report: VerifyReport) -> str:
    return "\n".join(f"{p.sequence}: {p.what}" for p in report.problems)


def test_an_honest_log_is_clean(written: LogBench) -> None:
    report = verify(written.repo)
    assert report.clean
    assert told(report) == ""
    (branch,) = report.branches
    assert (branch.entries, branch.epochs, branch.last) == (8, 2, written.tip())
    assert branch.keys == (written.signer.public_key(),)
    assert branch.warnings == ()
    assert not report.checked_against_outside_list
    assert verify(written.repo, allowed_signers_file=written.allowed()).checked_against_outside_list


@pytest.mark.parametrize("bare", [True, False])
def test_a_clone_verifies_offline(written: LogBench, bare: bool, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", *(["--bare"] if bare else []), str(written.repo), str(clone))
    report = verify(clone, allowed_signers_file=written.allowed(), anchor=written.tip())
    assert report.clean
    assert {b.entries for b in report.branches} == {8}
    if not bare:
        assert verify(clone, "log/4711/reconciler").clean
        git(clone, "checkout", "--quiet", "--detach")
        git(clone, "branch", "--quiet", "-D", "log/4711/reconciler")
        assert [b.branch for b in verify(clone).branches] == ["refs/remotes/origin/log/4711/reconciler"]
        assert verify(clone, "log/4711/reconciler").entries == 8


def truncate(forger: Forger) -> None:
    forger.point(forger.chain()[5][0])


def renumber(forger: Forger) -> None:
    chain = forger.chain()
    forger.point(forger.replay([replace(e, sequence=e.sequence - 1) for _, e in chain[4:]], chain[2][0]))


def rewrite(forger: Forger) -> None:
    chain = forger.chain()
    changed = replace(chain[2][1], body={"head": "b" * 40, "pull_requests": [1]})
    forger.point(forger.replay([changed, *(e for _, e in chain[3:])], chain[1][0]))


@pytest.mark.parametrize("tamper", [truncate, renumber, rewrite])
def test_what_the_own_key_can_hide_an_anchor_shows(written: LogBench, tamper: Callable[[Forger], None]) -> None:
    anchor = written.tip()
    tamper(Forger(written, written.repo))
    assert verify(written.repo).clean
    report = verify(written.repo, anchor=anchor)
    assert "the anchor is in none of the verified logs" in told(report)
    assert report.problems[0].entry == anchor


def test_every_entry_of_an_honest_log_is_an_anchor(written: LogBench) -> None:
    for oid, _ in Forger(written, written.repo).chain():
        assert verify(written.repo, anchor=oid).clean


def drop(forger: Forger) -> str:
    chain = forger.chain()
    forger.point(forger.replay([e for _, e in chain[4:]], chain[2][0]))
    return "4: sequence 4 follows 2: entries were dropped"


def repeat(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(entry, oid))
    return "7: sequence 7 follows 7"


def drop_the_start(forger: Forger) -> str:
    chain = forger.chain()
    forger.point(forger.replay([e for _, e in chain[2:]], None))
    return "the first entry is of kind decision, expected genesis"


def other_key(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=8), oid, other_signer().sign))
    return "8: signature: expected one by SHA256:"


def wrong_namespace(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    key = forger.bench.signer._key
    forger.point(forger.entry(replace(entry, sequence=8), oid, lambda p: sshsig.sign(key, p, "file")))
    return "8: signature: expected namespace 'git', got 'file'"


def signature_of_another_entry(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=8), oid, lambda _: forger.bench.signer.sign(b"other")))
    return "8: signature: SHA256:"


def unsigned(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.write(log_commit.payload(replace(entry, sequence=8), oid)))
    return "8: not signed"


def merge(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    one = log_commit.payload(replace(entry, sequence=8), oid)
    two = one.replace(f"parent {oid}\n".encode(), f"parent {oid}\nparent {forger.chain()[3][0]}\n".encode())
    forger.point(forger.write(log_commit.signed(two, forger.key(two))))
    return "8: a merge commit with 2 parents"


def extra_blob(forger: Forger) -> str:
    return _with_tree(forger, {"x": "1", "y": "2"}, {"x": "1"})


def missing_blob(forger: Forger) -> str:
    return _with_tree(forger, {"x": "1"}, {"x": "1", "y": "2"})


def edited_blob(forger: Forger) -> str:
    return _with_tree(forger, {"x": "edited"}, {"x": "1"})


def renamed_blob(forger: Forger) -> str:
    return _with_tree(forger, {"z": "1"}, {"x": "1"})


def _with_tree(forger: Forger, held: dict[str, str], named: dict[str, str]) -> str:
    oid, entry = forger.chain()[-1]
    ids = {n: forger.write(t.encode(), ObjectType.BLOB) for n, t in held.items()}
    tree = forger.write(log_commit.tree_bytes(ids), ObjectType.TREE)
    claims = {n: log_commit.object_id("blob", t.encode()) for n, t in named.items()}
    raw = log_commit.payload(replace(entry, sequence=8, blobs=claims), oid)
    raw = raw.replace(log_commit.tree_id(claims).encode(), tree.encode(), 1)
    forger.point(forger.write(log_commit.signed(raw, forger.key(raw))))
    return "8: its tree"


def executable_blob(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    blob = forger.write(b"1", ObjectType.BLOB)
    tree = forger.write(log_commit.tree_bytes({"x": blob}).replace(b"100644", b"100755"), ObjectType.TREE)
    raw = log_commit.payload(replace(entry, sequence=8, blobs={"x": blob}), oid)
    raw = raw.replace(log_commit.tree_id({"x": blob}).encode(), tree.encode(), 1)
    forger.point(forger.write(log_commit.signed(raw, forger.key(raw))))
    return "8: its tree"


def _edited(forger: Forger, old: bytes, new: bytes) -> None:
    oid, entry = forger.chain()[-1]
    raw = log_commit.payload(replace(entry, sequence=8), oid)
    assert old in raw
    raw = raw.replace(old, new, 1)
    forger.point(forger.write(log_commit.signed(raw, forger.key(raw))))


def non_canonical(forger: Forger) -> str:
    _edited(forger, b'{"at"', b'{ "at"')
    return "8: log entry 8: the text is not in canonical form"


def lying_subject(forger: Forger) -> str:
    _edited(forger, b"\nconfig 8:", b"\noutcome 8: all is well")
    return "8: log entry 8: the text is not in canonical form, or its subject line lies"


def lying_author(forger: Forger) -> str:
    _edited(forger, b"author rec-0 <", b"author mallory <")
    return "8: its author, committer, time or other headers"


def lying_committer_time(forger: Forger) -> str:
    _edited(forger, b" +0000\n\n", b" +0200\n\n")
    return "8: its author, committer, time or other headers"


def extra_header(forger: Forger) -> str:
    _edited(forger, b"\n\n", b"\nencoding latin-1\n\n")
    return "8: its author, committer, time or other headers"


def header_behind_the_signature(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    raw = log_commit.payload(replace(entry, sequence=8), oid)
    raw = log_commit.signed(raw, forger.key(raw))
    forger.point(forger.write(raw.replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\nnote x\n\n")))
    return "8: SSH signature: expected the armour"


def signature_lines_that_git_reads_as_headers(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    raw = log_commit.payload(replace(entry, sequence=8), oid)
    raw = log_commit.signed(raw, forger.key(raw))
    forger.point(forger.write(raw.replace(b"\n -----END", b"\n-----END")))
    return "8: the commit is not in the one form"


def blank_line_behind_the_signature(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    raw = log_commit.payload(replace(entry, sequence=8), oid)
    raw = log_commit.signed(raw, forger.key(raw))
    forger.point(forger.write(raw.replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\n \n\n")))
    return "8: the commit is not in the one form"


def epoch_back(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=8, epoch=1), oid))
    return "8: the epoch goes back: 1 follows 2"


def epoch_without_entry(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=8, epoch=3), oid))
    return "8: the epoch rises without an epoch entry"


def epoch_jump(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    body = {"orphan": None, "writer": "rec-0"}
    forger.point(forger.entry(replace(entry, kind=Kind.EPOCH, sequence=8, epoch=9, body=body), oid))
    return "8: epoch 9 follows epoch 2, expected 3"


def epoch_of_another(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    body = {"orphan": None, "writer": "rec-1"}
    forger.point(forger.entry(replace(entry, kind=Kind.EPOCH, sequence=8, epoch=3, body=body), oid))
    return "8: the epoch names writer 'rec-1', the entry is by rec-0"


def writer_without_epoch(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=8, writer="rec-1"), oid))
    return "8: by rec-1, but epoch 2 belongs to rec-0"


def key_by_wrong_key(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    new = other_signer()
    body = {"key": new.public_key()}
    at = forger.entry(replace(entry, kind=Kind.KEY, sequence=8, body=body), oid, new.sign)
    forger.point(forger.entry(replace(entry, sequence=9), at, new.sign))
    return "8: signature: expected one by"


def key_that_is_none(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, kind=Kind.KEY, sequence=8, body={"key": "ssh-rsa x"}), oid))
    return "8: public key: expected"


def old_key_after_rotation(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    body = {"key": other_signer().public_key()}
    at = forger.entry(replace(entry, kind=Kind.KEY, sequence=8, body=body), oid)
    forger.point(forger.entry(replace(entry, sequence=9), at))
    return "9: signature: expected one by"


def second_genesis(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    made = replace(genesis(forger.bench.public_key), sequence=8, epoch=entry.epoch)
    forger.point(forger.entry(made, oid))
    return "8: a second genesis inside the log"


def another_log(forger: Forger) -> str:
    forger.point(forger.entry(genesis(forger.bench.public_key, repository_id=1), None))
    return "0: genesis is of log 1/reconciler, but the branch is"


def genesis_by_another_key(forger: Forger) -> str:
    forger.point(forger.entry(genesis(forger.bench.public_key), None, other_signer().sign))
    return "0: signature: expected one by"


def blob_never_stored(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    claims = {"x": log_commit.object_id("blob", b"never stored")}
    forger.write(log_commit.tree_bytes(claims), ObjectType.TREE)
    forger.point(forger.entry(replace(entry, sequence=8, blobs=claims), oid))
    return "is missing from the repository"


def tree_never_stored(forger: Forger) -> str:
    oid, entry = forger.chain()[-1]
    blob = forger.write(b"stored", ObjectType.BLOB)
    forger.point(forger.entry(replace(entry, sequence=8, blobs={"other": blob}), oid))
    return "is missing from the repository"


@pytest.mark.parametrize(
    "tamper",
    [
        drop, repeat, drop_the_start, other_key, wrong_namespace, signature_of_another_entry, unsigned, merge,
        extra_blob, missing_blob, edited_blob, renamed_blob, executable_blob, non_canonical, lying_subject,
        lying_author, lying_committer_time, extra_header, header_behind_the_signature, epoch_back,
        signature_lines_that_git_reads_as_headers, blank_line_behind_the_signature,
        epoch_without_entry, epoch_jump, epoch_of_another, writer_without_epoch, key_by_wrong_key, key_that_is_none,
        old_key_after_rotation, second_genesis, another_log, genesis_by_another_key, blob_never_stored,
        tree_never_stored,
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(written: LogBench, tamper: Callable[[Forger], str]) -> None:
    expected = tamper(Forger(written, written.repo))
    report = verify(written.repo)
    assert expected in told(report)
    assert len(report.problems) <= 2, told(report)


def test_a_whole_log_by_a_forged_key_needs_an_outside_list(written: LogBench) -> None:
    forger = Forger(written, written.repo)
    forged = other_signer()
    chain = [e for _, e in forger.chain()]
    key = sshsig.PublicKey.parse(forged.public_key())
    forger.key = forged.sign
    forger.point(forger.replay([genesis(key), *chain[1:]], None))
    assert verify(written.repo).clean
    report = verify(written.repo, allowed_signers_file=written.allowed())
    assert len(report.problems) == 8
    assert "is not in the list of allowed signers" in told(report)


def test_a_listed_key_may_sign_only_as_its_principal(written: LogBench) -> None:
    report = verify(written.repo, allowed_signers_file=written.allowed("janitor@ameide.invalid"))
    assert "is listed for janitor@ameide.invalid, not for rec-0@ameide.invalid" in told(report)


@pytest.mark.parametrize("what", ["commit", "tree", "blob"])
@pytest.mark.parametrize("damage", ["bit flip", "missing", "another object's bytes"])
def test_a_damaged_or_missing_object_is_found(written: LogBench, what: str, damage: str) -> None:
    chain = Forger(written, written.repo).chain()
    oid, entry = chain[3]
    victim = {"commit": oid, "tree": log_commit.tree_id(entry.blobs), "blob": entry.blobs["x"]}[what]
    path = written.repo / "objects" / victim[:2] / victim[2:]
    path.chmod(0o644)
    match damage:
        case "missing":
            path.unlink()
        case "bit flip":
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(raw)
        case _:
            other = chain[2][0] if what == "commit" else entry.blobs["y"]
            path.write_bytes((written.repo / "objects" / other[:2] / other[2:]).read_bytes())
    report = verify(written.repo)
    assert not report.clean
    assert victim in told(report)


def test_damage_in_a_pack_is_found(written: LogBench) -> None:
    chain = Forger(written, written.repo).chain()
    found = 0
    written.git("gc", "--quiet")
    (pack,) = (written.repo / "objects" / "pack").glob("*.pack")
    raw = pack.read_bytes()
    pack.chmod(0o644)
    for at in range(12, len(raw) - 20, 97):
        pack.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
        # A flip that no object's bytes depend on (a checksum of zlib's) changes nothing that is read.
        assert not verify(written.repo).clean or Forger(written, written.repo).chain() == chain, at
        found += not verify(written.repo).clean
    assert found > 10
    pack.write_bytes(raw)
    assert verify(written.repo).clean


def test_a_replace_ref_is_found(written: LogBench) -> None:
    chain = Forger(written, written.repo).chain()
    written.git("replace", "-f", chain[3][0], chain[2][0])
    report = verify(written.repo)
    assert [p.what.split(" ")[0] for p in report.problems] == [f"refs/replace/{chain[3][0]}"]
    assert report.entries == 8


@pytest.mark.parametrize("hidden", ["shallow", "info/grafts"])
def test_a_repository_that_hides_history_is_found(written: LogBench, hidden: str) -> None:
    (written.repo / "info").mkdir(exist_ok=True)
    (written.repo / hidden).write_text(f"{Forger(written, written.repo).chain()[4][0]}\n")
    report = verify(written.repo)
    assert hidden in told(report)


def test_a_shallow_clone_is_found(written: LogBench, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{written.repo}", str(tmp_path / "clone"))
    report = verify(tmp_path / "clone", "refs/remotes/origin/log/4711/reconciler")
    assert "a shallow clone hides the older entries" in told(report)


def test_an_intent_that_nobody_answered_though_a_later_epoch_began_is_a_warning(bench: LogBench) -> None:
    with bench.log() as log:
        lost = log.append(Kind.INTENT, {"writes": []})
        answered = log.append(Kind.INTENT, {"writes": []})
        log.append(Kind.OUTCOME, {"intent": answered.id, "writes": []})
        late = log.append(Kind.INTENT, {"writes": []})
        log.append(Kind.OUTCOME, {"intent": None, "writes": []})
    assert verify(bench.repo).warnings == ()
    with bench.log() as log:
        log.append(Kind.OUTCOME, {"intent": late.id, "writes": []})
        log.append(Kind.INTENT, {"writes": []})
    report = verify(bench.repo)
    assert report.clean
    assert [(w.entry, w.sequence) for w in report.warnings] == [(lost.id, 2)]


def test_bytes_under_another_objects_name_are_found_by_our_own_check_too(written: LogBench) -> None:
    chain = Forger(written, written.repo).chain()
    blobs = chain[3][1].blobs
    here, there = (written.repo / "objects" / blobs[n][:2] / blobs[n][2:] for n in ("x", "y"))
    here.chmod(0o644)
    here.write_bytes(there.read_bytes())
    pygit2.option(Option.ENABLE_STRICT_HASH_VERIFICATION, False)
    try:
        assert f"blob {blobs['x']}: its bytes have another id" in told(verify(written.repo))
    finally:
        pygit2.option(Option.ENABLE_STRICT_HASH_VERIFICATION, True)


def test_a_symbolic_log_branch_is_found(written: LogBench) -> None:
    written.git("symbolic-ref", "refs/heads/log/4711/janitor", NAME.ref)
    assert "a symbolic ref" in told(verify(written.repo))
    (written.repo / "refs/heads/log/4711/janitor").write_text("not an id\n")
    assert "cannot be read" in told(verify(written.repo))


def test_bad_input_is_an_error_not_a_finding(bench: LogBench, tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="no such directory"):
        verify(tmp_path / "none")
    (tmp_path / "dir").mkdir()
    with pytest.raises(Terminal, match="not a git repository"):
        verify(tmp_path / "dir")
    with pytest.raises(Terminal, match="no log branch"):
        verify(bench.bare("empty.git"))
    with bench.log():
        pass
    with pytest.raises(Terminal, match="no log branch 'nope'"):
        verify(bench.repo, "nope")
    with pytest.raises(ConfigError):
        verify(bench.repo, allowed_signers_file=tmp_path / "none")


def test_reports_stop_at_a_bound(written: LogBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.log_verify.PROBLEMS_MAX", 3)
    report = verify(written.repo, allowed_signers_file=written.allowed("nobody"))
    assert told(report).endswith("stopped here after 3 problems")


def test_progress_reaches_the_end(written: LogBench) -> None:
    seen: list[tuple[str, int, int]] = []
    verify(written.repo, progress=lambda *at: seen.append(at))
    assert seen[-1] == (NAME.ref, 8, 8)


def test_what_follows_an_entry_that_was_verified_before_is_enough(written: LogBench) -> None:
    chain = [oid for oid, _ in Forger(written, written.repo).chain()]
    for at, oid in enumerate(chain):
        report = verify(written.repo, verified=oid, allowed_signers_file=written.allowed())
        assert report.clean, told(report)
        (branch,) = report.branches
        assert (branch.entries, branch.verified, branch.last) == (len(chain) - at - 1, oid, chain[-1])
        assert verify(written.repo, verified=oid, anchor=chain[0]).clean, "an anchor may be older"


def test_a_key_that_was_announced_by_the_verified_entry_is_the_one_in_force(bench: LogBench) -> None:
    newer = other_signer()
    with bench.log() as log:
        announced = log.rotate(newer.sign, newer.public_key())
        log.append(Kind.CONFIG, {})
    assert verify(bench.repo, verified=announced.id).clean
    forger = Forger(bench, bench.repo)
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, sequence=entry.sequence + 1), oid))  # by the old key
    assert "signature: expected one by" in told(verify(bench.repo, verified=announced.id))


def test_tampering_after_the_verified_entry_is_found_and_before_it_the_entry_is_gone(written: LogBench) -> None:
    chain = Forger(written, written.repo).chain()
    for tamper in (truncate, renumber, rewrite):
        forger = Forger(written, written.repo)
        tamper(forger)
        report = verify(written.repo, verified=chain[-1][0])
        assert "the entry that was verified before is in none of the logs" in told(report)
        forger.point(chain[-1][0])
    forger = Forger(written, written.repo)
    forger.point(forger.replay([replace(e, sequence=e.sequence + 3) for _, e in chain[5:]], chain[4][0]))
    report = verify(written.repo, verified=chain[3][0])
    assert "sequence 8 follows 4: entries were dropped" in told(report)


def test_an_anchor_in_another_ref_of_the_same_log_hides_nothing(written: LogBench) -> None:
    anchor = written.tip()
    other = "refs/remotes/origin/log/4711/reconciler"
    written.git("update-ref", other, anchor)
    forger = Forger(written, written.repo)
    chain = forger.chain()
    again = [replace(entry, at="2026-01-31T13:00:00Z") for _, entry in chain[2:]]
    forger.point(forger.replay(again, chain[1][0]))
    report = verify(written.repo, anchor=anchor)
    assert [p.what for p in report.problems] == [f"{other} and {NAME.ref} tell two histories of one log"]
    forger.point(chain[-2][0])
    assert verify(written.repo, anchor=anchor).clean, "a ref that is behind tells the same history"
