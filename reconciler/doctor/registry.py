"""What `ameide doctor` tests of the registries: answers, credential, clock, and `:main` of each image."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import requests

from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.doctor import ghcr as doctor_ghcr
from reconciler.doctor import registry_rights as doctor_registry_rights
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.ports import Clock, Random
from reconciler.registry_clients import client_of
from reconciler.settings import RegistrySettings, Settings
from state.errors import ReconcilerError, Transient
from state.observed import Catalogue
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
    scopes: frozenset[str] | None = None
    if registry.credential_file is not None:
        yield secret(f"{name}: credential", registry.credential_file)
        if registry.host == doctor_ghcr.HOST:
            told, scopes = doctor_ghcr.scopes(registry.credential_file, settings.mode, clock, random)
            yield told
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
            yield from doctor_registry_rights.pushes(client, written, settings.mode)
            if registry.credential_file is not None and scopes is None:
                needed = any(repository.tag_gc is not None for repository in settings.repositories)
                yield from doctor_registry_rights.deletes(client, written, settings.mode, needed=needed)
    finally:
        client.close()


def _client(registry: RegistrySettings, settings: Settings, clock: Clock, random: Random) -> OrasRegistry:
    timeout = settings.request_timeout_s
    limits = Limits(attempts=1, read_timeout_s=timeout, call_timeout_s=timeout)
    return client_of(registry, limits, clock=clock, random=random)


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
