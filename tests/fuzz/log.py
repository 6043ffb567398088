"""Targets: the log as a clone brings it, and what else is kept as canonical JSON."""

from __future__ import annotations

from typing import Final

from state import allowed_signers, canonical, log_commit, parts, sshsig
from state.entry import Entry, Kind, decode
from state.errors import IntegrityError, InvalidValue
from state.git import CommitId
from state.history import History
from state.pin_plan import PinPlan
from state.release_set import ReleaseSet
from tests.fuzz.target import Target, text

_ID: Final = CommitId("d" * 40)


def canonical_json(raw: bytes) -> None:
    """What is read can be written, and is read again as it was."""
    value = canonical.loads(raw, what="value", max_bytes=1 << 20)
    again = canonical.dumps(value)
    assert canonical.loads(again, what="value", max_bytes=1 << 24) == value


def entry(raw: bytes) -> None:
    assert decode(raw).encode() == raw


def history(raw: bytes) -> None:
    """Entries as they are logged one after another; the kind is in the first, as everywhere."""
    read = History()
    for text_of_one in raw.split(b"\n----\n"):
        value = canonical.loads_object(text_of_one, what="entry", max_bytes=1 << 20)
        made = canonical.reading(value, "entry")
        read.apply(_ID, _entry(made))


def _entry(read: canonical.Reader) -> Entry:
    """Without the canonical form and the subject line, which would stop nearly every input before its body is read."""
    return Entry(read.one_of("kind", Kind), 7, 2, "test", "2026-01-31T23:59:59Z", read.object("body"))


def commit(raw: bytes) -> None:
    read = log_commit.parse(raw)
    read.signature.check(read.payload, key=read.signature.key)


def signature(raw: bytes) -> None:
    given = text(raw)
    read = sshsig.parse(given)
    assert read.armoured() == given.removesuffix("\n")
    read.check(b"message", key=read.key)


def signers(raw: bytes) -> None:
    read = allowed_signers.parse(text(raw))
    read.refusal(read.lines[0].key, "ameide-0@ameide.invalid")


def public_key(raw: bytes) -> None:
    given = text(raw)
    assert sshsig.PublicKey.parse(given).line == given


def observation(raw: bytes) -> None:
    """The parts of a pass as one object: their names, and what the blobs of those names hold."""
    value = canonical.loads_object(raw, what="parts", max_bytes=1 << 20)
    parts.join({name: canonical.dumps(part) for name, part in value.items()}, History())


def pin_plan(raw: bytes) -> None:
    assert PinPlan.parse(raw).to_bytes() == raw


def release_set(raw: bytes) -> None:
    assert ReleaseSet.parse(raw).to_bytes() == raw


TARGETS: Final = (
    Target("canonical-json", canonical_json, (InvalidValue,)),
    Target("log-entry", entry, (InvalidValue,)),
    Target("log-history", history, (InvalidValue,)),
    Target("log-commit", commit, (InvalidValue, IntegrityError)),
    Target("ssh-signature", signature, (InvalidValue, IntegrityError), max_len=1024),
    Target("allowed-signers", signers, (InvalidValue,)),
    Target("ssh-public-key", public_key, (InvalidValue,), max_len=256),
    Target("observation", observation, (InvalidValue,), max_len=16 * 1024),
    Target("pin-plan", pin_plan, (InvalidValue,)),
    Target("release-set", release_set, (InvalidValue,)),
)
