"""examples/github/approve.yml: what it asks for, what it may do, and its steps run where GitHub is played by stubs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.approval.envelopes import verify
from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import Signers
from tests.contract.evidence.support import believing
from tests.fixtures import warm_cli
from tests.fixtures.approvals import ENVIRONMENT, GATE, HEAD, ISSUER, OTHER
from tests.fixtures.approver_machine import Machine
from tests.fixtures.carrier import AUDIENCE, token
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.registry_stub import Reply, Seen, Stub
from tests.fixtures.sigstore import PrivateSigstore, claims
from tests.fixtures.sigstore import token as sigstore_token

FILE = Path(__file__).parents[2] / "examples" / "github" / "approve.yml"
WORKFLOW: dict[str, Any] = YAML(typ="safe").load(FILE)
JOBS: dict[str, Any] = WORKFLOW["jobs"]
EXPRESSION = re.compile(r"\$\{\{ *([^}]*?) *\}\}")
needs_tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("bash", "curl", "jq")), reason="bash, curl or jq is missing"
)


def test_it_is_started_by_hand_with_everything_named() -> None:
    assert list(WORKFLOW["on"]) == ["workflow_dispatch"]
    inputs = WORKFLOW["on"]["workflow_dispatch"]["inputs"]
    assert set(inputs) == {"pull_request", "head_sha", "target", "plan"}
    assert all(value["required"] is True and "default" not in value for value in inputs.values())


def test_only_the_gated_job_gets_a_token_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {"show": {}, "sign": {"id-token": "write"}}
    assert {name: job.get("environment") for name, job in JOBS.items()} == {"show": None, "sign": ENVIRONMENT}
    assert JOBS["sign"]["needs"] == "show"
    assert JOBS["show"]["if"] == "github.ref_name == github.event.repository.default_branch"


def test_nothing_is_checked_out_and_no_input_becomes_part_of_a_script() -> None:
    steps = [step for job in JOBS.values() for step in job["steps"]]
    assert all("uses" not in step for step in steps)
    assert all("${{" not in step["run"] for step in steps)
    assert all("timeout-minutes" in job for job in JOBS.values())


def test_both_jobs_are_set_up_alike() -> None:
    assert [step["run"] for step in JOBS["show"]["steps"][:2]] == [step["run"] for step in JOBS["sign"]["steps"][:2]]


def test_no_variable_is_named_as_the_program_would_refuse_it() -> None:
    names = {*WORKFLOW["env"], *(n for job in JOBS.values() for step in job["steps"] for n in step.get("env", {}))}
    assert not {name for name in names if name.startswith("AMEIDE_")}


class Runner:
    """Plays GitHub's runner: expressions, environment, files and the issuer of tokens."""

    def __init__(self, root: Path, values: dict[str, str], issuer: Stub) -> None:
        self.root = root
        self.values = values
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        self.summary = root / "summary.md"
        self.environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(root),
            "RUNNER_TEMP": str(root),
            "GITHUB_PATH": str(root / "path"),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }
        self.token_environment = {
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/token?api-version=2",
            "GITHUB_ACTIONS": "true",
        }
        warm_cli.caller(self.bin / "ameide")
        # What is installed is the checkout: `python3 -m venv` makes a directory with a pip that notes what it is told.
        self.stub("python3", 'mkdir -p "$3/bin" && cp "$(dirname "$0")/pip" "$3/bin/pip"')
        self.stub("pip", f'echo "$@" > {root}/pip-arguments')

    def stub(self, name: str, text: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    def resolved(self, env: dict[str, str]) -> dict[str, str]:
        return {name: EXPRESSION.sub(lambda m: self.values[m[1]], text) for name, text in env.items()}

    def runs(self, job: str) -> subprocess.CompletedProcess[str]:
        """Every step in order, until one fails."""
        gated = "id-token" in JOBS[job]["permissions"]
        environment = self.environment | self.resolved(WORKFLOW["env"]) | (self.token_environment if gated else {})
        for step in JOBS[job]["steps"]:
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                env=environment | self.resolved(step.get("env", {})),
                cwd=self.root,
                text=True,
                capture_output=True,
                timeout=60,
                check=False,
            )
            if done.returncode:
                return done
        return done


