"""What doctor finds out of a registry's credential: from what the registry answers, its tokens, and GitHub's scopes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.doctor import ghcr as doctor_ghcr
from reconciler.doctor import registry as doctor_registry
from reconciler.doctor.findings import Finding
from reconciler.doctor.registry_rights import deletes
from reconciler.settings import load
from state.observed import Mode
from tests.contract.registry.support import Connect, repository
from tests.contract.registry.test_auth import login_file
from tests.fixtures.registry_stub import Reply, Seen, Stub, error
from tests.unit.test_registry_token import jwt

CLASSIC = "ghp_0123"
JSON = {"Content-Type": "application/json"}
PULLS, PUSHES = ["pull"], ["pull", "push"]
DELETES = "delete (lets its holder delete images, `:main` included) in acme/orders"
DELETES_PACKAGES = "delete:packages (lets its holder delete packages and versions, those behind :main too)"
EVERY_REPOSITORY = "repo (lets its holder read and push every repository of its user, private ones too)"
IN_ORDER = ("tokens", "ok", "they grant no more than was asked for, in 1 of 1")


class Use(NamedTuple):
    mode: Mode
    deletes: bool = False


LOOKS, FILLS, COLLECTS = Use(Mode.OBSERVE), Use(Mode.FILL), Use(Mode.FILL, deletes=True)


class Tokens:
    """A registry and its token server in one stub, and what they say."""

    def __init__(self, stub: Stub, asker: OrasRegistry) -> None:
        self.actions: list[str] | None = PUSHES
        """Granted, whatever was asked for; None for a token that does not tell."""
        self.more: list[dict[str, object]] = []
        self.deleted = 403
        self._stub, self._asker = stub, asker
        stub.answer = self._answer

    def _answer(self, seen: Seen) -> Reply:
        if seen.path == "/token":
            own = {"type": "repository", "name": "acme/orders", "actions": self.actions}
            token = "opaque" if self.actions is None else jwt({"access": [own, *self.more]})
            return Reply(200, JSON, json.dumps({"token": token}).encode())
        if "authorization" not in seen.headers:
            challenge = f'Bearer realm="{self._stub.url}/token",service="svc"'
            return error(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        assert seen.method == "DELETE"
        return error(self.deleted, "WHATEVER")

    def told(self, use: Use) -> list[tuple[str, str, str]]:
        """Last word of the check, status and words of each finding."""
        found = list(deletes(self._asker, [repository(self._stub.host)], use.mode, needed=use.deletes))
        assert all(f.status.value == "ok" or f.remedy for f in found)
        return [(f.check.rpartition(": ")[2], f.status.value, f.found) for f in found]


@pytest.fixture
def tokens(stub: Stub, client: Connect, tmp_path: Path) -> Tokens:
    login = Credential(login_file(tmp_path, stub.host), stub.host)
    return Tokens(stub, client(stub.host, credential=login))


@pytest.mark.parametrize(
    ("actions", "deleted", "use", "expected"),
    [
        (PUSHES, 403, FILLS, [("deleting", "ok", "it may not delete"), IN_ORDER]),
        # A registry that tells pushing from deleting says so in the token alone, if it deletes nothing by itself.
        (PUSHES, 405, FILLS, [("deleting", "ok", "it may not delete"), IN_ORDER]),
        ([*PUSHES, "delete"], 405, FILLS, [("deleting", "warn", f"more than needed: {DELETES}"), IN_ORDER]),
        # What the token says and the registry does not honour today is too much all the same.
        ([*PUSHES, "delete"], 403, FILLS, [("deleting", "warn", f"more than needed: {DELETES}"), IN_ORDER]),
        (PUSHES, 404, FILLS, [("deleting", "warn", f"more than needed: {DELETES}"), IN_ORDER]),
        (
            ["*"],
            405,
            FILLS,
            [
                ("deleting", "warn", f"more than needed: {DELETES}"),
                ("tokens", "warn", "more than needed: * (lets its holder do all that the registry can do there)"),
            ],
        ),
        (
            PUSHES,
            403,
            LOOKS,
            [
                ("deleting", "ok", "it may not delete"),
                ("tokens", "warn", "more than needed: push (lets its holder move tags, and mode observe moves none)"),
            ],
        ),
        (PULLS, 403, LOOKS, [("deleting", "ok", "it may not delete"), IN_ORDER]),
        (PUSHES, 405, COLLECTS, [("deleting", "fail", "missing: delete in acme/orders"), IN_ORDER]),
        ([*PUSHES, "delete"], 403, COLLECTS, [("deleting", "fail", "missing: delete in acme/orders"), IN_ORDER]),
        ([*PUSHES, "delete"], 404, COLLECTS, [("deleting", "ok", "it may delete"), IN_ORDER]),
        (None, 405, FILLS, [("deleting", "warn", "not known whether it may delete in acme/orders")]),
        (None, 403, FILLS, [("deleting", "ok", "it may not delete")]),
    ],
)
def test_a_token_says_what_the_registry_does_not(
    tokens: Tokens, actions: list[str] | None, deleted: int, use: Use, expected: list[tuple[str, str, str]]
) -> None:
    tokens.actions, tokens.deleted = actions, deleted
    assert tokens.told(use) == expected


def test_what_a_token_grants_beside_what_was_asked_for_is_named(tokens: Tokens) -> None:
    tokens.more = [
        {"type": "registry", "name": "catalog", "actions": ["*"]},
        {"type": "repository", "name": "acme/other", "actions": []},  # nothing at all
    ]
    assert tokens.told(FILLS)[1:] == [("tokens", "warn", "more than needed: registry:catalog:*")]


# --- ghcr.io


@pytest.fixture
def api(stub: Stub) -> Stub:
    """GitHub's API, for a token with just the scope to push packages."""
    stub.answer = lambda _: Reply(200, {**JSON, "X-OAuth-Scopes": "write:packages"}, b'{"login": "bot"}')
    return stub


