"""Everything outside of a process: forge, registry, GitOps, channels, and the log's remote and copies.

A world is a value that can be copied, and has a key: equal keys have equal futures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reconciler.approval.approvers import ApproversPolicy
from state.git import CommitId, RefName
from state.observed import Inventory, PullRequest
from state.oci import Digest, Repository
from tests.publishing import content, ledger, repository
from tests.publishing.content import HEAD, NUMBER, OTHER_NUMBER, OTHERS, PUSHER_ID, SKEW_S, TARGET, WANTED


class CodePullRequest(NamedTuple):
    number: int
    head: CommitId
    base: RefName = content.MAIN
    state: str = "open"
    labels: tuple[str, ...] = ()
    pusher: int | None = PUSHER_ID

    def seen(self) -> PullRequest:
        return PullRequest(
            self.number, self.head, self.base, content.REPOSITORY_ID, content.AUTHOR_ID, self.labels, draft=False
        )


class GitOpsPullRequest(NamedTuple):
    number: int
    branch: RefName
    base: RefName
    state: str = "open"
    ended_by: str = ""
    """`us` or `a person`, once it is not open."""


_BASE = repository.make((), content.FILES, "start", 0, "a person")


@dataclass
class World:
    pulls: dict[int, CodePullRequest] = field(
        default_factory=lambda: {
            NUMBER: CodePullRequest(NUMBER, HEAD),
            OTHER_NUMBER: CodePullRequest(OTHER_NUMBER, OTHERS),
        }
    )
    tags: dict[tuple[Repository, str], Digest] = field(
        default_factory=lambda: {
            (i.repository, tag): i.digest
            for head, r in content.RELEASES.items()
            for i in r.images
            for tag in (str(head), "main")
        }
    )
    signed: frozenset[CommitId] = frozenset(content.RELEASES)
    """Heads whose release set is in place, with a good signature."""
    inventory: Inventory = content.INVENTORY
    policy: ApproversPolicy = content.POLICY
    now: int = content.TODAY
    markers: tuple[bytes, ...] = (content.FIRST.raw, content.SECOND.raw)
    branches: dict[RefName, CommitId] = field(default_factory=lambda: {TARGET.base: _BASE})
    changes: dict[int, GitOpsPullRequest] = field(default_factory=dict)
    fetched: dict[str, frozenset[CommitId]] = field(default_factory=dict)
    """Host → the GitOps commits that it has."""
    remote: CommitId | None = None
    """The tip of the log's remote."""
    local: dict[str, CommitId | None] = field(default_factory=dict)
    """Host → the tip of the log there."""
    # What the checker remembers.
    posted: frozenset[bytes] = frozenset()
    """Envelopes that were handed in after the start, whether or not a channel has them still."""
    was_bad: frozenset[str] = frozenset()
    """What stood in the way of the approved plan at any time."""
    took_over: frozenset[RefName] = frozenset()
    """Branches that had a person's commit."""

    def copy(self) -> World:
        return replace(
            self,
            pulls=dict(self.pulls),
            tags=dict(self.tags),
            branches=dict(self.branches),
            changes=dict(self.changes),
            fetched=dict(self.fetched),
            local=dict(self.local),
        )

    def key(self) -> tuple[object, ...]:
        return (
            tuple(self.pulls.values()),
            tuple(sorted(self.tags.items())),
            self.signed,
            self.inventory.commit,
            self.policy.digest(),
            self.now,
            self.markers,
            tuple(sorted(self.branches.items())),
            tuple(sorted(self.changes.items())),
            tuple(sorted((h, f) for h, f in self.fetched.items() if f)),
            ledger.meaning(self.remote),
            tuple(sorted((h, ledger.meaning(tip)) for h, tip in self.local.items() if tip)),
            self.posted,
            self.was_bad,
            self.took_over,
        )

    # --- the approved plan

    def against(self) -> frozenset[str]:
        """What stands in the way of the approved plan now, by the truth of the world."""
        pull = self.pulls[NUMBER]
        pinned = {(r, d) for (r, head), d in self.tags.items() if head == HEAD}
        wrong = {
            "closed": pull.state == "closed",
            "merged": pull.state == "merged",
            "head": pull.head != HEAD,
            "base": pull.base != content.MAIN,
            "held": content.HOLD in pull.labels,
            "pusher": pull.pusher == content.ALICE_ID,
            "tag": pinned != {(i.repository, i.digest) for i in content.RELEASES[HEAD].images},
            "set": HEAD not in self.signed,
            "revoked": content.REVOCATION in self.posted,
            "policy": self.policy.digest() != content.POLICY.digest(),
            "expired": self.now > content.FIRST.not_after + SKEW_S,
            "plan": self.inventory.commit != content.INVENTORY.commit,
        }
        return frozenset(name for name, holds in wrong.items() if holds)

    def obstacles(self) -> frozenset[str]:
        """What should keep it from being opened now."""
        return self.against() | ({"a person's commit"} if WANTED.branch in self.took_over else set())

    def note(self) -> None:
        """Remember what has happened; after each event."""
        self.was_bad |= self.against()
        for branch, tip in self.branches.items():
            if branch in content.BRANCHES and repository.COMMITS[tip].by == "a person":
                self.took_over |= {branch}

    def holds_pins(self) -> bool:
        """Whether the base has every value of the approved plan."""
        files = repository.tree(self.branches[TARGET.base])
        return all(value.encode() in files[file] for (file, _), value in WANTED.values.items())

    def of_branch(self, branch: RefName) -> list[GitOpsPullRequest]:
        return [c for _, c in sorted(self.changes.items()) if c.branch == branch]

    def post(self, *envelopes: bytes) -> None:
        """Hand these in."""
        self.markers = (*self.markers, *(raw for raw in envelopes if raw not in self.posted))
        self.posted |= set(envelopes)

    def set_pull(self, **changed: object) -> None:
        self.pulls[NUMBER] = self.pulls[NUMBER]._replace(**changed)

    def set_change(self, number: int, **changed: object) -> None:
        self.changes[number] = self.changes[number]._replace(**changed)
