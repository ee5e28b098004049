"""A row of a preset or a control: a method, and the values it changes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

AXES = ("dataset", "arch", "ipc")  # what a method table may have settings of its own for

AtLeastZero = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A table of a registry: unknown keys are errors, values stay what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(Strict):
    """One row of a preset: a method or a variant, and what it changes."""

    method: str
    init: str | None = None
    seeds: tuple[AtLeastZero, ...] | None = Field(None, min_length=1)
    ipc: tuple[AtLeastOne, ...] | None = Field(None, min_length=1)
    steps: int | None = Field(None, ge=0)
    options: dict[str, Any] = {}
