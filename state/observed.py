"""What one look at the world saw. Only values: nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from state.change import ChangeRecord
from state.decision import Decision
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.quarantine import Breach
from state.verdict import Verdict

COMMIT_PLACEHOLDER: Final = "{commit}"
"""In the value of a build argument: the commit that is built, 40 hex digits."""


class Mode(StrEnum):
    """How far the reconciler may go."""

    OBSERVE = "observe"
    """Matrix and log only; no outside write. Also the kill switch."""
    FILL = "fill"
    PUBLISH = "publish"


class BaselinePolicy(StrEnum):
    """Which digest an unchanged image is retagged from."""

    MAIN = "main"
    """The digest behind `:main` now (the letter of the specification)."""
    FAITHFUL = "faithful"
    """The newest `:<main sha>` whose inputs equal the head's."""


class PullRequest(NamedTuple):
    """An open pull request. `head_repository_id` is None where the fork was deleted: such a head is foreign."""

    number: int
    head: CommitId
    base: RefName
    head_repository_id: int | None
    author_id: int
    labels: tuple[str, ...] = ()
    draft: bool = False


class Listing(NamedTuple):
    """The open pull requests. Unless `complete`, a pull request that is not in it must not be taken for closed."""

    complete: bool
    pull_requests: tuple[PullRequest, ...]


class Image(NamedTuple):
    """An image of the catalogue: where it is pushed, which paths it is built from, which platforms it must have."""

    name: str
    repository: Repository
    inputs: tuple[str, ...]
    platforms: tuple[str, ...]


class Recipe(NamedTuple):
    """How an image is built: its Dockerfile and the folder that is the build context, from the top of the repository.

    Of the context only what is a declared input is there: what a build takes, the fingerprint covers.
    """

    file: str
    context: str
    arguments: tuple[tuple[str, str], ...] = ()
    """Build arguments, (name, value) in the catalogue's order; `COMMIT_PLACEHOLDER` in a value is not replaced yet."""

    def arguments_at(self, commit: CommitId) -> tuple[tuple[str, str], ...]:
        """The arguments as a build of `commit` gets them."""
        return tuple((name, value.replace(COMMIT_PLACEHOLDER, commit)) for name, value in self.arguments)


class Catalogue(NamedTuple):
    """The catalogue as one trusted commit declares it: images by name, and component name → image name."""

    commit: CommitId
    images: Mapping[str, Image]
    components: Mapping[str, str]


class Pin(NamedTuple):
    """Where a component's image is pinned in the GitOps repository: an environment's file and the key in it."""

    file: str
    key: str
    environment: str = ""
    """Empty only in what was recorded before environments were declared; such a pin is of no target."""


class Inventory(NamedTuple):
    """Which components are previewed, as one trusted commit of the GitOps repository declares it."""

    commit: CommitId
    previewed: tuple[str, ...]
    pins: Mapping[str, tuple[Pin, ...]]


class Unknown(NamedTuple):
    """It could not be read; never to be taken for absent. `why` is for people and holds no secret."""

    why: str


@dataclass(frozen=True, slots=True)
class Absent:
    """It is not there, and the same credential could read something else there in the same pass."""


class Present(NamedTuple):
    """A tag's digest, and what the verifier said of it where that was asked."""

    digest: Digest
    verdict: Verdict | None = None


TagState: TypeAlias = Present | Absent | Unknown


class Baseline(NamedTuple):
    """A baseline digest that was read and verified in this pass. `main_digest` is what `:main` was, for the record."""

    digest: Digest
    verdict: Verdict
    main_digest: Digest | None = None


BaselineState: TypeAlias = Baseline | Absent | Unknown


class How(StrEnum):
    """How a recorded tag came to be."""

    RETAGGED = "retagged"
    BUILT = "built"


class Recorded(NamedTuple):
    """What the log says of a tag: its digest and how it came to be.

    `proven` tells whether evidence was accepted for it, `settled` whether a read showed it after our write.
    """

    digest: Digest
    how: How
    proven: bool = False
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one repository that plans depend on; `digest` covers all of them and the verification policy."""

    digest: Digest
    base_branches: tuple[RefName, ...]
    hold_label: str | None = None
    max_heads: int = 1000
    baseline: BaselinePolicy = BaselinePolicy.MAIN
    release_sets: Repository | None = None
    """Where the release set of each complete head is published; None where none are."""
    labels: tuple[str, ...] = ()
    """Labels that a pull request needs, all of them; ascending."""
    drafts: bool = True
    """Whether drafts count."""
    members: tuple[int, ...] | None = None
    """Numeric forge ids of the authors that count as members, ascending; None for whoever can push a branch to the
    repository itself."""
    agents: tuple[int, ...] = ()
    """Numeric forge ids of the bots and agents whose pull requests are previewed; ascending."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at one repository: what the forge, git, GitOps, the registry and our log said.

    A tag that is in neither `tags` nor `recorded` was not read. `settled_heads` and `backing_off` are the pass's
    judgement of time, made where the clock is, so that the planner needs none.
    """

    repository_id: int
    mode: Mode
    suspended: bool
    policy: Policy
    listing: Listing
    bases: Mapping[RefName, CommitId | Unknown] = field(default_factory=dict)
    catalogues: Mapping[CommitId, Catalogue | Unknown] = field(default_factory=dict)
    inventory: Inventory | Unknown = field(default_factory=lambda: Unknown("not read"))
    changes: Mapping[tuple[CommitId, CommitId], ChangeRecord | Unknown] = field(default_factory=dict)
    """By (base, head)."""
    main: Mapping[Repository, BaselineState] = field(default_factory=dict)
    faithful: Mapping[tuple[Repository, CommitId], BaselineState] = field(default_factory=dict)
    """By (image repository, head); only where the policy is `faithful`."""
    tags: Mapping[tuple[Repository, CommitId], TagState] = field(default_factory=dict)
    swept: Mapping[tuple[Repository, CommitId], TagState] = field(default_factory=dict)
    """Recorded tags that the sweep found to read otherwise."""
    decisions: Mapping[CommitId, Decision] = field(default_factory=dict)
    recorded: Mapping[tuple[Repository, CommitId], Recorded] = field(default_factory=dict)
    quarantined: Mapping[CommitId, tuple[Breach, ...]] = field(default_factory=dict)
    released: Mapping[CommitId, Digest] = field(default_factory=dict)
    """Heads whose release set the log records, with its manifest's digest."""
    unreleasable: frozenset[CommitId] = frozenset()
    """Heads whose release set the registry cannot take: another one is at its tag, and it moves no tag."""
    proofs: Mapping[tuple[Repository, CommitId], Verdict | Unknown] = field(default_factory=dict)
    """What the verifier says now of each recorded tag of a complete head that has no release set yet."""
    admitted_forks: frozenset[tuple[int, int, CommitId]] = frozenset()
    """(fork repository id, pull request number, head) that a verified `admit` marker names."""
    backing_off: frozenset[CommitId] = frozenset()
    overdue: frozenset[tuple[Repository, CommitId]] = frozenset()
    """Own writes that no read has shown although `settle_s` has passed."""
    writes_left: int = 0
    """How many tag writes the hourly budget still allows."""
