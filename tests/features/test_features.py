import json

import numpy as np
import pytest
import torch
from ddbench.contract.task import Task
from ddbench.features import extractor as module
from ddbench.features.extractor import (
    FeatureError,
    class_features,
    distances,
    features,
    trained_network,
)
from ddbench.testing import toy_task

SMALL = "convnet-w8-d1"


def trained(task, epochs=5, floor=-1.0):  # a floor below anything, where it is not the point
    return trained_network(task, SMALL, epochs, floor)


def relabelled(task: Task, labels) -> Task:
    """Return a task on the same images with other labels."""
    return Task(
        images=task.images,
        labels=torch.as_tensor(labels),
        num_classes=task.num_classes,
        dataset="toy",
        fingerprint="relabelled",
        strategy="none",
        architecture=task.architecture,
        ipc=1,
        seed=0,
        store=task._store,
    )


def weights(network):
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


# -- the network ------------------------------------------------------------------------------


def test_the_network_learns_its_classes(tmp_path):
    result = trained(toy_task(store=tmp_path), epochs=20, floor=0.5)
    assert result.accuracy > 0.9
    assert result.measures() == {
        "feature_network": SMALL,
        "feature_epochs": 20,
        "feature_accuracy": result.accuracy,
    }


def test_the_accuracy_is_that_of_images_it_was_not_trained_on(tmp_path, monkeypatch):
    seen = set()
    plain = module.cross_entropy

    def watching(logits, labels):
        seen.update(batches[-1])
        return plain(logits, labels)

    batches = []
    build = module.build_network

    def watched(*args):
        network = build(*args)
        places = {image.numpy().tobytes(): i for i, image in enumerate(task.images)}
        network.register_forward_pre_hook(
            lambda _, inputs: batches.append([places[x.numpy().tobytes()] for x in inputs[0]])
        )
        return network

    task = toy_task(per_class=30, store=tmp_path)
    task.images.mul_(0.1).add_(torch.randn(task.images.shape, generator=task.generator))
    monkeypatch.setattr(module, "cross_entropy", watching)
    monkeypatch.setattr(module, "build_network", watched)
    result = trained(task, epochs=2)
    held_out = sorted(set(range(90)) - seen)
    assert len(held_out) == result.held_out == 9  # a tenth
    with torch.no_grad():
        predicted = result.network(task.images[held_out]).argmax(1).tolist()
    truth = task.labels[held_out].tolist()
    assert [truth.count(c) for c in range(3)] == [3, 3, 3]
    hits = [p == t for p, t in zip(predicted, truth, strict=True)]
    assert result.accuracy == pytest.approx(sum(hits) / 9)
    assert 0 < sum(hits) < 9  # a case that tells a right share from 0 or 1


def test_the_accuracy_counts_every_class_alike(tmp_path):
    """Nineteen of twenty images are of class 0: always saying 0 is worth 1/2, not 0.95."""
    task = toy_task(classes=2, per_class=200, store=tmp_path)
    task.images.zero_()
    unequal = relabelled(task, [0] * 380 + [1] * 20)
    result = trained(unequal, epochs=1)
    assert result.held_out == 40
    assert result.accuracy == 0.5


def test_seeds_share_one_network_and_its_training(tmp_path):
    first = trained(toy_task(seed=0, store=tmp_path))
    other = toy_task(seed=1, store=tmp_path)
    second = trained(other)
    assert torch.equal(weights(first.network), weights(second.network))
    assert len(list(tmp_path.glob("network-*"))) == 1
    (artifact,) = other.artifacts_used.values()
    assert artifact.flops > 0


def test_epochs_and_architecture_make_another_network(tmp_path):
    task = toy_task(store=tmp_path)
    trained(task, epochs=1)
    trained(task, epochs=2)
    trained_network(task, "convnet-w16-d1", 1, floor=-1.0)
    assert len(list(tmp_path.glob("network-*"))) == 3


def test_training_leaves_the_methods_randomness_alone(tmp_path):
    task = toy_task(store=tmp_path)
    before, everyones = task.generator_states(), torch.get_rng_state()
    trained(task)
    after = task.generator_states()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(everyones, torch.get_rng_state())
    assert not task.chose_on_split


