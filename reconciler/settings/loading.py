"""Loading the one config file: read, checked whole, every problem at once, and its digest.

No environment, no override, no fallback: a variable that looks like an attempt at one is refused. Values of secrets
are never read here, and no message quotes a text that might be one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.settings.forge import LocalForgeSettings
from reconciler.settings.lane import LaneProposalsSettings, LaneSettings
from reconciler.settings.model import (
    RepositorySettings,
    Settings,
)
from reconciler.settings.types import Section
from reconciler.strict_yaml import Document, Location, parse, read_regular, shown
from reconciler.webhooks.signatures import Sender
from state import canonical
from state.errors import ConfigError
from state.git import RefName
from state.observed import Mode, Policy
from state.oci import Digest, Repository
from state.verdict import Level

CONFIG_MAX_BYTES: Final = 1024 * 1024
ENVIRONMENT_PREFIX: Final = "AMEIDE_"
_SHOWN_MAX_CHARS: Final = 80
_KINDS: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}


class Loaded(NamedTuple):
    """A valid configuration, the digest of its content (comments and order of keys do not count), and its file."""

    settings: Settings
    digest: Digest
    path: Path


def load(path: Path, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read and check the config file.

    Args:
        path: a regular file of at most CONFIG_MAX_BYTES; symbolic links are followed.
        environ: the environment to look through for variables that have no business there; None for this process's.

    Raises:
        ConfigError: with every problem found, each with its YAML path, what was expected and what came.
    """
    stray = environment_problems(os.environ if environ is None else environ)
    try:
        document = parse(read_regular(path, max_bytes=CONFIG_MAX_BYTES), what=str(path))
    except ConfigError as error:
        raise ConfigError(str(error), stray) from error
    settings, found = _validate(document)
    if settings is not None and not found:
        found = [*_cross_problems(settings)]
    # One finding per place, in the order of the file; what the reader said of a place comes before the model's word.
    first: dict[Location, str] = {}
    for at, text in (*document.problems, *found):
        first.setdefault(at, text)
    located = sorted(first.items(), key=lambda item: document.line(item[0]) or 0)
    problems = stray + tuple(f"{shown(at)} (line {document.line(at)}): {text}" for at, text in located)
    if settings is None or problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path}: configuration refused, {count}", problems)
    return Loaded(settings, canonical.digest(settings.model_dump(mode="json")), path)


def environment_problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    """One problem per variable that starts with AMEIDE_. Values are not looked at."""
    return tuple(
        f"environment: {name[:100]!r} is set, but no setting comes from the environment; unset it. In Kubernetes such"
        " variables usually are service links: set `enableServiceLinks: false` in the pod"
        for name in sorted(environ)
        if name.upper().startswith(ENVIRONMENT_PREFIX)
    )


def policy_digest(repository: RepositorySettings) -> Digest:
    """The digest of what plans of this repository depend on; the order of lists does not count."""
    content = repository.model_dump(mode="json", include={"admission", "baseline", "verification", "max_heads"})
    content["release_sets"] = repository.evidence.release_sets if repository.evidence is not None else None
    for name in ("base_branches", "labels", "members", "agents"):
        if (listed := content["admission"][name]) is not None:
            content["admission"][name] = sorted(listed)
    return canonical.digest(content)


def to_policy(repository: RepositorySettings) -> Policy:
    """The rules of one repository as the planner takes them."""
    admission = repository.admission
    return Policy(
        digest=policy_digest(repository),
        base_branches=tuple(RefName.branch(b) for b in sorted(admission.base_branches)),
        hold_label=admission.hold_label,
        max_heads=repository.max_heads,
        baseline=repository.baseline,
        release_sets=Repository(repository.evidence.release_sets) if repository.evidence is not None else None,
        labels=tuple(sorted(admission.labels)),
        drafts=admission.drafts,
        members=tuple(sorted(admission.members)) if admission.members is not None else None,
        agents=tuple(sorted(admission.agents)),
    )


