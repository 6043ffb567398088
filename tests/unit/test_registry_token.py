"""What is read of a registry's bearer token: the `access` of a JWT, and nothing of whatever else it may be."""

from __future__ import annotations

import base64
import json

import pytest

from reconciler.adapters.registry_token import Grant, grants_of


def jwt(claims: object) -> str:
    raw = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"e30.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}.c2ln"


def entry(actions: object = ("pull", "push"), **more: object) -> dict[str, object]:
    return {"type": "repository", "name": "acme/orders", "actions": actions, **more}


def test_the_entries_are_read_as_they_are() -> None:
    catalog = {"type": "registry", "name": "catalog", "actions": ["*"], "class": "x"}
    assert grants_of(jwt({"exp": 1.5, "access": [entry(), catalog]})) == (
        Grant("repository", "acme/orders", frozenset({"pull", "push"})),
        Grant("registry", "catalog", frozenset({"*"})),
    )
    assert grants_of(jwt({"access": []})) == ()  # it says that it grants nothing


@pytest.mark.parametrize(
    "token",
    [
        "",
        "Z2hwX29wYXF1ZQ==",
        "a.b",
        "a.b.c.d",
        "a.!.c",
        "a.e30.c",
        jwt(b"\xff"),
        jwt([]),
        jwt({}),
        jwt({"access": None}),
        jwt({"access": {"actions": ["delete"]}}),
        jwt({"access": [None]}),
        jwt({"access": [{}]}),
        jwt({"access": [entry("pull")]}),
        jwt({"access": [entry([7])]}),
        jwt({"access": [entry(["pull"]), entry(["pu\nll"])]}),
        jwt({"access": [entry(name="x" * 256)]}),
        jwt({"access": [entry(type=1)]}),
        jwt({"access": [entry(["pull"] * 21)]}),
        jwt({"access": [entry()] * 101}),
        jwt(b'{"access": ' + b"[" * 5000),
    ],
)
def test_whatever_is_not_as_specified_says_nothing(token: str) -> None:
    assert grants_of(token) is None
