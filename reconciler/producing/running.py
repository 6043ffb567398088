"""Carrying a plan out: build, push by digest, prove, and only then tag; each image by itself.

Nothing that asks for a tag ever sees an image without its evidence: the bytes and what is attached to them come first,
the tag last, and `:main` after that. Right before each tag is written it is read again: a tag of a commit that names
other bytes is never written over, and `:main` is moved only from what it named when that was decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from reconciler.evidence.slsa import Build as Facts
from reconciler.ports import Executor, ImageWriter, RegistryReader, RegistryWriter
from reconciler.producing.building import Built, Workshop
from reconciler.producing.deciding import REMEDY, Build, Channel, Leave, MainSeen, Move, Plan, Refuse, Step, Why
from reconciler.producing.looking import MAIN, Proofs
from reconciler.producing.proving import Proving, Subject
from reconciler.producing.records import Row, State, Status, failed
from state.errors import ConfigError, IntegrityError, ReconcilerError, StaleObservation, Terminal, Unavailable
from state.observed import Image, Recipe
from state.oci import Digest, Manifest, Repository, Tag
from state.verdict import Outcome, Refusal

_UPLOAD_S: Final = 120
_UPLOAD_BYTES_PER_S: Final = 256 * 1024
"""A blob has this time, and a second more for each of so many bytes."""
_NOT_SHOWN_YET: Final = frozenset(
    {Refusal.NO_EVIDENCE, Refusal.UNSIGNED, Refusal.WRONG_PREDICATE, Refusal.INCOMPLETE_INDEX}
)
"""What a registry comes to that shows, for seconds after a write, what was there before it (facts dec. 9)."""
Told: TypeAlias = Callable[[Row, str], None]
"""(the image's row, a line about it)."""
FactsOf: TypeAlias = Callable[[Image, Recipe, Built], Facts]


class Registry(RegistryReader, RegistryWriter, ImageWriter, Protocol):
    """The registry, as images are pushed to it."""


class Parts(NamedTuple):
    """What a run is made with."""

    registry: Registry
    workshop: Workshop
    proving: Proving
    proofs: Proofs
    facts: FactsOf
    """What the provenance of an image says."""


class Run:
    """One run over one plan. `stopping` is asked before each outside step: a True ends the run there."""

    def __init__(self, plan: Plan, parts: Parts, status: Status, told: Told, stopping: Callable[[], bool]) -> None:
        self._plan = plan
        self._parts = parts
        self._status = status
        self._told = told
        self._stopping = stopping

    def carry_out(self, executor: Executor) -> None:
        """Every image as far as it goes; the status tells what became of each. Raises nothing of one image."""
        for made in executor.map(self._one, self._plan.steps):
            if isinstance(made, Exception):
                raise made

    def _one(self, step: Step) -> None:
        row = Row(step.image.name, step.image.repository, State.WAITING)
        try:
            match step:
                case Leave(why=why, digest=digest):
                    state = State.PRESENT if why is Why.DONE else State.UNCHANGED
                    self._set(row._replace(state=state, digest=digest, reason=why.value))
                case Refuse(reason=reason, text=text):
                    why_not = f"{text}; {REMEDY[reason]}"
                    self._set(row._replace(state=State.REFUSED, reason=reason.value, why=why_not))
                case Move(digest=digest, main=main):
                    self._move(row, self._manifest(step.image, digest), main)
                case Build():
                    self._build(row, step)
        except ReconcilerError as error:
            self._set(failed(row, error))

    def _build(self, row: Row, step: Build) -> None:
        image, repository, parts = step.image, step.image.repository, self._parts
        self._confirm()
        if not parts.registry.may_push(repository):
            raise Terminal(f"{repository}: the credential may not push here; nothing was built")
        self._set(row._replace(state=State.BUILDING))
        built = parts.workshop.build(image, step.recipe, lambda line: self._told(row, line))
        digest = built.top.digest
        row = row._replace(digest=digest)
        self._set(row._replace(state=State.PUSHING))
        self._push(repository, built)
        self._set(row._replace(state=State.PROVING))
        facts = parts.facts(image, step.recipe, built)
        parts.proving.prove(Subject(image.name, repository, built.top.descriptor, facts), self._confirm)
        self._check_proven(repository, digest)
        self._set(row._replace(state=State.TAGGING))
        if step.keeps is None:
            self._tag(repository, built.top)
        if step.main is not None:
            self._move(row, built.top, step.main)
        else:
            self._set(row._replace(state=State.PUBLISHED))
        parts.workshop.done(image)

    def _push(self, repository: Repository, built: Built) -> None:
        """Blobs before the manifests that name them, the index last; all by digest."""
        registry = self._parts.registry
        for one in built.platforms:
            for wanted, file in one.blobs:
                until_s = time.monotonic() + _UPLOAD_S + wanted.size / _UPLOAD_BYTES_PER_S
                registry.put_blob_file(repository, wanted, file, until_s, self._confirm)
            registry.put_untagged(repository, one.manifest, self._confirm)
        if len(built.platforms) > 1:
            registry.put_untagged(repository, built.top, self._confirm)

    def _check_proven(self, repository: Repository, digest: Digest) -> None:
        """By the rules that the reconciler judges it by: a signer that it does not believe is told here."""
        proofs, head = self._parts.proofs, self._plan.head
        verdicts = [proofs.of_head(repository, digest, head)]
        if self._plan.channel is Channel.MAIN:
            verdicts.append(proofs.of_main(repository, digest, head))
        for verdict in verdicts:
            if verdict.outcome is Outcome.ACCEPTED:
                continue
            why = f"{verdict.refusal.value if verdict.refusal else verdict.outcome.value}: {verdict.reason}"
            if verdict.refusal in _NOT_SHOWN_YET:
                raise Unavailable(f"{repository}@{digest.short}: the registry does not show its evidence yet ({why})")
            raise ConfigError(
                f"{repository}@{digest.short}: its evidence is signed and attached, but `verification` refuses it"
                f" ({why}); let `signer` be one that `verification.authority` believes. No tag was written"
            )

    def _tag(self, repository: Repository, manifest: Manifest) -> None:
        tag = Tag(self._plan.head)

        def free() -> None:
            self._confirm()
            now = self._parts.registry.resolve(repository, tag)
            if now not in (None, manifest.digest):
                raise IntegrityError(
                    f"{repository}:{tag}: names {now} by now, built was {manifest.digest}; a tag of a commit is never"
                    " written over: find out who pushes it besides this"
                )

        self._parts.registry.put_manifest(repository, tag, manifest, free)

    def _move(self, row: Row, manifest: Manifest, main: MainSeen) -> None:
        repository = row.repository

        def unmoved() -> None:
            self._confirm()
            now = self._parts.registry.resolve(repository, MAIN)
            if now not in (main.digest, manifest.digest):
                raise StaleObservation(
                    f"{repository}:{MAIN}: names {now} by now, and {main.digest} when this was decided; run again"
                )

        self._parts.registry.put_manifest(repository, MAIN, manifest, unmoved)
        self._set(row._replace(state=State.PUBLISHED, digest=manifest.digest))

    def _manifest(self, image: Image, digest: Digest) -> Manifest:
        found = self._parts.registry.manifest(image.repository, digest)
        if found is None:
            raise StaleObservation(f"{image.repository}@{digest.short}: was there a moment ago, and is gone; run again")
        return found

    def _confirm(self) -> None:
        if self._stopping():
            raise StaleObservation("stopped; run the same command again to go on")

    def _set(self, row: Row) -> None:
        self._status.set(row)
        self._told(row, "")
