"""Training and testing of evaluations: epochs, the drop of the learning rate, what is scored."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.testing import toy_task
from ddbench.training import (
    LRDrop,
    Recipe,
    accuracy,
    cross_entropy,
    fit,
    new_optimizer,
    predict,
)
from ddbench.training.evaluation import (
    CHOOSING,
    RealImages,
    balanced_accuracy,
    evaluate,
    held_out,
    own_recipe,
)

PROTOCOLS = tomllib.loads((Path(__file__).parents[2] / "registry.toml").read_text())["protocols"]


def linear(seed=0):
    """Return a network of 4 pixels and 2 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))


def images_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 2, 2, generator=generator), torch.arange(count) % 2


def train(network, recipe, count=5, **arguments):
    images, labels = images_of(count)
    fit(network, images, labels, recipe, torch.Generator().manual_seed(1), **arguments)
    return network


@pytest.fixture
def steps(monkeypatch):
    """The optimizer's steps, in order: (which optimizer, its lr, whether it has momentum yet)."""
    seen, made = [], []

    class Spy(torch.optim.SGD):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

        def step(self, *arguments):
            seen.append((made.index(self), self.param_groups[0]["lr"], bool(self.state)))
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "SGD", Spy)
    return seen


# -- the loop --------------------------------------------------------------------------------------


def test_every_epoch_goes_once_through_the_set_and_the_last_batch_may_be_smaller(steps):
    class Recorder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.batches = linear(), []

        def forward(self, images):
            self.batches.append(images.detach().clone())
            return self.inner(images)

    network, epochs = Recorder(), []
    train(network, Recipe(epochs=3, batch=2), count=5, epoch_done=epochs.append)
    assert epochs == [0, 1, 2] and len(steps) == 3 * 3
    assert [len(batch) for batch in network.batches] == [2, 2, 1] * 3
    images, _ = images_of(5)
    for epoch in range(3):
        shown = torch.cat(network.batches[3 * epoch : 3 * epoch + 3])
        assert sorted(map(tuple, shown.flatten(1).tolist())) == sorted(
            map(tuple, images.flatten(1).tolist())
        )
    assert not torch.equal(network.batches[0], network.batches[3])  # in another order


@pytest.mark.parametrize(
    ("epochs", "dropped", "protocol"), [(301, 152, "dc300"), (1001, 502, "dsa1000")]
)
def test_the_published_epochs_and_the_one_drop(steps, epochs, dropped, protocol):
    shown = PROTOCOLS[protocol]
    assert (shown["epochs"], shown["drop"]["after_epochs"]) == (epochs, dropped)
    train(linear(), Recipe(epochs=epochs, drop=LRDrop(dropped)), count=2)
    rates = [rate for _, rate, _ in steps]
    assert len(rates) == epochs
    assert rates == pytest.approx([0.01] * dropped + [0.001] * (epochs - dropped))


def test_a_recipe_without_a_drop_keeps_its_rate(steps):
    train(linear(), Recipe(epochs=4, lr=0.5), count=2)
    assert [rate for _, rate, _ in steps] == [0.5] * 4


def test_the_drop_begins_with_fresh_momentum(steps):
    train(linear(), Recipe(epochs=4, drop=LRDrop(2)), count=2)
    assert [(which, momentum) for which, _, momentum in steps] == [
        (0, False), (0, True), (1, False), (1, True),
    ]  # fmt: skip


def test_two_trainings_with_one_optimizer_are_one_of_both(monkeypatch):
    """Its momentum goes on."""
    recipe, generator = Recipe(epochs=1, lr=0.1, batch=2), torch.Generator()
    images, labels = images_of(4)
    once, twice, forgetful = linear(), linear(), linear()
    monkeypatch.setattr(torch, "randperm", lambda count, generator: torch.arange(count))
    fit(once, images, labels, recipe, generator)
    optimizer = new_optimizer(twice, recipe, recipe.lr)
    for part in (slice(0, 2), slice(2, 4)):
        fit(twice, images[part], labels[part], recipe, generator, optimizer=optimizer)
        fit(forgetful, images[part], labels[part], recipe, generator)
    assert torch.equal(once[1].weight, twice[1].weight)
    assert not torch.equal(once[1].weight, forgetful[1].weight)


