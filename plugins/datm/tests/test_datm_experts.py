"""Expert trajectories: the training, GSAM, the files, resuming, and what is shared."""

import numpy as np
import pytest
import torch
from ddbench import BuildContext, seed_of, testing
from ddbench_datm import experts
from ddbench_datm.experts import (
    ExpertRecipe,
    Training,
    blocks,
    build,
    gradients,
    train_epoch,
    trajectories,
)
from ddbench_datm.flat import FlatNetwork
from ddbench_datm.gsam import direction, perturbed
from ddbench_datm.storage import ExpertError, Experts, trajectory_name

STRATEGY = "color_crop_cutout_scale_rotate"


def recipe(**options):
    defaults = dict(
        augment=STRATEGY, lr=0.05, batch=16, epochs=3, rho=0.0, alpha=0.0, adaptive=True
    )
    return ExpertRecipe(**{**defaults, **options})


@pytest.fixture
def task(tmp_path):
    return testing.toy_task(store=tmp_path)


@pytest.fixture
def network(task):
    return FlatNetwork(task.new_network())


class NoMeter:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


# -- GSAM ----------------------------------------------------------------------------------------


def quadratic(matrix):
    return lambda weights: weights @ matrix  # gradient of w^T A w / 2


def test_gsam_by_hand():
    """L = (a x^2 + b y^2) / 2 with a 2, b 4 at (1, 1/2): every number worked out on paper.

    g = (2, 2); |w| g = (2, 1), norm sqrt(5); w' = w + rho w^2 g / sqrt(5) with rho sqrt(5)/4:
    w' = (1 + 2/4, 1/2 + 2/16) = (3/2, 5/8); g' = (3, 5/2); <g, g'> = 11, |g'|^2 = 61/4;
    v = g - 44/61 g' = (2 - 132/61, 2 - 110/61) = (-10/61, 12/61);
    g' - alpha v with alpha 61/20 = (3 + 1/2, 5/2 - 3/5).
    """
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    gradient = quadratic(torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64)))
    rho = 5**0.5 / 4
    torch.testing.assert_close(
        perturbed(weights, gradient(weights), rho, adaptive=True),
        torch.tensor([1.5, 0.625], dtype=torch.float64),
    )
    torch.testing.assert_close(
        direction(gradient, weights, rho, 61 / 20, adaptive=True),
        torch.tensor([3.5, 1.9], dtype=torch.float64),
        rtol=1e-11,
        atol=0,
    )


def test_gsam_without_adaptive_scaling_by_hand():
    """g = (2, 2), |g| = sqrt(8): w' = w + rho g / sqrt(8) = (1.5, 1) for rho sqrt(8)/4."""
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    gradient = quadratic(torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64)))
    there = perturbed(weights, gradient(weights), 8**0.5 / 4, adaptive=False)
    torch.testing.assert_close(there, torch.tensor([1.5, 1.0], dtype=torch.float64))


def test_gsam_takes_the_part_of_the_gradient_across_the_perturbed_one():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T
    weights = torch.randn(6, generator=generator, dtype=torch.float64)
    sam = direction(quadratic(matrix), weights, 0.3, 0.0, adaptive=True)
    across = sam - direction(quadratic(matrix), weights, 0.3, 1.0, adaptive=True)  # v
    assert abs(across @ sam) < 1e-9 * across.norm() * sam.norm()
    here = weights @ matrix
    torch.testing.assert_close(here - across, (here @ sam) / (sam @ sam) * sam)


def test_gsam_with_rho_zero_is_the_gradient_at_the_price_of_one():
    calls = []

    def gradient(weights):
        calls.append(weights)
        return 3 * weights

    weights = torch.tensor([1.0, -2.0])
    assert torch.equal(direction(gradient, weights, 0.0, 0.3, True), 3 * weights)
    assert len(calls) == 1


def test_gsam_with_tiny_rho_and_no_alpha_approaches_the_gradient():
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)
    gradient = quadratic(torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64)))
    close = direction(gradient, weights, 1e-9, 0.0, adaptive=True)
    torch.testing.assert_close(close, gradient(weights), rtol=1e-8, atol=0)


def test_gsam_treats_stacked_networks_apart():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 4, generator=generator)
    weights = torch.randn(3, 4, generator=generator)
    together = direction(quadratic(matrix), weights, 0.5, 0.3, adaptive=True)
    for one, expected in zip(weights, together, strict=True):
        alone = direction(quadratic(matrix), one, 0.5, 0.3, adaptive=True)
        torch.testing.assert_close(alone, expected)


# -- training ------------------------------------------------------------------------------------


