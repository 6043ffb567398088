"""Values of Git, parsed once and strictly. Source: gitformat-commit, git-check-ref-format(1)."""

from __future__ import annotations

import re
from typing import Final, Self

from state.errors import InvalidValue
from state.shared import shared

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REF_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")


class CommitId(str):
    """40 lower-case hex digits: a full object id, never an abbreviation. Raises InvalidValue."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return shared(text, cls, cls._checked)

    @classmethod
    def _checked(cls, text: str) -> Self:
        if not isinstance(text, str) or not _COMMIT.fullmatch(text):
            shown = text if not isinstance(text, str) or len(text) <= 80 else text[:77] + "..."
            raise InvalidValue(f"commit id: expected 40 lower-case hex digits, got {shown!r}")
        return super().__new__(cls, text)

    @property
    def short(self) -> str:
        """For people only: the first 12 digits."""
        return self[:12]


class RefName(str):
    """A full ref name below `refs/` that git-check-ref-format accepts. Raises InvalidValue."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if (
            not isinstance(text, str)
            or not text.startswith("refs/")
            or len(text) > 255
            or text.endswith(("/", ".", ".lock"))
            or _REF_FORBIDDEN.search(text)
        ):
            raise InvalidValue(f"ref name: expected a full name below refs/, got {str(text)[:80]!r}")
        return super().__new__(cls, text)

    @classmethod
    def branch(cls, name: str) -> Self:
        """`refs/heads/<name>`."""
        return cls("refs/heads/" + name)

    @property
    def short(self) -> str:
        """The name as people say it: without `refs/heads/`."""
        return self.removeprefix("refs/heads/")


PullRequestNumber = int
RepositoryId = int
"""The forge's immutable numeric id of a repository; names can be registered again by someone else."""
