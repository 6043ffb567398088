"""The one config file: what is accepted, what is refused, and what a refusal says."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.git_remote import remote
from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.ports import Purpose
from reconciler.settings import CONFIG_MAX_BYTES, Loaded, load, policy_digest, split_address, to_policy
from reconciler.settings.explain import Authority, Source, below, explain, reference
from state.errors import ConfigError, InvalidValue
from state.git import RefName
from state.log_remote import LogRemote
from state.oci import Digest, Repository
from state.verdict import Level, Outcome

CONFIG = """\
version: 1
mode: fill
state_dir: /var/lib/ameide
registries:
  - {host: ghcr.io, credential_file: /run/secrets/registry.json}
repositories:
  - name: shop
    forge: {kind: local, path: /srv/git/shop.git}
    catalogue: ameide.yaml
    gitops: {url: /srv/git/shop-gitops.git, ref: refs/heads/main, inventory: ameide/inventory.yaml}
    admission: {base_branches: [main], hold_label: ameide/hold}
    verification: {baseline: none, pull_request: none}
    log: {path: /var/lib/ameide/log.git, key_file: /run/secrets/log-key, writer: ameide-0}
"""
SECOND = """\
  - name: wiki
    forge: {kind: local, path: /srv/git/wiki.git}
    catalogue: ameide.yaml
    gitops: {url: /srv/git/wiki-gitops.git, ref: refs/heads/main, inventory: ameide/inventory.yaml}
    admission: {base_branches: [main]}
    verification: {baseline: none, pull_request: none}
    log: {path: /var/lib/ameide/log.git, key_file: /run/secrets/log-key, writer: ameide-0}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "ameide.yaml"
        path.write_text(text)
        return path

    return written


