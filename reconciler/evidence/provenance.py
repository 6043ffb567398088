"""What a SLSA provenance predicate says of its source and builder (pure); nothing is judged here.

Sources: slsa.dev/spec/v1.0/provenance and v0.2/provenance; the GitHub build types
actions.github.io/buildtypes/workflow/v1 and slsa-framework.github.io/github-actions-buildtypes/workflow/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from reconciler.evidence.found import Refused
from state.statement import SLSA_PROVENANCE_V02, SLSA_PROVENANCE_V1, Statement
from state.verdict import Refusal

PROVENANCE_TYPES: Final = (SLSA_PROVENANCE_V1, SLSA_PROVENANCE_V02)
_DEPENDENCIES_MAX: Final = 10_000


class Said(NamedTuple):
    """One thing that a source says, and where it says so."""

    where: str
    value: str


class Material(NamedTuple):
    """A git repository that the build took from; each value is None where it is not said."""

    where: str
    repository: str
    """Normalised, see `normalised`."""
    ref: str | None
    revision: str | None


class Source(NamedTuple):
    """What the build was started from, and what it took."""

    declared: tuple[Said, ...]
    """The repository that the build says it was started from; normalised."""
    refs: tuple[Said, ...]
    """Refs of the declared repository."""
    materials: tuple[Material, ...]
    """Every git repository among the dependencies."""
    repository_id: Said | None
    builder: Said | None


def read(statement: Statement) -> Source:
    """What a provenance statement says. Raises Refused (MALFORMED) where a member has not the type SLSA gives it."""
    predicate = statement.predicate
    return _v1(predicate) if statement.predicate_type == SLSA_PROVENANCE_V1 else _v02(predicate)


def normalised(url: str) -> str:
    """A repository URL without `git+`, a trailing slash and a trailing `.git`: nothing else may differ in a name."""
    return url.removeprefix("git+").removesuffix("/").removesuffix(".git")


def _v1(predicate: Mapping[str, Any]) -> Source:
    definition = _object(predicate, "buildDefinition")
    workflow = _object(_object(definition, "externalParameters"), "workflow")
    where = "buildDefinition.externalParameters.workflow"
    repository, ref = _text(workflow, "repository", where), _text(workflow, "ref", where)
    github = _object(_object(definition, "internalParameters"), "github")
    identity = _text(github, "repository_id", "buildDefinition.internalParameters.github")
    builder = _text(_object(_object(predicate, "runDetails"), "builder"), "id", "runDetails.builder")
    return Source(
        () if repository is None else (Said(repository.where, normalised(repository.value)),),
        () if ref is None else (ref,),
        _materials(definition, "resolvedDependencies", "buildDefinition."),
        identity,
        builder,
    )


def _v02(predicate: Mapping[str, Any]) -> Source:
    started = _object(_object(predicate, "invocation"), "configSource")
    declared = _material(started, "invocation.configSource", git=True)  # what a build is started from is source
    named = () if declared is None else (declared,)
    return Source(
        tuple(Said(f"{m.where}.uri", m.repository) for m in named),
        (),
        (*named, *_materials(predicate, "materials", "")),
        None,
        _text(_object(predicate, "builder"), "id", "builder"),
    )


def _materials(value: Mapping[str, Any], key: str, prefix: str) -> tuple[Material, ...]:
    rows = value.get(key)
    if rows is None:
        return ()
    if not isinstance(rows, list) or len(rows) > _DEPENDENCIES_MAX or not all(isinstance(r, dict) for r in rows):
        raise _malformed(f"{prefix}{key} must be a list of at most {_DEPENDENCIES_MAX} objects")
    made = (_material(row, f"{prefix}{key}[{at}]") for at, row in enumerate(rows))
    return tuple(m for m in made if m is not None)


def _material(row: Mapping[str, Any], where: str, *, git: bool = False) -> Material | None:
    """The git repository that a dependency names (`git+https://host/path@ref`); None if it is something else.

    `git` is True where nothing else can stand, so that the URI needs no `git+`.
    """
    uri, digests = _text(row, "uri", where), _object(row, "digest")
    revisions = {said.value for key in ("gitCommit", "sha1") if (said := _text(digests, key, f"{where}.digest"))}
    if uri is None or not (git or uri.value.startswith("git+") or "gitCommit" in digests):
        return None
    if len(revisions) > 1:
        raise _malformed(f"{where}.digest: gitCommit and sha1 differ")
    scheme, _, rest = uri.value.partition("://")
    host, slash, path = rest.partition("/")  # `git@` before the host is no ref
    path, at, ref = path.partition("@")
    return Material(
        f"provenance {where}",
        normalised(f"{scheme}://{host}{slash}{path}"),
        ref if at else None,
        next(iter(revisions), None),
    )


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _malformed(f"{key} must be an object")
    return found


def _text(value: Mapping[str, Any], key: str, where: str) -> Said | None:
    found = value.get(key)
    if found is None or found == "":
        return None
    if not isinstance(found, str):
        raise _malformed(f"{where}.{key} must be a string")
    return Said(f"provenance {where}.{key}", found)


def _malformed(text: str) -> Refused:
    return Refused(Refusal.MALFORMED, f"provenance predicate: {text}")
