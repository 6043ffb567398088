"""The ports of one process over the world in memory. What each promises is said in `reconciler.ports`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from reconciler.approval.signatures import Signers
from reconciler.evidence.release_check import Published
from reconciler.ports import Change, RepositoryIdentity
from state.errors import ConfigError, StaleObservation, Terminal
from state.git import CommitId, RefName
from state.observed import Inventory, Listing, PullRequest
from state.oci import Digest, Manifest, Repository, Tag
from state.release_set import ReleaseSet
from tests.publishing import content, repository
from tests.publishing.gate import Gate
from tests.publishing.outside import GitOpsSide, Outside
from tests.publishing.world import GitOpsPullRequest, World


class MemoryClock:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._gate.world.now, UTC)

    def monotonic_s(self) -> float:
        return 0.0


class InOrder:
    """An `Executor` without threads: equal runs make equal calls."""

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        made: list[Any] = []
        for item in items:
            try:
                made.append(call(item))
            except Exception as error:  # noqa: BLE001 - the contract: an error is the item's result
                made.append(error)
        return made


class MemoryMarkers:
    def __init__(self, gate: Outside) -> None:
        self._gate = gate

    def done(self, digests: Iterable[Digest]) -> None:
        over = frozenset(digests)

        def removed() -> None:
            world = self._gate.world
            world.markers = tuple(raw for raw in world.markers if Digest.of(raw) not in over)

        self._gate.write("markers.done", removed)

    def pending(self) -> Sequence[bytes]:
        return self._gate.read("markers.pending", lambda w: w.markers)


@cache
def _signers(policy: Digest) -> Signers:
    return Signers(next(p for p in (content.POLICY, content.POLICY_CHANGED) if p.digest() == policy))


def signers(gate: Gate) -> Callable[[], Signers]:
    return lambda: gate.read("policy", lambda w: _signers(w.policy.digest()))


class MemorySets:
    """In place of `PublishedSets`, which is held to the registry by tests of its own."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def current(self, head: CommitId) -> Published | None:
        def found(world: World) -> Published | None:
            return Published(content.MANIFESTS[head], content.RELEASES[head]) if head in world.signed else None

        return self._gate.read("sets.current", found)

    def recorded(self, head: CommitId, digest: Digest) -> ReleaseSet | None:
        def found(_: World) -> ReleaseSet | None:
            return content.RELEASES[head] if content.MANIFESTS[head].digest == digest else None

        return self._gate.read("sets.recorded", found)


