"""DATM and MTT for ddbench: synthetic sets that lead a student along expert trajectories."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import library
    from .method import DATMConfig, MTTConfig, datm, mtt

__all__ = ["DATMConfig", "MTTConfig", "datm", "library", "mtt"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what is asked for, so that `ddbench experts --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "library":
        return import_module(".library", __name__)
    return getattr(import_module(".method", __name__), name)
