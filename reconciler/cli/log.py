"""`ameide log`: read and verify a log, offline."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS, log_audit, log_export
from reconciler.cli.log_path import BRANCH, open_log, printable
from reconciler.cli.log_path import PATH as _PATH

if TYPE_CHECKING:
    from reconciler.audit.filters import Filter, Selection
    from state.entry import Logged
    from state.log_read import LogReader, Span
    from state.log_verify import BranchReport, VerifyReport

YEAR = click.IntRange(min=1970, max=9999)


@click.group()
def command() -> None:
    """Read and verify the log.

    PATH is the bare log repository, or any clone of it. Nothing is fetched, changed or asked of anyone.
    """


command.add_command(log_audit.replay)
command.add_command(log_audit.explain)
command.add_command(log_audit.rehearse)
command.add_command(log_export.export)


@command.command()
@click.argument("path", type=_PATH)
@BRANCH
@click.option("--kind", metavar="K", help="Only entries of this kind, such as decision or intent.")
@click.option("--pr", type=click.IntRange(min=1), metavar="N", help="Only entries about this pull request.")
@click.option("--head", metavar="SHA", help="Only entries about this head (7 to 40 hex digits).")
@click.option("--image", metavar="REPO", help="Only entries that name this image repository, such as ghcr.io/acme/web.")
@click.option("--component", metavar="C", help="Only entries that name this component, or the image that it is.")
@click.option("--year", type=YEAR, metavar="Y", help="Only entries of this year, as `ameide log verify` counts them.")
@click.option("--since", metavar="T", help="Not before this day or moment in UTC, such as 2026-01-31.")
@click.option("--until", metavar="T", help="Not after this day or moment in UTC, such as 2026-01-31T23:59:59Z.")
@click.option("--by", metavar="NAME", help="Only entries by this writer, or that name this person as signer.")
@click.option("--key", metavar="FP", help="Only entries signed by the key of this fingerprint, SHA256:…")
@click.option("--text", metavar="TEXT", help="Only entries with this text somewhere, in whatever case.")
@click.option("-n", "--last", type=click.IntRange(min=1, max=2**31), metavar="N", help="Only the newest N of them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the whole entry.")
def show(path: Path, branch: str | None, last: int | None, year: int | None, as_json: bool, **asked: Any) -> None:
    """Show entries, one a line, newest last. Signatures are not checked: see `ameide log verify`.

    All that is given has to fit. Several code repositories, or roles, are several logs: choose by --branch.

    \b
    Examples:
      ameide log show /var/lib/ameide/log.git -n 20
      ameide log show log.git --kind decision --pr 42
      ameide log show log.git --component orders --since 2026-01-01 --until 2026-01-31
      ameide log show log.git --by alice
      ameide log show log.git --head 3f1c9ab --json | jq .body
    """
    from reconciler.audit.filters import Selection

    wanted = _filter(**asked)
    reader = open_log(path, branch)
    selection = Selection(wanted, reader.blob, reader.signer)
    for logged in _selected(reader, selection, last, _span(path, reader, year)):
        click.echo(_json(logged.to_json()) if as_json else _line(logged))


@command.command()
@click.argument("path", type=_PATH)
@click.option("--branch", metavar="B", help="Only this log, such as log/4711/reconciler. Default: every log in PATH.")
@click.option(
    "--allowed-signers",
    type=_PATH,
    metavar="FILE",
    help="OpenSSH list of the keys that may sign, from outside the log.",
)
@click.option("--anchor", metavar="SHA", help="An entry seen before; it must still be part of the log.")
@click.option("--verified", metavar="SHA", help="An entry up to which it was verified before: check what follows it.")
@click.option(
    "--year", type=YEAR, metavar="Y", help="Only the entries of this year; the years before count as verified."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def verify(  # noqa: PLR0917 - click passes options by name
    path: Path,
    branch: str | None,
    allowed_signers: Path | None,
    anchor: str | None,
    verified: str | None,
    year: int | None,
    as_json: bool,
) -> int:
    """Verify every entry: form, chain, numbers, epochs, signatures, and the blobs that entries name.

    A log alone cannot show that its end was cut off, or that its own writer rewrote it: give --anchor, an entry id that
    you kept. It cannot show whose keys these are: give --allowed-signers.

    Exit codes: 0 clean, 1 findings, 2 bad input.

    \b
    Examples:
      git clone https://git.example/log.git && ameide log verify log
      ameide log verify log.git --allowed-signers signers --anchor 8f0e…
      ameide log verify log.git --verified 8f0e…    # later: only what is new
      ameide log verify log.git --year 2026
      ameide log verify log.git --branch log/4711/janitor --json
    """
    from state import log_verify
    from state.git import CommitId

    if year is not None and verified is not None:
        raise click.UsageError("give --year or --verified, not both: a year stands on the end of the one before")
    report = log_verify.verify(
        path,
        branch,
        allowed_signers_file=allowed_signers,
        anchor=CommitId(anchor) if anchor is not None else None,
        verified=CommitId(verified) if verified is not None else None,
        year=year,
        progress=_progress if sys.stderr.isatty() else None,
    )
    if as_json:
        click.echo(_json(report.to_json()))
    else:
        for line in _report_lines(report):
            click.echo(line)
    return EXIT_CLEAN if report.clean else EXIT_FINDINGS


def _filter(  # noqa: PLR0917 - click passes options by name
    kind: str | None,
    pr: int | None,
    head: str | None,
    image: str | None,
    component: str | None,
    since: str | None,
    until: str | None,
    by: str | None,
    key: str | None,
    text: str | None,
) -> Filter:
    from reconciler.audit.filters import Filter, moment
    from state.entry import Kind

    if kind is not None and kind not in set(Kind):
        raise click.BadParameter(f"{kind!r} is not one of {', '.join(Kind)}", param_hint="--kind")
    if head is not None and (not 7 <= len(head) <= 40 or set(head) - set("0123456789abcdef")):
        raise click.BadParameter("expected 7 to 40 lower-case hex digits", param_hint="--head")
    if key is not None and not key.startswith("SHA256:"):
        raise click.BadParameter("expected a fingerprint as ssh-keygen -l shows it, SHA256:…", param_hint="--key")
    return Filter(
        kind=Kind(kind) if kind is not None else None,
        pull_request=pr,
        head=head,
        repository=image,
        component=component,
        since=moment(since) if since is not None else None,
        until=moment(until, end=True) if until is not None else None,
        by=by,
        key=key,
        text=text.casefold() if text is not None else None,
    )


def _span(path: Path, reader: LogReader, year: int | None) -> Span:
    from state import log_years
    from state.log_read import WHOLE, open_repository

    return WHOLE if year is None else log_years.spans(open_repository(path), [reader.branch], year)[reader.branch]


def _selected(reader: LogReader, selection: Selection, last: int | None, span: Span) -> Iterable[Logged]:
    """Streamed: at most `last` entries are held at once, and without it one."""
    if selection.needs_order and span.after is not None:
        for logged in reader.entries(span._replace(after=None, last=span.after)):
            selection.wanted(logged)  # what it has to know of the years before
    if last is None:
        return filter(selection.wanted, reader.entries(span))
    if selection.needs_order:
        return deque(filter(selection.wanted, reader.entries(span)), maxlen=last)
    return reversed(list(islice(filter(selection.wanted, reader.newest_first(span.last, span.after)), last)))


def _line(logged: Logged) -> str:
    from state.entry import subject

    entry = logged.entry
    return printable(f"{entry.at}  {logged.id.short}  epoch {entry.epoch}  {entry.writer}  {subject(entry)}")


def _json(value: Any) -> str:
    # ASCII only, so that every control character is spelt out, DEL too.
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _report_lines(report: VerifyReport) -> Iterator[str]:
    for problem in report.repository_problems:
        yield printable(f"PROBLEM  {problem.entry or 'repository'}: {problem.what}")
    for branch in report.branches:
        yield from _branch_lines(branch)
    if report.checked_against_outside_list:
        yield "keys: checked against the list of allowed signers"
    else:
        yield "keys: not checked against an outside list (--allowed-signers)"
    if report.anchor is None and not any(branch.verified is not None for branch in report.branches):
        yield "end of log: not checked against an entry seen before (--anchor)"
    count = len(report.problems)
    yield "clean" if report.clean else f"{count} problem{'s' if count != 1 else ''}"


def _branch_lines(branch: BranchReport) -> Iterator[str]:
    of = f" of {branch.year}" if branch.year is not None else ""
    after = f" after {branch.verified}, which was verified before" if branch.verified is not None else ""
    yield printable(f"{branch.branch}: {branch.entries} entries{of}, {branch.epochs} epochs{after}")
    yield f"  first {branch.first or 'none'}"
    yield f"  last  {branch.last or 'none'}"
    for key in branch.keys:
        yield printable(f"  key   {key}")
    if branch.years:
        yield f"  years {', '.join(map(str, branch.years))} closed"
    for word, findings in (("PROBLEM", branch.problems), ("warning", branch.warnings)):
        for entry, sequence, what in findings:
            where = f"entry {sequence if sequence is not None else '?'} {entry}" if entry else "log"
            yield printable(f"  {word}  {where}: {what}")


def _progress(branch: str, done: int, total: int) -> None:
    end = "\n" if done == total else ""
    click.echo(f"\r{printable(branch)}: {done} of {total} entries", nl=False, err=True)
    click.echo(end, nl=False, err=True)
