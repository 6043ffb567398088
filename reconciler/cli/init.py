"""`ameide init`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

import click

from reconciler.settings_types import is_loopback
from state.errors import ConfigError
from state.git import RefName

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9._/-]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@click.command("init")
@click.option("--code", required=True, metavar="URL", help="The code repository: path of a bare repository.")
@click.option("--gitops", required=True, metavar="URL", help="The GitOps repository: path of a bare repository.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("ameide.yaml"), show_default=True, help="File to write."
)
@click.option("--catalogue", default="ameide.yaml", show_default=True, help="Path of the catalogue in the code.")
@click.option(
    "--inventory", default="ameide/inventory.yaml", show_default=True, help="Path of the inventory in GitOps."
)
def command(code: str, gitops: str, out: Path, catalogue: str, inventory: str) -> int:
    """Write a working configuration from two repositories, and the key that signs the log beside it.

    The registry hosts come from the catalogue on the code repository's main branch (its HEAD). Never overwrites a file.
    """
    from reconciler.adapters.signer_ssh import generate_key_file
    from reconciler.doctor_repository import catalogue_at
    from reconciler.settings import environment_problems, load

    code_path, gitops_path = _bare(code, "--code"), _bare(gitops, "--gitops")
    out = out.absolute()
    key, state_dir = out.with_name(f"{out.stem}-log-key"), out.with_name(f"{out.stem}-state")
    branch, gitops_branch = _main_branch(code_path), _main_branch(gitops_path)
    hosts = sorted({i.repository.host for i in catalogue_at(code_path, branch, catalogue).images.values()})
    name = re.sub(r"[^a-z0-9._-]", "-", code_path.name.removesuffix(".git").lower()).lstrip("._-")[:63] or "code"
    text = _config(
        name=name,
        hosts=hosts,
        code=code_path,
        gitops=gitops_path,
        gitops_ref=gitops_branch,
        branch=branch.short,
        catalogue=catalogue,
        inventory=inventory,
        key=key,
        state_dir=state_dir,
    )
    _refuse_to_overwrite(out, key, key.with_name(key.name + ".pub"))
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        load(out, {})
        _make(state_dir)
        generate_key_file(key)
    except BaseException:
        out.unlink()
        raise
    click.echo(f"wrote {out} and the log's signing key {key}")
    for problem in environment_problems(os.environ):
        click.echo(f"note: {problem}", err=True)
    click.echo("next:")
    click.echo(f"  ameide doctor --config {out}            test everything it names")
    click.echo(f"  ameide reconciler plan --config {out}   see what would be done; nothing is written")
    click.echo("  then set `mode: fill`, and a credential_file for each registry that needs one")
    return 0


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


def _bare(url: str, option: str) -> Path:
    path = Path(url.removeprefix("file://")).absolute()
    if "://" in url.removeprefix("file://") or not os.path.lexists(path):
        raise ConfigError(f"{option}: expected the path of a bare repository on this machine, got {_without_user(url)}")
    return path


def _main_branch(path: Path) -> RefName:
    """What the repository's HEAD names."""
    from reconciler.adapters.local_repository import LocalRepository

    head = LocalRepository(path).open().lookup_reference("HEAD").target
    if not isinstance(head, str):
        raise ConfigError(f"{path}: its HEAD names no branch; `git symbolic-ref HEAD refs/heads/main` sets one")
    return RefName(head)


def _config(
    *,
    name: str,
    hosts: list[str],
    code: Path,
    gitops: Path,
    gitops_ref: RefName,
    branch: str,
    catalogue: str,
    inventory: str,
    key: Path,
    state_dir: Path,
) -> str:
    """At most 15 lines, all paths absolute."""
    q = _quoted
    local = "plain_http: true, anonymous: true"
    registries = [f"{{host: {q(h)}, {local if is_loopback(h) else 'anonymous: true'}}}" for h in hosts]
    return f"""\
version: 1
mode: observe  # fill: also write missing tags
state_dir: {q(state_dir)}
registries: [{", ".join(registries)}]
repositories:
  - name: {q(name)}
    forge: {{kind: local, path: {q(code)}}}
    catalogue: {q(catalogue)}
    gitops: {{url: {q(gitops)}, ref: {q(gitops_ref)}, inventory: {q(inventory)}}}
    admission: {{base_branches: [{q(branch)}], hold_label: ameide/hold}}
    verification: {{baseline: none, pull_request: none}}  # nothing is proven: shown as unproven
    log: {{path: {q(state_dir / "log.git")}, key_file: {q(key)}, writer: ameide-0}}
"""


def _quoted(value: object) -> str:
    """A YAML scalar that is read back as this text."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)[:200]
