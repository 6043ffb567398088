"""Every metric by the name that the code uses: kind, labels, help. One table for the daemon, one for the janitor.

Source: Prometheus, "Metric and label naming". A label's values are of a closed enum, of the configuration (a
repository's or a host's name), or a status code; never a pull request, a head or a text from outside.
docs/operator-manual.md has the same table, and says what to do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

_BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LONG_BUCKETS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets_s: tuple[float, ...] = _BUCKETS_S


_REPOSITORY: Final = ("repository",)

METRICS: Final[dict[str, Metric]] = {
    "build_info": Metric(Kind.GAUGE, ("version",), "1, labelled with the version that runs."),
    "passes": Metric(Kind.COUNTER, ("repository", "result"), "Passes by result."),
    "pass": Metric(Kind.HISTOGRAM, _REPOSITORY, "Duration of a pass."),
    "pass_stage": Metric(Kind.HISTOGRAM, ("repository", "stage"), "Duration of one stage of a pass."),
    "last_complete_listing_timestamp_seconds": Metric(
        Kind.GAUGE,
        _REPOSITORY,
        "Unix time at which the forge was asked for the last complete listing; time() less it is the age of truth.",
    ),
    "last_complete_pass_timestamp_seconds": Metric(
        Kind.GAUGE, _REPOSITORY, "Unix time at which the last pass with a complete listing ended."
    ),
    "unread": Metric(Kind.GAUGE, _REPOSITORY, "Things that the last pass could not read; what needs them is held."),
    "heads": Metric(Kind.GAUGE, ("repository", "state"), "Open heads by state."),
    "cells": Metric(Kind.GAUGE, ("repository", "state"), "Wanted tags, one per open head and image, by state."),
    "holds": Metric(Kind.GAUGE, ("repository", "reason"), "Gaps held now, by reason."),
    "actions_dropped": Metric(Kind.COUNTER, ("repository",), "Planned actions whose premise no longer held."),
    "tag_write": Metric(Kind.HISTOGRAM, (), "Duration of a request that writes one tag or several."),
    "tag_writes": Metric(Kind.COUNTER, ("result",), "Tag writes by result."),
    "release_sets_published": Metric(Kind.COUNTER, _REPOSITORY, "Release sets of complete heads."),
    "tags_adopted": Metric(Kind.COUNTER, _REPOSITORY, "Tags found in place that count."),
    "baseline_drift": Metric(
        Kind.GAUGE,
        ("repository", "kind"),
        "Unchanged images of open heads whose baseline is not what main was at the decision, by kind.",
    ),
    "quarantined_heads": Metric(Kind.GAUGE, _REPOSITORY, "Heads whose recorded tags were moved or removed."),
    "write_budget_remaining": Metric(Kind.GAUGE, _REPOSITORY, "Tag writes that this hour still allows."),
    "head_completion": Metric(
        Kind.HISTOGRAM, _REPOSITORY, "Time from the first sight of a head to its completeness.", _LONG_BUCKETS_S
    ),
    "registry_requests": Metric(Kind.COUNTER, ("host", "method", "status"), "Requests to a registry by status."),
    "forge_requests": Metric(
        Kind.COUNTER, ("repository", "method", "status"), "Requests to a forge's API by status; a 304 costs no quota."
    ),
    "forge_quota_limit": Metric(Kind.GAUGE, _REPOSITORY, "Requests or points that the forge grants in its window."),
    "forge_quota_remaining": Metric(Kind.GAUGE, _REPOSITORY, "What is left of them, as the forge said last."),
    "forge_quota_reset_timestamp_seconds": Metric(
        Kind.GAUGE, _REPOSITORY, "Unix time at which the forge grants the whole quota again."
    ),
    "forge_retries": Metric(Kind.COUNTER, ("repository", "reason"), "Requests to a forge that were sent again."),
    "registry_retries": Metric(Kind.COUNTER, ("host", "reason"), "Requests to a registry that were sent again."),
    "log_appends": Metric(Kind.COUNTER, ("repository", "kind"), "Entries appended to the log."),
    "log_mirror_behind": Metric(Kind.GAUGE, _REPOSITORY, "1 while the log's mirror lacks what the remote has."),
    "log_sequence": Metric(Kind.GAUGE, _REPOSITORY, "Sequence number of the newest log entry."),
    "log_unpushed_entries": Metric(Kind.GAUGE, _REPOSITORY, "Log entries that the remote does not have yet."),
    "log_last_push_timestamp_seconds": Metric(
        Kind.GAUGE, _REPOSITORY, "Unix time at which the remote last had every entry; none without a remote."
    ),
    "log_pushes": Metric(Kind.COUNTER, ("repository", "result"), "Pushes of the log by result."),
    "log_size_bytes": Metric(
        Kind.GAUGE, _REPOSITORY, "Size of the repository that holds the log; loose objects by a sample."
    ),
    "integrity_violations": Metric(
        Kind.COUNTER, _REPOSITORY, "Bytes, signatures or history that were not what they claim; alarm on any."
    ),
    "config_loads": Metric(Kind.COUNTER, ("result",), "Loads of a changed configuration by result."),
    "config_last_load_successful": Metric(
        Kind.GAUGE, (), "1 while the configuration on disk is the one in force, 0 while it is refused."
    ),
    "config_last_load_timestamp_seconds": Metric(
        Kind.GAUGE, (), "Unix time at which the configuration in force was taken up."
    ),
    "config_info": Metric(Kind.GAUGE, ("digest",), "1, labelled with the digest of the configuration in force."),
    "webhooks": Metric(Kind.COUNTER, ("repository", "result"), "Deliveries of forges by result."),
    "markers": Metric(
        Kind.COUNTER, ("repository", "result"), "Markers that were posted: received, refused, or failed on our side."
    ),
    "gitops_pull_requests": Metric(Kind.GAUGE, ("repository", "state"), "GitOps pull requests of ours by state."),
    "approvals": Metric(Kind.GAUGE, ("repository", "state"), "Recorded approvals by what became of them."),
    "approvals_refused": Metric(
        Kind.GAUGE, ("repository", "code"), "Recorded approvals that do not lead to a pull request now, by code."
    ),
    "plugin_answers": Metric(
        Kind.COUNTER, ("repository", "result"), "Answers to the ApplicationSet controller: served, or unsure."
    ),
    "wakeups": Metric(Kind.COUNTER, ("reason",), "Wake-ups of the loop by reason."),
    "notifications": Metric(
        Kind.COUNTER, ("repository", "result"), "Notifications by result: delivered, failed (and sent again), dropped."
    ),
    "notifications_waiting": Metric(
        Kind.GAUGE, _REPOSITORY, "Notifications that are to be sent, as far as they were looked for."
    ),
    "spans": Metric(Kind.COUNTER, ("result",), "Spans by result: exported, or dropped."),
}
"""Of `ameide reconciler run`, at `/metrics` of the private listener."""

JANITOR_METRICS: Final[dict[str, Metric]] = {
    "build_info": METRICS["build_info"],
    "janitor_last_run_timestamp_seconds": Metric(
        Kind.GAUGE, _REPOSITORY, "Unix time at which the last run with a complete look ended."
    ),
    "janitor_namespaces": Metric(
        Kind.GAUGE, ("repository", "reason"), "Preview namespaces by what the last run found them to be."
    ),
    "janitor_tombstones": Metric(Kind.GAUGE, _REPOSITORY, "Namespaces that wait marked for their turn."),
    "janitor_last_run_deletions": Metric(Kind.GAUGE, ("repository", "result"), "Deletions of the last run by result."),
}
"""Of `ameide janitor run --metrics-file`, in the text file."""


LABELS: Final[dict[str, str]] = {
    "code": "why an approval does not count ([approvals.md](approvals.md))",
    "digest": "of the configuration in force; one series at a time",
    "host": "a registry of the configuration",
    "kind": "of a log entry such as `decision`, or of drift: `main-moved`, `faithful`",
    "method": "of an HTTP request",
    "reason": "a hold's ([troubleshooting.md](troubleshooting.md#holds)), a namespace's ([janitor.md](janitor.md)), "
    "`rate-limited` or `unavailable` of a retry, `poll`, `config` or `forge` of a wake-up",
    "repository": "its name in the configuration",
    "result": "of the thing that is counted, from a list in the code",
    "stage": "of a pass: `markers`, `list`, `trusted`, `compare`, `baselines`, `tags`, `plan`, `apply`, `publish`, "
    "`report`, `push`",
    "state": "of a head, a cell, a GitOps pull request or an approval, from a list in the code",
    "status": "an HTTP status, of a registry its class (`2xx`); `none` where no answer came",
    "version": "of the program",
}
"""What the values of each label are. None grows with pull requests."""


def exposed_name(name: str, metric: Metric) -> str:
    """The name on `/metrics`: `ameide_` before it, `_total` after a counter's, `_seconds` after a duration's."""
    suffix = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.HISTOGRAM: "_seconds"}[metric.kind]
    return f"ameide_{name}{suffix}"
