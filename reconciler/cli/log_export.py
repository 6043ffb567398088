"""`ameide log export`: one file with everything that proves a head."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN
from reconciler.cli.log_path import BRANCH, PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.audit.exporting import Sources


@click.command()
@click.option("--config", type=PATH, required=True, metavar="FILE", help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
@BRANCH
@click.option("--sha", required=True, metavar="HEAD", help="The head (40 hex digits); it has to be complete.")
@click.option("--out", type=PATH, required=True, metavar="FILE", help="The file to make; it must not be there yet.")
@click.option("--approvers", type=PATH, multiple=True, metavar="FILE", help="An approvers' policy of an earlier time.")
@click.option("--allowed-signers", type=PATH, metavar="FILE", help="Check the log against this list, and name it.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def export(  # noqa: PLR0917 - click passes options by name
    config: Path,
    repo: str | None,
    branch: str | None,
    sha: str,
    out: Path,
    approvers: tuple[Path, ...],
    allowed_signers: Path | None,
    as_json: bool,
) -> int:
    """Gather everything that proves HEAD into one file: log, release set, evidence, approvals, policies, keys.

    Reads the log and the registry. The file is checked offline by `ameide evidence verify --file`, or with tar, git,
    ssh-keygen and cosign alone: see docs/auditor-guide.md.

    \b
    Examples:
      ameide log export --config ameide.yaml --sha 0123…4567 --out evidence.tar
      ameide log export --config ameide.yaml --sha 0123…4567 --out e.tar --approvers approvers-2025.yaml
    Exit codes: 0 written, 1 something does not hold, 2 bad input, 3 a dependency failed.
    """
    import tempfile

    from reconciler.audit.evidence_file import pack
    from reconciler.audit.exporting import gather
    from state.errors import ConfigError
    from state.git import CommitId

    head = CommitId(sha)
    if out.exists():
        raise ConfigError(f"{out}: is there already; name another file, or remove it")
    with (
        tempfile.TemporaryDirectory(prefix="ameide-export-") as folder,
        _sources(config, repo, branch, approvers, allowed_signers) as sources,
    ):
        index = gather(sources, head, Path(folder))
        pack(Path(folder), index, out)
    if as_json:
        click.echo(index.to_bytes())
    else:
        click.echo(
            f"{out}: {len(index.files)} members, {len(index.evidence)} pieces of evidence, "
            f"{len(index.approvals)} approvals; the log ends with {index.log_tip}"
        )
    return EXIT_CLEAN


@contextmanager
def _sources(
    config: Path,
    repo: str | None,
    branch: str | None,
    approvers: tuple[Path, ...],
    allowed_signers: Path | None,
) -> Iterator[Sources]:
    import sys

    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.audit.exporting import Sources
    from reconciler.audit.trusted import trusted_of
    from reconciler.cli.log_path import open_log
    from reconciler.events import to_stream
    from reconciler.evidence.assembling import signer_of
    from reconciler.settings import load
    from state.errors import ConfigError
    from state.log_branch import Role
    from state.oci import Repository

    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    if settings.evidence is None:
        raise ConfigError(f"{config}: {settings.name} publishes no release sets; add its section `evidence`")
    _, own = signer_of(settings.evidence)
    believed = trusted_of(settings.evidence, settings.verification, settings.approvals)
    current = [settings.approvals.approvers_file] if settings.approvals is not None else []
    emit = to_stream(sys.stderr, SystemClock(), human=True)
    with wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        yield Sources(
            log_path=settings.log.path,
            log=open_log(settings.log.path, branch, role=Role.RECONCILER),
            reader=common.registries,
            release_sets=Repository(settings.evidence.release_sets),
            own=own,
            signer=believed.signer,
            builder=believed.builder,
            approvers_root=believed.approvers_root,
            trust_files=believed.files,
            approvers=(*current, *approvers),
            allowed_signers=allowed_signers,
        )
