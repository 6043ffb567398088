"""What only a real Gitea can show: its deliveries and their signature, its permissions, a rename, an ended token."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.forge_gitea import GiteaForge
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter
from reconciler.ports import Permission
from reconciler.web.apps import public_app
from reconciler.web.webhooks import PREFIX, Hook, Webhooks
from reconciler.webhooks.signatures import Sender
from state.errors import Denied
from tests.contract.forge.driver import ForgeUnderTest
from tests.contract.web.test_host import Running
from tests.fixtures.gitea_real import BOT, DEV, OWNER, STRANGER, RealGitea
from tests.fixtures.shop import eventually

pytestmark = pytest.mark.gitea


@dataclass
class Endpoint:
    """Our webhook endpoint, which knows the repository."""

    hooked: str
    hinted: list[tuple[str, int | None]]
    metrics: PrometheusMetrics
    secret_file: Path

    def counted(self, result: str) -> bool:
        line = f'ameide_webhooks_total{{repository="shop",result="{result}"}}'
        return line in self.metrics.exposition().decode()


@pytest.fixture
def endpoint(real_gitea: RealGitea, tmp_path: Path) -> Iterator[Endpoint]:
    hinted: list[tuple[str, int | None]] = []
    metrics, secret = PrometheusMetrics(), tmp_path / "secret"
    secret.write_text(secrets.token_hex(16))
    secret.chmod(0o600)
    emitter = Emitter(lambda _record: None, SystemClock())
    read = SecretFile(secret, "webhook secret file").lines
    webhooks = Webhooks(
        {"shop": Hook(Sender.GITEA, real_gitea.repository_id, read)},
        lambda name, number: hinted.append((name, number)),
        clock=SystemClock(),
        metrics=metrics,
        emitter=emitter,
    )
    running = Running(outside=public_app(emitter, {PREFIX: webhooks.handle}))
    yield Endpoint(running.url("public", "/webhooks/shop"), hinted, metrics, secret)
    running.host.stop()


def subscribe(gitea: RealGitea, endpoint: Endpoint, secret: str) -> None:
    config = {"url": endpoint.hooked, "content_type": "json", "secret": secret}
    events = ["push", "pull_request", "pull_request_sync", "pull_request_label"]
    gitea.api("POST", "/hooks", {"type": "gitea", "active": True, "config": config, "events": events})


def test_its_own_deliveries_are_taken_and_name_the_pull_request(real_gitea: RealGitea, endpoint: Endpoint) -> None:
    subscribe(real_gitea, endpoint, endpoint.secret_file.read_text())
    number = real_gitea.open(real_gitea.commit())
    eventually("the hint of the new pull request", lambda: ("shop", number) in endpoint.hinted)
    before = endpoint.hinted.count(("shop", number))
    real_gitea.push(number, real_gitea.commit())
    eventually("the hint of the push", lambda: endpoint.hinted.count(("shop", number)) > before)
    assert ("shop", None) in endpoint.hinted  # a push to a branch
    assert not endpoint.counted("refused 1.0")


def test_a_delivery_signed_with_another_secret_is_refused(real_gitea: RealGitea, endpoint: Endpoint) -> None:
    subscribe(real_gitea, endpoint, "guessed")
    real_gitea.open(real_gitea.commit())
    eventually("the refusal", lambda: endpoint.counted("refused"))
    assert endpoint.hinted == []
    assert not endpoint.counted("taken")


def test_permissions_are_asked_by_id_where_the_bot_may_administer_the_repository(
    gitea_real_forge: ForgeUnderTest, real_gitea: RealGitea
) -> None:
    people, ids = gitea_real_forge.reader, real_gitea.server.ids
    assert isinstance(people, GiteaForge)
    with pytest.raises(Denied, match="admins"):
        people.permission(ids[DEV])
    real_gitea.api("PUT", f"/collaborators/{BOT}", {"permission": "admin"})
    granted = {name: people.permission(ids[name]) for name in (OWNER, DEV, STRANGER)}
    assert granted == {OWNER: Permission.ADMIN, DEV: Permission.WRITE, STRANGER: Permission.READ}  # it is public
    assert people.permission(10**9) is Permission.NONE


def test_a_rename_is_followed_by_reads_and_writes(gitea_real_forge: ForgeUnderTest, real_gitea: RealGitea) -> None:
    number = real_gitea.open(real_gitea.commit())
    assert gitea_real_forge.reader.open_pull_requests().complete
    renamed = f"{real_gitea.name}-renamed"
    real_gitea.api("PATCH", "", {"name": renamed.partition("/")[2]})
    real_gitea.name = renamed
    assert gitea_real_forge.reader.repository() == (real_gitea.repository_id(), renamed)
    assert [pr.number for pr in gitea_real_forge.reader.open_pull_requests().pull_requests] == [number]
    gitea_real_forge.labels.add_label(number, "preview-images")
    seen = gitea_real_forge.reader.pull_request(number)
    assert seen is not None
    assert seen.labels == ("preview-images",)


def test_a_token_that_is_none_is_denied_and_the_right_one_counts_again(
    gitea_real_forge: ForgeUnderTest, real_gitea: RealGitea
) -> None:
    right = real_gitea.token_file.read_text()
    real_gitea.token_file.write_text("0" * 40)
    with pytest.raises(Denied):
        gitea_real_forge.reader.open_pull_requests()
    real_gitea.token_file.write_text(right)
    assert gitea_real_forge.reader.open_pull_requests().complete