def test_an_epoch_is_plain_sgd_over_the_images(task, network):
    """Against torch.optim.SGD on the module itself, same order, no augmentation."""
    plain = recipe(augment="none")
    training = Training.begin(task, plain, range(1))
    module = task.new_network()
    torch.nn.utils.vector_to_parameters(training.weights[0].clone(), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=plain.lr)
    order = torch.Generator()
    order.set_state(training.generators[0].get_state())
    for images, labels in task.batches(plain.batch, order):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
    train_epoch(task, network, plain, training, NoMeter())
    torch.testing.assert_close(training.weights[0], FlatNetwork(module).weights())
    assert training.epoch == 1


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_stacked_experts_equal_those_trained_alone(task, network, rho):
    ours = recipe(rho=rho, alpha=0.3)
    together = Training.begin(task, ours, range(3))
    train_epoch(task, network, ours, together, NoMeter())
    for number in range(3):
        alone = Training.begin(task, ours, range(number, number + 1))
        train_epoch(task, network, ours, alone, NoMeter())
        torch.testing.assert_close(alone.weights[0], together.weights[number], rtol=0, atol=1e-5)


def test_stacked_gradients_equal_those_taken_alone(task, network):
    weights = Training.begin(task, recipe(), range(2)).weights
    images = task.images[:8].view(2, 4, *task.shape)
    labels = torch.tensor([[0, 1, 2, 0], [1, 1, 2, 0]])
    both = gradients(network, weights, images, labels)
    for i in range(2):
        one = gradients(network, weights[i : i + 1], images[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(one[0], both[i], rtol=0, atol=1e-6)


def test_experts_do_not_depend_on_the_condensation(tmp_path):
    """Other seed, other ipc, networks already drawn: the same artifact, built from one recipe."""
    first = testing.toy_task(store=tmp_path / "a", seed=0)
    second = testing.toy_task(store=tmp_path / "b", seed=5, ipc=3)
    for _ in range(3):
        second.new_network()
    ours = [trajectories(t, FlatNetwork(t.new_network()), recipe(), 2) for t in (first, second)]
    for expert in range(2):
        for epoch in range(4):
            assert torch.equal(ours[0].weights(expert, epoch), ours[1].weights(expert, epoch))
    assert list(first.artifacts_used) == list(second.artifacts_used)


def test_building_experts_leaves_the_tasks_generators_alone(tmp_path):
    """Whether the experts were there already must not change what follows."""
    cold = testing.toy_task(store=tmp_path)
    trajectories(cold, FlatNetwork(cold.new_network()), recipe(), 1)
    warm = testing.toy_task(store=tmp_path)
    trajectories(warm, FlatNetwork(warm.new_network()), recipe(), 1)
    drawn = [FlatNetwork(t.new_network()).weights() for t in (cold, warm)]
    assert torch.equal(*drawn)
    states = cold.generator_states(), warm.generator_states()
    assert all(torch.equal(states[0][name], state) for name, state in states[1].items())


def test_initial_weights_depend_on_the_seed_and_the_number_of_the_expert_alone():
    tasks = [testing.toy_task(), testing.toy_task(seed=3, ipc=2)]
    first, other = (Training.begin(task, recipe(), range(2)).weights for task in tasks)
    assert torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    again = Training.begin(tasks[0], recipe(seed=1), range(2)).weights
    assert not torch.equal(first, again)
    network = tasks[0].new_network(seed=seed_of("expert", 0, 1, "weights"))
    assert torch.equal(FlatNetwork(network).weights(), first[1])


# -- files ---------------------------------------------------------------------------------------


def test_a_trajectory_has_epochs_plus_one_snapshots_that_do_not_alias(task, network):
    experts = trajectories(task, network, recipe(), 2)
    for expert in range(2):
        snapshots = [experts.weights(expert, epoch) for epoch in range(4)]
        for before, after in zip(snapshots, snapshots[1:], strict=False):
            assert (before - after).norm() > 1e-3
        assert torch.equal(experts.weights(expert, -1), snapshots[3])
    assert not torch.equal(experts.weights(0, 0), experts.weights(1, 0))


def test_the_files_are_float32_arrays_of_snapshots(task, network):
    trajectories(task, network, recipe(), 1)
    (artifact,) = task.artifacts_used.values()
    assert sorted(artifact.files) == [trajectory_name(0)]  # and nothing of the build
    array = np.load(artifact.folder / trajectory_name(0))
    assert array.shape == (4, network.count)
    assert array.dtype == np.float32
    training = Training.begin(task, recipe(), range(1))
    assert np.array_equal(array[0], training.weights[0].numpy())


def test_training_is_metered_step_by_step(task, network):
    trajectories(task, network, recipe(), 1)
    (artifact,) = task.artifacts_used.values()
    assert artifact.seconds > 0
    assert artifact.flops > 0


def test_flops_of_gsam_are_twice_those_of_sgd(task, network):
    trajectories(task, network, recipe(augment="none"), 1)
    trajectories(task, network, recipe(augment="none", rho=0.01, alpha=0.3), 1)
    plain, gsam = (artifact.flops for artifact in task.artifacts_used.values())
    assert gsam == pytest.approx(2 * plain, rel=1e-6)


def test_a_smaller_number_of_experts_is_part_of_a_larger_one(task, network):
    three = trajectories(task, network, recipe(epochs=1), 3)
    before = set(task.artifacts_used)
    four = trajectories(task, network, recipe(epochs=1), 4)
    assert before < set(task.artifacts_used)
    assert len(task.artifacts_used) == 4
    assert torch.equal(three.weights(2, 1), four.weights(2, 1))


def test_blocks():
    assert blocks(3, 1) == [range(0, 1), range(1, 2), range(2, 3)]
    assert blocks(23, 10) == [range(0, 10), range(10, 20), range(20, 23)]


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.02}, {"batch": 8}, {"epochs": 4}, {"rho": 0.01}, {"augment": "none"},
        {"seed": 1}, {"kept": (0, 1, 3)},
    ],
)  # fmt: skip
def test_settings_that_differ_never_share(change):
    assert recipe(**change).spec("convnet") != recipe().spec("convnet")


