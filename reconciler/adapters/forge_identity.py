"""Which repository this is at its forge: the name may change, the id never does."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field

from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_records import Id, Record, parsed
from reconciler.ports import RepositoryIdentity
from state.errors import Terminal


class NamedRecord(Record):
    """What every forge tells of a repository; `full_name` with its owner or groups."""

    id: Id
    full_name: str


class ForgeRepository(ABC):
    """One code repository at one forge.

    Args:
        name: with its owner or groups, as configured.
        id: the id it has to have; None takes the one it has at first sight.
    """

    RECORD: ClassVar[type[NamedRecord]]

    def __init__(self, client: ForgeClient, name: str, id: int | None = None) -> None:  # noqa: A002 - the forge's word
        self.client = client
        self._name = name
        self._id = id
        self._lock = threading.Lock()
        self._seen: RepositoryIdentity | None = None

    @abstractmethod
    def _address(self) -> str:
        """Its path below the API's root."""

    def look(self) -> RepositoryIdentity:
        """Ask the forge: id and current name; conditionally, since it is asked in every pass.

        Raises Terminal where there is none, or another one has taken its name.
        """
        answer = self.client.get(self._address(), conditional=True)
        if not answer.found:
            raise Terminal(
                f"{self._current()}: no such repository, or the credential may not see it; this never means that it "
                "has no pull requests"
            )
        record = parsed(self.RECORD, answer, f"repository {self._current()}")
        with self._lock:
            expected = self._id if self._seen is None else self._seen.id
            if expected is not None and record.id != expected:
                raise Terminal(
                    f"{record.full_name}: expected repository id {expected}, got {record.id}: another repository has "
                    "this name now; name the right one in forge.repository"
                )
            self._seen = RepositoryIdentity(record.id, record.full_name)
            return self._seen

    def identity(self) -> RepositoryIdentity:
        """What was seen last; asks once."""
        return self._seen or self.look()

    def path(self, rest: str) -> str:
        """Its path below the API's root as it is now, and `rest`."""
        self.identity()
        return f"{self._address()}{rest}"

    def _current(self) -> str:
        return self._name if self._seen is None else self._seen.name


class OwnedRecord(NamedRecord):
    full_name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")


class OwnedRepository(ForgeRepository):
    """By owner and name, as GitHub, Gitea and Forgejo know it; by the name of now once a rename was seen."""

    RECORD: ClassVar[type[NamedRecord]] = OwnedRecord

    def _address(self) -> str:
        return f"/repos/{self._current()}"
