"""The cluster of the simulation: preview namespaces and Applications, the janitor over them, and what it may delete.

The janitor is the product's, with its HTTP client, over the API of `tests.fixtures.kubernetes_api` in this process.
Invariant 10: nothing is deleted on a single or incomplete look, nor more than the configured share in one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NoReturn

from reconciler.adapters.kubernetes_api import NAMESPACES, ClusterLimits, KubernetesApi
from reconciler.events import Emitter
from reconciler.janitor.deciding import Policy
from reconciler.janitor.running import Janitor
from reconciler.ports import LogStore
from reconciler.preview.names import MANAGED_BY, MANAGED_BY_PREVIEW, PR_LABEL
from state import sshsig
from state.canonical import Json
from state.entry import Kind, Logged
from state.errors import Fenced, LogRollback, ReconcilerError
from state.log import GitLog
from state.log_read import LogReader, branches, open_repository
from tests.fixtures.kubernetes_api import Simulated
from tests.fixtures.registry_stub import Reply, Seen
from tests.simulation import ports
from tests.simulation.faults import Crash
from tests.simulation.process import KEY, Host
from tests.simulation.told import Violation
from tests.simulation.wire.clients import secret_file
from tests.simulation.wire.network import Server, Wire, wired
from tests.simulation.world import REPOSITORY_ID, World

CLUSTER_HOST: Final = "cluster.example"
TOKEN: Final = "hunter2-janitor"
PROCESS: Final = "janitor"
GRACE_S: Final = 120
POLICY: Final = Policy("pr-", 60, GRACE_S, 2, 50, 3600)
RUNS_MAX: Final = 20
"""Within so many runs at rest every preview that nothing refers to is being deleted."""


class Cluster:
    """The server's state, and what people and Argo CD do to it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.api = Simulated(tokens={TOKEN: "janitor"})
        self.api.now = lambda: world.time.wall  # type: ignore[method-assign]
        self.api.expire_at = lambda _: not world.resting and world.rng.random() < 0.2
        self.application("platform", "platform")  # there is always one, without which nothing is believed
        for number in range(1, 6):
            name = f"pr-{number}"
            if world.rng.random() < 0.6:
                self.namespace(number)
            if world.rng.random() < 0.6:
                self.application(name, name)

    def referred(self) -> set[str]:
        return {str(a["spec"]["destination"]["namespace"]) for a in self.api.applications.values()}

    def namespace(self, number: int) -> None:
        name, uid = f"pr-{number}", f"{self._world.rng.getrandbits(64):016x}"
        stamp = self._world.time.wall.strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = {MANAGED_BY: MANAGED_BY_PREVIEW, PR_LABEL: str(number)}
        metadata = {"name": name, "labels": labels, "uid": uid, "creationTimestamp": stamp}
        value = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        self.api.namespaces[name] = self.api._bumped(value)

    def application(self, name: str, target: str) -> None:
        spec = {"project": "previews", "destination": {"server": "https://kubernetes.default.svc", "namespace": target}}
        value = {"metadata": {"name": name, "namespace": "argocd", "uid": name}, "spec": spec}
        self.api.applications["argocd", name] = self.api._bumped(value)

    def happens(self) -> str:
        """Argo CD and its controllers at work: one change."""
        rng, number = self._world.rng, self._world.rng.randint(1, 5)
        name = f"pr-{number}"
        match rng.randrange(4):
            case 0 if name not in self.api.namespaces:
                self.namespace(number)
                return f"{name} is made"
            case 1:
                self.application(name, name)
                return f"an Application refers to {name}"
            case 2:
                self.api.applications.pop(("argocd", name), None)
                return f"no Application refers to {name}"
            case 3 if name in self.api.namespaces and "deletionTimestamp" in self.api.namespaces[name]["metadata"]:
                del self.api.namespaces[name]
                return f"{name} is gone"
            case _:
                return "-"

    def aimed(self) -> str:
        """Argo CD takes up a namespace, or one is made anew: what a deletion that is under way has to bear."""
        rng = self._world.rng
        ours = [name for name in self.api.namespaces if name.startswith(POLICY.prefix)]
        if not ours:
            return "-"
        name = rng.choice(ours)
        if rng.random() < 0.7:
            self.application(name, name)
            return f"an Application refers to {name}"
        self.namespace(int(name.removeprefix(POLICY.prefix)))
        return f"{name} is made anew"


