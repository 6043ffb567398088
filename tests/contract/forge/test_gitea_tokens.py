"""What doctor finds out of tokens of a real Gitea, by their scopes, and of what protects the log's branch there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_client import ForgeClient
from reconciler.doctor import branch_rules
from reconciler.doctor import forge as doctor_forge
from reconciler.doctor import gitea as doctor_gitea
from reconciler.doctor.branch_rules import Rules
from reconciler.settings.forge import GiteaForgeSettings
from state.git import CommitId, RefName
from tests.contract.forge.test_token_permissions import FILLS, LABELS, LOOKS, PROPOSES, found
from tests.fixtures.forge_clients import client_of
from tests.fixtures.gitea_real import BOT, OWNER, RealGitea

pytestmark = pytest.mark.gitea
LOG = RefName("refs/heads/log/4711/reconciler")
OTHERS = "write:admin, write:issue, write:notification, write:organization, write:package, write:user"


@contextmanager
def opened(gitea: RealGitea, *scopes: str, by: str = BOT) -> Iterator[ForgeClient]:
    file = gitea.root / "scoped"
    file.write_text(gitea.server.token(by, *scopes))
    file.chmod(0o600)
    client = client_of(f"{gitea.server.url}/api/v1", TokenFile(file))
    try:
        yield client
    finally:
        client.close()


def test_what_is_missing_and_what_is_too_much_of_a_token_s_scopes_is_named_and_nothing_else(
    real_gitea: RealGitea,
) -> None:
    before = (real_gitea.rows("/branches"), real_gitea.api("GET", "/pulls?state=all"), real_gitea.statuses())
    for scopes, use, expected in (
        (("read:repository",), LOOKS, ("ok", "role push; read:repository")),
        (("write:repository",), FILLS, ("ok", "role push; write:repository")),
        (("write:repository", "write:issue"), PROPOSES, ("ok", "role push; write:issue, write:repository")),
        (("read:repository",), FILLS, ("fail", "missing: write:repository; more than needed: read:repository")),
        (("write:repository", "read:issue"), LABELS, ("fail", "missing: write:issue; more than needed: read:issue")),
        (("write:repository", "write:admin", "read:user"), FILLS, ("warn", "more than needed: read:user, write:admin")),
        (("all",), FILLS, ("warn", f"more than needed: {OTHERS}")),
    ):
        with opened(real_gitea, *scopes) as client:
            findings = doctor_gitea.token("may", client, real_gitea.name, use)
        assert (found(findings), len(findings)) == (expected, 1), scopes
    after = (real_gitea.rows("/branches"), real_gitea.api("GET", "/pulls?state=all"), real_gitea.statuses())
    assert after == before  # it asked for writes, and made none


def test_the_role_of_the_token_s_user_counts_beside_its_scopes(real_gitea: RealGitea) -> None:
    with opened(real_gitea, "write:repository", by=OWNER) as client:
        assert found(doctor_gitea.token("may", client, real_gitea.name, FILLS)) == (
            "warn",
            "more than needed: the role admin",
        )
    real_gitea.api("PUT", f"/collaborators/{BOT}", {"permission": "read"})
    with opened(real_gitea, "write:repository") as client:
        assert found(doctor_gitea.token("may", client, real_gitea.name, FILLS)) == (
            "fail",
            "missing: the role push, got pull",
        )


def test_of_a_log_s_token_that_may_not_even_read_gitea_s_own_words_are_told(real_gitea: RealGitea) -> None:
    file = real_gitea.root / "scoped"
    file.write_text(real_gitea.server.token(BOT, "read:issue"))
    file.chmod(0o600)
    forge = GiteaForgeSettings(kind="gitea", url=real_gitea.server.url, repository=real_gitea.name, token_file=file)
    (finding,) = doctor_forge.pushing("may", forge, TokenFile(file), [], clock=SystemClock(), random=SystemRandom())
    assert (finding.check, finding.status.value) == ("may: not told", "warn")
    assert "read:repository" in finding.found


def test_what_protects_the_log_s_branch(real_gitea: RealGitea) -> None:
    with opened(real_gitea, "write:repository") as client:

        def rules() -> Rules:
            return branch_rules.gitea(client, real_gitea.name, LOG)

        assert rules().why == "there is no such branch yet"
        real_gitea.branch(LOG, CommitId(real_gitea.git("rev-parse", "refs/heads/main").strip()))
        assert rules() == Rules(rewritten=True, deleted=True)
        rule = {"rule_name": "log/*/*", "enable_push": True}
        real_gitea.api("POST", "/branch_protections", rule)
        protected = rules()
        assert (protected.rewritten, protected.deleted, protected.keeps_out) == (None, False, ())
        real_gitea.api("PATCH", "/branch_protections/log%2F*%2F*", {"enable_push": False})
        assert rules().keeps_out == ("its user may not push there",)