class MemoryForge:
    """The code repository."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def repository(self) -> RepositoryIdentity:
        return RepositoryIdentity(content.REPOSITORY_ID, "acme/shop")

    def open_pull_requests(self) -> Listing:
        def listed(world: World) -> Listing:
            return Listing(True, tuple(p.seen() for _, p in sorted(world.pulls.items()) if p.state == "open"))

        return self._gate.read("forge.listing", listed)

    def pull_request(self, number: int) -> PullRequest | None:
        def one(world: World) -> PullRequest | None:
            pull = world.pulls[number]
            return pull.seen() if pull.state == "open" else None

        return self._gate.read("forge.pull_request", one)

    def head_of(self, number: int) -> CommitId | None:
        return self._gate.read("forge.head_of", lambda w: w.pulls[number].head)

    def merged(self, number: int) -> bool | None:
        return self._gate.read("forge.merged", lambda w: w.pulls[number].state == "merged")

    def ref_of(self, number: int) -> RefName:
        return RefName(f"refs/pull/{number}/head")

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        def pusher(world: World) -> int | None:
            pull = world.pulls[number]
            return pull.pusher if (pull.state, pull.head) == ("open", head) else None

        return self._gate.read("forge.last_pusher", pusher)


class MemoryRegistry:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        return self._gate.read("registry.resolve", lambda w: w.tags.get((repository, str(tag))))

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        raise AssertionError(f"publishing reads no manifest, and {repository}:{reference} was asked for")

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        return self._gate.read("registry.tags", lambda w: [Tag(t) for r, t in w.tags if r == repository])


class MemoryInventory:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def inventory(self) -> Inventory:
        def now(world: World) -> Inventory:
            self._gate.inventory = world.inventory
            return world.inventory

        return self._gate.read("gitops.inventory", now)


class MemoryBranches:
    """A `GitOpsWriter`: what was not fetched by this host is not there."""

    def __init__(self, gate: Outside, host: str) -> None:
        self._gate = gate
        self._host = host

    def tip(self, branch: RefName) -> CommitId | None:
        def fetched(world: GitOpsSide) -> CommitId | None:
            tip = world.branches.get(branch)
            if tip is not None:
                self._keep(repository.history(tip))
            return tip

        return self._gate.read(f"gitops.tip {'base' if branch == content.MAIN else 'branch'}", fetched)

    def files(self, commit: CommitId, paths: Iterable[str]) -> Mapping[str, bytes]:
        self._must_have(commit)
        files = repository.tree(commit)
        return {p: files[p] for p in paths if p in files}

    def commit(self, parents: Sequence[CommitId], files: Mapping[str, bytes], message: str, at: int) -> CommitId:
        for parent in parents:
            self._must_have(parent)
        before = repository.tree(parents[0])
        if missing := files.keys() - before.keys():
            raise ConfigError(f"{sorted(missing)}: not there")
        made = repository.make(parents, {**before, **files}, message, at, "us")
        self._gate.write("gitops.commit", lambda: self._keep({made}), outside=False)
        return made

    def changed(self, base: CommitId, commit: CommitId) -> tuple[str, ...]:
        self._must_have(base)
        self._must_have(commit)
        return repository.differing(base, commit)

    def merges(self, base: CommitId, commit: CommitId) -> bool:
        self._must_have(base)
        self._must_have(commit)
        return repository.merged(base, commit) is not None

    def contains(self, commit: CommitId, ancestor: CommitId) -> bool:
        return ancestor in repository.history(commit)

    def push(self, branch: RefName, commit: CommitId, confirm: Callable[[], None] | None = None) -> None:
        self._must_have(commit)
        if confirm is not None:
            confirm()

        def pushed() -> None:
            world = self._gate.world
            there = world.branches.get(branch)
            if there == commit:
                return
            if there is not None and there not in repository.history(commit):
                raise StaleObservation(f"{branch.short} is at {there}")
            self._gate.pushed(branch, there, commit)
            world.branches[branch] = commit

        self._gate.write("gitops.push", pushed)

    def _keep(self, commits: Iterable[CommitId]) -> None:
        world = self._gate.world
        world.fetched[self._host] = world.fetched.get(self._host, frozenset()) | frozenset(commits)

    def _must_have(self, commit: CommitId) -> None:
        if commit not in self._gate.world.fetched.get(self._host, frozenset()):
            raise Terminal(f"{commit}: was not fetched")


class MemoryChanges:
    """A `ForgeWriter` of the GitOps repository."""

    def __init__(self, gate: Outside) -> None:
        self._gate = gate

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        def found(world: GitOpsSide) -> tuple[Change, ...]:
            return tuple(_change(c) for c in world.of_branch(branch) if c.base == base)

        return self._gate.read("changes.find", found)

    def open_change(self, branch: RefName, base: RefName, title: str, body: str) -> Change:
        assert title
        assert body

        def opened() -> Change:
            world = self._gate.world
            for one in world.of_branch(branch):
                if one.state == "open" and one.base == base:
                    return _change(one)
            self._gate.opened(branch, f"{title}\n{body}")
            number = len(world.changes) + 1
            world.changes[number] = made = GitOpsPullRequest(number, branch, base)
            return _change(made)

        return self._gate.write("changes.open", opened)

    def update_change(self, number: int, *, title: str, body: str) -> None:
        raise AssertionError(f"publishing replaces no texts, and {number} was to say {title!r}, {body!r}")

    def close_change(self, number: int, reason: str) -> None:
        assert reason

        def closed() -> None:
            world = self._gate.world
            if world.changes[number].state == "open":
                self._gate.closed(world.changes[number])
                world.set_change(number, state="closed", ended_by="us")

        self._gate.write("changes.close", closed)


def _change(one: GitOpsPullRequest) -> Change:
    return Change(one.number, one.branch, one.base, one.state == "open", "", "", merged=one.state == "merged")