class Gate:
    """A machine whose approver is the workflow, and the runner that it runs on."""

    def __init__(self, root: Path, registry: EmbeddedRegistry, sigstore: PrivateSigstore, issuer: Stub) -> None:
        self.sigstore = sigstore
        self.machine = machine = Machine(root, registry)
        rules = json.loads(machine.policy_file.read_text())
        identity = {"issuer": ISSUER, "subject": GATE, "environment": ENVIRONMENT}
        rules["principals"]["gate"] = {"forge_id": None, "identities": [identity]}
        rules["targets"]["dev"]["approvers"].append("gate")
        machine.policy = parse_policy(json.dumps(rules).encode())
        self.plan = machine.ready()
        issuer.answer = self._token
        approver = {
            **machine.settings,
            "principal": "gate",
            "policy_file": None,
            "signer": {"kind": "sigstore", "trust_config_file": "RUNNER_TEMP/trust.json"},
            "post": {"kind": "http", "token_file": "RUNNER_TEMP/carrier-token"},
        }
        self.values = {
            "inputs.pull_request": "41",
            "inputs.head_sha": HEAD,
            "inputs.target": "dev",
            "inputs.plan": self.plan.digest(),
            "vars.APPROVER_YAML": json.dumps(approver),
            "vars.SIGSTORE_TRUST_CONFIG": json.dumps(sigstore.trust_config()),
            "vars.CARRIER_AUDIENCE": AUDIENCE,
            "vars.REQUIREMENTS": "ameide==0.1.0 --hash=sha256:0",
            "secrets.REGISTRY_CREDENTIAL": "",
        }
        self.runner = Runner(root / "runner", self.values, issuer)

    def _token(self, seen: Seen) -> Reply:
        """The runner's issuer: the audience decides what the token is for."""
        assert seen.headers["authorization"].lower() == "bearer request"
        said = claims(environment=ENVIRONMENT)
        made = token() if "ameide" in seen.query else sigstore_token(said)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps({"value": made}).encode())


@pytest.fixture
def gate(tmp_path: Path, embedded_registry: EmbeddedRegistry, private_sigstore: PrivateSigstore, stubs: Any) -> Any:
    (tmp_path / "gate").mkdir()
    made = Gate(tmp_path / "gate", embedded_registry, private_sigstore, stubs())
    yield made
    made.machine.host.host.stop()


@needs_tools
def test_the_plan_is_shown_before_the_gate_and_signed_behind_it(gate: Gate) -> None:
    shown = gate.runner.runs("show")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"    plan   {gate.plan.digest()}" in gate.runner.summary.read_text()
    assert (gate.runner.root / "pip-arguments").read_text().startswith("install --quiet --require-hashes -r ")
    assert gate.machine.posted.pending() == ()
    done = gate.runner.runs("sign")
    assert done.returncode == 0, done.stdout + done.stderr
    (raw,) = gate.machine.posted.pending()
    signed = verify(raw, Signers(gate.machine.policy, believing(gate.sigstore.trusted_root())))
    assert signed.principals == ("gate",)
    assert signed.marker.plan == gate.plan.digest()  # type: ignore[union-attr]


@needs_tools
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs.head_sha", OTHER),
        ("inputs.plan", "."),
        ("inputs.pull_request", "41; touch owned"),
        ("inputs.target", "$(touch owned)"),
    ],
)
def test_what_is_not_exactly_the_plan_is_neither_shown_as_good_nor_signed(gate: Gate, name: str, value: str) -> None:
    gate.values[name] = value
    assert gate.runner.runs("show").returncode != 0
    assert not gate.runner.summary.exists()
    assert gate.runner.runs("sign").returncode != 0
    assert gate.machine.posted.pending() == ()
    assert not (gate.runner.root / "owned").exists()