def scopes(
    api: Stub, tmp_path: Path, password: str = CLASSIC, mode: Mode = Mode.FILL
) -> tuple[Finding, frozenset[str] | None]:
    file = login_file(tmp_path, "ghcr.io", password=password)
    return doctor_ghcr.scopes(file, mode, SystemClock(), SystemRandom(), api=api.url)


@pytest.mark.parametrize(
    ("header", "mode", "expected"),
    [
        ("write:packages", Mode.FILL, ("ok", "scopes write:packages")),
        ("read:packages, write:packages", Mode.PUBLISH, ("ok", "scopes read:packages, write:packages")),
        ("read:packages", Mode.OBSERVE, ("ok", "scopes read:packages")),
        ("read:packages", Mode.FILL, ("fail", "missing: write:packages")),
        ("", Mode.OBSERVE, ("fail", "missing: read:packages")),
        (
            "write:packages",
            Mode.OBSERVE,
            ("warn", "more than needed: write:packages (lets its holder push images and move tags)"),
        ),
        (
            "write:packages, delete:packages, new:scope",
            Mode.FILL,
            ("warn", f"more than needed: {DELETES_PACKAGES}, new:scope"),
        ),
        (
            "repo",
            Mode.FILL,
            ("fail", f"missing: write:packages; more than needed: {EVERY_REPOSITORY}"),
        ),
    ],
)
def test_the_scopes_of_a_classic_token_for_ghcr_are_held_against_the_mode(
    api: Stub, tmp_path: Path, header: str, mode: Mode, expected: tuple[str, str]
) -> None:
    api.answer = lambda _: Reply(200, {**JSON, "X-OAuth-Scopes": header}, b"{}")
    finding, found = scopes(api, tmp_path, mode=mode)
    assert (finding.status.value, finding.found) == expected
    assert found == frozenset(header.split(", ")) - {""}
    assert finding.status.value == "ok" or "tokens/new?scopes=" in finding.remedy
    assert [(r.path, r.headers["authorization"]) for r in api.requests] == [("/user", "Bearer ghp_0123")]


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("github_pat_11A", "a fine-grained token"),
        ("ghs_0123", "a token of a GitHub App or of a workflow's run"),
        ("hunter2", "none of the tokens whose scopes GitHub tells"),
    ],
)
def test_what_github_does_not_tell_is_a_warning_and_is_not_sent_there(
    api: Stub, tmp_path: Path, password: str, why: str
) -> None:
    finding, found = scopes(api, tmp_path, password)
    assert (finding.check, finding.status.value, found) == ("registry ghcr.io: token: not told", "warn", None)
    assert why in finding.found
    assert "write:packages" in finding.remedy
    assert password not in str(finding)
    assert api.requests == []


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (Reply(401, JSON, b'{"message": "Bad credentials"}'), "fail", "refuses it"),
        (Reply(200, JSON, b"{}"), "warn", "does not name its scopes"),
        (Reply(503, JSON, b"{}"), "warn", "answered 503"),
    ],
)
def test_an_answer_of_github_without_scopes_is_none_in_order(
    api: Stub, tmp_path: Path, reply: Reply, status: str, words: str
) -> None:
    api.answer = lambda _: reply
    finding, found = scopes(api, tmp_path)
    assert (finding.status.value, found) == (status, None)
    assert words in finding.found
    assert "ghp_0123" not in str(finding)


CONFIG = """\
version: 1
state_dir: {dir}/state
registries: [{{host: ghcr.io, credential_file: {dir}/config.json, ca_file: {dir}/none.pem}}]
repositories:
  - name: shop
    forge: {{kind: local, path: {dir}/code.git}}
    catalogue: ameide.yaml
    gitops: {{url: {dir}/gitops.git, ref: refs/heads/main, inventory: inventory.yaml}}
    admission: {{base_branches: [main]}}
    verification: {{baseline: none, pull_request: none}}
    log: {{path: {dir}/log.git, key_file: {dir}/key, writer: ameide-0}}
"""


def test_doctor_asks_for_them_before_it_asks_the_registry(tmp_path: Path) -> None:
    login_file(tmp_path, "ghcr.io", password="github_pat_11A")
    (tmp_path / "ameide.yaml").write_text(CONFIG.format(dir=tmp_path))
    settings = load(tmp_path / "ameide.yaml").settings
    found = list(doctor_registry.diagnose(settings.registries[0], settings, [], SystemClock(), SystemRandom()))
    assert [f.check for f in found] == [
        "registry ghcr.io: credential",
        "registry ghcr.io: token: not told",
        "registry ghcr.io",  # without its CA file nothing is asked
    ]