def _validate(document: Document) -> tuple[Settings | None, list[tuple[Location, str]]]:
    try:
        # As JSON, so that strict validation still takes a text for a path or an enum, and nothing else for it.
        return Settings.model_validate_json(json.dumps(document.value), strict=True), []
    except ValidationError as error:
        # A list whose items were all refused is also reported as too short: only the items are worth a line.
        return None, [
            (_place(tuple(e["loc"])), _worded(e))
            for e in error.errors(include_url=False)
            if not (e["type"] == "too_short" and e["input"])
        ]


def _cross_problems(settings: Settings) -> Iterable[tuple[Location, str]]:
    if settings.mode is Mode.PUBLISH and not any(r.targets for r in settings.repositories):
        yield ("mode",), "publish needs targets in a repository, and there are none; expected observe or fill"
    hosts = {r.host: n for n, r in reversed([*enumerate(settings.registries)])}
    for n, registry in enumerate(settings.registries):
        if (first := hosts[registry.host]) != n:
            yield ("registries", n, "host"), f"{registry.host} is already registries[{first}]; name each host once"
    seen: dict[tuple[str, object], tuple[int, object]] = {}
    for n, repository in enumerate(settings.repositories):
        at: Location = ("repositories", n)
        log, verification, evidence = repository.log, repository.verification, repository.evidence
        if evidence is not None and Level.NONE in (verification.baseline, verification.pull_request):
            yield (
                (*at, "evidence"),
                "nothing unproven enters a release set: set both levels of verification, or drop it",
            )
        if evidence is not None and Repository(evidence.release_sets).host not in hosts:
            yield (
                (*at, "evidence", "release_sets"),
                f"its registry is not declared; there are {', '.join(sorted(hosts))}",
            )
        if repository.webhook is not None and settings.listen.public is None:
            yield (*at, "webhook"), "there is no public listener for it: set listen.public, or drop it"
        preview = repository.preview
        if preview is not None and preview.token_file is not None and settings.listen.public is None:
            yield (*at, "preview", "token_file"), "there is no public listener for it: set listen.public, or drop it"
        if preview is not None and preview.label in repository.admission.labels:
            yield (*at, "preview", "label"), "admission.labels asks for it too, so that nothing would ever be previewed"
        if preview is not None and preview.label is not None and preview.label == repository.admission.hold_label:
            yield (*at, "preview", "label"), "it is the hold label, which keeps us off the pull request"
        expected = _SENDERS.get(repository.forge.kind)
        if repository.webhook is not None and expected not in {None, repository.webhook.sender}:
            yield (*at, "webhook", "sender"), f"expected {expected} for this forge, got {repository.webhook.sender}"
        if settings.standby is not None and log.remote is None:
            yield (*at, "log", "remote"), "required with standby: who takes over goes on where the log's remote is"
        yield from _publish_problems(settings, repository, at)
        yield from _role_problems(repository, at)
        if str(log.path) in (repository.forge.git_url, repository.gitops.url.removeprefix("file://")):
            yield (*at, "log", "path"), "the log needs a repository of its own, not the code or GitOps repository"
        for key, value, where, text in (
            ("name", repository.name, (*at, "name"), "give each repository its own name"),
            (
                "forge",
                repository.forge.git_url,
                (*at, "forge", _named_by(repository)),
                "each code repository is declared once",
            ),
        ):
            first_n, _ = seen.setdefault((key, value), (n, None))
            if first_n != n:
                yield where, f"the same as in repositories[{first_n}]; {text}"
        # A log repository may be shared, since each code repository has branches of its own in it: but it is one place.
        first_n, remote = seen.setdefault(("log.path", log.path), (n, log.remote))
        if remote != log.remote:
            yield (*at, "log", "remote"), f"repositories[{first_n}] pushes the same log.path to another remote"


