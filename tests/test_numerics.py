"""Golden values: whoever changes what the core computes raises `ddbench.NUMERICS`."""

import ddbench
import pytest
import torch
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.discovery.extensions import Extensions
from ddbench.store.hashing import seed_of
from ddbench.testing import toy_task
from ddbench.training import LRDrop, Recipe
from ddbench.training.evaluation import RealImages, evaluate

GOLDEN = {
    "numerics": 1,
    "seed": 7603267142551109958,
    "network": [0.142884, -0.05686, 0.139085],
    "init real": [-1.222253, 0.807686, 1.04965],
    "init noise": [-0.384198, 0.900644, 0.961671],
    "augmented": [-3.874387, -5.239471, -2.535461],
    "batch": [0.6237, 6.100327, -8.097267],
    "trained": [0.5, 0.466667],
}


def measured():
    """Return what the core computes on the toy task, a few numbers of each kind."""
    task = toy_task(classes=3, ipc=2)
    inits = Extensions().inits
    synthetic = inits["real"].build(task)
    network = task.new_network()
    values = {
        "numerics": ddbench.NUMERICS,
        "seed": seed_of(0, "toy", "method"),
        "network": next(network.parameters()).flatten()[:3],
        "init real": synthetic.images.flatten()[:3],
        "init noise": inits["noise"].build(toy_task(classes=3)).images.flatten()[:3],
        "augmented": task.augment_alike(task.real_images(0, 4))[0].sum((1, 2, 3))[:3],
        "batch": next(task.batches(8))[0].sum((1, 2, 3))[:3],
        "trained": trained(task, synthetic),
    }
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def trained(task, synthetic):
    """Return the accuracy of two networks trained on noisy labels of a set, and their order."""
    noisy = SyntheticSet(synthetic.images, synthetic.labels.roll(1))
    recipe = Recipe(epochs=8, batch=4, drop=LRDrop(5), augment="color_crop")
    scores = evaluate(
        noisy,
        RealImages(task.images, task.labels, 3),
        architecture="convnet-w8-d1",
        recipe=recipe,
        networks=2,
    )
    return scores.accuracies


@pytest.fixture(scope="module")
def once():
    return measured()


@pytest.mark.parametrize("name", GOLDEN)
def test_results_change_only_with_numerics(name, once):
    assert once[name] == pytest.approx(GOLDEN[name], rel=1e-4, abs=1e-5), (
        f"the core computes other {name!r} than under NUMERICS {GOLDEN['numerics']}: if that "
        "is meant, raise ddbench.NUMERICS, so that kept results are not mistaken for new ones, and "
        f"put {once[name]!r} here"
    )
