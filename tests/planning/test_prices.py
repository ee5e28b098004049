"""What a plan costs: jobs that differ by seed alone counted once, artifacts once for a dataset."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ddbench import MethodInfo, hookimpl
from ddbench.discovery.methods import bind
from ddbench.planning.jobs import Choices
from ddbench.planning.prices import prices
from ddbench.planning.registry import parse
from ddbench.planning.workspace import Places, Session

TEXT = """
[protocols.short]
epochs = 2
networks = 2

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1"]
ipc = [1]
seeds = [0, 1]
protocol = "short"
rows = ["sharing"]
"""


class Sharing:
    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 3)

    @hookimpl
    def init(self, synthetic, task):
        square = torch.ones(4, 4, device=task.device)
        task.artifact("squares", {}, lambda work: None, steps=5, step=lambda: square @ square)
        return synthetic

    @hookimpl
    def condense_step(self):
        return {}

    @hookimpl
    def export(self, state):
        return state


@pytest.fixture
def session(tmp_path):
    registry = parse(TEXT, Path("registry.toml"))
    return Session.of(registry, Places(tmp_path), {"sharing": bind(Sharing())})


def test_a_row_of_several_seeds_is_counted_once_and_costs_as_often(session):
    artifact, row, evaluation = session.price(session.plan(Choices()))
    assert (artifact.kind, artifact.row, artifact.jobs) == ("artifact", "squares", 1)
    assert artifact.flops == 5 * 2 * 4**3
    assert (row.kind, row.jobs, row.unpriced) == ("condense", 2, "")
    assert (evaluation.kind, evaluation.jobs) == ("evaluate", 2) and evaluation.flops > 0


def test_each_dataset_has_artifacts_of_its_own_though_they_have_one_shape(session):
    plan = session.plan(Choices(seeds=(0,)))
    plan.datasets["twin"] = replace(plan.datasets["toy"], fingerprint="other")
    twins = [replace(job, id=f"{job.id}-twin", dataset="twin") for job in plan.condensations]
    plan.condensations += twins
    plan.evaluations.clear()
    artifacts = [one for one in prices(plan, session.ask) if one.kind == "artifact"]
    assert [(one.jobs, one.flops) for one in artifacts] == [(2, 2 * 5 * 2 * 4**3)]
