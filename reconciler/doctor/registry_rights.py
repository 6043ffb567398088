"""What `ameide doctor` tests of a registry credential: whether it may push and delete, and what its tokens say.

A registry that hands out tokens is asked for one with every action, and the token says which it was granted. The
registry itself is asked too, since not every one tells pushing from deleting; what it refuses counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.doctor.findings import Finding, Status, attempt
from reconciler.doctor.permission_words import named
from state.observed import Mode
from state.oci import Repository

ASKED_MAX: Final = 200
"""Repositories per registry that are asked about, at most."""
_SHOWN_MAX: Final = 10
_LETS: Final = {
    "push": "move tags, and mode observe moves none",
    "delete": "delete images, `:main` included",
    "*": "do all that the registry can do there",
}
_LATER: Final = "try again later"


class _Right(NamedTuple):
    """What was found out about one repository.

    Args:
        deletes: whether it may delete; None where neither the registry nor the token says.
        granted: whether the token says that it may.
        more: what the token grants and nothing here asked for.
    """

    path: str
    deletes: bool | None
    granted: bool | None
    more: frozenset[str]


def pushes(client: OrasRegistry, repositories: list[Repository], mode: Mode) -> Iterator[Finding]:
    """Whether each may be written to; an upload is begun and given up."""
    if mode is Mode.OBSERVE or not repositories:
        return
    check = f"registry {client.hostname}: permissions"
    remedy = "give the credential leave to push, but not to delete: nothing is deleted in this mode"
    asked = repositories[:ASKED_MAX]

    def ask() -> Finding:
        missing = [r.path for r in asked if not client.may_push(r)]
        if missing:
            return Finding(check, Status.FAIL, f"missing: push to {', '.join(missing)}", remedy)
        return Finding(check, Status.OK, f"it may push; asked for {len(asked)} of {len(repositories)} repositories")

    yield attempt(check, ask, _LATER)


def deletes(client: OrasRegistry, repositories: list[Repository], mode: Mode, *, needed: bool) -> Iterator[Finding]:
    """Whether the credential may delete, which `tag_gc` needs and nobody else; and what else its tokens grant."""
    if not repositories:
        return
    check = f"registry {client.hostname}: deleting"
    found: list[_Right] = []

    def ask() -> Finding:
        found.extend(_right(client, repository, mode) for repository in repositories[:ASKED_MAX])
        return _deleting(check, found, needed=needed)

    yield attempt(check, ask, _LATER)
    yield from _tokens(f"registry {client.hostname}: tokens", found)


def _right(client: OrasRegistry, repository: Repository, mode: Mode) -> _Right:
    answered = client.may_delete(repository)
    grants = client.token_grants(repository)
    if grants is None:
        return _Right(repository.path, answered, None, frozenset())
    own = [g for g in grants if (g.kind, g.name) == ("repository", repository.path)]
    actions = frozenset[str]().union(*(g.actions for g in own))
    more = actions - ({"pull", "delete"} if mode is Mode.OBSERVE else {"pull", "push", "delete"})
    others = {str(g) for g in grants if g not in own and g.actions}
    granted = bool(actions & {"delete", "*"})
    return _Right(repository.path, granted if answered is None else answered, granted, more | others)


def _deleting(check: str, found: list[_Right], *, needed: bool) -> Finding:
    refused = ", ".join(r.path for r in found if r.deletes is False)
    untold = ", ".join(r.path for r in found if r.deletes is None)
    granted = ", ".join(r.path for r in found if r.deletes or r.granted)
    if needed and refused:
        remedy = "give the credential leave to delete: tag_gc takes the tags of closed pull requests away"
        return Finding(check, Status.FAIL, f"missing: delete in {refused}", remedy)
    if not needed and granted:
        remedy = "take the leave to delete from the credential: without tag_gc nothing is deleted"
        return Finding(check, Status.WARN, f"more than needed: {named(['delete'], _LETS)} in {granted}", remedy)
    if untold:
        remedy = "look the credential up where it was made: whether it may delete images"
        return Finding(check, Status.WARN, f"not known whether it may delete in {untold}", remedy)
    return Finding(check, Status.OK, "it may delete" if needed else "it may not delete")


def _tokens(check: str, found: list[_Right]) -> Iterator[Finding]:
    """Nothing where the tokens do not tell: what the registry answered is all that is known then."""
    told = [right for right in found if right.granted is not None]
    if not told:
        return
    more = sorted({words for right in told for words in right.more})
    if more:
        remedy = "take it from the credential where it was made: its token was asked for pull, push and delete alone"
        left = f" and {len(more) - _SHOWN_MAX} more" if len(more) > _SHOWN_MAX else ""
        yield Finding(check, Status.WARN, f"more than needed: {named(more[:_SHOWN_MAX], _LETS)}{left}", remedy)
    else:
        yield Finding(check, Status.OK, f"they grant no more than was asked for, in {len(told)} of {len(found)}")
