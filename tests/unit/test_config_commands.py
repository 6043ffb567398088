"""`ameide config`, `init` and `doctor` as a person calls them, on real repositories."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import jsonschema
import pygit2
import pytest
from click.testing import CliRunner, Result

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.evidence_key import generate_key_pair
from reconciler.adapters.local_repository import LocalRepository
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.signer_ssh import SshSigner, generate_key_file
from reconciler.cli import root
from reconciler.doctor.diagnosis import diagnose
from reconciler.settings import load
from reconciler.wiring import rehearse
from state.errors import ConfigError
from state.log import GitLog
from state.oci import OCI_INDEX, Digest
from tests.fixtures import log_remote
from tests.fixtures.git_http import GitServer
from tests.fixtures.registry_stub import Reply, Seen, Stub

CATALOGUE = """\
version: 1
images:
  orders: {repository: HOST/acme/orders, inputs: [orders], platforms: [linux/amd64]}
components: {orders-v0: orders}
"""
INVENTORY = """\
version: 1
components: {orders-v0: {previewed: true}}
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("AMEIDE_"):
            monkeypatch.delenv(name)


def ameide(*arguments: str | Path) -> Result:
    """Runs the command; errors of our families come out as `exception`, as `main` gets them."""
    return CliRunner().invoke(root, [str(a) for a in arguments], standalone_mode=False)


def bare(path: Path, files: dict[str, str], branch: str = "main") -> Path:
    """A bare repository with one commit on `branch`."""
    stream = [f"commit refs/heads/{branch}\ncommitter A <a@example.org> 0 +0000\ndata 1\nx\n"]
    stream += [f"M 100644 inline {name}\ndata {len(text)}\n{text}\n" for name, text in files.items()]
    subprocess.run(["git", "init", "-q", "--bare", "-b", branch, str(path)], check=True)
    subprocess.run(["git", "fast-import", "--quiet"], input="".join(stream), text=True, check=True, cwd=path)
    return path


