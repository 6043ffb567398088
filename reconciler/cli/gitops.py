"""`ameide gitops`: what a GitOps repository holds, written and checked."""

from __future__ import annotations

import click

from reconciler.cli.check_images import check_images
from reconciler.cli.gitops_lane import lint, render
from reconciler.cli.gitops_propose import propose


@click.group()
def command() -> None:
    """The preview lane of Argo CD as files, and the rules a GitOps repository has to keep."""


command.add_command(render)
command.add_command(propose)
command.add_command(lint)
command.add_command(check_images)
