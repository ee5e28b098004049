"""Where and on what a result came to be: machine, versions, commit."""

from __future__ import annotations

import platform
import socket
from importlib.metadata import version
from typing import Any

import torch

import ddbench
from ddbench.execution.job_context import JobContext
from ddbench.meter import hardware, hardware_class


def provenance(setting: JobContext) -> dict[str, Any]:
    """Return where and on what a record came to be."""
    machine = hardware(torch.device(setting.device), setting.jobs, setting.threads)
    return {
        "device": setting.device,
        "hardware": machine,
        "hardware_class": hardware_class(machine),
        "versions": versions(),
        "commit": setting.commit,
        "host": socket.gethostname(),
    }


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    packages = ("torch", "torchvision", "numpy", "pluggy", "fvcore")
    return {
        "ddbench": ddbench.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
