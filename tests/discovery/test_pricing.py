"""Prices: what is counted on shapes alone is what a real run counts."""

from dataclasses import dataclass

import pytest
import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl
from ddbench.discovery import pricing
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind
from ddbench.discovery.pricing import artifacts_asked_for, condensation, evaluation, network_costs
from ddbench.features.extractor import trained_network
from ddbench.meter import count_flops
from ddbench.testing import toy_task
from ddbench.training import Recipe, fit

FACTS = {
    "num_classes": 3,
    "shape": [1, 8, 8],
    "class_counts": [20, 20, 20],
    "test_counts": [10, 10, 10],
    "augment": "color_crop_cutout_scale_rotate",
    "epoch_images": 0,
}
JOB = {
    "dataset": "toy",
    "architecture": "convnet-w8-d1",
    "init": "real",
    "ipc": 2,
    "seed": 0,
    "config": {},
    "steps": 7,
    "cycle": 1,
}


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor


class Matches:
    """Matches mean embeddings, and reads numbers and indices as methods do."""

    @hookimpl
    def describe(self):
        return MethodInfo()

    @hookimpl
    def init(self, synthetic):
        return State(synthetic.images.clone().requires_grad_(), synthetic.labels)

    @hookimpl
    def condense_step(self, state, task):
        embed = task.new_network().embed
        loss = torch.zeros((), device=task.device)
        for c in range(task.num_classes):
            real, mine = task.augment_alike(
                task.real_images(c, 5), state.images[state.labels == c], strategy="flip"
            )
            loss = loss + (embed(real).mean(0) - embed(mine).mean(0)).square().sum()
        (gradient,) = torch.autograd.grad(loss, state.images)
        with torch.no_grad():
            state.images -= gradient
        return {"loss": loss.item()}

    @hookimpl
    def export(self, state):
        return SyntheticSet(state.images.detach().clone(), state.labels)


def test_a_condensation_costs_what_running_it_counts():
    method = bind(Matches())
    task = toy_task(classes=3, ipc=2)
    state = method.hook.init(
        task=task, synthetic=Extensions().inits["real"].build(task), config=None
    )
    with count_flops() as count:
        for step in range(7):
            method.hook.condense_step(state=state, task=task, step=step)
    priced = condensation(JOB, FACTS, method, Extensions())
    assert (priced["flops"], priced["lower_bound"]) == (count.total, False)
    assert count.total > 0


def test_an_evaluation_costs_what_training_counts():
    recipe = Recipe(epochs=3, batch=4)
    task = toy_task(classes=3)
    network = task.new_network("mlp-w0.25")
    with count_flops() as count:
        fit(network, task.images[:6], task.labels[:6], recipe, torch.Generator())
    job = {
        "architecture": "mlp-w0.25",
        "recipe": {**vars(recipe), "drop": None},
        "networks": 5,
    }
    assert evaluation(job, FACTS, 6, Extensions())["flops"] == 5 * count.total


def test_testing_costs_a_forward_pass_of_every_test_image_on_each_network():
    recipe = Recipe(epochs=1, batch=4)
    job = {"architecture": "mlp", "recipe": recipe.plain(), "networks": 2}
    few = FACTS | {"test_counts": [1, 0, 0]}
    one = evaluation(job, few, 6, Extensions())
    assert one["test_flops"] > 0
    assert evaluation(job, FACTS, 6, Extensions())["test_flops"] == 30 * one["test_flops"]


def test_the_memory_of_shapes_is_what_is_held_at_once():
    with pricing._priced() as count:
        kept = torch.ones(100, 100, device="meta")
        for _ in range(3):
            gone = kept * 2
            del gone
        kept = kept.requires_grad_()
        (kept.exp() * 2).sum()  # what is not saved for backward goes at once
    assert 2 * 40_000 <= count.peak <= 3 * 40_000 + 100


def test_what_content_decides_is_not_priced_but_said():
    class Reads(Matches):
        @hookimpl
        def condense_step(self, state):
            state.images.detach().numpy()

    priced = condensation(JOB, FACTS, bind(Reads()), Extensions())
    assert list(priced) == ["unpriced"] and priced["unpriced"]


@pytest.mark.parametrize("name", ["gm", "dsa", "dm"])
def test_the_methods_of_the_papers_can_be_priced(name):
    from ddbench.discovery.methods import discover, load

    found = discover()
    if name not in found:
        pytest.skip(f"{name} is not installed")
    method = load(found[name])
    config = {"batch_real": 4}
    priced = condensation(JOB | {"config": config}, FACTS, method, Extensions())
    assert priced.get("flops", 0) > 0, priced
    twice = condensation(JOB | {"config": config, "steps": 14}, FACTS, method, Extensions())
    assert twice["flops"] == pytest.approx(2 * priced["flops"], rel=0.01)


