"""`ameide gitops propose` on a local forge: one pull request, only our files, a person's no, and the log before it."""

from __future__ import annotations

import json
from typing import Any

import pygit2
import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.local_record import State
from reconciler.doctor.findings import Status
from reconciler.doctor.publish import lane_proposals
from reconciler.lane.file_list import PATH
from reconciler.settings import load
from state.errors import ConfigError, Denied, ReconcilerError, StaleObservation
from state.git import RefName
from tests.fixtures.lane import lane_files
from tests.fixtures.lane_shop import MAIN, LaneShop

PROJECT = "argocd/projects/previews.yaml"
SERVICES = "argocd/previews/baseline-dev/services.yaml"
OTHER = {"base_services": ["postgres"]}
"""Another lane: the alias of one base service is not rendered any more."""


def branch_of(answer: dict[str, object]) -> RefName:
    return RefName(str(answer["branch"]))


def test_a_lane_is_proposed_merged_and_then_in_place(lane_shop: LaneShop) -> None:
    clean, answer = lane_shop.run()
    assert (clean, answer["act"], answer["change"]) == (True, "propose", 1)
    proposed = lane_shop.files(branch_of(answer))
    assert proposed[PROJECT].startswith(b"# Rendered by")
    assert proposed["argocd/theirs.yaml"] == b"kind: ConfigMap\n"
    assert PROJECT not in lane_shop.files()
    assert lane_shop.kinds() == ["genesis", "epoch", "intent", "outcome"]
    assert lane_shop.verified()
    assert lane_shop.run()[1]["act"] == "open"
    assert lane_shop.kinds() == ["genesis", "epoch", "intent", "outcome"]  # a run without work writes nothing
    lane_shop.pulls.merge(1)
    clean, answer = lane_shop.run()
    assert (clean, answer["act"], answer["files"]) == (True, "in-place", [])
    assert lane_shop.entries()[-1].entry.body["lane_proposals"][0]["result"] == "merged"  # type: ignore[index,call-overload]
    assert [r.state for r in lane_shop.records()] == [State.MERGED]


def test_equal_lanes_on_an_equal_base_give_the_same_commit(lane_shop: LaneShop) -> None:
    with lane_shop.proposer() as one:
        first = one._commit(one._look())
    lane_shop.run()
    assert (lane_shop.tip(branch_of(lane_shop.run()[1])),) == first[:1]


def test_a_dry_run_shows_the_difference_and_writes_nothing(lane_shop: LaneShop) -> None:
    before = set(lane_shop.git.references)
    done = lane_shop.command("--dry-run")
    assert done.return_value == 1
    assert f"added    {PROJECT}" in done.stdout
    assert "(dry run)" in done.stdout
    answer = json.loads(lane_shop.command("--dry-run", "--json").stdout)
    assert (answer["act"], answer["applied"], {f["what"] for f in answer["files"]}) == ("propose", False, {"added"})
    assert set(lane_shop.git.references) == before
    assert lane_shop.entries() == []


def test_what_was_done_is_told_to_people_and_to_machines(lane_shop: LaneShop) -> None:
    done = lane_shop.command()
    assert done.return_value == 0
    assert "shop: pull request #1 is open, branch ameide/lane/1001/" in done.stdout
    lane_shop.pulls.close(1)
    declined = lane_shop.command("--json")
    assert (declined.return_value, json.loads(declined.stdout)["act"]) == (1, "declined")


@pytest.mark.parametrize("changes", [{"mode": "observe"}, {"suspend": True}])
def test_the_kill_switch_writes_nothing(lane_shop: LaneShop, changes: dict[str, Any]) -> None:
    lane_shop.configure(**changes)
    refused = lane_shop.command()
    assert isinstance(refused.exception, ConfigError)
    assert "write nothing" in str(refused.exception)
    assert lane_shop.entries() == []


# --- whose files are touched


def merged(shop: LaneShop) -> dict[str, bytes]:
    """The lane in place; the files of the base."""
    shop.run()
    shop.pulls.merge(1)
    return shop.files()


