"""`ameide log replay|explain|rehearse`: what an auditor asks of a log. Offline, over any clone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS
from reconciler.cli.log_path import BRANCH, PATH, open_log, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.audit.rehearsal import Proposed, Rehearsal

_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
_SHOWN_MAX = 20
"""Differences of one pass that are shown to a person."""


@click.command()
@click.argument("path", type=PATH)
@BRANCH
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: each pass, then the counts.")
def replay(path: Path, branch: str | None, as_json: bool) -> int:
    """Plan every recorded pass again, from what the log holds, and compare the plans byte for byte.

    A pass that was planned by another version of the planner may differ: that is told, and is no finding.

    \b
    Examples:
      ameide log replay log
      ameide log replay log --json | jq 'select(.same == false)'
    Exit codes: 0 all that has to be the same is, 1 a plan differs or the log is damaged, 2 bad input.
    """
    from reconciler.audit.replay import refuse_other_roles
    from reconciler.audit.replay import replay as replayed
    from state import canonical
    from state.plan import PLANNER_VERSION

    reader = open_log(path, branch)
    refuse_other_roles(reader.branch)
    count = same = others = 0
    for found in replayed(reader.entries(), reader.blob):
        count += 1
        same += found.same
        others += not found.same and not found.comparable
        if as_json:
            click.echo(canonical.dumps(found.to_json()))
        elif not found.same:
            version = "" if found.comparable else f", planned by version {found.was.planner_version}"
            click.echo(f"{found.was.at}  entry {found.was.sequence} {found.was.entry}: differs{version}")
            for line in found.differences[:_SHOWN_MAX]:
                click.echo(printable(f"  {line}"))
            if len(found.differences) > _SHOWN_MAX:
                click.echo(f"  and {len(found.differences) - _SHOWN_MAX} more; --json has all")
        elif sys.stderr.isatty() and count % 50 == 0:
            click.echo(f"\r{count} passes", nl=False, err=True)
    differ = count - same - others
    if as_json:
        counts = {"differ": differ, "other_versions": others, "passes": count, "same": same}
        click.echo(canonical.dumps({**counts, "planner_version": PLANNER_VERSION}))
    else:
        told = f"{count} passes: {same} give the same plan byte for byte"
        told += f", {differ} do not" if differ else ""
        told += f", {others} of other versions of the planner do not" if others else ""
        click.echo(f"{told} (planner version {PLANNER_VERSION})")
    return EXIT_FINDINGS if differ else EXIT_CLEAN


@click.command()
@click.argument("path", type=PATH)
@click.argument("subject")
@BRANCH
@_JSON
def explain(path: Path, subject: str, branch: str | None, as_json: bool) -> int:
    """Tell what led to SUBJECT, entry by entry: seen, decided, written, released, approved, proposed.

    SUBJECT is a tag (host/path:HEAD_SHA), a head (40 hex digits), a digest (sha256:…, or host/path@sha256:…), or a
    GitOps pull request (TARGET#N).

    \b
    Examples:
      ameide log explain log ghcr.io/acme/orders:0123456789abcdef0123456789abcdef01234567
      ameide log explain log sha256:94505e376e63…
      ameide log explain log dev#17 --json | jq -r '.steps[].entry'
    Exit codes: 0 told, 1 the log is damaged, 2 bad input, or the log says nothing of it.
    """
    from reconciler.audit.telling import Subject, tell
    from state import canonical
    from state.canonical import Json

    asked = Subject.parse(subject)
    reader = open_log(path, branch)
    chain = tell(reader.entries, reader.blob, asked)
    if as_json:
        steps: list[Json] = [step.to_json() for step in chain.steps]
        click.echo(canonical.dumps({"left_out": chain.left_out, "steps": steps, "subject": subject}))
        return EXIT_CLEAN
    if chain.left_out:
        click.echo(f"{chain.left_out} older tags of this digest are left out; ask for one of them by its head")
    for step in chain.steps:
        click.echo(printable(f"{step.at}  {step.entry.short}  {step.text}"))
    return EXIT_CLEAN


@click.command()
@click.argument("path", type=PATH)
@BRANCH
@click.option("--policy", "approvers", type=PATH, metavar="FILE", help="The approvers' policy to rehearse.")
@click.option("--config", type=PATH, metavar="FILE", help="The configuration to rehearse.")
@click.option("--repo", metavar="NAME", help="The repository's name in that configuration, if it has several.")
@_JSON
def rehearse(  # noqa: PLR0917 - click passes options by name
    path: Path, branch: str | None, approvers: Path | None, config: Path | None, repo: str | None, as_json: bool
) -> int:
    """Say which decisions of the past another policy would have made otherwise. Nothing is asked of anyone.

    --policy judges every recorded approval and admission again; --config every pull request by its `admission`, and
    every recorded verdict by its `verification`. What the log does not hold is counted, never guessed.

    \b
    Examples:
      ameide log rehearse log --policy approvers-new.yaml
      ameide log rehearse log --config ameide-new.yaml --json | jq '.differences | length'
    Exit codes: 0 every decision would have been the same, 1 some would not, or the log is damaged, 2 bad input.
    """
    from reconciler.audit.rehearsal import rehearse as rehearsed
    from reconciler.audit.replay import refuse_other_roles
    from state import canonical

    if approvers is None and config is None:
        raise click.UsageError("nothing to rehearse: give --policy, --config, or both")
    reader = open_log(path, branch)
    refuse_other_roles(reader.branch)
    made = rehearsed(reader.entries(), reader.blob, _proposed(approvers, config, repo))
    if as_json:
        click.echo(canonical.dumps(made.to_json()))
    else:
        for line in _rehearsal_lines(made):
            click.echo(printable(line))
    return EXIT_FINDINGS if made.differences else EXIT_CLEAN


def _proposed(approvers: Path | None, config: Path | None, repo: str | None) -> Proposed:
    from reconciler import wiring
    from reconciler.approval.policy import parse_policy
    from reconciler.approval.signatures import Signers
    from reconciler.audit.rehearsal import Proposed
    from reconciler.declared import MAX_BYTES
    from reconciler.evidence.assembling import policies_of
    from reconciler.publish_wiring import certificates_of
    from reconciler.settings import load, to_policy
    from reconciler.strict_yaml import read_regular

    settings = wiring.repository_named(load(config).settings, repo) if config is not None else None
    signers, certificates = None, None
    if settings is not None and settings.approvals is not None:
        certificates = certificates_of(settings.approvals)
    if approvers is not None:
        raw = read_regular(approvers, max_bytes=MAX_BYTES)
        signers = Signers(parse_policy(raw, what=str(approvers)), certificates)
    if settings is None:
        return Proposed(signers=signers)
    known = certificates is not None
    return Proposed(to_policy(settings), policies_of(settings.verification), signers, certificates=known)


def _rehearsal_lines(made: Rehearsal) -> Iterator[str]:
    for d in made.differences:
        times = f"  ({d.times} passes)" if d.times > 1 else ""
        yield f"{d.at}  {d.entry.short}  {d.area.value}: {d.about}: was {d.was}, would be {d.would_be}{times}"
    for what, count in sorted(made.unknown.items()):
        yield f"not in the log ({count}): {what}"
    looked = ", ".join(f"{count} {what}" for what, count in sorted(made.looked_at.items()))
    yield f"looked at: {looked or 'nothing'}"
    count = len(made.differences)
    yield (f"{count} decision{'s' if count != 1 else ''} would differ" if count else "no decision would differ")
