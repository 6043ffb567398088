"""Which images a head changes: fingerprints of declared inputs, over real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from pygit2.enums import ObjectType

from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_files import read_catalogue
from reconciler.catalogue import parse_catalogue
from state.change import ChangeRecord, ImageChange, Why
from state.errors import ConfigError, IntegrityError, Terminal
from state.git import CommitId
from state.observed import Image
from state.oci import Digest, Repository
from tests.fixtures.git_repos import Content, Link, Repo, Script, Submodule, Tree, catalogue
from tests.thorough import examples

BASE: dict[str | bytes, Content] = {
    "orders/main.go": b"package main\n",
    "orders/deep/er/file.txt": b"1\n",
    "billing/main.go": b"package main\n",
    "sdk/client.go": b"package sdk\n",
    "go.work": b"go 1.23\n",
    "docs/readme.md": b"hello\n",
}
NO_SDK = {path: content for path, content in BASE.items() if path != "sdk/client.go"}
CATALOGUE = catalogue(orders=["orders", "sdk", "go.work"], billing=["billing", "go.work"])


def compare(repo: Repo, base: CommitId, head: CommitId, declared: bytes = CATALOGUE) -> ChangeRecord:
    return Comparer(repo.git).changes(base, head, parse_catalogue(declared, base))


def after(repo: Repo, files: Mapping[str | bytes, Content], declared: bytes = CATALOGUE) -> dict[str, ImageChange]:
    """The changes of one commit with `files` on top of one with BASE."""
    base = repo.commit(BASE)
    return by_name(compare(repo, base, repo.commit(files, [base]), declared))


def by_name(record: ChangeRecord) -> dict[str, ImageChange]:
    return {image.repository.path.removeprefix("acme/"): image for image in record.images}


def changed(found: Mapping[str, ImageChange]) -> dict[str, tuple[str, ...]]:
    return {name: image.inputs for name, image in found.items() if image.changed}


def test_a_head_that_touches_no_input_changes_nothing(git_repo: Repo) -> None:
    found = after(git_repo, {**BASE, "docs/readme.md": b"bye\n"})
    assert changed(found) == {}
    assert {image.why for image in found.values()} == {Why.INPUTS_EQUAL}
    assert not any(image.baseline_moved for image in found.values())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({**BASE, "orders/main.go": b"package other\n"}, {"orders": ("orders",)}),
        ({**BASE, "orders/deep/er/file.txt": b"2\n"}, {"orders": ("orders",)}),
        ({**BASE, "orders/new.go": b""}, {"orders": ("orders",)}),
        ({**BASE, "sdk/client.go": b"2\n"}, {"orders": ("sdk",)}),
        ({**BASE, "go.work": b"go 1.24\n"}, {"orders": ("go.work",), "billing": ("go.work",)}),
        ({**BASE, "orders/main.go": Script(b"package main\n")}, {"orders": ("orders",)}),
        ({**BASE, "go.work": Script(b"go 1.23\n")}, {"orders": ("go.work",), "billing": ("go.work",)}),
        (NO_SDK, {"orders": ("sdk",)}),
        ({**NO_SDK, "sdk/c.go": b"package sdk\n"}, {"orders": ("sdk",)}),
        ({**NO_SDK, "sdk/Client.go": b"package sdk\n"}, {"orders": ("sdk",)}),
        ({**NO_SDK, "SDK/client.go": b"package sdk\n"}, {"orders": ("sdk",)}),
        ({**BASE, b"orders/\xff\xfe.bin": b""}, {"orders": ("orders",)}),
        ({**BASE, "billing/vendor": Submodule("1" * 40)}, {"billing": ("billing",)}),
    ],
    ids=[
        "own file", "deep file", "new file", "shared path", "shared file", "mode in a tree", "mode of a file",
        "deleted tree", "renamed", "renamed in case only", "directory renamed in case only", "name that is not UTF-8",
        "submodule added",
    ],
)  # fmt: skip
def test_an_image_is_changed_by_any_change_of_its_inputs(
    git_repo: Repo, files: dict[str | bytes, Content], expected: dict[str, tuple[str, ...]]
) -> None:
    assert changed(after(git_repo, files)) == expected


def test_a_moved_submodule_changes_the_images_it_is_an_input_of_also_by_a_path_inside(git_repo: Repo) -> None:
    declared = catalogue(whole=["vendor/lib"], inside=["vendor/lib/proto"], other=["docs"])
    base = git_repo.commit({**BASE, "vendor/lib": Submodule("1" * 40)})
    head = git_repo.commit({**BASE, "vendor/lib": Submodule("2" * 40)}, [base])
    assert set(changed(by_name(compare(git_repo, base, head, declared)))) == {"whole", "inside"}


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("../shared/tool.sh", "shared/tool.sh"),
        ("../shared", "shared/tool.sh"),
        ("../hop", "shared/tool.sh"),
        ("../via/tool.sh", "shared/tool.sh"),
        ("../shared/more", "elsewhere/x"),
        ("../shared", "elsewhere/x"),
        ("./../shared/./x/../tool.sh", "shared/tool.sh"),
    ],
    ids=["file", "directory", "link to a link", "link on the way", "two links", "link below the target", "dots"],
)
def test_what_a_symbolic_link_leads_to_is_part_of_the_input(git_repo: Repo, link: str, target: str) -> None:
    declared = catalogue(app=["app"], other=["docs"])
    files: dict[str | bytes, Content] = {
        "app/run": Link(link),
        "hop": Link("shared/tool.sh"),
        "via": Link("shared"),
        "shared/tool.sh": b"1",
        "shared/x/y": b"1",
        "shared/more": Link("../elsewhere"),
        "elsewhere/x": b"1",
        "docs/a": b"1",
    }
    base = git_repo.commit(files)
    same = git_repo.commit({**files, "unrelated": b"1"}, [base])
    head = git_repo.commit({**files, target: b"2"}, [base])
    assert changed(by_name(compare(git_repo, base, same, declared))) == {}
    assert changed(by_name(compare(git_repo, base, head, declared))) == {"app": ("app",)}


def test_an_input_behind_a_symbolic_link_is_found_and_followed(git_repo: Repo) -> None:
    files: dict[str | bytes, Content] = {"current": Link("v2"), "v2/app/main": b"1", "v1/app/main": b"1"}
    declared = catalogue(app=["current/app"])
    base = git_repo.commit({**files, "ameide.yaml": declared})
    assert read_catalogue(git_repo.git, base, "ameide.yaml").images["app"].inputs == ("current/app",)
    head = git_repo.commit({**files, "v2/app/main": b"2"}, [base])
    moved = git_repo.commit({**files, "current": Link("v1")}, [base])
    other = git_repo.commit({**files, "v1/app/main": b"2"}, [base])
    assert [bool(changed(by_name(compare(git_repo, base, c, declared)))) for c in (head, moved, other)] == [
        True,
        True,
        False,
    ]


def test_a_dangling_link_notices_when_its_target_appears(git_repo: Repo) -> None:
    declared = catalogue(app=["app"])
    base = git_repo.commit({"app/run": Link("../tool")})
    head = git_repo.commit({"app/run": Link("../tool"), "tool": b"1"}, [base])
    assert changed(by_name(compare(git_repo, base, head, declared))) == {"app": ("app",)}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "loop", "../app", ".", "", "a\nb", "x" * 4000])
def test_a_link_that_leads_nowhere_in_the_repository_counts_by_its_text(git_repo: Repo, target: str) -> None:
    declared = catalogue(app=["app"])
    files: dict[str | bytes, Content] = {"app/loop": Link("loop"), "app/run": Link(target), "app/x": b"1"}
    base = git_repo.commit(files)
    same = git_repo.commit({**files, "unrelated": b"1"}, [base])
    head = git_repo.commit({**files, "app/run": Link(target + "/y")}, [base])
    assert changed(by_name(compare(git_repo, base, same, declared))) == {}
    assert changed(by_name(compare(git_repo, base, head, declared))) == {"app": ("app",)}


def test_a_tree_with_too_many_links_is_refused_instead_of_guessed(git_repo: Repo) -> None:
    files: dict[str | bytes, Content] = {f"d/l{n}": Link("../x") for n in range(30)}
    for level in range(3):  # 30 links, then 900, then 27,000: the trees are small, what they stand for is not.
        inner = git_repo.tree(files).hex()
        files = {f"l{level}x{n}": Tree(inner) for n in range(30)}
    base = git_repo.commit(files)
    with pytest.raises(Terminal, match="symbolic links"):
        compare(git_repo, base, base, catalogue(app=["."]))


def test_a_malformed_tree_is_an_integrity_error(git_repo: Repo) -> None:
    one = git_repo.git.odb.write(ObjectType.BLOB, b"1").raw
    twice = b"100644 a\0" + one + b"100755 a\0" + one
    tree = git_repo.git.odb.write(ObjectType.TREE, twice)
    commit = CommitId(str(git_repo.git.odb.write(ObjectType.COMMIT, f"tree {tree}\n\nx\n".encode())))
    with pytest.raises(IntegrityError, match="two entries have one name"):
        compare(git_repo, commit, commit, catalogue(app=["a"]))


def test_where_main_has_moved_on_the_base_fingerprint_says_so(git_repo: Repo) -> None:
    start = git_repo.commit(BASE)
    base = git_repo.commit({**BASE, "billing/main.go": b"2"}, [start])
    head = git_repo.commit({**BASE, "docs/readme.md": b"2"}, [start])
    found = by_name(compare(git_repo, base, head))
    assert changed(found) == {}
    assert (found["billing"].baseline_moved, found["orders"].baseline_moved) == (True, False)


def test_unrelated_histories_change_everything(git_repo: Repo) -> None:
    base, head = git_repo.commit(BASE), git_repo.commit(BASE)
    record = compare(git_repo, base, head)
    assert record.merge_bases == ()
    assert {(i.changed, i.why, i.inputs) for i in record.images} == {(True, Why.NO_MERGE_BASE, ())}


def test_a_criss_cross_merge_compares_with_every_merge_base(git_repo: Repo) -> None:
    root = git_repo.commit(BASE)
    left = git_repo.commit({**BASE, "orders/main.go": b"left"}, [root])
    right = git_repo.commit({**BASE, "billing/main.go": b"right"}, [root])
    both: dict[str | bytes, Content] = {**BASE, "orders/main.go": b"left", "billing/main.go": b"right"}
    base, head = git_repo.commit(both, [left, right]), git_repo.commit(both, [right, left])
    record = compare(git_repo, base, head)
    assert record.merge_bases == tuple(sorted((left, right)))
    # Each merge base lacks one of the two: "unchanged" would be true of one of them only.
    assert changed(by_name(record)) == {"orders": ("orders",), "billing": ("billing",)}


def test_the_catalogue_of_the_head_is_ignored(git_repo: Repo) -> None:
    base = git_repo.commit({**BASE, "ameide.yaml": CATALOGUE})
    head = git_repo.commit({**BASE, "ameide.yaml": catalogue(orders=["docs"]), "sdk/client.go": b"2"}, [base])
    declared = read_catalogue(git_repo.git, base, "ameide.yaml")
    assert changed(by_name(Comparer(git_repo.git).changes(base, head, declared))) == {"orders": ("sdk",)}


def test_every_input_that_matches_nothing_is_named(git_repo: Repo) -> None:
    declared = catalogue(orders=["orders", "go.wrok"], billing=["Billing", "orders/main.go/x"])
    base = git_repo.commit({**BASE, "ameide.yaml": declared})
    with pytest.raises(ConfigError) as caught:
        read_catalogue(git_repo.git, base, "ameide.yaml")
    assert [p.split(":")[0] for p in caught.value.problems] == [
        "images.orders.inputs[1]",
        "images.billing.inputs[0]",
        "images.billing.inputs[1]",
    ]


@pytest.mark.parametrize("content", [None, Link("go.work"), Submodule("1" * 40)])
def test_a_catalogue_that_is_no_file_is_refused(git_repo: Repo, content: Content | None) -> None:
    base = git_repo.commit(BASE if content is None else {**BASE, "ameide.yaml": content})
    with pytest.raises(ConfigError, match=r"ameide\.yaml: expected a file"):
        read_catalogue(git_repo.git, base, "ameide.yaml")


def test_the_fingerprint_of_version_1_never_changes(git_repo: Repo) -> None:
    """Recorded in logs for years: another value here means another version in `git_fingerprint`."""
    commit = git_repo.commit({"a/b": b"x", "l": Link("a/b"), "s": Submodule("1" * 40), b"\xff": Script(b"")})
    image = Image("x", Repository("ghcr.io/a/x"), ("a", "l", "s/below", "gone"), ())
    text = (
        b"ameide-input-fingerprint/1\0"
        b"input 1 a\0"
        b"040000 da981995a0f17908b3f6795c1e0c28a7e96b8a11 1 a\0"
        b"input 1 l\0"
        b"100644 c1b0730e0133447badcfd47fd144e254807b06e1 3 a/b\0"
        b"120000 db89c972fc57862eae378f45b74aca228037d415 1 l\0"
        b"input 4 gone\0"
        b"absent - 4 gone\0"
        b"input 7 s/below\0"
        b"160000 1111111111111111111111111111111111111111 1 s\0"
    )
    assert Comparer(git_repo.git).fingerprint(commit, image) == Digest.of(text)


def test_the_order_of_declared_inputs_does_not_count_but_which_are_declared_does(git_repo: Repo) -> None:
    commit = git_repo.commit(BASE)
    repository = Repository("ghcr.io/a/x")
    made = [
        Comparer(git_repo.git).fingerprint(commit, Image("x", repository, inputs, ()))
        for inputs in (("orders", "sdk"), ("sdk", "orders"), ("orders",))
    ]
    assert made[0] == made[1] != made[2]


def test_faithful_commits_are_those_of_main_with_equal_inputs_from_the_merge_base_back(git_repo: Repo) -> None:
    image = Image("x", Repository("ghcr.io/a/x"), ("orders",), ())
    first = git_repo.commit(BASE)
    changed_at = git_repo.commit({**BASE, "orders/main.go": b"2"}, [first])
    files: dict[str | bytes, Content] = {**BASE, "orders/main.go": b"2", "docs/readme.md": b"3"}
    third = git_repo.commit(files, [changed_at])
    side = git_repo.commit({**files, "docs/side": b""}, [changed_at])
    merge = git_repo.commit({**files, "docs/side": b""}, [third, side])
    base = git_repo.commit({**files, "orders/main.go": b"5"}, [merge])
    comparer = Comparer(git_repo.git)
    wanted = comparer.fingerprint(merge, image)
    assert comparer.faithful(image, base, merge, wanted, 10) == (merge, third, changed_at)
    assert comparer.faithful(image, base, merge, wanted, 2) == (merge, third)
    assert comparer.faithful(image, base, base, wanted, 10) == ()
    # A branch point off main's first-parent history: the walk starts where that branch left main.
    assert comparer.faithful(image, base, side, wanted, 10) == (changed_at,)
    # It left main twice: the newer place counts.
    for parents in ([side, third], [third, side]):
        again = git_repo.commit({**files, "docs/side": b"2"}, parents)
        assert comparer.faithful(image, base, again, wanted, 10) == (third, changed_at)


# --- the definition, against git itself

NAMES = st.sampled_from(["a", "b", "a-b"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from([b"1", b"2", Script(b"1"), Submodule("1" * 40), Submodule("2" * 40)])


def _no_file_above_another(files: Mapping[str, Content]) -> dict[str | bytes, Content]:
    return {p: c for p, c in files.items() if not any(q != p and p.startswith(q + "/") for q in files)}


TREES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=6).map(_no_file_above_another)


@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=TREES, now=TREES, inputs=st.lists(PATHS, min_size=1, max_size=4, unique=True))
@example(before={"a/b": b"1"}, now={"a/b": b"1", "a-b": b"1"}, inputs=["a"])
@example(before={"a/b": b"1"}, now={"a": b"1"}, inputs=["a", "a/b"])
def test_changed_is_what_git_diff_says_of_the_inputs(
    git_repo: Repo, before: dict[str | bytes, Content], now: dict[str | bytes, Content], inputs: list[str]
) -> None:
    base = git_repo.commit(before)
    head = git_repo.commit(now, [base])
    record = compare(git_repo, base, head, catalogue(**{f"i{n}": [path] for n, path in enumerate(inputs)}))
    argv = ["git", "diff", "--name-only", "--no-renames", "-z", base, head]
    names = subprocess.run(argv, cwd=git_repo.path, check=True, capture_output=True).stdout.decode().split("\0")[:-1]
    submodules = {p for files in (before, now) for p, c in files.items() if isinstance(c, Submodule)}
    expected = {
        f"i{n}"
        for n, path in enumerate(inputs)
        # A path inside a submodule is the submodule's business.
        if any(x == path or x.startswith(path + "/") or (x in submodules and path.startswith(x + "/")) for x in names)
    }
    assert set(changed(by_name(record))) == expected