def test_what_is_not_rendered_any_more_goes_and_nothing_else(lane_shop: LaneShop) -> None:
    before = merged(lane_shop)
    lane_shop.configure(secrets_chart=None, secrets_value_files=None)
    clean, answer = lane_shop.run()
    assert clean
    gone = {f["path"] for f in answer["files"] if f["what"] == "removed"}
    after = lane_shop.files(branch_of(answer))
    assert gone == before.keys() - after.keys() == {"argocd/applicationsets/preview-secrets.yaml"}
    assert after["argocd/theirs.yaml"] == before["argocd/theirs.yaml"]
    assert {p for p in after if before.get(p) != after[p]} == {f["path"] for f in answer["files"]} - gone


def test_a_file_of_ours_that_a_person_edited_is_theirs_when_it_is_not_rendered_any_more(lane_shop: LaneShop) -> None:
    before = merged(lane_shop)
    path = "argocd/applicationsets/preview-secrets.yaml"
    lane_shop.write({path: before[path] + b"# mine\n"})
    lane_shop.configure(secrets_chart=None, secrets_value_files=None)
    _, answer = lane_shop.run()
    assert answer["edited"] == [path]
    assert lane_shop.files(branch_of(answer))[path] == before[path] + b"# mine\n"
    assert path in lane_shop.records()[-1].body


def test_a_file_of_ours_that_a_person_edited_is_proposed_back(lane_shop: LaneShop) -> None:
    before = merged(lane_shop)
    lane_shop.write({PROJECT: before[PROJECT].replace(b"pr-*", b"*")})
    assert [(f["path"], f["what"]) for f in lane_shop.plan()["files"]] == [(PROJECT, "changed")]
    with_no = lane_shop.run()
    assert (with_no[0], with_no[1]["act"]) == (
        False,
        "declined",
    )  # the same lane was merged, and taken back by a person
    clean, answer = lane_shop.run(again=True)
    assert (clean, answer["change"]) == (True, 2)
    assert lane_shop.files(branch_of(answer))[PROJECT] == before[PROJECT]


def test_somebody_elses_file_in_the_way_stops_it(lane_shop: LaneShop) -> None:
    lane_shop.write({PROJECT: b"kind: AppProject\n"})
    with pytest.raises(ConfigError, match=r"somebody else's argocd/projects/previews\.yaml"):
        lane_shop.run()
    assert lane_shop.entries() == []
    lane_shop.write({PROJECT: None, PATH: b"a checklist\n"})
    with pytest.raises(ConfigError, match="list of a rendered lane"):
        lane_shop.run()
    assert lane_shop.records() == []


def test_a_lane_that_was_rendered_and_committed_by_hand_is_in_place(lane_shop: LaneShop) -> None:
    from reconciler.lane.file_list import with_list
    from reconciler.preview.render import render

    settings = load(lane_shop.config, {}).settings
    lane_shop.write(with_list(render(settings, settings.repositories[0])))
    assert lane_shop.run()[0]
    assert lane_shop.records() == []
    assert lane_shop.entries() == []


# --- people


def test_a_persons_no_stays_until_somebody_asks_again(lane_shop: LaneShop) -> None:
    lane_shop.run()
    lane_shop.pulls.close(1)
    for _ in range(2):
        clean, answer = lane_shop.run()
        assert (clean, answer["act"], answer["change"]) == (False, "declined", 1)
    assert lane_shop.kinds() == ["genesis", "epoch", "intent", "outcome", "epoch", "outcome"]
    clean, answer = lane_shop.run(again=True)
    assert (clean, answer["act"], answer["change"]) == (True, "propose", 2)
    assert [r.state for r in lane_shop.records()] == [State.CLOSED, State.OPEN]
    assert lane_shop.run()[1]["act"] == "open"


@pytest.mark.parametrize("again", [False, True])
def test_a_persons_commit_on_the_branch_makes_it_theirs(lane_shop: LaneShop, again: bool) -> None:
    branch = branch_of(lane_shop.run()[1])
    theirs = lane_shop.write({PROJECT: b"mine\n"}, branch)
    lane_shop.write(
        {PROJECT: b"# Rendered by `ameide gitops render`: change the lane in the configuration, not this file.\n"}
    )
    clean, answer = lane_shop.run(again=again)
    assert (clean, answer["act"]) == (False, "hands-off")
    assert lane_shop.tip(branch) == theirs
    assert [r.state for r in lane_shop.records()] == [State.OPEN]
    assert lane_shop.entries()[-1].entry.body["lane_proposals"][0]["result"] == "hands-off"  # type: ignore[index,call-overload]
    lane_shop.configure(**OTHER)  # another lane leaves the person's pull request open
    assert lane_shop.run()[0]
    assert [r.state for r in lane_shop.records()] == [State.OPEN, State.OPEN]


