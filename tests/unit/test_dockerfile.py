"""What a Dockerfile takes from outside, and where it has to be run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.producing.dockerfile import Base, Run, read
from state.errors import ConfigError
from state.oci import Digest

ONE, TWO = (f"docker.io/library/{name}@sha256:{name[0] * 64}" for name in ("alpine", "busybox"))


_PIECES = [
    "FROM ", "from ", "ARG ", "COPY ", "RUN ", "--from=", "$A", "${A}", "${A:-x}", "A", "=", "B", " AS ",
    " ", "\t", "\n", "\n", "\\\n", "#", "\"", "'", ONE, TWO, "alpine", "scratch", "0", "x", " a b",
]  # fmt: skip
_VALUES = [ONE, "alpine", "", f"x {TWO}", "$A", "scratch"]


def problems(text: str, what: str = "Dockerfile", **arguments: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text.encode(), what, arguments)
    return caught.value.problems


def bases(text: str, **arguments: str) -> list[str]:
    return [base.reference for base in read(text.encode(), "Dockerfile", arguments).bases]


def test_bases_are_told_once_and_stages_are_none() -> None:
    made = read(
        f"""# escape=\\
FROM --platform=$BUILDPLATFORM {ONE} AS build
WORKDIR /src
COPY . .
# RUN is only a comment
RUN --mount=type=bind,from={TWO},target=/x \\
    # a comment inside
    go build \\

    ./...
