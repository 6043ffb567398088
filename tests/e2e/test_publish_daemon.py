"""Publishing by a running daemon: approvers over HTTP with their own machine, and a GitOps repository at a GitHub."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygit2
import pytest
import requests

from reconciler.adapters.forge_local_writer import LocalPullRequests
from reconciler.demo.world import MAIN, REPOSITORY_ID
from state.git import CommitId, RefName
from state.oci import Digest
from tests.e2e.test_daemon import Start, start
from tests.fixtures.approving import Approving
from tests.fixtures.carrier import AUDIENCE, CLAIMS, ISSUER, KEY_SET, token
from tests.fixtures.git_http import serve
from tests.fixtures.github_server import NAME, PLAIN_TOKEN, GitHub, private_key
from tests.fixtures.registry_stub import Reply, Seen
from tests.fixtures.shop import Shop, changes, eventually

__all__ = ["start"]


@pytest.fixture
def shop(approving: Approving) -> Shop:
    """Of which the process is started."""
    return approving.shop


def built(approving: Approving) -> tuple[int, CommitId, Digest]:
    """A pull request that changes the orders, built and attested; its number, head and digest."""
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    digest = shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    return number, head, digest


@pytest.fixture
def public(approving: Approving, start: Start) -> str:
    """The address of the public listener, configured; after `start`, which configures the private one alone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    approving.shop.configure(listen={"private": "127.0.0.1:0", "public": address})
    return address


@pytest.fixture
def machine(approving: Approving, public: str) -> Path:
    """Alice's `approver.yaml`, which brings markers as files."""
    shop = approving.shop
    path = shop.root / "approver.yaml"
    file: dict[str, Any] = {
        "version": 1,
        "server": {"url": f"http://{public}"},
        "repository": {"name": "shop", "id": REPOSITORY_ID},
        "registries": [{"host": shop.host, "plain_http": True, "anonymous": True}],
        "release_sets": {
            "repository": str(approving.proving.releases),
            "authority": {"kind": "keys", "public_key_files": [str(approving.proving.own.public)]},
        },
        "principal": "alice",
        "policy_file": str(approving.policy_file),
        "signer": {"kind": "ssh", "key_file": str(shop.root / "alice-key")},
        "post": {"kind": "directory", "path": str(approving.directory)},
    }
    path.write_text(json.dumps(file))
    return path


def test_an_approver_sees_what_is_missing_then_the_plan_and_her_approval_opens_it(
    approving: Approving, machine: Path, start: Start
) -> None:
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    process = start()
    process.until("listening", 2)
    about = ("--config", str(machine), "--pr", str(number), "--target", "dev")

    def plan() -> dict[str, Any]:
        done = shop.runs("approval", "plan", *about, "--json")
        assert done.returncode in (0, 1), done.stderr
        found: dict[str, Any] = {"code": done.returncode, **json.loads(done.stdout)}
        return found

    eventually("what is missing", lambda: "orders: awaits-build" in plan()["missing"], within_s=60)
    digest = shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    eventually("the plan", lambda: plan()["code"] == 0, within_s=60)
    found = plan()
    (orders,) = [e for e in found["plan"]["plan"]["edits"] if e["component"] == "orders"]
    assert orders["image"].endswith(digest)
    wrong = shop.runs("approval", "grant", *about, "--head", "0" * 40, "--plan", found["digest"])
    assert (wrong.returncode, "nothing was signed" in wrong.stderr) == (1, True)
    assert list(approving.directory.iterdir()) == []
    granted = shop.runs("approval", "grant", *about, "--head", head, "--plan", found["digest"])
    assert granted.returncode == 0, granted.stderr
    eventually("the GitOps pull request", lambda: [r.state.value for r in approving.opened()] == ["open"], within_s=60)
    assert process.ends(signal.SIGTERM) == 0
    shop.verified()


def test_a_marker_posted_by_its_carrier_is_taken_up_and_a_strangers_post_is_not(
    approving: Approving, public: str, start: Start
) -> None:
    shop = approving.shop
    number, _, _ = built(approving)
    keys = shop.root / "jwks.json"
    keys.write_bytes(KEY_SET)
    approvals = {
        "approvers_file": str(approving.policy_file),
        "http": {"issuer": ISSUER, "audience": AUDIENCE, "claims": CLAIMS, "keys_file": str(keys)},
    }
    shop.configure(shop={"approvals": approvals})
    process = start()
    process.until("pass_finished")
    eventually("the plan", approving.plans, within_s=60)
    raw = approving.sealed(approving.approval(approving.plan(number), "alice"))

    def posted(bearer: str) -> int:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {bearer}"}
            return session.post(f"http://{public}/v1/markers/shop", raw, headers=headers, timeout=10).status_code

    assert posted(token(repository_id="8")) in (401, 403)
    carried = token()
    assert posted(carried) == 202
    assert posted(carried) in (401, 403)
    eventually("the GitOps pull request", lambda: [r.state.value for r in approving.opened()] == ["open"], within_s=60)
    assert process.ends(signal.SIGTERM) == 0


