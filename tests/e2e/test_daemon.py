"""`ameide reconciler run` as a process: what wakes it, what it does with a changed configuration, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.adapters.signer_ssh import generate_key_file
from reconciler.settings import load
from state.entry import Kind
from state.git import CommitId
from tests.fixtures.log_remote import GitServer
from tests.fixtures.shop import DOCS, IMAGE_NAMES, LOG_REF, Shop, changes, eventually, refs


class Process:
    """A running reconciler: its events, its private HTTP address, and its end."""

    def __init__(self, shop: Shop, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self._shop = shop
        self._events = config.with_suffix(f".{os.urandom(4).hex()}.jsonl")
        with self._events.open("w") as stderr:
            arguments = ("reconciler", "run", "--config", str(config))
            self.popen = shop.starts(*arguments, environment=environment, stderr=stderr)

    def events(self, name: str) -> list[dict[str, Any]]:
        # The last line may be half written.
        lines = self._events.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [e for e in found if e["event"] == name]

    def until(self, name: str, times: int = 1, **fields: object) -> dict[str, Any]:
        """Wait for the event; its last occurrence."""

        def there() -> dict[str, Any] | None:
            assert self.popen.poll() is None or self.events(name), self._events.read_text()
            found = [e for e in self.events(name) if e.items() >= fields.items()]
            return found[-1] if len(found) >= times else None

        return eventually(f"{name} {fields}", there)

    def get(self, path: str) -> requests.Response:
        """An answer of the address that it listens on now."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"http://{self.events('listening')[-1]['address']}{path}", timeout=5)

    def readiness(self) -> tuple[int, str]:
        try:
            answer = self.get("/readyz")
        except (IndexError, requests.ConnectionError):  # at the start, and between two configurations, nothing listens
            return 0, ""
        return answer.status_code, answer.text

    def until_ready(self) -> None:
        eventually("ready", lambda: self.readiness() == (200, "ready\n"))

    def ends(self, number: signal.Signals | None = None) -> int:
        """Its exit code; after a signal, where one is given."""
        if number is not None:
            self.popen.send_signal(number)
        self.popen.communicate(timeout=20)
        return self.popen.returncode

    @property
    def log(self) -> str:
        return self._events.read_text()


Start = Callable[..., Process]


@pytest.fixture
def start(shop: Shop) -> Iterator[Start]:
    """Start a reconciler on the shop's configuration, or on another one; whatever still runs at the end is killed."""
    shop.configure(listen={"private": "127.0.0.1:0"})
    with ExitStack() as stack:

        def run(config: Path | None = None, **environment: str) -> Process:
            made = Process(shop, config or shop.config, environment)
            stack.enter_context(made.popen)
            stack.callback(made.popen.kill)
            return made

        yield run


def filled(shop: Shop, head: CommitId) -> Callable[[], bool]:
    return lambda: None not in shop.tags(head).values()


def test_a_pull_request_opened_while_it_sleeps_is_filled_and_sigterm_ends_it(shop: Shop, start: Start) -> None:
    shop.configure(poll_interval_s=3600)  # so that nothing but the file event can wake it
    process = start()
    process.until_ready()
    process.until("pass_finished")
    head = shop.world.branch("docs", DOCS, "docs")
    opened = shop.runs("local", "pr", "open", "--repo", str(shop.code), "--branch", "docs", "--json")
    assert json.loads(opened.stdout)["head"] == head
    eventually("every tag of the head", filled(shop, head))
    assert process.get("/healthz").text == "ok\n"
    metrics = process.get("/metrics").text
    assert 'ameide_passes_total{repository="shop",result="ready"}' in metrics
    assert process.get("/nothing").status_code == 404
    assert process.ends(signal.SIGTERM) == 0
    assert process.events("stopped")
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    shop.verified()


def test_a_change_in_gitops_is_noticed_by_the_timer(shop: Shop, start: Start) -> None:
    shop.previews("orders")
    _, head = shop.opens("docs", DOCS)
    process = start()
    eventually("the first tag", lambda: shop.tag("orders", head))
    shop.previews("orders", "web")
    eventually("the second one", lambda: shop.tag("web", head))
    assert process.ends(signal.SIGINT) == 0


def test_sigterm_in_the_middle_of_a_batch_finishes_the_batch(shop: Shop, start: Start) -> None:
    shop.settings["registries"][0]["max_writes_per_s"] = 4
    shop.configure()
    heads = [shop.opens(f"docs-{n}", {"README.md": f"{n}\n"})[1] for n in range(12)]
    assert shop.registry is not None
    answered = shop.registry.answered
    before = len(answered)
    process = start()
    eventually("the first write", lambda: any(method == "PUT" for method, *_ in answered[before:]))
    assert process.ends(signal.SIGTERM) == 0
    assert len(shop.entries(Kind.INTENT)) == len([e for e in shop.entries(Kind.OUTCOME) if e.entry.body["intent"]]) == 1
    assert all(filled(shop, head)() for head in heads)
    shop.verified()