def _publish_problems(
    settings: Settings, repository: RepositorySettings, at: Location
) -> Iterable[tuple[Location, str]]:
    approvals, targets = repository.approvals, repository.targets
    if approvals is not None and approvals.http is not None and settings.listen.public is None:
        yield (*at, "approvals", "http"), "there is no public listener for it: set listen.public, or drop it"
    if not targets:
        return
    if approvals is None:
        yield (*at, "targets"), "nothing reaches a target without an approval: set approvals, or drop the targets"
    if repository.evidence is None:
        yield (*at, "targets"), "a plan is made from a release set: set evidence, or drop the targets"
    if repository.log.remote is None:
        yield (*at, "log", "remote"), "required with targets: what is published is on the log's remote first"
    before: set[str] = set()
    for n, target in enumerate(targets):
        here: Location = (*at, "targets", n)
        if target.name in before:
            yield (*here, "name"), f"{target.name} is already a target of this repository; give each its own name"
        if target.after is not None and target.after not in before:
            yield (*here, "after"), f"no target {target.after!r} comes before this one in the list"
        if target.forge.git_url == repository.forge.git_url:
            yield (*here, "forge"), "it is the code repository; pins live in a GitOps repository of their own"
        if target.commit_key_file == repository.log.key_file:
            yield (*here, "commit_key_file"), "it is the log's key; commits are signed with a key of their own"
        before.add(target.name)


def _role_problems(repository: RepositorySettings, at: Location) -> Iterable[tuple[Location, str]]:
    """Of the roles beside the reconciler: each writes a log branch of its own, with a key of its own."""
    log, forge, lane = repository.log, repository.forge, repository.lane
    proposals = None if lane is None else lane.proposals
    janitor_key = None if repository.janitor is None else repository.janitor.key_file
    commit_key = None if proposals is None else proposals.commit_key_file
    keys: dict[Path, str] = {}
    for name, where, key in (
        ("log.key_file", ("log", "key_file"), log.key_file),
        ("log.operator_key_file", ("log", "operator_key_file"), log.operator_key_file),
        ("janitor.key_file", ("janitor", "key_file"), janitor_key),
        ("lane.proposals.commit_key_file", ("lane", "proposals", "commit_key_file"), commit_key),
    ):
        if key is not None and (other := keys.setdefault(key, name)) != name:
            yield (*at, *where), f"it is {other} too; each writer signs with a key of its own"
    for name, section, what in (
        ("janitor", repository.janitor, "what is deleted"),
        ("tag_gc", repository.tag_gc, "what is deleted"),
        ("lane.proposals", proposals, "what is proposed"),
    ):
        if section is None:
            continue
        if log.remote is None:
            yield (*at, "log", "remote"), f"required with {name}: {what} is on the log's remote first"
        if section is not repository.janitor and log.operator_key_file is None:
            yield (*at, "log", "operator_key_file"), f"required with {name}, which is an operator's command"
    if proposals is not None and lane is not None:
        yield from _proposal_problems(repository, lane, proposals, (*at, "lane", "proposals", "forge"))
    if repository.janitor is None:
        return
    if repository.lane is None:
        yield (*at, "janitor"), "it deletes namespaces of the lane: set lane, or drop it"
    if not isinstance(forge, LocalForgeSettings) and forge.repository_id is None:
        yield (
            (*at, "forge", "repository_id"),
            "required with janitor, which names its log by it and asks no forge: `ameide doctor` shows it",
        )


def _proposal_problems(
    repository: RepositorySettings, lane: LaneSettings, proposals: LaneProposalsSettings, here: Location
) -> Iterable[tuple[Location, str]]:
    forge = proposals.forge
    if forge.git_url == repository.forge.git_url:
        yield here, "it is the code repository; the lane lives in a GitOps repository of its own"
    if not isinstance(forge, LocalForgeSettings) and _plain(forge.git_url) != _plain(lane.gitops_url):
        yield (
            here,
            f"it is {forge.git_url}, and Argo CD reads lane.gitops_url, {lane.gitops_url}; expected one repository",
        )


