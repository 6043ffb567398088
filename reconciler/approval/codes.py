"""Why a marker does not count: the closed list of codes, each with a sentence and a remedy for the person concerned."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from state.oci import Digest


class Code(StrEnum):
    """A closed enum: every marker that does not count has exactly one of these."""

    # The envelope and its signatures
    TOO_LARGE = "too-large"
    BAD_ENVELOPE = "bad-envelope"
    DUPLICATE_KEY = "duplicate-key"
    BAD_PAYLOAD_TYPE = "bad-payload-type"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_KEY = "unknown-key"
    CERTIFICATE_REFUSED = "certificate-refused"
    # The statement in it
    WRONG_PREDICATE = "wrong-predicate"
    BAD_STATEMENT = "bad-statement"
    BAD_SHA = "bad-sha"
    NOT_CANONICAL = "not-canonical"
    APPROVER_MISMATCH = "approver-mismatch"
    # What it is bound to
    NOT_AN_APPROVAL = "not-an-approval"
    NOT_AN_ADMISSION = "not-an-admission"
    WRONG_REPO = "wrong-repo"
    WRONG_PR = "wrong-pr"
    WRONG_TARGET = "wrong-target"
    TARGET_UNKNOWN = "target-unknown"
    WRONG_FORK = "wrong-fork"
    ID_TAKEN = "id-taken"
    REVOKED = "revoked"
    ALREADY_CONSUMED = "already-consumed"
    ALREADY_PUBLISHED = "already-published"
    DECLINED = "declined"
    FOREIGN_BRANCH = "foreign-branch"
    NOTHING_TO_DO = "nothing-to-do"
    POLICY_CHANGED = "policy-changed"
    # Time
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    TTL_TOO_LONG = "ttl-too-long"
    # The pull request now
    PR_CLOSED = "pr-closed"
    FORK_NOT_ALLOWED = "fork-not-allowed"
    BASE_CHANGED = "base-changed"
    HEAD_MOVED = "head-moved"
    HEAD_UNSTABLE = "head-unstable"
    HELD = "held"
    QUARANTINED = "quarantined"
    # The content now
    HEAD_INCOMPLETE = "head-incomplete"
    RELEASE_SET_CHANGED = "release-set-changed"
    NO_PLAN = "no-plan"
    PLAN_CHANGED = "plan-changed"
    SUBJECT_MISMATCH = "subject-mismatch"
    REGISTRY_DRIFT = "registry-drift"
    # The people
    NOT_APPROVER = "not-approver"
    AGENT_APPROVER = "agent-approver"
    SELF_APPROVAL = "self-approval"
    NOT_ENOUGH_APPROVERS = "not-enough-approvers"
    # Whoever carries it over HTTP
    OIDC_MISSING = "oidc-missing"
    OIDC_BAD_TOKEN = "oidc-bad-token"  # noqa: S105 - a code, not a secret
    OIDC_BAD_ALGORITHM = "oidc-bad-algorithm"
    OIDC_UNKNOWN_KEY = "oidc-unknown-key"
    OIDC_BAD_SIGNATURE = "oidc-bad-signature"
    OIDC_WRONG_ISSUER = "oidc-wrong-issuer"
    OIDC_WRONG_AUDIENCE = "oidc-wrong-audience"
    OIDC_EXPIRED = "oidc-expired"
    OIDC_NOT_YET_VALID = "oidc-not-yet-valid"
    OIDC_LIFETIME = "oidc-lifetime"
    OIDC_WRONG_CLAIM = "oidc-wrong-claim"
    OIDC_NO_JTI = "oidc-no-jti"
    OIDC_REPLAYED = "oidc-replayed"


class Meaning(NamedTuple):
    """What a code says, and what the person who reads it can do."""

    text: str
    remedy: str


_AGAIN: Final = "look at the plan again with `ameide approval plan` and approve what it shows now"
_BY_TOOL: Final = "make markers with `ameide approval grant`, or exactly as docs/approvals.md shows"
_OTHER_TOKEN: Final = "let the workflow ask for a fresh token right before it posts"  # noqa: S105
_CARRIER: Final = "compare the token's claims with `approvals.http` of the configuration"

MEANING: Final[dict[Code, Meaning]] = {
    Code.TOO_LARGE: Meaning("The envelope is larger than 64 KiB.", "approve fewer images in one plan"),
    Code.BAD_ENVELOPE: Meaning("This is no DSSE envelope or Sigstore bundle as approvals have it.", _BY_TOOL),
    Code.DUPLICATE_KEY: Meaning("A JSON key appears twice, so two readers could read two things.", _BY_TOOL),
    Code.BAD_PAYLOAD_TYPE: Meaning("The signed payload is of another type than an in-toto statement.", _BY_TOOL),
    Code.BAD_SIGNATURE: Meaning(
        "A signature is not one of these bytes by the key that it names.", "sign the statement again, unchanged"
    ),
    Code.UNKNOWN_KEY: Meaning(
        "The signing key or identity belongs to no principal of the approvers' policy.",
        "sign with a key of the policy, or have the key added to it",
    ),
    Code.CERTIFICATE_REFUSED: Meaning(
        "The signing certificate cannot be traced to the pinned trusted root.",
        "sign with the deployment that `approvals.certificates` names",
    ),
    Code.WRONG_PREDICATE: Meaning("The signed statement is no approval, admission or revocation.", _BY_TOOL),
    Code.BAD_STATEMENT: Meaning("The signed statement lacks a member, or has one too many or malformed.", _BY_TOOL),
    Code.BAD_SHA: Meaning("The head is no full commit id of 40 lower-case hex digits.", "name the head in full"),
    Code.NOT_CANONICAL: Meaning("The signed statement is not in canonical JSON.", _BY_TOOL),
    Code.APPROVER_MISMATCH: Meaning(
        "The approvers that the statement names are not exactly those who signed it.",
        "name every signer by the name in the policy, in order, and have each of them sign",
    ),
    Code.NOT_AN_APPROVAL: Meaning("This marker admits or revokes; it approves nothing.", "post an approval"),
    Code.NOT_AN_ADMISSION: Meaning(
        "This marker is no admission, or the policy lets nobody admit.",
        "post a marker of `ameide approval admit`, and have `admission` added to the approvers' policy",
    ),
    Code.WRONG_REPO: Meaning("It is for a repository with another numeric id.", "approve for this repository"),
    Code.WRONG_PR: Meaning("It is for another pull request.", "approve this pull request by its own number"),
    Code.WRONG_TARGET: Meaning("It is for another target.", "approve for this target; each has its own approval"),
    Code.TARGET_UNKNOWN: Meaning(
        "The approvers' policy says nothing of this target.", "add the target with its approvers to the policy"
    ),
    Code.WRONG_FORK: Meaning(
        "The head is in another repository than the one that was admitted.", "admit the repository it is in now"
    ),
    Code.ID_TAKEN: Meaning("Another marker already has this id.", "approve again: each marker has an id of its own"),
    Code.REVOKED: Meaning("It was taken back.", "approve again, if it was taken back by mistake"),
    Code.ALREADY_CONSUMED: Meaning("It was used for a publish; each approval counts once.", "approve again"),
    Code.ALREADY_PUBLISHED: Meaning(
        "Exactly this plan was proposed before.", "see its GitOps pull request; what was closed there stays closed"
    ),
    Code.DECLINED: Meaning(
        "A person closed the GitOps pull request of this plan, or took its branch over.",
        "reopen that pull request, or push a commit to start afresh: a no stays a no",
    ),
    Code.FOREIGN_BRANCH: Meaning(
        "The branch for this plan is in the GitOps repository, at a commit that is not ours.",
        "find out who pushed it, and delete it",
    ),
    Code.NOTHING_TO_DO: Meaning("The target's base branch holds these digests already.", "nothing is left to do"),
    Code.POLICY_CHANGED: Meaning("The approvers' policy changed after it was signed.", _AGAIN),
    Code.NOT_YET_VALID: Meaning(
        "It was issued in the future.", "compare the clocks of the approver and the reconciler"
    ),
    Code.EXPIRED: Meaning("Its time is over.", _AGAIN),
    Code.TTL_TOO_LONG: Meaning(
        "It is valid for longer than the policy allows.", "approve with a shorter `--life`; see max_life_s"
    ),
    Code.PR_CLOSED: Meaning("The pull request is closed or merged.", "reopen it, or promote what was published"),
    Code.FORK_NOT_ALLOWED: Meaning(
        "The pull request is not admitted here.", "see the hold of its head in the status; an approver may admit a fork"
    ),
    Code.BASE_CHANGED: Meaning("The pull request is for another branch than the one that was approved.", _AGAIN),
    Code.HEAD_MOVED: Meaning("The pull request has another head than the one that was approved.", _AGAIN),
    Code.HEAD_UNSTABLE: Meaning(
        "The forge and git name two different heads.", "nothing to do: it is read again in a moment"
    ),
    Code.HELD: Meaning("The pull request has the hold label.", "take the hold label off the pull request"),
    Code.QUARANTINED: Meaning(
        "What is recorded of this head no longer holds.", "push a new commit, or see `ameide head accept`"
    ),
    Code.HEAD_INCOMPLETE: Meaning(
        "The head has no signed release set.", "wait until the status says that every image is ready"
    ),
    Code.RELEASE_SET_CHANGED: Meaning("The head's release set is another one than the one approved.", _AGAIN),
    Code.NO_PLAN: Meaning(
        "There is no plan for this target now.", "see `ameide approval plan`, which says what is missing"
    ),
    Code.PLAN_CHANGED: Meaning("The plan is another one than the one that was approved.", _AGAIN),
    Code.SUBJECT_MISMATCH: Meaning("The images it names are not exactly those of the plan.", _BY_TOOL),
    Code.REGISTRY_DRIFT: Meaning(
        "A tag of this head reads another digest than the plan has.", "find out who moved the tag; push a new commit"
    ),
    Code.NOT_APPROVER: Meaning(
        "A signer may not approve for this target.", "have it approved by somebody whom the policy names for it"
    ),
    Code.AGENT_APPROVER: Meaning("A signer is an agent or a bot, and those never approve.", "let a person approve"),
    Code.SELF_APPROVAL: Meaning("A signer is the author, or pushed the head.", "let somebody approve who did neither"),
    Code.NOT_ENOUGH_APPROVERS: Meaning(
        "Fewer distinct people approved than are needed.", "have another approver approve the same plan"
    ),
    Code.OIDC_MISSING: Meaning("The request carries no bearer token.", _OTHER_TOKEN),
    Code.OIDC_BAD_TOKEN: Meaning("The bearer token is no signed token that can be read here.", _OTHER_TOKEN),
    Code.OIDC_BAD_ALGORITHM: Meaning("The token is signed by another algorithm than RS256 or ES256.", _CARRIER),
    Code.OIDC_UNKNOWN_KEY: Meaning("The issuer has no such key.", _CARRIER),
    Code.OIDC_BAD_SIGNATURE: Meaning("The token was not signed by the issuer's key.", _OTHER_TOKEN),
    Code.OIDC_WRONG_ISSUER: Meaning("The token is of another issuer.", _CARRIER),
    Code.OIDC_WRONG_AUDIENCE: Meaning("The token was made for somebody else.", _CARRIER),
    Code.OIDC_EXPIRED: Meaning("The token's time is over.", _OTHER_TOKEN),
    Code.OIDC_NOT_YET_VALID: Meaning("The token is not valid yet.", "compare the clocks of issuer and reconciler"),
    Code.OIDC_LIFETIME: Meaning("The token is valid for more than a day.", "use short-lived tokens"),
    Code.OIDC_WRONG_CLAIM: Meaning("The token lacks a claim, or has another value.", _CARRIER),
    Code.OIDC_NO_JTI: Meaning("The token has no `jti`, so it could be used again.", "use an issuer that sets it"),
    Code.OIDC_REPLAYED: Meaning("The token was used before.", _OTHER_TOKEN),
}
"""Every code has exactly one meaning (a test holds the two lists to each other)."""


class RefusedMarker(Exception):
    """A marker does not count, and why. Raised inside `reconciler.approval` and where markers come in."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code.value}: {explained(code, detail)}")
        self.code = code
        self.text = explained(code, detail)


class Refusal(NamedTuple):
    """One marker that does not count."""

    marker: Digest
    """The digest of its envelope."""
    id: str
    code: Code
    text: str


def explained(code: Code, detail: str = "") -> str:
    """The code's sentence, with what is particular to this case."""
    return f"{MEANING[code].text.removesuffix('.')}: {detail}" if detail else MEANING[code].text