def test_a_second_process_on_the_same_log_is_refused_and_the_first_goes_on(shop: Shop, start: Start) -> None:
    first = start()
    first.until_ready()
    second = start()
    assert second.ends() == 3
    assert f"another writer of this log is active on this machine (process {first.popen.pid}); stop it" in second.log
    assert "Traceback" not in second.log
    _, head = shop.opens("docs", DOCS)
    eventually("every tag of the head", filled(shop, head))
    assert first.ends(signal.SIGTERM) == 0


# --- a configuration that changes


def swap(directory: Path, config: dict[str, Any]) -> Path:
    """Change a mounted ConfigMap as a kubelet does: a new directory, and one rename of the link to it."""
    fresh = directory / f"..{os.urandom(4).hex()}"
    fresh.mkdir(parents=True)
    (fresh / "ameide.yaml").write_text(json.dumps(config))
    (directory / "..data_tmp").symlink_to(fresh.name)
    (directory / "..data_tmp").replace(directory / "..data")
    if not (directory / "ameide.yaml").is_symlink():
        (directory / "ameide.yaml").symlink_to("..data/ameide.yaml")
    return directory / "ameide.yaml"


def test_a_configmap_swap_is_taken_up_live_and_recorded_and_a_bad_one_is_refused(shop: Shop, start: Start) -> None:
    mounted = shop.root / "mounted"
    config = swap(mounted, {**shop.settings, "mode": "observe"})
    digests = [load(config).digest]
    _, head = shop.opens("docs", DOCS)
    process = start(config)
    process.until_ready()
    process.until("pass_finished")
    assert set(shop.tags(head).values()) == {None}

    swap(mounted, {**shop.settings, "mode": "fill"})
    digests.append(load(config).digest)
    eventually("every tag of the head", filled(shop, head))
    process.until_ready()
    assert [e.entry.body["digest"] for e in shop.entries(Kind.CONFIG)] == digests

    swap(mounted, {**shop.settings, "mode": "fil"})
    process.until("config_refused")
    status, reason = process.readiness()
    assert status == 503
    assert reason.startswith("the configuration on disk is refused: ")
    assert "mode (line 1): expected" in reason
    assert process.get("/healthz").status_code == 200
    _, second = shop.opens("more", {"README.md": "more\n"})
    eventually("work goes on by the old configuration", filled(shop, second))

    swap(mounted, {**shop.settings, "mode": "fill"})
    process.until_ready()
    assert [e.entry.body["digest"] for e in shop.entries(Kind.CONFIG)] == digests
    assert process.ends(signal.SIGTERM) == 0
    shop.verified()


@pytest.mark.parametrize("fault", ["key", "listen"])
def test_a_configuration_with_which_no_start_would_succeed_is_refused_while_the_old_one_runs(
    shop: Shop, start: Start, fault: str
) -> None:
    process = start()
    process.until_ready()
    good = json.loads(json.dumps(shop.settings))
    if fault == "key":
        shop.configure(shop={"log": {**shop.repository_settings["log"], "key_file": str(shop.root / "missing-key")}})
    else:
        shop.configure(listen={"private": shop.host})  # where the registry listens
    refused = process.until("config_refused")
    assert ("missing-key" if fault == "key" else "cannot listen on") in refused["error"]
    assert process.readiness()[0] == 503
    _, head = shop.opens("docs", DOCS)
    eventually("work goes on", filled(shop, head))
    shop.settings = good
    shop.configure()
    process.until_ready()
    assert process.ends(signal.SIGTERM) == 0


# --- the log's remote


@pytest.fixture
def remote(shop: Shop) -> Path:
    """A bare repository that the log is pushed to."""
    path = shop.root / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], env=shop.environment(), check=True)
    shop.configure(shop={"log": {**shop.repository_settings["log"], "remote": str(path)}})
    return path


def test_an_unreachable_remote_is_told_and_made_up_for_later(shop: Shop, start: Start, remote: Path) -> None:
    process = start()
    process.until_ready()
    away = remote.rename(remote.with_name("away.git"))
    _, head = shop.opens("docs", DOCS)
    eventually("work goes on", filled(shop, head))
    process.until("log_not_pushed")
    away.rename(remote)
    eventually("the log is pushed", lambda: refs(remote)[LOG_REF] == refs(shop.log)[LOG_REF])
    assert process.ends(signal.SIGTERM) == 0
    assert shop.entries(Kind.OUTCOME)
    shop.verified()


