"""What the `lane` section refuses, and what the rendering refuses of the sections around it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from reconciler.preview.render import render
from reconciler.settings.model import Settings
from state.errors import ConfigError
from tests.fixtures.lane import IMAGE, config, lane_files, settings

WEB = {"name": "web", "chart": "charts/web"}


@pytest.mark.parametrize(
    ("lane", "told"),
    [
        ({"components": [WEB, WEB]}, "components names web more than once"),
        ({"components": [{"name": "baseline", "chart": "x"}]}, "is the name of a part of the lane itself"),
        ({"components": [{"name": "w" * 41, "chart": "x"}]}, "components"),
        ({"components": [{"name": "w" * 40, "chart": "x"}], "namespace_prefix": "pr-abcdefghijkl-"}, "66 characters"),
        ({"domain": None}, "domain is required"),
        ({"base_namespace": None}, "base_namespace is required"),
        ({"system_namespace": "argocd"}, "are the same"),
        ({"system_namespace": "pr-system"}, "begins with namespace_prefix"),
        ({"namespace_prefix": "preview-"}, "namespace_prefix"),
        ({"namespace_prefix": "pr-7-"}, "namespace_prefix"),
        ({"images": "label"}, "authors is required"),
        ({"images": "label", "authors": ["a"]}, "baseline is required"),
        ({"images": "label", "authors": ["a"], "generator": "plugin"}, "needs generator: pull-request"),
        ({"argocd_version": "3.2"}, "argocd_version"),
        ({"gitops_url": "git@github.com:acme/x.git"}, "gitops_url"),
        ({"reconciler": {"image": "ghcr.io/acme/ameide:latest"}}, "image"),
        ({"reconciler": {"image": IMAGE.replace("@", ":v1@")}}, "without a tag"),
        ({"authors": ["{{ .title }}"]}, "authors"),
        ({"requeue_s": 1800}, "requeue_s"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_lane_that_would_not_work_is_refused(lane: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(**lane)


@pytest.mark.parametrize(
    ("forge", "lane", "preview", "told"),
    [
        ("gitea", {}, {"label": "preview-images"}, "one page of a Gitea"),
        ("local", {}, {"label": "preview-images"}, "for this forge"),
        ("github", {}, {"label": "ready"}, "expected preview-images as lane.images_label says, got ready"),
        ("github", {}, None, "got nothing"),
        ("github", {"generator": "plugin"}, {"label": "preview-images"}, "preview.token_file is required"),
    ],
)
def test_the_lane_and_what_the_reconciler_tells_have_to_agree(
    forge: str, lane: dict[str, Any], preview: dict[str, Any] | None, told: str
) -> None:
    values = config(forge, **lane)
    values["repositories"][0]["preview"] = preview
    made = Settings.model_validate(values, strict=False)
    with pytest.raises(ConfigError, match=told):
        render(made, made.repositories[0])


def test_gitlab_by_its_path_alone_is_refused_since_events_carry_the_number() -> None:
    values = config("gitlab")
    del values["repositories"][0]["forge"]["repository_id"]
    made = Settings.model_validate(values, strict=False)
    with pytest.raises(ConfigError, match="repository_id is required"):
        render(made, made.repositories[0])


def test_nothing_of_a_configuration_outside_the_lane_reaches_it_but_what_it_names() -> None:
    """A secret's path, a policy, a mode: another value of them changes no byte."""
    before = lane_files()
    values = config()
    values["mode"] = "fill"
    values["repositories"][0] |= {"max_heads": 7, "suspend": True}
    values["registries"][0]["credential_file"] = "/etc/ameide-secrets/other.json"
    made = Settings.model_validate(values, strict=False)
    assert dict(render(made, made.repositories[0])) == before


def test_one_prefix_is_everywhere() -> None:
    """With another prefix no text of the first one is left, in any file."""
    for path, raw in lane_files(namespace_prefix="pr-zz-").items():
        text = raw.decode().replace("pr-zz-", "")
        assert '"pr-' not in text, path
        assert "^pr-" not in text, path
