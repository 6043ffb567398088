"""What `ameide doctor` tests of a credential for ghcr.io, whose registry does not tell what it may do.

ghcr.io takes classic tokens of GitHub (docs.github.com, "Working with the Container registry"), and of these GitHub's
API tells the scopes. Its tokens for the registry are opaque, and deleting is refused to everybody (405).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_github import HEADERS
from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.registry_credential import Credential, Login
from reconciler.doctor.findings import Finding, Status
from reconciler.doctor.permission_words import CLASSIC_SCOPES, named
from reconciler.ports import Clock, Random
from state.errors import Denied, ReconcilerError
from state.observed import Mode

HOST: Final = "ghcr.io"
API: Final = "https://api.github.com"
_TOLD: Final = ("ghp_", "gho_")
"""How tokens begin whose scopes GitHub tells. Source: docs.github.com, "About authentication to GitHub"."""
_REMEDY: Final = (
    "make a classic token of a bot user at https://github.com/settings/tokens/new?scopes={needed}, which ticks no "
    "other scope, and delete this one"
)


def scopes(
    credential_file: Path, mode: Mode, clock: Clock, random: Random, *, api: str = API
) -> tuple[Finding, frozenset[str] | None]:
    """What the credential's scopes are, against what the mode needs; None where they are not told.

    Nothing but a token that GitHub made is sent there.
    """
    check = f"registry {HOST}: token"
    needed = "read:packages" if mode is Mode.OBSERVE else "write:packages"
    try:
        login = Credential(credential_file, HOST).login()
    except ReconcilerError as error:
        return Finding(check, Status.FAIL, str(error), "mend the file that credential_file names"), None
    if not login.password.startswith(_TOLD):
        return _not_told(check, _kind(login), needed), None
    try:
        told = _asked(login, clock, random, api)
    except Denied as error:
        return Finding(check, Status.FAIL, f"{api} refuses it: {error}", _REMEDY.format(needed=needed)), None
    except ReconcilerError as error:
        return _not_told(check, str(error), needed), None
    if told is None:
        return _not_told(check, f"{api} does not name its scopes", needed), None
    return _judged(check, told, needed), told


def _asked(login: Login, clock: Clock, random: Random, api: str) -> frozenset[str] | None:
    client = ForgeClient(
        api,
        _Password(login.password),
        name="doctor",
        headers=HEADERS,
        clock=clock,
        random=random,
        metrics=PrometheusMetrics(),
        limits=ForgeLimits(attempts=1),
    )
    with closing(client):
        header = client.get("/user").headers.get("x-oauth-scopes")
    return None if header is None else frozenset(s.strip()[:100] for s in header[:4096].split(",")) - {""}


class _Password:
    """A login's password as the token that it is (`forge_client.Token`)."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self, *, fresh: bool = False) -> str:
        del fresh  # there is one
        return self._text


def _judged(check: str, told: frozenset[str], needed: str) -> Finding:
    held = told | ({"read:packages"} if "write:packages" in told else frozenset())
    excess = sorted(told - {needed, "read:packages"})
    parts = [] if needed in held else [f"missing: {needed}"]
    parts += [f"more than needed: {named(excess, CLASSIC_SCOPES)}"] if excess else []
    if parts:
        status = Status.WARN if needed in held else Status.FAIL
        return Finding(check, status, "; ".join(parts), _REMEDY.format(needed=needed))
    return Finding(check, Status.OK, f"scopes {', '.join(sorted(told))}")


def _kind(login: Login) -> str:
    if login.identity_token:
        return "an identity token"
    if login.password.startswith("github_pat_"):
        return "a fine-grained token, which ghcr.io is not documented to take"
    if login.password.startswith("ghs_"):
        return "a token of a GitHub App or of a workflow's run, which ends with it"
    return "none of the tokens whose scopes GitHub tells"


def _not_told(check: str, why: str, needed: str) -> Finding:
    remedy = (
        f"look it up where it was made: it needs {needed} and no more; a workflow's is told by its `permissions`. "
        f"Better: {_REMEDY.format(needed=needed)}"
    )
    return Finding(f"{check}: not told", Status.WARN, f"not known what it may do: {why}", remedy)
