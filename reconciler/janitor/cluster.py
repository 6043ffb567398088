"""What the janitor sees of a cluster, and the port to it. Values and protocols only.

Names are Kubernetes' own. A listing is used whole or not at all: `complete` is False where a page was lost, where pages
disagree about their resourceVersion, or where the answer cannot be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Condition(NamedTuple):
    """One condition of a namespace that is true, such as `NamespaceContentRemaining`."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace as a read showed it."""

    name: str
    uid: str
    resource_version: str
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    phase: str = "Active"
    deleting_since: datetime | None = None
    finalizers: tuple[str, ...] = ()
    """Of `metadata` and of `spec`; they keep a namespace that is being deleted."""
    conditions: tuple[Condition, ...] = ()

    @property
    def terminating(self) -> bool:
        return self.deleting_since is not None or self.phase != "Active"


@dataclass(frozen=True, slots=True)
class Application:
    """One Application of Argo CD, reduced to what it says about namespaces."""

    namespace: str
    name: str
    server: str = ""
    cluster: str = ""
    """`destination.name`."""
    target: str = ""
    """`destination.namespace`."""
    resource_namespaces: frozenset[str] = frozenset()
    """Namespaces that its status lists, or lists objects in."""
    deleting_since: datetime | None = None

    @property
    def refers_to(self) -> frozenset[str]:
        """The namespaces that it may still deploy to, or hold objects in.

        Whatever its server says: one cluster has several addresses and names, and an Application that is being deleted
        still prunes.
        """
        return self.resource_namespaces | ({self.target} if self.target else frozenset())

    def __str__(self) -> str:
        where = self.server or self.cluster or "no destination"
        gone = ", being deleted" if self.deleting_since is not None else ""
        return f"{self.namespace}/{self.name} (to {where}{gone})"


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """Every object of one kind, or a part of them and `why` it is a part."""

    items: tuple[T, ...]
    complete: bool = True
    why: str = ""


class Sight(NamedTuple):
    """One look at the cluster. `at` is the server's time, since ages are counted by its clock."""

    namespaces: Listing[Namespace]
    applications: Listing[Application]
    at: datetime


class Deleted(StrEnum):
    """What the API server answered to a delete."""

    ACCEPTED = "accepted"
    """It is being deleted, or with a dry run would be."""
    GONE = "gone"
    """404: there is no such namespace."""
    CHANGED = "changed"
    """409: it is another namespace than the one that was looked at, or was edited since."""
    REFUSED = "refused"
    """403 or 422: an admission policy or missing rights."""


class Answered(NamedTuple):
    deleted: Deleted
    why: str = ""


class ClusterReader(Protocol):
    """Reading namespaces and Applications. Every read is bounded in bytes, pages and time."""

    def look(self) -> Sight:
        """All namespaces, then all Applications of every namespace that Argo CD looks at.

        Raises:
            Denied: the account may not list one of them.
            Terminal: there is no such API, as without Argo CD's CRDs.
            Transient: no usable answer in time.
        """

    def namespace(self, name: str) -> Namespace | None:
        """One namespace as it is now; None on a 404. Raises as `look`."""

    def applications(self) -> Listing[Application]:
        """All Applications as they are now. Raises as `look`."""


class ClusterWriter(Protocol):
    """The one thing that is written."""

    def delete_namespace(self, namespace: Namespace, *, dry_run: bool = False) -> Answered:
        """Ask for the deletion of exactly this namespace, as it was read: its UID and resourceVersion are the
        preconditions. Does not wait for the end of it.

        Raises Transient if no usable answer came: it may be asked for or not.
        """


class Right(NamedTuple):
    """One right of an account. `namespace` is empty for a cluster-wide one, `name` for objects of any name."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        parts = (
            self.resource,
            f".{self.group}" if self.group else "",
            f"/{self.subresource}" if self.subresource else "",
        )
        return f"{self.verb} {''.join(parts)}{f' in {self.namespace}' if self.namespace else ''}"


class ClusterRights(Protocol):
    def may(self, right: Right) -> bool:
        """Whether this account has the right (SelfSubjectAccessReview). Raises Denied, Terminal or Transient."""
