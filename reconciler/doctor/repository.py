"""What `ameide doctor` tests of one repository: forge, catalogue, GitOps, the log, its key and its remote."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pygit2

from reconciler.adapters.git_push_probe import may_push
from reconciler.adapters.gitops_pygit2 import GitOpsRepository
from reconciler.adapters.handed_over import HandedOverFiles
from reconciler.adapters.local_repository import LocalRepository, blob, target
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.sbom_syft import check_program
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.catalogue import parse_catalogue
from reconciler.code_forge import CodeForge, opened
from reconciler.doctor import forge as doctor_forge
from reconciler.doctor import janitor as doctor_janitor
from reconciler.doctor import log as doctor_log
from reconciler.doctor import publish as doctor_publish
from reconciler.doctor.findings import Finding, Status, attempt, secret
from reconciler.evidence.assembling import authority_of, signer_of
from reconciler.evidence.carrying import BUNDLE_SUFFIX
from reconciler.gitops_forge import inventory_source
from reconciler.ports import Clock, Random, RepositoryIdentity
from reconciler.settings import RepositorySettings, Settings
from reconciler.settings.forge import LocalForgeSettings
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, EvidenceSettings, GitOpsSettings
from state import log_read, log_verify
from state.errors import ConfigError, Denied, ReconcilerError, Terminal, Transient
from state.git import CommitId, RefName
from state.history import History
from state.hold import REMEDY, Reason
from state.log_branch import LogName, Role
from state.observed import Catalogue
from state.oci import Digest

FILE_MAX_BYTES: Final = 1024 * 1024
_PREFIX: Final = ".ameide-doctor-"


def diagnose(
    settings: RepositorySettings, whole: Settings, catalogues: list[Catalogue], clock: Clock, random: Random
) -> Iterator[Finding]:
    """Every check of one repository; the catalogues that could be read are added to `catalogues`."""
    name = settings.name
    own: list[Catalogue] = []
    identity: RepositoryIdentity | None = None
    if not isinstance(settings.forge, LocalForgeSettings):
        yield doctor_forge.credential(name, settings.forge)
    with ExitStack() as stack:
        try:
            forge = stack.enter_context(
                opened(whole, settings, clock=clock, random=random, metrics=PrometheusMetrics())
            )
        except ReconcilerError as error:
            yield Finding(f"{name}: forge", Status.FAIL, str(error), _forge_remedy(settings))
            yield from doctor_forge.app_permissions(settings, whole, clock, random)
        else:
            identity = forge.identity
            yield attempt(f"{name}: forge", functools.partial(doctor_forge.listed, forge), _forge_remedy(settings))
            yield from doctor_forge.permissions(settings, whole, clock, random)
            for branch in settings.admission.base_branches:
                run = functools.partial(_catalogue, settings, forge, branch, own)
                yield attempt(f"{name}: catalogue", run, f"commit a valid {settings.catalogue} to {branch}")
    catalogues += own
    yield from _gitops(settings, whole, own)
    key = settings.log.key_file
    signer = attempt(f"{name}: log key", lambda: f"{key}: {SshSigner.from_file(key).public_key()}", f"chmod 600 {key}")
    yield signer
    log = attempt(f"{name}: log", lambda: _log(settings), "find out who changed the log: `ameide log verify`")
    yield log
    if identity is not None and signer.status is log.status is Status.OK:
        known = identity
        remedy = "name the key file that signed the log so far; a new key must be announced by the old one"
        yield attempt(f"{name}: log key in force", lambda: _key_in_force(settings, known.id), remedy)
        if settings.evidence is not None:
            told = functools.partial(_release_sets, settings, known.id, settings.evidence)
            yield attempt(f"{name}: release sets", told, "find out who changed the log: `ameide log verify`")
    yield from doctor_log.diagnose(settings, whole, identity and identity.id, clock, random)
    if settings.webhook is not None:
        yield secret(f"{name}: webhook secret", settings.webhook.secret_file)
    if settings.preview is not None and settings.preview.token_file is not None:
        yield secret(f"{name}: plugin token", settings.preview.token_file)
    if settings.preview is not None and settings.preview.refresh is not None:
        yield secret(f"{name}: refresh secret", settings.preview.refresh.secret_file)
    yield from _evidence(settings)
    yield from doctor_publish.diagnose(settings, whole, clock, random)
    yield from doctor_publish.lane_proposals(settings, whole, clock, random)
    yield from doctor_janitor.diagnose(settings, whole, clock)


def _evidence(settings: RepositorySettings) -> Iterator[Finding]:
    """The keys and roots that evidence is judged by, and the key that we sign with."""
    if settings.verification.authority is not None:
        kind = settings.verification.authority.kind

        def found() -> str:
            return f"{kind}, {authority_of(settings.verification).digest()}"

        yield attempt(f"{settings.name}: verification", found, "mend the files that verification.authority names")
    if settings.evidence is not None:
        kept = settings.evidence
        yield attempt(
            f"{settings.name}: evidence signer", lambda: _usable(kept), "mend the files that evidence.signer names"
        )
        if (directory := kept.handed_over_dir) is not None:
            yield attempt(
                f"{settings.name}: hand-over", lambda: _readable(directory), "make evidence.handed_over_dir readable"
            )
        if (syft := kept.syft) is not None:
            yield attempt(
                f"{settings.name}: Syft",
                lambda: _executable(syft.program),
                "install Syft where evidence.syft says",
            )


def _readable(directory: Path) -> str:
    HandedOverFiles(directory).files(Digest.of(b""), BUNDLE_SUFFIX)
    return str(directory)


def _executable(program: Path) -> str:
    check_program(program)
    return str(program)


def _usable(evidence: EvidenceSettings) -> str:
    signer, _ = signer_of(evidence)
    # To ask a deployment for the name would make a certificate.
    return f"key {signer.name()}" if evidence.signer.kind == "key" else "sigstore"


def _forge_remedy(settings: RepositorySettings) -> str:
    if isinstance(settings.forge, LocalForgeSettings):
        return f"make it one with `ameide local init {settings.forge.path}`"
    return "check forge.url, forge.repository, and that the credential may see the repository"


def file_at(path: Path, ref: RefName, file: str) -> tuple[CommitId, bytes]:
    """The commit of a ref in a repository on this machine, and a file in it of at most FILE_MAX_BYTES.

    Raises Terminal where one of them is not there.
    """
    repository = LocalRepository(path).open()
    commit = target(repository, ref)
    if commit is None:
        raise Terminal(f"{path}: no {ref}")
    try:
        entry = repository[commit].peel(pygit2.Commit).tree[file]
    except (KeyError, pygit2.GitError) as error:
        raise Terminal(f"{path}: {ref.short} has no file {file}") from error
    return CommitId(commit), blob(repository, str(entry.id), f"{path}: {file} on {ref.short}", FILE_MAX_BYTES)


def catalogue_at(path: Path, ref: RefName, file: str) -> Catalogue:
    """The catalogue at a ref. Raises ConfigError, or Terminal where it is not there."""
    commit, raw = file_at(path, ref, file)
    return parse_catalogue(raw, commit, what=f"{file} on {ref.short}")


def _catalogue(settings: RepositorySettings, forge: CodeForge, branch: str, catalogues: list[Catalogue]) -> str:
    if isinstance(settings.forge, LocalForgeSettings):
        made = catalogue_at(settings.forge.path, RefName.branch(branch), settings.catalogue)
    else:
        with forge.mirror() as mirror:
            tip = mirror.branch_tip(RefName.branch(branch))
            if tip is None:
                raise Terminal(f"{forge.identity.name}: no branch {branch}")
            made = mirror.catalogue(tip)
    catalogues.append(made)
    return f"{len(made.images)} images, {len(made.components)} components, at {made.commit.short}"


def _gitops(settings: RepositorySettings, whole: Settings, catalogues: list[Catalogue]) -> Iterator[Finding]:
    check, gitops = f"{settings.name}: gitops", settings.gitops
    if gitops.credential_file is not None:
        yield secret(f"{check} credential", gitops.credential_file)
    if (known_hosts := gitops.known_hosts_file) is not None:
        remedy = "write the server's host keys there with `ssh-keyscan`, after comparing their fingerprints"
        yield attempt(f"{check} known hosts", lambda: f"{known_hosts}: {known_hosts.stat().st_size} bytes", remedy)
    try:
        yield Finding(check, Status.OK, _inventory(settings, whole, catalogues))
    except (ReconcilerError, OSError) as error:
        yield Finding(check, Status.FAIL, str(error), _gitops_remedy(error, settings))
        return
    if gitops.credential_file is not None:
        remedy = "check gitops.url and the network from here"
        yield attempt(f"{check} permissions", lambda: _only_reads(f"{check} permissions", gitops, whole), remedy)


def _only_reads(check: str, gitops: GitOpsSettings, whole: Settings) -> Finding:
    """This credential reads the inventory; what proposes changes has one of its own."""
    if may_push(
        inventory_source(gitops), whole.state_dir, timeout_s=float(whole.request_timeout_s) * CALL_TIMEOUT_FACTOR
    ):
        remedy = "name one that may only read: the inventory takes no more"
        return Finding(check, Status.WARN, "more than needed: it may push to the GitOps repository", remedy)
    return Finding(check, Status.OK, "it may read, and not push")


def _gitops_remedy(error: Exception, settings: RepositorySettings) -> str:
    gitops = settings.gitops
    match error:
        case OSError():
            return "make state_dir a directory this user may write to"
        case Denied():
            named = " and known_hosts_file" if gitops.known_hosts_file is not None else ""
            return f"check gitops.credential_file{named}, and that this credential may read the repository"
        case Transient():
            return "check gitops.url and the network from here; if the server is down for now, try again later"
        case ConfigError():
            return f"commit a valid {gitops.inventory} to {gitops.ref}"
        case _:
            return "check gitops.url, and that the credential may see the repository"


def _inventory(settings: RepositorySettings, whole: Settings, catalogues: list[Catalogue]) -> str:
    """The inventory, read as a pass reads it, over a mirror that is thrown away."""
    gitops = settings.gitops
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=whole.state_dir) as directory,
        GitOpsRepository(
            Path(directory) / "gitops",
            inventory_source(gitops),
            ref=gitops.ref,
            inventory_path=gitops.inventory,
            timeout_s=float(whole.request_timeout_s) * CALL_TIMEOUT_FACTOR,
        ) as repository,
    ):
        made = repository.inventory()
    for catalogue in catalogues:
        if unknown := sorted(set(made.previewed) - set(catalogue.components)):
            raise ConfigError(f"previewed, but not in the catalogue at {catalogue.commit.short}: {', '.join(unknown)}")
    return f"{len(made.previewed)} previewed components, at {made.commit.short}"


def _log(settings: RepositorySettings) -> str:
    path = settings.log.path
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise Terminal(f"{path}: not there, and {path.parent} is not a directory this user may write to")
        return f"{path}: not there yet; the first start makes it"
    if not log_read.branches(log_read.open_repository(path)):
        return f"{path}: empty"
    report = log_verify.verify(path)
    if report.problems:
        raise Terminal(f"{path}: {len(report.problems)} problems, the first: {report.problems[0].what}")
    return f"{path}: {report.entries} entries verified, not checked against an outside list"


def _release_sets(settings: RepositorySettings, repository_id: int, evidence: EvidenceSettings) -> str | Finding:
    """Whether their repository moves tags can't be asked without moving one: the log has what came of it."""
    path, ref = settings.log.path, LogName(repository_id, Role.RECONCILER).ref
    history = History()
    if path.exists() and ref in log_read.branches(log_read.open_repository(path)):
        for logged in log_read.LogReader(path, ref).entries():
            history.apply(logged.id, logged.entry)
    if not history.unreleasable:
        return f"{len(history.released)} open heads have one"
    heads = ", ".join(head[:12] for head in sorted(history.unreleasable)[:10])
    return Finding(
        f"{settings.name}: release sets",
        Status.WARN,
        f"{evidence.release_sets} keeps another release set than ours at the tags of {heads}",
        f"{REMEDY[Reason.RELEASE_REFUSED]}; `ameide registry probe` measures it",
    )


def _key_in_force(settings: RepositorySettings, repository_id: int) -> str:
    path = settings.log.path
    ref = LogName(repository_id, Role.RECONCILER).ref
    if not path.exists() or ref not in log_read.branches(log_read.open_repository(path)):
        return f"{path}: no {ref.short} yet; the first start begins it with this key"
    expected = log_read.key_in_force(log_read.LogReader(path, ref))
    found = SshSigner.from_file(settings.log.key_file).public_key()
    if found != expected:
        raise ConfigError(f"{settings.log.key_file}: expected the key in force in {ref.short}, {expected}, got {found}")
    return f"{ref.short}: the configured key"
