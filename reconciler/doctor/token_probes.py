"""Finding out what a token may do at a forge that does not tell: harmless questions, each for one permission.

A question reads, or asks for a write that cannot succeed whoever asks: a status of commit 0000…, a pull request without
branches. Forges look at what a token may do first and at what was asked for second, so that "there is no such commit"
is the answer to somebody who may, and "not you" to somebody who may not. Sources: docs.github.com, "Troubleshooting the
REST API" (403, `X-Accepted-GitHub-Permissions`); TruffleHog's analyzer of fine-grained tokens, which asks GitHub in the
same way; Gitea's routers/api/v1/api.go (`tokenRequiresScopes` stands before all that looks at a request).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from reconciler.adapters.forge_client import Answer, ForgeClient
from reconciler.doctor.findings import Finding, Status
from reconciler.doctor.permission_words import named
from state.canonical import Json

NOWHERE: Final = "0" * 40
"""No commit has this id."""
_TELLING: Final = frozenset({400, 403, 404, 405, 409, 410, 412, 422, 423})
"""Refusals that say something."""


class Told(StrEnum):
    """What an answer says about the permission."""

    GRANTED = "granted"
    REFUSED = "refused"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question.

    Args:
        permission: what it takes, in the forge's own words.
        path: below the API's root.
        granted: the statuses that only somebody who may gets.
        refused: those that say the same as the forge's own refusal.
    """

    permission: str
    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    granted: frozenset[int] = frozenset({200})
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Heard:
    """What was found out about the permissions that were asked for, by name."""

    granted: tuple[str, ...]
    untold: Mapping[str, str]
    """With what the forge answered."""


def ask(client: ForgeClient, probe: Probe, refuses: Callable[[Answer], bool]) -> tuple[Told, str]:
    """What the answer says, and the answer in words. Raises as the client does, so that a limit is no refusal."""
    if probe.method == "GET":
        answer = client.get(probe.path, probe.query, expected=_TELLING)
    else:
        answer = client.send(probe.method, probe.path, {}, expected=_TELLING)
    if answer.status in probe.granted:
        return Told.GRANTED, ""
    if answer.status in probe.refused or refuses(answer):
        return Told.REFUSED, ""
    return Told.UNTOLD, f"answered {answer.status}" + (f" ({said})" if (said := message(answer)) else "")


def message(answer: Answer) -> str:
    """The forge's own words, bounded; empty without any."""
    told: Json = answer.body.get("message") if isinstance(answer.body, dict) else None
    return told[:200] if isinstance(told, str) and told.isprintable() else ""


def ask_all(client: ForgeClient, probes: Sequence[Probe], refuses: Callable[[Answer], bool]) -> Heard:
    """One after another; raises as `ask`."""
    granted: list[str] = []
    untold: dict[str, str] = {}
    for probe in probes:
        told, words = ask(client, probe, refuses)
        if told is Told.GRANTED:
            granted.append(probe.permission)
        elif told is Told.UNTOLD:
            untold[probe.permission] = words
    return Heard(tuple(granted), untold)


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about each kind of finding."""

    missing: str
    excess: str
    untold: str


def judged(
    check: str, heard: Heard, *, needed: frozenset[str], remedies: Remedies, lets: Mapping[str, str], told: str
) -> list[Finding]:
    """Missing is a failure, excess a warning; what could not be told is a finding of its own.

    Args:
        lets: what each permission lets its holder do.
        told: what else is known of the credential, for the case that it is in order.
    """
    missing = sorted(needed - set(heard.granted) - set(heard.untold))
    excess = sorted(set(heard.granted) - needed)
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"more than needed: {named(excess, lets)}"] if excess else []
    if missing:
        found = [Finding(check, Status.FAIL, "; ".join(parts), remedies.missing)]
    elif excess:
        found = [Finding(check, Status.WARN, "; ".join(parts), remedies.excess)]
    else:
        found = [Finding(check, Status.OK, f"{told}; {', '.join(sorted(heard.granted))}")]
    if heard.untold:
        words = ", ".join(f"{name}: {why}" if why else name for name, why in heard.untold.items())
        found.append(Finding(f"{check}: not told", Status.WARN, f"not known whether it has: {words}", remedies.untold))
    return found
