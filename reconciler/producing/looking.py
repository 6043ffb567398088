"""One look for one commit: what changed by git, what is there by the registry, and what its evidence proves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

from reconciler.evidence.authority import Authority
from reconciler.evidence.built_from import built_from
from reconciler.ports import ArtifactReader, Executor, HandOver, Purpose, RegistryReader, Verifier
from reconciler.producing.deciding import Channel, MainSeen, Relation, Seen, Tagged
from state.change import ChangeRecord
from state.errors import ReconcilerError
from state.git import CommitId
from state.observed import Catalogue, Image, Recipe
from state.oci import Digest, Repository, Tag
from state.verdict import Outcome, Verdict

MAIN: Final = Tag("main")
_ORDER: Final = (Relation.SAME, Relation.AFTER, Relation.BEFORE, Relation.APART)
"""Of several commits that came to one digest, the one that says most."""


class Reader(RegistryReader, ArtifactReader, Protocol):
    """The registry, as it is looked at."""


class Source(NamedTuple):
    """What git says of the commit that is published. The functions are called from one thread."""

    channel: Channel
    base: CommitId
    head: CommitId
    catalogue: Catalogue
    recipes: Mapping[str, Recipe]
    changes: Callable[[CommitId], ChangeRecord]
    """What the head changes against a base: the function behind `ameide changed`."""
    related: Callable[[CommitId], Relation]
    """How a commit stands to the head."""
    declared: Callable[[CommitId, str], tuple[Image, Recipe | None] | None]
    """An image as the catalogue at a commit declares it; None where there is none that can be read, or not in it."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """What evidence comes to, by the reconciler's own rules."""

    reader: Reader
    verifier: Verifier
    authority: Authority
    source_repository: str
    hand_over: HandOver | None

    def of_head(self, repository: Repository, digest: Digest, head: CommitId) -> Verdict:
        """As the reconciler judges what CI built for a head."""
        return self.verifier.verify(Purpose.PULL_REQUEST, repository, digest, head)

    def of_main(self, repository: Repository, digest: Digest, commit: CommitId | None) -> Verdict:
        """As the reconciler judges a baseline; of that commit, if one is named."""
        return self.verifier.verify(Purpose.BASELINE, repository, digest, commit)

    def commits(self, repository: Repository, digest: Digest, verdict: Verdict) -> frozenset[CommitId]:
        """The commits that it was built from."""
        return built_from(
            self.reader,
            self.authority,
            repository,
            digest,
            verdict,
            source_repository=self.source_repository,
            hand_over=self.hand_over,
        )


class _Read(NamedTuple):
    tag: Tagged | None
    main: Digest | None = None
    commits: frozenset[CommitId] = frozenset()


def look(source: Source, proofs: Proofs, executor: Executor) -> tuple[list[Seen], dict[str, ReconcilerError]]:
    """What is to be decided on, and image name → why nothing is known of it. Git is asked from this thread alone."""
    changed = (
        {i.repository: i for i in source.changes(source.base).images} if source.channel is not Channel.MAIN else {}
    )
    images = [source.catalogue.images[name] for name in sorted(source.catalogue.images)]
    read = _main if source.channel is Channel.MAIN else _head
    seen: list[Seen] = []
    unread: dict[str, ReconcilerError] = {}
    for image, found in zip(images, executor.map(partial(read, source, proofs), images), strict=True):
        recipe = source.recipes.get(image.name)
        if isinstance(found, ReconcilerError):
            unread[image.name] = found
        elif isinstance(found, Exception):
            raise found
        elif source.channel is Channel.MAIN:
            seen.append(Seen(image, recipe, True, found.tag, _behind_main(source, image, found)))
        else:
            seen.append(Seen(image, recipe, changed[image.repository].changed, found.tag))
    return seen, unread


def _head(source: Source, proofs: Proofs, image: Image) -> _Read:
    digest = proofs.reader.resolve(image.repository, Tag(source.head))
    if digest is None:
        return _Read(None)
    return _Read(Tagged(digest, proofs.of_head(image.repository, digest, source.head)))


def _main(source: Source, proofs: Proofs, image: Image) -> _Read:
    repository, tag = image.repository, None
    if (digest := proofs.reader.resolve(repository, Tag(source.head))) is not None:
        by_pull_request = proofs.of_head(repository, digest, source.head).outcome is Outcome.ACCEPTED
        tag = Tagged(digest, proofs.of_main(repository, digest, source.head), by_pull_request)
    main = proofs.reader.resolve(repository, MAIN)
    if main is None or (verdict := proofs.of_main(repository, main, None)).outcome is not Outcome.ACCEPTED:
        return _Read(tag, main)
    return _Read(tag, main, proofs.commits(repository, main, verdict))


def _behind_main(source: Source, image: Image, found: _Read) -> MainSeen:
    related = {commit: source.related(commit) for commit in sorted(found.commits)}
    relation = next((r for r in _ORDER if r in related.values()), None)
    if relation is not Relation.BEFORE:
        return MainSeen(found.main, relation)
    before = [commit for commit, one in related.items() if one is Relation.BEFORE]
    return MainSeen(found.main, relation, all(_changed(source, image, commit) for commit in before))


def _changed(source: Source, image: Image, commit: CommitId) -> bool:
    """Whether a build of `commit` may be another one: by its inputs, or by what the catalogue said of it then."""
    recipe = source.recipes.get(image.name)
    if recipe is not None:
        then = source.declared(commit, image.name)
        if then is None or _built_as(*then) != _built_as(image, recipe):
            return True
    return any(i.changed for i in source.changes(commit).images if i.repository == image.repository)


def _built_as(image: Image, recipe: Recipe | None) -> tuple[object, ...]:
    """What decides what is built, besides the files."""
    return frozenset(image.inputs), image.platforms, recipe
