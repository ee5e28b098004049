"""Selection baselines for ddbench: `random`, `herding`, `kcenter` and `kmeans`."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["herding", "kcenter", "kmeans", "random"]


def __getattr__(name: str) -> ModuleType:
    """Import a method when it is asked for: only `kmeans` needs scikit-learn."""
    if name not in __all__:
        raise AttributeError(f"module 'ddbench_coresets' has no attribute {name!r}")
    return importlib.import_module(f"ddbench_coresets.{name}")
