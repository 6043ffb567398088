"""The command tree: nouns first, one module a noun, help grouped by who needs it.

Exit codes: 0 done or clean, 1 findings or not converged, 2 bad input or configuration, 3 a dependency failed for now.
A command's module is imported only when that command runs, so `--help` is quick.
"""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Final, NamedTuple

import click

from reconciler import __version__
from state.errors import Fenced, IntegrityError, ReconcilerError, StaleObservation, Terminal, Transient

EXIT_CLEAN: Final = 0
EXIT_FINDINGS: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_DEPENDENCY: Final = 3


class _Command(NamedTuple):
    role: str
    module: str
    help: str


_ROLES: Final = ("Start here", "Operator", "Approver", "Auditor", "Developer")
_COMMANDS: Final[dict[str, _Command]] = {
    "demo": _Command("Start here", "demo", "Run the whole path on this machine, on real parts."),
    "init": _Command("Start here", "init", "Write a working configuration from two repositories."),
    "doctor": _Command("Start here", "doctor", "Test every credential, permission and capability."),
    "config": _Command("Operator", "config", "Check, explain or describe the configuration."),
    "reconciler": _Command("Operator", "reconciler", "Run passes: once, plan, run, explain."),
    "forge": _Command("Operator", "forge", "Measure the request budget of a forge."),
    "head": _Command("Operator", "head", "Let a quarantined head go on with what is there now."),
    "gitops": _Command("Operator", "gitops", "The preview lane of Argo CD as files: render, lint; check-images."),
    "preview": _Command("Operator", "preview", "What Argo CD would make for a pull request."),
    "janitor": _Command("Operator", "janitor", "Delete preview namespaces that nothing refers to: plan, run."),
    "tags": _Command("Operator", "tags", "Remove tags of closed pull requests."),
    "registry": _Command("Operator", "registry", "Serve the embedded OCI registry; probe any other."),
    "approval": _Command("Approver", "approval", "Look at plans, approve and revoke them, follow what became of it."),
    "release": _Command("Auditor", "release", "Show and verify the release set of a head."),
    "evidence": _Command("Auditor", "evidence", "Check what is attached to an image."),
    "log": _Command("Auditor", "log", "Read and verify the log."),
    "primitive": _Command("Developer", "primitive", "Write the skeleton of a primitive; check one."),
    "changed": _Command("Developer", "changed", "Which images a head changes, and why."),
    "publish": _Command("Developer", "publish", "In CI: build, push, prove and tag the images that a commit changes."),
    "local": _Command("Developer", "local", "Pull requests of a forge made of bare repositories."),
}


class _Tree(click.Group):
    """Loads a command's module when it is called, and lists commands by role."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"reconciler.cli.{_COMMANDS[cmd_name].module}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"reconciler.cli.{cmd_name} has no click command named `command`")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for role in _ROLES:
            with formatter.section(role):
                formatter.write_dl([(name, c.help) for name, c in _COMMANDS.items() if c.role == role])


@click.command(
    cls=_Tree,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try `ameide demo`. Exit codes: 0 done, 1 findings, 2 bad input, 3 a dependency failed for now.",
)
@click.version_option(__version__, prog_name="ameide")
def root() -> None:
    """Keep <image>:<HEAD_SHA> complete for every previewed component of every open pull request."""


def main(arguments: list[str] | None = None) -> None:
    """The console script: run a command, and turn the error families into messages and exit codes."""
    try:
        code = root.main(args=arguments, prog_name="ameide", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except BrokenPipeError:
        # The reader went away (`ameide log show | head`): not an error of ours, and nothing more can be said.
        sys.stderr.close()
        sys.exit(EXIT_CLEAN)
    except OSError as error:
        # What no command foresaw: a full disk or a broken device may pass, anything else needs a person.
        where = f"{error.filename}: " if error.filename is not None else ""
        complain(f"{where}{error.strerror or error}")
        sys.exit(EXIT_DEPENDENCY if error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT) else EXIT_BAD_INPUT)
    except ReconcilerError as error:
        complain(str(error))
        sys.exit(exit_code(error))
    sys.exit(code if isinstance(code, int) else EXIT_CLEAN)


def complain(text: str) -> None:
    """Say what is wrong on standard error. Lines stay lines; what could steer a terminal within one is spelt out."""
    spelt = "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    click.echo(f"ameide: {spelt}", err=True)


def exit_code(error: ReconcilerError) -> int:
    """The exit code of an error's family."""
    match error:
        case Transient() | StaleObservation() | Fenced():
            # A writer that lost its log ends too: a fresh start recovers (ADR 6).
            return EXIT_DEPENDENCY
        case IntegrityError():
            return EXIT_FINDINGS
        case Terminal():
            return EXIT_BAD_INPUT
        case _:
            return EXIT_FINDINGS