def answer(seen: Seen) -> Reply:
    """A registry that has `:main` of every image."""
    if "/manifests/" in seen.path:
        return Reply(200, {"Content-Type": OCI_INDEX, "Docker-Content-Digest": Digest.of(b"{}")}, b"{}")
    return Reply(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")


@pytest.fixture
def world(tmp_path: Path, stub: Stub) -> tuple[Path, Path, Path]:
    """A code repository, a GitOps repository, and a directory to write into; the registry answers /v2/."""
    stub.answer = answer
    code = bare(tmp_path / "Shop code.git", {"ameide.yaml": CATALOGUE.replace("HOST", stub.host), "orders/x": "1"})
    gitops = bare(tmp_path / "Git ops.git", {"ameide/inventory.yaml": INVENTORY}, "trunk")
    LocalRepository(code).initialise(None)
    out = tmp_path / "etc"
    out.mkdir()
    return code, gitops, out


@pytest.fixture
def config(world: tuple[Path, Path, Path]) -> Path:
    code, gitops, out = world
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", out / "ameide.yaml")
    assert made.exception is None, made.output
    return out / "ameide.yaml"


def test_init_writes_a_short_file_that_loads_and_a_key_that_only_its_owner_reads(config: Path, stub: Stub) -> None:
    assert len(config.read_text().splitlines()) <= 15
    settings = load(config).settings
    (repository,) = settings.repositories
    assert settings.mode == "observe"
    assert [r.host for r in settings.registries] == [stub.host]
    assert (repository.name, repository.gitops.ref) == ("shop-code", "refs/heads/trunk")
    assert repository.admission.base_branches == ("main",)
    assert repository.log.key_file.stat().st_mode & 0o777 == 0o600
    assert settings.state_dir.is_dir()


def test_init_writes_names_that_yaml_would_take_for_something_else(tmp_path: Path) -> None:
    odd = tmp_path / "odd: #dir, {x}"
    odd.mkdir()
    code = bare(odd / "true.git", {"ameide.yaml": CATALOGUE.replace("HOST", "ghcr.io")}, "true")
    gitops = bare(odd / "1.0.git", {"ameide/inventory.yaml": INVENTORY}, "1.0")
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", odd / "ameide.yaml")
    assert made.exception is None, made.exception
    (repository,) = load(odd / "ameide.yaml").settings.repositories
    assert (repository.name, repository.forge.path) == ("true", code)
    assert repository.admission.base_branches == ("true",)
    assert (repository.gitops.url, repository.gitops.ref) == (str(gitops), "refs/heads/1.0")


def test_init_never_overwrites(config: Path, world: tuple[Path, Path, Path]) -> None:
    code, gitops, _ = world
    before = {p: p.read_bytes() for p in config.parent.iterdir() if p.is_file()}
    for victim in (config, config.with_name("ameide-log-key")):
        made = ameide("init", "--code", code, "--gitops", gitops, "--out", config)
        assert f"{victim}: is already there" in str(made.exception)
        assert {p: p.read_bytes() for p in config.parent.iterdir() if p.is_file()} == before
        victim.unlink()
        before.pop(victim)


def test_init_names_key_and_state_after_the_file_so_that_two_stand_side_by_side(
    config: Path, world: tuple[Path, Path, Path]
) -> None:
    code, gitops, out = world
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", out / "z.yaml")
    assert made.exception is None, made.exception
    first, second = (load(f).settings for f in (config, out / "z.yaml"))
    assert first.repositories[0].log.key_file == out / "ameide-log-key"
    assert second.repositories[0].log.key_file == out / "z-log-key"
    assert (first.state_dir, second.state_dir) == (out / "ameide-state", out / "z-state")


def test_init_checks_what_it_is_given_before_what_is_already_there(
    config: Path, world: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    code, gitops, _ = world
    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong in ((empty, gitops), (code, empty)):
        made = ameide("init", "--code", wrong[0], "--gitops", wrong[1], "--out", config)
        assert f"{empty}: expected a bare git repository" in str(made.exception)


@pytest.mark.parametrize("out", ["/proc/x.yaml", "no/such/x.yaml", "code/x.yaml"])
def test_init_says_in_one_line_that_it_cannot_write(
    world: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    code, gitops, etc = world
    monkeypatch.chdir(etc)
    (etc / "code").mkdir()
    (etc / "code" / "x-state").write_text("")
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", out)
    assert isinstance(made.exception, ConfigError)
    assert "\n" not in str(made.exception)
    assert sorted(p.name for p in (etc / "code").iterdir()) == ["x-state"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://me:hunter2@git.example/x.git", "expected https://host/owner/name"),
        ("/no/such.git", "the path of a bare repository"),
        ("git@github.com:acme/shop.git", "expected https://host/owner/name"),
        ("https://github.com/acme", "expected https://github.com/owner/name"),
        ("https://git.example.org/acme/shop", "add --forge KIND"),
    ],
)
def test_init_refuses_what_names_no_repository_without_quoting_a_password(
    tmp_path: Path, url: str, problem: str
) -> None:
    made = ameide("init", "--code", url, "--gitops", url, "--out", tmp_path / "ameide.yaml")
    assert problem in str(made.exception)
    assert "hunter2" not in str(made.exception)
    assert not (tmp_path / "ameide.yaml").exists()


@pytest.mark.parametrize(
    ("code", "options", "forge"),
    [
        ("https://github.com/acme/shop", (), ("github", "https://github.com", "acme/shop")),
        ("https://acme.ghe.com/acme/shop.git", (), ("github", "https://acme.ghe.com", "acme/shop")),
        ("https://gitlab.com/acme/platform/shop.git", (), ("gitlab", "https://gitlab.com", "acme/platform/shop")),
        ("https://codeberg.org/acme/shop", (), ("gitea", "https://codeberg.org", "acme/shop")),
        ("https://own.example/git/acme/shop", ("--forge", "gitea"), ("gitea", "https://own.example/git", "acme/shop")),
        (
            "https://own.example:8443/acme/shop",
            ("--forge", "gitlab"),
            ("gitlab", "https://own.example:8443", "acme/shop"),
        ),
    ],
)
def test_init_writes_a_short_file_for_each_kind_of_forge_and_says_what_to_put_where(
    tmp_path: Path, code: str, options: tuple[str, ...], forge: tuple[str, str, str]
) -> None:
    out = tmp_path / "ameide.yaml"
    gitops = "https://github.com/acme/gitops"
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", out, "--registry", "ghcr.io", *options)
    assert made.exception is None, made.exception
    assert len(out.read_text().splitlines()) <= 15
    settings = load(out).settings
    (repository,) = settings.repositories
    assert (repository.forge.kind, repository.forge.url, repository.forge.repository) == forge
    assert repository.name == "shop"
    assert [r.host for r in settings.registries] == ["ghcr.io"]
    assert (repository.gitops.ref, repository.admission.base_branches) == ("refs/heads/main", ("main",))
    for file in (repository.forge.token_file, repository.gitops.credential_file):
        assert not file.exists()  # a credential is never made up
        assert f"  {file}\n" in made.output


def test_init_takes_files_branches_and_a_gitops_repository_by_ssh_as_they_are_named(tmp_path: Path) -> None:
    out, token = tmp_path / "ameide.yaml", tmp_path / "secrets" / "token"
    named = ("--base", "trunk", "--gitops-base", "live", "--registry", "ghcr.io", "--token-file", token)
    code, gitops = "https://github.com/acme/shop", "git@github.com:acme/gitops.git"
    made = ameide("init", "--code", code, "--gitops", gitops, "--out", out, *named)
    assert made.exception is None, made.exception
    assert len(out.read_text().splitlines()) <= 15
    (repository,) = load(out).settings.repositories
    assert (repository.forge.token_file, repository.admission.base_branches) == (token, ("trunk",))
    assert (repository.gitops.url, repository.gitops.ref) == (gitops, "refs/heads/live")
    assert repository.gitops.known_hosts_file == tmp_path / "ameide-known-hosts"
    assert "ssh-keyscan" in made.output


def test_init_reads_the_registries_from_the_catalogue_once_the_token_is_in_place(
    tmp_path: Path, http_git: GitServer
) -> None:
    bare(tmp_path / "acme" / "shop.git", {"ameide.yaml": CATALOGUE.replace("HOST", "ghcr.io"), "orders/x": "1"})
    http_git.passwords = {"the-token"}
    out = tmp_path / "ameide.yaml"
    urls = ("--code", http_git.repository("acme/shop"), "--gitops", http_git.repository("acme/gitops"))
    refused = ameide("init", *urls, "--forge", "gitea", "--out", out)
    assert isinstance(refused.exception, ConfigError)
    assert f"put a token into {tmp_path / 'ameide-token'}, or name each" in str(refused.exception)
    assert not out.exists()
    (tmp_path / "ameide-token").write_text("the-token\n")
    made = ameide("init", *urls, "--forge", "gitea", "--out", out)
    assert made.exception is None, made.exception
    assert [r.host for r in load(out).settings.registries] == ["ghcr.io"]
    assert "the-token" not in made.output + out.read_text()


def test_init_leaves_nothing_behind_when_the_catalogue_is_wrong(tmp_path: Path) -> None:
    code = bare(tmp_path / "code.git", {"ameide.yaml": "images: 7\n"})
    made = ameide("init", "--code", code, "--gitops", code, "--out", tmp_path / "out.yaml")
    assert made.exception is not None
    assert "images" in str(made.exception)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["code.git"]


def findings(config: Path) -> tuple[int, dict[str, dict[str, str]]]:
    made = ameide("doctor", "--config", config, "--json")
    assert made.exception is None, made.exception
    return made.return_value, {f["check"]: f for f in json.loads(made.output)}


def test_doctor_finds_nothing_wrong_with_what_init_wrote(config: Path, stub: Stub) -> None:
    code, found = findings(config)
    assert {name: f["found"] for name, f in found.items() if f["status"] != "ok"} == {}
    assert code == 0
    assert {"git", "state_dir", "clock", "shop-code: forge", f"registry {stub.host}"} <= set(found)
    assert list(load(config).settings.state_dir.iterdir()) == []  # it cleaned up after itself


Spoil = Callable[[Path, Stub], object]


@pytest.mark.parametrize(
    ("check", "status", "spoil"),
    [
        ("state_dir", "fail", lambda c, _: load(c).settings.state_dir.rmdir()),
        ("shop-code: log key", "fail", lambda c, _: load(c).settings.repositories[0].log.key_file.unlink()),
        ("shop-code: log key", "fail", lambda c, _: load(c).settings.repositories[0].log.key_file.chmod(0o644)),
        ("shop-code: forge", "fail", lambda c, _: rename(load(c).settings.repositories[0].forge.path)),
        ("shop-code: catalogue", "fail", lambda c, _: edit(c, "catalogue: ameide.yaml", "catalogue: no.yaml")),
        ("shop-code: gitops", "fail", lambda c, _: edit(c, "ref: refs/heads/trunk", "ref: refs/heads/main")),
        ("shop-code: gitops", "fail", lambda c, _: edit(c, "ameide/inventory.yaml", "ameide")),
        ("shop-code: log", "fail", lambda c, _: load(c).settings.repositories[0].log.path.write_text("x")),
        ("registry HOST", "fail", lambda _, s: setattr(s, "answer", lambda _: Reply(401))),
        ("registry HOST", "fail", lambda _, s: setattr(s, "answer", lambda _: Reply(404))),
        ("registries", "fail", lambda c, s: edit(c, s.host, "127.0.0.2:1")),
    ],
)
def test_doctor_names_the_spoiled_thing_and_a_remedy(
    config: Path, stub: Stub, check: str, status: str, spoil: Spoil
) -> None:
    spoil(config, stub)
    code, found = findings(config)
    finding = found[check.replace("HOST", stub.host)]
    assert code == 1
    assert finding["status"] == status
    assert finding["remedy"]


class FastClock(SystemClock):
    """Two minutes ahead of everybody."""

    def now(self) -> datetime:
        return super().now() + timedelta(minutes=2)


def test_doctor_compares_our_clock_with_the_registry_s(config: Path, stub: Stub) -> None:
    found = {f.check: f for f in diagnose(load(config), FastClock(), SystemRandom())}
    assert found[f"registry {stub.host}: clock"].status == "warn"
    assert "s ahead" in found[f"registry {stub.host}: clock"].found
    assert found["clock"].status == "ok"


def rename(path: Path) -> None:
    path.rename(path.with_name("gone"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_doctor_says_what_is_wrong_with_the_file_itself(config: Path) -> None:
    edit(config, "mode: observe", "mode: dream")
    code, found = findings(config)
    assert code == 2
    assert "mode (line 2)" in found["config"]["found"]


def test_check_answers_in_one_line_and_by_exit_code(config: Path) -> None:
    good = ameide("config", "check", config)
    assert good.return_value == 0
    assert good.output.count("\n") == 1
    assert load(config).digest in good.output
    edit(config, "baseline: none", "baseline: signature")
    assert "authority is required" in str(ameide("config", "check", config).exception)
    bad = ameide("config", "check", config, "--json")
    assert bad.return_value == 2
    assert json.loads(bad.output)["problems"][0].startswith("repositories[0].verification (line")


def test_explain_prints_value_source_authority_unit_and_meaning(config: Path) -> None:
    output = ameide("config", "explain", "--config", config, "poll_interval_s").output
    assert "poll_interval_s = 30\n" in output
    assert "built-in constant · authority: platform-derived · seconds" in output
    assert "Seconds between two looks" in output
    assert "no setting 'nope'" in str(ameide("config", "explain", "--config", config, "nope").exception)
    assert json.loads(ameide("config", "explain", "--config", config, "mode", "--json").output)[0]["value"] == "observe"


def test_the_schema_is_one_and_takes_what_init_wrote(config: Path) -> None:
    schema = json.loads(ameide("config", "schema").output)
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(load(config).settings.model_dump_json())
    jsonschema.validate(content, schema)
    content["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


# --- what doctor asks outside


def test_doctor_asks_for_main_of_each_image_and_changes_nothing(config: Path, stub: Stub) -> None:
    findings(config)
    assert {r.method for r in stub.requests} <= {"GET", "HEAD"}
    assert [r.path for r in stub.requests if "manifests" in r.path] == ["/v2/acme/orders/manifests/main"]
    stub.answer = lambda seen: Reply(404) if "/manifests/" in seen.path else answer(seen)
    code, found = findings(config)
    main = found[f"{stub.host}/acme/orders:main"]
    assert (code, main["status"]) == (1, "warn")
    assert main["found"].endswith("/acme/orders:main is missing or the credential may not see it")
    assert main["remedy"] == "check the repository's name and the credential's permission, or publish :main"
    stub.answer = lambda seen: Reply(403) if "/manifests/" in seen.path else answer(seen)
    assert findings(config)[1][f"{stub.host}/acme/orders:main"]["status"] == "fail"


def test_doctor_asks_no_further_once_a_registry_does_not_answer(
    config: Path, world: tuple[Path, Path, Path], stub: Stub
) -> None:
    image = f"{{repository: {stub.host}/acme/N, inputs: [orders], platforms: [linux/amd64]}}"
    rows = "".join(f"  {n}: {image.replace('/N', f'/{n}')}\n" for n in ("a", "b", "c"))
    code = world[0].with_name("three.git")
    bare(code, {"ameide.yaml": f"version: 1\nimages:\n{rows}components: {{orders-v0: a}}\n", "orders/x": "1"})
    LocalRepository(code).initialise(None)
    edit(config, "Shop code.git", "three.git")
    stub.answer = lambda seen: Reply(503) if "/b/manifests/" in seen.path else answer(seen)
    found = findings(config)[1]
    assert found[f"{stub.host}/acme/b:main"]["status"] == "fail"
    assert not any("/acme/c/" in r.path for r in stub.requests)


def test_doctor_begins_an_upload_where_tags_are_written_and_gives_it_up(config: Path, stub: Stub) -> None:
    check = f"registry {stub.host}: permissions"
    assert check not in findings(config)[1]  # `mode: observe` writes nothing
    edit(config, "mode: observe", "mode: fill")

    def uploads(seen: Seen) -> Reply:
        if not seen.path.endswith("/blobs/uploads/"):
            return Reply(204) if seen.method == "DELETE" else answer(seen)
        return Reply(202, {"Location": "/v2/acme/orders/blobs/uploads/1"})

    stub.answer = uploads
    found = findings(config)[1][check]
    assert (found["status"], found["found"]) == ("ok", "it may push; asked for 1 of 1 repositories")
    assert [r.path for r in stub.requests if r.method == "DELETE"] == ["/v2/acme/orders/blobs/uploads/1"]
    assert not any(r.method in {"PUT", "PATCH"} for r in stub.requests)
    stub.answer = lambda seen: Reply(403) if seen.method == "POST" else answer(seen)
    denied = findings(config)[1][check]
    assert (denied["status"], denied["found"]) == ("fail", "missing: push to acme/orders")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            404,
            ("warn", "more than needed: delete (lets its holder delete images, `:main` included) in acme/orders"),
        ),
        (403, ("ok", "it may not delete")),
        (405, ("warn", "not known whether it may delete in acme/orders")),
    ],
)
def test_doctor_asks_whether_the_credential_may_delete_by_what_no_registry_has(
    config: Path, stub: Stub, tmp_path: Path, status: int, expected: tuple[str, str]
) -> None:
    login = tmp_path / "registry.json"
    login.write_text(json.dumps({"auths": {stub.host: {"auth": "dXNlcjpodXNo"}}}))
    login.chmod(0o600)
    edit(config, "mode: observe", "mode: fill")
    edit(config, "anonymous: true", f"credential_file: {login}")
    stub.answer = lambda seen: Reply(status) if seen.method == "DELETE" else answer(seen)
    found = findings(config)[1][f"registry {stub.host}: deleting"]
    assert (found["status"], found["found"]) == expected
    deleted = [r.path for r in stub.requests if r.method == "DELETE" and "/uploads/" not in r.path]
    assert deleted == [f"/v2/acme/orders/manifests/sha256:{'0' * 64}"]


def test_doctor_reads_a_gitops_repository_over_http_with_its_credential(
    config: Path, tmp_path: Path, http_git: GitServer
) -> None:
    served = bare(tmp_path / "served.git", {"ameide/inventory.yaml": INVENTORY}, "trunk")
    pygit2.Repository(str(served)).config["http.receivepack"] = False
    token = tmp_path / "token"
    token.write_text("s3cret")
    token.chmod(0o600)
    gitops = str(tmp_path / "Git ops.git")
    edit(config, f'url: "{gitops}"', f"credential_file: {token}, url: '{http_git.url}/served.git'")
    http_git.login = ("x-access-token", "s3cret")
    code, found = findings(config)
    assert (code, found["shop-code: gitops"]["status"]) == (0, "ok")
    assert "1 previewed components" in found["shop-code: gitops"]["found"]
    assert found["shop-code: gitops permissions"]["found"] == "it may read, and not push"
    pygit2.Repository(str(served)).config["http.receivepack"] = True
    allowed = findings(config)[1]["shop-code: gitops permissions"]
    assert (allowed["status"], allowed["remedy"][:26]) == ("warn", "name one that may only rea")
    assert list(load(config).settings.state_dir.iterdir()) == []
    http_git.login = ("x-access-token", "rotated")
    assert "gitops.credential_file" in findings(config)[1]["shop-code: gitops"]["remedy"]
    http_git.login = None
    http_git.refuse = lambda _: "503 Service Unavailable"
    assert "try again later" in findings(config)[1]["shop-code: gitops"]["remedy"]


def test_a_gitops_repository_behind_ssh_is_read_with_its_host_keys(
    config: Path, world: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ssh notes its arguments and runs the remote command here."""
    programs, hosts = tmp_path / "bin", tmp_path / "known_hosts"
    programs.mkdir()
    hosts.write_text("git.example ssh-ed25519 AAAA\n")
    (programs / "ssh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {programs}/arguments\nfor last; do :; done\nexec sh -c "$last"\n'
    )
    (programs / "ssh").chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    world[1].rename(tmp_path / "gitops.git")
    there = f"known_hosts_file: {hosts}, url: 'ssh://git@git.example{tmp_path}/gitops.git'"
    edit(config, f'url: "{world[1]}"', there)
    code, found = findings(config)
    assert (code, found["shop-code: gitops"]["status"]) == (0, "ok")
    assert f"UserKnownHostsFile={hosts}" in (programs / "arguments").read_text()
    rehearse(load(config), lambda *_args, **_fields: None, PrometheusMetrics())
    hosts.unlink()
    assert "ssh-keyscan" in findings(config)[1]["shop-code: gitops known hosts"]["remedy"]


def test_paths_with_a_space_pass_the_check_the_doctor_and_a_plan(config: Path) -> None:
    assert " " in load(config).settings.repositories[0].gitops.url
    assert ameide("config", "check", config).return_value == 0
    planned = ameide("reconciler", "plan", "--config", config)
    assert planned.exception is None, planned.exception


def test_doctor_compares_the_log_key_with_the_one_in_force(config: Path) -> None:
    (repository,) = load(config).settings.repositories
    signer = SshSigner.from_file(repository.log.key_file)
    log = GitLog(
        repository.log.path,
        LocalRepository(repository.forge.path).id(),
        "reconciler",
        sign=signer.sign,
        public_key=signer.public_key(),
        writer="ameide-0",
        now=SystemClock().now,
        tips_dir=config.parent / "tips",
    )
    log.activate()
    log.close()
    assert findings(config)[1]["shop-code: log key in force"]["status"] == "ok"
    repository.log.key_file.unlink()
    repository.log.key_file.with_name("ameide-log-key.pub").unlink()
    generate_key_file(repository.log.key_file)
    code, found = findings(config)
    assert (code, found["shop-code: log key"]["status"]) == (1, "ok")
    assert found["shop-code: log key in force"]["status"] == "fail"
    assert signer.public_key() in found["shop-code: log key in force"]["found"]


def test_doctor_reads_the_log_s_remote_with_its_credential(
    config: Path, tmp_path: Path, git_server: log_remote.GitServer
) -> None:
    git_server.bare("log.git")
    git_server.credential = "x-access-token:s3cret"
    token = tmp_path / "log-token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    edit(config, "log: {", f"log: {{remote: '{git_server.url('log.git')}', remote_credential_file: {token}, ")
    code, found = findings(config)
    assert (code, found["shop-code: log remote"]["status"]) == (1, "ok")
    untold = found.pop("shop-code: log remote permissions: not told")  # the one finding: nobody knows this host
    assert {name: f["found"] for name, f in found.items() if f["status"] != "ok"} == {}
    assert "is none of the configured forges" in untold["found"]
    assert "it should reach this one repository" in untold["remedy"]
    token.write_text("wrong\n")
    code, found = findings(config)
    assert (code, found["shop-code: log remote"]["status"]) == (1, "fail")
    assert "remote_credential_file" in found["shop-code: log remote"]["remedy"]
    assert "wrong" not in found["shop-code: log remote"]["found"]


def test_doctor_asks_the_log_s_mirror_as_it_asks_the_remote(
    config: Path, tmp_path: Path, git_server: log_remote.GitServer
) -> None:
    mirror, token = git_server.bare("mirror.git"), tmp_path / "mirror-token"
    git_server.credential = "x-access-token:s3cret"
    token.write_text("s3cret\n")
    token.chmod(0o644)
    remote = bare(tmp_path / "log-remote.git", {})
    named = f"mirror: '{git_server.url('mirror.git')}', mirror_credential_file: {token}, "
    edit(config, "log: {", f"log: {{remote: {remote}, {named}")
    found = findings(config)[1]
    assert [found[f"shop-code: log {name}"]["status"] for name in ("remote", "mirror", "mirror credential")] == [
        "ok",
        "ok",
        "warn",  # others of this machine can read it
    ]
    assert found["shop-code: log mirror permissions: not told"]["status"] == "warn"
    pygit2.Repository(str(mirror)).config["http.receivepack"] = False
    denied = findings(config)[1]["shop-code: log mirror"]
    assert (denied["status"], "log.mirror_credential_file may read and push" in denied["remedy"]) == ("fail", True)
    assert "403" in denied["found"]
    git_server.down = True
    assert "503" in findings(config)[1]["shop-code: log mirror"]["found"]
    assert pygit2.Repository(str(mirror)).is_empty


def test_doctor_looks_at_the_secrets_of_notifications_and_traces(config: Path, tmp_path: Path) -> None:
    secret, token = tmp_path / "whsec", tmp_path / "otlp-token"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    secret.chmod(0o640)
    edit(
        config,
        "version: 1",
        f"version: 1\nnotifications: {{url: 'https://told.example', signing_secret_file: {secret}}}\n"
        f"tracing: {{endpoint: 'https://traces.example', bearer_token_file: {token}}}",
    )
    found = findings(config)[1]
    assert (found["notifications: signing secret"]["status"], found["tracing: bearer token"]["status"]) == (
        "warn",
        "fail",
    )
    assert found["tracing: bearer token"]["remedy"] == "put the file there, or mount the secret"
    assert found["credentials: not compared"]["found"].endswith("tracing")
    secret.chmod(0o600)
    token.write_text("t0ken\n")
    token.chmod(0o600)
    edit(config, f"signing_secret_file: {secret}", f"bearer_token_file: {token}")
    code, found = findings(config)
    assert (code, found["notifications: bearer token"]["status"], found["tracing: bearer token"]["status"]) == (
        1,
        "ok",
        "ok",
    )
    assert found["credentials"]["found"] == "the same secret opens notifications and tracing"
    assert "t0ken" not in str(found)


def test_doctor_tries_the_keys_of_evidence(config: Path, stub: Stub, tmp_path: Path) -> None:
    keys = [tmp_path / name for name in ("own.key", "own.password", "own.pub")]
    generate_key_pair(*keys)
    private, password, public = keys
    edit(
        config,
        "verification: {baseline: none, pull_request: none}",
        f"verification: {{baseline: provenance, pull_request: provenance, source_repository: 'https://git.example/shop',"
        f" authority: {{kind: keys, public_key_files: [{public}]}}}}\n"
        f"    evidence: {{signer: {{kind: key, key_file: {private}, password_file: {password}}},"
        f" release_sets: {stub.host}/shop/releases}}",
    )
    code, found = findings(config)
    assert code == 0
    assert "sha256:" in found["shop-code: verification"]["found"]
    assert "key sha256:" in found["shop-code: evidence signer"]["found"]
    password.write_text("wrong\n")
    public.write_text("no key")
    code, found = findings(config)
    assert code != 0
    assert str(public) in found["shop-code: verification"]["found"]
    assert "cannot be decrypted" in found["shop-code: evidence signer"]["found"]
