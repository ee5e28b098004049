"""ddbench: a benchmark harness for dataset distillation. These names are what plugins import."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("ddbench runs on Linux and macOS; on Windows, use WSL")

if TYPE_CHECKING:
    from ddbench.api import Run as Run
    from ddbench.api import evaluate as evaluate
    from ddbench.api import load_run as load_run
    from ddbench.api import run as run
    from ddbench.architectures import Architecture as Architecture
    from ddbench.architectures import Network as Network
    from ddbench.architectures import has_batchnorm as has_batchnorm
    from ddbench.contract.artifacts import BuildContext as BuildContext
    from ddbench.contract.engines import Engine as Engine
    from ddbench.contract.engines import Work as Work
    from ddbench.contract.hookspecs import Converged as Converged
    from ddbench.contract.hookspecs import Facts as Facts
    from ddbench.contract.hookspecs import Init as Init
    from ddbench.contract.hookspecs import MethodInfo as MethodInfo
    from ddbench.contract.hookspecs import OptionsError as OptionsError
    from ddbench.contract.hookspecs import Reporter as Reporter
    from ddbench.contract.hookspecs import Unsupported as Unsupported
    from ddbench.contract.hookspecs import hookimpl as hookimpl
    from ddbench.contract.hookspecs import missing_classes as missing_classes
    from ddbench.contract.hookspecs import require as require
    from ddbench.contract.hookspecs import shortage as shortage
    from ddbench.contract.synthetic_set import SyntheticSet as SyntheticSet
    from ddbench.contract.task import Task as Task
    from ddbench.datasets import Dataset as Dataset
    from ddbench.discovery.extensions import canonical_architecture as canonical_architecture
    from ddbench.discovery.extensions import outline as outline
    from ddbench.discovery.fingerprints import edited_code as edited_code
    from ddbench.store.atomic_files import write_json as write_json
    from ddbench.store.atomic_files import write_whole as write_whole
    from ddbench.store.hashing import seed_of as seed_of
    from ddbench.store.tensor_trees import load_tree as load_tree
    from ddbench.store.tensor_trees import save_tree as save_tree

__version__ = "0.1.0"

# Raised whenever a change of the core alters results: part of every condensation's identity.
NUMERICS = 1

# Imported on first use, so that commands which need no torch do not load it.
_HOMES = {
    "Architecture": "ddbench.architectures",
    "Converged": "ddbench.contract.hookspecs",
    "Dataset": "ddbench.datasets",
    "Engine": "ddbench.contract.engines",
    "Facts": "ddbench.contract.hookspecs",
    "Init": "ddbench.contract.hookspecs",
    "MethodInfo": "ddbench.contract.hookspecs",
    "Network": "ddbench.architectures",
    "OptionsError": "ddbench.contract.hookspecs",
    "Reporter": "ddbench.contract.hookspecs",
    "Run": "ddbench.api",
    "SyntheticSet": "ddbench.contract.synthetic_set",
    "Task": "ddbench.contract.task",
    "Work": "ddbench.contract.engines",
    "Unsupported": "ddbench.contract.hookspecs",
    "BuildContext": "ddbench.contract.artifacts",
    "canonical_architecture": "ddbench.discovery.extensions",
    "edited_code": "ddbench.discovery.fingerprints",
    "evaluate": "ddbench.api",
    "has_batchnorm": "ddbench.architectures",
    "hookimpl": "ddbench.contract.hookspecs",
    "load_run": "ddbench.api",
    "load_tree": "ddbench.store.tensor_trees",
    "missing_classes": "ddbench.contract.hookspecs",
    "outline": "ddbench.discovery.extensions",
    "require": "ddbench.contract.hookspecs",
    "run": "ddbench.api",
    "save_tree": "ddbench.store.tensor_trees",
    "seed_of": "ddbench.store.hashing",
    "shortage": "ddbench.contract.hookspecs",
    "write_json": "ddbench.store.atomic_files",
    "write_whole": "ddbench.store.atomic_files",
}
__all__ = [*_HOMES, "NUMERICS", "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'ddbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `ddbench.evaluate` the public function when the module of that name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
