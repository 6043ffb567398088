"""What `ameide doctor` tests of a token at GitLab, which tells its scopes and the role of its user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from pydantic import Field

from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_records import Record, parsed
from reconciler.doctor.findings import Finding, Status
from reconciler.doctor.permission_words import GITLAB, named
from reconciler.token_use import TokenUse
from state.errors import Terminal

_REPORTER, _DEVELOPER = 20, 30
_ROLES: Final = {_REPORTER: "Reporter", _DEVELOPER: "Developer"}
_LOOKING: Final = frozenset({"read_api", "read_repository"})
_WRITING: Final = frozenset({"api"})
_PUSHING: Final = frozenset({"write_repository"})
_FINE_GRAINED: Final = "granular"
"""The one scope of a token whose permissions are chosen one by one."""


class _Access(Record):
    access_level: int


class _Accesses(Record):
    project_access: _Access | None = None
    group_access: _Access | None = None


class _Project(Record):
    permissions: _Accesses = _Accesses()


class _Scopes(Record):
    scopes: tuple[str, ...] = Field(strict=False)


def token(check: str, client: ForgeClient, name: str, use: TokenUse) -> list[Finding]:
    """By the role in the project and the token's scopes; what GitLab does not tell is a finding of its own.

    Source: docs.gitlab.com, "Projects API" (`permissions`), "Personal access tokens API" (`self`), "Commits API"
    (a status takes the role Developer and the scope api), "Fine-grained personal access tokens".
    """
    project = client.get(f"/projects/{quote(name, safe='')}")
    if not project.found:
        raise Terminal(f"{name}: no such project, or the credential may not see it")
    granted = parsed(_Project, project, name).permissions
    level = max((one.access_level for one in (granted.project_access, granted.group_access) if one), default=0)
    answer = client.get("/personal_access_tokens/self")  # 404 before GitLab 15.5
    scopes = frozenset(parsed(_Scopes, answer, "token").scopes) if answer.found else None
    told = f"access level {level}" + ("" if scopes is None else f"; scopes {_listed(scopes)}")
    found = [_member(check, level, scopes, told, use)]
    if scopes is None or _FINE_GRAINED in scopes:
        what = "this GitLab does not tell its scopes" if scopes is None else "a fine-grained token's are not asked for"
        remedy = "compare the token's page with docs/forges.md, or use a project access token with the scopes there"
        found.append(Finding(f"{check}: not told", Status.WARN, f"not known what the token may do: {what}", remedy))
    return found


def _member(check: str, level: int, scopes: frozenset[str] | None, told: str, use: TokenUse) -> Finding:
    needed = _DEVELOPER if use.writes else _REPORTER
    missing = [f"the role {_ROLES[needed]}"] if level < needed else []
    excess = [f"access level {level}"] if level > needed else []
    if scopes is not None and _FINE_GRAINED not in scopes:
        least = _PUSHING if use.pushes else _WRITING if use.writes else _LOOKING
        lacking = least - scopes if "api" not in scopes else frozenset[str]()  # which includes the others
        missing += [f"the scope {scope}" for scope in sorted(lacking)]
        excess += [f"the scope {scope}" for scope in sorted(scopes - least - _LOOKING - {"read_user"})]
    more = [f"more than needed: {named(excess, GITLAB)}"] if excess else []
    if missing:
        parts = [f"missing: {', '.join(missing)}", *more]
        remedy = "give the token's user this role in the project, and make a token with these scopes"
        return Finding(check, Status.FAIL, f"{'; '.join(parts)}; got {told}", remedy)
    if more:
        remedy = "use a project access token with no more than the role and scopes in docs/forges.md"
        return Finding(check, Status.WARN, more[0], remedy)
    return Finding(check, Status.OK, told)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
