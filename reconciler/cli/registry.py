"""`ameide registry`: the embedded OCI registry, and what any registry really does."""

from __future__ import annotations

import json
import logging
import signal
import threading
from pathlib import Path

import click

from reconciler.cli.registry_probe import command as probe


@click.group("registry")
def command() -> None:
    """Serve the embedded OCI registry, or probe another one."""


command.add_command(probe)


@command.command("serve")
@click.option(
    "--root",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the images lie: one OCI image layout per repository. Made if it is missing.",
)
@click.option(
    "--listen",
    default="127.0.0.1:5000",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to serve; port 0 takes a free one. Other than loopback only with --credentials.",
)
@click.option(
    "--credentials",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="user:password lines, readable by its owner only. Passwords go over plain HTTP: put TLS in front.",
)
@click.option("--anonymous-pull", is_flag=True, help="With --credentials: reading needs none.")
@click.option("--json", "as_json", is_flag=True, help="Say where it listens as one line of JSON.")
def serve(root: Path, listen: str, credentials: Path | None, anonymous_pull: bool, as_json: bool) -> None:
    """Serve an OCI registry (distribution-spec v1.1) from a directory, until SIGTERM or Ctrl-C.

    \b
    Example:
      ameide registry serve --root ./registry --listen 127.0.0.1:5000
      skopeo copy --dest-tls-verify=false docker://docker.io/library/alpine:3 docker://127.0.0.1:5000/alpine:3
      skopeo inspect oci:./registry/alpine:3

    Stopping it, even by kill -9, loses nothing that was answered; unfinished uploads are started again.
    Large request bodies pass through the system's temporary directory (TMPDIR).
    """
    from reconciler.registry.access import Credentials
    from reconciler.registry.server import Address, RegistryServer

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It warns whenever a request waits for a thread for a moment, which is how group commit works.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    stop = threading.Event()
    users = None if credentials is None else Credentials.load(credentials)
    server = RegistryServer(root, Address.parse(listen), credentials=users, anonymous_pull=anonymous_pull)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        if as_json:
            click.echo(json.dumps({"url": server.url, "host": server.host, "root": str(root.resolve())}))
        else:
            click.echo(f"Serving {server.url}/v2/ from {root.resolve()}, one OCI image layout per repository.")
            click.echo("Stop with Ctrl-C or SIGTERM.")
        server.wait(stop)
    if not as_json:
        click.echo("Stopped; every answered push is on disk.")
