"""Judging approvals, from bytes to the answer, against the signature verifications in it alone."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Bench, Row, Target, seconds, versus
from reconciler.approval.approvers import ApproversPolicy, Principal, Rule
from reconciler.approval.envelopes import seal, verify
from reconciler.approval.evaluate import Facts, Granted, Standing, evaluate
from reconciler.approval.signatures import NAMESPACE, Signers
from reconciler.evidence.bundles import pae
from state import approval, sshsig
from state.approval import Approval
from state.git import CommitId, RefName
from state.observed import PullRequest
from state.oci import Digest, Repository
from state.pin_plan import Edit, PinPlan
from state.pin_plan import Target as PlanTarget
from state.sshsig import PublicKey
from state.statement import PAYLOAD_TYPE

IMAGES: Final = 3
APPROVERS: Final = 2
ROUNDS: Final = 500
_LIMIT: Final = Target("<=", 3)
_NOW: Final = 1_800_000_000
_MAIN: Final = RefName.branch("main")
_HEAD: Final = CommitId("a" * 40)


def run(bench: Bench) -> list[Row]:
    keys = {f"approver-{n}": Ed25519PrivateKey.generate() for n in range(APPROVERS)}
    people = {name: Principal(name, n, (PublicKey.of(key),)) for n, (name, key) in enumerate(keys.items(), 1)}
    policy = ApproversPolicy(people, {"dev": Rule(frozenset(people), APPROVERS, 86_400)})
    names = [f"component-{n}" for n in range(IMAGES)]
    plan = PinPlan(
        1, 41, _HEAD, Digest.of(b"release set"), PlanTarget("dev", 2, _MAIN, "dev"),
        tuple(
            Edit(f"apps/{n}.yaml", "image.ref", n, Repository(f"ghcr.io/acme/{n}"), Digest.of(n.encode()))
            for n in names
        ),
    )  # fmt: skip
    markers = [_marker(plan, policy, name, key) for name, key in keys.items()]
    facts = Facts(
        1, 41, PullRequest(41, _HEAD, _MAIN, 1, 900), _HEAD, 900, 901, None, held=False, quarantined=False,
        release_set=plan.release_set, tags=plan.images(), plan=plan,
    )  # fmt: skip
    signers, standing = Signers(policy), Standing()

    def judged() -> None:
        for _ in range(ROUNDS):
            found = evaluate([verify(raw, signers) for raw in markers], "dev", facts, policy, standing, _NOW)
            if not isinstance(found, Granted):
                raise RuntimeError(f"expected an approval, got {found}")  # noqa: TRY004 - no matter of types

    message, key = pae(PAYLOAD_TYPE, b"x" * 1200), next(iter(keys.values()))
    signature, public = key.sign(message), key.public_key()

    def verified() -> None:
        for _ in range(ROUNDS * APPROVERS):
            public.verify(signature, message)

    name = f"{APPROVERS} Ed25519 verifications"
    ours = partial(seconds, judged)
    found = versus("approval.evaluate", bench.rounds, ours, {name: partial(seconds, verified)})[name]
    mine, theirs = 1e6 * found.ours / ROUNDS, 1e6 * found.peer / ROUNDS
    what = f"{APPROVERS} approvals of {IMAGES} images: read, verified, judged"
    return [Row("approval.evaluate", what, mine, theirs, "us", found.ratio, _LIMIT, name)]


def _marker(plan: PinPlan, policy: ApproversPolicy, name: str, key: Ed25519PrivateKey) -> bytes:
    marker = Approval.of(
        plan, marker_id=secrets.token_hex(16), base=_MAIN, policy=policy.digest(), issued_at=_NOW,
        not_after=_NOW + 3600, approvers=(name,),
    )  # fmt: skip
    payload = approval.payload(marker)
    return seal(payload, [("", sshsig.sign(key, pae(PAYLOAD_TYPE, payload), NAMESPACE).encode())])
