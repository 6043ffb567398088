"""What holds at a calm point: every server up, no faults, and all that people wanted has come about, once.

`Calm.until` waits for it; `Calm.holds` then checks what must never have been otherwise, and what the processes hold.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pygit2
import requests

from reconciler.adapters.git_open_packs import OPEN_PACKS_MAX
from reconciler.demo.world import COMPONENTS, pin_file
from state.entry import Kind
from state.git import CommitId
from tests.chaos.people import Head, People
from tests.chaos.processes import Wear, left_behind
from tests.chaos.yard import Yard
from tests.fixtures.shop import IMAGE_NAMES, command

WITHIN_S: Final = 150.0
_SAMPLES, _BETWEEN_S = 8, 0.2
ORPHANS_S: Final = 10.0
"""So long after a calm point children of a killed process may still end what they were at."""
HANDLES_GROWTH: Final = 6
RSS_GROWTH_KIB: Final = 24 * 1024
WARM_POINTS: Final = 2
"""A process is warm at its second calm point; from there on it must stay flat."""
_TROUBLE: Final = re.compile(r"Traceback|\"integrity_violated\"|Exception ignored|ResourceWarning")


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass
class Life:
    """A process as long as it leads, stands by or looks: as it was at each calm point."""

    name: str
    points: list[Wear] = field(default_factory=list)

    @property
    def warm(self) -> list[Wear]:
        return self.points[WARM_POINTS - 1 :]


class Calm:
    """The checks, and what they remember from one calm point to the next."""

    def __init__(self, yard: Yard, people: People) -> None:
        self.yard, self.people = yard, people
        self.lives: dict[tuple[str, int, bool], Life] = {}
        """By name, number of the start, and whether it leads."""
        self.points = 0
        self._seen: dict[Path, int] = {}
        """How far each log of a process was read."""
        self._tags: dict[tuple[str, str], str] = {}
        self._delivered: set[tuple[str, str]] = set()
        self._written = 0
        self.written: Counter[str] = Counter()
        self.pulls = 0

    # --- until everything has come about

    def until(self, tends: Callable[[], object]) -> float:
        """Seconds until all is as it has to be; `tends` is called meanwhile. Raises Broken with what is not."""
        began = time.monotonic()
        while missing := self._missing():
            if time.monotonic() - began > WITHIN_S:
                raise Broken(f"not within {WITHIN_S:.0f} s of calm: " + "; ".join(missing))
            tends()
            time.sleep(0.3)
        return time.monotonic() - began

    def _missing(self) -> list[str]:
        if self.yard.leader() is None or not self.yard.daemons["c"].ready:
            return ["one that leads, and one that looks"]
        code, gitops = (self.yard.hands(forge, "see") for forge in ("code", "gitops"))
        missing = [f"status of #{h.number}: {code['statuses'].get(h.commit)}" for h in self._ready_heads()
                   if code["statuses"].get(h.commit) != "success"]  # fmt: skip
        missing += [
            f"#{head.number} {image}: {found}"
            for head in self._ready_heads()
            for image, found in self._tags_of(head).items()
            if found != head.tags[image]
        ]
        missing += [f"plan of #{h.number}" for h in self._ready_heads() if self.people.plan_of(h) is None]
        shown = Counter(pull["branch"] for pull in gitops["pulls"] if pull["state"] == "open")
        if shown != Counter(self.people.wanted_branches()):
            missing.append(f"open GitOps pull requests {sorted(shown)}, not {sorted(self.people.wanted_branches())}")
        if not missing:
            missing += self._open_intents()
        return missing

    def _ready_heads(self) -> list[Head]:
        return [h for h in self.people.open.values() if not h.unbuilt and not h.spoiled]

    def _tags_of(self, head: Head) -> dict[str, str | None]:
        with requests.Session() as session:
            session.trust_env = False
            found: dict[str, str | None] = {}
            for image in IMAGE_NAMES:
                url = f"http://127.0.0.1:{self.yard.servers['registry'].port}/v2/shop/{image}/manifests/{head.commit}"
                accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
                answer = session.head(url, headers=accept, timeout=20)
                if answer.status_code not in {200, 404}:
                    raise Broken(f"the registry answers {answer.status_code} for {url}")
                found[image] = answer.headers.get("Docker-Content-Digest") if answer.status_code == 200 else None
            return found

    def _open_intents(self) -> list[str]:
        self.people.log.update()
        intents, outcomes = self._intents()
        return [f"intent {i[:10]} has {outcomes[i]} outcomes" for i in intents if not outcomes[i]]

    def _intents(self) -> tuple[list[str], Counter[str]]:
        log = self.people.log
        outcomes = Counter(str(e.entry.body["intent"]) for e in log.of(Kind.OUTCOME) if e.entry.body["intent"])
        return [str(e.id) for e in log.of(Kind.INTENT)], outcomes

    # --- what must hold

    def holds(self, *, whole: bool) -> None:
        """Raises Broken. With `whole` the log is verified by the command, which takes a second or more."""
        self.points += 1
        self._no_tag_has_moved()
        self._log_adds_up()
        self._gitops_adds_up()
        self._nobody_complains()
        if whole:
            self.log_verifies()
        self._flat()

    def _no_tag_has_moved(self) -> None:
        """By what the proxy saw of every PUT of a tag, and by what the registry says of every head there ever was."""
        registry = self.yard.proxies["registry"]
        for write in registry.tag_writes[self._written :]:
            about = write.repository, write.tag
            if write.tag not in self.people.heads:
                continue
            kept = self._tags.get(about)
            if write.status == 201 and kept is not None and kept != write.digest:
                raise Broken(f"{about} was moved from {kept} to {write.digest}")
            if about in self._delivered and not write.hands:
                raise Broken(f"{about} was written again after its 201 had arrived")
            if write.status == 201:
                self._tags[about] = write.digest
                if write.delivered:
                    self._delivered.add(about)
                self.written["CI" if write.hands else "the reconciler"] += 1
        self._written = len(registry.tag_writes)
        for head in self.people.heads.values():
            for image, found in self._tags_of(head).items():
                if found not in {None, head.tags[image]}:
                    raise Broken(f"{image}:{head.commit} reads {found}, not {head.tags[image]}")

    def _log_adds_up(self) -> None:
        log = self.people.log
        decided = Counter(str(e.entry.body["head"]) for e in log.of(Kind.DECISION) if "bases" in e.entry.body)
        _none("heads were decided twice", [h for h, n in decided.items() if n > 1])
        intents, outcomes = self._intents()
        _none("intents without exactly one outcome", [i for i in intents if outcomes[i] != 1])
        _none("outcomes of no intent", [*(outcomes.keys() - set(intents))])
        named: dict[tuple[str, str], int] = defaultdict(int)
        consumed: Counter[str] = Counter()
        for entry in log.of(Kind.INTENT):
            body: Any = entry.entry.body
            for row in (*body.get("writes", ()), *body.get("publications", ())):
                named[row["repository"].partition("/")[2], row["head"]] += 1
            consumed.update(a for p in body.get("proposals", ()) for a in p["approvals"])
        _none("approvals were consumed twice", [a for a, n in consumed.items() if n > 1])
        writes = [w for w in self.yard.proxies["registry"].tag_writes if w.tag in self.people.heads]
        _none(
            "tags were written without an intent",
            sorted({f"{w.repository}:{w.tag}" for w in writes if not w.hands and not named[w.repository, w.tag]}),
        )

    def _gitops_adds_up(self) -> None:
        """One pull request for a plan, each approved, and its commit pins what the tags are."""
        pulls = self.yard.hands("gitops", "see")["pulls"]
        self.pulls = len(pulls)
        made = Counter(p["branch"] for p in pulls)
        _none("plans with several pull requests", [b for b, n in made.items() if n > 1])
        approved = {h.plan.branch.short: h for h in self.people.heads.values() if h.plan is not None}
        _none("pull requests that nobody approved", [b for b in made if b not in approved])
        repository = pygit2.Repository(str(self.yard.people.gitops))
        for pull in pulls:
            head = approved[pull["branch"]]
            tree = repository[pull["head"]].peel(pygit2.Tree)
            for component, image in COMPONENTS.items():
                text = tree[pin_file("dev", component)].peel(pygit2.Blob).data.decode()
                if head.tags[image] not in text:
                    raise Broken(f"{pull['branch']} pins another {component} than {head.tags[image]}")
        repository.free()

    def _nobody_complains(self) -> None:
        for forge in ("code", "gitops"):
            _none(f"requests that {forge} does not know", self.yard.hands(forge, "see")["strays"])
        for daemon in self.yard.daemons.values():
            with daemon.log.open() as log:
                log.seek(self._seen.get(daemon.log, 0))
                said = log.read()
                self._seen[daemon.log] = log.tell()
            if found := _TROUBLE.search(said):
                raise Broken(f"{daemon.name} says: {said[max(0, found.start() - 300) : found.end() + 1500]}")

    def log_verifies(self) -> None:
        """By the command. Raises Broken."""
        signers = str(self.yard.people.shop.allowed_signers)
        done = subprocess.run(
            command("log", "verify", str(self.yard.log_remote), "--allowed-signers", signers),
            env=self.yard.people.shop.environment(), capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            raise Broken(f"ameide log verify ends with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    # --- what the processes hold

    def _flat(self) -> None:
        running = [d for d in self.yard.daemons.values() if d.runs and not d.stopped]
        samples: dict[str, list[Wear | None]] = {d.name: [] for d in running}
        files: list[dict[str, set[Path]]] = []
        for _ in range(_SAMPLES):
            for daemon in running:
                samples[daemon.name].append(daemon.wear() if daemon.runs else None)
            files.append({d.name: self._passing_files(d.name) for d in running})
            time.sleep(_BETWEEN_S)
        for daemon in running:
            worn = [w for w in samples[daemon.name] if w is not None]
            if len(worn) < _SAMPLES:
                continue  # it has lost its lease just now
            least = Wear(*(min(column) for column in zip(*worn, strict=True)))
            leads = daemon.name != "c" and daemon.ready
            life = self.lives.setdefault((daemon.name, daemon.starts, leads), Life(daemon.name))
            life.points.append(least)
            if least.zombies:
                raise Broken(f"{daemon.name} has {least.zombies} children that it does not reap")
            if least.packs > OPEN_PACKS_MAX:
                raise Broken(f"{daemon.name} holds {least.packs} packs open, more than {OPEN_PACKS_MAX}")
            self._stays_flat(life)
            stayed = set.intersection(*(at[daemon.name] for at in files))
            _none(f"files left behind by {daemon.name}", sorted(str(p) for p in stayed))
        began = time.monotonic()
        while (left := self._left_behind()) and time.monotonic() - began < ORPHANS_S:
            time.sleep(_BETWEEN_S)
        _none("processes left behind", left)

    def _left_behind(self) -> list[str]:
        return left_behind(self.yard.mark, frozenset(p.pid for p in self.yard.every() if p.runs))

    @staticmethod
    def _stays_flat(life: Life) -> None:
        if len(life.warm) < 2:
            return
        first, last = life.warm[0], life.warm[-1]
        if last.handles - first.handles > HANDLES_GROWTH:
            raise Broken(f"{life.name}: file handles grow: {[w.handles for w in life.points]}")
        if last.rss_kib - first.rss_kib > RSS_GROWTH_KIB:
            raise Broken(f"{life.name}: memory grows: {[w.rss_kib // 1024 for w in life.points]} MiB")
        if last.threads - first.threads > HANDLES_GROWTH:
            raise Broken(f"{life.name}: threads grow: {[w.threads for w in life.points]}")

    def _passing_files(self, name: str) -> set[Path]:
        """Locks, and whatever is in its temporary directory."""
        home = self.yard.root / f"daemon-{name}"
        return {*home.rglob("*.lock"), *self.yard.daemons[name].tmp.rglob("*")}


def _none(what: str, found: list[str] | list[CommitId]) -> None:
    if found:
        raise Broken(f"{what}: {', '.join(str(f) for f in found[:10])}")
