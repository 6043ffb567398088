"""`ameide gitops`: what may stand in a GitOps repository."""

from __future__ import annotations

import click

from reconciler.cli.check_images import check_images


@click.group()
def command() -> None:
    """GitOps repositories: what is checked in them."""


command.add_command(check_images)
