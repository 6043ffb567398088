"""Settings → parts of a run: the one place that knows every kind of builder, signer, SBOM and way of handing over."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from reconciler.adapters.builder_buildah import Buildah, Store
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.git_checkout import checkout
from reconciler.adapters.handed_over import HandedOverFiles
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.registry_router import Registries
from reconciler.adapters.sbom_syft import Syft
from reconciler.evidence.assembling import authority_of, signer_from, verifier_of
from reconciler.evidence.attaching import Attacher
from reconciler.evidence.sbom_sources import MadeHere
from reconciler.evidence.slsa import Build as Facts
from reconciler.producing.building import Built, Workshop
from reconciler.producing.checkout import Asked, Checkout
from reconciler.producing.deciding import Build, Channel, Plan, decide
from reconciler.producing.looking import Proofs, look
from reconciler.producing.proving import Attached, FromFiles, FromSources, FromSyft, HandedOver, Proving, Sboms
from reconciler.producing.records import Row, State, Status, failed
from reconciler.producing.running import Parts, Run, Told
from reconciler.producing.settings import ProducerSettings
from reconciler.registry_clients import client_of, limits_of, opened_registries
from reconciler.settings.model import RegistrySettings
from state.canonical import Json
from state.errors import ConfigError, ReconcilerError, Unavailable
from state.git import RefName
from state.observed import Image, Recipe

BUILD_TYPE: Final = "https://ameide.io/publish/v1"
"""How `externalParameters` of our provenance are read: docs/publish.md."""
_LOG_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Producer:
    """A run that is ready: everything was looked at, nothing was done yet."""

    plan: Plan
    unread: dict[str, ReconcilerError]
    """Image name → why nothing is known of it."""
    status: Status
    carry_out: Callable[[], None]
    """Build, push, prove and tag; `status` tells what became of each image. Raises ConfigError for a bad builder."""


@contextmanager
def opened(
    settings: ProducerSettings,
    repo: Path,
    asked: Asked,
    *,
    jobs: int,
    told: Told,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Producer]:
    """Look and decide. `jobs` images are worked on side by side.

    Raises InvalidValue or ConfigError for what cannot be published so, Unavailable where another run is at work.
    """
    with ExitStack() as stack:
        source = Checkout(stack.enter_context(checkout(repo)), asked, settings.catalogue)
        _check_hosts(settings, source)
        folder = _folder(settings.state_dir, source)
        stack.enter_context(_alone(settings.state_dir))
        executor = stack.enter_context(ThreadExecutor(jobs))
        registries = stack.enter_context(opened_registries(settings.registries, partial(_client, settings, jobs)))
        proofs = _proofs(settings, registries)
        proving = _proving(settings, registries)
        seen, unread = look(source.source(), proofs, executor)
        plan = decide(asked.channel, source.base, source.head, seen)
        images = source.catalogue.images.values()
        rows = {image.name: Row(image.name, image.repository, State.WAITING) for image in images}
        rows |= {name: failed(rows[name], error) for name, error in unread.items()}
        status = Status(folder / "status.json", plan.channel, plan.base, plan.head, rows.values())

        def carry_out() -> None:
            status.begin()
            machine = _builder(settings)
            if any(isinstance(step, Build) for step in plan.steps):
                machine.prepare()
            workshop = Workshop(settings.state_dir / "work", source.head, source, machine, _named(settings))
            facts = partial(_facts, settings, source)
            parts = Parts(registries, workshop, proving, proofs, facts)
            Run(plan, parts, status, _logged(folder, told), stopping).carry_out(executor)

        yield Producer(plan, unread, status, carry_out)


def _check_hosts(settings: ProducerSettings, source: Checkout) -> None:
    known = {registry.host for registry in settings.registries}
    images = sorted(source.catalogue.images.values())
    if problems := tuple(
        f"images.{image.name}.repository: its registry {image.repository.host} is not declared"
        for image in images
        if image.repository.host not in known
    ):
        raise ConfigError(f"{settings.catalogue}: registries that the configuration does not name", problems)


def _folder(state_dir: Path, source: Checkout) -> Path:
    folder = state_dir / source.channel.value / source.head
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state_dir.stat().st_mode & 0o022:
            raise ConfigError(f"{state_dir}: others may write there, and so into images; take that right away")
    except OSError as error:
        raise ConfigError(f"{state_dir}: cannot be used: {error.strerror} (state_dir)") from error
    return folder


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """One run at a time: they would build the same, and clear away what the other needs."""
    try:
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"{state_dir}: cannot be written: {error.strerror} (state_dir)") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{state_dir}: another run publishes from there; wait for it") from None
        yield
    finally:
        os.close(handle)


def _client(settings: ProducerSettings, jobs: int, registry: RegistrySettings) -> OrasRegistry:
    limits = limits_of(registry, request_timeout_s=settings.request_timeout_s, connections=jobs + 1)
    return client_of(registry, limits, clock=SystemClock(), random=SystemRandom())


def _proofs(settings: ProducerSettings, registries: Registries) -> Proofs:
    beside = HandedOverFiles(settings.handed_over_dir) if settings.handed_over_dir is not None else None
    verification = settings.verification
    verifier = verifier_of(verification, registries, SystemClock(), 0.0, hand_over=beside)
    return Proofs(registries, verifier, authority_of(verification), verification.source_repository or "", beside)


def _proving(settings: ProducerSettings, registries: Registries) -> Proving:
    signer, own = signer_from(settings.signer)
    attacher = Attacher(registries, signer, own)
    sboms: Sboms = FromSources()
    if settings.sbom_dir is not None:
        sboms = FromFiles(settings.sbom_dir)
    if settings.syft is not None:
        syft = settings.syft
        maker = Syft(syft.program, registries, settings.state_dir / "syft", timeout_s=float(syft.timeout_s))
        sboms = FromSyft(MadeHere(attacher, maker))
    if settings.handed_over_dir is None:
        return Attached(attacher, sboms)
    return HandedOver(settings.handed_over_dir, HandedOverFiles(settings.handed_over_dir), signer, sboms)


def _builder(settings: ProducerSettings) -> Buildah:
    builder = settings.builder
    return Buildah(
        Store(
            builder.program,
            builder.storage_dir,
            builder.storage_driver,
            builder.isolation,
            builder.network,
            float(builder.timeout_s),
            builder.base_credential_file,
            tuple(registry.host for registry in settings.registries if registry.plain_http),
        )
    )


def _named(settings: ProducerSettings) -> str:
    """The settings of the builder that decide what comes out."""
    return f"{settings.builder.kind} {settings.builder.isolation} {settings.builder.network}"


def _facts(settings: ProducerSettings, source: Checkout, image: Image, recipe: Recipe, built: Built) -> Facts:
    verification = settings.verification
    return Facts(
        source_repository=verification.source_repository or "",
        ref=RefName(settings.main_ref) if source.channel is Channel.MAIN else None,
        revision=source.head,
        workflow=settings.workflow,
        builder=verification.builder or "",
        build_type=BUILD_TYPE,
        parameters=_parameters(image, recipe, built),
        repository_id=verification.source_repository_id,
        fingerprint=built.fingerprint,
        bases=tuple((base.reference, base.digest) for base in built.bases),
    )


def _parameters(image: Image, recipe: Recipe, built: Built) -> tuple[tuple[str, Json], ...]:
    """Of `externalParameters`; an image without build arguments says nothing of them."""
    said: tuple[tuple[str, Json], ...] = (
        ("context", recipe.context),
        ("dockerfile", recipe.file),
        ("image", image.name),
    )
    return (("args", {**dict(built.arguments)}), *said) if built.arguments else said


def _logged(folder: Path, told: Told) -> Told:
    """What the builder says goes to `<image>.log` beside the status, too; told lines are serialised."""
    lock = Lock()

    def tell(row: Row, line: str) -> None:
        with lock:
            if line:
                file = folder / f"{row.image}.log"
                with file.open("a", encoding="utf-8") as log:
                    if log.tell() < _LOG_MAX_BYTES:
                        log.write(line + "\n")
            told(row, line)

    return tell
