"""The files of the status page: nothing inline, nothing unescaped, and colours that can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import reconciler.web.status
from reconciler.matrix import State
from reconciler.settings.forge import GiteaForgeSettings, GitHubForgeSettings, GitLabForgeSettings, LocalForgeSettings
from reconciler.settings.model import IdentityProxySettings, ListenSettings
from reconciler.web.status import logbook, matrix
from reconciler.web.status.views import RENDERS_MAX, SIGNS

HOME = Path(reconciler.web.status.__file__).parent
TEMPLATES = sorted((HOME / "templates").glob("*.html"))
STYLE = (HOME / "assets" / "status.css").read_text()
PAGE = (Path(__file__).parents[2] / "docs" / "status-page.md").read_text()
AA = 4.5
"""Contrast of text and ground, at least (WCAG 2.2, 1.4.3)."""
ON = ("ok", "built", "waiting", "planned", "held")


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(scheme: str) -> None:
    light, dark = STYLE.partition("@media (prefers-color-scheme: dark)")[::2]
    colours = variables(light) | (variables(dark) if scheme == "dark" else {})
    pairs = [(text, ground) for text in ("text", "quiet", "link") for ground in ("ground", "raised")]
    pairs += [(name, f"{name}-ground") for name in ON] + [("ok", "raised"), ("held", "raised")]
    assert {p: c for p in pairs if (c := contrast(colours[p[0]], colours[p[1]])) < AA} == {}


def test_a_dark_screen_sets_every_colour_anew() -> None:
    light, dark = STYLE.partition("@media (prefers-color-scheme: dark)")[::2]
    assert variables(light).keys() == variables(dark).keys()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_goes_round_the_escaping_or_the_policy(template: Path) -> None:
    text = template.read_text()
    for pattern in (
        r"\|\s*safe",
        r"autoescape",
        r"\bstyle\s*=",
        r"\son[a-z]+\s*=",
        r"javascript:",
        r"<style",
        r"Markup",
    ):
        assert not re.search(pattern, text), pattern
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    # An attribute without quotes ends at the first space of its value.
    assert not re.search(r"\s[a-z-]+=\{\{", text)


def test_each_state_has_a_shape_of_its_own_and_a_colour() -> None:
    assert set(SIGNS) == set(State)
    assert len(set(SIGNS.values())) == len(State)
    assert all(f".s-{state.value}" in STYLE for state in State)


def test_the_script_writes_no_html() -> None:
    script = (HOME / "assets" / "live.js").read_text()
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert word not in script


def test_the_manual_has_the_signs_the_parameters_and_the_bounds_of_the_program() -> None:
    assert re.findall(r"^\| (\S) \| ([a-z-]+) \| ", PAGE, re.MULTILINE) == [(SIGNS[s], s.value) for s in State]
    assert all(f"`{name}`" in PAGE for name in (*matrix.PARAMETERS, *logbook.PARAMETERS, "state"))
    assert (matrix.ROWS_PER_PAGE, logbook.SCAN_MAX_ENTRIES, logbook.SCAN_MAX_S, RENDERS_MAX) == (50, 2000, 0.5, 3)
    assert all(f"`…/{name}" in PAGE for name in ("pull-requests/N", "heads/SHA", "approvals", "gitops", "log"))


def test_the_numbers_of_a_pull_request_lead_to_its_forge() -> None:
    forges = {
        "https://github.com/acme/shop/pull/7": GitHubForgeSettings(
            kind="github", url="https://github.com", repository="acme/shop", token_file=Path("/token")
        ),
        "https://git.example/acme/shop/pulls/7": GiteaForgeSettings(
            kind="gitea", url="https://git.example/", repository="acme/shop", token_file=Path("/token")
        ),
        "https://gitlab.example/a/b/shop/-/merge_requests/7": GitLabForgeSettings(
            kind="gitlab", url="https://gitlab.example", repository="a/b/shop", token_file=Path("/token")
        ),
        None: LocalForgeSettings(kind="local", path=Path("/shop.git")),
    }
    assert {forge.pull_request_url(7) for forge in forges.values()} == set(forges)
    assert all(forge.pull_request_url(7) == url for url, forge in forges.items())


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"addresses": []}, "at least 1 item"),
        ({"addresses": ["proxy.example"]}, "expected an IP address or network such as 10.2.3.4 or 10.2.3.0/24"),
        ({"addresses": ["10.2.3.4/8"]}, "expected an IP address or network"),
        ({"addresses": ["0.0.0.0/0"]}, "expected the addresses of the proxy, not every address there is"),
        ({"addresses": ["::/0"]}, "expected the addresses of the proxy, not every address there is"),
        ({"user_header": "X User"}, "should match pattern"),
        ({"user_header": "X_User"}, "should match pattern"),
        ({"user_header": None}, "valid string"),
    ],
)
def test_an_identity_proxy_is_named_whole(changed: dict[str, object], says: str) -> None:
    right: dict[str, object] = {"user_header": "X-Auth-Request-Email", "addresses": ["10.2.3.4", "fd00::/8"]}
    IdentityProxySettings.model_validate_json(json.dumps(right))
    with pytest.raises(ValidationError, match=re.escape(says)):
        IdentityProxySettings.model_validate_json(json.dumps({**right, **changed}))


def test_an_identity_proxy_without_a_private_listener_is_refused() -> None:
    proxy = {"user_header": "X-Auth-Request-Email", "addresses": ["10.2.3.4"]}
    with pytest.raises(ValidationError, match="identity_proxy is for the status page: set private, or drop it"):
        ListenSettings.model_validate_json(json.dumps({"private": None, "identity_proxy": proxy}))


def test_the_focus_is_drawn_and_taken_away_from_nothing_but_the_target_of_the_skip_link() -> None:
    assert re.search(r"^:focus-visible \{ outline: 2px solid var\(--focus\);", STYLE, re.MULTILINE)
    assert re.findall(r"([^\s{}][^{}]*) \{[^}]*outline: none", STYLE) == ["main:focus"]
