"""What every part of the configuration's model is made of."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from state.git import RefName


def _inside(text: str) -> str:
    parts = text.split("/")
    if not text.isprintable() or "\\" in text or any(p in {"", ".", "..", ".git"} for p in parts) or len(text) > 255:
        raise ValueError("expected a path inside the repository such as ameide/inventory.yaml")
    return text


def _branch(text: str) -> str:
    if text.startswith("refs/"):
        raise ValueError("expected a branch by its short name such as main, not a full ref")
    RefName.branch(text)
    return text


InsidePath: TypeAlias = Annotated[str, AfterValidator(_inside)]
BranchName: TypeAlias = Annotated[str, AfterValidator(_branch)]
Label: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]


class Section(BaseModel):
    """What all parts of the file share: unknown keys are errors, values never change, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)