def test_an_interrupted_training_goes_on_to_the_same_network(tmp_path, monkeypatch):
    straight = trained(toy_task(store=tmp_path / "a"), epochs=4)
    epoch, calls = module._train_epoch, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        epoch(*args)

    monkeypatch.setattr(module, "_train_epoch", killed)
    monkeypatch.setattr(module, "SAVE_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(toy_task(store=tmp_path / "b"), epochs=4)
    resumed = trained(toy_task(store=tmp_path / "b"), epochs=4)
    assert len(calls) == 5  # two epochs, the kill, and the two that were left
    assert torch.equal(weights(straight.network), weights(resumed.network))
    assert straight.accuracy == resumed.accuracy


def test_a_network_below_the_floor_is_refused(tmp_path):
    task = relabelled(toy_task(per_class=20, store=tmp_path), [0, 1, 2] * 20)  # nothing to learn
    accuracy = trained(task).accuracy
    assert accuracy < 0.9
    with pytest.raises(FeatureError) as error:
        trained(task, floor=0.85)
    text = str(error.value)
    assert f"{accuracy:.1%} of 6 held-out" in text
    assert "floor is 90.0% (chance 33.3%)" in text  # 1/3 + 0.85 * 2/3
    assert "lower the floor" in text


def test_a_set_that_nothing_can_be_held_out_of_is_refused(tmp_path):
    with pytest.raises(FeatureError, match=r"per class are \[1, 1, 1\].*at least 2"):
        trained(toy_task(per_class=1, store=tmp_path))


def test_a_class_of_one_image_is_trained_on(tmp_path):
    task = relabelled(toy_task(per_class=5, store=tmp_path), [0] * 7 + [1] * 7 + [2])
    assert trained(task, epochs=1).held_out == 2


@pytest.mark.parametrize("name", ["network.safetensors", "accuracy.json"])
def test_a_damaged_network_is_named_with_its_remedy(tmp_path, name):
    task = toy_task(store=tmp_path)
    trained(task, epochs=1)
    (file,) = tmp_path.glob(f"network-*/{name}")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(FeatureError, match=f"{file.parent}.*remove this folder"):
        trained(task, epochs=1)


def test_the_folder_keeps_the_accuracy_for_people(tmp_path):
    result = trained(toy_task(store=tmp_path), epochs=1)
    (file,) = tmp_path.glob("network-*/accuracy.json")
    kept = json.loads(file.read_text())
    assert kept == {"accuracy": result.accuracy, "held_out": result.held_out}
    assert not (file.parent / "progress").exists()


# -- features ---------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", [SMALL, "convnet-w8-d1-bn"])
def test_features_are_the_embeddings_in_eval_mode(tmp_path, architecture):
    task = toy_task(store=tmp_path)
    network = task.new_network(architecture).train()
    found = features(network, task.images, batch=7)
    assert network.training
    assert not found.requires_grad
    with torch.no_grad():
        expected = network.eval().embed(task.images)
    assert torch.allclose(found, expected, atol=1e-6)


def test_class_features_are_those_of_the_class_in_index_order(tmp_path):
    task = relabelled(toy_task(per_class=4, store=tmp_path), [2, 0, 1, 0, 2, 1, 1, 0, 2, 0, 1, 2])
    network = task.new_network()
    expected = features(network, task.images[[2, 5, 6, 10]])
    assert torch.allclose(class_features(network, task, 1), expected, atol=1e-6)


def test_distances_are_euclidean():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 7, generator=generator)
    point = torch.randn(7, generator=generator)
    expected = np.sqrt(((points.double().numpy() - point.double().numpy()) ** 2).sum(1))
    assert np.allclose(distances(points, point).numpy(), expected, rtol=1e-6)


def test_equal_points_are_exactly_nothing_apart():
    points = 1e4 + torch.rand(40, 100, generator=torch.Generator().manual_seed(0))
    assert distances(points, points[17].clone())[17] == 0
