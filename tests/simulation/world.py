"""The simulated outside: forge, code, CI, registry, GitOps inventory and settings, as plain state.

Nothing here knows of the product's decisions. What an outsider cannot help is left out on purpose: a registry has no
compare-and-swap for tags, so between a writer's last look at a tag and its PUT (`watched`) nobody else makes that tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

from state.git import CommitId, RefName
from state.observed import BaselinePolicy, Mode, PullRequest
from state.oci import Digest, Manifest, Repository, Tag
from state.pin_plan import PinPlan
from state.quarantine import Acceptance
from tests.simulation.content import COMPONENTS, IMAGES, Code, build, repository
from tests.simulation.gitops import POLICIES, GitOps

REPOSITORY_ID = 4711
MAIN = RefName.branch("main")
RELEASE = RefName.branch("release")
TOPIC = RefName.branch("topic")
"""A branch that is no base of previews."""
HOLD = "hold"
GHOST = "ghost"
"""A previewed component that no catalogue knows."""

Cell = tuple[Repository, CommitId]


@dataclass(slots=True)
class Pr:
    """A pull request. `shown` is what a lagging listing still tells of its head."""

    number: int
    head: CommitId
    base: RefName
    fork: int | None
    labels: tuple[str, ...] = ()
    open: bool = True
    merged: bool = False
    shown: CommitId | None = None
    heads: list[CommitId] = field(default_factory=list)
    changes: int = 0
    """How often anything of it was set, which its forge tells as a time."""

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        object.__setattr__(self, "changes", getattr(self, "changes", 0) + 1)

    def seen(self) -> PullRequest:
        return PullRequest(self.number, self.head, self.base, self.fork, 7, self.labels)


class Several(StrEnum):
    """What comes of one PUT with several tags."""

    UNKNOWN = "no tag is made, and none confirmed"
    ALL = "every tag is made and confirmed"
    SOME = "some tags are made and confirmed"
    SILENT = "every tag is made, some are confirmed"


class ForgeKind(StrEnum):
    GITHUB = "github"
    GITEA = "gitea"
    GITLAB = "gitlab"


@dataclass(slots=True)
class Registry:
    """Tags with all they ever were, manifests by digest, and what readers are not shown."""

    tags: dict[tuple[Repository, str], list[Digest | None]] = field(default_factory=dict)
    manifests: dict[tuple[Repository, Digest], Manifest] = field(default_factory=dict)
    hidden: set[Repository] = field(default_factory=set)
    """Everything there answers 404, as for a credential that lost its permission."""
    several: Several = Several.UNKNOWN
    immutable: bool = False
    """Whether the tag of a commit that exists may not be written again, not even with its own digest."""
    heads: bool = True
    """Whether HEAD is answered."""
    referrers_api: bool = True
    blobs: dict[tuple[Repository, Digest], bytes] = field(default_factory=dict)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Token → its scope, and until when (monotonic) it is good."""
    stale_until: dict[tuple[Repository, str], float] = field(default_factory=dict)
    """Until when (monotonic) reads of a tag still answer as before the last write."""

    def put(self, at: Repository, tag: str, manifest: Manifest) -> None:
        self.manifests[at, manifest.digest] = manifest
        was = self.tags.setdefault((at, tag), [])
        if not was or was[-1] != manifest.digest:
            was.append(manifest.digest)

    def remove(self, at: Repository, tag: str) -> None:
        self.tags[at, tag].append(None)

    def now(self, at: Repository, tag: str) -> Digest | None:
        was = self.tags.get((at, tag))
        return was[-1] if was else None

    def shown(self, at: Repository, tag: str, now_s: float) -> Digest | None:
        """What a read of the tag answers, which may be the state before the last write."""
        if at in self.hidden:
            return None
        was = self.tags.get((at, tag), [])
        if self.stale_until.get((at, tag), 0.0) > now_s:
            was = was[:-1]
        return was[-1] if was else None

    def has_referrer(self, at: Repository, subject: Digest) -> bool:
        """Whether anything is attached to a digest, by API or by tag."""
        listed = self.now(at, f"sha256-{subject.hex}") is not None
        return listed or any(where == at and subject.encode() in m.raw for (where, _), m in self.manifests.items())

    def any_tag(self, at: Repository) -> list[Tag]:
        if at in self.hidden:
            return []
        return [Tag(tag) for (where, tag), was in self.tags.items() if where == at and was[-1] is not None]


@dataclass(slots=True)
class Build:
    """A build that CI will push some time."""

    at: Repository
    tags: tuple[str, ...]
    manifest: Manifest