FROM scratch
COPY --from=build /out /app
COPY --chown=1:1 --from={TWO} /a /b
COPY --from=0 /c /d
""".encode(),
        "Dockerfile",
    )
    assert made.bases == (Base(ONE, Digest(f"sha256:{'a' * 64}")), Base(TWO, Digest(f"sha256:{'b' * 64}")))
    assert made.runs == (Run(6, ""),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM alpine:3.20", 1),
        ("FROM docker.io/library/alpine:latest AS x", 1),
        ("ARG BASE\nFROM $BASE", 2),
        ("ARG D=sha256:x\nFROM alpine@${D}", 2),
        ("FROM scratch\nCOPY --from=alpine:3 / /", 2),
        ("FROM scratch\nCOPY --from=1 / /", 2),
        ("FROM scratch\nRUN --mount=type=cache,from=golang:1,target=/x go build", 2),
        ("FROM scratch\nADD https://example.org/x /x", 2),
        ('FROM scratch\nADD ["git@example.org:x.git", "/x"]', 2),
        ("FROM scratch\nCOPY a b\nFROM later", 3),
        ("FROM scratch\nADD \\\n  http://a/b /x", 2),
        # Names that are no place in a registry, or not the one that they look like.
        (f"FROM alpine@sha256:{'a' * 64}", 1),
        (f"FROM dir:1/x@sha256:{'a' * 64}", 1),
        (f"FROM oci-archive:/x@sha256:{'a' * 64}", 1),
        (f"FROM docker://docker.io/x@sha256:{'a' * 64}", 1),
        (f"FROM docker.io/x@sha256:{'a' * 64}@sha256:{'a' * 64}", 1),
        (f"FROM docker.io/x@sha256:{'A' * 64}", 1),
        (f"FROM docker.io/x:@sha256:{'a' * 64}", 1),
        ("FROM SCRATCH", 1),
        ("FROM scratch\nCOPY --from=scratch / /", 2),
        # Stages that are not there, not yet there, or called otherwise.
        ("FROM scratch AS one\nFROM 0", 2),
        ("FROM scratch AS one\nFROM ONE", 2),
        ("FROM scratch AS one\nCOPY --from=one a b", 2),
        ("FROM scratch AS one\nFROM scratch\nCOPY --from=ONE a b", 3),
        ("FROM scratch AS one\nFROM scratch\nCOPY --from=+0 a b", 3),
        ("FROM scratch AS evil.example/x\nFROM scratch", 1),
        ("FROM scratch AS 1\nFROM scratch", 1),
        ("FROM scratch AS", 1),
        ("FROM scratch x one", 1),
        ("FROM scratch AS one two", 1),
        ("FROM", 1),
        # What is set somewhere else names what is taken.
        ("FROM scratch\nARG X\nCOPY --from=$X a b", 3),
        ("FROM scratch\nRUN --mount=from=${X},target=/x true", 2),
        ("FROM scratch\nRUN --mount=type=$X,target=/x true", 2),
        (f"FROM scratch\nRUN --mount=FROM=x,target=/x --mount=from={ONE},target=/y true", 2),
        ("FROM scratch\nADD $X /x", 2),
        ("FROM scratch\nADD ht'tp://a' /x", 2),
        ('FROM scratch\nADD ht"tp://a" /x', 2),
        ("FROM scratch\nADD h\\ttp://a /x", 2),
        ('FROM scratch\nADD ["\\u0068ttp://a", "/x"]', 2),
        ('FROM scratch\nADD ["http://a","/x"]]', 2),
        ("FROM scratch\nONBUILD COPY --from=alpine:3 a b", 2),
        # Flags that another reader would not take for what they look like.
        ("FROM scratch\nCOPY --fr\\om=alpine:3 a b", 2),
        ('FROM scratch\nCOPY --"from"=alpine:3 a b', 2),
        ("FROM scratch\nCOPY --$X=alpine:3 a b", 2),
        ("FROM scratch\nCOPY --chown=\u00e0--from=alpine:3 a b", 2),
        ("FROM scratch\nCOPY --chown=alpine--from a b", 2),
        ("FROM scratch AS one\nFROM scratch\nCOPY --from=alpine:3 --from=one a b", 3),
        ('FROM scratch\nRUN --mount=fr"om"=alpine:3,target=/x true', 2),
        # Lines that another reader would end elsewhere.
        ("# escape=`\nFROM scratch", 1),
        ("# escape=`more\nFROM scratch", 1),
        ("FROM scratch\nRUN a\x7f", 2),
        ("# syntax=docker/dockerfile:1\n#  ESCAPE = `\nFROM scratch", 2),
        ("FROM scratch\nRUN a \\\u00a0\nFROM alpine", 2),
        ("FROM scratch\nRUN a\x0bb", 2),
        ("\ufeffFROM scratch", 1),
        ("FROM scratch\nRUN a\rFROM alpine", 2),
        (f"FROM scratch\nRUN {'x' * 40_000}", 2),
        ("FROM scratch\nRUN <<EOF\nFROM scratch AS x\nEOF", 2),
        ("FROM scratch\nCOPY <<-'EOF' /x", 2),
        ("FROM scratch\nINCLUDE x", 2),
        ("WORKDIR /x\nFROM scratch", 1),
    ],
)
def test_what_may_be_another_thing_tomorrow_is_refused_with_its_line(text: str, line: int) -> None:
    assert problems(text)[0].startswith(f"line {line}: ")


def test_a_file_that_is_rewritten_before_it_is_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Dockerfile\.in: .* rename it"):
        read(b"FROM scratch", "src/Dockerfile.in")


def test_a_variable_that_names_what_is_taken_is_told_as_one() -> None:
    assert "write it out" in problems("FROM scratch\nARG X\nCOPY --from=$X a b")[0]


def test_the_usual_escape_may_be_said() -> None:
    assert bases(f"# syntax=docker/dockerfile:1\n# escape = \\\nFROM {ONE}") == [ONE]


def test_lines_are_joined_as_the_builder_joins_them() -> None:
    assert bases(f"FR\\\nOM docker.io/library/\\ \t\n# between\n  # too\n\nalpine@sha256:{'a' * 64}\r\n") == [ONE]
    assert problems("RUN x\\\n FROM alpine\nFR\\\nOM alpine")[-1].startswith("line 3: ")
    assert problems("FROM scratch\nRUN a \\\n# \\\nb\nFROM alpine")[0].startswith("line 5: ")


def test_every_such_line_is_told_at_once() -> None:
    assert len(problems("FROM a\nFROM b\nADD http://c d\n")) == 3


def test_a_file_without_a_stage_or_that_is_no_text_is_refused() -> None:
    assert problems("# nothing\n") == ("line 1: expected a FROM instruction, got none",)
    with pytest.raises(ConfigError, match="UTF-8"):
        read(b"FROM scratch\n\xff", "Dockerfile")


@pytest.mark.parametrize(
    ("flag", "platform"),
    [
        ("", None),
        ("--platform=$TARGETPLATFORM ", None),
        ("--platform=${BUILDPLATFORM} ", ""),
        ("--platform=linux/arm64 ", "linux/arm64"),
    ],
)
def test_a_stage_runs_where_its_from_says(flag: str, platform: str | None) -> None:
    made = read(f"from {flag}scratch\nrun one\nRUN two\n".encode(), "Dockerfile")
    assert made.runs == (Run(2, platform),)


# --- build arguments


def test_variables_of_from_are_the_catalogues_before_the_files_own() -> None:
    assert bases("ARG BASE\nFROM ${BASE} AS a\nARG BASE\nFROM $BASE", BASE=ONE) == [ONE]
    assert bases(f"ARG BASE={TWO}\nFROM $BASE", BASE=ONE) == [ONE]
    assert bases(f"ARG BASE={TWO}\nFROM $BASE") == [TWO]
    assert bases(f"ARG BASE=x\nARG BASE={TWO}\nARG BASE\nFROM $BASE") == [TWO]
    assert bases(f"arg A=\"{ONE}\" B='{TWO}' C\nfrom $A\nfrom ${{B}}", C="unused") == [ONE, TWO]
    parts = {"HOST": "docker.io", "N": "alpine", "D": f"sha256:{'a' * 64}"}
    assert bases("ARG HOST\nARG N\nARG D\nFROM $HOST/library/${N}@$D", **parts) == [ONE]


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("FROM $BASE", {}, "line 1: BASE is declared by no ARG before the first FROM"),
        ("ARG BASE\nFROM $BASE", {}, "line 2: BASE has no value"),
        ("ARG BASE=\nFROM $BASE", {}, "line 2: BASE has no value"),
        (f"ARG BASE={ONE}\nFROM $BASE", {"BASE": ""}, "line 2: BASE has no value"),
        (f"ARG A={ONE}\nARG BASE=$A\nFROM $BASE", {}, "line 3: BASE has no value"),
        ("ARG BASE\nFROM $BASE", {"BASE": "docker.io/library/alpine:3"}, "line 2: expected an image by digest"),
        (f"FROM {ONE}\nARG BASE={TWO}\nFROM $BASE", {}, "line 3: BASE is declared by no ARG before"),
        ("ARG BASE=scratch\nFROM $BASE", {}, "line 2: expected an image by digest"),
        ("ARG base\nFROM $BASE", {"base": ONE}, "line 2: BASE is declared by no ARG"),
        (f"ARG TARGETARCH={ONE}\nFROM $TARGETARCH", {}, "line 2: TARGETARCH is the builder's own"),
        (f"FROM {ONE}", {"BSAE": TWO}, "build.args: BSAE is declared by no ARG of the file"),
        # Forms that a builder may read in its own way.
        (f"ARG BASE={ONE}\nFROM ${{BASE:-x}}", {}, "line 2: expected variables as $NAME"),
        (f"ARG BASE={ONE}\nFROM ${{BASE:+x}}", {}, "line 2: expected variables as $NAME"),
        (f"ARG BASE={ONE}\nFROM ${{BASE}}\u00e9", {}, "line 2: expected variables as $NAME"),
        (f'ARG BASE={ONE}\nFROM "$BASE"', {}, "line 2: expected variables as $NAME"),
        (f"ARG BASE={ONE}\nFROM '$BASE'", {}, "line 2: expected variables as $NAME"),
        (f"ARG BASE={ONE}\nFROM \\$BASE", {}, "line 2: expected variables as $NAME"),
        (f"ARG BASE={ONE}\nFROM $1$BASE", {}, "line 2: expected variables as $NAME"),
        (f'FROM "{ONE}"', {}, "line 1: expected an image by digest"),
        (f"ARG BASE={ONE} # why\nFROM $BASE", {}, "line 1: expected NAME or NAME=value before FROM"),
        (f'ARG "BASE"={ONE}\nFROM $BASE', {}, "line 1: expected NAME or NAME=value"),
        (f"ARG $X={ONE}\nFROM $BASE", {}, "line 1: expected NAME or NAME=value"),
        (f'ARG BASE={ONE}" "\nFROM $BASE', {}, "line 1: expected NAME or NAME=value"),
        ("ARG BASE=a\\b\nFROM $BASE", {}, "line 1: expected NAME or NAME=value"),
        (f"ARG --x BASE={ONE}\nFROM $BASE", {}, "line 1: expected NAME or NAME=value"),
        ("ARG\nFROM scratch", {}, "line 1: expected NAME or NAME=value"),
    ],
)
def test_an_image_that_a_variable_does_not_pin_is_refused(text: str, given: dict[str, str], expected: str) -> None:
    found = problems(text, **given)
    assert any(one.startswith(expected) for one in found), found


def test_an_argument_is_declared_wherever_the_file_has_it() -> None:
    text = f"FROM {ONE}\nARG A\nFROM {TWO}\nARG B=1 C='x y'\nRUN true\n"
    assert bases(text, A="1", B="2", C="3") == [ONE, TWO]


@given(st.lists(st.sampled_from(_PIECES), max_size=12), st.sampled_from(_VALUES))
def test_whatever_is_made_of_its_pieces_no_base_is_without_its_digest(pieces: list[str], value: str) -> None:
    try:
        made = read("".join(pieces).encode(), "Dockerfile", {"A": value})
    except ConfigError:
        return
    assert {base.reference for base in made.bases} <= {ONE, TWO}


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        made = read(text.encode("utf-8", "surrogatepass"), "Dockerfile")
    except ConfigError:
        return
    assert all(base.reference.endswith(base.digest) for base in made.bases)
