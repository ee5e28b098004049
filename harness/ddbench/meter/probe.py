"""How fast this device does the work of a run: a program of a few seconds, run once per machine.

``python -m ddbench.meter.probe '{"device": "cpu", "threads": 1}'`` prints FLOP/s by kind of work:
"evaluate" is the training of a network on small batches, "condense" the matching of gradients,
which differentiates twice. A rate counts what `ddbench.meter` counts: 2 per multiply-add.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import nn

from ddbench.meter.flops import count_flops
from ddbench.meter.hardware import hardware, warm_up

SECONDS = 1.0  # that each kind of work is measured for, after a first step
WIDTH, SIDE, BATCH = 64, 32, 64


def main(words: list[str]) -> None:
    """Measure what the JSON in the first word asks for; print the answer as JSON."""
    asked = json.loads(words[0])
    torch.set_num_threads(asked["threads"])
    print(json.dumps(measure(asked["device"], asked["threads"])))


def measure(device: str, threads: int) -> dict[str, Any]:
    """Return the rates in FLOP/s, the device's name and memory, and what a process holds."""
    machine = hardware(device, 1, threads)
    warm_up(device)
    network = _network(device)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device)
    return {
        "device": machine["device"],
        "device_memory": machine["device_memory"] or machine["memory"],
        "process": psutil.Process().memory_info().rss,
        "rates": {
            "evaluate": _rate(lambda: _train(network, images), device),
            "condense": _rate(lambda: _match(network, images), device),
        },
    }


def _network(device: str) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (3, WIDTH, WIDTH):
        layers += [nn.Conv2d(channels, WIDTH, 3, padding=1), nn.GroupNorm(WIDTH, WIDTH)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTH * (SIDE // 8) ** 2, 10)).to(device)


def _loss(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    labels = torch.arange(len(images), device=images.device) % 10
    return nn.functional.cross_entropy(network(images), labels)


def _train(network: nn.Module, images: torch.Tensor) -> None:
    torch.autograd.grad(_loss(network, images), list(network.parameters()))


def _match(network: nn.Module, images: torch.Tensor) -> None:
    """Differentiate the distance of two gradients, as gradient matching does."""
    weights = list(network.parameters())
    real = torch.autograd.grad(_loss(network, images), weights)
    few = images[:10].clone().requires_grad_()
    made = torch.autograd.grad(_loss(network, few), weights, create_graph=True)
    distance = torch.stack([(a - b).square().sum() for a, b in zip(made, real, strict=True)]).sum()
    torch.autograd.grad(distance, few)


def _rate(work: Callable[[], None], device: str) -> float:
    with count_flops() as count:
        work()
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        work()
        done += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return count.total * done / (time.perf_counter() - begun)


if __name__ == "__main__":
    main(sys.argv[1:])
