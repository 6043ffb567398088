"""`ameide demo`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.demo.story import Stage
    from reconciler.passes import PassReport
    from state.log_verify import VerifyReport


@click.command("demo")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="An empty directory to keep it all in.")
@click.option("--no-serve", is_flag=True, help="End when the story is told, instead of going on reconciling.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object when the story is told.")
def command(directory: Path | None, no_serve: bool, as_json: bool) -> int:
    """Run the whole path on this machine: pull requests, passes, approvals, a GitOps pull request, the log verified.

    Needs nothing but Python and git. Without --no-serve it then goes on reconciling until Ctrl-C, so that you can open,
    push and close pull requests of your own and watch.

    \b
    Examples:
      ameide demo
      ameide demo --no-serve --json --dir /tmp/shop | jq '.matrix[] | select(.pr == 2)'
    """
    from reconciler.cli.tables import console, show_matrix
    from reconciler.demo.story import Telling, stage, summary, tell

    root = (directory or Path(tempfile.mkdtemp(prefix="ameide-demo-"))).absolute()
    out = console(stderr=as_json)
    telling = Telling(
        chapter=lambda text: out.print(f"\n[bold]{text}[/bold]"),
        matrix=lambda report, title: show_matrix(out, report.cells, title),
        text=lambda text: out.print(text, markup=False, highlight=False, soft_wrap=True),
    )
    with stage(root) as (set_stage, world):
        out.print(f"Code, GitOps and log repositories and a registry with four images, in {root}", markup=False)
        with (root / "events.jsonl").open("w", encoding="utf-8") as events:
            last, verified = tell(set_stage, world, telling, events)
        if as_json:
            click.echo(json.dumps(summary(set_stage, last, verified, telling), indent=2))
        _show_end(out, set_stage, verified, last)
        if not no_serve:
            _serve(out, set_stage)
    return EXIT_CLEAN if verified.clean else EXIT_FINDINGS


def _for_others(set_stage: Stage, last: PassReport) -> tuple[str, ...]:
    """What cosign and oras say of an image and of the release set at the story's end."""
    from state.release_set import PREDICATE_TYPE

    cell = next(c for c in last.cells if c.release is not None and c.image is not None)
    image, released = f"{cell.image}:{cell.head}", f"{set_stage.release_sets}:{cell.head}"
    verify = "cosign verify-attestation --insecure-ignore-tlog"
    return (
        f"{verify} --key {quote(str(set_stage.ci_key))} --type slsaprovenance1 {image}",
        f"{verify} --key {quote(str(set_stage.own_key))} --type {PREDICATE_TYPE} {released}",
        f"oras discover --plain-http {image}",
        f"oras pull --plain-http --output {quote(str(set_stage.root))} {released}",
    )


def _show_end(out: Console, set_stage: Stage, verified: VerifyReport, last: PassReport) -> None:
    verdict = "clean" if verified.clean else f"{len(verified.problems)} problems"
    out.print(f"{verified.entries} entries, {verdict}\n", markup=False)
    root = set_stage.root
    out.print("Where everything lies", style="bold")
    for what, where in (
        ("code, pull requests", set_stage.code),
        ("GitOps", root / "shop-gitops.git"),
        ("log", set_stage.ledger),
        ("registry", f"http://{set_stage.registry} (an OCI layout per image below {root / 'registry'})"),
        ("configuration", set_stage.config),
        ("events of the process", root / "events.jsonl"),
    ):
        out.print(f"  {what:<22}{where}", markup=False, soft_wrap=True)
    out.print("\nTry next", style="bold")
    ledger, code, config = (quote(str(p)) for p in (set_stage.ledger, set_stage.code, set_stage.config))
    for line in (
        f"ameide log verify {ledger} --allowed-signers {quote(str(set_stage.allowed_signers))}",
        f"ameide log show {ledger}",
        f"git -C {ledger} log --oneline log/1001/reconciler",
        f"ameide local pr list --repo {code}",
        f"ameide local pr list --repo {quote(str(root / 'shop-gitops.git'))}   # merge it: ameide local pr merge",
        f"ameide approval list --log {ledger}",
        f"ameide registry serve --root {quote(str(root / 'registry'))} --listen {set_stage.registry}   # then:",
        f"ameide reconciler explain --config {config} --pr 2 --component orders",
        *_for_others(set_stage, last),
    ):
        out.print(f"  {line}", markup=False, soft_wrap=True)


def _serve(out: Console, set_stage: Stage) -> None:
    """Go on reconciling in the foreground, as `ameide reconciler run` does."""
    from reconciler.adapters.clock import SystemClock
    from reconciler.cli.tables import show_matrix
    from reconciler.daemon import Daemon, stopping_on_signals
    from reconciler.events import to_stream
    from reconciler.web.host import Host

    shown: dict[str, object] = {}

    def show(name: str, report: PassReport) -> None:
        if shown.get(name) != report.cells:
            shown[name] = report.cells
            show_matrix(out, report.cells, f"{name}: after pass {report.pass_id}")

    def listening(host: Host) -> None:
        address = host.private_address
        if address is not None:
            where = f"http://{address[0]}:{address[1]}"
            out.print(f"\nReconciling every 2 s. Status page: {where}/", markup=False)
            out.print(f"Health and metrics: {where}/readyz, {where}/metrics", markup=False)
        out.print("Open, push or close pull requests in another terminal; Ctrl-C ends it.\n", markup=False)

    with (set_stage.root / "events.jsonl").open("a", encoding="utf-8") as events:
        daemon = Daemon(set_stage.config, to_stream(events, SystemClock(), human=False), show)
        with stopping_on_signals(daemon.stop):
            daemon.run(listening)
    sys.stdout.flush()