def test_a_drop_may_keep_the_momentum(steps):
    train(linear(), Recipe(epochs=4, lr=0.1, drop=LRDrop(2, 0.5, reset_momentum=False)), count=2)
    assert steps == [(0, 0.1, False), (0, 0.1, True), (0, 0.05, True), (0, 0.05, True)]


@pytest.mark.parametrize("reset", [True, False])
def test_the_weights_are_those_of_the_update_written_out(reset):
    """SGD with momentum and weight decay by hand, the whole set in each step."""
    recipe = Recipe(epochs=5, lr=0.1, drop=LRDrop(3, 0.1, reset_momentum=reset))
    found = train(linear(), recipe, count=4)
    images, labels = images_of(4)
    network = linear()
    velocity = [torch.zeros_like(weight) for weight in network.parameters()]
    for epoch in range(5):
        lr = 0.1 if epoch < 3 else 0.01
        if epoch == 3 and reset:
            velocity = [torch.zeros_like(v) for v in velocity]
        loss = F.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for n, (weight, gradient) in enumerate(
                zip(network.parameters(), gradients, strict=True)
            ):
                velocity[n] = 0.9 * velocity[n] + gradient + 5e-4 * weight
                weight -= lr * velocity[n]
    for a, b in zip(found.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_each_step_is_entered_once():
    entered = []

    class Step:
        def __enter__(self):
            entered.append("in")

        def __exit__(self, *error):
            entered.append("out")

    train(linear(), Recipe(epochs=2, batch=2), count=4, step=Step())
    assert entered == ["in", "out"] * 4


def test_soft_labels_are_the_softmax_of_their_logits():
    logits, labels = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    shares, logs = torch.softmax(labels, 1)[0], torch.log_softmax(logits, 1)[0]
    expected = -(shares[0] * logs[0] + shares[1] * logs[1])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    torch.testing.assert_close(
        cross_entropy(logits, torch.tensor([1])), F.cross_entropy(logits, torch.tensor([1]))
    )


def test_an_unknown_optimizer_names_those_there_are():
    assert isinstance(new_optimizer(linear(), Recipe(1, "adam"), 0.1), torch.optim.Adam)
    with pytest.raises(ValueError, match="'lion'; available: adam, adamw, sgd"):
        new_optimizer(linear(), Recipe(1, "lion"), 0.1)


# -- testing ---------------------------------------------------------------------------------------


def test_prediction_is_in_eval_mode_and_leaves_the_mode_alone():
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), linear()).train()
    images, labels = images_of(300)
    logits = predict(network, images)  # more than one batch
    torch.testing.assert_close(logits, network[1](images).detach())
    assert network.training and not logits.requires_grad
    right = (logits.argmax(1) == labels).float().mean().item()
    assert accuracy(network, images, labels) == pytest.approx(right)


def test_balanced_accuracy_weighs_unequal_classes_alike():
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    predicted = torch.tensor([0, 0, 0, 3, 1, 0, 2])
    # class 0: 3 of 4, class 1: 1 of 1, class 2: 1 of 2; class 3 has no image
    assert balanced_accuracy(predicted, labels, 4) == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert (predicted == labels).double().mean().item() == pytest.approx(5 / 7)
    always = torch.zeros(7, dtype=torch.int64)
    assert balanced_accuracy(always, labels, 4) == pytest.approx(1 / 3)  # the majority's guess


@pytest.fixture
def predictions(monkeypatch):
    """All that an evaluation predicts, in order: (weights, logits)."""
    seen = []

    def spy(network, images):
        logits = predict(network, images)
        seen.append(({k: v.clone() for k, v in network.state_dict().items()}, logits))
        return logits

    # by import_module, as the package's name for it is the public function
    monkeypatch.setattr(import_module("ddbench.training.evaluation"), "predict", spy)
    return seen


