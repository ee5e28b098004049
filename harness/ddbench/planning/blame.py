"""Who caused an impossible row of a plan, and where the value was given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Blame(Enum):
    """Who gave the value that makes a row impossible; this decides what happens to the plan."""

    USER = auto()  # by an option or a table of the registry: the plan is refused
    METHOD = auto()  # by its MethodInfo: the row fails, and the others go on
    NOBODY = auto()  # something is absent, or does not go together: the row is skipped


@dataclass(frozen=True)
class Place:
    """Where a value was given, for messages, and who gave it there."""

    text: str
    blame: Blame = Blame.USER

    @classmethod
    def of_method(cls, method: str, field: str) -> Place:
        """Return the place of a field of a method's MethodInfo."""
        return cls(f"{method}: MethodInfo.{field}", Blame.METHOD)

    def __str__(self) -> str:
        """Return the text."""
        return self.text
