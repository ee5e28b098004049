"""Results as data frames, for notebooks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ddbench.reporting.leaderboard import Leaderboard
from ddbench.reporting.leaderboard.results import Condensed, Evaluated, Results, number

_OF_CONDENSATION = (
    "id", "status", "reason", "method", "source", "code", "dataset", "architecture", "init",
    "ipc", "seed", "config", "steps", "reduced", "published", "quick", "labels",
    "chose_on_split", "missing_classes", "measures", "set_sha256", "paper", "bibtex", "ended",
)  # fmt: skip
_COSTS = (
    "init_s", "condense_s", "export_s", "artifact_s", "waited_s", "flops_condense", "flops_init",
    "flops_export", "flops_artifact", "peak_memory", "bytes", "steps_done",
)  # fmt: skip
_OF_EVALUATION = (
    "id", "status", "reason", "condensation", "snapshot", "dataset", "architecture", "protocol",
    "recipe", "own_recipe", "tested_on", "validation", "labels", "class_counts_test",
    "class_names", "data_notes", "train_counts", "set_sha256", "ended",
)  # fmt: skip
_NUMBERS = ("flops_train", "forward_macs", "n_test", "images", "chance", "majority")


def condensation_frame(results: Results) -> pd.DataFrame:
    """Return one row a condensation: its place, options, costs, and the key of its table row."""
    return pd.DataFrame([_condensation(one) for one in results.condensations.values()])


def _condensation(one: Condensed) -> dict[str, Any]:
    record = one.record
    return {
        **{name: getattr(record, name) for name in _OF_CONDENSATION},
        "row": one.row,
        "control_of": one.control_of,
        "entry": one.entry,
        "fingerprint": record.dataset_fingerprint,
        "step_unit": record.step_unit or "step",
        "budget_s": number(record.budget_s),
        "own_s": one.own_s,
        **{name: one.cost(name) for name in _COSTS},
        "lower_bound": one.lower_bound,
        "images": number(record.images),
        "artifacts": [vars(artifact) for artifact in record.artifacts],
        "hardware_class": one.hardware_class,
        "superseded": one.superseded,
        "stale": one.stale,
    }


def evaluation_frame(results: Results) -> pd.DataFrame:
    """Return one row an evaluation, with the place of the condensation that it evaluates."""
    return pd.DataFrame([_evaluation(one) for one in results.evaluations])


def _evaluation(one: Evaluated) -> dict[str, Any]:
    record = one.record
    return {
        **{name: getattr(record, name) for name in _OF_EVALUATION},
        **{name: number(getattr(record, name)) for name in _NUMBERS},
        "fingerprint": record.dataset_fingerprint,
        "variant": one.variant,
        "lower_bound": record.flops_lower_bound,
        "hardware_class": one.hardware_class,
        **_place(one),
        "superseded": one.of is not None and one.of.superseded,
        "stale": one.stale,
        "current": one.current,
    }


def _place(one: Evaluated) -> dict[str, Any]:
    of = one.of.record if one.of else None
    return {"entry": one.entry, "ipc": of and of.ipc, "seed": of and of.seed}


def network_frame(leaderboard: Leaderboard) -> pd.DataFrame:
    """Return one row an evaluation network: its accuracy in [0, 1], seconds, and its place."""
    return pd.DataFrame(leaderboard.networks)
