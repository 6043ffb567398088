"""Reading a forge's answers: only the members that are used, each with its exact type."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.adapters.forge_client import Answer
from state.canonical import Json
from state.errors import Terminal

Id: TypeAlias = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Record(BaseModel):
    """The members of an answer that are used, strictly; whatever else comes is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


_R = TypeVar("_R", bound=Record)


def parsed(model: type[_R], answer: Answer, what: str) -> _R:
    """The answer as `model`. Raises Terminal naming what is wrong, never a value of it."""
    return parsed_record(model, answer.body, what)


def parsed_record(model: type[_R], body: Json, what: str) -> _R:
    """The same for a part of an answer."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        places = sorted({".".join(map(str, e["loc"])) or "the whole" for e in error.errors(include_url=False)})
        raise Terminal(
            f"{what}: not the answer of a forge of this kind (at {', '.join(places[:5])}); check forge.kind and the "
            "API's address"
        ) from None
