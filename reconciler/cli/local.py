"""`ameide local init` and `ameide local pr …`: a forge made of bare repositories."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reconciler.adapters.forge_local_writer import LocalPullRequests
    from reconciler.adapters.local_store import Contents, Stored
    from state.git import CommitId, RefName

_PATH = click.Path(path_type=Path)
_REPO = click.option("--repo", required=True, type=_PATH, metavar="PATH", help="The bare repository.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
_HEAD = "REV is a full commit id or a branch"


@click.group("local")
def command() -> None:
    """Pull requests of a forge made of bare repositories: no server, no account.

    \b
    ameide local init app.git
    git push app.git HEAD:refs/heads/feature
    ameide local pr open --repo app.git --branch feature --title 'Faster orders'
    ameide local pr list --repo app.git
    """


@command.command("init")
@click.argument("path", type=_PATH)
@click.option(
    "--id", "wanted", type=click.IntRange(1), metavar="N", help="The repository's id, for good; else a random one."
)
def init(path: Path, wanted: int | None) -> int:
    """Make PATH a bare repository that can be a local forge.

    A bare repository that is there already (`git clone --bare`) only gets an id. Doing it again changes nothing; a
    directory that holds anything else is refused. Pushes to records (refs/ameide) are switched off.

    \b
    Example: ameide local init app.git --id 4711
    """
    from reconciler.adapters.forge_local_writer import LocalPullRequests

    pulls = LocalPullRequests(path)
    found = pulls.repository.initialise(wanted)
    click.echo(f"{_printable(str(path))}: local forge, repository id {found}")
    problems = pulls.contents().problems
    for problem in problems:
        click.echo(f"ameide: {_printable(problem)}", err=True)
    if problems:
        click.echo("ameide: no listing is complete while these are there; git update-ref -d REF removes one", err=True)
    return 1 if problems else 0


@command.group("pr")
def pr() -> None:
    """Open, push to, close, reopen, label and list pull requests."""


@pr.command("open")
@_REPO
@click.option("--head", metavar="REV", help=f"The head; {_HEAD} of the repository.")
@click.option(
    "--branch", metavar="NAME", help="The branch to open it from; its tip is the head unless --head is given."
)
@click.option("--from", "source", type=_PATH, metavar="CLONE_PATH", help="Fetch the head from this repository first.")
@click.option("--base", default="main", show_default=True, metavar="BRANCH", help="The branch it is to be merged into.")
@click.option(
    "--author", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="The author's numeric id."
)
@click.option(
    "--fork", type=click.IntRange(1), metavar="ID", help="The head belongs to the fork with this repository id."
)
@click.option("--label", "labels", multiple=True, metavar="L", help="A label; may be given again.")
@click.option("--draft", is_flag=True, help="Mark it as a draft.")
@click.option("--title", default="", metavar="T")
@_JSON
def open_(
    *,
    repo: Path,
    head: str | None,
    branch: str | None,
    source: Path | None,
    base: str,
    author: int,
    fork: int | None,
    labels: tuple[str, ...],
    draft: bool,
    title: str,
    as_json: bool,
) -> int:
    """Open a pull request under the next free number.

    The head stays at its commit until `ameide local pr push`; pushing the branch alone does not move it.

    \b
    Examples:
      ameide local pr open --repo app.git --branch feature --label preview
      ameide local pr open --repo app.git --from ~/src/app --head HEAD
    """
    pulls = _pulls(repo)
    revision = head or branch
    if revision is None:
        raise click.UsageError("give the head by --head REV, or the branch it is at by --branch NAME")
    pulls.check_branch(_branch(base))
    stored = pulls.open(
        _commit(pulls, source, revision),
        _branch(base),
        author_id=author,
        head_repository_id=fork,
        labels=labels,
        draft=draft,
        title=title,
        head_branch=None if branch is None else _branch(branch),
    )
    return _say(stored, "opened", as_json)


@pr.command("push")
@_REPO
@click.argument("number", type=click.IntRange(1))
@click.option("--head", required=True, metavar="REV", help=f"The new head; {_HEAD}; with --from any revision of it.")
@click.option("--from", "source", type=_PATH, metavar="CLONE_PATH", help="Fetch the head from this repository first.")
@click.option("--by", type=click.IntRange(1), metavar="N", help="The numeric id of who pushes; not given: unknown.")
@_JSON
def push(repo: Path, number: int, *, head: str, source: Path | None, by: int | None, as_json: bool) -> int:
    """Move the head of pull request NUMBER, as a push or a force push does.

    \b
    Examples:
      ameide local pr push --repo app.git 3 --head feature --by 7
      ameide local pr push --repo app.git 3 --from ~/src/app --head HEAD
    """
    pulls = _pulls(repo)
    pulls.push(number, _commit(pulls, source, head), by)
    return _say(_stored(pulls, number), "pushed", as_json)


@pr.command("close")
@_REPO
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", default="", metavar="TEXT", help="Kept with the pull request.")
@_JSON
def close(repo: Path, number: int, reason: str, as_json: bool) -> int:
    """Close pull request NUMBER; closing a closed one changes nothing.

    \b
    Example: ameide local pr close --repo app.git 3
    """
    pulls = _pulls(repo)
    pulls.close(number, reason)
    return _say(_stored(pulls, number), "closed", as_json)


@pr.command("reopen")
@_REPO
@click.argument("number", type=click.IntRange(1))
@_JSON
def reopen(repo: Path, number: int, as_json: bool) -> int:
    """Open the closed pull request NUMBER again, at the head it had.

    \b
    Example: ameide local pr reopen --repo app.git 3
    """
    pulls = _pulls(repo)
    pulls.reopen(number)
    return _say(_stored(pulls, number), "reopened", as_json)


@pr.command("merge")
@_REPO
@click.argument("number", type=click.IntRange(1))
@_JSON
def merge(repo: Path, number: int, as_json: bool) -> int:
    """Merge the open pull request NUMBER into its base branch, by a merge commit.

    \b
    Example: ameide local pr merge --repo gitops.git 3
    """
    pulls = _pulls(repo)
    pulls.merge(number)
    return _say(_stored(pulls, number), "merged", as_json)


@pr.command("label")
@_REPO
@click.argument("number", type=click.IntRange(1))
@click.option("--add", multiple=True, metavar="L", help="Add a label; may be given again.")
@click.option("--remove", multiple=True, metavar="L", help="Remove a label; may be given again.")
@_JSON
def label(repo: Path, number: int, add: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> int:
    """Add labels to and remove labels from pull request NUMBER.

    \b
    Example: ameide local pr label --repo app.git 3 --add hold --remove preview
    """
    if not add and not remove:
        raise click.UsageError("give at least one --add L or --remove L")
    pulls = _pulls(repo)
    pulls.label(number, add, remove)
    return _say(_stored(pulls, number), "labelled", as_json)


@pr.command("list")
@_REPO
@click.option("--all", "everything", is_flag=True, help="Closed and merged ones as well.")
@_JSON
def list_(repo: Path, everything: bool, as_json: bool) -> int:
    """List the open pull requests. Exit code 1 if any could not be read; the others are listed.

    \b
    Example: ameide local pr list --repo app.git --all --json
    """
    pulls = _pulls(repo)
    contents = pulls.contents()
    stored = [s for s in contents.stored if everything or s.record.state == "open"]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "complete": not contents.problems,
                    "problems": list(contents.problems),
                    "pull_requests": [_to_json(s) for s in stored],
                },
                sort_keys=True,
            )
        )
    else:
        _table(stored, contents, pulls.repository.id())
    return 1 if contents.problems else 0


def _table(stored: list[Stored], contents: Contents, own: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("number", "state", "head", "base", "author", "fork", "labels", "title")
    for record, head in stored:
        state = f"{record.state}, draft" if record.draft else str(record.state)
        fork = {None: "deleted", own: ""}.get(record.head_repository_id, str(record.head_repository_id))
        cells = (
            str(record.number),
            state,
            head[:12] if head else "gone",
            record.base.removeprefix("refs/heads/"),
            str(record.author_id),
            fork,
            ", ".join(record.labels),
            record.title,
        )
        # Text, not str: what looks like rich's markup in a title is shown as it is.
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    if stored:
        Console().print(table)
    elif not contents.problems:
        click.echo("no pull requests; open one with `ameide local pr open --repo PATH --branch NAME`")
    for problem in contents.problems:
        click.echo(f"ameide: not complete: {_printable(problem)}", err=True)


def _pulls(repo: Path) -> LocalPullRequests:
    from reconciler.adapters.forge_local_writer import LocalPullRequests

    pulls = LocalPullRequests(repo)
    pulls.repository.id()  # a repository that is no forge is refused before anything is read or written
    return pulls


def _commit(pulls: LocalPullRequests, source: Path | None, revision: str) -> CommitId:
    return pulls.resolve(revision) if source is None else pulls.fetch(source, revision)


def _branch(name: str) -> RefName:
    from state.git import RefName

    return RefName(name) if name.startswith("refs/heads/") else RefName.branch(name)


def _stored(pulls: LocalPullRequests, number: int) -> Stored:
    from state.errors import StaleObservation

    stored = pulls.store.one(number)
    if stored is None:
        raise StaleObservation(f"pull request {number} was removed meanwhile")
    return stored


def _to_json(stored: Stored) -> dict[str, Any]:
    made: dict[str, Any] = stored.record.to_json()
    return {**made, "head": stored.head}


def _say(stored: Stored, done: str, as_json: bool) -> int:
    record, head = stored
    if as_json:
        click.echo(json.dumps(_to_json(stored), sort_keys=True))
    else:
        labels = f", labels: {', '.join(record.labels)}" if record.labels else ""
        click.echo(_printable(f"{done} pull request {record.number} ({record.state}) at {head or 'no head'}{labels}"))
    return 0


def _printable(text: str) -> str:
    """The text with whatever could steer a terminal as an escape: controls, direction marks, odd spaces."""
    return "".join(
        c if c == " " or unicodedata.category(c)[0] not in "CZ" else c.encode("unicode_escape", "replace").decode()
        for c in text
    )
