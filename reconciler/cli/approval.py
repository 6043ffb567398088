"""`ameide approval`: what approvers do on their own machine, and what a log says of their markers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS
from reconciler.cli.approval_log import explain, list_markers, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.approval.served import ServedPlan
    from reconciler.approver_machine import Brought, Checked
    from state.canonical import Json

_PATH = click.Path(path_type=Path)
_CONFIG = click.option("--config", type=_PATH, required=True, help="The approver's file, approver.yaml.")
_PR = click.option("--pr", type=click.IntRange(min=1), required=True, metavar="N", help="The pull request.")
_TARGET = click.option("--target", required=True, metavar="T", help="The target, such as dev.")
_HEAD = click.option("--head", required=True, metavar="SHA", help="Its head, 40 hex digits.")
_LIFE = click.option("--life", default="4h", show_default=True, metavar="T", help="How long it counts: 30m, 4h, 1d.")
_OUT = click.option("--out", type=_PATH, metavar="FILE", help="Write the marker here and bring it nowhere.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")


@click.group()
def command() -> None:
    """Look at what a publish would pin, approve exactly that, take it back, and see what became of it.

    An approval is a signed statement about one plan for one head; how it travels does not matter. Each approver signs
    a marker of their own: where a target needs several, they add up. See docs/approvals.md.
    """


command.add_command(list_markers)
command.add_command(show)
command.add_command(explain)


@command.command()
@_CONFIG
@_PR
@_TARGET
@_JSON
def plan(config: Path, pr: int, target: str, as_json: bool) -> int:
    """Show the plan for a pull request's head, checked against the head's signed release set.

    Nothing that the server says is taken for granted: the digest is computed here, and every image has to be in the
    release set that the configured signer signed.

    \b
    Examples:
      ameide approval plan --config approver.yaml --pr 41 --target dev
      ameide approval plan --config approver.yaml --pr 41 --target dev --json | jq -r .digest
    Exit codes: 0 it can be approved, 1 the head is incomplete or the plan is not the release set's, 2 bad input, 3 a
    dependency failed.
    """
    from reconciler.approver_machine import opened

    with opened(config) as approver:
        checked = approver.checked(approver.asked(pr, target))
    if as_json:
        _write(_as_json(checked))
    else:
        _show(checked)
    return EXIT_CLEAN if checked.holds else EXIT_FINDINGS


@command.command()
@_CONFIG
@_PR
@_HEAD
@click.option("--plan", "digest", required=True, metavar="DIGEST", help="The plan, sha256:…, as `plan` showed it.")
@_TARGET
@_LIFE
@_OUT
@_JSON
def grant(  # noqa: PLR0917 - click passes options by name
    config: Path, pr: int, head: str, digest: str, target: str, life: str, out: Path | None, as_json: bool
) -> int:
    """Approve one plan for one head: everything that `plan` checks is checked again, then it is signed and brought.

    Head and plan are named in full, so that nothing newer is approved by accident.

    \b
    Examples:
      ameide approval grant --config approver.yaml --pr 41 --head 0123…4567 --plan sha256:89ab… --target dev
      ameide approval grant --config approver.yaml --pr 41 --head 0123…4567 --plan sha256:89ab… --target dev \\
        --life 30m --out marker.json
    Exit codes: 0 signed and brought, 1 it is not what you named, or not the release set's; nothing was signed, 2 bad
    input, 3 a dependency failed.
    """
    import secrets

    from reconciler.approval.granting import approval_of, life_s
    from reconciler.approver_machine import now_s, opened
    from state.git import CommitId
    from state.oci import Digest

    seconds, commit, plan_digest = life_s(life), CommitId(head), Digest(digest)
    with opened(config) as approver:
        asked = approver.asked(pr, target)._replace(head=commit, plan=plan_digest)
        checked = approver.checked(asked)
        if checked.served is None or not checked.holds:
            if as_json:
                _write(_as_json(checked))
            else:
                _show(checked)
            click.echo("ameide: nothing was signed", err=True)
            return EXIT_FINDINGS
        marker = approval_of(checked.served, approver.settings.principal, secrets.token_hex(16), now_s(), seconds)
        brought = approver.brings(marker, out)
    _told(brought, marker.id, {"not_after": marker.not_after, "plan": marker.plan}, as_json)
    return EXIT_CLEAN


@command.command()
@click.argument("marker_id", metavar="ID")
@_CONFIG
@_OUT
@_JSON
def revoke(marker_id: str, config: Path, out: Path | None, as_json: bool) -> int:
    """Take back the approval or admission ID (32 hex digits).

    It counts if you signed that marker, or are among the revokers of its target. Before the publish nothing happens
    then; after it, its GitOps pull request is closed as long as it is open.

    \b
    Example:
      ameide approval revoke --config approver.yaml 0123456789abcdef0123456789abcdef
    Exit codes: 0 signed and brought, 2 bad input, 3 a dependency failed.
    """
    from reconciler.approval.granting import revocation_of
    from reconciler.approver_machine import now_s, opened

    with opened(config) as approver:
        settings = approver.settings
        marker = revocation_of(settings.repository.id, settings.principal, marker_id, now_s())
        brought = approver.brings(marker, out)
    _told(brought, marker_id, {}, as_json)
    return EXIT_CLEAN


@command.command()
@_CONFIG
@_PR
@_HEAD
@click.option(
    "--fork-id",
    type=click.IntRange(min=1),
    required=True,
    metavar="ID",
    help="Numeric id of the repository that the head is in.",
)
@_LIFE
@_OUT
@_JSON
def admit(  # noqa: PLR0917 - click passes options by name
    config: Path, pr: int, head: str, fork_id: int, life: str, out: Path | None, as_json: bool
) -> int:
    """Let one head of a fork, or of an author outside, be previewed. A push needs another admission.

    Read the change first: its code will be built and run. Needs `policy_file` in approver.yaml.

    \b
    Example:
      ameide approval admit --config approver.yaml --pr 41 --head 0123…4567 --fork-id 666
    Exit codes: 0 signed and brought, 2 bad input, 3 a dependency failed.
    """
    import secrets

    from reconciler.approval.granting import admission_of, life_s
    from reconciler.approver_machine import now_s, opened
    from state.errors import ConfigError
    from state.git import CommitId

    seconds, commit = life_s(life), CommitId(head)
    with opened(config) as approver:
        asked = approver.asked(pr, None)._replace(head=commit)
        if asked.policy is None:
            raise ConfigError(f"{config}: policy_file is required here: an admission names the policy that it is under")
        principal = approver.settings.principal
        marker = admission_of(asked, fork_id, principal, secrets.token_hex(16), now_s(), seconds)
        brought = approver.brings(marker, out)
    _told(brought, marker.id, {"not_after": marker.not_after}, as_json)
    return EXIT_CLEAN


def _as_json(checked: Checked) -> Mapping[str, Json]:
    served = checked.served
    return {
        "against": list(checked.against),
        "digest": served.plan.digest() if served is not None else None,
        "missing": list(checked.missing),
        "plan": served.to_json() if served is not None else None,
    }


def _show(checked: Checked) -> None:
    from rich.text import Text

    from reconciler.cli.tables import console

    out = console()
    for line in checked.missing:
        out.print(Text(f"missing: {_spelt(line)}"), soft_wrap=True)
    for line in checked.against:
        out.print(Text(f"do not approve: {_spelt(line)}"), soft_wrap=True)
    if checked.served is None or checked.against:
        return
    _show_plan(checked.served)
    out.print("Every image is the one of the signed release set.")


def _show_plan(served: ServedPlan) -> None:
    from rich.table import Table
    from rich.text import Text

    from reconciler.cli.tables import console

    out, plan_ = console(), served.plan
    out.print(Text(f"#{plan_.pull_request} at {plan_.head}, for {_spelt(served.base.short)}"), soft_wrap=True)
    where = f"target {plan_.target.name}: environment {plan_.target.environment}, branch "
    out.print(Text(where + _spelt(plan_.target.base.short)), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("component", "image", "digest"):
        table.add_column(heading, overflow="fold")
    for edit in plan_.edits:
        table.add_row(Text(_spelt(edit.component)), Text(edit.repository.path), edit.digest.hex[:12])
    out.print(table)
    for edit, current in zip(plan_.edits, served.current, strict=True):
        out.print(Text(f"{_spelt(edit.file)}: {_spelt(edit.key)}"), soft_wrap=True)
        if current != edit.image:
            out.print(Text(f"- {'(not known)' if current is None else _spelt(current)}", "red"), soft_wrap=True)
        out.print(Text(f"{' ' if current == edit.image else '+'} {edit.image}", "green"), soft_wrap=True)
    for approval in served.approvals:
        said = f"{_spelt(approval.code)}: {_spelt(approval.text)}" if approval.code else "recorded"
        out.print(Text(f"approval {_spelt(approval.id)}: {said}"), soft_wrap=True)
    out.print(Text(f"policy {served.policy}\nplan   {plan_.digest()}"), soft_wrap=True)


def _spelt(text: str) -> str:
    """What the server says is only a text: what could steer a terminal or deceive the eye is spelt out."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def _told(brought: Brought, marker_id: str, more: Mapping[str, Json], as_json: bool) -> None:
    from rich.text import Text

    from reconciler.cli.tables import console

    if as_json:
        _write({"id": marker_id, "marker": brought.marker, "where": brought.where, **more})
        return
    out = console()
    out.print(Text(f"id     {marker_id}\nmarker {brought.marker}\nto     {brought.where}"), soft_wrap=True)
    out.print("Whether it counts is judged there, by what is true then.")


def _write(value: Mapping[str, Json]) -> None:
    from state import canonical

    click.echo(canonical.dumps(dict(value)))
