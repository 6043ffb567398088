"""Whether markers suffice for a publish now. Pure: facts were read just before, by whoever asks, and no answer is kept.

Nothing here is remembered from an earlier look: a head that moved and came back is the same head, an approver who lost
the role approves nothing any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from reconciler.approval.approvers import ApproversPolicy, Principal, Rule, Signed
from reconciler.approval.codes import Code, Refusal, explained
from state.approval import Admission, Approval, Revocation
from state.git import CommitId
from state.observed import PullRequest
from state.oci import Digest, Repository
from state.pin_plan import PinPlan

SKEW_S: Final = 60
"""How far the clocks of approver and reconciler may be apart."""
MARKERS_MAX: Final = 200
"""That one publish consumes; there are not more principals."""
_NOTHING: Final[Mapping[str, Digest]] = {}
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")


class Facts(NamedTuple):
    """What was read again right before the judgement. What could not be read is the caller's error, never a fact."""

    repository_id: int
    number: int
    """The pull request that is judged."""
    pull_request: PullRequest | None
    """As it is; None if it is closed or merged."""
    second_witness: CommitId | None
    """Its head by git's own ref."""
    author_id: int | None
    """Numeric id of its author, from the log where it is closed by now; None if nobody knows it."""
    last_pusher_id: int | None
    """Numeric id of who pushed the head; None if the forge does not tell."""
    not_admitted: str | None
    """Why admission holds it; None if it is admitted."""
    held: bool
    """Whether it has the hold label."""
    quarantined: bool
    release_set: Digest | None
    """The head's release set, its signature verified now; None if there is none."""
    tags: Mapping[Repository, Digest | None]
    """What the tag of the head reads now in each repository of the plan."""
    plan: PinPlan | None
    """The plan for the target as it would be made now."""
    promotion: bool = False
    """Whether the target is promoted to: then the pull request may be closed, and its tags may be gone."""
    agents: frozenset[int] = frozenset()
    """Numeric ids of bots and agents."""


class Standing(NamedTuple):
    """What the log says of markers so far."""

    consumed: frozenset[str] = frozenset()
    """Ids that an intent names."""
    revoked: frozenset[str] = frozenset()
    published: frozenset[Digest] = frozenset()
    """Plans that were proposed before."""
    taken: Mapping[str, Digest] = _NOTHING
    """Id → digest of the statement that had it first, whatever it was for."""


class Granted(NamedTuple):
    """These markers suffice, together, for exactly this plan."""

    principals: tuple[str, ...]
    markers: tuple[Signed, ...]
    """All of them are consumed; one each id. Of very many those that add a person come first."""
    plan: Digest
    refused: tuple[Refusal, ...] = ()
    """Others that were offered and do not count."""


class Refused(NamedTuple):
    """They do not suffice, and why each of them does not; empty if none was offered."""

    markers: tuple[Refusal, ...]


class _No(Exception):
    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


class _Out(NamedTuple):
    """Accounts that never approve."""

    author_id: int | None
    last_pusher_id: int | None
    agents: frozenset[int]


class _Target(NamedTuple):
    name: str
    rule: Rule | None
    policy: Digest
    plan: Digest | None
    images: Mapping[Repository, Digest]
    drift: str
    people: Mapping[str, Principal]


def evaluate(  # noqa: PLR0917 - the question's parts, in the order in which it is asked
    markers: Sequence[Signed], target: str, facts: Facts, policy: ApproversPolicy, standing: Standing, now: int
) -> Granted | Refused:
    """Judge every marker that was offered for one target and head, oldest first; several may suffice together.

    `now` is seconds since 1970. The refusals are in the order of the markers. Where each marker counts and there are
    too few people, that is the refusal of each.
    """
    about = _Target(
        target,
        policy.targets.get(target),
        policy.digest(),
        facts.plan.digest() if facts.plan is not None else None,
        facts.plan.images() if facts.plan is not None else {},
        _drift(facts),
        policy.principals,
    )
    good: dict[str, Signed] = {}
    refused: list[Refusal] = []
    first: dict[str, Digest] = {}
    for signed in markers:
        holder = standing.taken.get(signed.marker.id) or first.setdefault(signed.marker.id, signed.statement)
        try:
            if holder != signed.statement:
                raise _No(Code.ID_TAKEN)
            _check(signed, about, facts, standing, now)
        except _No as no:
            refused.append(_refusal(signed, no))
        else:
            good.setdefault(signed.marker.id, signed)
    people = sorted({name for signed in good.values() for name in signed.principals})
    if about.rule is None or about.plan is None or not good:
        return Refused(tuple(refused))
    needed, why = _needed(about.rule, facts)
    if len(people) < needed:
        few = _No(Code.NOT_ENOUGH_APPROVERS, f"{needed} are needed{why}, and there are {len(people)}")
        missing = {signed.digest: _refusal(signed, few) for signed in good.values()}
        found = {refusal.marker: refusal for refusal in refused} | missing
        order = dict.fromkeys(signed.digest for signed in markers)
        return Refused(tuple(found[digest] for digest in order if digest in found))
    return Granted(tuple(people), _bounded(good.values()), about.plan, tuple(refused))


