"""The whole path with the code at a GitHub: configuration, daemon, doctor and budget against its REST API and git."""

from __future__ import annotations

import json
import signal
from functools import partial
from typing import Any

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.doctor import log as doctor_log
from reconciler.doctor.forge import proposals
from reconciler.ports import StatusState
from reconciler.settings import load
from reconciler.settings.forge import GitHubForgeSettings
from state.git import CommitId
from tests.e2e.test_daemon import Start, filled, start
from tests.fixtures.forge_clients import plain
from tests.fixtures.github_server import NAME, PLAIN_TOKEN, REPOSITORY_ID
from tests.fixtures.github_shop import GitHubShop, github
from tests.fixtures.registry_stub import Reply, Seen
from tests.fixtures.shop import DOCS, eventually

__all__ = ["github", "start"]


def shown(github: GitHubShop, head: CommitId) -> tuple[StatusState, str] | None:
    """State and first line of the status of a head."""
    found = github.driver.status(head)
    return None if found is None else (found[0], found[1].splitlines()[0])


def doctor(github: GitHubShop) -> dict[str, tuple[str, str, str]]:
    """Check → status, found and remedy."""
    done = github.shop.runs("doctor", "--config", str(github.shop.config), "--json")
    return {f["check"]: (f["status"], f["found"], f["remedy"]) for f in json.loads(done.stdout)}


def permissions(github: GitHubShop) -> tuple[str, str]:
    status, found, _ = doctor(github)["shop: forge permissions"]
    return status, plain(found)


def test_a_head_at_github_is_filled_and_its_check_run_says_so(github: GitHubShop, start: Start) -> None:
    _, head = github.opens("docs", DOCS)
    process = start()
    eventually("every tag of the head", filled(github.shop, head))
    eventually("its status", lambda: shown(github, head) == (StatusState.SUCCESS, "5 of 5 ready · unproven"))
    # What opens the API opens git: nobody else was let in.
    assert github.forge.tokens != {PLAIN_TOKEN}
    assert process.ends(signal.SIGTERM) == 0
    assert "ghs_" not in process.log
    github.shop.verified()


def test_a_token_file_opens_api_and_git_and_a_rotated_one_is_taken_up_live(github: GitHubShop, start: Start) -> None:
    github.uses(token_file=str(github.token_file))
    _, first = github.opens("docs", DOCS)
    process = start()
    eventually("the first head", filled(github.shop, first))
    github.forge.tokens.clear()
    github.forge.tokens.add("second-token")
    github.token_file.write_text("second-token\n")
    _, second = github.opens("more", {"docs/more.md": "more"})
    eventually("the second head", filled(github.shop, second))
    eventually("its status", lambda: shown(github, second) == (StatusState.SUCCESS, "5 of 5 ready · unproven"))
    assert process.ends(signal.SIGTERM) == 0


def test_a_forge_that_fails_changes_nothing_and_is_taken_up_again(github: GitHubShop, start: Start) -> None:
    _, head = github.opens("docs", DOCS)
    process = start()
    eventually("the head", filled(github.shop, head))
    github.forge.fault = lambda _: Reply(502, {"Content-Type": "text/html"}, b"<html>")
    process.until("pass_failed")
    assert filled(github.shop, head)()
    github.forge.fault = lambda _: None
    _, other = github.opens("more", {"docs/more.md": "more"})
    eventually("the other head", filled(github.shop, other))
    assert process.ends(signal.SIGTERM) == 0


def test_a_head_that_the_api_shows_late_is_filled_late_and_nothing_else_is_written(
    github: GitHubShop, start: Start
) -> None:
    number, old = github.opens("docs", DOCS)
    process = start()
    eventually("the head that the API shows", filled(github.shop, old))
    new = github.shop.world.branch("docs-2", {"README.md": "# later\n"}, "docs-2")
    github.forge.git.references.create(f"refs/pull/{number}/head", new, force=True)  # git has it, the API lags
    passes = len(process.events("pass_finished"))
    process.until("pass_finished", times=passes + 2)
    assert set(github.shop.tags(new).values()) == {None}
    github.driver.push(number, new)
    eventually("the head that it shows now", filled(github.shop, new))
    assert filled(github.shop, old)()
    assert process.ends(signal.SIGTERM) == 0
    github.shop.verified()


def test_doctor_finds_an_app_with_just_what_it_needs_in_order(github: GitHubShop) -> None:
    found = doctor(github)
    assert {check: f for check, f in found.items() if f[0] == "fail"} == {}
    assert found["shop: forge permissions"][:2] == (
        "ok",
        "checks: write, contents: read, metadata: read, pull_requests: read",
    )
    assert found["shop: catalogue"][0] == "ok"
    assert PLAIN_TOKEN not in str(found)


def test_doctor_names_what_an_app_lacks_and_what_it_has_too_much(github: GitHubShop) -> None:
    github.forge.granted["administration"] = "write"
    github.forge.granted["contents"] = "write"
    assert permissions(github) == ("warn", "more than needed: administration: write, contents: write")
    github.shop.configure(mode="observe")
    del github.forge.granted["checks"]
    assert permissions(github)[0] == "warn"  # a process that only looks asks for no more than reads


def test_doctor_names_just_the_permission_that_keeps_the_app_out(github: GitHubShop) -> None:
    del github.forge.granted["checks"]
    github.forge.granted["administration"] = "write"
    told = doctor(github)
    assert told["shop: forge"][0] == "fail"
    assert told["shop: forge permissions"][:2] == (
        "fail",
        (
            "missing: checks: write; more than needed: administration: write (lets its holder change the repository's "
            "settings, its protection and who has access, or delete it)"
        ),
    )
    github.forge.suspended = True
    assert permissions(github) == ("fail", "suspended since 2026-01-01T00:00:00Z")


