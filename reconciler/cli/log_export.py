"""stub"""

import click


@click.command()
def export() -> int:
    """stub"""
    return 0
