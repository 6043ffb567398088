"""The log and its remote: refused pushes, lost answers, rewound remotes, and a writer that was replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from state import log_activation
from state.entry import Kind
from state.errors import ConfigError, Denied, Fenced, LogRollback, Terminal, Unavailable
from state.log_remote import LogRemote
from state.log_verify import verify
from tests.fixtures.log import NAME, LogBench
from tests.fixtures.log_remote import GitServer

ORPHAN = "refs/heads/log-orphan/rec-0/1"


@pytest.fixture
def other(tmp_path: Path, bench: LogBench) -> LogBench:
    """A second machine with the same key: its own repository, its own memory."""
    root = tmp_path / "other"
    root.mkdir()
    made = LogBench(root)
    made.signer = bench.signer
    return made


def test_a_push_brings_the_remote_up_to_the_tip(bench: LogBench, git_server: GitServer) -> None:
    served = git_server.bare("log.git")
    with bench.log(remote=git_server.url("log.git")) as log:
        made = log.append(Kind.OBSERVATION, {}, {"x": b"1"})
        assert log.push()
        assert bench.tip(served) == made.id
        assert log.push()
    assert verify(served, anchor=made.id).clean
    with bench.log() as log:
        assert log.push() is False


def test_a_refused_push_saves_the_tail_and_fences(bench: LogBench, git_server: GitServer) -> None:
    git_server.bare("log.git")
    with bench.log(remote=git_server.url("log.git")) as log:
        hook = git_server.hook("log.git", "echo policy says no >&2; exit 1")
        made = log.append(Kind.CONFIG, {})
        with pytest.raises(Fenced, match=rf"refused .*hook declined.*saved as {ORPHAN}"):
            log.push()
        for call in (log.push, lambda: log.append(Kind.CONFIG, {})):
            with pytest.raises(Fenced):
                call()
    assert bench.git("rev-parse", ORPHAN).strip() == made.id
    with pytest.raises(Fenced):
        bench.log(remote=git_server.url("log.git")).activate()
    hook.unlink()
    log = bench.log(remote=git_server.url("log.git"))
    assert log.activate().unpushed_orphans == ()
    log.close()
    assert bench.git("rev-parse", ORPHAN, repo=git_server.root / "log.git").strip() == made.id
    assert verify(git_server.root / "log.git", anchor=made.id).clean


def test_a_replaced_writer_is_fenced_and_its_tail_is_recorded(
    bench: LogBench, other: LogBench, git_server: GitServer
) -> None:
    served = git_server.bare("log.git")
    url = git_server.url("log.git")
    first = bench.log(remote=url)
    first.activate()
    taken = other.log(remote=url, writer="rec-1")
    assert taken.activate().epoch == 2
    lost = first.append(Kind.CONFIG, {"never": "pushed"})
    with pytest.raises(Fenced, match="did not append; the tail is saved"):
        first.push()
    first.close()
    kept = taken.append(Kind.CONFIG, {})
    taken.push()
    taken.close()

    again = bench.log(remote=url)
    began = again.activate()
    assert (began.epoch, began.orphan) == (3, lost.id)
    newest = list(again.entries())[-1]
    assert newest.entry.body == {"orphan": lost.id, "writer": "rec-0"}
    again.close()
    assert bench.git("rev-parse", ORPHAN).strip() == lost.id
    assert bench.git("rev-parse", ORPHAN, repo=served).strip() == lost.id
    for repo in (bench.repo, served):
        assert verify(repo, anchor=kept.id).clean
    with bench.log(remote=url) as log:
        assert list(log.entries())[-1].entry.body["orphan"] is None


def test_an_unpushed_tail_of_a_crashed_writer_is_saved_when_another_took_over(
    bench: LogBench, other: LogBench, git_server: GitServer
) -> None:
    git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url) as log:
        lost = log.append(Kind.CONFIG, {})
    with other.log(remote=url, writer="rec-1"):
        pass
    log = bench.log(remote=url)
    assert log.activate().orphan == lost.id
    log.close()
    assert bench.git("rev-parse", ORPHAN).strip() == lost.id


@pytest.mark.parametrize("step", ["the branch has not moved", "the branch has moved"])
def test_a_crash_while_giving_way_is_not_taken_for_a_rollback(
    bench: LogBench, other: LogBench, git_server: GitServer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url) as log:
        lost = log.append(Kind.CONFIG, {})
    with other.log(remote=url, writer="rec-1"):
        pass

    class Killed(BaseException):
        pass

    move = log_activation._move

    def killed(*arguments: Any) -> None:
        if step == "the branch has moved":
            move(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(log_activation, "_move", killed)
        with pytest.raises(Killed):
            bench.log(remote=url).activate()
    log = bench.log(remote=url)
    assert log.activate().orphan == lost.id
    log.close()
    assert verify(bench.repo).clean


def test_a_remote_that_is_ahead_is_followed_after_its_entries_verify(
    bench: LogBench, other: LogBench, git_server: GitServer
) -> None:
    git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url):
        pass
    with other.log(remote=url, writer="rec-1") as log:
        ahead = log.append(Kind.OBSERVATION, {}, {"x": b"1"})
        log.push()
    with bench.log(remote=url) as log:
        assert ahead in list(log.entries())
    assert verify(bench.repo).clean


@pytest.mark.parametrize("deleted", [False, True])
def test_a_rewound_remote_is_a_rollback(bench: LogBench, git_server: GitServer, deleted: bool) -> None:
    served = git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url) as log:
        log.append(Kind.CONFIG, {})
        log.push()
        pushed = bench.tip(served)
        if deleted:
            bench.git("update-ref", "-d", NAME.ref, repo=served)
        else:
            bench.git("update-ref", NAME.ref, f"{pushed}~1", repo=served)
        log.append(Kind.CONFIG, {})
        with pytest.raises(LogRollback, match=f"had {pushed}"):
            log.push()
    with pytest.raises(LogRollback, match=f"{pushed} was there before"):
        bench.log(remote=url).activate()


def test_a_push_whose_answer_was_lost_is_judged_by_the_remote(bench: LogBench, git_server: GitServer) -> None:
    served = git_server.bare("log.git")
    with bench.log(remote=git_server.url("log.git")) as log:
        made = log.append(Kind.CONFIG, {})
        git_server.lose_answers_to_pushes = 1
        assert log.push()
        assert git_server.lose_answers_to_pushes == 0
        assert bench.tip(served) == made.id
        log.append(Kind.CONFIG, {})
        assert log.push()


def test_a_remote_that_is_down_is_for_now_and_appends_go_on(bench: LogBench, git_server: GitServer) -> None:
    served = git_server.bare("log.git")
    with bench.log(remote=git_server.url("log.git")) as log:
        log.append(Kind.CONFIG, {})
        git_server.down = True
        with pytest.raises(Unavailable):
            log.push()
        made = log.append(Kind.CONFIG, {})
        git_server.down = False
        assert log.push()
        assert bench.tip(served) == made.id


def test_a_lost_local_repository_is_restored_only_from_a_remote_that_has_everything(
    bench: LogBench, git_server: GitServer
) -> None:
    git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url) as log:
        log.push()
    away = bench.repo.rename(bench.root / "away.git")
    with bench.log(remote=url) as log:
        made = log.append(Kind.CONFIG, {})
    assert verify(bench.repo).clean
    bench.repo.rename(bench.root / "away2.git")
    with pytest.raises(LogRollback, match=made.id):
        bench.log(remote=url).activate()
    assert away.exists()


def test_a_remote_with_a_forged_tail_is_not_followed(bench: LogBench, git_server: GitServer) -> None:
    from dataclasses import replace

    from state.errors import IntegrityError
    from tests.fixtures.log import Forger, other_signer

    served = git_server.bare("log.git")
    url = git_server.url("log.git")
    with bench.log(remote=url) as log:
        before = log.tip()
    forger = Forger(bench, served)
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, kind=Kind.CONFIG, sequence=entry.sequence + 1), oid, other_signer().sign))
    with pytest.raises(IntegrityError, match="expected one by"):
        bench.log(remote=url).activate()
    assert bench.tip() == before


def test_the_credential_comes_from_its_file_at_each_use(bench: LogBench, git_server: GitServer) -> None:
    git_server.bare("log.git")
    git_server.credential = "x-access-token:s3cret"
    url = git_server.url("log.git")
    credential = bench.root / "credential"
    with pytest.raises(Denied, match="none is configured"):
        bench.log(remote=url).activate()
    credential.write_text("wrong\n")
    with pytest.raises(Denied, match="does not accept the credential in") as caught:
        bench.log(remote=url, credential=credential).activate()
    assert "wrong" not in str(caught.value)
    credential.write_text("s3cret\n")
    with bench.log(remote=url, credential=credential) as log:
        git_server.credential = "writer:rotated"
        credential.write_text("writer:rotated\n")
        log.append(Kind.CONFIG, {})
        assert log.push()
        credential.write_text("")
        log.append(Kind.CONFIG, {})
        with pytest.raises(ConfigError, match="expected one line"):
            log.push()


@pytest.mark.parametrize("url", ["https://user:pw@git.example/log.git", "ssh://git@git.example/log", "log.git", "-x"])
def test_a_remote_of_another_kind_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LogRemote(url, None)
    assert "pw" not in str(caught.value)


def test_a_path_and_a_file_url_are_remotes_too(bench: LogBench) -> None:
    served = bench.bare("the served.git")
    plain = bench.root / "served.git"
    plain.symlink_to(served)
    for remote in (served, f"file://{plain}"):
        with bench.log(remote=remote) as log:
            made = log.append(Kind.CONFIG, {})
            assert log.push()
        assert bench.tip(served) == made.id


def test_a_failed_activation_gives_the_lock_back(bench: LogBench, git_server: GitServer) -> None:
    git_server.bare("log.git")
    git_server.down = True
    log = bench.log(remote=git_server.url("log.git"))
    with pytest.raises(Unavailable):
        log.activate()
    with pytest.raises(Terminal, match="activation failed"):
        log.append(Kind.CONFIG, {})
    git_server.down = False
    log.activate()
    log.close()
