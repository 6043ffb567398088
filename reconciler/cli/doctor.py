"""`ameide doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reconciler.cli import EXIT_BAD_INPUT, EXIT_CLEAN, EXIT_FINDINGS

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command("doctor")
@click.option("--config", "file", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON list.")
def command(file: Path, as_json: bool) -> int:
    """Test everything the configuration names, and say the remedy of each finding. Changes nothing outside.

    Exit codes: 0 all is well, 1 findings, 2 the configuration is not valid.
    """
    from reconciler.adapters.clock import SystemClock, SystemRandom
    from reconciler.doctor.diagnosis import diagnose
    from reconciler.doctor.findings import Finding, Status
    from reconciler.settings import load
    from state.errors import ConfigError

    findings = []
    code = EXIT_CLEAN
    try:
        loaded = load(file)
    except ConfigError as error:
        remedy = f"ameide config check {file}"
        findings.append(Finding("config", Status.FAIL, str(error), remedy))
        code = EXIT_BAD_INPUT
        _show(findings[0], quiet=as_json)
    else:
        for finding in diagnose(loaded, SystemClock(), SystemRandom()):
            findings.append(finding)
            _show(finding, quiet=as_json)
        if any(f.status is not Status.OK for f in findings):
            code = EXIT_FINDINGS
    if as_json:
        click.echo(json.dumps([{k: str(v) for k, v in f._asdict().items()} for f in findings], indent=2))
    return code


def _show(finding: tuple[str, str, str, str], *, quiet: bool) -> None:
    if quiet:
        return
    check, status, found, remedy = finding
    click.echo(f"{click.style(f'{status:4}', fg=_STYLES[status])} {check}: {found}")
    if remedy:
        click.echo(f"     → {remedy}")
