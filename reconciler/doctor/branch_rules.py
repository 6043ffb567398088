"""What a forge says of the rules for one branch: whether it can be rewritten or deleted, and what keeps pushes out.

Each question is a read that takes no more than a token that may push has; what only administrators are told stays
untold. Sources: docs.github.com, "Get rules for a branch", "Get a branch"; Gitea 1.26, routers/api/v1/repo/branch.go
and services/convert (`ToBranch`); docs.gitlab.com, "Protected branches API", "Protected branches".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

from reconciler.adapters.forge_client import Answer, ForgeClient
from reconciler.adapters.forge_records import Record, parsed, parsed_record
from reconciler.doctor.findings import Finding, Status
from state.errors import Terminal
from state.git import RefName

_ROWS_MAX: Final = 100
_REFUSED: Final = frozenset({401, 403})
_KEEPS_OUT: Final = frozenset(
    {"creation", "update", "pull_request", "required_status_checks", "required_deployments", "merge_queue"}
)
"""Rules of GitHub that a plain push to the branch does not pass, unless its user may bypass them."""


class Rules(NamedTuple):
    """What is known of one branch; None where it was not told, with the reason in `why`.

    Args:
        rewritten: whether a push by force is taken.
        deleted: whether a push may delete it.
        keeps_out: rules that may refuse our own pushes.
    """

    rewritten: bool | None
    deleted: bool | None
    keeps_out: tuple[str, ...] = ()
    why: str = ""


class _Rule(Record):
    type: str


class _Branch(Record):
    protected: bool
    user_can_push: bool = True


class _Protected(Record):
    name: str
    allow_force_push: bool | None = None


def github(client: ForgeClient, name: str, branch: RefName) -> Rules:
    """By rulesets, which are told to everybody, also for a branch to come; branch protection is told in part."""
    at = quote(branch.short, safe="")
    answer = client.get(f"/repos/{name}/rules/branches/{at}", {"per_page": _ROWS_MAX}, expected=_REFUSED)
    if answer.status != 200:
        return Rules(None, None, why=f"its rules: answered {answer.status}")
    types = {rule.type for rule in _rows(_Rule, answer)}
    keeps_out = tuple(sorted(types & _KEEPS_OUT))
    if {"non_fast_forward", "deletion"} <= types:
        return Rules(rewritten=False, deleted=False, keeps_out=keeps_out)
    otherwise, why = _protection(client, name, branch)
    rewritten = False if "non_fast_forward" in types else otherwise
    return Rules(rewritten, False if "deletion" in types else otherwise, keeps_out, why)


def _protection(client: ForgeClient, name: str, branch: RefName) -> tuple[bool | None, str]:
    """Whether a branch is open, as far as branch protection, the elder of GitHub's two, is told."""
    answer = client.get(f"/repos/{name}/branches/{quote(branch.short, safe='')}", expected=_REFUSED)
    if answer.status != 200:
        return None, _unread(answer)
    if parsed(_Branch, answer, branch).protected:
        return None, "what its branch protection allows is told to administrators alone"
    return True, ""


def gitea(client: ForgeClient, name: str, branch: RefName) -> Rules:
    """A protected branch is never deleted by a push; whether its rule lets somebody force is for administrators."""
    answer = client.get(f"/repos/{name}/branches/{quote(branch.short, safe='')}", expected=_REFUSED)
    if answer.status != 200:
        return Rules(None, None, why=_unread(answer))
    found = parsed(_Branch, answer, branch)
    keeps_out = () if found.user_can_push else ("its user may not push there",)
    if not found.protected:
        return Rules(rewritten=True, deleted=True, keeps_out=keeps_out)
    why = "who may push by force is told to administrators alone"
    return Rules(None, deleted=False, keeps_out=keeps_out, why=why)


def gitlab(client: ForgeClient, name: str, branch: RefName) -> Rules:
    """By the rules that have its name or a pattern for it: a protected branch is never deleted by a push."""
    path = f"/projects/{quote(name, safe='')}/protected_branches"
    answer = client.get(path, {"per_page": _ROWS_MAX}, expected=_REFUSED)
    if answer.status != 200:
        return Rules(None, None, why=f"answered {answer.status}")
    rules = [rule for rule in _rows(_Protected, answer) if _covers(rule.name, branch)]
    if not rules:
        more = bool(answer.headers.get("x-next-page"))
        return Rules(None, None, why="it has more rules than are read") if more else Rules(rewritten=True, deleted=True)
    forced = [rule.allow_force_push for rule in rules]
    why = "this GitLab does not tell who may push by force" if None in forced else ""
    return Rules(True if True in forced else None if None in forced else False, deleted=False, why=why)


def _covers(pattern: str, branch: RefName) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), branch.short) is not None


def _unread(answer: Answer) -> str:
    return f"answered {answer.status}" if answer.found else "there is no such branch yet"


_R = TypeVar("_R", bound=Record)


def _rows(model: type[_R], answer: Answer) -> list[_R]:
    if not isinstance(answer.body, list) or len(answer.body) > _ROWS_MAX:
        raise Terminal(f"rules of branches: expected a list of at most {_ROWS_MAX}; check forge.kind and its address")
    return [parsed_record(model, row, "rules of branches") for row in answer.body]


ASKED: Final[Mapping[str, Callable[[ForgeClient, str, RefName], Rules]]] = {
    "github": github,
    "gitea": gitea,
    "gitlab": gitlab,
}
"""By the kind of the forge; each raises as the client does."""
_REMEDIES: Final = {
    "github": "make a ruleset for log/*/* (Settings, Rules) that restricts deletions and blocks force pushes, no more",
    "gitea": "protect log/*/* (Settings, Branches): its user may push, nobody by force",
    "gitlab": "protect log/* (Settings, Repository, Protected branches): its user may push, nobody by force",
}


def judged(check: str, kind: str, rules: Mapping[RefName, Rules]) -> list[Finding]:
    """What is wrong with the rules of the log's branches, and what was not told of them."""
    found: list[Finding] = []
    open_ = [
        f"{branch.short}: may be {' and '.join(how)}"
        for branch, one in rules.items()
        if (how := [word for word, is_so in (("rewritten", one.rewritten), ("deleted", one.deleted)) if is_so])
    ]
    if open_:
        told = f"more than needed: {', '.join(open_)} (lets whoever has the credential destroy what was recorded)"
        found.append(Finding(check, Status.WARN, told, _REMEDIES[kind]))
    if kept := [f"{branch.short}: {', '.join(one.keeps_out)}" for branch, one in rules.items() if one.keeps_out]:
        remedy = "let the credential's user pass, or take these rules from the log's branches"
        told = f"rules that may refuse what is pushed there: {'; '.join(kept)}"
        found.append(Finding(f"{check}: pushing", Status.WARN, told, remedy))
    if untold := [f"{b.short}: {one.why}" for b, one in rules.items() if None in (one.rewritten, one.deleted)]:
        told = f"not known whether they may be rewritten or deleted: {'; '.join(untold)}"
        found.append(Finding(f"{check}: not told", Status.WARN, told, f"look there, and {_REMEDIES[kind]}"))
    names = ", ".join(branch.short for branch in rules)
    return found or [Finding(check, Status.OK, f"{names}: neither rewritten nor deleted by a push")]