def test_each_network_is_tested_once_after_its_last_epoch(predictions, steps):
    task = toy_task(classes=3, ipc=2)
    synthetic = SyntheticSet(task.images[::10], task.labels[::10].roll(1))
    # 20 + 7 + 3 images: classes of unequal size
    test_images, test_labels = (
        torch.cat([part[:20], part[20:27], part[40:43]]) for part in (task.images, task.labels)
    )
    events = []
    scores = evaluate(
        synthetic, RealImages(test_images, test_labels, 3), architecture="convnet-w8-d1",
        recipe=Recipe(epochs=4, batch=256, drop=LRDrop(3)), networks=2,
        progress=lambda done, total: events.append((done, total, len(predictions))),
    )  # fmt: skip
    assert events == [(n, 8, 0) for n in (1, 2, 3, 4)] + [(n, 8, 1) for n in (5, 6, 7, 8)]
    assert len(predictions) == 2 and len(steps) == 8
    for k, (_, logits) in enumerate(predictions):
        predicted = logits.argmax(1)
        of_class = [(predicted[test_labels == c] == c).double().mean().item() for c in range(3)]
        right = (predicted == test_labels).double().mean().item()
        assert scores.accuracies[k] == pytest.approx(right)
        assert scores.balanced_accuracies[k] == pytest.approx(sum(of_class) / 3)
    first, second = (weights for weights, _ in predictions)
    assert any(not torch.equal(first[name], second[name]) for name in first)  # fresh networks


def test_a_sets_own_epochs_move_the_drop_to_just_past_the_half():
    images, labels = images_of(2)
    mine = SyntheticSet(images, labels, recipe={"epochs": 1001, "lr": 0.02, "labels": "hard"})
    recipe = own_recipe(Recipe(epochs=301, drop=LRDrop(152)), mine)
    assert (recipe.epochs, recipe.lr, recipe.batch) == (1001, 0.02, 256)
    assert recipe.drop == LRDrop(502)


REGRESSION = {"targets": {"name": "stored", "kind": "regression"}}


def regression_set(task, scale):
    """Return one image a class with centred one-hot targets, `scale` high."""
    targets = scale * (F.one_hot(task.labels[::20], 3) - 1 / 3)
    recipe = {"loss": {"name": "mse"}, "optimizer": "adam", "lr": 0.01, "steps": 30, "batch": 3}
    return SyntheticSet(task.images[::20], targets, recipe, formation=REGRESSION)


def test_regression_targets_are_what_networks_answer_by_a_sets_own_recipe(predictions):
    task = toy_task()
    real = RealImages(task.images[::20], task.labels[::20], 3)
    how = {"architecture": "convnet-w8-d1", "recipe": Recipe(4), "networks": 1}
    own = evaluate(regression_set(task, 5), real, own=True, **how)
    assert (own.regime, own.labels, own.steps_trained) == ("SL", "soft", 30)
    wanted = regression_set(task, 5).labels
    torch.testing.assert_close(predictions[0][1], wanted, rtol=0, atol=0.5)


def test_regression_targets_leave_the_column_of_hard_labels_as_it_is(predictions):
    task = toy_task()
    real = RealImages(task.images, task.labels, 3)
    how = {"architecture": "convnet-w8-d1", "recipe": Recipe(4), "networks": 1}
    for scale in (1, 5):
        assert evaluate(regression_set(task, scale), real, **how).labels == "hard"
    assert torch.equal(predictions[0][1], predictions[1][1])


# -- a learning rate that is chosen ------------------------------------------------------------

RATES = (1e-7, 0.1)  # the first learns nothing


def choosing(task, synthetic, recipe, choose_by=None, **arguments):
    return evaluate(
        synthetic, RealImages(task.images, task.labels, 3, choose_by),
        architecture="convnet-w8-d1", recipe=recipe, networks=2, **arguments,
    )  # fmt: skip