def judge_admission(
    signed: Signed,
    pull_request: PullRequest,
    policy: ApproversPolicy,
    standing: Standing,
    now: int,
    *,
    repository_id: int,
    agents: frozenset[int] = frozenset(),
) -> Refusal | None:
    """Why this marker does not admit the pull request's head; None if it does.

    It is not consumed: it admits this head until it expires. The threshold is met by the one envelope.
    """
    try:
        _check_admission(signed, pull_request, policy, standing, now, repository_id=repository_id, agents=agents)
    except _No as no:
        return _refusal(signed, no)
    return None


def may_revoke(revocation: Signed, marker: Signed, policy: ApproversPolicy) -> bool:
    """Whether `revocation` takes `marker` back: one of its signers signed that too, or may revoke there.

    Both envelopes were verified by the policy in force, so every signer is still in it.
    """
    back, taken = revocation.marker, marker.marker
    if not isinstance(back, Revocation) or back.id != taken.id or back.repository_id != taken.repository_id:
        return False
    match taken:
        case Approval():
            rule = policy.targets.get(taken.target)
        case Admission():
            rule = policy.admission
        case Revocation():
            return False
    may = set(marker.principals) | (rule.revokers if rule is not None else frozenset())
    return bool(may & set(revocation.principals) & policy.principals.keys())


# --- one marker ------------------------------------------------------------------------------------------------------


def _check(signed: Signed, about: _Target, facts: Facts, standing: Standing, now: int) -> None:
    marker = signed.marker
    if not isinstance(marker, Approval):
        raise _No(Code.NOT_AN_APPROVAL)
    # 1. What it is bound to.
    _equal(Code.WRONG_REPO, facts.repository_id, marker.repository_id)
    _equal(Code.WRONG_PR, f"#{facts.number}", f"#{marker.pull_request}")
    _equal(Code.WRONG_TARGET, about.name, marker.target)
    if about.rule is None:
        raise _No(Code.TARGET_UNKNOWN, about.name)
    _check_standing(marker.id, standing)
    _equal(Code.POLICY_CHANGED, about.policy, marker.policy)
    _check_time(marker.issued_at, marker.not_after, about.rule, now)
    # 2. The pull request now.
    _check_pull_request(marker, facts)
    # 3. The content now.
    if facts.release_set is None:
        raise _No(Code.HEAD_INCOMPLETE)
    _equal(Code.RELEASE_SET_CHANGED, facts.release_set, marker.release_set)
    _check_plan(marker, about, facts)
    if about.drift:
        raise _No(Code.REGISTRY_DRIFT, about.drift)
    # 4. The people.
    _check_people(
        signed.principals, about.rule, about.people, _Out(facts.author_id, facts.last_pusher_id, facts.agents)
    )
    if marker.plan in standing.published:
        raise _No(Code.ALREADY_PUBLISHED)


def _check_standing(marker_id: str, standing: Standing) -> None:
    if marker_id in standing.revoked:
        raise _No(Code.REVOKED)
    if marker_id in standing.consumed:
        raise _No(Code.ALREADY_CONSUMED)


def _check_time(issued_at: int, not_after: int, rule: Rule, now: int) -> None:
    if issued_at > now + SKEW_S:
        raise _No(Code.NOT_YET_VALID, f"{issued_at - now} s from now")
    if not_after - issued_at > rule.max_life_s:
        raise _No(Code.TTL_TOO_LONG, f"{not_after - issued_at} s, and at most {rule.max_life_s} s are allowed")
    if now > not_after + SKEW_S:
        raise _No(Code.EXPIRED, f"{now - not_after} s ago")


def _check_pull_request(marker: Approval, facts: Facts) -> None:
    pull_request = facts.pull_request
    if pull_request is None:
        if not facts.promotion:
            raise _No(Code.PR_CLOSED)
    else:
        _equal(Code.WRONG_PR, f"#{pull_request.number}", f"#{marker.pull_request}")
        if facts.not_admitted is not None:
            raise _No(Code.FORK_NOT_ALLOWED, facts.not_admitted)
        _equal(Code.BASE_CHANGED, pull_request.base, marker.base)
        _equal(Code.HEAD_MOVED, pull_request.head, marker.head)
        if facts.second_witness != pull_request.head:
            seen = facts.second_witness or "nothing"
            raise _No(Code.HEAD_UNSTABLE, f"{pull_request.head} and {seen}")
        if facts.held:
            raise _No(Code.HELD)
    if facts.quarantined:
        raise _No(Code.QUARANTINED)


