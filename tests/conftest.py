"""Suites that need a program which may be missing, and the fixtures that start real servers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.thorough import set_thorough, thorough
from tools import argocd_crds, go_tools, kubernetes_client

pytest_plugins: list[str] = [
    "tests.fixtures.log",
    "tests.fixtures.log_remote",
    "tests.fixtures.certificates",
    "tests.fixtures.registry_stub",
    "tests.fixtures.distribution",
    "tests.fixtures.local_forge",
    "tests.fixtures.embedded",
    "tests.fixtures.git_repos",
    "tests.fixtures.git_http",
    "tests.fixtures.github_server",
    "tests.fixtures.gitea_server",
    "tests.fixtures.gitea_real",
    "tests.fixtures.gitlab_server",
    "tests.fixtures.shop",
    "tests.fixtures.janitor",
    "tests.fixtures.kubernetes_real",
    "tests.fixtures.lane_shop",
    "tests.fixtures.sigstore",
    "tests.fixtures.approving",
    "tests.fixtures.audited",
    "tests.fixtures.producing",
    "tests.fixtures.standby",
]


class Program(NamedTuple):
    """What a suite needs: where it is (None if it is missing), how it is called, and what brings it."""

    path: Path | str | None
    called: str
    remedy: str


PROGRAMS: Final = {
    # Without root it asks for subordinate ids and a kernel that lets it use them.
    "buildah": Program(
        (os.geteuid() == 0 and shutil.which("buildah")) or None, "buildah, as root,", "apt-get install buildah"
    ),
    "distribution": Program(shutil.which("docker-registry"), "docker-registry", "apt-get install docker-registry"),
    "promtool": Program(shutil.which("promtool"), "promtool", "apt-get install prometheus"),
    "chromium": Program(
        shutil.which("chromium") and shutil.which("chromedriver"),
        "chromium with chromedriver",
        "apt-get install chromium chromium-driver",
    ),
    "openssh": Program(shutil.which("ssh-keygen"), "ssh-keygen", "apt-get install openssh-client"),
    "debootstrap": Program(shutil.which("debootstrap"), "debootstrap", "apt-get install debootstrap"),
    "systemd": Program(shutil.which("systemd-analyze"), "systemd-analyze", "apt-get install systemd"),
    "go": Program(shutil.which("go"), "go", "install Go 1.22 or newer"),
    "node": Program(shutil.which("node") and shutil.which("npm"), "node with npm", "install Node.js 20 or newer"),
    "kubectl": Program(shutil.which("kubectl"), "kubectl", "install kubectl 1.27 or newer, which has kustomize in it"),
    "argocd_crds": Program(argocd_crds.find(), str(argocd_crds.folder()), "tools/argocd_crds.py brings them, with Go"),
    "kubernetes_client": Program(
        kubernetes_client.find(), str(kubernetes_client.path_of()), "tools/kubernetes_client.py installs it, from PyPI"
    ),
    **{
        name: Program(go_tools.find(name), str(go_tools.path_of(name)), "tools/go_tools.py builds it, with Go")
        for name in go_tools.TOOLS
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-suites",
        default="",
        metavar="NAME,NAME",
        help=f"suites that must not be skipped: {', '.join(PROGRAMS)}",
    )
    parser.addoption(
        "--public-data",
        type=Path,
        metavar="DIR",
        help="a folder with bundles of public projects (tests/contract/evidence/test_public_data.py)",
    )
    parser.addoption("--thorough", action="store_true", help="every variant and all examples (CI does)")
    parser.addoption("--bless", action="store_true", help="rewrite the golden files; review the difference")


def pytest_configure(config: pytest.Config) -> None:
    set_thorough(bool(config.getoption("--thorough")))
    required = {name for name in str(config.getoption("--require-suites")).split(",") if name}
    if unknown := required - set(PROGRAMS):
        raise pytest.UsageError(f"--require-suites: unknown {sorted(unknown)}, known are {sorted(PROGRAMS)}")
    for name in sorted(required):
        program = PROGRAMS[name]
        if program.path is None:
            raise pytest.UsageError(f"suite {name} is required, but {program.called} is missing: {program.remedy}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not thorough():
        left_out = [item for item in items if item.get_closest_marker("thorough") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("thorough") is None]
    # The longest begin first: at the end of a run one worker would finish them alone.
    items.sort(key=lambda item: "faults" not in item.path.parts)
    for name, program in PROGRAMS.items():
        if program.path is None:
            skip = pytest.mark.skip(reason=f"suite {name} skipped: {program.called} is missing ({program.remedy})")
            for item in items:
                # Not by keyword: a parameter that is called so, as the simulated Gitea is, is no mark.
                if item.get_closest_marker(name) is not None:
                    item.add_marker(skip)
