"""Why something is not done: the closed list of reasons, each with the remedy a person is told."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A closed enum: every gap ends as an action or as a hold with one of these."""

    # The pull request or the repository
    SUSPENDED = "suspended"
    FORK_NOT_ADMITTED = "fork-not-admitted"
    AUTHOR_OUTSIDE = "author-outside"
    BASE_NOT_PREVIEWED = "base-not-previewed"
    DRAFT = "draft"
    LABEL_MISSING = "label-missing"
    HOLD_LABEL = "hold-label"
    OVER_MAX_HEADS = "over-max-heads"
    LISTING_INCOMPLETE = "listing-incomplete"
    # What git and the two repositories say
    CATALOGUE_INVALID = "catalogue-invalid"
    INVENTORY_UNKNOWN = "inventory-unknown"
    CHANGED_PATHS_UNKNOWN = "changed-paths-unknown"
    DECISION_MISMATCH = "decision-mismatch"
    NOT_PREVIEWED = "not-previewed"
    COMPONENT_UNKNOWN = "component-unknown"
    # Baselines
    BASELINE_MISSING = "baseline-missing"
    BASELINE_UNKNOWN = "baseline-unknown"
    BASELINE_REFUSED = "baseline-refused"
    NO_FAITHFUL_BASELINE = "no-faithful-baseline"
    # Tags
    AWAITS_BUILD = "awaits-build"
    NOT_YET_READ = "not-yet-read"
    TAG_UNKNOWN = "tag-unknown"
    TAG_CONFLICT = "tag-conflict"
    TAG_SETTLING = "tag-settling"
    TAG_LOST = "tag-lost"
    QUARANTINED = "quarantined"
    FOUND_UNPROVEN = "found-unproven"
    BUILD_REFUSED = "build-refused"
    # Release sets
    RELEASE_UNPROVEN = "release-unproven"
    RELEASE_REFUSED = "release-refused"
    # Writing
    OBSERVE_MODE = "observe-mode"
    BACKING_OFF = "backing-off"
    WRITE_BUDGET_SPENT = "write-budget-spent"


_REGISTRY_UNKNOWN: Final = (
    "if the registry is unreachable, nothing; otherwise check the repository's name and the credential: `ameide doctor`"
)
_DRIFTED: Final = (
    "find out who {} the tag; push a new commit to start afresh, or let it be with"
    " `ameide head accept --pr N --reason TEXT`"
)
REMEDY: Final[dict[Reason, str]] = {
    Reason.SUSPENDED: "set `suspend: false` for this repository in the configuration",
    Reason.FORK_NOT_ADMITTED: "a fork enters only by an explicit admission; push the branch to the repository instead",
    Reason.AUTHOR_OUTSIDE: (
        "add the author's numeric id to `admission.members` or `admission.agents`, or have an approver admit this head"
    ),
    Reason.BASE_NOT_PREVIEWED: "add the base branch to `admission.base_branches`, or retarget the pull request",
    Reason.DRAFT: "mark the pull request ready for review, or set `drafts: true` in `admission`",
    Reason.LABEL_MISSING: "set every label that `admission.labels` asks for on the pull request",
    Reason.HOLD_LABEL: "take the hold label off the pull request",
    Reason.OVER_MAX_HEADS: "raise `max_heads`, or close older pull requests",
    Reason.LISTING_INCOMPLETE: "nothing to do: the forge's listing was cut short and is read again",
    Reason.CATALOGUE_INVALID: "mend the catalogue on the base branch; `ameide changed` shows what is wrong",
    Reason.INVENTORY_UNKNOWN: "mend or make reachable the inventory in the GitOps repository",
    Reason.CHANGED_PATHS_UNKNOWN: "nothing to do while git is unreachable; otherwise see the log line of this pass",
    Reason.DECISION_MISMATCH: "push a new commit: another pull request at this head was decided on another base",
    Reason.NOT_PREVIEWED: "set `previewed: true` for a component of this image in the GitOps inventory",
    Reason.COMPONENT_UNKNOWN: "declare the component in the base branch's catalogue, or drop it from the inventory",
    Reason.BASELINE_MISSING: "publish the image's `:main` tag",
    Reason.BASELINE_UNKNOWN: _REGISTRY_UNKNOWN,
    Reason.BASELINE_REFUSED: "publish `:main` with the evidence that `verification.baseline` asks for",
    Reason.NO_FAITHFUL_BASELINE: "build main at the branch point, rebase the pull request, or set `baseline: main`",
    Reason.AWAITS_BUILD: "wait for CI to push this head's image, or start its build",
    Reason.NOT_YET_READ: "nothing to do: this head's tags are read within the pass budget, newest first",
    Reason.TAG_UNKNOWN: _REGISTRY_UNKNOWN,
    Reason.TAG_CONFLICT: _DRIFTED.format("moved"),
    Reason.TAG_SETTLING: "nothing to do: the registry has not shown our own write yet",
    Reason.TAG_LOST: _DRIFTED.format("removed"),
    Reason.QUARANTINED: "see which of this head's tags is tag-conflict or tag-lost: nothing more is written for it",
    Reason.FOUND_UNPROVEN: "the tag was there before us without evidence; push a new commit, or remove the tag",
    Reason.BUILD_REFUSED: "publish the build with the evidence that `verification.pull_request` asks for",
    Reason.RELEASE_UNPROVEN: "publish the evidence that `verification` asks for; see `ameide evidence verify`",
    Reason.RELEASE_REFUSED: (
        "find out who wrote the other release set, or let tags be moved in the repository of `evidence.release_sets`;"
        " then push a new commit"
    ),
    Reason.OBSERVE_MODE: "set `mode: fill` to let the reconciler write",
    Reason.BACKING_OFF: "nothing to do: the last try failed and is repeated after a pause",
    Reason.WRITE_BUDGET_SPENT: "nothing to do, or raise `max_writes_per_hour`",
}
"""Every reason has exactly one remedy (a test holds the two lists to each other)."""
