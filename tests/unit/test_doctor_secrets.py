"""Doctor on all credentials together: one that leaks opens one thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.doctor.secrets import diagnose
from reconciler.settings import load

CONFIG = """\
version: 1
state_dir: {dir}/state
listen: {{public: '127.0.0.1:0'}}
registries: [{{host: ghcr.io, credential_file: {dir}/registry}}]
repositories:
  - name: shop
    forge: {{kind: github, url: 'https://github.com', repository: acme/shop, token_file: {dir}/code}}
    catalogue: ameide.yaml
    gitops: {{url: 'https://github.com/acme/gitops', ref: refs/heads/main, inventory: i.yaml,
      credential_file: {dir}/gitops}}
    admission: {{base_branches: [main]}}
    verification: {{baseline: none, pull_request: none}}
    webhook: {{sender: github, secret_file: {dir}/webhook}}
    log: {{path: {dir}/log.git, key_file: {dir}/key, writer: w, remote: 'https://github.com/acme/log',
      remote_credential_file: {dir}/log}}
"""
ALL = ("code", "gitops", "webhook", "log", "registry")


def put(directory: Path, name: str, secret: str) -> None:
    if name == "registry":
        secret = json.dumps({"auths": {"ghcr.io": {"username": "bot", "password": secret}}})
    (directory / name).write_text(f"bot:{secret}\n" if name == "log" else f"{secret}\n")
    (directory / name).chmod(0o600)


Told = Callable[[], list[tuple[str, str, str]]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """What is found of a configuration in which every credential has a secret of its own."""
    (tmp_path / "ameide.yaml").write_text(CONFIG.format(dir=tmp_path))
    for name in ALL:
        put(tmp_path, name, f"secret-{name}")
    settings = load(tmp_path / "ameide.yaml").settings
    return lambda: [(f.check, f.status.value, f.found) for f in diagnose(settings)]


def test_credentials_of_their_own_are_in_order(told: Told) -> None:
    assert told() == [("credentials", "ok", "5, each with a secret of its own")]


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("code", "gitops", "the GitOps inventory and the code repository"),
        ("code", "registry", "the code repository and the registry ghcr.io"),
        ("registry", "log", "the log's remote and the registry ghcr.io"),
        ("log", "gitops", "the GitOps inventory and the log's remote"),
        ("webhook", "log", "the log's remote and webhooks"),
    ],
)
def test_two_that_share_a_secret_are_named_and_the_secret_is_not(
    told: Told, tmp_path: Path, first: str, second: str, named: str
) -> None:
    for name in (first, second):
        put(tmp_path, name, "shared-one")
    assert told() == [("credentials", "warn", f"the same secret opens {named}")]
    assert "shared-one" not in str(told())


def test_a_secret_that_is_on_its_way_out_counts_too(told: Told, tmp_path: Path) -> None:
    put(tmp_path, "webhook", "new-one\nsecret-code")
    assert told() == [("credentials", "warn", "the same secret opens the code repository and webhooks")]


def test_what_cannot_be_read_is_not_taken_for_different(told: Told, tmp_path: Path) -> None:
    (tmp_path / "gitops").unlink()
    (tmp_path / "registry").write_text("{}")
    assert told() == [
        (
            "credentials: not compared",
            "warn",
            "not compared, since they cannot be read: the GitOps inventory, the registry ghcr.io",
        )
    ]
