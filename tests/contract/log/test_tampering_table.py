"""The table of docs/auditor-guide.md: who notices which tampering with a log. Each cell is tried on a plain clone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from state import sshsig
from state.entry import Kind
from state.log_verify import VerifyReport, verify
from state.log_years import ref_of
from tests.fixtures.log import NAME, Forger, LogBench, genesis, git, other_signer

GUIDE = Path(__file__).parents[3] / "docs" / "auditor-guide.md"
CAUGHT, PASSES = "caught", "**passes**"


def cut_off(forger: Forger) -> None:
    forger.point(forger.chain()[-3][0])


def dropped(forger: Forger) -> None:
    chain = forger.chain()
    forger.point(forger.replay([e for _, e in chain[4:]], chain[2][0]))


def renumbered(forger: Forger) -> None:
    chain = forger.chain()
    forger.point(forger.replay([replace(e, sequence=e.sequence - 1) for _, e in chain[4:]], chain[2][0]))


def edited(forger: Forger) -> None:
    chain = forger.chain()
    changed = replace(chain[3][1], body={"digest": "sha256:" + "0" * 64})
    forger.point(forger.replay([changed, *(e for _, e in chain[4:])], chain[2][0]))


def written_anew(forger: Forger) -> None:
    key, entries = other_signer(), [e for _, e in forger.chain()[1:]]
    forger.key = key.sign
    forger.point(forger.replay([genesis(sshsig.PublicKey.parse(key.public_key())), *entries], None))


def _appended(forger: Forger, **changed: object) -> None:
    oid, entry = forger.chain()[-1]
    forger.point(forger.entry(replace(entry, **{"sequence": entry.sequence + 1, **changed}), oid))  # type: ignore[arg-type]


def other_key(forger: Forger) -> None:
    forger.key = other_signer().sign
    _appended(forger)


def unsigned(forger: Forger) -> None:
    tip = forger.chain()[-1][0]
    raw = forger.store.commit(tip)
    header, _, message = raw.partition(b"\n\n")
    forger.point(forger.write(header.partition(b"\ngpgsig ")[0] + b"\n\n" + message))


def skipped(forger: Forger) -> None:
    _appended(forger, sequence=99)


def wrong_parent(forger: Forger) -> None:
    chain = forger.chain()
    forger.point(forger.entry(replace(chain[-1][1], sequence=chain[-1][1].sequence + 1), chain[-2][0]))


def merged(forger: Forger) -> None:
    chain = forger.chain()
    raw = forger.store.commit(chain[-1][0])
    parent = f"parent {chain[-2][0]}\n".encode()
    forger.point(forger.write(raw.replace(parent, parent + f"parent {chain[-3][0]}\n".encode(), 1)))


def bit_flip(forger: Forger) -> None:
    victim = forger.chain()[3][0]
    path = Path(forger.repository.path) / "objects" / victim[:2] / victim[2:]
    path.chmod(0o644)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def replaced(forger: Forger) -> None:
    chain = forger.chain()
    git(Path(forger.repository.path), "replace", chain[3][0], chain[2][0])


def shallow(forger: Forger) -> None:
    (Path(forger.repository.path) / "shallow").write_text(f"{forger.chain()[4][0]}\n")


def grafted(forger: Forger) -> None:
    chain, home = forger.chain(), Path(forger.repository.path)
    (home / "info").mkdir(exist_ok=True)
    (home / "info" / "grafts").write_text(f"{chain[5][0]} {chain[1][0]}\n")


def year_moved(forger: Forger) -> None:
    with_years(forger)
    forger.repository.references[ref_of(NAME.ref, 2026)].set_target(forger.chain()[2][0])


def year_made_up(forger: Forger) -> None:
    forger.repository.references.create(ref_of(NAME.ref, 2025), forger.chain()[2][0])


def with_years(forger: Forger) -> None:
    """A year is closed, as the writer does it."""
    last = forger.chain()[-1][0]
    _appended(forger, kind=Kind.ANCHOR, at="2027-01-01T00:00:00Z", body={"closes": 2026}, blobs={})
    forger.repository.references.create(ref_of(NAME.ref, 2026), last)


ROWS: dict[str, tuple[Callable[[Forger], None], ...]] = {
    "the end cut off, or a shorter genuine log": (cut_off,),
    "an entry dropped, the numbers kept": (dropped,),
    "an entry dropped, renumbered, signed again with the real key": (renumbered,),
    "a digest edited, signed again with the real key": (edited,),
    "the whole log written anew with another key": (written_anew,),
    "an entry with another key, unsigned, a number skipped, a merge": (
        *(other_key, unsigned, skipped),
        *(wrong_parent, merged),
    ),
    "a bit flipped in an object": (bit_flip,),
    "`refs/replace`, a shallow file, grafts": (replaced, shallow, grafted),
    "the end of a closed year moved, or made up": (year_moved, year_made_up),
}


def told() -> dict[str, list[str]]:
    """The page's table: first cell → the others."""
    lines = [line for line in GUIDE.read_text().splitlines() if line.startswith("| ") and line.count(" | ") == 4]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row[1:] for row in rows if row[0] != "tampering"}


@pytest.fixture
def written(bench: LogBench) -> LogBench:
    with bench.log() as log:
        log.append(Kind.DECISION, {"head": "a" * 40, "pull_requests": [1]})
        log.append(Kind.OBSERVATION, {}, {"x": b"1"})
        intent = log.append(Kind.INTENT, {"writes": [1]})
        log.append(Kind.OUTCOME, {"intent": intent.id, "writes": [1]})
        log.append(Kind.CONFIG, {"n": 7})
    return bench


def test_the_table_of_the_guide_has_these_rows() -> None:
    assert list(told()) == list(ROWS)


@pytest.mark.parametrize(("row", "tamper"), [(row, tamper) for row, all_ in ROWS.items() for tamper in all_])
def test_who_notices_is_as_the_guide_says(
    written: LogBench, row: str, tamper: Callable[[Forger], None], tmp_path: Path
) -> None:
    anchor, signers = written.tip(), written.allowed()
    repository = tmp_path / "clone.git"
    shutil.copytree(written.repo, repository)  # with every object loose, so that one can be damaged
    tamper(Forger(written, repository))

    def answer(report: VerifyReport) -> str:
        return CAUGHT if report.problems else PASSES

    fsck = git(repository, "-c", "core.useReplaceRefs=false", "fsck", "--strict", check=False)
    found = [
        CAUGHT if fsck.returncode else "passes",
        answer(verify(repository, NAME.ref)),
        answer(verify(repository, NAME.ref, anchor=anchor)),
        answer(verify(repository, NAME.ref, allowed_signers_file=signers)),
    ]
    assert found == told()[row], tamper.__name__
