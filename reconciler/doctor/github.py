"""What `ameide doctor` tests of a credential at GitHub: an App's installation, a classic token, a fine-grained one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import Field

from reconciler.adapters.forge_client import Answer, ForgeClient
from reconciler.adapters.forge_records import Record, parsed
from reconciler.doctor.findings import Finding, Status
from reconciler.doctor.permission_words import CLASSIC_SCOPES, GITHUB, GITHUB_APP, named
from reconciler.doctor.token_probes import NOWHERE, Heard, Probe, Remedies, ask_all, judged, message
from reconciler.settings.forge import GitHubAppSettings
from reconciler.token_use import TokenUse
from state.errors import Terminal

_LEVELS: Final = {"read": 1, "write": 2, "admin": 3}
_SCOPES_HARMLESS: Final = frozenset({"repo", "repo:status", "public_repo", "read:org", "read:user"})
_REFUSAL: Final = "Resource not accessible by"
_CONTENTS: Final = frozenset({"Contents: read"})
"""Whether it may also write them is what git is asked."""
_READS: Final = _CONTENTS | {"Pull requests: read"}
_STATUSES: Final = frozenset({"Commit statuses: write"})
_PULLS: Final = frozenset({"Pull requests: write"})
_NONE: Final[frozenset[str]] = frozenset()
_REMEDIES: Final = Remedies(
    missing="edit the token's permissions at its owner's settings (Developer settings, Fine-grained tokens)",
    excess="take them from the token there, or better use a GitHub App",
    untold="compare with the token's page, at its owner's settings (Developer settings, Fine-grained tokens); of a "
    "GitHub App all of it is told",
)
_NEVER_TOLD: Final = dict.fromkeys(
    (
        "Workflows",
        "Environments",
        "Pages",
        "Codespaces",
        "Discussions",
        "Merge queues",
        "Custom properties",
        "alerts and advisories",
        "permissions of the account or organisation",
    ),
    "",
)
"""What cannot be asked without doing it, or is answered alike to somebody who may and to somebody who may not."""


class _Installation(Record):
    permissions: Mapping[str, str] = Field(strict=False)
    suspended_at: str | None = None


class _Role(Record):
    permissions: Mapping[str, bool] = Field(default={}, strict=False)


def probes(name: str) -> tuple[Probe, ...]:
    """One for each permission of a fine-grained token that can be asked for.

    Source: docs.github.com, "Permissions required for fine-grained personal access tokens". Some lists answer 404 to
    whoever is no administrator, whatever the token may do.
    """
    of = f"/repos/{name}"
    one = {"per_page": 1}
    hidden = frozenset({404})
    return (
        Probe("Pull requests: read", "GET", f"{of}/pulls", one),
        Probe("Contents: read", "GET", f"{of}/commits", one, granted=frozenset({200, 409})),  # 409: no commit yet
        Probe("Commit statuses: write", "POST", f"{of}/statuses/{NOWHERE}", granted=frozenset({422})),
        Probe("Pull requests: write", "POST", f"{of}/pulls", granted=frozenset({422})),
        Probe("Issues: write", "POST", f"{of}/issues", granted=frozenset({422, 410})),  # 410: issues are switched off
        Probe("Actions: write", "POST", f"{of}/actions/workflows/0/dispatches", granted=frozenset({404, 422})),
        Probe("Deployments: write", "POST", f"{of}/deployments", granted=frozenset({409, 422})),
        Probe("Administration: read", "GET", f"{of}/actions/permissions", refused=hidden),
        Probe("Webhooks: read", "GET", f"{of}/hooks", one, refused=hidden),
        Probe("Secrets: read", "GET", f"{of}/actions/secrets", one, refused=hidden),
        Probe("Variables: read", "GET", f"{of}/actions/variables", one, refused=hidden),
        Probe("Dependabot secrets: read", "GET", f"{of}/dependabot/secrets", one, refused=hidden),
    )


def token(check: str, client: ForgeClient, name: str, use: TokenUse) -> list[Finding]:
    """By the role on the repository, and by the scopes that GitHub names of a classic token or probes of another.

    Source: docs.github.com, "Get a repository" (`permissions`), "Scopes for OAuth apps" (`X-OAuth-Scopes`, which is
    there, perhaps empty, for a classic token and for no other).
    """
    answer = client.get(f"/repos/{name}")
    if not answer.found:
        raise Terminal(f"{name}: no such repository, or the credential may not see it")
    roles = parsed(_Role, answer, name).permissions
    role = next((r for r in ("admin", "maintain", "push", "triage", "pull") if roles.get(r)), "none")
    if use.writes and not roles.get("push"):
        remedy = "give the token's user the role Write: a status on a head needs it, and so does a branch"
        return [Finding(check, Status.FAIL, f"missing: the role push, got {role}", remedy)]
    told = answer.headers.get("x-oauth-scopes")
    if told is not None:
        return [_classic(check, frozenset(s.strip() for s in told.split(",")) - {""}, role, use)]
    heard = ask_all(client, probes(name), _refuses)
    needed = _CONTENTS if use.pushes else _READS | (_STATUSES if use.writes and not use.proposes else _NONE)
    return judged(
        check,
        Heard((*heard.granted, *_extra(role)), {**heard.untold, **_NEVER_TOLD}),
        needed=needed | (_PULLS if use.proposes or use.labels else _NONE),
        remedies=_REMEDIES,
        lets=GITHUB,
        told=f"role {role}",
    )


def _extra(role: str) -> Iterable[str]:
    return (f"the role {role}",) if role in {"admin", "maintain"} else ()


def _refuses(answer: Answer) -> bool:
    return answer.status == 403 and message(answer).startswith(_REFUSAL)


def _classic(check: str, scopes: frozenset[str], role: str, use: TokenUse) -> Finding:
    more = use.proposes or use.labels or use.pushes
    enough = frozenset({"repo", "public_repo"} if more else {"repo", "repo:status"})
    shown = ", ".join(sorted(scopes)) or "none"
    if use.writes and not scopes & enough:
        remedy = "make a token with the scope repo, or a fine-grained one with the permissions in docs/forges.md"
        return Finding(check, Status.FAIL, f"missing: the scope repo, got {shown}", remedy)
    excess = [*sorted(scopes - _SCOPES_HARMLESS), *_extra(role)]
    if excess:
        remedy = "use a fine-grained token of a bot user with the role Write, or better a GitHub App"
        return Finding(check, Status.WARN, f"more than needed: {named(excess, {**CLASSIC_SCOPES, **GITHUB})}", remedy)
    return Finding(check, Status.OK, f"role {role}; scopes {shown}")


def installation(
    check: str, client: ForgeClient, app: GitHubAppSettings, needed: Mapping[str, str], allowed: Mapping[str, str]
) -> Finding:
    """What an App's installation grants. Source: docs.github.com, "Get an installation for the authenticated app".

    Args:
        client: one that asks as the App itself.
        needed: permission → level; `allowed` may be there without a word.
    """
    answer = client.get(f"/app/installations/{app.installation_id}")
    if not answer.found:
        raise Terminal(f"installation {app.installation_id}: GitHub App {app.app_id} has no such installation")
    found = parsed(_Installation, answer, f"installation {app.installation_id}")
    if found.suspended_at is not None:
        return Finding(
            check, Status.FAIL, f"suspended since {found.suspended_at}", "unsuspend the installation on its page"
        )
    allowed = {**allowed, **needed}
    missing = [f"{n}: {level}" for n, level in needed.items() if _level(found.permissions.get(n)) < _LEVELS[level]]
    excess = [f"{n}: {level}" for n, level in found.permissions.items() if _level(level) > _level(allowed.get(n))]
    told = [f"missing: {', '.join(sorted(missing))}"] if missing else []
    told += [f"more than needed: {named(sorted(excess), GITHUB_APP)}"] if excess else []
    if missing:
        remedy = "grant them on the App's settings page, and accept the request as the organisation's owner"
        return Finding(check, Status.FAIL, "; ".join(told), remedy)
    if excess:
        remedy = "take them from the App: whoever has its key has them, although we ask for tokens without them"
        return Finding(check, Status.WARN, "; ".join(told), remedy)
    return Finding(check, Status.OK, ", ".join(f"{n}: {level}" for n, level in sorted(found.permissions.items())))


def _level(named: str | None) -> int:
    """An unknown level counts as the highest, so that it is shown."""
    return 0 if named is None else _LEVELS.get(named, max(_LEVELS.values()))
