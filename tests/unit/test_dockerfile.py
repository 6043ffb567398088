"""What a Dockerfile takes from outside, and where it has to be run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.producing.dockerfile import Base, Run, read
from state.errors import ConfigError
from state.oci import Digest

ONE, TWO = (f"docker.io/library/{name}@sha256:{name[0] * 64}" for name in ("alpine", "busybox"))


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text.encode(), "Dockerfile")
    return caught.value.problems


def test_bases_are_told_once_and_stages_are_none() -> None:
    made = read(
        f"""# escape=\\
FROM --platform=$BUILDPLATFORM {ONE} AS Build
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
        ("# escape=`\nFROM scratch\nADD `\n  http://a/b /x", 3),
    ],
)
def test_what_may_be_another_thing_tomorrow_is_refused_with_its_line(text: str, line: int) -> None:
    (found,) = problems(text)
    assert found.startswith(f"line {line}: ")


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


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        made = read(text.encode("utf-8", "surrogatepass"), "Dockerfile")
    except ConfigError:
        return
    assert all(base.reference.endswith(base.digest) for base in made.bases)
