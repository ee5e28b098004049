"""The federated columns: bytes, steps and time of the clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from ddbench import Task

from ddbench_fedd3 import partition

if TYPE_CHECKING:
    from ddbench_fedd3 import State


def measures(
    state: State, task: Task, payloads: Mapping[int, bytes], labels: torch.Tensor
) -> dict[str, Any]:
    """Return numbers and words for the leaderboard; `payloads` and `labels` are what arrived."""
    everyone = state.clients.partition
    owned = [len(task.labels[m.to(task.device)].unique()) for m in everyone.members]
    present = set(labels.tolist())
    missing = [str(c) for c in range(task.num_classes) if c not in present]
    taken = state.taken[state.participates].double()
    seconds = state.seconds[state.participates]
    return {
        "clients": len(state.clients),
        "participating": int(state.participates.sum()),
        "dropped_out": int((state.participates & ~state.uploads).sum()),
        "images_per_client": state.support.shape[1],
        "effective_ipc": len(labels) / task.num_classes,
        "missing_classes": ", ".join(missing) or "none",
        "classes_per_client": sum(owned) / len(owned),
        "heterogeneity": partition.heterogeneity(everyone, task.labels, task.num_classes),
        "rounds": 1,
        **_traffic(state, task, payloads),
        "client_steps_median": float(taken.quantile(0.5)),
        "client_steps_max": int(taken.max()),
        "client_seconds_sum": float(seconds.sum()),
        "client_seconds_max": float(seconds.max()),
        "early_stopped_frac": float(state.stopped_early[state.participates].double().mean()),
        "ridge_bumps": int(state.bumps.sum()),
    }


def _traffic(state: State, task: Task, payloads: Mapping[int, bytes]) -> dict[str, Any]:
    sizes = [len(payload) for payload in payloads.values()]
    taking_part = state.participates.nonzero().flatten().tolist()
    images = sum(len(state.clients.partition.members[client]) for client in taking_part)
    raw = images * (task.images[0].numel() + 1)  # a byte for each value and one for the label
    weights = _parameters(task, state.config.server)
    # One round of FedAvg: each client gets the network and sends it back, four bytes a weight.
    fedavg = None if weights is None else 2 * len(taking_part) * 4 * weights
    return {
        "uplink_bytes_total": sum(sizes),
        "uplink_bytes_per_client_max": max(sizes),
        "downlink_bytes": 0,
        "bytes_vs_raw": sum(sizes) / raw,
        "bytes_vs_fedavg_round": None if fedavg is None else sum(sizes) / fedavg,
    }


def _parameters(task: Task, architecture: str) -> int | None:
    """Return the weights of the server's network; None where such images are too small for it."""
    try:
        network = task.new_network(architecture, seed=0)  # of any weights: nothing is drawn
    except ValueError:
        return None
    return sum(parameter.numel() for parameter in network.parameters())
