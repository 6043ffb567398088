"""One file that proves a head: exported, checked offline, and every way to tamper with it told."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pygit2
import pytest
from pygit2.enums import ObjectType

from reconciler.adapters.signer_ssh import SshSigner
from reconciler.audit import evidence_file as form
from reconciler.audit.evidence_check import other_identity
from reconciler.audit.evidence_file import Index, Trusted
from reconciler.cli import main
from reconciler.evidence.authority import CertificateClaims, Proven
from state import log_commit
from state.canonical import Json, reading
from state.entry import Kind
from state.oci import Digest
from tests.fixtures.audited import Audited
from tests.fixtures.log import git
from tests.fixtures.shop import LOG_REF

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return asked


@pytest.fixture(scope="module")
def exported(audited: Audited, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "evidence.tar"
    with pytest.raises(SystemExit) as ended:
        main(["log", "export", "--config", str(audited.shop.config), "--sha", audited.built, "--out", str(out),
              "--allowed-signers", str(audited.shop.allowed_signers)])  # fmt: skip
    assert not ended.value.code
    return out


def brought(audited: Audited) -> list[str]:
    """What an auditor has from elsewhere."""
    shop, proving = audited.shop, audited.approving.proving
    return [
        *("--allowed-signers", str(shop.allowed_signers)),
        *("--anchor", shop.entries()[0].id),
        *("--signer", str(proving.own.public)),
        *("--builder", str(proving.ci.public)),
        *("--approvers", str(audited.approving.policy_file)),
    ]


def test_an_exported_file_holds_offline_and_says_what_it_took_from_itself(
    audited: Audited, exported: Path, ask: Ask
) -> None:
    code, out, err = ask("evidence", "verify", "--file", exported)
    assert (code, err) == (0, ""), out
    assert "DOES NOT HOLD" not in out
    assert "ok  the log records 127.0.0.1" in out
    assert f"ok  approval {audited.marker} is signed by alice for this release set and dev" in out
    assert out.count("not checked against an outside list: ") == 5
    code, out, _ = ask("evidence", "verify", "--file", exported, *brought(audited), "--json")
    said = json.loads(out)
    assert (code, said["holds"], said["not_checked_against_outside"]) == (0, True, [])
    assert said["log_tip"] == audited.shop.entries()[-1].id
    assert len(said["claims"]) >= 14


def test_keys_that_are_brought_count_and_the_enclosed_ones_do_not(
    audited: Audited, exported: Path, ask: Ask, tmp_path: Path
) -> None:
    stranger = str(audited.approving.proving.stranger.public)
    for option in ("--signer", "--builder"):
        code, out, _ = ask("evidence", "verify", "--file", exported, option, stranger)
        assert code == 1
        assert "signed by none of the configured keys" in out
    other = tmp_path / "signers"
    other.write_text(audited.shop.allowed_signers.read_text().replace("rec-*", "other"))
    code, out, _ = ask("evidence", "verify", "--file", exported, "--allowed-signers", other)
    assert (code, out.count("DOES NOT HOLD")) == (1, 1)
    code, out, _ = ask("evidence", "verify", "--file", exported, "--anchor", "1" * 40)
    assert (code, "the anchor is in none of the verified logs" in out) == (1, True)
    policy = json.loads(audited.approving.policy_file.read_text())
    policy["targets"]["dev"]["threshold"] = 2
    other.write_text(json.dumps(policy))
    code, out, _ = ask("evidence", "verify", "--file", exported, "--approvers", other)
    assert (code, "no approvers' policy given is the one that it names" in out) == (1, True)


Change = Callable[[dict[str, bytes], Audited], None]


def _index(files: dict[str, bytes], **changed: Any) -> None:
    """Change the index, and have it name the files as they are."""
    index = json.loads(files.pop(form.INDEX)) | changed
    index["files"] = {name: Digest.of(raw) for name, raw in files.items()}
    files[form.INDEX] = json.dumps(index, sort_keys=True, separators=(",", ":")).encode()


def cut_log(files: dict[str, bytes], audited: Audited) -> None:
    """A genuine log that ends before the head was released."""
    shorter = audited.shop.root / "shorter.git"
    if not shorter.exists():
        git(audited.shop.root, "clone", "--quiet", "--bare", str(audited.shop.log), str(shorter))
    before = next(e for e in audited.shop.entries(Kind.DECISION))
    git(shorter, "update-ref", LOG_REF, before.id)
    git(shorter, "bundle", "create", "--quiet", "cut.bundle", LOG_REF)
    files[form.LOG] = (shorter / "cut.bundle").read_bytes()
    _index(files, log={"ref": LOG_REF, "tip": before.id})


def other_log_tip(files: dict[str, bytes], audited: Audited) -> None:
    _index(files, log={"ref": LOG_REF, "tip": audited.shop.entries()[0].id})


def broken_bundle(files: dict[str, bytes], _: Audited) -> None:
    raw = bytearray(files[form.LOG])
    raw[-40] ^= 1
    files[form.LOG] = bytes(raw)
    _index(files)


def other_digest_in_set(files: dict[str, bytes], audited: Audited) -> None:
    files[form.RELEASE_SET] = files[form.RELEASE_SET].replace(audited.digest.encode(), b"sha256:" + b"0" * 64)
    _index(files)


def other_head(files: dict[str, bytes], audited: Audited) -> None:
    _index(files, head=audited.retagged)


def other_signature(files: dict[str, bytes], _: Audited) -> None:
    files[form.RELEASE_BUNDLE] = next(raw for name, raw in sorted(files.items()) if name.endswith(".evidence"))
    _index(files)


def other_evidence(files: dict[str, bytes], _: Audited) -> None:
    first, second = sorted(name for name in files if name.endswith(".evidence"))[:2]
    files[first] = files[second]
    _index(files)


def evidence_of_another_image(files: dict[str, bytes], _: Audited) -> None:
    index = json.loads(files[form.INDEX])
    rows = index["evidence"]
    one = next(r for r in rows if r["repository"] != rows[0]["repository"])
    for end in ("manifest.json", "evidence"):
        files[f"{rows[0]['file']}.{end}"] = files[f"{one['file']}.{end}"]
    rows[0] |= {"manifest": one["manifest"]}
    _index(files, evidence=rows)


def other_envelope(files: dict[str, bytes], audited: Audited) -> None:
    name = f"approvals/{audited.marker}.envelope.json"
    files[name] = files[name].replace(b'"keyid":""', b'"keyid":"x"')
    _index(files)


def other_pae(files: dict[str, bytes], audited: Audited) -> None:
    files[f"approvals/{audited.marker}.pae"] += b" "
    _index(files)


def no_approvals(files: dict[str, bytes], _: Audited) -> None:
    _index(files, approvals=[])


def _one_more(files: dict[str, bytes], audited: Audited, kind: Kind, body: Mapping[str, Json]) -> None:
    """The log with one more entry, signed by its own key: what who holds that could have written."""
    longer = pygit2.clone_repository(str(audited.shop.log), str(files_of(audited)), bare=True)
    last = audited.shop.entries()[-1]
    entry = replace(last.entry, kind=kind, sequence=last.entry.sequence + 1, body=body, blobs={})
    unsigned = log_commit.payload(entry, last.id)
    signer = SshSigner.from_file(audited.shop.root / "log-key")
    tip = str(longer.odb.write(ObjectType.COMMIT, log_commit.signed(unsigned, signer.sign(unsigned))))
    git(Path(longer.path), "update-ref", LOG_REF, tip)
    git(Path(longer.path), "bundle", "create", "--quiet", "longer.bundle", LOG_REF)
    files[form.LOG] = Path(longer.path, "longer.bundle").read_bytes()
    _index(files, log={"ref": LOG_REF, "tip": tip})


def files_of(audited: Audited) -> Path:
    return audited.shop.root / f"longer-{len([*audited.shop.root.glob('longer-*')])}.git"


def published_without_approval(files: dict[str, bytes], audited: Audited) -> None:
    body = next(e.entry.body for e in audited.shop.entries(Kind.INTENT) if "proposals" in e.entry.body)
    (row,) = reading(body, "intent").objects("proposals")
    _one_more(files, audited, Kind.INTENT, {**body, "proposals": [{**row, "approvals": []}]})


def published_for_another_target(files: dict[str, bytes], audited: Audited) -> None:
    body = next(e.entry.body for e in audited.shop.entries(Kind.INTENT) if "proposals" in e.entry.body)
    (row,) = reading(body, "intent").objects("proposals")
    _one_more(files, audited, Kind.INTENT, {**body, "proposals": [{**row, "target": "production"}]})


def marker_of_no_base64(files: dict[str, bytes], audited: Audited) -> None:
    body = audited.shop.entries(Kind.MARKER)[0].entry.body
    _one_more(files, audited, Kind.MARKER, {**body, "envelope": "?"})


def layout_that_is_none(files: dict[str, bytes], _: Audited) -> None:
    rows = json.loads(files[form.INDEX])["evidence"]
    _index(files, evidence=[{**rows[0], "layout": "none"}, *rows[1:]])


def keys_of_the_reader(files: dict[str, bytes], audited: Audited) -> None:
    signer = json.loads(files[form.INDEX])["signer"]
    _index(files, signer={**signer, "files": [str(audited.approving.proving.own.public)]})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (cut_log, "the log has none"),
        (other_log_tip, "the bundle ends with"),
        (broken_bundle, "git does not take it"),
        (other_digest_in_set, "manifest, layer and index do not name each other"),
        (other_head, "it is of the head"),
        (other_signature, "signed by none of the configured keys"),
        (other_evidence, "its manifest does not hold the enclosed bytes"),
        (evidence_of_another_image, "it is not"),
        (other_envelope, "the enclosed envelope is another"),
        (other_pae, "the enclosed parts are not the envelope's"),
        (no_approvals, "the index names others"),
        (published_without_approval, "1 are needed, and there are 0"),
        (published_for_another_target, "is not for it"),
    ],
)
def test_a_file_that_was_tampered_with_does_not_hold(  # noqa: PLR0917 - fixtures
    audited: Audited, exported: Path, ask: Ask, tmp_path: Path, change: Change, told: str
) -> None:
    files = members(exported)
    change(files, audited)
    code, out, err = ask("evidence", "verify", "--file", written(tmp_path / "e.tar", files))
    assert (code, err) == (1, ""), out
    assert told in out


def no_index(files: dict[str, bytes]) -> None:
    del files[form.INDEX]


def other_bytes(files: dict[str, bytes]) -> None:
    files[form.RELEASE_SET] += b" "


def one_more(files: dict[str, bytes]) -> None:
    files["more"] = b""


def one_less(files: dict[str, bytes]) -> None:
    del files[form.RELEASE_BUNDLE]


def escapes(files: dict[str, bytes]) -> None:
    files["../escaped"] = b"x"
    _index(files)


def index_is_a_list(files: dict[str, bytes]) -> None:
    files[form.INDEX] = b"[]"


def hides_a_repository(files: dict[str, bytes]) -> None:
    files["log.git/config"] = b'[url "ext::false "]\n\tinsteadOf = /\n[protocol]\n\tallow = always\n'
    _index(files)


def names_no_signer_file(files: dict[str, bytes]) -> None:
    del files["policy/signer.0"]
    _index(files)


@pytest.mark.parametrize(
    "change",
    [no_index, other_bytes, one_more, one_less, escapes, hides_a_repository, index_is_a_list, names_no_signer_file],
)
def test_what_is_no_whole_evidence_file_is_refused_in_one_line(
    exported: Path, ask: Ask, tmp_path: Path, change: Callable[[dict[str, bytes]], None]
) -> None:
    files = members(exported)
    change(files)
    code, out, err = ask("evidence", "verify", "--file", written(tmp_path / "e.tar", files))
    # What is no such file is bad input; one that was changed is a finding.
    assert (code, out) == (2 if change is no_index else 1, "")
    assert err.count("\n") == 1
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("change", [marker_of_no_base64, layout_that_is_none, keys_of_the_reader])
def test_what_the_file_or_its_log_says_amiss_is_told_in_one_line(
    audited: Audited, exported: Path, ask: Ask, tmp_path: Path, change: Change
) -> None:
    files = members(exported)
    change(files, audited)
    code, out, err = ask("evidence", "verify", "--file", written(tmp_path / "e.tar", files))
    assert (code, out, err.count("\n")) == (1, "", 1)


def test_a_builder_that_is_brought_counts_although_the_file_asks_for_none(
    audited: Audited, exported: Path, ask: Ask, tmp_path: Path
) -> None:
    files = members(exported)
    _index(files, builder=None)
    path = written(tmp_path / "e.tar", files)
    code, out, _ = ask("evidence", "verify", "--file", path)
    assert (code, "not checked against an outside list: that images need no proof (--builder)" in out) == (0, True)
    code, out, _ = ask("evidence", "verify", "--file", path, "--builder", audited.approving.proving.stranger.public)
    assert (code, "signed by none of the configured keys" in out) == (1, True)


def test_a_certificate_counts_for_a_named_identity_alone() -> None:
    proven = Proven(
        "", b"", CertificateClaims("https://issuer.example", "https://ci.example/w.yml@refs/heads/main"), None
    )
    named = Trusted("sigstore", (), issuer="https://issuer.example", identity="https://ci.example/w.yml")
    assert other_identity(proven, named) == ""
    assert "anybody's certificate would do" in other_identity(proven, Trusted("sigstore", ()))
    assert other_identity(proven, named._replace(issuer="https://other.example"))
    assert other_identity(proven, named._replace(identity="https://ci.example/w"))


def test_headers_that_are_read_whole_into_memory_are_refused(exported: Path, ask: Ask, tmp_path: Path) -> None:
    long = tmp_path / "long.tar"
    with tarfile.open(long, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 100_000}) as archive:
        archive.addfile(tarfile.TarInfo(form.INDEX), io.BytesIO())
    code, out, err = ask("evidence", "verify", "--file", long)
    assert (code, out) == (2, "")
    assert "expected plain files" in err


def test_bad_input_is_told_and_nothing_is_overwritten(
    audited: Audited, exported: Path, ask: Ask, tmp_path: Path
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"x" * 3_000_000)
    config, head = audited.shop.config, audited.built
    for arguments in (
        ("evidence", "verify", "--file", junk),
        ("evidence", "verify", "--file", tmp_path / "none"),
        ("evidence", "verify", "--file", tmp_path),
        ("evidence", "verify"),
        ("evidence", "verify", "a/b@sha256:" + "0" * 64),
        ("evidence", "verify", "a/b@sha256:" + "0" * 64, "--file", exported),
        ("evidence", "verify", "--file", exported, "--config", config),
        ("evidence", "verify", "a/b@sha256:" + "0" * 64, "--config", config, "--anchor", head),
        ("evidence", "verify", "--file", exported, "--signer", junk),
        ("log", "export", "--config", config, "--sha", head, "--out", junk),
        ("log", "export", "--config", config, "--sha", "7" * 40, "--out", tmp_path / "e.tar"),
        ("log", "export", "--config", config, "--sha", head, "--out", tmp_path / "no" / "e.tar"),
    ):
        code, out, err = ask(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err, arguments
    assert junk.stat().st_size == 3_000_000
    assert not (tmp_path / "e.tar").exists()


def test_an_export_needs_the_policy_that_an_approval_names(audited: Audited, ask: Ask, tmp_path: Path) -> None:
    settings = json.loads(audited.shop.config.read_text())
    policy = json.loads(audited.approving.policy_file.read_text())
    policy["targets"]["dev"]["threshold"] = 2
    newer = tmp_path / "approvers.yaml"
    newer.write_text(json.dumps(policy))
    settings["repositories"][0]["approvals"]["approvers_file"] = str(newer)
    config = tmp_path / "ameide.yaml"
    config.write_text(json.dumps(settings))
    arguments = ("log", "export", "--config", config, "--sha", audited.built, "--out", tmp_path / "e.tar")
    code, _, err = ask(*arguments)
    assert code == 2
    assert "name the file as it was then by --approvers" in err
    assert not (tmp_path / "e.tar").exists()
    code, out, _ = ask(*arguments, "--approvers", audited.approving.policy_file, "--json")
    assert code == 0
    assert Index.parse(out.rstrip("\n").encode()).approvals == (audited.marker,)


def test_plain_git_reads_the_log_of_the_file(audited: Audited, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "log.bundle").write_bytes(members(exported)[form.LOG])
    git(tmp_path, "clone", "--quiet", "--bare", "log.bundle", "log.git")
    opened = pygit2.Repository(str(tmp_path / "log.git"))
    assert str(opened.references[LOG_REF].target) == audited.shop.entries()[-1].id


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def written(path: Path, files: dict[str, bytes]) -> Path:
    """The same as a tar, with the index first."""
    with tarfile.open(path, "w") as archive:
        for name in sorted(files, key=lambda n: (n != form.INDEX, n)):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
    return path
