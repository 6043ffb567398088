"""Everything of a run: two daemons and one that only looks, registry, forges, git host and Lease API.

A proxy stands before each server.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pygit2
import requests

from reconciler.demo.ci import publisher
from reconciler.demo.world import GITOPS_ID, REPOSITORY_ID
from tests.chaos.processes import MARK, Daemon, Process, fixed_port
from tests.chaos.proxy import FaultProxy, Loop
from tests.fixtures.approving import Approving
from tests.fixtures.distribution import _CONFIG as DISTRIBUTION_CONFIG
from tests.fixtures.distribution import DISTRIBUTION
from tests.fixtures.github_server import PLAIN_TOKEN
from tests.fixtures.lease_api import RECONCILER
from tests.fixtures.proving import Proving
from tests.fixtures.shop import Shop, command, eventually

REQUEST_TIMEOUT_S: Final = 5
LEASE: Final = {"lease_duration_s": 7, "renew_deadline_s": 5, "retry_period_s": 1}
CODE, GITOPS = "acme/app", "acme/gitops"


class Yard:
    """The processes and the proxies by name; `people` is the shop with its approvers."""

    def __init__(self, root: Path, seed: int, stack: ExitStack, *, plant: str | None, embedded: bool) -> None:
        self.root = root
        self.mark = secrets.token_hex(8)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", MARK: self.mark}
        self.servers: dict[str, Process] = {}
        for name in ("registry", "code", "gitops", "log", "lease"):
            (root / name).mkdir()
        loop = Loop()
        stack.callback(loop.close)
        self.registry_kind = self._serves_registry(embedded=embedded)
        for name, kind in (("code", "forge"), ("gitops", "forge"), ("log", "git"), ("lease", "lease")):
            port = fixed_port()
            arguments = [sys.executable, "-m", "tests.chaos.parts", kind, str(port), str(root / name)]
            self.servers[name] = Process(name, arguments, root, self._environment, port)
        self.proxies = {name: FaultProxy(loop, name, server.port, seed) for name, server in self.servers.items()}
        stack.callback(self._close)

        self.servers["registry"].start()
        self.servers["registry"].until_listening()
        registry = self.proxies["registry"]
        with registry:
            shop = Shop(root / "shop", f"127.0.0.1:{registry.port}")
            proving = Proving(shop, stack.enter_context(publisher(shop.host)))
            proving.attests_mains()
        self.people = Approving(shop, proving)
        self.log_remote = root / "log" / "log.git"
        pygit2.init_repository(str(self.log_remote), bare=True).config["http.receivepack"] = True
        self._hosts(root / "code", CODE, REPOSITORY_ID, shop.code)
        self._hosts(root / "gitops", GITOPS, GITOPS_ID, self.people.gitops)
        self.daemons = {name: self._daemon(name, plant) for name in ("a", "b", "c")}
        shop.log = self.log_remote

    def _serves_registry(self, *, embedded: bool) -> str:
        root, port = self.root / "registry", fixed_port()
        if not embedded and shutil.which(DISTRIBUTION):
            text = DISTRIBUTION_CONFIG.format(root=root / "storage", port=port, tls="", delete="true")
            (root / "config.yml").write_text(text)
            arguments = [DISTRIBUTION, "serve", str(root / "config.yml")]
            environment = {**self._environment, "OTEL_TRACES_EXPORTER": "none"}
        else:
            arguments = command("registry", "serve", "--root", str(root / "storage"), "--listen", f"127.0.0.1:{port}")
            environment = self._environment
        self.servers["registry"] = Process("registry", arguments, self.root, environment, port)
        return DISTRIBUTION if arguments[0] == DISTRIBUTION else "embedded"

    def _hosts(self, root: Path, name: str, number: int, bare: Path) -> None:
        link = root / "git" / f"{name}.git"
        link.parent.mkdir(parents=True)
        link.symlink_to(bare)
        pygit2.Repository(str(bare)).config["http.receivepack"] = True
        (root / "forge.json").write_text(json.dumps({"id": number, "name": name}))

    # --- configurations

    def _daemon(self, name: str, plant: str | None) -> Daemon:
        """`a` and `b` share a lease; `c` looks alone, and is never killed."""
        home, port, shop = self.root / f"daemon-{name}", fixed_port(), self.people.shop
        home.mkdir()
        token, lease_token = home / "token", home / "lease-token"
        for file, content in ((token, PLAIN_TOKEN), (lease_token, f"{RECONCILER}-{name}")):
            file.write_text(content + "\n")
            file.chmod(0o600)
        made: dict[str, Any] = json.loads(json.dumps(shop.settings))
        made |= {
            "state_dir": str(home / "state"),
            "listen": {"private": f"127.0.0.1:{port}"},
            "request_timeout_s": REQUEST_TIMEOUT_S,
            # A write is on its way at a time, so that one that comes after a pause is one too many.
            "workers": 1,
        }
        made["registries"][0]["settle_s"] = 2
        repository = made["repositories"][0]
        repository["forge"] = self._forge("code", CODE, token)
        repository["gitops"]["url"] = f"{self._url('gitops')}/{GITOPS}.git"
        repository["targets"][0]["forge"] = self._forge("gitops", GITOPS, token)
        repository["log"] |= {"path": str(home / "log.git"), "remote": f"{self._url('log')}/log.git"}
        if name == "c":
            made |= {"mode": "observe", "poll_interval_s": 2}
            del repository["log"]["remote"], repository["targets"], repository["approvals"]
        else:
            made["standby"] = {
                "server": self._url("lease"),
                "token_file": str(lease_token),
                "namespace": "preview-system",
                **LEASE,
            }
        config = home / "ameide.yaml"
        config.write_text(json.dumps(made, indent=1))
        return Daemon(name, config, self.root, self._environment, port, plant=plant)

    def _url(self, server: str) -> str:
        return f"http://127.0.0.1:{self.proxies[server].port}"

    def _forge(self, server: str, name: str, token: Path) -> dict[str, str]:
        return {"kind": "gitea", "url": self._url(server), "repository": name, "token_file": str(token)}

    # --- what is done to all

    def every(self) -> list[Process]:
        return [*self.servers.values(), *self.daemons.values()]

    def starts(self) -> None:
        for server in self.servers.values():
            if not server.runs:
                server.start()
        for server in self.servers.values():
            server.until_listening()
        for daemon in self.daemons.values():
            if not daemon.runs:
                daemon.start()

    def _close(self) -> None:
        for process in self.every() if hasattr(self, "daemons") else self.servers.values():
            process.kill()
        for proxy in self.proxies.values():
            proxy.close()

    def hands(self, forge: str, deed: str, **told: object) -> Any:
        """What somebody does in a forge's pages, past the proxy; the forge has to be up."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(f"http://127.0.0.1:{self.servers[forge].port}/hands/{deed}", json=told, timeout=20)
            answer.raise_for_status()
            return answer.json()

    def leader(self) -> Daemon | None:
        return next((d for name, d in self.daemons.items() if name != "c" and d.ready), None)

    def until_leading(self) -> None:
        eventually("one leads and one looks", lambda: self.leader() and self.daemons["c"].ready, within_s=60)


@contextmanager
def open_yard(root: Path, seed: int, *, plant: str | None = None, embedded: bool = False) -> Iterator[Yard]:
    """A yard below `root`, which is empty; nothing of it runs but the registry."""
    with ExitStack() as stack:
        yield Yard(root, seed, stack, plant=plant, embedded=embedded)
