"""That the simulated forges, and who asks them, are held to the published descriptions: what strays is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures import github_records as records
from tests.fixtures.api_description import Held, description, example
from tests.fixtures.registry_stub import Reply, Seen

PULLS = "/repos/acme/app/pulls"
KEPT = {
    "number": 1, "labels": [], "state": "open",
    "head": {"ref": "b", "repo": None}, "base": {"ref": "main", "repo": {"id": 7}},
}  # fmt: skip


def asked(forge: str, method: str, path: str, query: str = "", body: object = None) -> list[str]:
    held = Held(description(forge))
    held.asked(Seen(method, path, query, {}, b"" if body is None else json.dumps(body).encode()))
    return held.strays


def answered(forge: str, method: str, path: str, status: int, body: object) -> list[str]:
    held = Held(description(forge))
    held.answered(Seen(method, path, "", {}, b""), Reply(status, {}, json.dumps(body).encode()))
    return held.strays


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=open&per_page=100&page=2&sort=created", ""),
        ("limit=100", "no query parameter limit"),
        ("state=opened", "query parameter state"),
        ("per_page=many", "query parameter per_page"),
    ],
)
def test_a_query_is_held_to_the_description(query: str, found: str) -> None:
    strays = asked("github", "GET", PULLS, query)
    assert (found in strays[0]) if found else strays == []


@pytest.mark.parametrize(
    ("forge", "path", "body", "found"),
    [
        ("github", PULLS, {"head": "b", "base": "main", "title": "t", "body": "x"}, ""),
        ("github", PULLS, {"head": "b", "base": "main", "name": "t"}, "'name' was unexpected"),
        ("github", PULLS, {"head": 7, "base": "main"}, "body: head"),
        ("gitea", PULLS, {"head": "b", "base": "main", "description": "x"}, "'description' was unexpected"),
        ("gitlab", "/projects/1/merge_requests", {"source_branch": "b", "body": "x"}, "'body' was unexpected"),
        ("gitlab", "/projects/1/merge_requests", {"source_branch": "b", "target_branch": "main"}, ""),
    ],
)
def test_a_body_is_held_to_the_description(forge: str, path: str, body: dict[str, Any], found: str) -> None:
    strays = asked(forge, "POST", path, body=body)
    assert (found in strays[0]) if found else strays == []


def test_what_no_description_has_is_found() -> None:
    assert "no such operation" in asked("github", "GET", "/repos/acme/app/merge_requests")[0]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, ""),
        ({"sha": "0" * 40}, "'sha' was unexpected"),
        ({"number": "1"}, "0.number"),
        ({"state": "opened"}, ""),  # a list's records have no closed list of states
    ],
)
def test_an_answer_is_held_to_the_description(changed: dict[str, Any], found: str) -> None:
    strays = answered("github", "GET", PULLS, 200, [{**records.pull(KEPT, alone=False), **changed}])
    assert (found in strays[0]) if found else strays == []


def test_a_member_that_every_answer_has_may_not_be_left_out() -> None:
    made = records.pull(KEPT, alone=False)
    del made["draft"], made["html_url"]
    assert "is a required property" in answered("github", "GET", PULLS, 200, [made])[0]


def test_a_status_that_is_not_described_is_found() -> None:
    assert answered("gitea", "PATCH", f"{PULLS}/1", 200, {}) == [
        f"PATCH {PULLS}/1: PATCH /repos/{{owner}}/{{repo}}/pulls/{{index}}: answers 200"
    ]


def test_a_recorded_merge_request_of_gitlab_fits_and_another_member_does_not() -> None:
    recorded = example("gitlab", "MergeRequest")
    path = "/projects/1/merge_requests/1"
    assert answered("gitlab", "GET", path, 200, recorded) == []
    assert "'mergeable' was unexpected" in answered("gitlab", "GET", path, 200, {**recorded, "mergeable": True})[0]


def test_what_strayed_fails_the_test_that_made_the_server() -> None:
    held = Held(description("github"))
    held.check()
    held.asked(Seen("GET", "/nowhere", "", {}, b""))
    with pytest.raises(AssertionError, match="/nowhere"):
        held.check()