def test_the_code_that_trains_experts_is_part_of_a_local_installs_identity(monkeypatch):
    asked = []
    monkeypatch.setattr(experts, "edited_code", lambda *named: asked.append(named) or "sha256:1")
    assert recipe().spec("convnet")["code"] == "sha256:1"
    ((distribution, package, *files),) = asked
    assert (distribution, package) == ("ddbench-datm", "ddbench_datm")
    names = [file.name for file in files]
    assert names == ["experts.py", "gsam.py", "flat.py", "storage.py"]  # and method.py is not
    assert all(file.exists() for file in files)


def test_a_release_shares_its_experts_with_the_next(monkeypatch):
    monkeypatch.setattr(experts, "edited_code", lambda *named: None)
    assert "code" not in recipe().spec("convnet")


@pytest.mark.parametrize("rho", [0.0, 0.01])
def test_an_expert_that_diverged_is_never_stored(task, network, rho):
    with pytest.raises(
        ExpertError, match=r"expert 0 .* after epoch \d; .*lower expert_lr"
    ) as error:
        trajectories(task, network, recipe(lr=1e20, rho=rho), 2)
    assert ("rho (0.01)" in str(error.value)) == bool(rho)
    assert list(task._store) == []


def test_settings_that_mean_the_same_share():
    assert recipe(alpha=0.3, adaptive=False).spec("c") == recipe().spec("c")  # rho is 0
    assert recipe(kept=(0, 1, 2, 3)).spec("c") == recipe().spec("c")
    gsam = recipe(rho=0.01, alpha=0.3)
    assert gsam.spec("c") != recipe(rho=0.01, alpha=0.4).spec("c")
    assert gsam.spec("c") != recipe(rho=0.01, alpha=0.3, adaptive=False).spec("c")


def test_only_the_kept_window_is_stored(task, network):
    everything = trajectories(task, network, recipe(), 1)
    kept = trajectories(task, network, recipe(kept=(1, 3)), 1)
    sizes = [np.load(a.folder / trajectory_name(0)).shape for a in task.artifacts_used.values()]
    assert [rows for rows, _ in sizes] == [4, 2]
    for epoch in (1, 3, -1):
        assert torch.equal(kept.weights(0, epoch), everything.weights(0, epoch))
    with pytest.raises(ExpertError, match="no snapshot after epoch 2; it has 2, of epochs 1 to 3"):
        kept.weights(0, 2)


def test_a_snapshot_beyond_the_trajectory_is_an_error(task, network):
    experts = trajectories(task, network, recipe(), 1)
    with pytest.raises(ExpertError, match="no snapshot after epoch 4; it has 4, of epochs 0 to 3"):
        experts.weights(0, 4)


def test_a_torn_file_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "experts-1" / trajectory_name(0)
    file.parent.mkdir()
    file.write_bytes(b"\x93NUMPY\x01\x00torn")
    with pytest.raises(ExpertError, match="experts-1"):
        Experts([file], range(4), torch.device("cpu"))


# -- resuming ------------------------------------------------------------------------------------


class Killed(Exception):
    pass


class KillingMeter:
    """Raises at one step, as a kill would."""

    def __init__(self, at):
        self.left = at

    def __enter__(self):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize("step", [0, 3, 4, 9])
def test_a_killed_build_goes_on_at_its_epoch_bit_for_bit(task, network, tmp_path, step):
    """4 steps an epoch: killed at the first step, within an epoch, at its start, and later."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    ours = recipe(rho=0.05, alpha=0.3)
    build(task, network, ours, range(2), BuildContext(straight, task.device))
    work = BuildContext(killed, task.device)
    work.meter = KillingMeter(step)
    work.save = lambda: None
    with pytest.raises(Killed):
        build(task, network, ours, range(2), work)
    counted = BuildContext(killed, task.device)
    build(task, network, ours, range(2), counted)
    assert counted.meter.steps == (3 - step // 4) * 4  # whole epochs are not trained again
    for number in range(2):
        arrays = [np.load(folder / trajectory_name(number)) for folder in (straight, killed)]
        assert np.array_equal(*arrays)


def test_a_build_killed_after_its_last_epoch_trains_no_more(task, network, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    build(task, network, recipe(), range(1), BuildContext(folder, task.device))
    again = BuildContext(folder, task.device)
    before = again.meter.steps
    build(task, network, recipe(), range(1), again)
    assert again.meter.steps == before == 12
