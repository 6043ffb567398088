"""The whole preview lane as files (pure): equal settings give equal bytes.

Nothing of a pull request is known here: its number and its head commit are left to the templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.preview.lane_argocd import argocd_files
from reconciler.preview.lane_janitor import janitor_files
from reconciler.preview.lane_namespace import namespace_files
from reconciler.preview.lane_policies import policy_files
from reconciler.preview.lane_projects import projects
from reconciler.preview.lane_reconciler import reconciler_files
from reconciler.preview.lane_sets import sets
from reconciler.preview.yaml_out import documents
from reconciler.settings.lane import LaneSettings
from reconciler.settings.model import RepositorySettings, Settings
from state.errors import ConfigError

HEADER: Final = "Rendered by `ameide gitops render`: change the lane in the configuration, not this file."


def render(settings: Settings, repository: RepositorySettings) -> Mapping[str, bytes]:
    """Path → content, sorted by path.

    Raises:
        ConfigError: the configuration has no lane, or parts of it do not go together.
    """
    lane = repository.lane
    if lane is None:
        raise ConfigError(f"repositories: {repository.name} has no lane; add the section, see docs/lane.md")
    _agrees(lane, repository)
    made: dict[str, list[dict[str, Any]]] = {}
    for part in (
        projects(lane),
        sets(lane, repository),
        namespace_files(lane),
        argocd_files(lane, repository, settings),
        janitor_files(lane, settings, repository),
        policy_files(lane),
        reconciler_files(lane, settings),
    ):
        made |= part
    return {path: documents(made[path], HEADER) for path in sorted(made)}


def _agrees(lane: LaneSettings, repository: RepositorySettings) -> None:
    """The lane shows what the reconciler tells: both have to speak of the same thing."""
    preview = repository.preview
    if lane.generator == "plugin":
        if preview is None or preview.token_file is None:
            raise ConfigError("preview.token_file is required with lane.generator: plugin, which asks that endpoint")
    elif preview is None or preview.label != lane.images_label:
        told = preview.label if preview is not None and preview.label is not None else "nothing"
        raise ConfigError(
            f"preview.label: expected {lane.images_label} as lane.images_label says, got {told}: nobody would set it"
        )
    if lane.generator == "pull-request" and repository.forge.kind == "gitea":
        raise ConfigError(
            "Argo CD reads one page of a Gitea's pull requests and knows none of its events; set lane.generator: plugin"
        )


def repository_with_lane(settings: Settings, name: str | None) -> RepositorySettings:
    """The repository of that name, or the only one that has a lane. Raises ConfigError."""
    with_lane = [r for r in settings.repositories if r.lane is not None]
    chosen = with_lane if name is None else [r for r in settings.repositories if r.name == name]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(r.name for r in with_lane) or "none"
    raise ConfigError(f"--repo: expected the name of one repository that has a lane, there is: {names}")


def is_rendered(raw: bytes) -> bool:
    """Whether an earlier rendering wrote this file."""
    return raw.startswith(f"# {HEADER}\n".encode())


def mentions_sets(raw: bytes) -> bool:
    """Whether a file may hold an ApplicationSet: the others of a repository need not be YAML."""
    return b"ApplicationSet" in raw


def differences(rendered: Mapping[str, bytes], found: Mapping[str, bytes]) -> tuple[str, ...]:
    """What `found` has otherwise, one line each: missing, different, or not of the lane though in its folders."""
    made = [f"{path}: missing" for path in rendered if path not in found]
    made += [f"{path}: differs" for path in rendered if path in found and found[path] != rendered[path]]
    made += [f"{path}: not rendered any more" for path in found if path not in rendered]
    return tuple(sorted(made))
