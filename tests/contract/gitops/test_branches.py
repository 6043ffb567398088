"""The contracts of `GitOpsWriter` and `LaneWriter`, on a path and over HTTP, with and without the contents of files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pygit2
import pytest

from reconciler.adapters.git_commit import FILE_MAX_BYTES
from reconciler.adapters.git_remote import remote
from reconciler.adapters.gitops_writer import GitOpsBranches
from reconciler.adapters.signer_ssh import SshSigner, generate_key_file
from reconciler.ports import GitOpsWriter, LaneWriter
from state.errors import ConfigError, Denied, InvalidValue, StaleObservation, Terminal, Transient, Unavailable
from state.git import CommitId, RefName
from tests.fixtures.full_disk import full_disk
from tests.fixtures.git_repos import Content, Link, Repo, Script, Submodule
from tests.fixtures.log_remote import GitServer

MAIN, BRANCH = RefName("refs/heads/main"), RefName("refs/heads/ameide/dev/pr-7/0123456789ab-ba9876543210")
AT = 1_700_000_000
FILES: dict[str | bytes, Content] = {
    "values/dev/orders.yaml": b"image: {ref: a}\n",
    "values/dev/web.yaml": b"image: {ref: b}\n",
    "values/dev.yaml": b"x: 1\n",
    "run.sh": Script(b"#!/bin/sh\n"),
    "link": Link("values/dev.yaml"),
    "dir-link": Link("values"),
    "sub": Submodule("c" * 40),
    "big.bin": b"x" * 100_000,
    b"odd-\xff.yaml": b"y",
}


class Shop:
    """The GitOps repository as its server has it, and ways to it."""

    def __init__(self, tmp_path: Path, server: GitServer, kind: str) -> None:
        self.repo = Repo(server.root / "shop-gitops.git")
        self.repo.configure(http_receivepack="true", uploadpack_allowAnySHA1InWant="true")
        if kind == "blobless":
            self.repo.configure(uploadpack_allowfilter="true")
        self.kind, self.server, self.tmp_path = kind, server, tmp_path
        self.url = str(self.repo.path) if kind == "path" else server.url("shop-gitops.git")
        self.base = self.repo.commit(FILES, ref=MAIN)
        self.signer = tmp_path / "gitops-key"
        self.public = generate_key_file(self.signer)
        self.stack = ExitStack()

    def open(self, name: str = "mirror", credential_file: Path | None = None, timeout_s: float = 30) -> LaneWriter:
        return self.stack.enter_context(
            GitOpsBranches(
                self.tmp_path / "mirrors" / name,
                remote(self.url, credential_file=credential_file),
                timeout_s=timeout_s,
                signer=SshSigner.from_file(self.signer),
            )
        )

    def tip(self, ref: str) -> str | None:
        return str(self.repo.git.references[ref].target) if ref in self.repo.git.references else None

    def git(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.repo.path, check=check, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def entries(self, commit: str) -> dict[str, tuple[str, str]]:
        """path → (mode, id) of every file, as git lists them."""
        lines = [
            line.split("\t") for line in self.git("-c", "core.quotePath=true", "ls-tree", "-r", commit).splitlines()
        ]
        return {path: (meta.split(" ")[0], meta.split(" ")[2]) for meta, path in lines}


@pytest.fixture(params=["path", "blobless"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, git_server: GitServer) -> Iterator[Shop]:
    made = Shop(tmp_path, git_server, request.param)
    with made.stack:
        yield made
    made.repo.close()


@pytest.fixture
def http_shop(tmp_path: Path, git_server: GitServer) -> Iterator[Shop]:
    made = Shop(tmp_path, git_server, "http")
    with made.stack:
        yield made
    made.repo.close()


def proposed(writer: GitOpsWriter, base: CommitId, text: str = "image: {ref: new}\n") -> CommitId:
    return writer.commit([base], {"values/dev/orders.yaml": text.encode()}, "Pin orders\n\nWhy.\n", AT)


def test_a_full_disk_is_told_and_ends_nothing(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    text = "image: {ref: newer}\n"
    with full_disk(), pytest.raises(Unavailable):  # of ours, or of the git that fetches what is missing
        proposed(writer, base, text)
    assert proposed(writer, base, text)


# --- reading


def test_a_branch_is_read_as_it_is_now(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    assert writer.tip(BRANCH) is None
    newer = shop.repo.commit({**FILES, "values/dev.yaml": b"x: 2\n"}, [shop.base], ref=MAIN)
    assert writer.tip(MAIN) == newer
    assert writer.files(newer, ["values/dev.yaml"]) == {"values/dev.yaml": b"x: 2\n"}
    assert writer.files(shop.base, ["values/dev.yaml"]) == {"values/dev.yaml": b"x: 1\n"}


def test_files_that_are_there_are_read_and_the_others_left_out(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    wanted = ["values/dev/orders.yaml", "run.sh", "big.bin", "values/dev/none.yaml", "none/at/all.yaml"]
    assert writer.files(base, wanted) == {
        "values/dev/orders.yaml": b"image: {ref: a}\n",
        "run.sh": b"#!/bin/sh\n",
        "big.bin": b"x" * 100_000,
    }
    assert writer.files(base, []) == {}


def test_every_path_that_is_no_regular_file_is_refused_at_once(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    odd = ["values", "link", "sub", "dir-link/dev.yaml", "sub/x", "run.sh/x", "../x", "/x", "a//b", ".git/config", ""]
    with pytest.raises(ConfigError) as caught:
        writer.files(base, [*odd, "run.sh"])
    told = dict(p.rsplit("': ", 1) for p in caught.value.problems)
    assert set(told) == {f"'{path}" for path in odd}
    assert told["'values"] == "expected a regular file, got a directory"
    assert told["'link"] == "expected a regular file, got a symbolic link"
    assert told["'sub"] == "expected a regular file, got a submodule"
    assert told["'dir-link/dev.yaml"] == "dir-link is a symbolic link, not a directory"
    assert told["'sub/x"] == "sub is a submodule, not a directory"
    assert told["'run.sh/x"] == "run.sh is a file, not a directory"


def test_a_huge_file_is_neither_read_nor_written(shop: Shop) -> None:
    commit = shop.repo.commit({"a.yaml": b"x" * (FILE_MAX_BYTES + 1), "b.yaml": b"x"}, [shop.base], ref=MAIN)
    writer = shop.open()
    assert writer.tip(MAIN) == commit
    with pytest.raises(ConfigError, match=r"a\.yaml: expected a file of at most"):
        writer.files(commit, ["a.yaml", "b.yaml"])
    with pytest.raises(ConfigError, match=r"b\.yaml: .* at most"):
        writer.commit([commit], {"b.yaml": b"x" * (FILE_MAX_BYTES + 1)}, "m", AT)


def test_what_differs_and_what_contains_what(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    one = proposed(writer, base)
    two = writer.commit([one], {"run.sh": b"#!/bin/sh\nexit 1\n"}, "m", AT)
    assert writer.changed(base, one) == ("values/dev/orders.yaml",)
    assert writer.changed(base, two) == ("run.sh", "values/dev/orders.yaml")
    assert writer.changed(two, two) == ()
    assert [writer.contains(two, c) for c in (base, one, two)] == [True, True, True]
    assert not writer.contains(one, two)
    odd = shop.repo.commit({**FILES, b"odd-\xff.yaml": b"z"}, [shop.base], ref=MAIN)
    assert writer.tip(MAIN) == odd
    assert writer.changed(base, odd) == ("odd-\\xff.yaml",)


def test_whether_a_commit_still_merges(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    ours = proposed(writer, base)
    assert writer.merges(base, ours)
    assert writer.merges(ours, base)
    cases: list[tuple[dict[str | bytes, Content], bool]] = [
        ({"values/dev/web.yaml": b"image: {ref: c}\n"}, True),
        ({"values/dev/orders.yaml": b"image: {ref: other}\n"}, False),
        ({"values/dev/orders.yaml": b"image: {ref: new}\n"}, True),
    ]
    for moved, clean in cases:
        theirs = shop.repo.commit({**FILES, **moved}, [shop.base], ref=MAIN)
        assert writer.tip(MAIN) == theirs
        assert writer.merges(theirs, ours) is clean
    gone = shop.repo.commit({k: v for k, v in FILES.items() if k != "values/dev/orders.yaml"}, [shop.base], ref=MAIN)
    assert writer.tip(MAIN) == gone
    assert not writer.merges(gone, ours)
    unrelated = shop.repo.commit(FILES, ref=MAIN)
    assert writer.tip(MAIN) == unrelated
    assert not writer.merges(unrelated, ours)


def test_two_edits_of_one_file_merge_where_they_are_apart(shop: Shop) -> None:
    lines = [b"line %d\n" % n for n in range(20)]
    before = shop.repo.commit({"f.yaml": b"".join(lines)}, [shop.base], ref=MAIN)
    writer = shop.open()
    assert writer.tip(MAIN) == before
    ours = writer.commit([before], {"f.yaml": b"".join([b"first\n", *lines[1:]])}, "m", AT)
    for number, clean in ((19, True), (0, False)):
        theirs = shop.repo.commit(
            {"f.yaml": b"".join([*lines[:number], b"theirs\n", *lines[number + 1 :]])}, [before], ref=MAIN
        )
        assert writer.tip(MAIN) == theirs
        assert writer.merges(theirs, ours) is clean


# --- writing


def test_a_commit_replaces_files_and_nothing_else(shop: Shop) -> None:
    writer = shop.open()
    base = writer.tip(MAIN)
    assert base is not None
    made = writer.commit([base], {"values/dev/orders.yaml": b"new\n", "run.sh": b"#!/bin/sh\n:\n"}, "Pin\n", AT)
    writer.push(BRANCH, made)
    before, after = shop.entries(base), shop.entries(made)
    assert list(before) == list(after)
    assert {path for path in before if before[path] != after[path]} == {"values/dev/orders.yaml", "run.sh"}
    assert {path: mode for path, (mode, _) in after.items()} == {path: mode for path, (mode, _) in before.items()}
    assert after["run.sh"][0] == "100755"
    assert shop.git("show", f"{made}:values/dev/orders.yaml") == "new\n"
    assert shop.git("fsck", "--strict", "--no-dangling").strip() == ""
    shown = shop.git("show", "--no-patch", "--format=%P|%an|%ae|%at|%cn|%ce|%ct|%B", made).strip()
    assert shown == f"{base}|ameide|ameide@ameide.invalid|{AT}|ameide|ameide@ameide.invalid|{AT}|Pin"


def test_equal_arguments_give_the_same_commit_in_every_mirror(shop: Shop) -> None:
    made = []
    for name in ("one", "two"):
        writer = shop.open(name)
        assert writer.tip(MAIN) == shop.base
        made += [proposed(writer, shop.base), proposed(writer, shop.base)]
    assert len(set(made)) == 1
    writer = shop.open("one-again")
    assert writer.tip(MAIN) == shop.base
    assert writer.commit([shop.base], {"run.sh": b"2"}, "m", AT) != writer.commit(
        [shop.base], {"run.sh": b"2"}, "m", AT + 1
    )


def test_a_commit_is_signed_so_that_git_itself_verifies_it(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    made = proposed(writer, shop.base)
    writer.push(BRANCH, made)
    allowed = shop.tmp_path / "allowed"
    settings = ("-c", f"gpg.ssh.allowedSignersFile={allowed}")
    allowed.write_text(f'ameide@ameide.invalid namespaces="git" {shop.public}\n')
    assert 'Good "git" signature for ameide@ameide.invalid' in shop.git(*settings, "verify-commit", made)
    allowed.write_text(f'ameide@ameide.invalid namespaces="git" {generate_key_file(shop.tmp_path / "another")}\n')
    assert "No principal matched" in shop.git(*settings, "verify-commit", made, check=False)


def test_a_commit_of_two_parents_has_the_first_ones_files(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one, two = proposed(writer, shop.base), writer.commit([shop.base], {"run.sh": b"2"}, "m", AT)
    merged = writer.commit([one, two], {"values/dev.yaml": b"m\n"}, "Merge\n", AT)
    assert writer.changed(one, merged) == ("values/dev.yaml",)
    assert writer.contains(merged, two)


@pytest.mark.parametrize("path", ["values/dev/none.yaml", "values", "link", "sub", "dir-link/dev.yaml", "a/../b"])
def test_only_regular_files_that_are_there_are_replaced(shop: Shop, path: str) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    with pytest.raises(ConfigError):
        writer.commit([shop.base], {path: b"x", "run.sh": b"x"}, "m", AT)


@pytest.mark.parametrize(
    ("message", "at", "parents"),
    [("", AT, 1), ("a\0b", AT, 1), ("m", -1, 1), ("m", AT, 0), ("m", AT, 2), ("x" * 70_000, AT, 1)],
)
def test_what_git_would_not_take_is_refused(http_shop: Shop, message: str, at: int, parents: int) -> None:
    writer = http_shop.open()
    assert writer.tip(MAIN) == http_shop.base
    with pytest.raises(InvalidValue):
        writer.commit([http_shop.base] * parents, {"run.sh": b"x"}, message, at)


# --- files of a lane


def test_files_are_added_and_removed_in_gits_own_order(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    new = {"values-dev/a.yaml": b"1", "values.yaml": b"2", "values/new/deep/b.yaml": b"3", "run.sh": b"4"}
    made = writer.commit_files(
        [shop.base], {**new, "values/dev/orders.yaml": None, "values/dev/web.yaml": None}, "Lane\n", AT
    )
    writer.push(BRANCH, made)
    before, after = shop.entries(shop.base), shop.entries(made)
    gone = {"values/dev/orders.yaml", "values/dev/web.yaml"}  # and with the last of them their folder
    assert before.keys() - after.keys() == gone
    assert {path for path in after if before.get(path) != after[path]} == set(new)
    assert {path: mode for path, (mode, _) in after.items() if path in new} == {
        "values-dev/a.yaml": "100644",
        "values.yaml": "100644",
        "values/new/deep/b.yaml": "100644",
        "run.sh": "100755",
    }
    assert writer.changed(shop.base, made) == tuple(sorted({*new, *gone}))
    assert shop.git("fsck", "--strict", "--no-dangling").strip() == ""
    assert shop.git("ls-tree", "--name-only", f"{made}:values").split() == ["dev.yaml", "new"]


def test_a_tree_may_become_empty_and_be_filled_again(shop: Shop) -> None:
    lone = shop.repo.commit({"a/b/c.yaml": b"1"}, [shop.base], ref=MAIN)
    writer = shop.open()
    assert writer.tip(MAIN) == lone
    empty = writer.commit_files([lone], {"a/b/c.yaml": None}, "m", AT)
    filled = writer.commit_files([empty], {"a/b/c.yaml": b"1"}, "m", AT)
    writer.push(BRANCH, filled)
    assert shop.entries(empty) == {}
    assert shop.entries(filled) == shop.entries(lone)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"values": b"x"}, "a directory"),
        ({"link": b"x"}, "a symbolic link"),
        ({"link": None}, "a symbolic link"),
        ({"dir-link/new.yaml": b"x"}, "not a directory"),
        ({"run.sh/new.yaml": b"x"}, "is a file, not a directory"),
        ({"values/none.yaml": None}, "not there"),
        ({"new": b"x", "new/x.yaml": b"x"}, "new is given as a file"),
        ({"../x": b"x"}, "normalised path"),
        ({"values/.git/x": b"x"}, "normalised path"),
    ],
)
def test_what_is_no_regular_file_is_neither_replaced_nor_removed(
    shop: Shop, files: dict[str, bytes | None], told: str
) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    with pytest.raises(ConfigError, match=told):
        writer.commit_files([shop.base], files, "m", AT)


def test_a_commit_says_when_it_was_made(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    assert writer.committed_at(proposed(writer, shop.base)) == AT


# --- pushing


def test_a_branch_is_made_moved_forward_and_found_again(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one = proposed(writer, shop.base)
    for _ in range(2):
        writer.push(BRANCH, one)
        assert shop.tip(BRANCH) == one
    two = writer.commit([one], {"run.sh": b"2"}, "m", AT)
    writer.push(BRANCH, two)
    assert shop.tip(BRANCH) == two
    assert shop.open("another").tip(BRANCH) == two
    assert shop.tip(MAIN) == shop.base


@pytest.mark.parametrize("where", ["ahead", "beside", "unknown"])
def test_a_branch_that_is_elsewhere_is_left_alone(shop: Shop, where: str) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one = proposed(writer, shop.base)
    writer.push(BRANCH, one)
    human = shop.repo.commit({**FILES, "human": b"1"}, [one if where != "beside" else shop.base], ref=BRANCH)
    if where != "unknown":
        assert writer.tip(BRANCH) == human
    mine = one if where == "ahead" else writer.commit([one], {"run.sh": b"2"}, "m", AT)
    with pytest.raises(StaleObservation, match=f"the branch is at {human}"):
        writer.push(BRANCH, mine)
    assert shop.tip(BRANCH) == human


def test_a_base_that_moved_on_meanwhile_hinders_no_push(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one = proposed(writer, shop.base)
    tip = shop.base
    for n in range(5):
        tip = shop.repo.commit({**FILES, "values/dev.yaml": b"x: %d\n" % n}, [tip], ref=MAIN)
    writer.push(BRANCH, one)
    assert shop.tip(BRANCH) == one
    assert shop.git("fsck", "--strict", "--no-dangling").strip() == ""


@pytest.mark.parametrize("kind", ["pre-receive", "update"])
def test_a_rule_of_the_server_is_told_with_its_reason(shop: Shop, kind: str) -> None:
    shop.server.hook("shop-gitops.git", "echo 'branches need a ticket' >&2; exit 1", kind)
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    with pytest.raises(Denied, match=r"hook declined.*branches need a ticket"):
        writer.push(BRANCH, proposed(writer, shop.base))
    assert shop.tip(BRANCH) is None


def test_nothing_is_sent_where_the_last_look_says_no(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one = proposed(writer, shop.base)

    def moved() -> None:
        raise StaleObservation("the head moved")

    with pytest.raises(StaleObservation, match="the head moved"):
        writer.push(BRANCH, one, moved)
    assert shop.tip(BRANCH) is None
    called: list[str | None] = []
    writer.push(BRANCH, one, lambda: called.append(shop.tip(BRANCH)))
    assert called == [None]


def at_once(calls: list[Callable[[], None]]) -> list[Exception | None]:
    def tried(call: Callable[[], None]) -> Exception | None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - handed back, to be judged
            return error
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return [*pool.map(tried, calls)]


def test_of_several_writers_of_one_branch_exactly_one_wins(shop: Shop) -> None:
    writers = [shop.open(f"w{n}") for n in range(4)]
    commits: dict[int, CommitId] = {}
    for number, writer in enumerate(writers):
        assert writer.tip(MAIN) == shop.base
        commits[number] = proposed(writer, shop.base, f"image: {{ref: {number}}}\n")
    ended = at_once([lambda n=n: writers[n].push(BRANCH, commits[n]) for n in commits])  # type: ignore[misc]
    won = [n for n, error in enumerate(ended) if error is None]
    assert len(won) == 1
    assert shop.tip(BRANCH) == commits[won[0]]
    assert all(isinstance(error, (StaleObservation, Transient)) for error in ended if error is not None), ended


def test_several_writers_of_the_same_commit_all_succeed(shop: Shop) -> None:
    writers = [shop.open(f"w{n}") for n in range(4)]
    for writer in writers:
        assert writer.tip(MAIN) == shop.base
    ended = at_once([lambda w=w: w.push(BRANCH, proposed(w, shop.base)) for w in writers])  # type: ignore[misc]
    assert ended == [None] * 4
    assert shop.tip(BRANCH) == proposed(writers[0], shop.base)


def test_an_answer_that_is_lost_after_the_update_is_found_again(http_shop: Shop) -> None:
    writer = http_shop.open()
    assert writer.tip(MAIN) == http_shop.base
    one = proposed(writer, http_shop.base)
    http_shop.server.lose_answers_to_pushes = 1
    writer.push(BRANCH, one)
    assert http_shop.server.lose_answers_to_pushes == 0
    assert http_shop.tip(BRANCH) == one


def test_a_server_that_is_down_is_no_answer(http_shop: Shop) -> None:
    writer = http_shop.open()
    assert writer.tip(MAIN) == http_shop.base
    one = proposed(writer, http_shop.base)
    http_shop.server.down = True
    for call in (lambda: writer.tip(BRANCH), lambda: writer.push(BRANCH, one)):
        with pytest.raises(Transient):
            call()
    http_shop.server.down = False
    writer.push(BRANCH, one)
    assert http_shop.tip(BRANCH) == one


def test_a_credential_is_read_at_each_call_and_a_wrong_one_is_denied_without_being_shown(http_shop: Shop) -> None:
    token = http_shop.tmp_path / "token"
    token.write_text("right-5551212\n")
    token.chmod(0o600)
    http_shop.server.credential = "x-access-token:right-5551212"
    writer = http_shop.open(credential_file=token)
    assert writer.tip(MAIN) == http_shop.base
    one = proposed(writer, http_shop.base)
    token.write_text("wrong-5551212\n")
    for call in (lambda: writer.tip(BRANCH), lambda: writer.push(BRANCH, one)):
        with pytest.raises(Denied) as caught:
            call()
        assert "5551212" not in str(caught.value)
    assert http_shop.tip(BRANCH) is None
    token.write_text("right-5551212\n")
    writer.push(BRANCH, one)
    assert http_shop.tip(BRANCH) == one


def test_a_credential_that_may_only_read_is_denied(http_shop: Shop) -> None:
    http_shop.repo.configure(http_receivepack="false")
    writer = http_shop.open()
    assert writer.tip(MAIN) == http_shop.base
    with pytest.raises(Denied):
        writer.push(BRANCH, proposed(writer, http_shop.base))


def test_a_repository_that_is_not_there_is_terminal(shop: Shop) -> None:
    writer = shop.open()
    assert writer.tip(MAIN) == shop.base
    one = proposed(writer, shop.base)
    shop.repo.path.rename(shop.repo.path.with_name("away.git"))
    with pytest.raises(Terminal):
        writer.push(BRANCH, one)


def test_a_mirror_that_is_opened_again_has_what_was_made(shop: Shop) -> None:
    source, signer = remote(shop.url), SshSigner.from_file(shop.signer)
    with GitOpsBranches(shop.tmp_path / "m", source, timeout_s=30, signer=signer) as writer:
        assert writer.tip(MAIN) == shop.base
        one = proposed(writer, shop.base)
    for clean in (["repack", "-adq", "--no-write-bitmap-index"], ["prune", "--expire=now"]):
        subprocess.run(["git", "-C", str(shop.tmp_path / "m"), *clean], check=True, timeout=60)
    with GitOpsBranches(shop.tmp_path / "m", source, timeout_s=30, signer=signer) as writer:
        writer.push(BRANCH, one)
    assert shop.tip(BRANCH) == one


def test_nothing_of_the_contents_is_fetched_that_is_not_read(tmp_path: Path, git_server: GitServer) -> None:
    shop = Shop(tmp_path, git_server, "blobless")
    with shop.stack:
        writer = shop.open()
        assert writer.tip(MAIN) == shop.base
        writer.push(BRANCH, proposed(writer, shop.base))
        here = pygit2.Repository(str(tmp_path / "mirrors/mirror"))
        blobs: Mapping[str, str] = {path: id_ for path, (_, id_) in shop.entries(shop.base).items()}
        assert blobs["big.bin"] not in here
        assert writer.files(shop.base, ["big.bin"])
        assert blobs["big.bin"] in pygit2.Repository(str(tmp_path / "mirrors/mirror"))
        here.free()
    shop.repo.close()
