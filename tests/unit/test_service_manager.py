"""What the service manager is told, over a real datagram socket, and that only the loop says it lives."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.service_manager import STATUS_MAX_CHARS, ServiceManager
from reconciler.events import to_stream
from reconciler.looking import Rules
from reconciler.loop import Loop
from reconciler.passes import PassReport
from reconciler.secret_modes import open_to_others
from state.errors import ConfigError, Unavailable
from tests.fixtures.notify import NotifySocket, notify_socket
from tests.fixtures.shop import SkewedClock


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@ameide-{os.getpid()}-{tmp_path.name}"
    with notify_socket(address) as made:
        yield made


def manager(listening: NotifySocket, clock: SystemClock | None = None, **environment: str) -> ServiceManager:
    environ = {"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "180000000", **environment}
    return ServiceManager.of_environment(clock or SystemClock(), environ)


def test_a_life_from_start_to_stop(listening: NotifySocket) -> None:
    clock = SkewedClock()
    made = manager(listening, clock)
    made.starting(180, "opening shop, 1 of 2")
    made.ready(180)
    made.status("ready")
    made.status("ready")
    assert [made.alive(), made.alive()] == [True, False]
    clock.skew_s = 1
    assert made.alive()
    made.stopping(150)
    assert listening.sent() == [
        {"EXTEND_TIMEOUT_USEC": "180000000", "STATUS": "opening shop, 1 of 2"},
        {"READY": "1", "WATCHDOG_USEC": "180000000", "WATCHDOG": "1"},
        {"STATUS": "ready"},
        {"WATCHDOG": "1"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "150000000", "STATUS": "draining"},
    ]


def test_a_status_is_one_bounded_line_that_assigns_nothing_else(listening: NotifySocket) -> None:
    manager(listening).status("title\nSTOPPING=1\x1b[2J" + "x" * 1000)
    (sent,) = listening.sent()
    assert set(sent) == {"STATUS"}
    assert sent["STATUS"].startswith("title STOPPING=1 [2Jxxx")
    assert len(sent["STATUS"]) == STATUS_MAX_CHARS


@pytest.mark.parametrize("environment", [{"WATCHDOG_PID": "1"}])
def test_a_watchdog_of_another_process_hears_nothing(listening: NotifySocket, environment: dict[str, str]) -> None:
    made = manager(listening, **environment)
    made.ready(180)
    made.alive()
    assert listening.sent() == [{"READY": "1"}]


def test_nobody_asked_nobody_is_told() -> None:
    made = ServiceManager.of_environment(SystemClock(), {})
    made.ready(1)
    assert not made.alive()
    made.stopping(1)


@pytest.mark.parametrize("address", ["notify", "vsock:2:1", "/" + "x" * 108])
def test_an_address_that_is_no_unix_socket_is_bad_input(address: str) -> None:
    with pytest.raises(ConfigError, match="NOTIFY_SOCKET"):
        ServiceManager(address, SystemClock())


def test_a_manager_that_went_away_keeps_a_start_from_passing_and_nothing_else(tmp_path: Path) -> None:
    made = ServiceManager(str(tmp_path / "gone"), SystemClock(), watchdog=True)
    made.starting(1, "opening")
    made.alive()
    made.stopping(1)
    with pytest.raises(Unavailable, match="READY=1"):
        made.ready(1)


class Hanging:
    """A repository whose pass stands still, however much time passes, and then asks whether to go on."""

    name = "shop"

    def __init__(self, during: Callable[[Callable[[], bool]], None]) -> None:
        self._during = during

    def run_pass(self, _rules: Rules, _hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport:
        self._during(stopping)
        raise Unavailable("the registry hung")


def test_a_loop_that_hangs_is_silent_and_one_that_goes_on_is_heard(listening: NotifySocket) -> None:
    clock = SkewedClock()
    made = manager(listening, clock)
    heard: list[list[dict[str, str]]] = []

    def during(stopping: Callable[[], bool]) -> None:
        heard.append(listening.sent())
        clock.skew_s += 3600
        heard.append(listening.sent())
        stopping()
        heard.append(listening.sent())

    emit = to_stream(io.StringIO(), clock, human=False)
    loop = Loop(
        [Hanging(during)],
        lambda _: Rules.__new__(Rules),
        clock,
        SystemRandom(),
        emit=emit,
        metrics=PrometheusMetrics(),
        on_beat=lambda: made.alive() and None,
    )
    loop.step()
    assert heard == [[{"WATCHDOG": "1"}], [], [{"WATCHDOG": "1"}]]
    assert loop.heartbeat_age_s() < 60


# --- credentials


def acl(*entries: tuple[int, int, int]) -> bytes:
    """The bytes of `system.posix_acl_access`: tag, permissions, id."""
    return b"\x02\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + allowed.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, allowed, who in entries
    )


NOBODY = 0xFFFFFFFF
OWNER, MASK, OTHER = (0x01, 4, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)


@pytest.mark.parametrize(
    ("user", "group", "others"),
    [(0, 0, False), (0, 4, True), (1, 0, True)],
    ids=["for this user, as systemd does", "for the group too", "for another user"],
)
def test_an_access_list_is_read_as_what_it_allows(tmp_path: Path, user: int, group: int, others: bool) -> None:
    file = tmp_path / "credential"
    file.write_text("secret")
    file.chmod(0o400)
    listed = acl(OWNER, (0x02, 4, os.geteuid() + user), (0x04, group, NOBODY), MASK, OTHER)
    try:
        os.setxattr(file, "system.posix_acl_access", listed)
    except OSError as error:
        pytest.skip(f"this file system takes no access list: {error.strerror}")
    assert file.stat().st_mode & 0o077 == 0o040, "what a check of the mode alone would refuse"
    assert open_to_others(file) is others


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o400, False), (0o440, True), (0o604, True)])
def test_without_a_list_the_mode_counts(tmp_path: Path, mode: int, others: bool) -> None:
    file = tmp_path / "key"
    file.write_text("secret")
    file.chmod(mode)
    assert open_to_others(file) is others
