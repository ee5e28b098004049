"""Built-in observers, each for an experiment tracker that is installed separately."""

from __future__ import annotations

import importlib
from pathlib import Path

from ddbench.discovery.methods import install
from ddbench.text.suggestions import unknown_at

# Name, as in `--observe NAME` and `pip install ddbench[NAME]` -> its class.
OBSERVERS = {"tensorboard": "ddbench.discovery.observers.tensorboard:TensorBoard"}


class ObserverError(ValueError):
    """An observer that is unknown, or whose tracker is not installed."""


def make(name: str, folder: Path) -> object:
    """Return the observer called `name`, which writes below the run folder.

    Raises:
        ObserverError: There is none, or what it needs is not installed.
    """
    if name not in OBSERVERS:
        raise ObserverError(unknown_at("--observe", name, OBSERVERS))
    module, cls = OBSERVERS[name].split(":")
    try:
        return getattr(importlib.import_module(module), cls)(folder)
    except ImportError as error:
        remedy = install(f"'ddbench[{name}]'")
        raise ObserverError(f"--observe {name}: {error}; {remedy}") from error