def test_the_rate_that_is_best_on_held_out_training_images_is_taken():
    task = toy_task(classes=3, ipc=2)
    synthetic = SyntheticSet(task.images[::4], task.labels[::4])
    recipe = Recipe(epochs=5, learning_rates=RATES)
    choose_by = held_out(task.images, task.labels)
    scores = choosing(task, synthetic, recipe, choose_by=choose_by)
    assert scores.chosen_lr == 0.1 and scores.recipe == recipe
    told = choosing(task, synthetic, Recipe(epochs=5, lr=0.1))
    assert told.accuracies == scores.accuracies and told.chosen_lr is None


def test_the_test_images_have_no_say():
    task = toy_task(classes=3, ipc=2)
    synthetic = SyntheticSet(task.images[::4], task.labels[::4])
    wrong = (task.labels + 1) % 3  # on which the rate that learns nothing does better
    scores = evaluate(
        synthetic, RealImages(task.images, wrong, 3, held_out(task.images, task.labels)),
        architecture="convnet-w8-d1", networks=1, recipe=Recipe(epochs=5, learning_rates=RATES),
    )  # fmt: skip
    assert scores.chosen_lr == 0.1


def test_of_equal_rates_the_first_is_taken():
    task = toy_task(classes=3, ipc=2)
    synthetic = SyntheticSet(task.images[::4], task.labels[::4])
    recipe = Recipe(epochs=5, learning_rates=(0.1, 0.1001))
    scores = choosing(task, synthetic, recipe, choose_by=held_out(task.images, task.labels))
    assert scores.chosen_lr == 0.1


def test_the_networks_that_choose_are_none_of_those_that_are_tested(predictions):
    task = toy_task(classes=3, ipc=2)
    synthetic = SyntheticSet(task.images[::4], task.labels[::4])
    events = []
    choosing(
        task, synthetic, Recipe(epochs=2, learning_rates=RATES),
        choose_by=held_out(task.images, task.labels),
        progress=lambda done, total: events.append((done, total)),
    )  # fmt: skip
    epochs = 2 * (2 + CHOOSING * len(RATES))
    assert events == [(n, epochs) for n in range(1, epochs + 1)]
    assert len(predictions) == 2  # of the test images


def test_networks_of_the_whole_training_set_choose_without_what_they_are_held_against(steps):
    task = toy_task(classes=3, ipc=2)
    choose_by = held_out(task.images, task.labels, whole=True)
    n = len(task.images)
    assert len(choose_by.rest) + len(choose_by.labels) == n
    whole = SyntheticSet(task.images, task.labels)
    choosing(task, whole, Recipe(epochs=1, batch=n, learning_rates=RATES), choose_by=choose_by)
    assert len(steps) == 2 + CHOOSING * len(RATES)
    assert not (choose_by.rest.images[:, None] == choose_by.images).flatten(2).all(2).any()


def test_held_out_images_are_a_tenth_of_each_class_and_always_the_same():
    labels = torch.arange(3).repeat_interleave(torch.tensor([20, 30, 50]))
    images = torch.arange(100.0).reshape(100, 1, 1, 1)
    first, again = held_out(images, labels), held_out(images, labels)
    assert first.labels.bincount().tolist() == [2, 3, 5] and first.rest is None
    assert torch.equal(first.images, again.images)


def test_a_rate_of_the_sets_own_recipe_is_no_choice():
    task = toy_task(classes=3, ipc=2)
    mine = SyntheticSet(task.images[::4], task.labels[::4], recipe={"lr": 0.05})
    recipe = Recipe(epochs=2, learning_rates=RATES)
    scores = choosing(task, mine, recipe, own=True, choose_by=held_out(task.images, task.labels))
    assert scores.chosen_lr is None and scores.recipe.lr == 0.05
    with pytest.raises(ValueError, match="held-out images to choose by"):
        choosing(task, mine, recipe)


def test_a_recipe_without_a_choice_has_the_plain_values_that_it_always_had():
    recipe = Recipe(epochs=4, drop=LRDrop(3))
    assert "learning_rates" not in recipe.plain() and Recipe.of(recipe.plain()) == recipe
    chosen = Recipe(epochs=4, learning_rates=RATES)
    assert chosen.plain()["learning_rates"] == [1e-7, 0.1] and Recipe.of(chosen.plain()) == chosen
