"""`ameide init`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from state.errors import ConfigError, ReconcilerError
from state.git import RefName
from state.git_url import Transport, safe, transport

if TYPE_CHECKING:
    from reconciler.first_config import CodePlace, Wanted

_ASK_TIMEOUT_S: Final = 60.0
_DEFAULT_BRANCH: Final = "main"


@click.command("init")
@click.option("--code", required=True, metavar="URL", help="The code repository: https, or the path of a bare one.")
@click.option("--gitops", required=True, metavar="URL", help="The GitOps repository: https, ssh, or a path.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("ameide.yaml"), show_default=True, help="File to write."
)
@click.option(
    "--forge",
    type=click.Choice(["github", "gitea", "gitlab"]),
    help="What kind of forge the code is at; github.com, *.ghe.com, gitlab.com and codeberg.org are known.",
)
@click.option("--base", metavar="BRANCH", help="The code's main branch. [default: HEAD of a path, else main]")
@click.option("--gitops-base", metavar="BRANCH", help="The GitOps repository's trusted branch; the same default.")
@click.option(
    "--registry", "hosts", multiple=True, metavar="HOST", help="A registry's host. [default: those in the catalogue]"
)
@click.option("--token-file", type=click.Path(path_type=Path), help="The forge's token. [default: beside --out]")
@click.option(
    "--gitops-credential-file", type=click.Path(path_type=Path), help="What opens --gitops. [default: beside --out]"
)
@click.option("--catalogue", default="ameide.yaml", show_default=True, help="Path of the catalogue in the code.")
@click.option(
    "--inventory", default="ameide/inventory.yaml", show_default=True, help="Path of the inventory in GitOps."
)
def command(
    *,
    code: str,
    gitops: str,
    out: Path,
    forge: str | None,
    base: str | None,
    gitops_base: str | None,
    hosts: tuple[str, ...],
    token_file: Path | None,
    gitops_credential_file: Path | None,
    catalogue: str,
    inventory: str,
) -> int:
    """Write a working configuration from two repositories, and the key that signs the log beside it.

    The registry hosts come from the catalogue on the code's main branch; where it cannot be read yet, name them with
    --registry. Credentials are files that you put in place: what goes into each is said at the end. Nothing is
    overwritten.

    \b
    Examples:
      ameide init --code https://github.com/acme/shop --gitops https://github.com/acme/gitops --registry ghcr.io
      ameide init --code https://git.example.org/acme/shop --forge gitea --gitops git@git.example.org:acme/gitops.git \\
        --token-file /run/secrets/gitea-token
      ameide init --code "$PWD/shop.git" --gitops "$PWD/shop-gitops.git"
    """
    from reconciler.adapters.signer_ssh import generate_key_file
    from reconciler.first_config import CodePlace, Wanted, code_place, config_text
    from reconciler.settings import environment_problems, load

    place = code_place(code, forge) if _is_address(code) else CodePlace("local", str(_bare(code, "--code")))
    if place.kind == "local" and forge is not None:
        raise ConfigError(f"--forge {forge}: --code is a path; leave it out")
    there = gitops if _is_address(gitops) else str(_bare(gitops, "--gitops"))
    branch = RefName.branch(base) if base is not None else _main_branch(place.git_url)
    gitops_ref = RefName.branch(gitops_base) if gitops_base is not None else _main_branch(there)
    out = out.absolute()
    wanted = Wanted(
        code=place,
        gitops=there,
        base=branch.short,
        gitops_ref=gitops_ref,
        catalogue=catalogue,
        inventory=inventory,
        hosts=hosts,
        out=out,
        token_file=None if token_file is None else token_file.absolute(),
        gitops_credential_file=None if gitops_credential_file is None else gitops_credential_file.absolute(),
    )
    text = config_text(wanted if hosts else _with_hosts(wanted, place, branch))
    key = wanted.log_key
    _refuse_to_overwrite(out, key, key.with_name(key.name + ".pub"))
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        load(out, {})
        _make(wanted.state_dir)
        generate_key_file(key)
    except BaseException:
        out.unlink()
        raise
    click.echo(f"wrote {out} and the log's signing key {key}")
    for problem in environment_problems(os.environ):
        click.echo(f"note: {problem}", err=True)
    _say_what_is_next(wanted)
    return 0


def _say_what_is_next(wanted: Wanted) -> None:
    missing = [one for one in wanted.to_fill() if not os.path.lexists(one.file)]
    if missing:
        click.echo("put in place, readable by its user alone (chmod 600):")
    for file, content in missing:
        click.echo(f"  {file}\n      {content}")
    if wanted.code.kind == "github":
        click.echo("or use a GitHub App in place of the token, which may do less: docs/forges.md")
    click.echo("next:")
    click.echo(f"  ameide doctor --config {wanted.out}            test everything it names")
    click.echo(f"  ameide reconciler plan --config {wanted.out}   see what would be done; nothing is written")
    click.echo("  then set `mode: fill`, and a credential_file for each registry that needs one")


def _with_hosts(wanted: Wanted, place: CodePlace, branch: RefName) -> Wanted:
    from dataclasses import replace

    from reconciler.adapters.forge_access import TokenFile
    from reconciler.adapters.git_pygit2 import Mirror
    from reconciler.adapters.git_remote import remote
    from reconciler.doctor.repository import catalogue_at

    if place.kind == "local":
        images = catalogue_at(Path(place.address), branch, wanted.catalogue).images
        return replace(wanted, hosts=tuple(sorted({i.repository.host for i in images.values()})))
    token = TokenFile(wanted.token).token if os.path.lexists(wanted.token) else None
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ameide-init-") as directory,
            Mirror(
                Path(directory) / "code",
                remote(place.git_url, token=token),
                timeout_s=_ASK_TIMEOUT_S,
                catalogue_path=wanted.catalogue,
            ) as mirror,
        ):
            tip = mirror.branch_tip(branch)
            if tip is None:
                raise ConfigError(f"{place.git_url}: no branch {branch.short}; name the main branch with --base")
            images = mirror.catalogue(tip).images
    except ConfigError:
        raise
    except ReconcilerError as error:
        raise ConfigError(
            f"the catalogue, which names the registries, cannot be read: {error}\n"
            f"  put a token into {wanted.token}, or name each registry's host with --registry HOST"
        ) from error
    return replace(wanted, hosts=tuple(sorted({i.repository.host for i in images.values()})))


def _refuse_to_overwrite(*files: Path) -> None:
    if not os.path.isdir(files[0].parent):  # noqa: PTH112 - where it cannot be looked at it is none, without an error
        raise ConfigError(f"{files[0].parent}: no such directory")
    for path in files:
        if os.path.lexists(path):
            raise ConfigError(f"{path}: is already there and is not overwritten; choose another --out or move it away")


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be made ({error.strerror}); choose another --out") from error


def _is_address(url: str) -> bool:
    """Whether it is somewhere else; a path that is there is never taken for `host:path`."""
    if url.startswith("file://") or os.path.lexists(url):
        return False
    return "://" in url or ":" in url.partition("/")[0]


def _bare(url: str, option: str) -> Path:
    path = Path(url.removeprefix("file://")).absolute()
    if "://" in url.removeprefix("file://") or not os.path.lexists(path):
        raise ConfigError(f"{option}: expected https://… or the path of a bare repository, got {safe(url)}")
    return path


def _main_branch(url: str) -> RefName:
    """What a local repository's HEAD names; of another one nothing is known without a credential."""
    from reconciler.adapters.local_repository import LocalRepository

    if transport(url) is not Transport.FILE:
        return RefName.branch(_DEFAULT_BRANCH)
    head = LocalRepository(Path(url)).open().lookup_reference("HEAD").target
    if not isinstance(head, str):
        raise ConfigError(f"{url}: its HEAD names no branch; `git symbolic-ref HEAD refs/heads/main` sets one")
    return RefName(head)