def test_a_branch_of_that_name_that_we_did_not_make_is_left_alone(lane_shop: LaneShop) -> None:
    branch = branch_of(lane_shop.plan())
    theirs = lane_shop.write({"x": b"1"}, branch)
    clean, answer = lane_shop.run()
    assert (clean, answer["act"]) == (False, "hands-off")
    assert lane_shop.tip(branch) == theirs
    assert lane_shop.records() == []


def test_another_lane_takes_the_place_of_the_open_one_with_a_link(lane_shop: LaneShop) -> None:
    lane_shop.run()
    lane_shop.configure(**OTHER)
    clean, answer = lane_shop.run()
    assert (clean, answer["change"]) == (True, 2)
    one, two = lane_shop.records()
    assert (one.state, one.close_reason, two.state) == (
        State.CLOSED,
        "another lane is rendered now; see #2",
        State.OPEN,
    )
    lane_shop.configure()  # and back: what we closed ourselves is no person's no
    clean, answer = lane_shop.run()
    assert (clean, answer["act"], answer["change"]) == (True, "propose", 3)
    assert [r.state for r in lane_shop.records()] == [State.CLOSED, State.CLOSED, State.OPEN]
    assert lane_shop.verified()


def test_a_pull_request_without_a_difference_is_closed(lane_shop: LaneShop) -> None:
    branch = branch_of(lane_shop.run()[1])
    lane_shop.write(lane_shop.files(branch))
    clean, answer = lane_shop.run()
    assert (clean, answer["act"]) == (True, "in-place")
    assert [(r.state, r.close_reason) for r in lane_shop.records()] == [(State.CLOSED, "main holds this lane")]


def test_a_base_that_moved_into_the_way_is_merged_into_the_branch_and_never_forced(lane_shop: LaneShop) -> None:
    merged(lane_shop)
    lane_shop.configure(**OTHER)
    branch = branch_of(lane_shop.run()[1])
    before = lane_shop.tip(branch)
    lane_shop.write({SERVICES: lane_shop.files()[SERVICES].replace(b"name: redis", b"name: another")})
    clean, answer = lane_shop.run()
    assert (clean, answer["act"], answer["change"]) == (True, "update", 2)
    tip = lane_shop.git[lane_shop.tip(branch)].peel(pygit2.Commit)
    assert [str(p) for p in tip.parent_ids] == [lane_shop.tip(), before]
    assert lane_shop.run()[1]["act"] == "open"
    lane_shop.pulls.merge(2)
    assert lane_shop.run()[1]["act"] == "in-place"


# --- the log comes first


def test_without_the_logs_remote_nothing_is_pushed(lane_shop: LaneShop) -> None:
    lane_shop.plan()
    lane_shop.remote.rename(lane_shop.root / "away.git")
    with pytest.raises(ReconcilerError):
        lane_shop.run()
    assert set(lane_shop.git.references) == {MAIN, "refs/ameide/repository"} & set(lane_shop.git.references)


def test_the_intent_is_on_the_remote_before_the_branch_and_the_outcome_after_the_pull_request(
    lane_shop: LaneShop,
) -> None:
    seen: list[tuple[list[str], int]] = []
    with lane_shop.proposer() as proposer:
        pushes, opens = proposer.writer.push, proposer.changes.open_change

        def told(real: object) -> object:
            def call(*arguments: object) -> object:
                seen.append((lane_shop.kinds(), len(lane_shop.records())))
                return real(*arguments)  # type: ignore[operator]

            return call

        proposer.writer.push = told(pushes)  # type: ignore[method-assign,assignment]
        proposer.changes.open_change = told(opens)  # type: ignore[method-assign,assignment]
        proposer.run()
    assert seen == [(["genesis", "epoch", "intent"], 0)] * 2
    assert lane_shop.kinds()[-1] == "outcome"


def test_a_pull_request_that_appears_at_the_last_moment_is_adopted(lane_shop: LaneShop) -> None:
    with lane_shop.proposer() as proposer:
        real = proposer.writer.push

        def pushed(*arguments: object) -> None:
            real(*arguments)  # type: ignore[arg-type]
            proposer.changes.open_change(proposer.branch, MAIN, "somebody's", "")

        proposer.writer.push = pushed  # type: ignore[method-assign,assignment]
        assert proposer.run().ruling.change == 1
    assert [(r.state, r.title.partition(":")[0]) for r in lane_shop.records()] == [(State.OPEN, "Preview lane of shop")]


