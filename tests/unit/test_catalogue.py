"""The catalogue file: what is read, and that every problem is named at once."""

from __future__ import annotations

import pytest

from reconciler.catalogue import parse_catalogue, parse_recipes
from reconciler.declared import MAX_BYTES
from state.errors import ConfigError
from state.git import CommitId
from state.observed import Image, Recipe
from state.oci import Repository

COMMIT = CommitId("a" * 40)
GOOD = b"""\
version: 1
images:
  orders:
    repository: ghcr.io/acme/primitive-domain-orders
    inputs: [primitives/domain/orders, packages/sdk_go, go.work]
    platforms: [linux/amd64, linux/arm64/v8]
components:
  orders-v0: orders
  orders-v0-dispatcher: orders
"""


def problems(raw: bytes) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_catalogue(raw, COMMIT)
    return caught.value.problems


def image(inputs: str = "[a]", platforms: str = "[linux/amd64]", repository: str = "ghcr.io/acme/x") -> bytes:
    return (
        f"version: 1\nimages:\n  x:\n    repository: {repository}\n    inputs: {inputs}\n    platforms: {platforms}\n"
        "components: {}\n"
    ).encode()


def test_a_catalogue_is_read_with_many_components_on_one_image() -> None:
    made = parse_catalogue(GOOD, COMMIT)
    inputs = ("primitives/domain/orders", "packages/sdk_go", "go.work")
    platforms = ("linux/amd64", "linux/arm64/v8")
    repository = Repository("ghcr.io/acme/primitive-domain-orders")
    assert made.commit == COMMIT
    assert made.images == {"orders": Image("orders", repository, inputs, platforms)}
    assert made.components == {"orders-v0": "orders", "orders-v0-dispatcher": "orders"}


def test_every_problem_is_named_at_once_with_its_path_and_line() -> None:
    raw = b"""\
version: 2
images:
  Orders:
    repository: ghcr.io/acme/x
    inputs: [a, a/b, ../c]
    platforms: [linux]
  b: {repository: ghcr.io/acme/x, inputs: [], platforms: [linux/amd64], colour: red}
  c: {repository: nope, inputs: z, platforms: [1]}
components:
  orders-v0: nothing
  x: [1]
"""
    found = problems(raw)
    assert [p.split(":")[0] for p in found] == [
        "version (line 1)",
        "images.Orders (line 4)",
        "images.Orders.inputs[2] (line 5)",
        "images.Orders.inputs[1] (line 5)",
        "images.Orders.platforms[0] (line 6)",
        "images.b.inputs (line 7)",
        "images.b.colour (line 7)",
        "images.b.repository (line 7)",
        "images.c.repository (line 8)",
        "images.c.inputs (line 8)",
        "images.c.platforms[0] (line 8)",
        "components.orders-v0 (line 10)",
        "components.x (line 11)",
    ]


@pytest.mark.parametrize(
    "path", ["/a", "../a", "a/../b", "./a", "a/", "a//b", "a/./b", r"a\\b", "", "a/.git", r"a\u0001b", "a" * 1025]
)
def test_an_input_that_is_no_normalised_relative_path_is_refused(path: str) -> None:
    (problem,) = problems(image(inputs=f'["{path}"]'))
    assert problem.startswith("images.x.inputs[0] (line 5): expected")


@pytest.mark.parametrize("inputs", ["[a, a]", "[a/b, a]", "[a, a/b/c]", "[a, .]", "[., a]"])
def test_inputs_of_one_image_that_overlap_are_refused(inputs: str) -> None:
    (problem,) = problems(image(inputs=inputs))
    assert "already" in problem


def test_a_name_that_only_starts_like_another_input_is_no_overlap() -> None:
    assert parse_catalogue(image(inputs="[a/b, a/bc, a/b-c, ab]"), COMMIT).images["x"].inputs[1] == "a/bc"


def test_the_whole_repository_may_be_the_one_input() -> None:
    assert parse_catalogue(image(inputs="[.]"), COMMIT).images["x"].inputs == (".",)


@pytest.mark.parametrize("platforms", ["[]", "[linux]", "[linux/amd64, linux/amd64]", "[Linux/amd64]", "[a/b/c/d]"])
def test_platforms_are_named_once_each_as_os_and_architecture(platforms: str) -> None:
    (problem,) = problems(image(platforms=platforms))
    assert problem.startswith("images.x.platforms")


def test_two_images_cannot_have_one_repository() -> None:
    raw = GOOD.replace(
        b"components:",
        b"  other: {repository: ghcr.io/acme/primitive-domain-orders, inputs: [a], platforms: [a/b]}\ncomponents:",
    )
    (problem,) = problems(raw)
    assert problem.startswith("images.other.repository (line 7)")
    assert "images.orders" in problem


@pytest.mark.parametrize("where", ["top", "image", "component"])
def test_a_key_of_the_inventory_is_told_where_it_belongs(where: str) -> None:
    raw = {
        "top": GOOD + b"pins: []\n",
        "image": GOOD.replace(b"    inputs:", b"    pins: []\n    inputs:"),
        "component": GOOD + b"  extra: {pins: []}\n",
    }[where]
    assert any("pins" in p and "belongs in the inventory (GitOps repository), not here" in p for p in problems(raw))