class ClusterChecks:
    """Told of the janitor's log and of every deletion that the server takes."""

    def __init__(self, cluster: Cluster, world: World) -> None:
        self._cluster, self._world = cluster, world
        self.stones: dict[str, tuple[str, datetime, int]] = {}
        """Name → UID, when it was seen, and in which run."""
        self.intended: tuple[str, str] = ("", "")
        self.run = 0
        self.deleted_in_run = 0
        self.allowed = 0
        self.deletes = 0
        self.always: set[str] = set()
        """Namespaces that were referred to all the time since the run began, or since its newest intent."""
        self.open_intents: set[str] = set()

    def run_begins(self) -> None:
        self.run += 1
        self.deleted_in_run = 0
        self.allowed = max(1, len(self._cluster.api.namespaces) * POLICY.max_share_percent // 100)
        self.always = self._cluster.referred()

    def world_moved(self) -> None:
        self.always &= self._cluster.referred()
        share = max(1, len(self._cluster.api.namespaces) * POLICY.max_share_percent // 100)
        self.allowed = max(self.allowed, share)

    def appended(self, logged: Logged, blobs: Mapping[str, bytes]) -> None:
        del blobs
        body = logged.entry.body
        match logged.entry.kind:
            case Kind.TOMBSTONE:
                for row in _rows(body, "withdrawn"):
                    self.stones.pop(row["name"], None)
                for row in _rows(body, "buried"):
                    if row["name"] in self.always:
                        self._broken(f"{row['name']} is marked although an Application refers to it")
                    seen_at = datetime.fromisoformat(str(body["seen_at"]))
                    self.stones[row["name"]] = (row["uid"], seen_at, self.run)
            case Kind.INTENT:
                row = _rows(body, "deletions")[0]
                self.intended = (row["name"], row["uid"])
                self.always = self._cluster.referred()
                self.open_intents.add(logged.id)
            case Kind.OUTCOME:
                self.open_intents.discard(str(body["intent"]))
                for row in _rows(body, "deletions"):
                    if row["result"] == "deleted":
                        self.stones.pop(row["name"], None)
            case _:
                pass

    def deleted(self, name: str, uid: str) -> None:
        """The server has taken a deletion."""
        self.deletes += 1
        self.deleted_in_run += 1
        if self.intended != (name, uid):
            raise Violation(7, f"{name} was deleted, intended was {self.intended[0]}")
        stone = self.stones.get(name)
        if stone is None or stone[0] != uid or stone[2] == self.run:
            self._broken(f"{name} was deleted on a single look")
        # Whoever sets the server's clock back while the janitor works makes a grace look shorter than it was.
        time = self._world.time
        if not time.was_set and (time.wall - stone[1]).total_seconds() < GRACE_S:
            self._broken(f"{name} was deleted before its grace was over")
        if name in self.always:
            self._broken(f"{name} was deleted although an Application refers to it")
        if self.deleted_in_run > min(POLICY.max_deletes, self.allowed):
            self._broken(f"{self.deleted_in_run} namespaces were deleted in one run, {self.allowed} may be")

    def _broken(self, what: str) -> NoReturn:
        raise Violation(10, what)


class ClusterServer(Server):
    """The API server, as the janitor reaches it."""

    def __init__(self, cluster: Cluster, checks: ClusterChecks) -> None:
        self._api, self._checks = cluster.api, checks

    def answer(self, seen: Seen) -> Reply:
        before = len(self._api.deletes)
        reply = self._api.answer(seen)
        if len(self._api.deletes) > before:
            uid = json.loads(seen.body)["preconditions"]["uid"]
            self._checks.deleted(seen.path.removeprefix(f"{NAMESPACES}/"), uid)
        return reply


class JanitorRun:
    """One `ameide janitor run` after another."""

    def __init__(self, sim: Host, cluster: Cluster, checks: ClusterChecks) -> None:
        self._sim, self._checks = sim, checks
        sim.check.wire.hosts[CLUSTER_HOST] = lambda proof: proof == f"Bearer {TOKEN}"
        with wired(Wire(sim, PROCESS, {CLUSTER_HOST: ClusterServer(cluster, checks)})):
            self._api = KubernetesApi(
                f"https://{CLUSTER_HOST}",
                token_file=secret_file(sim.directory / "janitor-token", TOKEN),
                ca_file=None,
                application_namespaces=("argocd",),
                clock=ports.SimClock(sim.world),
                limits=ClusterLimits(chunk=2, page_max_bytes=128 * 1024),
                sleep=sim.world.time.advance,
            )

    def once(self) -> str:
        """One run, and how it ended."""
        sim = self._sim
        self._checks.run_begins()
        clock, tell = ports.SimClock(sim.world), sim.check.wire.told
        emit = Emitter(lambda record: tell("a log line", json.dumps(dict(record))), clock)
        sim.running.append(PROCESS)
        try:
            Janitor(self._api, POLICY, self._peek, self._log, emit.bind(name="shop")).run()
        except (Crash, Fenced, LogRollback, ReconcilerError) as error:
            return f"ends: {type(error).__name__}: {error}"
        finally:
            sim.running.pop()
        return "is done"

    def _peek(self) -> list[Logged]:
        path, ref = self._sim.directory / "log.git", f"refs/heads/log/{REPOSITORY_ID}/{PROCESS}"
        if not path.is_dir() or ref not in branches(open_repository(path)):
            return []
        return list(LogReader(path, ref).entries())

    @contextmanager
    def _log(self) -> Iterator[LogStore]:
        sim = self._sim
        log = GitLog(
            sim.directory / "log.git",
            REPOSITORY_ID,
            PROCESS,
            sign=lambda payload: sshsig.sign(KEY, payload),
            public_key=sshsig.PublicKey.of(KEY).line,
            writer="writer-janitor",
            now=lambda: sim.world.time.wall,
            tips_dir=sim.directory / "tips-janitor",
            fsync=False,
        )
        log.activate()
        yield ports.SimLog(sim, PROCESS, log, self._checks.appended)


def at_rest(janitor: JanitorRun, cluster: Cluster, checks: ClusterChecks, world: World) -> None:
    """Every preview that nothing refers to ends, and no other. Raises Violation."""
    kept = cluster.referred()
    for _ in range(RUNS_MAX):
        world.time.advance(GRACE_S + 61)
        janitor.once()
        api = cluster.api
        left = [n for n, v in api.namespaces.items() if "deletionTimestamp" not in v["metadata"]]
        if not set(left) - kept and not checks.open_intents:
            return
    wrong = f"{sorted(set(left) - kept)} are left, {len(checks.open_intents)} intents are open"
    raise Violation(0, f"after {RUNS_MAX} runs of the janitor {wrong}")


def _rows(body: Mapping[str, Json], key: str) -> list[dict[str, Any]]:
    rows = body.get(key, [])
    assert isinstance(rows, list)
    return [row for row in rows if isinstance(row, dict)]
