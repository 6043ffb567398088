"""The Git and GitOps ports over a mirror: what is fetched, what is refused, and what a crash leaves behind."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_files import read_catalogue
from reconciler.adapters.git_mirror import BareMirror
from reconciler.adapters.git_pygit2 import Mirror
from reconciler.adapters.git_remote import remote
from reconciler.adapters.gitops_pygit2 import GitOpsRepository
from reconciler.ports import Git, GitOps
from state.change import Why
from state.errors import (
    ConfigError,
    Denied,
    InvalidValue,
    RateLimited,
    StaleObservation,
    Terminal,
    Transient,
    Unavailable,
)
from state.git import CommitId, RefName
from tests.fixtures.full_disk import full_disk
from tests.fixtures.git_http import GitServer, serve
from tests.fixtures.git_repos import Content, Link, Repo, catalogue

MAIN = RefName("refs/heads/main")
PULL = RefName("refs/pull/1/head")
FILES: dict[str | bytes, Content] = {
    "ameide.yaml": catalogue(orders=["orders", "go.work"], billing=["billing"]),
    "orders/run": Link("../tools/run.sh"),
    "orders/main.go": b"1",
    "billing/main.go": b"1",
    "tools/run.sh": b"1",
    "go.work": b"1",
}


@pytest.fixture
def base(git_repo: Repo) -> CommitId:
    return git_repo.commit(FILES, ref=MAIN)


@pytest.fixture
def head(git_repo: Repo, base: CommitId) -> CommitId:
    return git_repo.commit({**FILES, "tools/run.sh": b"2"}, [base], ref=PULL)


@contextmanager
def mirrored(
    tmp_path: Path, url: str, *, timeout_s: float = 30, credential_file: Path | None = None
) -> Iterator[Mirror]:
    path = tmp_path / "mirrors" / "code"
    with Mirror(path, remote(url, credential_file=credential_file), timeout_s=timeout_s) as made:
        _: Git = made
        yield made


@pytest.fixture(params=["path", "http", "blobless over http", "ids refused"])
def url(request: pytest.FixtureRequest, git_repo: Repo, http_git: GitServer) -> str:
    """One repository, behind servers of different abilities."""
    match request.param:
        case "path":
            return str(git_repo.path)
        case "blobless over http":
            git_repo.configure(uploadpack_allowfilter="true")
        case "ids refused":
            http_git.protocol_v2 = False
    return http_git.repository("code.git")


def test_a_head_is_fetched_and_compared(tmp_path: Path, url: str, base: CommitId, head: CommitId) -> None:
    with mirrored(tmp_path, url) as git:
        tip = git.branch_tip(MAIN)
        assert tip == base
        git.fetch(head, PULL)
        declared = git.catalogue(tip)
        assert declared.components == {"orders-v0": "orders", "billing-v0": "billing"}
        record = git.changes(tip, head, declared)
        assert (record.base, record.head, record.merge_bases, record.catalogue_commit) == (base, head, (base,), base)
        # Only what the link leads to was changed: its text had to be fetched to know that.
        assert [(i.repository.path, i.changed, i.inputs) for i in record.images] == [
            ("acme/billing", False, ()),
            ("acme/orders", True, ("orders",)),
        ]
        orders = declared.images["orders"]
        fingerprint = next(i.base_fingerprint for i in record.images if i.repository == orders.repository)
        assert git.faithful_commits(orders, base, base, fingerprint, 5) == (base,)


def test_a_blobless_mirror_has_only_the_contents_it_needs(
    tmp_path: Path, git_repo: Repo, http_git: GitServer, base: CommitId, head: CommitId
) -> None:
    import pygit2

    git_repo.configure(uploadpack_allowfilter="true")
    with mirrored(tmp_path, http_git.repository("code.git")) as git:
        git.branch_tip(MAIN)
        git.fetch(head, PULL)
        git.changes(base, head, git.catalogue(base))
    here = pygit2.Repository(str(tmp_path / "mirrors/code"))
    tree = git_repo.git[base].peel(pygit2.Tree)
    has = {path: tree[path].id in here for path in ("ameide.yaml", "orders/run", "orders/main.go", "go.work")}
    here.free()
    assert has == {"ameide.yaml": True, "orders/run": True, "orders/main.go": False, "go.work": False}


def test_a_branch_that_is_not_there_is_none(tmp_path: Path, url: str, base: CommitId) -> None:
    with mirrored(tmp_path, url) as git:
        assert git.branch_tip(RefName.branch("gone")) is None
        assert git.branch_tip(RefName.branch("ain")) is None


def test_a_branch_that_was_rewound_is_followed(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        assert git.branch_tip(MAIN) == base
        other = git_repo.commit({"a": b"1"}, ref=MAIN)
        assert git.branch_tip(MAIN) == other


def test_branches_whose_names_are_in_each_others_way_are_both_followed(tmp_path: Path, git_repo: Repo) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        one = git_repo.commit({"a": b"1"}, ref="refs/heads/x")
        assert git.branch_tip(RefName("refs/heads/x")) == one
        git_repo.git.references.delete("refs/heads/x")
        two = git_repo.commit({"a": b"2"}, ref="refs/heads/x/y")
        assert git.branch_tip(RefName("refs/heads/x/y")) == two


def test_a_commit_that_was_fetched_is_not_asked_for_again(
    tmp_path: Path, http_git: GitServer, base: CommitId, head: CommitId
) -> None:
    with mirrored(tmp_path, http_git.repository("code.git")) as git:
        git.fetch(head, PULL)
        asked = len(http_git.requests)
        git.fetch(head, PULL)
        assert len(http_git.requests) == asked > 0


def test_where_ids_are_refused_a_head_that_moved_on_is_a_stale_observation(
    tmp_path: Path, git_repo: Repo, http_git: GitServer, base: CommitId, head: CommitId
) -> None:
    http_git.protocol_v2 = False
    git_repo.commit({**FILES, "go.work": b"3"}, [base], ref=PULL)
    with mirrored(tmp_path, http_git.repository("code.git")) as git:
        with pytest.raises(StaleObservation, match=str(head)):
            git.fetch(head, PULL)
        git_repo.git.references.delete(PULL)
        with pytest.raises(StaleObservation, match="no such ref"):
            git.fetch(head, PULL)


def test_a_commit_that_no_longer_exists_is_a_stale_observation(tmp_path: Path, url: str, base: CommitId) -> None:
    with mirrored(tmp_path, url) as git, pytest.raises(StaleObservation):
        git.fetch(CommitId("d" * 40), MAIN)


def secret(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_credential_comes_from_its_file_and_nowhere_else(
    tmp_path: Path, http_git: GitServer, base: CommitId, monkeypatch: pytest.MonkeyPatch
) -> None:
    http_git.login = ("x-access-token", "s3cret")
    address = http_git.repository("code.git")
    with mirrored(tmp_path, address, credential_file=secret(tmp_path, "s3cret\n")) as git:
        assert git.branch_tip(MAIN) == base
        secret(tmp_path, "changed\n")
        http_git.login = ("x-access-token", "changed")
        assert git.branch_tip(MAIN) == base
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login x-access-token password changed\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "credential.helper")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "!printf 'username=x-access-token\\npassword=changed\\n'; true")
    with mirrored(tmp_path, address) as git, pytest.raises(Denied):
        git.branch_tip(MAIN)


def test_the_surroundings_have_no_say(
    tmp_path: Path, http_git: GitServer, base: CommitId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "url.file:///nowhere/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "http://")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with mirrored(tmp_path, http_git.repository("code.git")) as git:
        assert git.branch_tip(MAIN) == base


def test_a_wrong_password_is_denied_and_never_shown(tmp_path: Path, http_git: GitServer, base: CommitId) -> None:
    http_git.login = ("x-access-token", "right")
    file = secret(tmp_path, "wr0ng-s3cret\n")
    with (
        mirrored(tmp_path, http_git.repository("code.git"), credential_file=file) as git,
        pytest.raises(Denied) as caught,
    ):
        git.branch_tip(MAIN)
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620])
def test_a_credential_that_others_may_read_is_refused(
    tmp_path: Path, http_git: GitServer, base: CommitId, mode: int
) -> None:
    file = secret(tmp_path, "s3cret\n", mode)
    with (
        mirrored(tmp_path, http_git.repository("code.git"), credential_file=file) as git,
        pytest.raises(ConfigError, match="chmod 0600"),
    ):
        git.branch_tip(MAIN)


@pytest.mark.parametrize(
    ("status", "family"),
    [
        ("403 Forbidden", Denied),
        ("429 Too Many Requests", RateLimited),
        ("500 Internal Server Error", Unavailable),
        ("503 Service Unavailable", Unavailable),
        ("404 Not Found", Terminal),
    ],
)
def test_an_answer_is_sorted_by_who_has_to_act(
    tmp_path: Path, http_git: GitServer, base: CommitId, status: str, family: type[Exception]
) -> None:
    http_git.refuse = lambda _: status
    with mirrored(tmp_path, http_git.repository("code.git")) as git, pytest.raises(family):
        git.branch_tip(MAIN)


def test_a_repository_that_is_not_there_is_terminal(tmp_path: Path, http_git: GitServer) -> None:
    for n, address in enumerate((str(tmp_path / "nope.git"), http_git.repository("nope.git"))):
        with mirrored(tmp_path / str(n), address) as git, pytest.raises(Terminal):
            git.branch_tip(MAIN)


def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: whoever connects is refused.
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/x.git"
        with mirrored(tmp_path, address) as git, pytest.raises(Unavailable):
            git.branch_tip(MAIN)


def test_a_server_that_hangs_is_given_up_with_all_its_processes(
    tmp_path: Path, http_git: GitServer, base: CommitId
) -> None:
    import threading

    http_git.hang = threading.Event()
    with mirrored(tmp_path, http_git.repository("code.git"), timeout_s=1) as git:
        with pytest.raises(Transient, match="not done within 1 s"):
            git.branch_tip(MAIN)
        assert http_git.asked.is_set()
        # A git that still ran would hold the lock that it inherited.
        with (tmp_path / "mirrors/code.flock").open() as other:
            git.close()
            assert eventually(lambda: locks(other))


def test_a_redirect_is_not_followed(tmp_path: Path, http_git: GitServer, base: CommitId) -> None:
    file = secret(tmp_path, "t")
    with serve(tmp_path) as other:
        http_git.redirect = other.url
        with (
            mirrored(tmp_path, http_git.repository("code.git"), credential_file=file) as git,
            pytest.raises(Terminal),
        ):
            git.branch_tip(MAIN)
        assert http_git.requests
        assert other.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "ext::sh -c touch% /tmp/x",
        "fd::17",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x:y",
        "relative/path",
        "git://example.com/x",
        "ftp://example.com/x",
        "http://example.com/x",
        "https://user:pass@example.com/x",
        "https://-oProxyCommand=x/y",
        "ssh://-oProxyCommand=x/y",
        "ssh://-x@example.com/y",
        "-x@example.com:y",
        "example.com:-x",
        "https://example.com/x?y",
        "https:///x",
        "file://host/x",
        "/srv/a\nb",
        "",
        "https://example.com/" + "x" * 1024,
    ],
)
def test_a_url_that_is_not_plainly_a_repository_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        remote(address, known_hosts_file=tmp_path)
    assert "pass" not in str(caught.value).replace("without a password", "")


@pytest.mark.parametrize(
    "name", ["--upload-pack=x", "refs/heads/-x:refs/heads/y", "refs/heads/a b", "+refs/heads/main"]
)
def test_a_branch_name_that_is_an_option_or_a_refspec_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        RefName(name)


def test_a_branch_that_begins_with_a_dash_is_just_a_branch(tmp_path: Path, git_repo: Repo) -> None:
    ref = RefName("refs/heads/--upload-pack=x")
    commit = git_repo.commit({"a": b"1"}, ref=ref)
    with mirrored(tmp_path, str(git_repo.path)) as git:
        assert git.branch_tip(ref) == commit


def locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def eventually(call: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not (done := call()) and time.monotonic() < deadline:
        os.sched_yield()
    return done


def test_ssh_gets_explicit_files_and_no_configuration(
    tmp_path: Path, git_repo: Repo, base: CommitId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ssh notes its arguments and runs the remote command here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {programs}/arguments\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    (programs / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    key, hosts = secret(tmp_path, "key"), tmp_path / "known hosts"
    with Mirror(
        tmp_path / "mirrors/code",
        remote(f"ssh://git@example.com:2222{git_repo.path}", credential_file=key, known_hosts_file=hosts),
        timeout_s=30,
    ) as git:
        assert git.branch_tip(MAIN) == base
    said = (programs / "arguments").read_text().splitlines()
    assert said[:2] == ["-F", os.devnull]
    for wanted in ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={hosts}", "IdentityAgent=none"):
        assert wanted in said
    assert said[said.index("-i") + 1] == str(key)
    with pytest.raises(ConfigError, match="known host keys"):
        remote("ssh://git@example.com/x")


# --- the worker


def test_a_killed_worker_is_unavailable_once_and_then_replaced(
    tmp_path: Path, git_repo: Repo, base: CommitId, head: CommitId
) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        git.fetch(head, PULL)
        declared = git.catalogue(base)
        git.changes(base, base, declared)
        first = git.worker_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Transient):
            git.changes(base, head, declared)
        assert git.changes(base, head, declared).images[1].changed
        assert git.worker_pid not in {None, first}


def test_the_worker_says_what_the_comparer_says(tmp_path: Path, git_repo: Repo, base: CommitId, head: CommitId) -> None:
    """Of a changed head, one that main has moved away from, one that changes all, and one without a merge base."""
    declared = read_catalogue(git_repo.git, base, "ameide.yaml")
    heads = [head, git_repo.commit({**FILES, "README": b"1"}, [base]), git_repo.commit(FILES, [])]
    tip = git_repo.commit({**FILES, "billing/main.go": b"2"}, [base], ref=MAIN)
    heads += [git_repo.commit({"ameide.yaml": FILES["ameide.yaml"]}, [tip])]
    comparer = Comparer(git_repo.git)
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        for n, commit in enumerate(heads):
            git_repo.git.references.create(f"refs/pull/{n + 2}/head", commit, force=True)
            git.fetch(commit, RefName(f"refs/pull/{n + 2}/head"))
        for at in (tip, base, tip):
            for commit in heads:
                record = git.changes(at, commit, declared)
                assert record == comparer.changes(at, commit, declared)
                assert [i.repository.path for i in record.images] == ["acme/billing", "acme/orders"]
                for image in record.images:
                    assert (image.fingerprint is None) == image.changed
                    known = next(i for i in declared.images.values() if i.repository == image.repository)
                    assert image.base_fingerprint == comparer.fingerprint(at, known)
                    assert image.changed or image.fingerprint == comparer.fingerprint(commit, known)
        moved = git.changes(tip, heads[1], declared)
        assert [i.baseline_moved for i in moved.images] == [True, False]


def test_a_worker_that_hangs_is_ended_and_replaced(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path), timeout_s=5) as git:
        git.branch_tip(MAIN)
        declared = git.catalogue(base)
        git.changes(base, base, declared)
        first = git.worker_pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        other = git_repo.commit(FILES, [base], ref=PULL)
        git.fetch(other, PULL)
        with pytest.raises(Transient, match="did not answer within 5 s"):
            git.changes(base, other, declared)
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        assert git.changes(base, other, declared).images[0].why is Why.INPUTS_EQUAL


def test_an_answer_is_kept_by_its_commits(tmp_path: Path, git_repo: Repo, base: CommitId, head: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        git.fetch(head, PULL)
        record = git.changes(base, head, git.catalogue(base))
        pid = git.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert git.changes(base, head, git.catalogue(base)) == record


def test_no_worker_is_left_when_the_mirror_is_closed(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        git.changes(base, base, git.catalogue(base))
        pid = git.worker_pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_unreadable_history_is_told_as_what_it_is(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        with pytest.raises(Terminal, match="not in this repository"):
            git.changes(base, CommitId("e" * 40), git.catalogue(base))


def test_no_worker_is_left_when_its_parent_is_killed(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    program = (
        "import sys, time; from pathlib import Path; from reconciler.adapters.git_pygit2 import Mirror\n"
        "from reconciler.adapters.git_remote import remote\n"
        "git = Mirror(Path(sys.argv[1]), remote(sys.argv[2]), timeout_s=30)\n"
        "tip = git.branch_tip('refs/heads/main'); git.changes(tip, tip, git.catalogue(tip))\n"
        "print(git.worker_pid, flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "mirrors/code"), str(git_repo.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert running(worker)
        parent.kill()
    assert eventually(lambda: not running(worker))


def running(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent to notice does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return done.stdout.strip()[:1] not in {"", "Z"}


# --- the mirror itself


def test_what_a_killed_process_left_behind_is_cleared_away(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    path = tmp_path / "mirrors" / "code"
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
    (tip,) = (path / "refs/ameide/tip").iterdir()
    (path / f"refs/ameide/tip/{tip.name}.lock").touch()
    (path / "packed-refs.lock").touch()
    (path / "shallow.lock").touch()
    (path / "objects/pack/tmp_pack_x").write_bytes(b"x")
    tip.write_bytes(b"")  # What a power cut can leave of a ref.
    (path.parent / "code.new").mkdir()
    with mirrored(tmp_path, str(git_repo.path)) as git:
        assert git.branch_tip(MAIN) == base
    assert not [*path.rglob("*.lock"), *path.rglob("tmp_*"), *path.parent.glob("*.new")]


def test_a_lock_that_appears_while_running_heals_on_the_next_try(
    tmp_path: Path, git_repo: Repo, base: CommitId
) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        (tip,) = (tmp_path / "mirrors/code/refs/ameide/tip").iterdir()
        Path(f"{tip}.lock").touch()
        moved = git_repo.commit(FILES, [base], ref=MAIN)
        with pytest.raises(Transient):
            git.branch_tip(MAIN)
        assert git.branch_tip(MAIN) == moved


def test_a_lock_of_a_living_process_is_left_alone(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        lock = tmp_path / "mirrors/code/packed-refs.lock"
        lock.touch()
        with mirrored(tmp_path, str(git_repo.path)):
            assert lock.exists()


@pytest.mark.parametrize("damage", ["HEAD", "objects", "refs"])
def test_a_damaged_mirror_is_made_anew(tmp_path: Path, git_repo: Repo, base: CommitId, damage: str) -> None:
    import shutil

    path = tmp_path / "mirrors" / "code"
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
    target = path / damage
    target.unlink() if target.is_file() else shutil.rmtree(target)
    with mirrored(tmp_path, str(git_repo.path)) as git:
        assert git.branch_tip(MAIN) == base
        assert git.catalogue(base).commit == base


def test_a_directory_that_is_not_ours_is_never_touched(tmp_path: Path, git_repo: Repo) -> None:
    path = tmp_path / "mirrors" / "code"
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(Terminal, match="move it away"), mirrored(tmp_path, str(git_repo.path)):
        pass
    assert (path / "thesis.txt").read_text() == "years of work"


def test_a_mirror_with_a_damaged_pack_says_what_to_remove(tmp_path: Path, git_repo: Repo, base: CommitId) -> None:
    path = tmp_path / "mirror"
    with BareMirror(path, remote(f"file://{git_repo.path}"), timeout_s=30) as mirror:
        assert mirror.tip(MAIN) == base
    (pack,) = (path / "objects" / "pack").glob("*.pack")
    pack.chmod(0o600)
    raw = pack.read_bytes()
    pack.write_bytes(raw[:12] + bytes(len(raw) - 32) + raw[-20:])
    git_repo.commit(FILES | {"n": b"1"}, [base], ref=MAIN)
    with (
        BareMirror(path, remote(f"file://{git_repo.path}"), timeout_s=30) as mirror,
        pytest.raises(Unavailable, match=f"remove the mirror {path}"),
    ):
        mirror.tip(MAIN)


def test_what_is_not_retained_is_no_longer_kept(tmp_path: Path, git_repo: Repo, base: CommitId, head: CommitId) -> None:
    path = tmp_path / "mirrors" / "code"
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        git.fetch(head, PULL)
        git.retain({base})
    with BareMirror(path, remote(str(git_repo.path)), timeout_s=30) as mirror:
        assert mirror.kept() == {base}


def test_a_full_disk_is_told_with_the_mirror_that_could_not_be_written(
    tmp_path: Path, git_repo: Repo, base: CommitId
) -> None:
    path = tmp_path / "mirrors" / "code"
    path.parent.mkdir()
    source = remote(str(git_repo.path))
    with full_disk(), pytest.raises(Unavailable, match=f"{path}: the mirror cannot be written"):
        BareMirror(path, source, timeout_s=30)
    with BareMirror(path, source, timeout_s=30) as mirror:
        mirror.tip(MAIN)
        mirror.drop(mirror.kept())
        with full_disk(), pytest.raises(Unavailable, match=f"{path}: the mirror cannot be written"):
            mirror.keep(base)
        assert mirror.tip(MAIN) == base
        assert mirror.kept() == {base}


@pytest.mark.parametrize("left", [b"", b"ref: refs/he"], ids=["empty", "cut short"])
def test_a_head_that_a_power_failure_left_is_written_anew(
    tmp_path: Path, git_repo: Repo, base: CommitId, left: bytes
) -> None:
    for _ in range(2):
        with BareMirror(tmp_path / "code", remote(str(git_repo.path)), timeout_s=30) as mirror:
            assert mirror.tip(MAIN) == base
        (tmp_path / "code" / "HEAD").write_bytes(left)


def test_many_packs_become_one_and_everything_is_still_there(
    tmp_path: Path, git_repo: Repo, base: CommitId, head: CommitId, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.adapters import git_mirror

    monkeypatch.setattr(git_mirror, "PACKS_MAX", 3)
    git_repo.configure(uploadpack_allowfilter="true", uploadpack_allowanysha1inwant="true")
    with mirrored(tmp_path, f"file://{git_repo.path}") as git:
        git.branch_tip(MAIN)
        declared = git.catalogue(base)
        git.changes(base, base, declared)
        tip = base
        for n in range(4):
            tip = git_repo.commit({**FILES, "go.work": str(n).encode()}, [tip], ref=PULL)
            git.fetch(tip, PULL)
        git.fetch(head, PULL)
        assert len([*(tmp_path / "mirrors/code/objects/pack").glob("*.pack")]) <= 3
        assert git.changes(base, tip, declared).images[1].inputs == ("go.work",)
        assert git.changes(base, head, declared).images[1].inputs == ("orders",)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize(("packs", "open_packs"), [(4, 100), (100, 4)], ids=["made into one", "beyond the bound"])
def test_however_many_fetches_few_packs_stay_open(
    tmp_path: Path, git_repo: Repo, monkeypatch: pytest.MonkeyPatch, packs: int, open_packs: int
) -> None:
    from reconciler.adapters import git_mirror, git_open_packs

    monkeypatch.setattr(git_mirror, "PACKS_MAX", packs)
    monkeypatch.setattr(git_open_packs, "OPEN_PACKS_MAX", open_packs)
    first = tip = git_repo.commit(FILES, ref=MAIN)
    with BareMirror(tmp_path / "mirror", remote(f"file://{git_repo.path}"), timeout_s=30) as mirror:
        for n in range(10):
            tip = git_repo.commit({**FILES, "n": b"%d" % n}, [tip], ref=MAIN)
            mirror.tip(MAIN)
            assert mirror.with_objects(lambda git: str(git[first].id)) == first
            assert mirror.with_objects(lambda git, tip=tip: str(git[tip].id)) == tip  # type: ignore[misc]
        handles = [at.readlink() for at in Path("/proc/self/fd").iterdir() if at.is_symlink()]
    assert 0 < sum(str(at).startswith(f"{tmp_path}/mirror/objects/pack/") for at in handles) <= 5
    monkeypatch.undo()
    git_open_packs.bound_open_packs()


# --- GitOps

INVENTORY = b"version: 1\ncomponents:\n  orders-v0: {previewed: true, pins: [{environment: dev, file: v.yaml}]}\n"


@contextmanager
def gitops(tmp_path: Path, url: str) -> Iterator[GitOpsRepository]:
    with GitOpsRepository(tmp_path / "mirrors/gitops", remote(url), ref=MAIN, timeout_s=30) as made:
        _: GitOps = made
        yield made


def test_the_inventory_is_read_at_the_trusted_refs_tip_each_time(tmp_path: Path, url: str, git_repo: Repo) -> None:
    git_repo.configure(uploadpack_allowanysha1inwant="true")
    with gitops(tmp_path, url) as repository:
        first = git_repo.commit({"ameide/inventory.yaml": INVENTORY}, ref=MAIN)
        seen = repository.inventory()
        assert (seen.commit, seen.previewed, seen.pins["orders-v0"][0].key) == (first, ("orders-v0",), "image.ref")
        second = git_repo.commit({"ameide/inventory.yaml": INVENTORY.replace(b"true", b"false")}, [first], ref=MAIN)
        assert (repository.inventory().commit, repository.inventory().previewed) == (second, ())
        assert repository.ref_name() == MAIN


def test_an_inventory_that_is_missing_or_wrong_is_a_configuration_error(tmp_path: Path, git_repo: Repo) -> None:
    with gitops(tmp_path, str(git_repo.path)) as repository:
        with pytest.raises(ConfigError, match="no ref refs/heads/main"):
            repository.inventory()
        first = git_repo.commit({"a": b"1"}, ref=MAIN)
        with pytest.raises(ConfigError, match=r"ameide/inventory\.yaml: expected a file"):
            repository.inventory()
        git_repo.commit({"ameide/inventory.yaml": INVENTORY + b"images: {}\n"}, [first], ref=MAIN)
        with pytest.raises(ConfigError, match="belongs in the catalogue"):
            repository.inventory()


def test_a_file_where_the_mirrors_should_be_is_named(tmp_path: Path, git_repo: Repo) -> None:
    (tmp_path / "mirrors").write_text("")
    with pytest.raises(Terminal, match=f"{tmp_path}/mirrors: mirrors are kept there"):
        BareMirror(tmp_path / "mirrors" / "code", remote(str(git_repo.path)), timeout_s=30)


def test_a_path_with_a_space_is_fetched_from(tmp_path: Path) -> None:
    spaced = Repo(tmp_path / "the code.git")
    tip = spaced.commit(FILES, ref=MAIN)
    with mirrored(tmp_path, str(spaced.path)) as git:
        assert git.branch_tip(MAIN) == tip
    spaced.close()


def test_a_catalogue_of_two_megabytes_is_named_with_its_commit(tmp_path: Path, git_repo: Repo) -> None:
    tip = git_repo.commit({**FILES, "ameide.yaml": b"#" * 2_000_000}, ref=MAIN)
    with mirrored(tmp_path, str(git_repo.path)) as git:
        git.branch_tip(MAIN)
        with pytest.raises(Terminal, match=rf"ameide\.yaml at commit {tip}: expected a file of at most"):
            git.catalogue(tip)
