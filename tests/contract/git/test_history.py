"""Merge bases and first-parent history, held to git's own answers."""

from __future__ import annotations

import random
import subprocess
from itertools import pairwise
from pathlib import Path

import pygit2
import pytest

from reconciler.adapters.git_history import History
from state.errors import Terminal
from state.git import CommitId
from tests.fixtures.git_repos import Repo


def by_git(repo: Path, left: str, right: str) -> tuple[str, ...]:
    done = subprocess.run(
        ["git", "merge-base", "--all", left, right], cwd=repo, check=False, capture_output=True, text=True
    )
    assert done.returncode in {0, 1}, done.stderr
    return tuple(sorted(done.stdout.split()))


def random_layers(repo: Repo, chance: random.Random, dates: str) -> list[list[CommitId]]:
    """Layers of four: each commit has parents in the two layers before, or is a root."""
    layers: list[list[CommitId]] = [[]]
    for n in range(32):
        near = [*layers[-1], *(layers[-2] if len(layers) > 1 else [])]
        parents = chance.sample(near, min(len(near), chance.choice([1, 2, 2, 2, 3]) if n % 13 else 0))
        when = {"rising": None, "equal": 1_700_000_000}.get(dates, chance.randrange(1_600_000_000, 1_800_000_000))
        if n % 4 == 0:
            layers.append([])
        layers[-1].append(repo.commit({"n": str(n).encode()}, parents, time=when, text=str(n)))
    return layers


@pytest.mark.parametrize("dates", ["rising", "equal", "chosen by a stranger"])
def test_merge_bases_are_those_of_git_merge_base_all(git_repo: Repo, dates: str) -> None:
    chance = random.Random(dates)
    several = 0
    for _ in range(8):
        layers = random_layers(git_repo, chance, dates)
        history = History(git_repo.git)
        for _ in range(12):
            left, right = chance.choice(layers[-1]), chance.choice(layers[-chance.choice([1, 1, 1, 2])])
            expected = by_git(git_repo.path, left, right)
            several += len(expected) > 1
            assert history.merge_bases(left, right) == expected
            assert history.merge_bases(right, left) == expected
    assert several >= 5, "a run without criss-crosses would show little"


@pytest.mark.parametrize("dates", ["rising", "equal", "chosen by a stranger"])
def test_lines_of_single_parents_meet_in_the_one_merge_base_of_git(git_repo: Repo, dates: str) -> None:
    chance = random.Random(dates)

    def line(start: CommitId, text: str, length: int) -> list[CommitId]:
        made = [start]
        for n in range(length):
            when = {"rising": None, "equal": 1_700_000_000}.get(dates, chance.randrange(1_600_000_000, 1_800_000_000))
            made.append(git_repo.commit({text: str(n).encode()}, [made[-1]], time=when, text=f"{text} {n}"))
        return made

    main = line(git_repo.commit({"a": b"0"}, time=1_700_000_000), "main", 25)
    heads = [line(chance.choice(main), f"head-{n}", chance.randrange(6))[-1] for n in range(25)]
    history = History(git_repo.git)
    for head in heads:
        for left, right in ((main[-1], head), (head, main[-1]), (head, heads[0])):
            assert history.merge_bases(left, right) == by_git(git_repo.path, left, right)


def test_a_criss_cross_has_both_merge_bases_whatever_its_dates_say(git_repo: Repo) -> None:
    for when in (None, 5, -5):
        root = git_repo.commit({"a": b"0"}, time=when)
        left, right = (git_repo.commit({"a": c}, [root], time=when) for c in (b"1", b"2"))
        one, two = git_repo.commit({"a": b"3"}, [left, right]), git_repo.commit({"a": b"4"}, [right, left])
        assert History(git_repo.git).merge_bases(one, two) == tuple(sorted((left, right)))


def shallow_clone(repo: Repo, into: Path, depth: int) -> pygit2.Repository:
    argv = [
        "git",
        "clone",
        "--quiet",
        "--mirror",
        "--no-single-branch",
        f"--depth={depth}",
        f"file://{repo.path}",
        str(into),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    return pygit2.Repository(str(into))


def chain(repo: Repo, start: CommitId, length: int, text: str) -> list[CommitId]:
    made = [start]
    for n in range(length):
        made.append(repo.commit({"n": f"{text}{n}".encode()}, [made[-1]]))
    return made


@pytest.mark.parametrize(("depth", "known"), [(2, False), (3, False), (5, True), (50, True)])
def test_in_a_shallow_clone_a_merge_base_counts_only_if_no_other_can_be_hidden(
    git_repo: Repo, tmp_path: Path, depth: int, known: bool
) -> None:
    main = chain(git_repo, git_repo.commit({"n": b""}), 3, "m")
    base, head = chain(git_repo, main[-1], 3, "b")[-1], chain(git_repo, main[-1], 2, "h")[-1]
    git_repo.point("refs/heads/main", base)
    git_repo.point("refs/heads/topic", head)
    clone = shallow_clone(git_repo, tmp_path / "shallow", depth)
    history = History(clone)
    assert history.merge_bases(base, head) == ((main[-1],) if known else ())
    assert history.shallow == (depth < 50)
    clone.free()


def test_a_visible_merge_base_is_not_believed_while_another_may_be_hidden(git_repo: Repo, tmp_path: Path) -> None:
    """`head` also merged an old side branch of main; in the clone its link to main is cut off."""
    root = git_repo.commit({"n": b"root"})
    side = chain(git_repo, root, 4, "s")
    main = chain(git_repo, root, 1, "m")
    base = git_repo.commit({"n": b"base"}, [main[-1], side[-2]])
    head = git_repo.commit({"n": b"head"}, [main[-1], side[-1]])
    git_repo.point("refs/heads/main", base)
    git_repo.point("refs/heads/topic", head)
    clone = shallow_clone(git_repo, tmp_path / "shallow", 2)
    assert History(git_repo.git).merge_bases(base, head) == tuple(sorted((main[-1], side[-2])))
    assert History(clone).merge_bases(base, head) == ()
    clone.free()


def test_a_history_that_is_cut_off_is_refused_and_says_what_to_do(git_repo: Repo) -> None:
    orphan = git_repo.commit({"a": b"1"}, ["1" * 40])
    with pytest.raises(Terminal, match="fetch the full history"):
        History(git_repo.git).merge_bases(orphan, git_repo.commit({"a": b"1"}))


def test_first_parents_lead_to_the_root(git_repo: Repo) -> None:
    main = chain(git_repo, git_repo.commit({"n": b""}), 3, "m")
    merged = git_repo.commit({"n": b"x"}, [main[-1], git_repo.commit({"n": b"y"})])
    walked = [*History(git_repo.git).first_parents(merged)]
    assert walked == [merged, *reversed(main)]
    assert all(a != b for a, b in pairwise(walked))
