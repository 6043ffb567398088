"""What the world of these tests is made of: heads, images, files, people and the approvals they signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from reconciler.approval.approvers import ApproversPolicy, Rule
from state.approval import Approval, Revocation
from state.git import CommitId, RefName
from state.observed import How, Inventory, Pin
from state.oci import Digest
from state.pin_plan import Edit, PinPlan, Target
from state.release_set import ReleasedImage, ReleaseSet
from tests.fixtures.approvals import AUTHOR_ID, BILLING, NOW, ORDERS, PUSHER_ID, REPOSITORY_ID, principal, sealed

__all__ = ["AUTHOR_ID", "BILLING", "NOW", "ORDERS", "PUSHER_ID", "REPOSITORY_ID"]

MAIN, NEXT = RefName.branch("main"), RefName.branch("next")
HEAD, MOVED, OTHERS, UNRELEASED = (CommitId(c * 40) for c in "abce")
"""The approved head of pull request 7, one that may be pushed after it, that of pull request 8, and one more."""
NUMBER, OTHER_NUMBER = 7, 8
HOLD: Final = "hold"
TARGET: Final = Target("dev", 99, MAIN, "dev")
TODAY: Final = NOW
LIFE_S: Final = 3600
SKEW_S: Final = 60

PLACES: Final = {"billing": ("dev/billing.yaml", ("image", "ref")), "orders": ("dev/orders.yaml", ("image", "ref"))}
MOVED_PLACE: Final = ("dev/orders.yaml", ("sidecar", "image", "ref"))
"""Where the pin of `orders` is after the inventory has changed."""
IMAGES: Final = {"billing": BILLING, "orders": ORDERS}


def _inventory(orders: tuple[str, tuple[str, ...]], commit: str) -> Inventory:
    places = {**PLACES, "orders": orders}
    pins = {name: (Pin(file, ".".join(key), "dev"),) for name, (file, key) in places.items()}
    return Inventory(CommitId(commit * 40), tuple(sorted(places)), pins)


INVENTORY: Final = _inventory(PLACES["orders"], "1")
INVENTORY_MOVED: Final = _inventory(MOVED_PLACE, "2")


def image(head: CommitId, component: str) -> Digest:
    return Digest.of(f"{component} at {head}".encode())


def _release(head: CommitId) -> ReleaseSet:
    rows = sorted((IMAGES[c], c) for c in IMAGES)
    images = (
        ReleasedImage(r, image(head, c), How.BUILT, (c,), "2026-01-31T23:59:59Z", (Digest.of(b"proof"),))
        for r, c in rows
    )
    return ReleaseSet(REPOSITORY_ID, head, Digest.of(b"policy"), (CommitId("d" * 40),), tuple(images))


RELEASES: Final = {head: _release(head) for head in (HEAD, MOVED, OTHERS)}


MANIFESTS: Final = {head: release.manifest() for head, release in RELEASES.items()}


class Wanted(NamedTuple):
    """What a plan is, told without the product's planning: for the checker."""

    digest: Digest
    branch: RefName
    number: int
    head: CommitId
    values: Mapping[tuple[str, tuple[str, ...]], str]
    """(file, path) → what has to be there."""


def _wanted(number: int, head: CommitId, places: Mapping[str, tuple[str, tuple[str, ...]]]) -> tuple[Wanted, PinPlan]:
    edits = sorted(Edit(f, ".".join(k), c, IMAGES[c], image(head, c)) for c, (f, k) in places.items())
    plan = PinPlan(REPOSITORY_ID, number, head, MANIFESTS[head].digest, TARGET, tuple(edits))
    values = {(f, k): f"{IMAGES[c]}@{image(head, c)}" for c, (f, k) in places.items()}
    return Wanted(plan.digest(), plan.branch, number, head, values), plan


WANTED, PLAN = _wanted(NUMBER, HEAD, PLACES)
"""The plan that is approved."""
_OTHERS = (
    _wanted(NUMBER, MOVED, PLACES),
    _wanted(NUMBER, HEAD, {**PLACES, "orders": MOVED_PLACE}),
    _wanted(OTHER_NUMBER, OTHERS, PLACES),
    _wanted(OTHER_NUMBER, OTHERS, {**PLACES, "orders": MOVED_PLACE}),
    _wanted(NUMBER, MOVED, {**PLACES, "orders": MOVED_PLACE}),
)
BRANCHES: Final = {w.branch: w for w, _ in ((WANTED, PLAN), *_OTHERS)}


ALICE_ID: Final = 1001
PEOPLE: Final = {name: principal(name, ALICE_ID + n, name) for n, name in enumerate(("alice", "bob", "carol", "boss"))}


def policy(threshold: int = 2) -> ApproversPolicy:
    rule = Rule(frozenset({"alice", "bob", "carol"}), threshold, 86_400, frozenset({"boss"}))
    return ApproversPolicy(PEOPLE, {"dev": rule})


POLICY, POLICY_CHANGED = policy(), policy(3)


class Given(NamedTuple):
    """An approval that was signed, as its signers know it."""

    id: str
    raw: bytes
    plan: Digest
    people: frozenset[str]
    not_after: int


def _approval(number: int, *people: str, life_s: int = LIFE_S, plan: PinPlan = PLAN) -> Given:
    made = Approval.of(
        plan,
        marker_id=f"{number:032x}",
        base=MAIN,
        policy=POLICY.digest(),
        issued_at=TODAY - 60,
        not_after=TODAY + life_s,
        approvers=people,
    )
    return Given(made.id, sealed(made), made.plan, frozenset(people), made.not_after)


FIRST, SECOND = _approval(1, "alice"), _approval(2, "bob", life_s=2 * LIFE_S)
"""Neither suffices alone."""
AGAIN: Final = tuple(_approval(n, who) for n, who in ((3, "alice"), (4, "carol")))
"""Given when everything else is over, to see that what may be published again is."""
LATE: Final = (_approval(5, "bob", life_s=-1), _approval(6, "carol", life_s=-1))
"""As good as the others, but for having ended just before."""
GIVEN: Final = {g.id: g for g in (FIRST, SECOND, *AGAIN, *LATE)}
REVOCATION: Final = sealed(Revocation(SECOND.id, REPOSITORY_ID, TODAY, ("bob",)))

ORDERS_FILE: Final = f"""\
# values of orders; edited by people
replicas: 2
image:
  ref: {ORDERS}@{Digest.of(b"old orders")}  # pinned
  pullPolicy: IfNotPresent
resources:
  cpu: 100m
  memory: 64Mi
limits: {{cpu: 1}}
sidecar:
  image:
    ref: {ORDERS}@{Digest.of(b"old sidecar")}
""".encode()
BILLING_FILE: Final = f"""\
image:
  ref: '{BILLING}@{Digest.of(b"old billing")}'
""".encode()
FILES: Final = {"README.md": b"lanes\n", "dev/billing.yaml": BILLING_FILE, "dev/orders.yaml": ORDERS_FILE}
