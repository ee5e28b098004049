"""The door of FRePo's networks; it imports no torch until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ddbench import hookimpl

if TYPE_CHECKING:
    from ddbench import Architecture


@hookimpl
def register_architectures() -> Mapping[str, Architecture]:
    """Return the family `frepo`."""
    from ddbench_frepo.network import FREPO

    return {FREPO.name: FREPO}
