"""The task: networks by seed, and the dataset's own augmentation by name."""

import pytest
import torch
from ddbench.testing import toy_task


def weights(network):
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


def test_a_network_of_a_seed_depends_on_that_alone():
    task, other = toy_task(), toy_task(seed=5, ipc=3)
    other.new_network()
    first = weights(task.new_network(seed=3))
    assert torch.equal(first, weights(other.new_network(seed=3)))
    assert not torch.equal(first, weights(task.new_network(seed=4)))


def test_a_network_of_a_seed_draws_nothing():
    plain, task = toy_task(), toy_task()
    before = torch.get_rng_state()
    task.new_network(seed=3)
    assert task.generator_states().keys() == plain.generator_states().keys()
    assert torch.equal(weights(task.new_network()), weights(plain.new_network()))
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_of_another_architecture_can_have_a_seed():
    task = toy_task()
    network = task.new_network("mlp", seed=0)
    assert len(weights(network)) != len(weights(task.new_network()))
    assert network.embed(task.images[:2]).shape == (2, 128)


@pytest.mark.parametrize("name", [None, "dsa"])
def test_dsa_is_the_datasets_own_strategy(name):
    task, plain = toy_task(), toy_task()
    assert task.resolve_strategy(name) == task.strategy
    images = task.images[:4]
    (alike,) = task.augment_alike(images, strategy=name)
    assert torch.equal(alike, plain.augment_alike(images)[0]) and not torch.equal(alike, images)
    assert torch.equal(task.augment(images, name), plain.augment(images))


def test_another_strategy_is_taken_as_it_is():
    task = toy_task()
    assert task.resolve_strategy("none") == "none" and task.resolve_strategy("crop") == "crop"
    assert task.augment_alike(task.images[:4], strategy="none")[0] is not None
    assert torch.equal(task.augment(task.images[:4], "none"), task.images[:4])
