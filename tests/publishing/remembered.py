"""Pure functions of the product, remembered by their arguments: nearly all of the time of a run is theirs.

Every run asks for the same few files, plans and envelopes. What is remembered are the product's own answers; what
raises is asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from reconciler.approval.approvers import Signed
from reconciler.approval.signatures import Signers
from reconciler.gitops import difference, documents, edits
from reconciler.publishing import intake
from state.oci import Digest
from state.pin_plan import PinPlan


@contextmanager
def remembered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        read = cache(documents.read)
        patch.setattr(edits, "read", read)
        patch.setattr(difference, "read", read)
        patch.setattr(edits, "edited", _by_files(edits.edited))
        patch.setattr(edits, "current", _by_files(edits.current))
        patch.setattr(difference, "verify", _verified())
        patch.setattr(PinPlan, "digest", cache(PinPlan.digest))
        patch.setattr(intake, "verify", _envelopes())
        yield


def _by_files(call: Any) -> Any:
    known: dict[object, Any] = {}

    def asked(files: Mapping[str, bytes], places: Sequence[Any]) -> Any:
        key = (tuple(files.items()), tuple(places))
        if key not in known:
            known[key] = call(files, places)
        return dict(known[key])

    return asked


def _verified() -> Any:
    call, known = difference.verify, set[object]()

    def asked(before: Mapping[str, bytes], after: Mapping[str, bytes], wanted: Sequence[Any]) -> None:
        key = (tuple(before.items()), tuple(after.items()), tuple(wanted))
        if key not in known:
            call(before, after, wanted)
            known.add(key)

    return asked


def _envelopes() -> Any:
    call = intake.verify
    known: dict[tuple[bytes, Digest], Signed] = {}

    def asked(raw: bytes, signers: Signers) -> Signed:
        key = (raw, signers.policy.digest())
        if key not in known:
            known[key] = call(raw, signers)
        return known[key]

    return asked
