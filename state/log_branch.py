"""Where a log lives: `refs/heads/log/<repository-id>/<role>`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple, Self

from state.errors import InvalidValue
from state.git import RefName, RepositoryId

_REF: Final = re.compile(
    r"refs/(?:heads|remotes/[A-Za-z0-9._-]+)/log/(?P<id>0|[1-9][0-9]{0,18})/(?P<role>reconciler|janitor|operator)"
)


class Role(StrEnum):
    """Who writes a log; each role has its own branch, key and epochs (design invariant 8)."""

    RECONCILER = "reconciler"
    JANITOR = "janitor"
    OPERATOR = "operator"


class LogName(NamedTuple):
    """A log: the forge's immutable id of the code repository, and the role that writes."""

    repository_id: RepositoryId
    role: Role

    @property
    def ref(self) -> RefName:
        return RefName.branch(f"log/{self.repository_id}/{self.role.value}")

    @property
    def file_stem(self) -> str:
        """The name in a form that is one plain file name."""
        return f"log-{self.repository_id}-{self.role.value}"

    @classmethod
    def make(cls, repository_id: RepositoryId, role: str) -> Self:
        """Check both parts. Raises InvalidValue."""
        made = cls.of_ref(f"refs/heads/log/{repository_id}/{role}")
        if made is None:
            raise InvalidValue(
                f"log: expected a numeric repository id and a role of {', '.join(Role)}, "
                f"got {str(repository_id)[:40]!r} and {role[:40]!r}"
            )
        return made

    @classmethod
    def of_ref(cls, ref: str) -> Self | None:
        """The log whose branch, or remote-tracking branch, `ref` is; None if it is another kind of ref."""
        match = _REF.fullmatch(ref)
        return cls(int(match["id"]), Role(match["role"])) if match else None


def orphan_ref(writer: str, epoch: int) -> RefName:
    """Where a writer that lost its epoch saves the entries that no remote took."""
    return RefName.branch(f"log-orphan/{writer}/{epoch}")