def test_a_person_who_pushes_while_we_do_keeps_the_branch(lane_shop: LaneShop) -> None:
    with lane_shop.proposer() as proposer:
        real = proposer.writer.push

        def beaten(*arguments: object) -> None:
            lane_shop.write({"x": b"1"}, proposer.branch)
            real(*arguments)  # type: ignore[arg-type]

        proposer.writer.push = beaten  # type: ignore[method-assign,assignment]
        report = proposer.run()
    assert (report.ruling.act.value, report.clean) == ("hands-off", False)
    assert lane_shop.records() == []
    assert lane_shop.kinds()[-1] == "outcome"


def test_a_rule_of_the_server_is_told_and_tried_again_by_the_next_run(lane_shop: LaneShop) -> None:
    hook = lane_shop.gitops / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises((Denied, StaleObservation)):
        lane_shop.run()
    hook.unlink()
    assert lane_shop.run()[1]["change"] == 1
    assert lane_shop.kinds() == ["genesis", "epoch", "intent", "epoch", "outcome", "intent", "outcome"]
    assert lane_shop.verified()


def test_the_lane_passes_unchanged_through_a_pull_request(lane_shop: LaneShop) -> None:
    """What is proposed is what `gitops render` writes: the same bytes, and the list of them."""
    answer = lane_shop.run()[1]
    proposed = lane_shop.files(branch_of(answer))
    paths = set(lane_files("local", generator="plugin", webhook_route=None))
    assert {f["path"] for f in answer["files"]} == {*paths, PATH} <= proposed.keys()


def test_two_who_propose_at_a_time_open_one_pull_request(lane_shop: LaneShop) -> None:
    """The second one takes the log over while the first is between its intent and its push."""
    with lane_shop.proposer() as proposer:
        real = proposer.writer.push

        def overtaken(*arguments: object) -> None:
            proposer.writer.push = real  # type: ignore[method-assign]
            lane_shop.configure("two")
            assert lane_shop.run()[0]
            real(*arguments)  # type: ignore[arg-type]

        proposer.writer.push = overtaken  # type: ignore[method-assign,assignment]
        with pytest.raises(ReconcilerError):
            proposer.run()
    assert [r.state for r in lane_shop.records()] == [State.OPEN]
    assert lane_shop.verified()


def test_the_doctor_tests_what_a_proposal_needs(lane_shop: LaneShop) -> None:
    settings = load(lane_shop.config, {}).settings
    clock, random = SystemClock(), SystemRandom()
    found = [*lane_proposals(settings.repositories[0], settings, clock, random)]
    assert [(f.check, f.status) for f in found] == [
        ("shop: lane.proposals key", Status.OK),
        ("shop: lane.proposals forge", Status.OK),
    ]
    (lane_shop.root / "commit-key").chmod(0o644)
    assert next(lane_proposals(settings.repositories[0], settings, clock, random)).status is Status.FAIL


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"log": {"remote": None}}, r"required with lane\.proposals: what is proposed is on the log's remote first"),
        ({"log": {"operator_key_file": None}}, r"required with lane\.proposals, which is an operator's command"),
        (
            {"log": {"operator_key_file": "/k"}, "lane": {"commit_key_file": "/k"}},
            "each writer signs with a key of its own",
        ),
        ({"lane": {"forge": "code"}}, "it is the code repository"),
        ({"lane": {"forge": "other"}}, "expected one repository"),
    ],
)
def test_a_configuration_that_could_not_propose_is_refused(
    lane_shop: LaneShop, part: dict[str, dict[str, Any]], told: str
) -> None:
    made = json.loads(lane_shop.config.read_text())
    repository = made["repositories"][0]
    repository["janitor"] = None  # it wants the log's remote too
    forges = {
        "code": repository["forge"],
        "other": {"kind": "github", "url": "https://github.com", "repository": "acme/other", "token_file": "/t"},
    }
    repository["log"] |= part.get("log", {})
    changed = part.get("lane", {})
    repository["lane"]["proposals"] |= {k: forges[v] if k == "forge" else v for k, v in changed.items()}
    lane_shop.config.write_text(json.dumps(made))
    with pytest.raises(ConfigError, match=told):
        load(lane_shop.config, {})
