"""Results as tidy rows: one for each network that was trained on a set, with what the set cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest
from math import nan
from typing import Any

from ddbench.reporting.leaderboard.results import Condensed, Evaluated, Results

WHOLE = "whole training set"  # the name of rows whose networks saw no synthetic set


def network_rows(results: Results, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row a network, also of evaluations that do not count (`current` is False).

    Accuracies are in [0, 1]; costs have units in their names, are those of the whole condensation,
    and None of snapshots and of the whole training set.

    Args:
        results: Of a run folder.
        labels: Of table rows, by their keys.
    """
    rows = []
    for one in results.evaluations:
        if not one.done:
            continue
        record = one.record
        scores = {
            "accuracy": record.accuracies,
            "balanced_accuracy": record.balanced_accuracies,
            "train_s": record.train_s,
            "test_s": record.test_s,
        }
        place, more = _place(one, labels), _more(one)
        for k, values in enumerate(zip_longest(*scores.values(), fillvalue=nan)):
            of_network = dict(zip(scores, values, strict=True))
            rows.append({**place, "network": k, **of_network, **more})
    return rows


def _place(one: Evaluated, labels: Mapping[str, str]) -> dict[str, Any]:
    record, of = one.record, one.of.record if one.of else None
    whole = record.condensation is None
    return {
        "dataset": record.dataset,
        "ipc": of and of.ipc,
        "architecture": record.architecture,
        "protocol": record.protocol,
        "tested_on": record.tested_on,
        "own_recipe": record.own_recipe,
        "row": WHOLE if whole else labels.get(one.entry or "", of.row if of else ""),
        "method": of and of.method,
        "init": of and of.init,
        "matched": of and of.architecture,
        "seed": of and of.seed,
        "snapshot": record.snapshot,
    }


def _more(one: Evaluated) -> dict[str, Any]:
    record = one.record
    return {
        **_costs(one.of if record.snapshot is None else None),
        "hardware_class": one.hardware_class,
        "dataset_fingerprint": record.dataset_fingerprint,
        "condensation": record.condensation,
        "evaluation": record.id,
        "entry": one.entry,
        "current": one.current,
    }


def _costs(of: Condensed | None) -> dict[str, Any]:
    costs = of.record.costs if of else None
    return {
        "condense_s": of and _known(of.own_s + of.cost("artifact_s")),
        "own_s": of and _known(of.own_s),
        "artifact_s": costs and costs.artifact_s,
        "own_flops": costs and costs.flops_condense,
        "artifact_flops": costs and costs.flops_artifact,
        "peak_memory_bytes": costs and costs.peak_memory,
        "bytes": costs and costs.bytes,
        "images": of and of.record.images,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
