"""Snapshots: the set as it stood after given steps, taken without a trace."""

from dataclasses import dataclass, replace

import pytest
import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl
from ddbench.datasets import load as load_dataset
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import Control, Stopped, run_condensation
from ddbench.planning.job_ids import with_ids
from ddbench.planning.registry import RegistryError
from ddbench.planning.snapshots import snapshot_steps
from ddbench.store.records import Condensation
from safetensors.torch import save

TOY = load_dataset("toy").fingerprint


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    own: torch.Generator


class Draws:
    """A method whose export leaves traces: it draws, and writes into its state."""

    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 6)

    @hookimpl
    def init(self, task, synthetic):
        return State(synthetic.images.clone(), synthetic.labels, task.new_generator("own"))

    @hookimpl
    def condense_step(self, state, task):
        state.images += torch.randn(state.images.shape, generator=state.own)
        state.images += torch.randn(state.images.shape, generator=task.generator)

    @hookimpl
    def export(self, state, task):
        state.images += torch.randn(state.images.shape, generator=state.own)
        state.images += torch.randn(state.images.shape, generator=task.generator)
        task.real_images(0, 1)
        return SyntheticSet(state.images.clone(), state.labels)


def job(**changes) -> Condensation:
    made = Condensation(
        id="", options_id="", row="draws", method="draws", source="bound 0", code="bound",
        dataset="toy", dataset_fingerprint=TOY, architecture="mlp", init="noise", ipc=1, seed=0,
        config={}, steps=6, published_steps=6, budget_s=None, cycle=1, step_unit="step",
        labels="hard", balanced=True, reduced={}, quick=False, control_of=None, paper="", bibtex="",
    )  # fmt: skip
    return with_ids(replace(made, **changes))


@pytest.fixture
def setting(tmp_path, shared_cache):
    return JobContext(folder=tmp_path / "plain", cache=shared_cache)


def condense(job, setting, control=None):
    return run_condensation(job, setting, bind(Draws()), Extensions(), control or Control())


def test_snapshots_change_neither_identity_nor_result_nor_cost(setting, tmp_path):
    plain = condense(job(), setting)
    other = replace(setting, folder=tmp_path / "with")
    record = condense(job(snapshots=(0, 2, 5)), other)
    assert record["id"] == plain["id"] and record["set_sha256"] == plain["set_sha256"]
    assert record["costs"]["flops_condense"] == plain["costs"]["flops_condense"]


def test_a_snapshot_is_the_set_of_a_run_that_ends_there(setting, tmp_path):
    record = condense(job(snapshots=(0, 2, 5)), setting)
    for step in (0, 2, 5):
        short = replace(setting, folder=tmp_path / f"short-{step}")
        expected = condense(job(steps=step), short)
        taken = SyntheticSet.load(setting.run.set_file(record["id"], step))
        assert taken.sha256() == expected["set_sha256"], step


def test_snapshots_of_an_interrupted_run_are_those_of_a_straight_one(setting, tmp_path):
    snapshots = (0, 1, 3, 5)
    straight = condense(job(snapshots=snapshots), setting)
    other = replace(setting, folder=tmp_path / "interrupted")
    for _ in range(6):
        steps = []
        with pytest.raises(Stopped):
            condense(
                job(snapshots=snapshots), other, Control(lambda s=steps: bool(s), steps.append)
            )
    resumed = condense(job(snapshots=snapshots), other)
    assert resumed["set_sha256"] == straight["set_sha256"]
    for step in snapshots:
        one, two = (
            SyntheticSet.load(where.run.set_file(straight["id"], step))
            for where in (setting, other)
        )
        assert one.sha256() == two.sha256()


def torn(path):
    path.write_bytes(path.read_bytes()[:-1])


def foreign(path):
    whole = SyntheticSet.load(path)
    replace(whole, provenance={**whole.provenance, "id": "another"}).save(path)


@pytest.mark.parametrize("harm", [torn, foreign])
def test_a_snapshot_or_an_initial_set_that_is_not_whole_or_not_ours_is_written_anew(setting, harm):
    wanted = job(snapshots=(0, 2))
    condense(wanted, setting)
    folder = setting.run.condensation(wanted.id)
    paths = [folder / "initial.safetensors", *sorted((folder / "snapshots").iterdir())]
    contents = [path.read_bytes() for path in paths]
    for path in paths:
        harm(path)
    setting.run.result(wanted.id).unlink()  # as `retry` does
    condense(wanted, setting)
    assert len(paths) == 3 and [path.read_bytes() for path in paths] == contents


def test_a_snapshot_of_a_later_ddbench_is_not_replaced(setting):
    wanted = job(snapshots=(2,))
    path = setting.run.set_file(wanted.id, 2)
    path.parent.mkdir(parents=True)
    path.write_bytes(save({}, {"ddbench": '{"format": 99}'}))
    content, record = path.read_bytes(), condense(wanted, setting)
    assert record["status"] == "failed" and f"{path}: format 99 is newer" in record["reason"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("harm", [torn, foreign, lambda path: path.unlink()])
def test_a_condensation_past_a_snapshot_that_is_not_whole_starts_over(setting, capsys, harm):
    wanted, steps = job(snapshots=(2,)), []
    with pytest.raises(Stopped):
        condense(wanted, setting, Control(lambda: len(steps) >= 4, steps.append))
    snapshot = setting.run.set_file(wanted.id, 2)
    content = snapshot.read_bytes()
    harm(snapshot)
    assert condense(wanted, setting)["resumed"] == 0 and snapshot.read_bytes() == content
    assert f"starting over: {snapshot}: no whole snapshot" in capsys.readouterr().out


@pytest.mark.parametrize("harm", [torn, foreign, None])
def test_whole_snapshots_alone_are_taken_over_and_are_the_extensions_own(setting, harm):
    kept = replace(setting, keep_state=True)
    short = condense(job(steps=4, snapshots=(2,)), kept)
    if harm:
        harm(setting.run.set_file(short["id"], 2))
    longer = condense(job(snapshots=(2,)), setting)
    assert longer["extended_from"] == (None if harm else short["id"])
    for path in (
        setting.run.set_file(longer["id"], 2),
        setting.run.condensation(longer["id"]) / "initial.safetensors",
    ):
        assert SyntheticSet.load(path).provenance["id"] == longer["id"]


def test_snapshots_are_named_by_steps_or_shares():
    assert snapshot_steps(("0", "10%", "50%", "100%"), 200, None) == (0, 20, 100)
    assert snapshot_steps(("5", "5", "300"), 200, None) == (5,)
    assert snapshot_steps(("0%", "5", "300"), 200, 60.0) == (0, 5, 300)
    for wrong in ("x", "-1", "1.5", "%"):
        with pytest.raises(RegistryError, match="expected steps or percentages"):
            snapshot_steps((wrong,), 200, None)
    with pytest.raises(RegistryError, match="unknown under --budget; name steps"):
        snapshot_steps(("10%",), 200, 60.0)
