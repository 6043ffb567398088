"""Targets and approvals in the configuration: what fits together, and what is refused with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.settings import load
from state.errors import ConfigError
from tests.unit.test_settings import CONFIG

PUBLISH = (
    CONFIG.replace("mode: fill", "mode: publish\nlisten: {public: '127.0.0.1:8081'}")
    .replace("writer: ameide-0}", "writer: ameide-0, remote: /srv/git/log.git}")
    .replace(
        "verification: {baseline: none, pull_request: none}",
        "verification: {baseline: provenance, pull_request: provenance, source_repository: 'https://git.example/shop',\n"
        "      authority: {kind: keys, public_key_files: [/k.pub]}}\n"
        "    evidence: {release_sets: ghcr.io/acme/sets, signer: {kind: key, key_file: /k, password_file: /p}}",
    )
    + """\
    approvals: {approvers_file: /etc/ameide/approvers.yaml, directory: /var/lib/ameide/markers}
    targets:
      - name: dev
        environment: dev
        base: main
        forge: {kind: local, path: /srv/git/shop-gitops.git}
        commit_key_file: /run/secrets/commit-key
      - name: staging
        environment: staging
        base: main
        after: dev
        forge: {kind: local, path: /srv/git/shop-gitops.git}
        commit_key_file: /run/secrets/commit-key
"""
)


def test_targets_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "ameide.yaml"
    path.write_text(PUBLISH)
    (shop,) = load(path, {}).settings.repositories
    assert [(t.name, t.after) for t in shop.targets] == [("dev", None), ("staging", "dev")]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (r"    targets:.*", "", "mode"),
        (r"    approvals: [^\n]*\n", "", "repositories[0].targets"),
        (r"    evidence: [^\n]*\n", "", "repositories[0].targets"),
        (r", remote: /srv/git/log.git", "", "repositories[0].log.remote"),
        (r"name: staging", "name: dev", "repositories[0].targets[1].name"),
        (r"after: dev", "after: production", "repositories[0].targets[1].after"),
        (r"after: dev", "after: staging", "repositories[0].targets[1].after"),
        (r"shop-gitops.git}\n        commit", "shop.git}\n        commit", "repositories[0].targets[0].forge"),
        (r"/run/secrets/commit-key", "/run/secrets/log-key", "repositories[0].targets[0].commit_key_file"),
        (r"environment: dev", "environment: Dev", "repositories[0].targets[0].environment"),
        (r", directory: /var/lib/ameide/markers", "", "repositories[0].approvals"),
        (r"directory: /var/lib/ameide/markers", "directory: /", "repositories[0].approvals.directory"),
        (
            r"directory: /var/lib/ameide/markers",
            "branch: {url: 'git@git.example:acme/approvals.git', ref: refs/heads/markers}",
            "repositories[0].approvals.branch",
        ),
        (
            r"directory: /var/lib/ameide/markers",
            "http: {issuer: 'https://i', audience: a, claims: {}}",
            "repositories[0].approvals.http.claims",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_with_its_place(tmp_path: Path, old: str, new: str, place: str) -> None:
    changed = re.sub(old, new, PUBLISH, count=1, flags=re.DOTALL)
    assert changed != PUBLISH
    path = tmp_path / "ameide.yaml"
    path.write_text(changed)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert place in [problem.split(" (line")[0] for problem in caught.value.problems], caught.value.problems


def test_markers_over_http_need_a_public_listener(tmp_path: Path) -> None:
    path = tmp_path / "ameide.yaml"
    posted = "http: {issuer: 'https://i', audience: a, claims: {repository_id: '7'}}"
    changed = PUBLISH.replace("directory: /var/lib/ameide/markers", posted)
    path.write_text(changed)
    assert load(path, {}).settings.repositories[0].approvals is not None
    path.write_text(changed.replace("\nlisten: {public: '127.0.0.1:8081'}", ""))
    with pytest.raises(ConfigError, match=r"approvals\.http \(line [0-9]+\): there is no public listener"):
        load(path, {})
