"""An approver's machine: `ameide approval` against a real listener, a real registry and a real log."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from reconciler.approval.envelopes import verify
from reconciler.approval.evaluate import Granted, Standing, evaluate
from reconciler.approval.policy import parse_policy
from reconciler.approval.served import Missing, ServedPlan
from reconciler.approval.signatures import Signers
from reconciler.demo.ci import Keys
from state.errors import ConfigError, Denied, IntegrityError, InvalidValue
from state.oci import Digest, Repository
from state.sshsig import PublicKey
from tests.contract.evidence.support import believing
from tests.contract.web.test_markers import token
from tests.fixtures.approvals import (
    EC,
    EDITS,
    GATE,
    HEAD,
    MAIN,
    OTHER,
    PLAN,
    SSH,
    TARGETS,
    admits,
    facts,
    revokes,
)
from tests.fixtures.approver_machine import Machine, release
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.shop import eventually
from tests.fixtures.sigstore import PrivateSigstore, claims, write_json
from tests.fixtures.sigstore import token as sigstore_token


@pytest.fixture
def machine(tmp_path: Path, embedded_registry: EmbeddedRegistry) -> Iterator[Machine]:
    (tmp_path / "machine").mkdir()
    made = Machine(tmp_path / "machine", embedded_registry)
    yield made
    made.host.host.stop()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("AMEIDE_"):
            monkeypatch.delenv(name)


# --- plan


def test_a_plan_is_shown_with_its_difference_and_digest(machine: Machine) -> None:
    plan = machine.ready()
    done = machine.runs("plan", "--pr", "41", "--target", "dev")
    assert done.return_value == 0, done.output
    assert plan.digest() in done.output
    assert f"- ghcr.io/acme/billing:old\\x1b[2J\n+ {EDITS[0].image}" in done.output
    assert f"- (not known)\n+ {EDITS[1].image}" in done.output
    assert f"#41 at {HEAD}" in done.output
    assert "\x1b" not in done.output
    machine_read = json.loads(machine.runs("plan", "--pr", "41", "--target", "dev", "--json").output)
    assert (machine_read["digest"], machine_read["against"], machine_read["missing"]) == (plan.digest(), [], [])


def test_an_incomplete_head_says_what_is_missing(machine: Machine) -> None:
    machine.served = Missing(("waiting for CI: orders\u202e", "no release set"))
    done = machine.runs("plan", "--pr", "41", "--target", "dev")
    assert (done.return_value, done.output) == (
        1,
        "missing: waiting for CI: orders\\u202e\nmissing: no release set\n",
    )


Lie = Callable[[Machine], object]
OTHERS_IMAGE = EDITS[0]._replace(digest=Digest.of(b"evil"))
UNKNOWN_IMAGE = EDITS[0]._replace(repository=Repository("ghcr.io/evil/billing"))
LIES: dict[str, tuple[Lie, str]] = {
    "no-release-set": (lambda m: m.serves(PLAN), " has no release set of"),
    "another-release-set": (lambda m: (m.publishes(), m.serves(PLAN)), "release set: the signed release set has"),
    "release-set-signed-by-a-stranger": (
        lambda m: m.serves(PLAN._replace(release_set=m.publishes(keys=Keys(m.root, "stranger")))),
        "is not signed by the configured signer",
    ),
    "an-image-by-another-digest": (
        lambda m: m.serves(m.ready()._replace(edits=(OTHERS_IMAGE, EDITS[1]))),
        f"ghcr.io/acme/billing: the signed release set has {EDITS[0].digest}",
    ),
    "an-image-that-was-never-released": (
        lambda m: m.serves(m.ready()._replace(edits=(UNKNOWN_IMAGE, EDITS[1]))),
        "ghcr.io/evil/billing: the signed release set has no such image",
    ),
    "another-pull-request": (lambda m: m.serves(m.ready()._replace(pull_request=42)), "pull request: expected 41"),
    "another-target": (lambda m: m.serves(m.ready()._replace(target=TARGETS["staging"])), "target: expected dev"),
    "another-repository": (lambda m: m.serves(m.ready()._replace(repository_id=1)), "repository id: expected 4711"),
    "release-set-of-another-repository": (
        lambda m: m.serves(PLAN._replace(release_set=m.publishes(release(repository_id=1)))),
        "repository id: the signed release set has 1",
    ),
    "another-policy": (
        lambda m: (m.ready(), setattr(m, "served", m.served._replace(policy=Digest.of(b"x")))),  # type: ignore[union-attr]
        "approvers' policy: expected",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_plan_that_is_not_the_release_sets_is_neither_shown_as_good_nor_signed(machine: Machine, name: str) -> None:
    lie, text = LIES[name]
    lie(machine)
    done = machine.runs("plan", "--pr", "41", "--target", "dev")
    assert done.return_value == 1, done.output
    assert done.output.startswith("do not approve: ")
    assert text in done.output
    assert "Every image" not in done.output
    assert isinstance(machine.served, ServedPlan)
    granted = machine.grants(machine.served.plan)
    assert granted.return_value == 1
    assert "nothing was signed" in granted.output
    assert machine.posted.pending() == ()


def test_a_server_whose_plan_has_another_digest_than_it_says_is_not_believed(machine: Machine) -> None:
    class Liar(ServedPlan):
        def to_json(self) -> dict[str, Any]:
            return {**super().to_json(), "digest": Digest.of(b"other")}

    plan = machine.ready()
    machine.served = Liar(plan, MAIN, machine.policy.digest(), (None, None))
    done = machine.runs("plan", "--pr", "41", "--target", "dev")
    assert isinstance(done.exception, IntegrityError)
    assert "its content has the digest" in str(done.exception)


def test_a_target_that_the_server_does_not_know_is_told(machine: Machine) -> None:
    done = machine.runs("plan", "--pr", "41", "--target", "prod")
    assert isinstance(done.exception, ConfigError)


@pytest.mark.parametrize("target", ["", "\udcff", "dev/..", "x" * 64])
def test_what_is_no_name_of_a_target_is_bad_input(machine: Machine, target: str) -> None:
    done = machine.runs("plan", "--pr", "41", "--target", target)
    assert isinstance(done.exception, InvalidValue)


# --- grant


def test_a_grant_reaches_the_reconciler_and_suffices_there(machine: Machine) -> None:
    plan = machine.ready()
    done = machine.grants(plan, "--life", "30m", "--json")
    assert done.return_value == 0, done.output
    (signed,) = machine.waiting()
    told = json.loads(done.output)
    assert (told["id"], told["marker"]) == (signed.marker.id, signed.digest)
    assert signed.marker.not_after - signed.marker.issued_at == 1800  # type: ignore[union-attr]
    now_so = facts(plan, release_set=plan.release_set)
    found = evaluate([signed], "dev", now_so, machine.policy, Standing(), int(time.time()))
    assert isinstance(found, Granted), found


def test_two_approvers_sign_two_markers_that_add_up(machine: Machine) -> None:
    plan = machine.ready()
    machine.key("bob")
    assert machine.grants(plan).return_value == 0
    bob = {"principal": "bob", "signer": {"kind": "ssh", "key_file": str(machine.root / "bob")}}
    assert machine.grants(plan, **bob).return_value == 0
    now_so = facts(plan, release_set=plan.release_set, last_pusher_id=None)
    found = evaluate(machine.waiting(), "dev", now_so, machine.policy, Standing(), int(time.time()))
    assert isinstance(found, Granted)
    assert found.principals == ("alice", "bob")


@pytest.mark.parametrize(
    ("head", "digest", "text"),
    [(OTHER, None, "head: expected"), (HEAD, Digest.of(b"older"), "plan: expected")],
)
def test_nothing_newer_than_what_was_named_is_signed(
    machine: Machine, head: str, digest: Digest | None, text: str
) -> None:
    plan = machine.ready()
    named = ("--pr", "41", "--head", head, "--plan", digest or plan.digest(), "--target", "dev")
    done = machine.runs("grant", *named)
    assert done.return_value == 1
    assert f"do not approve: {text}" in done.output
    assert machine.posted.pending() == ()


@pytest.mark.parametrize(
    "named",
    [
        ("--head", "a" * 12, "--plan", PLAN.digest()),
        ("--head", HEAD, "--plan", PLAN.digest()[:20]),
        ("--head", HEAD, "--plan", PLAN.digest(), "--life", "forever"),
        ("--head", HEAD, "--plan", PLAN.digest(), "--life", "31d"),
        ("--head", HEAD, "--plan", PLAN.digest(), "--life", "59s"),
    ],
)
def test_what_is_named_in_part_is_bad_input(machine: Machine, named: tuple[str, ...]) -> None:
    machine.ready()
    assert isinstance(machine.runs("grant", "--pr", "41", "--target", "dev", *named).exception, InvalidValue)


def test_a_marker_is_written_to_a_file_or_a_directory_instead(machine: Machine) -> None:
    plan = machine.ready()
    out = machine.root / "marker.json"
    assert machine.grants(plan, "--out", str(out), post={"kind": "none"}).return_value == 0
    assert verify(out.read_bytes(), Signers(machine.policy)).principals == ("alice",)
    drop = machine.root / "drop"
    drop.mkdir()
    assert machine.grants(plan, post={"kind": "directory", "path": str(drop)}).return_value == 0
    (file,) = drop.iterdir()
    assert file.name == f"{Digest.of(file.read_bytes()).hex}.json"
    assert machine.posted.pending() == ()
    assert isinstance(machine.grants(plan, post={"kind": "none"}).exception, ConfigError)


def test_a_token_that_does_not_count_is_told_with_its_code_and_remedy(machine: Machine) -> None:
    plan = machine.ready()
    (machine.root / "other").touch(mode=0o600)
    (machine.root / "other").write_text(token(aud="sts.amazonaws.com"))
    done = machine.grants(plan, post={"kind": "http", "token_file": str(machine.root / "other")})
    assert isinstance(done.exception, Denied)
    assert "oidc-wrong-audience" in str(done.exception)
    assert "approvals.http" in str(done.exception)


def test_every_kind_of_key_makes_what_the_reconciler_verifies(machine: Machine) -> None:
    plan = machine.ready()
    out = machine.root / "marker.json"
    password, key = machine.root / "password", machine.root / "ec"
    password.write_text("correct horse\n")
    key.write_bytes(
        EC["alice"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse"))
    )
    for signer in (
        {"kind": "ssh", "key_file": str(machine.root / "alice")},
        {"kind": "ssh-keygen", "key_file": str(machine.root / "alice")},
        {"kind": "key", "key_file": str(key), "password_file": str(password)},
    ):
        assert machine.grants(plan, "--out", str(out), signer=signer).return_value == 0
        assert verify(out.read_bytes(), Signers(machine.policy)).principals == ("alice",)


def test_a_workflow_signs_by_certificate(machine: Machine, private_sigstore: PrivateSigstore) -> None:
    said = claims(environment="publish-approval")
    gate = {
        "forge_id": None,
        "identities": [{"issuer": said["iss"], "subject": GATE, "environment": "publish-approval"}],
    }
    rules = json.loads(machine.policy_file.read_text())
    rules["principals"]["gate"] = gate
    rules["targets"]["dev"]["approvers"].append("gate")
    machine.policy_file.write_text(json.dumps(rules))
    machine.policy = parse_policy(machine.policy_file.read_bytes())
    plan, out = machine.ready(), machine.root / "marker.json"
    trust = write_json(machine.root / "trust.json", private_sigstore.trust_config())
    (machine.root / "id-token").write_text(sigstore_token(said))
    signer = {"kind": "sigstore", "trust_config_file": str(trust), "token_file": str(machine.root / "id-token")}
    done = machine.grants(plan, "--out", str(out), principal="gate", signer=signer)
    assert done.return_value == 0, done.exception
    signers = Signers(machine.policy, believing(private_sigstore.trusted_root()))
    assert verify(out.read_bytes(), signers).principals == ("gate",)


def test_an_agent_signs_for_a_key_that_is_nowhere_else(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, out = machine.ready(), machine.root / "marker.json"
    public = machine.root / "alice.pub"
    public.write_text(PublicKey.of(SSH["alice"]).line + "\n")
    socket = machine.root / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        eventually("the agent listens", socket.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(machine.root / "alice")], check=True)
        (machine.root / "alice").unlink()
        done = machine.grants(plan, "--out", str(out), signer={"kind": "ssh-keygen", "key_file": str(public)})
        assert done.return_value == 0, done.exception
        assert verify(out.read_bytes(), Signers(machine.policy)).principals == ("alice",)
    finally:
        agent.terminate()
        agent.wait()


def test_a_key_that_cannot_be_used_is_told(machine: Machine) -> None:
    plan = machine.ready()
    done = machine.grants(plan, signer={"kind": "ssh-keygen", "key_file": str(machine.root / "none")})
    assert isinstance(done.exception, ConfigError)
    locked = machine.key("bob")
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a password", "-f", str(locked)], check=True)
    done = machine.grants(plan, signer={"kind": "ssh", "key_file": str(machine.root / "bob")})
    assert isinstance(done.exception, ConfigError)


# --- revoke and admit


def test_a_revocation_and_an_admission_reach_the_reconciler(machine: Machine) -> None:
    assert machine.runs("revoke", "1" * 32).return_value == 0
    assert machine.runs("admit", "--pr", "41", "--head", HEAD, "--fork-id", "666").return_value == 0
    back, admission = (signed.marker for signed in machine.waiting())
    assert back == revokes(issued_at=back.issued_at)
    assert admission == admits(
        id=admission.id,
        policy=machine.policy.digest(),
        issued_at=admission.issued_at,
        not_after=admission.issued_at + 4 * 3600,
    )


def test_an_admission_needs_a_copy_of_the_policy(machine: Machine) -> None:
    done = machine.runs("admit", "--pr", "41", "--head", HEAD, "--fork-id", "666", policy_file=None)
    assert isinstance(done.exception, ConfigError)
    assert "policy_file is required" in str(done.exception)


def test_a_principal_that_the_policy_does_not_have_is_told_before_anything_is_signed(machine: Machine) -> None:
    done = machine.grants(machine.ready(), principal="eve")
    assert isinstance(done.exception, ConfigError)
    assert "has no principal 'eve'" in str(done.exception)


@pytest.mark.parametrize("marker_id", ["1", "x" * 32, "1" * 33, ""])
def test_a_revocation_names_an_id_in_full(machine: Machine, marker_id: str) -> None:
    assert isinstance(machine.runs("revoke", marker_id).exception, InvalidValue)


# --- the file


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"more": 1}, "more (line 1): unknown key"),
        ({"version": 2}, "version (line 1)"),
        ({"server": {"url": "http://ameide.example.org"}}, "server.url (line 1)"),
        ({"repository": {"name": "shop"}}, "repository.id (line 1): required, but not there"),
        ({"registries": []}, "registries (line 1)"),
        ({"principal": "Alice"}, "principal (line 1)"),
        ({"signer": {"kind": "ssh", "key_file": "hunter2"}}, "signer.key_file (line 1): expected an absolute path"),
        ({"signer": {"kind": "pen"}}, "signer (line 1)"),
        ({"post": {"kind": "http", "token_file": "ghp_secret"}}, "post.token_file (line 1)"),
        (
            {
                "release_sets": {
                    "repository": "ghcr.io/acme/sets",
                    "authority": {"kind": "keys", "public_key_files": ["/own.pub"]},
                }
            },
            "release_sets.repository (line 1): its registry is not declared",
        ),
    ],
)
def test_a_fault_of_the_file_is_named_with_its_place_and_no_secret(
    machine: Machine, changed: dict[str, Any], text: str
) -> None:
    done = machine.runs("plan", "--pr", "41", "--target", "dev", **changed)
    assert isinstance(done.exception, ConfigError)
    assert text in str(done.exception)
    assert "hunter2" not in str(done.exception)
    assert "ghp_secret" not in str(done.exception)


def test_no_setting_comes_from_the_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_PRINCIPAL", "bob")
    assert isinstance(machine.runs("plan", "--pr", "41", "--target", "dev").exception, ConfigError)
