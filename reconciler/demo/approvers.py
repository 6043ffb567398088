"""The demo's approvers: two people with SSH keys and machines of their own, who believe signed release sets alone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.adapters.signer_ssh import generate_key_file
from reconciler.approval.granting import approval_of
from reconciler.approver_machine import now_s, opened
from reconciler.demo.world import REPOSITORY_ID
from state.errors import ConfigError

PEOPLE: Final[Mapping[str, int]] = {"alice": 11, "bob": 12}
"""Principal → numeric id at the forge."""
AUTHOR: Final = 1
"""Who opens the demo's pull requests, and pushes to them; approves nothing."""
TARGET: Final = "dev"
LIFE_S: Final = 4 * 3600


class Approvers:
    """Their files below `root`: keys, the approvers' policy, a configuration each, and the directory of markers."""

    def __init__(self, root: Path, registry: str, release_sets: str, release_key: Path, public: str) -> None:
        """`public` is the address of the reconciler's public listener; `release_key` proves its release sets."""
        self.policy = root / "approvers.yaml"
        self.markers = root / "markers"
        self.markers.mkdir()
        keys = {name: generate_key_file(root / f"{name}-key") for name in PEOPLE}
        lines = ["version: 1", "principals:"]
        for name, account in PEOPLE.items():
            lines.append(f"  {name}: {{forge_id: {account}, ssh_keys: [{_quoted(keys[name])}]}}")
        rule = f"{{approvers: [{', '.join(PEOPLE)}], threshold: 2, max_life_s: 86400}}"
        lines += ["targets:", f"  {TARGET}: {rule}"]
        self.policy.write_text("\n".join(lines) + "\n")
        self._root = root
        for name in PEOPLE:
            self.config(name).write_text(
                f"""\
version: 1
server: {{url: "http://{public}"}}
repository: {{name: shop, id: {REPOSITORY_ID}}}
registries: [{{host: "{registry}", plain_http: true, anonymous: true}}]
release_sets:
  repository: {release_sets}
  authority: {{kind: keys, public_key_files: [{_quoted(str(release_key))}]}}
principal: {name}
policy_file: {_quoted(str(self.policy))}
signer: {{kind: ssh, key_file: {_quoted(str(root / f"{name}-key"))}}}
post: {{kind: directory, path: {_quoted(str(self.markers))}}}
"""
            )

    def config(self, name: str) -> Path:
        """The file of `ameide approval --config`."""
        return self._root / f"approver-{name}.yaml"

    def approve(self, name: str, number: int) -> str:
        """What `ameide approval plan` and `grant` do; the marker's id. Raises ConfigError if it must not be signed."""
        with opened(self.config(name)) as machine:
            checked = machine.checked(machine.asked(number, TARGET))
            if checked.served is None or not checked.holds:
                against = ", ".join((*checked.missing, *checked.against))
                raise ConfigError(f"{name} cannot approve #{number}: {against}")
            marker = approval_of(checked.served, name, secrets.token_hex(16), now_s(), LIFE_S)
            machine.brings(marker, None)
        return marker.id


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a YAML scalar, whatever is in it
