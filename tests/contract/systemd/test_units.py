"""The units of systemd/, as systemd itself judges them (suite `systemd`)."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.shop import command

UNITS = Path(__file__).parents[3] / "systemd"
SERVICES = ["ameide.service", "ameide-janitor.service"]
EXPOSURE_MAX = 1.5
PROGRAM = "/opt/ameide/bin/ameide"

systemd = pytest.mark.systemd


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def section(unit: str, name: str) -> configparser.SectionProxy:
    """A section of a unit; of a setting that is there several times the last line counts here."""
    made = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    made.optionxform = str  # type: ignore[assignment, method-assign]
    made.read(UNITS / unit)
    return made[name]


@systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_exposed_as_little_as_is_promised(unit: str) -> None:
    bound = f"--threshold={EXPOSURE_MAX * 10:.0f}"
    judged = analyze("security", "--offline=true", bound, str(UNITS / unit))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE_MAX


@systemd
def test_the_threshold_would_refuse_a_service_without_protection(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text(f"[Service]\nExecStart={PROGRAM}\n")
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", str(bare)).returncode != 0


@systemd
def test_the_units_are_without_a_complaint(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        # The program lies elsewhere here, and that it is there is looked at, too.
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, command()[0]))
    judged = analyze("verify", "--man=no", *(str(tmp_path / u.name) for u in UNITS.iterdir()))
    assert (judged.returncode, judged.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_secrets_come_as_credentials_and_the_user_has_no_name(unit: str) -> None:
    service = section(unit, "Service")
    assert service["DynamicUser"] == "yes"
    assert service["LoadCredential"].startswith("secret:/etc/ameide/")
    assert not {"User", "Environment", "EnvironmentFile"} & set(service)


def test_only_the_main_process_speaks_to_the_manager_and_a_silent_one_is_ended() -> None:
    service = section("ameide.service", "Service")
    assert (service["Type"], service["NotifyAccess"], service["Restart"]) == ("notify", "main", "on-failure")
    assert int(service["WatchdogSec"]) > 0
    assert service["RestartPreventExitStatus"] == "2"


def test_the_janitor_runs_once_a_turn_and_shares_nothing_with_the_reconciler() -> None:
    janitor, reconciler = (section(u, "Service") for u in ("ameide-janitor.service", "ameide.service"))
    assert janitor["Type"] == "oneshot"
    assert "janitor run --once" in janitor["ExecStart"]
    for setting in ("StateDirectory", "LoadCredential", "ExecStart"):
        assert janitor[setting] != reconciler[setting]
    assert "OnUnitInactiveSec" in section("ameide-janitor.timer", "Timer")