def problems(path: Path, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    return caught.value.problems


def loaded(path: Path) -> Loaded:
    return load(path, {})


def test_the_example_is_accepted_and_what_is_left_out_is_a_built_in_constant(write: Write) -> None:
    settings = loaded(write(CONFIG)).settings
    assert settings.mode == "fill"
    assert settings.listen.private == "127.0.0.1:8080"
    assert settings.repositories[0].max_heads == 1000
    assert settings.repositories[0].forge.path == Path("/srv/git/shop.git")


def test_the_digest_covers_the_content_and_neither_comments_nor_order(write: Write) -> None:
    first = loaded(write(CONFIG)).digest
    lines = CONFIG.splitlines(keepends=True)
    reordered = "# a comment\n" + lines[1] + lines[0] + "".join(lines[2:])
    assert loaded(write(reordered)).digest == first
    assert loaded(write(CONFIG + "    suspend: false\n")).digest == first
    assert loaded(write(CONFIG + "    suspend: true\n")).digest != first


def test_every_problem_comes_at_once_with_path_line_expectation_and_what_came(write: Write) -> None:
    bad = (
        CONFIG.replace("mode: fill", "mode: write")
        .replace("path: /srv/git/shop.git", "path: srv/git")
        .replace("    catalogue: ameide.yaml\n", "    catalog: ameide.yaml\n")
        .replace("[main]", "main")
    )
    found = problems(write(bad), {"AMEIDE_SERVICE_HOST": "10.0.0.1"})
    assert [p.partition(":")[0] for p in found] == [
        "environment",
        "mode (line 2)",
        "repositories[0].catalogue (line 7)",
        "repositories[0].forge.path (line 8)",
        "repositories[0].catalog (line 9)",
        "repositories[0].admission.base_branches (line 11)",
    ]
    assert found[1].endswith("expected 'observe', 'fill' or 'publish', got 'write'")
    assert "required, but not there" in found[2]
    assert "known here are name, forge, catalogue" in found[4]
    assert found[5].endswith("expected a list, got 'main'")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("version: 1", "version: 2", "version"),
        ("version: 1", "version: '1'", "version"),
        ("mode: fill", "mode: publish", "mode"),
        ("mode: fill", "mode: fill\npoll_interval_s: 0", "poll_interval_s"),
        ("mode: fill", "mode: fill\npoll_interval_s: 30.5", "poll_interval_s"),
        ("mode: fill", "mode: fill\npoll_interval_s: '30'", "poll_interval_s"),
        ("mode: fill", "mode: fill\nworkers: 1000", "workers"),
        ("mode: fill", "mode: fill\nworkers: true", "workers"),
        ("mode: fill", "mode: fill\nlisten: {private: 'localhost:1'}", "listen.private"),
        ("mode: fill", "mode: fill\nlisten: {private: '127.0.0.1:70000'}", "listen.private"),
        ("mode: fill", "mode: fill\nlisten: {private: '0.0.0.0:1', public: '0.0.0.0:1'}", "listen"),
        ("/var/lib/ameide\n", "/var/../etc\n", "state_dir"),
        ("/var/lib/ameide\n", "2026-01-01\n", "state_dir"),
        ("host: ghcr.io", "host: GHCR.io", "registries[0].host"),
        ("{host: ghcr.io, credential_file: /run/secrets/registry.json}", "{host: ghcr.io}", "registries[0]"),
        ("credential_file: /run", "anonymous: true, credential_file: /run", "registries[0]"),
        ("host: ghcr.io", "plain_http: true, host: ghcr.io", "registries[0]"),
        ("host: ghcr.io", "settle_s: -1, host: ghcr.io", "registries[0].settle_s"),
        ("name: shop", "name: Shop/1", "repositories[0].name"),
        ("name: shop", "name: &n shop", "repositories[0].name"),
        ("name: shop", "name: !x shop", "repositories[0].name"),
        ("name: shop", 'name: "a\\nb"', "repositories[0].name"),
        ("name: shop", "name: shop\n    name: shop", "repositories[0].name"),
        ("name: shop", "name: shop\n    <<: {suspend: true}", "repositories[0]"),
        ("kind: local", "kind: subversion", "repositories[0].forge"),
        ("catalogue: ameide.yaml", "catalogue: ../ameide.yaml", "repositories[0].catalogue"),
        ("url: /srv", "url: http://srv", "repositories[0].gitops.url"),
        ("url: /srv", "url: ssh://git@git.example/srv", "repositories[0].gitops"),
        ("url: /srv", "known_hosts_file: /etc/hosts-of-ours, url: /srv", "repositories[0].gitops"),
        ("url: /srv", "credential_file: /run/x, url: file:///srv", "repositories[0].gitops"),
        ("writer: ameide-0", "writer: ameide-0, remote: ssh://git@git.example/log", "repositories[0].log.remote"),
        ("ref: refs/heads/main", "ref: main", "repositories[0].gitops.ref"),
        ("[main]", "[refs/heads/main]", "repositories[0].admission.base_branches[0]"),
        ("[main]", "[main, main]", "repositories[0].admission"),
        ("[main]", "[]", "repositories[0].admission.base_branches"),
        ("{baseline: none, pull_request: none}", "{baseline: none}", "repositories[0].verification.pull_request"),
        ("writer: ameide-0", "writer: Ameide 0", "repositories[0].log.writer"),
        ("path: /var/lib/ameide/log.git", "path: /srv/git/shop.git", "repositories[0].log.path"),
    ],
)
def test_a_bad_value_is_refused_at_its_place(write: Write, old: str, new: str, where: str) -> None:
    assert old in CONFIG
    found = problems(write(CONFIG.replace(old, new, 1)))
    assert [p.partition(" (line")[0] for p in found] == [where]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (SECOND.replace("name: wiki", "name: shop"), "repositories[1].name"),
        (SECOND.replace("git/wiki.git", "git/shop.git"), "repositories[1].forge.path"),
        (SECOND.replace("writer: ameide-0", "writer: ameide-0, remote: /srv/git/l.git"), "repositories[1].log.remote"),
    ],
)
def test_two_repositories_must_not_be_the_same(write: Write, text: str, where: str) -> None:
    assert len(loaded(write(CONFIG + SECOND)).settings.repositories) == 2  # sharing a log repository is fine
    assert [p.partition(" (line")[0] for p in problems(write(CONFIG + text))] == [where]


