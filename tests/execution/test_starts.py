"""What is recorded as a condensation's start is what it started from; nothing else is paid for.

For every built-in method, with every init that it supports.
"""

import pytest
import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl
from ddbench.contract.config import make_config
from ddbench.datasets import load as load_dataset
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind, discover, load, plain_options
from ddbench.execution.job_context import JobContext as Setting
from ddbench.execution.runner import Control, run_condensation
from ddbench.planning.job_ids import with_ids
from ddbench.store.records import Condensation
from ddbench.store.run_folder import INITIAL, SET

INITS = {
    **dict.fromkeys(("gm", "dsa", "dm", "frepo"), ("noise", "real", "spc", "kmeans")),
    **dict.fromkeys(("mtt", "datm"), ("noise", "real", "spc")),
    **dict.fromkeys(
        ("idc", "idc-dm", "fedd3", "random", "herding", "kcenter", "kmeans"), ("real",)
    ),
}
EXPERTS = {"experts": 1, "expert_epochs": 3, "expert_batch": 16, "student_steps": 2,
           "max_start_epoch": 1, "match_epochs": 1}  # fmt: skip
NETWORK = {"network": "convnet-w8-d1", "network_epochs": 3, "floor": 0.0}
OPTIONS = {
    "mtt": EXPERTS,
    "datm": EXPERTS | {"first_max_start_epoch": 0},
    **dict.fromkeys(("idc", "idc-dm"), {"factor": 1}),  # tiles are no images of the dataset
    "fedd3": {"clients": 2},
    "frepo": {"pool": 2},
    **dict.fromkeys(("herding", "kcenter", "kmeans"), NETWORK),
}
CASES = [(name, init, {}) for name, inits in INITS.items() for init in inits]
CASES += [("datm", "spc", {"select": "expert"})]
CASES += [("fedd3", "real", {"client_distiller": way}) for way in ("random", "class_mean")]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    return Setting(folder=folder / "run", cache=folder / "cache")


def started(setting, method, init, options):
    """Return the record, the initial set, and the export after 0 steps."""
    dataset = load_dataset("toy")
    config = plain_options(make_config(method.info, options))
    job = with_ids(Condensation(
        id="", options_id="", row=method.found.name, method=method.found.name, source="", code="",
        dataset="toy", dataset_fingerprint=dataset.fingerprint, architecture="convnet-w8-d1",
        init=init, ipc=2, seed=0, config=config, steps=0, published_steps=0, budget_s=None, cycle=1,
        step_unit="", labels=method.info.labels, balanced=method.info.balanced, reduced={},
        quick=False, control_of=None, paper="", bibtex="",
    ))  # fmt: skip
    record = run_condensation(job, setting, method, Extensions(), Control())
    assert record["status"] == "done", record["traceback"]
    folder = setting.run.condensation(job.id)
    return record, *(SyntheticSet.load(folder / name) for name in (INITIAL, SET))


@pytest.mark.parametrize(("name", "init", "options"), CASES)
def test_the_initial_set_is_the_export_after_no_step(setting, name, init, options):
    found = discover()
    if name not in found:
        pytest.skip(f"{name} is not installed")
    method = load(found[name])
    assert sorted(method.info.inits or Extensions().inits) == sorted(INITS[name])
    options = OPTIONS.get(name, {}) | options
    record, initial, exported = started(setting, method, init, options)
    assert initial.sha256() == exported.sha256()
    kinds = {artifact["kind"] for artifact in record["artifacts"]}
    own = method.info.own_init(make_config(method.info, options))
    if own is None:
        given = started(setting, bind(Keeps()), init, {})[1]
        assert torch.equal(initial.images, given.images)
    if name in ("mtt", "datm"):
        shared = {"network"} if init in ("spc", "kmeans") and own is None else set()
        assert kinds == {"experts"} | shared
    if own and name != "fedd3":
        assert (initial.images[:, None] == real_images()).flatten(2).all(2).any(1).all()


def real_images():
    from ddbench.datasets.tensors import prepare

    return prepare(load_dataset("toy"), torch.device("cpu")).train_images


class Keeps:
    """Export what it was given."""

    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 0)

    @hookimpl
    def init(self, synthetic):
        return [synthetic.images.clone(), synthetic.hard_labels()]

    @hookimpl
    def condense_step(self):
        pass

    @hookimpl
    def export(self, state):
        return SyntheticSet(state[0].clone(), state[1].clone())


class Makes(Keeps):
    """Start from black images of its own, whatever the row says."""

    @hookimpl
    def describe(self):
        return MethodInfo(own_init=lambda config: "real", steps=lambda config, ipc: 0)

    @hookimpl
    def init(self, task, synthetic):
        assert synthetic is None
        labels = torch.arange(task.num_classes).repeat_interleave(task.ipc)
        return [torch.zeros(len(labels), *task.shape), labels]


def test_no_initial_set_is_built_for_a_method_that_makes_its_own(setting):
    record, initial, _ = started(setting, bind(Makes()), "spc", {})
    assert not initial.images.any() and record["artifacts"] == []


def test_a_method_that_can_export_after_its_first_step_alone_has_the_initial_set(setting):
    class Late(Keeps):
        asked = 0

        @hookimpl
        def export(self, state):
            self.asked += 1
            if self.asked == 1:
                raise ValueError("nothing yet")
            return SyntheticSet(state[0] + 1, state[1].clone())

    given = started(setting, bind(Keeps()), "real", {})[1]
    initial = started(setting, bind(Late()), "real", {})[1]
    assert torch.equal(initial.images, given.images)