@pytest.fixture
def at_github(approving: Approving) -> Iterator[GitHub]:
    """The GitOps repository at a GitHub Enterprise Server, with a token that may push there."""
    shop = approving.shop
    root = shop.root / "gitops-host"
    link = root / f"{NAME}.git"
    link.parent.mkdir(parents=True)
    link.symlink_to(approving.gitops)
    pygit2.Repository(str(approving.gitops)).config["http.receivepack"] = True
    forge = GitHub(approving.gitops, private_key())
    token_file = shop.root / "gitops-token"
    token_file.write_text(PLAIN_TOKEN + "\n")
    token_file.chmod(0o600)

    def api(seen: Seen) -> Reply:
        return forge.answer(replace(seen, path=seen.path.removeprefix("/api/v3")))

    with serve(root) as git:
        git.api, git.passwords = api, forge.tokens
        at = {"kind": "github", "url": git.url, "repository": NAME, "token_file": str(token_file)}
        shop.configure(shop={"targets": [{**approving.target("dev", None), "forge": at}]})
        yield forge
    forge.held.check()


def test_a_gitops_repository_at_github_gets_one_pull_request_with_a_signed_commit(
    approving: Approving, at_github: GitHub
) -> None:
    shop = approving.shop
    number, head, digest = built(approving)
    with shop.reconciler() as running:
        running.until_quiet()
        marker = approving.approves(number, "alice")
        running.one_pass()
        plan = approving.plan(number)
        (pull,) = at_github.pulls.values()
        assert (pull["state"], pull["head"]["ref"]) == ("open", plan.branch.short)
        gitops = pygit2.Repository(str(approving.gitops))
        commit = gitops.references[plan.branch].peel(pygit2.Commit)
        assert commit.gpg_signature[0] is not None
        assert f"Approval: {marker}" in commit.message
        assert str(head) in commit.message
        assert [str(p) for p in commit.parent_ids] == [str(gitops.references[MAIN].target)]
        assert str(digest) in approving.file("dev", "orders", plan.branch)
        running.one_pass()
        assert len(at_github.pulls) == 1
        # Closed unmerged, it goes with its code pull request.
        shop.pulls.close(number)
        running.until_quiet()
        (pull,) = at_github.pulls.values()
        assert pull["state"] == "closed"
    assert LocalPullRequests(approving.gitops).contents().stored == ()
    shop.verified()


def test_an_answer_that_was_lost_after_the_pull_request_was_opened_is_made_up_for(
    approving: Approving, at_github: GitHub
) -> None:
    shop = approving.shop
    number, _, _ = built(approving)
    with shop.reconciler() as running:
        running.until_quiet()
        approving.approves(number, "alice")
        lost: list[str] = []

        def lose(seen: Seen) -> Reply | None:
            if seen.method == "POST" and seen.path.endswith("/pulls") and not lost:
                lost.append(seen.path)
                at_github.fault = lambda _seen: None
                at_github.answer(seen)
                return Reply(502)
            return None

        at_github.fault = lose
        for _ in range(3):
            running.one_pass()
        assert lost
        assert [p["state"] for p in at_github.pulls.values()] == ["open"]
    shop.verified()


def test_doctor_tests_approvers_ways_in_and_targets(approving: Approving, at_github: GitHub) -> None:
    shop = approving.shop

    def found() -> dict[str, tuple[str, str]]:
        done = shop.runs("doctor", "--config", str(shop.config), "--json")
        return {f["check"]: (f["status"], f["found"]) for f in json.loads(done.stdout)}

    made = found()
    assert made["shop: approvers"] == ("ok", f"3 principals, {approving.policy()}")
    assert made["shop: markers by directory"] == ("ok", "0 markers there")
    assert made["shop: target dev key"][0] == "ok"
    assert made["shop: target dev: forge credential"][0] == "ok"
    assert made["shop: target dev forge"][1] == f"{NAME} (id {at_github.id}); its pull requests can be listed"
    # The simulated owner has one token for both repositories.
    assert made["shop: target dev permissions"] == (
        "warn",
        "more than needed: Commit statuses: write (lets its holder set the status of any commit)",
    )
    assert made["shop: target dev permissions: git"][0] == "ok"  # though the state directory is not there yet
    assert at_github.pulls == {}

    at_github.role = {"pull": True, "push": False}
    pygit2.Repository(str(approving.gitops)).config["http.receivepack"] = False
    approving.targets = ()
    approving.writes_policy()
    (shop.root / "commit-key").chmod(0o644)
    made = found()
    assert made["shop: approvers"] == ("fail", "no rule for target dev: nobody can approve there")
    assert made["shop: target dev key"][0] == "fail"
    assert made["shop: target dev permissions"][0] == "fail"
    assert made["shop: target dev permissions: git"] == ("fail", "missing: it may not push a branch")
