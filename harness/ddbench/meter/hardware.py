"""Describe the hardware of a measurement, and warm up the process before it."""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil
import torch
from torch.nn import functional

from ddbench.machine import cpu_model, usable_cores
from ddbench.meter.flops import count_flops


def hardware(device: torch.device | str, jobs_at_once: int, threads: int) -> dict[str, Any]:
    """Return what times and memory depend on, as JSON-able values.

    Args:
        device: where jobs run.
        jobs_at_once: how many run beside each other on this machine.
        threads: CPU threads of each.
    """
    device = torch.device(device)
    cpu = cpu_model()
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else cpu,
        "device_type": device.type,
        "device_memory": torch.cuda.get_device_properties(device).total_memory if cuda else None,
        "cpu": cpu,
        "cores": usable_cores(),
        "memory": psutil.virtual_memory().total,
        "jobs_at_once": jobs_at_once,
        "threads": threads,
        "precision": _precision(device),
        "allocator": _allocator_settings(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
    }


def hardware_class(record: dict[str, Any]) -> str:
    """Return the words that two records share if and only if their times may be compared."""
    precision = record["precision"]
    reduced = [f"{value} in {where}" for where, value in precision["float32"].items()]
    return ", ".join(
        [
            record["device"],
            _number(record["threads"], "thread"),
            _number(record["jobs_at_once"], "job") + " at once",
            precision["dtype"],
            *reduced,
        ]
    )


def warm_up(device: torch.device | str) -> None:
    """Use everything once, on tiny tensors, that takes seconds on first use.

    Convolution, double backward, torch.func, an optimizer and the FLOP count. No random numbers
    are drawn.
    """
    device = torch.device(device)
    images = torch.linspace(-1, 1, 2 * 64, device=device).reshape(2, 1, 8, 8).requires_grad_()
    weight = torch.linspace(-1, 1, 2 * 9, device=device).reshape(2, 1, 3, 3).requires_grad_()
    labels = torch.arange(2, device=device)
    optimizer = torch.optim.SGD([images], lr=0.0, momentum=0.5)

    def loss_of(weight: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        maps = functional.group_norm(functional.conv2d(images, weight, padding=1), 2)
        logits = functional.avg_pool2d(functional.relu(maps), 8).flatten(1)
        return functional.cross_entropy(logits, labels)

    with count_flops():
        (gradient,) = torch.autograd.grad(loss_of(weight, images), weight, create_graph=True)
        gradient.square().sum().backward()
        optimizer.step()
    stacked = torch.stack([weight.detach(), weight.detach()])
    torch.func.vmap(torch.func.grad(loss_of), (0, None))(stacked, images.detach())
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _precision(device: torch.device) -> dict[str, Any]:
    """Return the default dtype, and where float32 is computed in less."""
    backends = torch.backends
    libraries = {"matmul": backends.mkldnn, "conv": backends.mkldnn}
    if device.type == "cuda":
        libraries = {"matmul": backends.cuda, "conv": backends.cudnn}
    values = {where: getattr(library, where).fp32_precision for where, library in libraries.items()}
    reduced = {where: value for where, value in values.items() if value not in ("none", "ieee")}
    return {"dtype": str(torch.get_default_dtype()).removeprefix("torch."), "float32": reduced}


def _allocator_settings() -> dict[str, str]:
    """Return the environment's settings of the allocators; they are worth up to half the time."""
    prefixes = ("MALLOC_", "PYTORCH_ALLOC", "PYTORCH_CUDA_ALLOC")
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(prefixes)}


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