def _check_plan(marker: Approval, about: _Target, facts: Facts) -> None:
    if facts.plan is None or about.plan is None:
        raise _No(Code.NO_PLAN)
    plan = facts.plan
    _equal(Code.PLAN_CHANGED, about.plan, marker.plan)
    # A signer may have put the digest of one plan beside the head or release set of another.
    said = (marker.repository_id, marker.pull_request, marker.head, marker.release_set, marker.target)
    if said != (plan.repository_id, plan.pull_request, plan.head, plan.release_set, plan.target.name):
        raise _No(Code.PLAN_CHANGED, "the marker and its plan are about different things")
    if marker.images != about.images:
        odd = sorted({*marker.images.items()} ^ {*about.images.items()})
        raise _No(Code.SUBJECT_MISMATCH, ", ".join(f"{r}@{d}" for r, d in odd[:3]))


def _check_people(
    names: Iterable[str],
    rule: Rule,
    people: Mapping[str, Principal],
    out: _Out,
) -> None:
    for name in names:
        principal = people.get(name)
        if principal is None or name not in rule.approvers:
            raise _No(Code.NOT_APPROVER, name)
        account = principal.forge_id
        if account is None:
            continue
        if account in out.agents:
            raise _No(Code.AGENT_APPROVER, name)
        if account == out.author_id:
            raise _No(Code.SELF_APPROVAL, f"{name} is the author")
        if account == out.last_pusher_id:
            raise _No(Code.SELF_APPROVAL, f"{name} pushed the head")


def _check_admission(
    signed: Signed,
    pull_request: PullRequest,
    policy: ApproversPolicy,
    standing: Standing,
    now: int,
    *,
    repository_id: int,
    agents: frozenset[int],
) -> None:
    marker, rule = signed.marker, policy.admission
    if not isinstance(marker, Admission) or rule is None:
        raise _No(Code.NOT_AN_ADMISSION)
    _equal(Code.WRONG_REPO, repository_id, marker.repository_id)
    _equal(Code.WRONG_PR, f"#{pull_request.number}", f"#{marker.pull_request}")
    if standing.taken.get(marker.id, signed.statement) != signed.statement:
        raise _No(Code.ID_TAKEN)
    if marker.id in standing.revoked:
        raise _No(Code.REVOKED)
    _equal(Code.POLICY_CHANGED, policy.digest(), marker.policy)
    _check_time(marker.issued_at, marker.not_after, rule, now)
    _equal(Code.WRONG_FORK, pull_request.head_repository_id or "none", marker.head_repository_id)
    _equal(Code.HEAD_MOVED, pull_request.head, marker.head)
    _check_people(signed.principals, rule, policy.principals, _Out(pull_request.author_id, None, agents))
    if len(signed.principals) < rule.threshold:
        raise _No(
            Code.NOT_ENOUGH_APPROVERS,
            f"{rule.threshold} are needed in one envelope, and there are {len(signed.principals)}",
        )


# --- what all markers of a target share ------------------------------------------------------------------------------


def _needed(rule: Rule, facts: Facts) -> tuple[int, str]:
    """How many people, and why more than the policy says: one of them may be the person that cannot be excluded."""
    unknown = [n for n, i in (("author", facts.author_id), ("last pusher", facts.last_pusher_id)) if i is None]
    if rule.threshold < 2 and unknown:
        return 2, f" while the {' and the '.join(unknown)} of the head {'are' if len(unknown) > 1 else 'is'} unknown"
    return rule.threshold, ""


def _bounded(good: Iterable[Signed]) -> tuple[Signed, ...]:
    """Everybody is heard, however often somebody approves: what a publish says of its approvals has to end."""
    people: set[str] = set()
    first: list[Signed] = []
    more: list[Signed] = []
    for signed in good:
        (more if people.issuperset(signed.principals) else first).append(signed)
        people.update(signed.principals)
    return (*first, *more)[: max(MARKERS_MAX, len(first))]


def _drift(facts: Facts) -> str:
    """The first tag that reads otherwise; of a closed pull request tags are no longer kept, and so not asked."""
    if facts.plan is None or facts.pull_request is None:
        return ""
    for repository, digest in sorted(facts.plan.images().items()):
        if (now := facts.tags.get(repository)) != digest:
            return f"{repository} reads {now or 'nothing'}, and the plan has {digest}"
    return ""


def _equal(code: Code, now: object, marked: object) -> None:
    if now != marked:
        raise _No(code, f"now {_shown(now)}, in the marker {_shown(marked)}")


def _shown(value: object) -> str:
    return _UNPRINTABLE.sub(lambda c: f"\\u{ord(c[0]):04x}", str(value))[:120]


def _refusal(signed: Signed, no: _No) -> Refusal:
    return Refusal(signed.digest, signed.marker.id, no.code, explained(no.code, no.detail))