def test_no_work_is_left_on_the_global_generator():
    state = torch.random.get_rng_state()
    condensation(JOB, FACTS, bind(Matches()), Extensions())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "macs"),
    [
        ("convnet", (1, 28, 28), 317_706, 49_246_208),
        ("convnet", (3, 32, 32), 320_010, 51_605_504),
        ("lenet", (1, 28, 28), 61_706, 416_520),
        ("convnet-bn", (1, 28, 28), 317_706, 48_730_112),
        ("convnet-w32", (3, 32, 32), 24_714, 4_054_016),
    ],
)
def test_a_network_costs_what_the_papers_networks_do(name, shape, parameters, macs):
    costs = network_costs(name, shape, 10, 4)
    assert (costs.parameters, costs.macs_image) == (parameters, macs)
    step = network_costs(name, shape, 10, 8).flops_train_step
    assert step == 2 * costs.flops_train_step > 2 * 2 * 4 * macs  # forward, and more of backward


EXPERTS = {"experts": 1, "expert_epochs": 2, "expert_batch": 64, "match_epochs": 1,
           "max_start_epoch": 2, "student_steps": 2}  # fmt: skip
FEW = {"network": "convnet-w8-d1", "network_epochs": 1}


@pytest.mark.parametrize(
    ("name", "init", "options", "shared"),
    [
        ("mtt", "real", EXPERTS, {"experts convnet-w8-d1"}),
        ("datm", "spc", EXPERTS | {"first_max_start_epoch": 0, "select": "expert"},
         {"experts convnet-w8-d1"}),
        ("datm", "spc", EXPERTS | {"first_max_start_epoch": 0},
         {"experts convnet-w8-d1", "network convnet-w8-d1"}),
        ("dm", "kmeans", {"batch_real": 4}, {"network convnet-w8-d1"}),
        ("fedd3", "real", {"clients": 3}, set()),
        ("frepo", "real", {"pool": 2, "batch_real": 8}, set()),
        ("herding", "real", FEW, {"network convnet-w8-d1"}),
        ("kcenter", "real", FEW, {"network convnet-w8-d1"}),
        ("kmeans", "real", FEW, {"network convnet-w8-d1"}),
        ("random", "real", {}, set()),
    ],
)  # fmt: skip
def test_every_method_is_priced_with_what_it_shares(name, init, options, shared):
    from ddbench.contract.config import make_config
    from ddbench.discovery.methods import discover, load, plain_options

    found = discover()
    if name not in found:
        pytest.skip(f"{name} is not installed")
    method = load(found[name])
    config = make_config(method.info, options)
    steps = 2 if method.info.steps(config, 2) else 0
    job = JOB | {"config": plain_options(config), "init": init, "steps": steps}
    priced = condensation(job, FACTS, method, Extensions())
    assert "unpriced" not in priced, priced
    artifacts = priced.get("artifacts", {}).values()
    assert {one["kind"] for one in artifacts} == shared
    assert all(one["flops"] > 0 for one in artifacts)
    asked = artifacts_asked_for(
        job, FACTS | {"fingerprint": "f", "zca": True}, method, Extensions()
    )
    assert asked["unknown"] == "" and set(asked["artifacts"].values()) == {"zca", *shared}
    again = artifacts_asked_for(
        job, FACTS | {"fingerprint": "g", "zca": True}, method, Extensions()
    )
    assert not asked["artifacts"].keys() & again["artifacts"].keys()


def test_what_a_method_without_prepare_shares_is_not_known():
    facts = FACTS | {"fingerprint": "f", "zca": False}
    asked = artifacts_asked_for(JOB | {"method": "mine"}, facts, bind(Matches()), Extensions())
    assert asked == {"artifacts": {}, "unknown": "mine has no hook prepare"}


def test_what_is_asked_for_is_what_a_run_finds_in_the_cache():
    class Shares(Matches):
        @hookimpl
        def prepare(self, task):
            trained_network(task, "convnet-w8-d1", epochs=1, floor=-1.0)
            return True

    task = toy_task(classes=3, ipc=2)
    trained_network(task, "convnet-w8-d1", epochs=1, floor=-1.0)
    facts = {
        "num_classes": task.num_classes,
        "shape": list(task.shape),
        "class_counts": list(task.class_counts),
        "augment": task.strategy,
        "epoch_images": 0,
        "fingerprint": task.fingerprint,
        "zca": False,
    }
    job = JOB | {"dataset": task.dataset}
    asked = artifacts_asked_for(job, facts, bind(Shares()), Extensions())
    assert asked["artifacts"].keys() == task.artifacts_used.keys()