@pytest.mark.parametrize("name", ["-a", "a-", "A", "a_b", "a" * 64])
def test_a_name_is_a_dns_label(name: str) -> None:
    assert any(p.startswith(f"components.{name} ") for p in problems(GOOD + f"  {name}: orders\n".encode()))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (GOOD.replace(b"[linux/amd64, linux/arm64/v8]", b"&p [linux/amd64]"), "anchors and aliases"),
        (GOOD + b"  orders-v0: orders\n", "appears twice"),
        (b"x" * (MAX_BYTES + 1), "at most"),
        (b"", "empty"),
        (b"[" * 1200, "nested too deeply"),
        (b"\xff", "UTF-8"),
        (b"version: 1\nimages: {}\ncomponents: {}\n", "at least one item"),
        (b"version: 1\n", "required"),
        (b"- 1\n", "expected a mapping"),
    ],
)
def test_yaml_that_could_be_read_two_ways_or_is_too_much_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_catalogue(raw, COMMIT)


def built(build: str, inputs: str = "[src, go.work]") -> bytes:
    return image(inputs).replace(b"    platforms", f"    build: {build}\n    platforms".encode())


def test_how_an_image_is_built_is_read_beside_what_it_is() -> None:
    raw = built("{file: src/Dockerfile.main, context: src}")
    assert parse_recipes(raw, COMMIT) == {"x": Recipe("src/Dockerfile.main", "src")}
    assert parse_recipes(built("{file: src/Dockerfile}"), COMMIT) == {"x": Recipe("src/Dockerfile", ".")}
    assert parse_recipes(image(), COMMIT) == {}
    assert parse_catalogue(raw, COMMIT) == parse_catalogue(image("[src, go.work]"), COMMIT)


@pytest.mark.parametrize(
    ("build", "place", "expected"),
    [
        ("{file: ../Dockerfile}", "file", "no empty part"),
        ("{file: /etc/passwd}", "file", "relative to the top"),
        ("{file: src/../../x}", "file", "no empty part"),
        ("{file: other/Dockerfile}", "file", "in none of the image's inputs"),
        ("{file: srcs/Dockerfile}", "file", "in none of the image's inputs"),
        ("{file: src/Dockerfile, context: ../src}", "context", "no empty part"),
        ("{file: src/Dockerfile, context: docs}", "context", "it would be empty"),
        ("{context: src}", "file", "required"),
        ("{file: [src/Dockerfile]}", "file", "expected text"),
        ("{file: src/Dockerfile, target: x}", "target", "unknown key"),
    ],
)
def test_a_build_that_reads_what_is_not_declared_is_refused(build: str, place: str, expected: str) -> None:
    (found,) = problems(built(build))
    assert found.startswith(f"images.x.build.{place} (line ")
    assert expected in found


def test_build_arguments_are_read_in_their_order_and_only_the_commit_is_filled_in() -> None:
    declared = '{B: "a b", A: "x-{commit}", _c1: "{Commit} $A ${commit", EMPTY: ""}'
    recipe = parse_recipes(built(f"{{file: src/Dockerfile, args: {declared}}}"), COMMIT)["x"]
    assert [name for name, _ in recipe.arguments] == ["B", "A", "_c1", "EMPTY"]
    assert dict(recipe.arguments_at(CommitId("b" * 40))) == {
        "B": "a b",
        "A": f"x-{'b' * 40}",
        "_c1": "{Commit} $A ${commit",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("arguments", "place", "expected"),
    [
        ("[A]", "", "expected a mapping, got a list"),
        ("{A: 1}", ".A", "expected text, got 1"),
        ("{A: null}", ".A", "expected text, got nothing"),
        ('{A: "a\\nb"}', ".A", "expected printable text on one line"),
        ('{A: "a\\0b"}', ".A", "expected printable text on one line"),
        (f"{{A: {'x' * 1025}}}", ".A", "at most 1024 printable"),
        ("{1A: x}", ".1A", "begins with no digit, got '1A'"),
        ("{A-B: x}", ".A-B", "letters, digits and _"),
        ("{'': x}", ".", "letters, digits and _"),
        ("{é: x}", "", "expected a plain ASCII key"),
        (f"{{{'A' * 65}: x}}", f".{'A' * 65}", "at most 64"),
        ("{TARGETARCH: x}", ".TARGETARCH", "say `platforms`"),
        ("{BUILDPLATFORM: x}", ".BUILDPLATFORM", "say `platforms`"),
        ("{http_proxy: x}", ".http_proxy", "another network"),
        ("{NO_PROXY: x}", ".NO_PROXY", "another network"),
        ("{SOURCE_DATE_EPOCH: '0'}", ".SOURCE_DATE_EPOCH", "the time is the commit's"),
        ("{BUILDKIT_SYNTAX: x}", ".BUILDKIT_SYNTAX", "the builder itself"),
        (f"{{{', '.join(f'A{n}: x' for n in range(51))}}}", "", "at most 50 build arguments, got 51"),
    ],
)
def test_a_build_argument_that_cannot_be_given_is_told_with_its_line(arguments: str, place: str, expected: str) -> None:
    (found,) = problems(built(f"{{file: src/Dockerfile, args: {arguments}}}"))
    assert found.startswith(f"images.x.build.args{place} (line 6): ")
    assert expected in found


def test_every_bad_argument_is_told_beside_what_else_is_wrong() -> None:
    found = problems(built("{file: ../x, args: {HTTP_PROXY: y, A: [z], B-: b}}"))
    assert [text.partition(" ")[0] for text in found] == [
        "images.x.build.file",
        "images.x.build.args.A",
        "images.x.build.args.HTTP_PROXY",
        "images.x.build.args.B-",
    ]


def test_a_build_that_is_no_mapping_is_refused() -> None:
    (found,) = problems(built("Dockerfile"))
    assert "expected a mapping" in found