@dataclass(slots=True)
class Time:
    """Wall time and monotonic time; moved by the simulation alone."""

    wall: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    monotonic: float = 1000.0
    latest: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """The latest wall time that was shown before the clock was set."""

    def advance(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds

    was_set: bool = False

    def set_clock(self, seconds: float) -> None:
        self.was_set = True
        self.latest = max(self.latest, self.wall)
        self.wall += timedelta(seconds=seconds)


class World:
    """Everything outside the processes. Drawn from one source of chance, moved by `events`."""

    def __init__(self, rng: Random, *, publishes: bool = False) -> None:
        """`publishes`: everything is there that a publish takes."""
        self.rng = rng
        self.time = Time()
        self.code = Code()
        self.registry = Registry()
        self.prs: dict[int, Pr] = {}
        self.builds: list[Build] = []
        self.watched: dict[str, set[Cell]] = {}
        """By process: tags it has found missing and may be about to make."""
        self.quarantined: dict[CommitId, CommitId] = {}
        """Head → the newest log entry about its quarantine, which an operator can read."""
        self.acceptances: list[Acceptance] = []
        self.refused: set[Digest] = set()
        self.accepted: set[Digest] = set()
        self.made_of: dict[Digest, str] = {}
        """What each manifest was built from: `main <commit>`, `head <commit>`, or something else."""
        self.checked = rng.random() < 0.6 or publishes
        """Whether evidence is asked for at all."""
        self.forge = rng.choice(tuple(ForgeKind))
        self.statuses: dict[str, dict[str, Any]] = {}
        """Head → the status that the forge shows."""
        self.ids_refused = rng.random() < 0.3
        """Whether the git server refuses to send a commit by its id."""
        self.releasing = (self.checked and rng.random() < 0.8) or publishes
        """Whether release sets are published, and heads with them."""
        self.sound = rng.random() < (0.6 if self.releasing else 0.2) or publishes
        """Every image has a baseline, and CI is quick and hardly ever refused: many heads become whole, then."""
        self.aim: PinPlan | None = None
        """The plan whose pull requests, head and approvals alone are struck by what happens now."""
        self.gitops = GitOps(policy=rng.choice(POLICIES))
        self.mode = self.busy
        self.suspended = False
        self.resting = False
        self.max_writes_per_hour = 1000
        self.baseline = BaselinePolicy.FAITHFUL if rng.random() < 0.25 else BaselinePolicy.MAIN
        self.previewed = list(COMPONENTS) if self.sound else [c for c in COMPONENTS if rng.random() < 0.8] or ["web"]
        self._version = 0
        start = self.code.commit(
            (), dict.fromkeys(IMAGES, 0), [i for i in IMAGES if i != "search" or self.sound or rng.random() < 0.5]
        )
        self.tips = {MAIN: start, RELEASE: start, TOPIC: start}
        self.tips_ever: dict[RefName, list[CommitId]] = {b: [t] for b, t in self.tips.items()}
        registry = self.registry
        registry.several = rng.choice(tuple(Several))
        registry.immutable, registry.heads = rng.random() < 0.25, rng.random() < 0.8
        registry.referrers_api = rng.random() < 0.5
        for image in IMAGES:
            at = repository(image)
            fate = 0.0 if self.sound else rng.random()
            if fate < 0.8:
                manifest = self.built(image, f"main {start}")
                for tag in ("main", start):
                    registry.put(at, tag, manifest)
            elif fate < 0.9:
                registry.put(at, "cache", self.built(image, "cache"))

    # --- what is so

    @property
    def busy(self) -> Mode:
        """The mode in which everything is done."""
        return Mode.PUBLISH if self.releasing else Mode.FILL

    def open_prs(self) -> Iterator[Pr]:
        return (pr for pr in self.prs.values() if pr.open)

    def open_heads(self) -> set[CommitId]:
        return {pr.head for pr in self.open_prs()}

    def is_watched(self, cell: Cell) -> bool:
        return any(cell in cells for cells in self.watched.values())

    # --- what is made

    def built(self, image: str, what: str) -> Manifest:
        """A new manifest; where evidence is asked for, some have none."""
        made = build(image, what)
        self.made_of[made.digest] = what
        if self.checked and made.digest not in self.refused:
            (self.refused if self.rng.random() < (0.02 if self.sound else 0.12) else self.accepted).add(made.digest)
        return made

    def next_version(self) -> int:
        self._version += 1
        return self._version

    def move(self, branch: RefName, tip: CommitId) -> None:
        """A base branch has a new tip; CI is to build what changed, and tags it `main` if that is the branch."""
        before, self.tips[branch] = self.tips[branch], tip
        self.tips_ever[branch].append(tip)
        if branch != MAIN:
            return
        old, new = self.code.commits[before].versions, self.code.commits[tip].versions
        for image in self.code.commits[tip].images:
            if old.get(image) != new.get(image) or self.registry.now(repository(image), "main") is None:
                self._ordered(Build(repository(image), ("main", tip), self.built(image, f"main {tip}")))

    def pushed(self, pr: Pr, head: CommitId) -> None:
        """A pull request has a new head; CI is to build what it changes against its base."""
        pr.shown, pr.head = pr.head, head
        pr.heads.append(head)
        tip = self.tips[pr.base]
        for image in self.code.commits[tip].images:
            if self.code.changed(tip, head, image):
                at = repository(image)
                if all(b.at != at or head not in b.tags for b in self.builds) and self.registry.now(at, head) is None:
                    self._ordered(Build(at, (head,), self.built(image, f"head {head}")))

    def _ordered(self, build: Build) -> None:
        self.builds.append(build)
        if self.sound and not self.resting and self.rng.random() < 0.8:
            self.finish(build)

    def finish(self, build: Build) -> bool:
        """CI pushes a build, unless somebody may be about to make one of its tags."""
        if any(tag != "main" and self.is_watched((build.at, CommitId(tag))) for tag in build.tags):
            return False
        self.builds.remove(build)
        for tag in build.tags:
            # CI keeps to the rule as well: the tag of an open head is made once.
            if tag == "main" or self.registry.now(build.at, tag) is None:
                self.registry.put(build.at, tag, build.manifest)
        return True