def test_a_writer_that_lost_its_log_ends_with_exit_code_3_and_its_tail_is_saved(
    shop: Shop, start: Start, remote: Path
) -> None:
    process = start()
    process.until_ready()
    other = json.loads(json.dumps(shop.settings))
    other["state_dir"] = str(shop.root / "state-elsewhere")
    other["repositories"][0]["log"].update(path=str(shop.root / "log-elsewhere.git"), writer="rec-1")
    elsewhere = shop.root / "elsewhere.yaml"
    elsewhere.write_text(json.dumps(other))
    assert shop.runs("reconciler", "once", "--config", str(elsewhere)).returncode == 0

    shop.opens("docs", DOCS)
    assert process.ends() == 3
    fenced = process.events("writer_fenced")[-1]["error"]
    assert "which this writer did not append; the tail is saved as refs/heads/log-orphan/rec-0/1" in fenced
    assert "Traceback" not in process.log
    orphan = refs(shop.log)["refs/heads/log-orphan/rec-0/1"]

    again = start()
    again.until_ready()
    eventually("the log is pushed", lambda: refs(remote)[LOG_REF] == refs(shop.log)[LOG_REF])
    assert again.ends(signal.SIGTERM) == 0
    epochs = [(e.entry.writer, e.entry.body["orphan"]) for e in shop.entries(Kind.EPOCH)]
    assert epochs == [("rec-0", None), ("rec-1", None), ("rec-0", orphan)]
    assert filled(shop, shop.pulls.resolve("docs"))()
    shop.verified()


def test_a_log_taken_over_on_this_machine_ends_the_process_with_exit_code_3(shop: Shop, start: Start) -> None:
    process = start()
    process.until_ready()
    next(shop.log.glob("*.flock")).unlink()  # another machine on a shared disk does not see this lock
    taken = shop.runs("reconciler", "once", "--config", str(shop.config))
    assert taken.returncode == 0, taken.stderr
    shop.opens("orders", changes("orders"))
    assert process.ends() == 3
    assert "epoch 2 belongs to rec-0" in process.events("writer_fenced")[-1]["error"]
    shop.verified()


def put(config: Path, settings: Mapping[str, Any]) -> None:
    """By a rename: who reads meanwhile sees the old file or the new one, never an empty one."""
    fresh = config.with_name(".ameide.yaml.new")
    fresh.write_text(json.dumps(settings))
    fresh.replace(config)


def test_a_configuration_whose_key_the_log_does_not_know_is_refused_while_it_runs(shop: Shop, start: Start) -> None:
    process = start()
    process.until_ready()
    good = dict(shop.settings)
    other = shop.log.with_name("other-key")
    generate_key_file(other)
    changed = {**shop.repository_settings, "log": {**shop.repository_settings["log"], "key_file": str(other)}}
    put(shop.config, {**good, "repositories": [changed]})
    refused = process.until("config_refused")
    assert "the log's key in force is ssh-ed25519" in refused["error"]
    status, text = process.readiness()
    assert (status, "the configuration on disk is refused" in text) == (503, True)
    _, head = shop.opens("docs", DOCS)
    eventually("every tag of the head", filled(shop, head))
    put(shop.config, good)
    process.until_ready()
    assert process.ends(signal.SIGTERM) == 0


def test_two_names_for_one_forge_id_would_write_one_log_and_are_refused(shop: Shop, start: Start) -> None:
    copy = shop.code.with_name("copy.git")
    shutil.copytree(shop.code, copy)
    twin = {**shop.repository_settings, "name": "copy", "forge": {"kind": "local", "path": str(copy)}}
    put(shop.config, {**shop.settings, "repositories": [shop.repository_settings, twin]})
    process = start()
    assert process.ends() == 2
    assert "copy and shop have the same forge id" in process.log


def test_sigterm_ends_it_in_the_time_of_one_request_although_the_registry_hangs(shop: Shop, start: Start) -> None:
    assert shop.registry is not None
    shop.configure(request_timeout_s=6)
    process = start()
    process.until_ready()
    host, _, port = shop.registry.host.rpartition(":")
    shop.registry.stop()
    with socket.create_server((host, int(port))) as hole:
        hole.settimeout(20)
        shop.opens("docs", DOCS)
        held, _ = hole.accept()
        with held:
            # Four tries of six seconds would not end within the twenty that `ends` waits.
            assert process.ends(signal.SIGTERM) == 0
    assert process.events("stopped")
    assert not shop.entries(Kind.DECISION)


def test_the_log_is_pushed_to_a_remote_that_asks_for_a_login(shop: Shop, start: Start, git_server: GitServer) -> None:
    there = git_server.bare("log.git")
    git_server.credential = "ameide:s3cret"
    login = shop.root / "log-remote"
    login.write_text("ameide:s3cret\n")
    login.chmod(0o600)
    settings = {**shop.repository_settings["log"], "remote": git_server.url("log.git")}
    shop.configure(shop={"log": {**settings, "remote_credential_file": str(login)}})
    process = start()
    process.until_ready()
    eventually("the log's branch on the remote", lambda: LOG_REF in refs(there))
    assert process.ends(signal.SIGTERM) == 0
    assert refs(there)[LOG_REF] == refs(shop.log)[LOG_REF]
    assert "s3cret" not in process.log