def _plain(url: str) -> str:
    """Of an https address what tells two repositories apart."""
    return url.removesuffix("/").removesuffix(".git").lower()


_SENDERS: Final = {"github": Sender.GITHUB, "gitea": Sender.GITEA, "gitlab": Sender.GITLAB}


def _named_by(repository: RepositorySettings) -> str:
    return "path" if repository.forge.kind == "local" else "repository"


def _worded(error: ErrorDetails) -> str:
    at, got = tuple(error["loc"]), error["input"]
    match error["type"]:
        case "missing":
            return f"required, but not there: {_meaning(at)}"
        case "extra_forbidden":
            # The value is not shown: under a name we do not know it may be a secret.
            return f"unknown setting; known here are {', '.join(_fields(at[:-1]))}"
        case "value_error":
            text = error["msg"].removeprefix("Value error, ")
            return _cut(text) if isinstance(got, dict) or "got" in text else f"{text}, got {_shown(at, got)}"
        case "union_tag_not_found" | "union_tag_invalid":
            choices = sections_of(_model_at(at[:-1]).model_fields[str(at[-1])].annotation)
            return f"expected kind: {' or '.join(_kind(c) for c in choices)}"
        case "too_short":
            return "expected at least one item, got an empty list"
        case kind if kind in _KINDS:
            return f"expected {_KINDS[kind]}, got {_shown(at, got)}"
        case _:
            text = error["msg"].removeprefix("Input should be ")
            return f"expected {text[:1].lower()}{text[1:]}, got {_shown(at, got)}"


def _shown(at: Location, got: object) -> str:
    match got:
        case None:
            return "nothing (null)"
        case bool():
            return str(got).lower()
        case int():
            return str(got)[:_SHOWN_MAX_CHARS]
        case str() if not at:
            return f"a text of {len(got)} characters (not shown: a file of one text may be a secret)"
        case str() if str(at[-1]).endswith("_file"):
            return f"a text of {len(got)} characters (not shown: this names a secret)"
        case str():
            return repr(_cut(got if len(got) <= _SHOWN_MAX_CHARS else got[:_SHOWN_MAX_CHARS] + "…"))
        case list():
            return f"a list of {len(got)}"
        case _:
            return "a mapping"


def _cut(text: str) -> str:
    """Without the user part of an URL, which may hold a password."""
    return re.sub(r"[^\s/'\"]*@", "…@", text)


def _model_at(at: Location) -> type[BaseModel]:
    return _walked(at)[1]


def _place(at: Location) -> Location:
    """Where a problem is in the file: pydantic's own place also names the `kind` that was chosen."""
    return _walked(at)[0]


def _walked(at: Location) -> tuple[Location, type[BaseModel]]:
    model: type[BaseModel] = Settings
    choices: tuple[type[Section], ...] = ()
    place: list[str | int] = []
    for step in at:
        if len(choices) > 1:
            model, choices = next(c for c in choices if _kind(c) == step), ()
            continue
        place.append(step)
        if isinstance(step, str) and step in model.model_fields:
            choices = sections_of(model.model_fields[step].annotation)
            model = choices[0] if len(choices) == 1 else model
    return tuple(place), model


def _kind(section: type[Section]) -> str:
    return str(section.model_fields["kind"].annotation.__args__[0])  # type: ignore[union-attr]


def sections_of(annotation: object) -> tuple[type[Section], ...]:
    """Every section that a field may hold: several for a choice by `kind`, none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return (annotation,)
    return tuple(s for a in getattr(annotation, "__args__", ()) for s in sections_of(a))


def _fields(at: Location) -> list[str]:
    return list(_model_at(at).model_fields)


def _meaning(at: Location) -> str:
    return " ".join((_walked(at[:-1])[1].model_fields[str(at[-1])].description or "").split())
