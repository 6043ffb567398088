"""What `ameide doctor` tests of a token at Gitea or Forgejo, which do not tell a token's scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_records import Record, parsed
from reconciler.doctor import permission_words
from reconciler.doctor.findings import Finding, Status
from reconciler.doctor.token_probes import Heard, Probe, Remedies, ask_all, judged, message
from reconciler.token_use import TokenUse
from state.errors import Terminal

_REFUSAL: Final = "required scope"
"""Within the words that both refuse a token with that has not the scope."""
_REMEDIES: Final = Remedies(
    missing="make a token with these scopes in the bot user's settings (Applications); scopes cannot be added later",
    excess="make a token without them in the bot user's settings (Applications), and delete this one",
    untold="look the token up in the bot user's settings (Applications)",
)


class _Role(Record):
    permissions: Mapping[str, bool] = Field(default={}, strict=False)


def probes(name: str) -> tuple[Probe, ...]:
    """Two for each scope that opens anything: it is checked before all else, and reads and writes by the method.

    Whatever is answered but the refusal of the scope means that the token has it: what the user may do is another
    question. None of the writes can succeed: what each asks to change is not there, or is not named.
    """
    owner = name.partition("/")[0]

    def pair(scope: str, read: str, method: str, write: str) -> tuple[Probe, Probe]:
        return (
            Probe(f"read:{scope}", "GET", read, granted=frozenset({200})),
            Probe(f"write:{scope}", method, write, granted=frozenset()),
        )

    return (
        *pair("repository", f"/repos/{name}", "POST", f"/repos/{name}/pulls"),
        *pair("issue", f"/repos/{name}/labels", "POST", f"/repos/{name}/issues/0/comments"),
        *pair("user", "/user", "POST", "/user/keys"),
        *pair("organization", "/orgs/-", "POST", "/orgs"),
        *pair("package", f"/packages/{owner}", "POST", f"/packages/{owner}/generic/-/-/unlink"),
        *pair("notification", "/notifications/new", "PATCH", "/notifications/threads/0"),
        *pair("admin", "/admin/cron", "POST", "/admin/cron/-"),
    )


def token(check: str, client: ForgeClient, name: str, use: TokenUse) -> list[Finding]:
    """By the role on the repository, and by probes of each scope.

    Statuses and pull requests are of the scope `repository`, labels and comments of `issue`, whose they are.
    Source: Gitea 1.26, routers/api/v1/api.go.
    """
    answer = client.get(f"/repos/{name}")
    if not answer.found:
        raise Terminal(f"{name}: no such repository, or the credential may not see it")
    roles = parsed(_Role, answer, name).permissions
    role = next((r for r in ("admin", "push", "pull") if roles.get(r)), "none")
    if use.writes and not roles.get("push"):
        remedy = "give the token's user the role Write: a status on a head needs it, and so does a branch"
        return [Finding(check, Status.FAIL, f"missing: the role push, got {role}", remedy)]
    heard = ask_all(client, probes(name), lambda answer: answer.status == 403 and _REFUSAL in message(answer))
    # What is answered in any other way got past the scope.
    had = {*heard.granted, *heard.untold}
    had -= {f"read:{scope.removeprefix('write:')}" for scope in had if scope.startswith("write:")}  # implied
    needed = {"write:repository" if use.writes else "read:repository"}
    needed |= {"write:issue"} if use.labels or use.proposes else set()
    extra = (f"the role {role}",) if role == "admin" else ()
    return judged(
        check,
        Heard((*sorted(had), *extra), {}),
        needed=frozenset(needed),
        remedies=_REMEDIES,
        lets=permission_words.GITEA,
        told=f"role {role}",
    )
