"""The approvers' policy file: strict, every problem at once with its line, and a digest of its content alone."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.approval.approvers import Identity
from reconciler.approval.policy import parse_policy
from state.errors import ConfigError
from state.sshsig import PublicKey
from tests.fixtures.approvals import EC, ED, GATE, ISSUER, SSH, b64, spki_of

ALICE, BOB = (PublicKey.of(SSH[name]).line for name in ("alice", "bob"))
P256, ED25519 = b64(spki_of(EC["dora"])), b64(spki_of(ED["erin"]))
GATED = {"issuer": ISSUER, "subject": GATE, "environment": "publish-approval"}


def file() -> dict[str, Any]:
    rule = {"approvers": ["alice", "bob"], "threshold": 1, "max_life_s": 86400, "revokers": ["gate"]}
    made: dict[str, Any] = {
        "version": 1,
        "principals": {
            "alice": {"forge_id": 1001, "ssh_keys": [ALICE], "public_keys": [P256]},
            "bob": {"forge_id": 1002, "ssh_keys": [BOB]},
            "gate": {"forge_id": None, "identities": [GATED]},
        },
        "targets": {"dev": dict(rule), "staging": {**rule, "threshold": 2}},
        "admission": dict(rule),
    }
    return copy.deepcopy(made)


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def problems(value: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_policy(value if isinstance(value, bytes) else raw(value), what="approvers.yaml", **options)
    return caught.value.problems


def test_a_whole_file_is_read() -> None:
    policy = parse_policy(raw(file()))
    assert [*policy.principals] == ["alice", "bob", "gate"]
    alice = policy.principals["alice"]
    assert (alice.forge_id, [k.line for k in alice.ssh_keys], len(alice.keys)) == (1001, [ALICE], 1)
    assert policy.principals["gate"].identities == (Identity(ISSUER, GATE, "publish-approval"),)
    assert policy.targets["staging"].threshold == 2
    assert policy.admission is not None
    assert policy.admission.revokers == frozenset({"gate"})


def test_admission_and_revokers_may_be_left_out() -> None:
    value = file()
    del value["admission"], value["targets"]["dev"]["revokers"]
    policy = parse_policy(raw(value))
    assert policy.admission is None
    assert policy.targets["dev"].revokers == frozenset()


def test_the_digest_is_of_the_content_and_not_of_the_spelling() -> None:
    value = file()
    reordered = {k: value[k] for k in reversed(value)}
    reordered["principals"] = {k: value["principals"][k] for k in reversed(value["principals"])}
    reordered["targets"]["dev"]["approvers"] = ["bob", "alice"]
    assert parse_policy(b"# a comment\n" + raw(reordered)).digest() == parse_policy(raw(file())).digest()


CHANGES = [
    lambda v: v["principals"]["alice"].update(forge_id=7),
    lambda v: v["principals"]["alice"].update(ssh_keys=[]),
    lambda v: v["principals"]["alice"].update(public_keys=[ED25519]),
    lambda v: v["principals"]["gate"]["identities"][0].update(environment=None),
    lambda v: v["principals"]["gate"]["identities"][0].update(subject=GATE + "x"),
    lambda v: v["targets"]["dev"].update(threshold=2),
    lambda v: v["targets"]["dev"].update(approvers=["alice"]),
    lambda v: v["targets"]["dev"].update(max_life_s=60),
    lambda v: v["targets"]["dev"].update(revokers=[]),
    lambda v: v["targets"].pop("staging"),
    lambda v: v.pop("admission"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_content_changes_the_digest(change: Any) -> None:
    value = file()
    change(value)
    assert parse_policy(raw(value)).digest() != parse_policy(raw(file())).digest()


FAULTS = [
    (lambda v: v.update(version=2), "version"),
    (lambda v: v.update(more=1), "more"),
    (lambda v: v.update(principals={}), "principals"),
    (lambda v: v.pop("targets"), "targets"),
    (lambda v: v["principals"]["alice"].pop("forge_id"), "principals.alice.forge_id"),
    (lambda v: v["principals"]["alice"].update(forge_id="1001"), "principals.alice.forge_id"),
    (lambda v: v["principals"]["alice"].update(forge_id=0), "principals.alice.forge_id"),
    (lambda v: v["principals"]["alice"].update(forge_id=1002), "principals.bob.forge_id"),
    (lambda v: v["principals"]["alice"].update(ssh_keys=[ALICE + " alice@home"]), "principals.alice.ssh_keys[0]"),
    (lambda v: v["principals"]["alice"].update(ssh_keys=["ssh-rsa AAAA"]), "principals.alice.ssh_keys[0]"),
    (lambda v: v["principals"]["alice"].update(ssh_keys=[ALICE, ALICE]), "principals.alice.ssh_keys[1]"),
    (lambda v: v["principals"]["bob"].update(ssh_keys=[ALICE]), "principals.bob.ssh_keys[0]"),
    (lambda v: v["principals"]["bob"].update(public_keys=[P256]), "principals.bob.public_keys[0]"),
    (lambda v: v["principals"]["bob"].update(public_keys=["AAAA"]), "principals.bob.public_keys[0]"),
    (lambda v: v["principals"]["bob"].update(public_keys=["-----BEGIN"]), "principals.bob.public_keys[0]"),
    (lambda v: v["principals"]["bob"].update(ssh_keys=[]), "principals.bob"),
    (lambda v: v["principals"]["bob"].update(password="x"), "principals.bob.password"),
    (lambda v: v["principals"].update(Eve={"forge_id": 5, "ssh_keys": []}), "principals.Eve"),
    (lambda v: v["principals"]["bob"].update(identities=[GATED]), "principals.gate.identities[0]"),
    (
        lambda v: v["principals"]["bob"].update(identities=[{**GATED, "environment": None}]),
        "principals.gate.identities[0]",
    ),
    (lambda v: v["principals"]["gate"]["identities"][0].pop("issuer"), "principals.gate.identities[0].issuer"),
    (lambda v: v["principals"]["gate"]["identities"][0].update(subject=""), "principals.gate.identities[0].subject"),
    (lambda v: v["targets"]["dev"].update(approvers=[]), "targets.dev.approvers"),
    (lambda v: v["targets"]["dev"].update(approvers=["alice", "eve"]), "targets.dev.approvers[1]"),
    (lambda v: v["targets"]["dev"].update(approvers=["alice", "alice"]), "targets.dev.approvers[1]"),
    (lambda v: v["targets"]["dev"].update(revokers=["eve"]), "targets.dev.revokers[0]"),
    (lambda v: v["targets"]["dev"].update(threshold=0), "targets.dev.threshold"),
    (lambda v: v["targets"]["dev"].update(threshold=3), "targets.dev.threshold"),
    (lambda v: v["targets"]["dev"].update(threshold=True), "targets.dev.threshold"),
    (lambda v: v["targets"]["dev"].update(max_life_s=10**9), "targets.dev.max_life_s"),
    (lambda v: v["targets"]["dev"].pop("threshold"), "targets.dev.threshold"),
    (lambda v: v["targets"].update({"De v": v["targets"]["dev"]}), "targets.De v"),
    (lambda v: v["admission"].update(approvers=["eve"]), "admission.approvers[0]"),
    (lambda v: v["admission"].update(threshold=9), "admission.threshold"),
    (lambda v: v.update(admission=[]), "admission"),
]


@pytest.mark.parametrize(("fault", "where"), FAULTS)
def test_a_fault_is_named_with_its_place_and_line(fault: Any, where: str) -> None:
    value = file()
    fault(value)
    found = problems(value)
    assert any(problem.startswith(f"{where} (line 1): ") for problem in found), found


def test_every_fault_is_told_at_once() -> None:
    value = file()
    value["principals"]["bob"]["ssh_keys"] = [ALICE]
    value["targets"]["dev"]["approvers"] = ["eve"]
    value["admission"]["threshold"] = 9
    assert len(problems(value)) == 3


def test_one_ed25519_key_in_two_spellings_belongs_to_one_principal() -> None:
    value = file()
    value["principals"]["bob"]["public_keys"] = [b64(spki_of(SSH["alice"]))]
    (problem,) = problems(value)
    assert "principals.bob.public_keys[0]" in problem
    assert "already belongs to alice" in problem


def test_the_same_workflow_in_two_environments_may_be_two_principals() -> None:
    value = file()
    value["principals"]["other"] = {"forge_id": None, "identities": [{**GATED, "environment": "other"}]}
    assert len(parse_policy(raw(value)).principals) == 4


def test_a_target_that_the_configuration_does_not_have_is_a_fault() -> None:
    parse_policy(raw(file()), targets=("dev", "staging", "production"))
    (problem,) = problems(file(), targets=("dev",))
    assert problem.startswith("targets.staging (line 1): the configuration has no such target; there are dev")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"version: 1\nversion: 1\n",
        b"version: &a 1\nprincipals: *a\n",
        b"!!python/object:os.system x",
        b"{" * 1000,
        b"version: 1\nprincipals: {alice: {forge_id: 1, ssh_keys: 'ssh-ed25519'}}\ntargets: {}\n",
        b"#" * (1024 * 1024 + 1),
    ],
)
def test_what_is_no_such_file_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_policy(text)


_LEAVES = st.sampled_from([None, True, 0, -1, 2**70, "", "alice", "x" * 1000, [], {}, [[]], {"a": {}}, ["alice"] * 300])


@settings(deadline=None)
@given(st.integers(0, 10**6), st.lists(_LEAVES, min_size=1, max_size=3))
def test_a_file_with_anything_anywhere_is_read_or_refused(seed: int, leaves: list[Any]) -> None:
    value, chance = file(), random.Random(seed)
    for leaf in leaves:
        at: Any = value
        while True:
            key = chance.choice([*at] if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], dict | list) or not at[key] or chance.random() < 0.3:
                at[key] = copy.deepcopy(leaf)
                break
            at = at[key]
    try:
        policy = parse_policy(raw(value))
    except ConfigError:
        return
    for rule in policy.targets.values():
        assert 1 <= rule.threshold <= len(rule.approvers)
        assert rule.approvers | rule.revokers <= policy.principals.keys()
    assert policy.digest() == parse_policy(raw(value)).digest()


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_policy(text.encode(errors="surrogatepass"))
