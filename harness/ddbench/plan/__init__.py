"""The plan: registry and choices crossed into jobs, each with the id of all that determines it."""

from ddbench.plan.identity import adopting, keeping, with_ids
from ddbench.plan.planner import MissingData, World, make, recipe_of
from ddbench.plan.records import (
    Choices,
    Condensation,
    DatasetFacts,
    Evaluation,
    Plan,
    Skipped,
    row_labels,
)
from ddbench.plan.snapshots import snapshot_steps
from ddbench.plan.test_set import with_tests

__all__ = [
    "Choices",
    "Condensation",
    "DatasetFacts",
    "Evaluation",
    "MissingData",
    "Plan",
    "Skipped",
    "World",
    "adopting",
    "keeping",
    "make",
    "recipe_of",
    "row_labels",
    "snapshot_steps",
    "with_tests",
    "with_ids",
]
