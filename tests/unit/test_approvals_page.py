"""docs/approvals.md: its table of refusals, its files and its commands are the program's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click import Group
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ruamel.yaml import YAML

from reconciler.approval.approver_settings import load_approver
from reconciler.approval.codes import MEANING, Code
from reconciler.approval.envelopes import verify
from reconciler.approval.policy import parse_policy
from reconciler.approval.signatures import NAMESPACE, Signers
from reconciler.cli.approval import command
from state import approval
from state.sshsig import PublicKey
from tests.fixtures.approvals import EC, POLICY, SSH, approves, b64, spki_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "approvals.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_code_is_in_the_table_with_the_words_of_the_program() -> None:
    section = PAGE.partition("<!-- codes:")[2].partition("<!-- /codes -->")[0]
    rows = [re.fullmatch(r"\| `([^`]+)` \| (.+) \| (.+) \|", line) for line in section.splitlines()]
    told = [row.groups() for row in rows if row is not None]
    assert told == [(code.value, MEANING[code].text, MEANING[code].remedy) for code in Code]


def test_the_policy_of_the_page_is_one() -> None:
    text = BLOCKS[0].replace("ssh-ed25519 AAAA…", PublicKey.of(SSH["alice"]).line)
    policy = parse_policy(text.replace("MFkwEwYHKoZI…", b64(spki_of(EC["dora"]))).encode())
    assert policy.targets["production"].threshold == 2
    assert policy.admission is not None


def test_the_approvers_file_of_the_page_is_one(tmp_path: Path) -> None:
    file = tmp_path / "approver.yaml"
    file.write_text(BLOCKS[1])
    assert load_approver(file, {}).settings.principal == "alice"


def test_every_command_is_on_the_page() -> None:
    assert isinstance(command, Group)
    for name in command.commands:
        assert re.search(rf"`(ameide approval )?{name}( [^`]*)?`", PAGE), name


@pytest.mark.parametrize("name", ["publish-approval", "admission", "revocation", "pin-plan"])
def test_every_schema_is_named_and_there(name: str) -> None:
    assert f"`{name}-v1.json`" in PAGE
    json.loads((ROOT / "state" / "schema" / f"{name}-v1.json").read_text())


def test_the_namespace_and_the_workflow_are_named_as_they_are() -> None:
    assert PAGE.count(NAMESPACE) == 2
    workflow = YAML(typ="safe").load(ROOT / "examples" / "github" / "approve.yml")
    assert set(workflow["jobs"]) == {"show", "sign"}
    assert "examples/github/approve.yml" in PAGE


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("bash", "jq", "ssh-keygen")), reason="bash, jq or ssh-keygen is missing"
)
def test_the_way_by_hand_makes_a_marker(tmp_path: Path) -> None:
    script = PAGE.partition("```sh\n")[2].partition("```")[0].partition("by hand it is:\n")[2]
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_bytes(SSH["alice"].private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    (tmp_path / "statement.json").write_bytes(approval.payload(approves()))
    script = script.replace("~/.ssh/id_ed25519", str(key))
    subprocess.run(["bash", "-ec", script], cwd=tmp_path, check=True, capture_output=True, timeout=20)
    assert verify((tmp_path / "marker.json").read_bytes(), Signers(POLICY)).principals == ("alice",)
