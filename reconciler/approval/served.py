"""A plan as the daemon serves it to approvers: the plan, what an approval of it has to name, and what is there now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from state import canonical
from state.canonical import Json, reading
from state.errors import InvalidValue
from state.git import RefName
from state.oci import Digest
from state.pin_plan import PLAN_MAX_BYTES, PinPlan

SERVED_MAX_BYTES = 2 * PLAN_MAX_BYTES
CURRENT_MAX_CHARS = 1024
"""Of what a place holds now."""


class Judged(NamedTuple):
    """An approval of the plan that was recorded, and why it has not led to a pull request; both empty if it did, or
    was not judged yet."""

    id: str
    code: str = ""
    text: str = ""

    def to_json(self) -> dict[str, Json]:
        return {"code": self.code, "id": self.id, "text": self.text}


class ServedPlan(NamedTuple):
    """One plan that was recorded."""

    plan: PinPlan
    base: RefName
    """The branch that its pull request is for."""
    policy: Digest
    """The approvers' policy in force."""
    current: tuple[str | None, ...]
    """What each edit's place holds now, in order of the edits; None where that is not known. For people alone."""
    approvals: tuple[Judged, ...] = ()
    """Newest last. For people alone."""

    def to_json(self) -> dict[str, Json]:
        return {
            "approvals": [a.to_json() for a in self.approvals],
            "base": self.base,
            "current": list(self.current),
            "digest": self.plan.digest(),
            "plan": self.plan.to_json(),
            "policy": self.policy,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> ServedPlan:
        """Raises InvalidValue unless `value` is what `to_json` gives, and the digest is the plan's own."""
        read = reading(value, "served plan")
        plan = PinPlan.from_json(read.object("plan"))
        rows = value.get("current")
        if not isinstance(rows, list) or len(rows) != len(plan.edits):
            raise InvalidValue("served plan: expected one current value for each edit")
        current = tuple(_current(row) for row in rows)
        approvals = tuple(_judged(row) for row in read.objects("approvals"))
        made = cls(plan, RefName(read.text("base")), Digest(read.text("policy")), current, approvals)
        if read.text("digest") != plan.digest():
            raise InvalidValue(
                f"served plan: it is called {read.text('digest')[:80]}, and its content has the digest {plan.digest()}"
            )
        if made.to_json() != value:
            raise InvalidValue("served plan: expected exactly approvals, base, current, digest, plan and policy")
        return made


class Missing(NamedTuple):
    """There is no plan yet, and why: one reason a line, for people."""

    why: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        return {"missing": canonical.texts(self.why)}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Missing:
        """Raises InvalidValue."""
        if value.keys() != {"missing"}:
            raise InvalidValue("served plan: expected exactly `missing`")
        return cls(tuple(reading(value, "served plan").texts("missing")))


class Plans(Protocol):
    """What the daemon knows of plans; answers come from memory or the log, at once."""

    def by_digest(self, digest: Digest) -> ServedPlan | None:
        """A plan that was recorded, whether it is still the newest or not; None if there is none."""

    def newest(self, repository: str, pull_request: int, target: str) -> ServedPlan | Missing | None:
        """The plan of the pull request's head for `target`; None if there is no such repository or target."""


def _judged(row: Mapping[str, Json]) -> Judged:
    read = reading(row, "served plan")
    return Judged(read.text("id"), read.text("code"), read.text("text"))


def _current(row: Json) -> str | None:
    if row is not None and (not isinstance(row, str) or len(row) > CURRENT_MAX_CHARS):
        raise InvalidValue("served plan: a current value is a text or null")
    return row