def test_a_registry_host_is_named_once(write: Write) -> None:
    line = "  - {host: ghcr.io, anonymous: true}\n"
    found = problems(write(CONFIG.replace("repositories:\n", line + "repositories:\n")))
    assert [p.partition(" (line")[0] for p in found] == ["registries[1].host"]


@pytest.mark.parametrize(
    "text",
    [
        CONFIG.replace("/run/secrets/registry.json", "hunter2-hunter2"),
        CONFIG.replace("name: shop", "name: shop\n    token: hunter2-hunter2"),
        CONFIG.replace("/srv/git/shop-gitops.git", "https://me:hunter2-hunter2@git.example/x"),
        CONFIG.replace("name: shop", "name: shop\n    token: hunter2-hunter2\n    token: hunter2-hunter2"),
        CONFIG.replace("name: shop", "name: shop\n    token: hunter2-hunter2 ["),
        CONFIG.replace("name: shop", "name: [hunter2-hunter2"),
        CONFIG.replace("{host: ghcr.io, credential_file: /run/secrets/registry.json}", "hunter2-hunter2: x: y"),
    ],
)
def test_a_refusal_never_quotes_what_may_be_a_secret(write: Write, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(text), {"AMEIDE_TOKEN": "hunter2-hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_variable_that_looks_like_an_override_is_refused_by_name_with_the_remedy(write: Write) -> None:
    (found,) = problems(write(CONFIG), {"ameide_port": "tcp://10.0.0.1:80", "PATH": "/bin"})
    assert "'ameide_port'" in found
    assert "enableServiceLinks: false" in found
    assert "10.0.0.1" not in found


def test_the_environment_of_the_process_is_looked_at_by_default(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMEIDE_MODE", "fill")
    with pytest.raises(ConfigError, match="AMEIDE_MODE"):
        load(write(CONFIG))


def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    large.write_text(CONFIG + "#" * CONFIG_MAX_BYTES)
    for path, words in (
        (pipe, "regular file"),
        (tmp_path, "regular file"),
        (large, "at most"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(ConfigError, match=words):
            load(path, {})


@pytest.mark.parametrize("text", ["", "a\0b: 1", "[" * 100_000, "a: 1\n--- \nb: 1\n", "\x80", "a: *x\n", "- 1\n", "7"])
def test_what_is_no_such_file_is_refused_whatever_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ameide.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        load(path, {})


def test_a_config_map_link_is_followed(write: Write, tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(write(CONFIG))
    assert loaded(tmp_path / "link.yaml").settings.version == 1


AUTHORITY = 'authority: {kind: keys, public_key_files: [/k.pub]}, source_repository: "https://git.example/shop",'


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ("[main]", "[main, next]", True),
        ("hold_label: ameide/hold", "hold_label: other", True),
        ("hold_label: ameide/hold", "hold_label: ameide/hold, labels: [preview]", True),
        ("hold_label: ameide/hold", "hold_label: ameide/hold, drafts: false", True),
        ("hold_label: ameide/hold", "hold_label: ameide/hold, members: []", True),
        ("hold_label: ameide/hold", "hold_label: ameide/hold, agents: [3]", True),
        ("hold_label: ameide/hold", "hold_label: ameide/hold, members: null, agents: [], drafts: true", False),
        ("baseline: none,", f"baseline: signature, {AUTHORITY}", True),
        ("    catalogue", "    baseline: main\n    catalogue", False),
        ("    catalogue", "    baseline: faithful\n    catalogue", True),
        ("    catalogue", "    max_heads: 5\n    catalogue", True),
        ("    catalogue", "    max_writes_per_hour: 5\n    catalogue", False),
        ("name: shop", "name: other", False),
    ],
)
def test_the_policy_digest_covers_what_plans_depend_on(write: Write, old: str, new: str, differs: bool) -> None:
    one = loaded(write(CONFIG)).settings.repositories[0]
    other = loaded(write(CONFIG.replace(old, new, 1))).settings.repositories[0]
    assert (policy_digest(one) != policy_digest(other)) is differs


def test_the_policy_is_what_the_file_says_in_any_order_of_branches(write: Write) -> None:
    policies = [
        to_policy(loaded(write(CONFIG.replace("[main]", f"[{b}]"))).settings.repositories[0])
        for b in ("main, next", "next, main")
    ]
    assert policies[0] == policies[1]
    assert policies[0].base_branches == (RefName("refs/heads/main"), RefName("refs/heads/next"))
    assert policies[0].hold_label == "ameide/hold"


def test_the_order_of_no_list_of_admission_counts(write: Write) -> None:
    forms = ("labels: [b, a], members: [9, 10], agents: [4, 3]", "labels: [a, b], members: [10, 9], agents: [3, 4]")
    found = [
        loaded(write(CONFIG.replace("hold_label: ameide/hold", f"drafts: false, {form}"))).settings.repositories[0]
        for form in forms
    ]
    assert to_policy(found[0]) == to_policy(found[1])
    policy = to_policy(found[0])
    assert (policy.labels, policy.members, policy.agents) == (("a", "b"), (9, 10), (3, 4))
    assert not policy.drafts
    assert hash(policy) == hash(to_policy(found[1]))


def test_without_rules_of_admission_everybody_and_everything_counts(write: Write) -> None:
    policy = to_policy(loaded(write(CONFIG)).settings.repositories[0])
    assert (policy.labels, policy.drafts, policy.members, policy.agents) == ((), True, None, ())


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("members: [5, 6], agents: [6]", "members and agents both name 6"),
        ("members: [5, 5]", "members names 5 more than once"),
        ("agents: [5, 5]", "agents names 5 more than once"),
        ("labels: [a, a]", "labels names a more than once"),
        ("labels: [ameide/hold]", "hold_label is one of labels too"),
        ("labels: ['']", r"admission\.labels\[0\]"),
        ("members: [0]", r"admission\.members\[0\]"),
        ("members: ['octocat']", r"admission\.members\[0\] .*expected a whole number"),
        ("agents: [true]", r"admission\.agents\[0\] .*expected a whole number"),
        ("drafts: 0", r"admission\.drafts .*expected true or false"),
    ],
)
def test_a_rule_of_admission_that_makes_no_sense_is_refused(write: Write, rules: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(write(CONFIG.replace("hold_label: ameide/hold", f"hold_label: ameide/hold, {rules}")))


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:0"])
def test_an_address_splits_into_host_and_port(text: str) -> None:
    host, port = split_address(text)
    assert (f"[{host}]" if ":" in host else host) + f":{port}" == text


@pytest.mark.parametrize("text", ["::1:80", "[127.0.0.1]:80", "127.0.0.1", ":80", "127.0.0.1:x", "example.org:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="IP address and a port"):
        split_address(text)


# --- verification level none


@pytest.mark.parametrize("level", [Level.PROVENANCE, Level.SIGNATURE])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_level_that_cannot_be_checked_is_refused_and_never_weakened(level: Level, purpose: Purpose) -> None:
    levels = {"baseline": Level.NONE, "pull_request": Level.NONE, purpose.value: level}
    with pytest.raises(ConfigError, match=f"verification.{purpose.value}: .* not available yet"):
        NoneVerifier(**levels)


def test_level_none_says_unchecked_under_a_policy_of_its_own() -> None:
    verifier = NoneVerifier(baseline=Level.NONE, pull_request=Level.NONE)
    verdict = verifier.verify(Purpose.BASELINE, Repository("ghcr.io/a/b"), Digest.of(b""), None)
    assert verdict.outcome is Outcome.UNCHECKED
    assert verdict.policy == verifier.policy(Purpose.BASELINE) != verifier.policy(Purpose.PULL_REQUEST)


# --- explain and the manual


def test_explain_gives_every_value_one_source_and_one_authority(write: Write) -> None:
    records = {r.path: r for r in explain(loaded(write(CONFIG)).settings)}
    assert (records["mode"].source, records["mode"].authority) == (Source.FILE, Authority.GITOPS)
    assert records["poll_interval_s"][1:5] == (30, Source.BUILT_IN, Authority.PLATFORM, "seconds")
    assert records["repositories[0].forge.path"].value == "/srv/git/shop.git"
    assert records["request.head_sha"].authority is Authority.REQUEST
    assert all(r.meaning for r in records.values())


def test_explain_never_reads_a_file_that_the_configuration_names(write: Write, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("hunter2")
    records = explain(loaded(write(CONFIG.replace("/run/secrets/registry.json", str(secret)))).settings)
    assert "hunter2" not in repr(records)
    assert str(secret) in repr(records)


def test_explain_narrows_to_a_path_with_or_without_an_index(write: Write) -> None:
    records = explain(loaded(write(CONFIG + SECOND)).settings)
    assert [r.path for r in below(records, "repositories[1].forge")] == [
        "repositories[1].forge.kind",
        "repositories[1].forge.path",
    ]
    assert len(below(records, "repositories.forge")) == 4
    assert below(records, "repo") == ()


def test_the_manual_has_the_table_of_the_model() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    table = manual.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert table == reference(), "run: ameide config schema --markdown"


def test_the_examples_of_the_manual_are_valid(write: Write) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    examples = re.findall(r"```yaml\n(version: 1\n.*?)```", manual, re.DOTALL)
    assert examples
    for example in examples:
        assert loaded(write(example)).settings.version == 1


# --- one rule for the URLs of git repositories

URLS = [
    "/srv/git/shop gitops.git",
    "/srv/../etc/x.git",
    "file:///srv/shop.git",
    "file:///srv/shop gitops.git",
    "https://git.example/shop.git",
    "https://git.example/shop gitops.git",
    "https://me@git.example/shop.git",
    "http://127.0.0.1:3000/shop.git",
    "http://git.example/shop.git",
    "ssh://git@git.example/shop.git",
    "git@git.example:shop.git",
    "git@git.example:shop gitops.git",
    "ext::sh -c true",
    "shop.git",
]


def accepted(write: Write, old: str, new: str) -> bool:
    assert old in CONFIG
    path = write(CONFIG.replace(old, new, 1))
    try:
        loaded(path)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("url", URLS)
def test_the_gitops_url_is_accepted_here_exactly_where_it_can_be_fetched_from(write: Write, url: str) -> None:
    ssh = {"known_hosts_file": Path("/etc/hosts-of-ours")} if "git@" in url else {}
    try:
        remote(url, **ssh)
        usable = True
    except InvalidValue:
        usable = False
    more = "".join(f"{key}: {value}, " for key, value in ssh.items())
    assert accepted(write, "url: /srv/git/shop-gitops.git", f"{more}url: '{url}'") is usable


@pytest.mark.parametrize("url", URLS)
def test_the_log_s_remote_is_accepted_here_exactly_where_it_can_be_pushed_to(write: Write, url: str) -> None:
    try:
        LogRemote(url, None)
        usable = True
    except ConfigError:
        usable = False
    assert accepted(write, "writer: ameide-0", f"writer: ameide-0, remote: '{url}'") is usable


def test_some_urls_of_each_list_are_accepted_and_others_are_not(write: Write) -> None:
    fetched = {u for u in URLS if accepted(write, "url: /srv/git/shop-gitops.git", f"url: '{u}'")}
    pushed = {u for u in URLS if accepted(write, "writer: ameide-0", f"writer: ameide-0, remote: '{u}'")}
    assert fetched == pushed == {URLS[0], URLS[2], URLS[4], URLS[7]}


def test_ssh_without_host_keys_is_refused_by_the_name_of_the_setting(write: Write) -> None:
    (found,) = problems(write(CONFIG.replace("url: /srv", "url: ssh://git@git.example/srv")))
    assert "set known_hosts_file" in found
