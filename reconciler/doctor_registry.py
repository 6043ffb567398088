"""What `ameide doctor` tests of the registries: answers, credential, clock, and `:main` of each image."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import requests

from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.settings import RegistrySettings, Settings
from state.errors import ReconcilerError, Transient
from state.observed import Catalogue, Mode
from state.oci import Repository, Tag

SKEW_MAX_S: Final = 60
IMAGES_MAX: Final = 200
"""Images per registry whose `:main` is asked for, at most."""
_MAIN: Final = Tag("main")
_REMEDY: Final = "check the repository's name and the credential's permission, or publish :main"


def undeclared(settings: Settings, catalogues: list[Catalogue]) -> Iterator[Finding]:
    named = {image.repository.host for catalogue in catalogues for image in catalogue.images.values()}
    missing = sorted(named - {r.host for r in settings.registries})
    if missing:
        remedy = "add each to `registries`"
        yield Finding("registries", Status.FAIL, f"the catalogues also name {', '.join(missing)}", remedy)


def diagnose(
    registry: RegistrySettings, settings: Settings, catalogues: list[Catalogue], clock: Clock, random: Random
) -> Iterator[Finding]:
    """Every check of one registry; `:main` is asked for each image that the catalogues have there."""
    name = f"registry {registry.host}"
    if registry.credential_file is not None:
        yield secret(f"{name}: credential", registry.credential_file)
    try:
        client = _client(registry, settings, clock, random)
    except ReconcilerError as error:
        yield Finding(name, Status.FAIL, str(error), "check the host, ca_file and the credential's file")
        return
    try:
        answers = attempt(name, client.check, "check the host, the network, ca_file and the credential's permission")
        yield answers
        if answers.status is Status.OK:
            yield _skew(registry, settings, clock)
            yield from _baselines(client, _repositories(catalogues, registry.host))
            written = _written(settings, catalogues, registry.host)
            yield from _pushes(client, written, settings.mode)
            if registry.credential_file is not None:
                yield from _deletes(client, written, settings)
    finally:
        client.close()


def _client(registry: RegistrySettings, settings: Settings, clock: Clock, random: Random) -> OrasRegistry:
    path = registry.credential_file
    timeout = settings.request_timeout_s
    return OrasRegistry(
        registry.host,
        plain_http=registry.plain_http,
        credential=None if path is None else Credential(path, registry.host),
        ca_file=registry.ca_file,
        limits=Limits(attempts=1, read_timeout_s=timeout, call_timeout_s=timeout),
        clock=clock,
        random=random,
    )


def _repositories(catalogues: list[Catalogue], host: str) -> list[Repository]:
    return sorted({i.repository for c in catalogues for i in c.images.values() if i.repository.host == host})


def _baselines(client: OrasRegistry, repositories: list[Repository]) -> Iterator[Finding]:
    """`:main` of each in turn; the first without an answer ends it, since the next would wait as long."""
    check = f"registry {client.hostname}: baselines"
    there = 0
    for repository in repositories[:IMAGES_MAX]:
        try:
            digest = client.resolve(repository, _MAIN)
        except Transient as error:
            remedy = "try again later; the images after this one were not asked for"
            yield Finding(f"{repository}:{_MAIN}", Status.FAIL, str(error), remedy)
            return
        except ReconcilerError as error:
            yield Finding(f"{repository}:{_MAIN}", Status.FAIL, str(error), _REMEDY)
            continue
        if digest is None:
            found = f"{repository}:{_MAIN} is missing or the credential may not see it"
            yield Finding(f"{repository}:{_MAIN}", Status.WARN, found, _REMEDY)
        else:
            there += 1
    left = len(repositories) - IMAGES_MAX
    asked = f"{there} of {min(len(repositories), IMAGES_MAX)} images have :{_MAIN}"
    yield Finding(check, Status.OK, asked if left <= 0 else f"{asked}; {left} more were not asked for")


def _written(settings: Settings, catalogues: list[Catalogue], host: str) -> list[Repository]:
    """Where tags are written, and release sets."""
    sets = {Repository(r.evidence.release_sets) for r in settings.repositories if r.evidence is not None}
    return sorted({*_repositories(catalogues, host), *(s for s in sets if s.host == host)})


def _pushes(client: OrasRegistry, repositories: list[Repository], mode: Mode) -> Iterator[Finding]:
    """Whether each may be written to."""
    if mode is Mode.OBSERVE or not repositories:
        return
    check = f"registry {client.hostname}: permissions"
    remedy = "give the credential leave to push, but not to delete: nothing is deleted in this mode"
    asked = repositories[:IMAGES_MAX]

    def ask() -> Finding:
        missing = [r.path for r in asked if not client.may_push(r)]
        if missing:
            return Finding(check, Status.FAIL, f"missing: push to {', '.join(missing)}", remedy)
        return Finding(check, Status.OK, f"it may push; asked for {len(asked)} of {len(repositories)} repositories")

    yield attempt(check, ask, "try again later")


def _deletes(client: OrasRegistry, repositories: list[Repository], settings: Settings) -> Iterator[Finding]:
    """Whether the credential may delete: what `tag_gc` needs, and nobody else."""
    if not repositories:
        return
    check = f"registry {client.hostname}: deleting"
    needed = any(repository.tag_gc is not None for repository in settings.repositories)

    def ask() -> Finding:
        may = {repository.path: client.may_delete(repository) for repository in repositories[:IMAGES_MAX]}
        granted, refused, untold = (
            ", ".join(path for path, answer in may.items() if answer is wanted) for wanted in (True, False, None)
        )
        if needed and refused:
            remedy = "give the credential leave to delete: tag_gc takes the tags of closed pull requests away"
            return Finding(check, Status.FAIL, f"missing: delete in {refused}", remedy)
        if not needed and granted:
            remedy = "take the leave to delete from the credential: without tag_gc nothing is deleted"
            return Finding(check, Status.WARN, f"more than needed: it may delete in {granted}", remedy)
        if untold:
            remedy = "look the credential up where it was made; of ghcr.io: whether the token has delete:packages"
            return Finding(check, Status.WARN, f"not known whether it may delete in {untold}", remedy)
        return Finding(check, Status.OK, "it may delete" if needed else "it may not delete")

    yield attempt(check, ask, "try again later")


def _skew(registry: RegistrySettings, settings: Settings, clock: Clock) -> Finding:
    """Our clock against the `Date` that the registry answers (RFC 9110 §6.6.1)."""
    check = f"registry {registry.host}: clock"
    url = f"{'http' if registry.plain_http else 'https'}://{registry.host}/v2/"
    with requests.Session() as session:
        session.trust_env = False  # neither netrc nor a proxy from the environment
        session.verify = True if registry.ca_file is None else str(registry.ca_file)
        try:
            with session.get(url, stream=True, timeout=settings.request_timeout_s, allow_redirects=False) as answer:
                theirs = parsedate_to_datetime(answer.headers["Date"])
        except (requests.RequestException, ssl.SSLError, KeyError, ValueError) as error:
            return Finding(check, Status.WARN, f"no usable Date header ({type(error).__name__})", "compare by hand")
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    skew = (clock.now() - theirs).total_seconds()
    if abs(skew) > SKEW_MAX_S:
        found = f"our clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        return Finding(check, Status.WARN, found, "run NTP here; tokens and signatures fail with a wrong clock")
    return Finding(check, Status.OK, f"within {SKEW_MAX_S} s")