def proposed(github: GitHubShop) -> dict[str, tuple[str, str]]:
    """What is found of the configured forge as one that changes are proposed to."""
    loaded = load(github.shop.config)
    forge = loaded.settings.repositories[0].forge
    assert isinstance(forge, GitHubForgeSettings)
    found = proposals("target", forge, loaded.settings, SystemClock(), SystemRandom())
    return {f.check: (f.status.value, f.found) for f in found}


def test_whoever_proposes_has_to_push_branches_and_open_pull_requests(github: GitHubShop) -> None:
    github.forge.git.config["http.receivepack"] = True
    assert proposed(github)["target"] == (
        "fail",
        "missing: contents: write, pull_requests: write",
    )
    github.forge.granted = {"metadata": "read", "contents": "write", "pull_requests": "write"}
    assert proposed(github) == {
        "target": ("ok", "contents: write, metadata: read, pull_requests: write"),
        "target: git": ("ok", f"{github.git.url}/acme/app.git: it may push a branch"),
    }
    github.uses(token_file=str(github.token_file))
    github.forge.git.config["http.receivepack"] = False
    assert proposed(github)["target: git"] == ("fail", "missing: it may not push a branch")


def _always(reply: Reply, _: Seen) -> Reply:
    return reply


def of_the_log(github: GitHubShop) -> dict[str, tuple[str, str]]:
    """What is found of the log's remote, which is at the same GitHub."""
    loaded = load(github.shop.config)
    (repository,) = loaded.settings.repositories
    found = doctor_log.diagnose(repository, loaded.settings, REPOSITORY_ID, SystemClock(), SystemRandom())
    return {f.check.removeprefix("shop: log remote"): (f.status.value, f.found) for f in found}


def test_the_forge_is_asked_what_the_log_s_credential_may_do_and_what_protects_the_log(github: GitHubShop) -> None:
    github.forge.git.config["http.receivepack"] = True
    token = github.shop.root / "log-token"
    token.write_text(f"bot:{PLAIN_TOKEN}\n")
    token.chmod(0o600)
    log = {**github.shop.repository_settings["log"], "remote": f"{github.git.url}/{NAME}.git"}
    github.shop.configure(shop={"log": {**log, "remote_credential_file": str(token)}})
    github.forge.scopes = "repo"
    github.forge.rules = {f"log/{REPOSITORY_ID}/reconciler": ["deletion", "non_fast_forward"]}
    found = of_the_log(github)
    assert found.pop(" apart")[0] == "warn"  # it is the code repository
    assert {check: status for check, (status, _) in found.items()} == {
        "": "ok",
        " credential": "ok",
        " permissions": "ok",
        " permissions: branches": "ok",
    }
    github.forge.rules.clear()
    github.forge.scopes = "repo, admin:org"
    found = of_the_log(github)
    assert found[" permissions"][0] == "warn"
    assert "more than needed: admin:org (lets its holder" in found[" permissions"][1]
    assert found[" permissions: branches: not told"][0] == "warn"
    # A password that is no token, or a forge that refuses it there: not told, since git is what takes it.
    for reply in (Reply(403, {}, b'{"message": "insufficient_scope"}'), Reply(200, {}, b"<html>")):
        github.forge.fault = partial(_always, reply)
        found = of_the_log(github)
        assert (found[""][0], found[" permissions: not told"][0]) == ("ok", "warn")
    assert PLAIN_TOKEN not in str(found)


def test_doctor_tells_a_classic_token_from_a_fine_grained_one(github: GitHubShop) -> None:
    github.uses(token_file=str(github.token_file))
    github.forge.scopes = "repo, admin:org"
    assert permissions(github) == ("warn", "more than needed: admin:org")
    github.forge.scopes = None
    github.forge.fine = {"contents": "read", "pull_requests": "read", "statuses": "write"}
    found = doctor(github)
    assert found["shop: forge permissions"][:2] == (
        "ok",
        "role push; Commit statuses: write, Contents: read, Pull requests: read",
    )
    assert found["shop: forge permissions: not told"][0] == "warn"


def test_doctor_warns_where_the_code_credential_may_push(github: GitHubShop) -> None:
    github.forge.git.config["http.receivepack"] = False
    assert doctor(github)["shop: forge permissions: git"][0] == "ok"
    github.forge.git.config["http.receivepack"] = True
    assert doctor(github)["shop: forge permissions: git"][:2] == (
        "warn",
        "more than needed: it may push to the code repository",
    )


def budget(github: GitHubShop, code: int = 0) -> dict[str, Any]:
    done = github.shop.runs("forge", "budget", "--config", str(github.shop.config), "--json")
    assert done.returncode == code, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_the_published_budget_is_what_was_measured(github: GitHubShop) -> None:
    github.opens("docs", DOCS)
    found = budget(github, code=1)  # the shop polls every second
    costs = {c["question"]: (c["requests"], c["counted"]) for c in found["costs"]}
    assert costs["a listing that has not changed"] == (2, 0)
    assert costs["one pull request, before a write"] == (1, 1)
    assert costs["its head by git, the second witness"] == (0, 0)
    assert (found["idle_per_hour"], found["granted"]["limit"], found["fits"]) == (0, 5000, False)
    github.shop.configure(poll_interval_s=30)
    assert budget(github)["fits"]
