import importlib
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch
from ddbench import Converged, Facts, SyntheticSet, Unsupported
from ddbench.features import trained_network
from ddbench.testing import bind, built_init, check_set, condense, toy_task
from ddbench_coresets import herding, kcenter, kmeans, random
from ddbench_coresets.herding import herd
from ddbench_coresets.kcenter import farthest_first

SELECTIONS = {"herding": herding, "kcenter": kcenter, "kmeans": kmeans}
ALL = {"random": random, **SELECTIONS}
LINE = torch.tensor([[0.0], [4.0], [5.0], [11.0]])  # mean 5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Share the networks between the tests, as runs do."""
    return tmp_path_factory.mktemp("artifacts")


def config_of(method):
    config = method.describe().config
    if method is random:
        return config()
    return config(network="convnet-w8-d1", network_epochs=5, floor=0.0)


def run(method, task):
    return condense(method, task, config_of(method), steps=0)


def facts(class_counts, ipc):
    return Facts("toy", len(class_counts), (1, 8, 8), class_counts, "convnet", "real", ipc, 0)


def points_of(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# -- the rules --------------------------------------------------------------------------------


def brute_herding(points, count):
    """At every pick, try all and keep that whose mean with the earlier picks is the best."""
    points, chosen = points.double().numpy(), []
    mean = points.mean(0)
    for _ in range(count):
        rest = [i for i in range(len(points)) if i not in chosen]
        gaps = [np.linalg.norm(points[[*chosen, i]].mean(0) - mean) for i in rest]
        chosen.append(rest[int(np.argmin(gaps))])
    return chosen


def brute_k_center(points, count):
    """At every pick, measure each candidate's distance to all earlier picks."""
    points = points.double().numpy()
    chosen = [int(np.argmin(np.linalg.norm(points - points.mean(0), axis=1)))]
    while len(chosen) < count:
        rest = [i for i in range(len(points)) if i not in chosen]
        gaps = [min(np.linalg.norm(points[i] - points[j]) for j in chosen) for i in rest]
        chosen.append(rest[int(np.argmax(gaps))])
    return chosen


def test_herding_on_a_line():
    # 5 is the mean; of the others 4 is nearest to 2*5 - 5 = 5; 11 is nearer to 3*5 - 9 = 6 than 0
    assert herd(LINE, 4).tolist() == [2, 1, 3, 0]


def test_k_center_on_a_line():
    # start at the mean; 11 is 6 away from 5; then 0 is 5 away from 5, and 4 is left
    assert farthest_first(LINE, 4).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize(
    ("rule", "brute"), [(herd, brute_herding), (farthest_first, brute_k_center)]
)
@pytest.mark.parametrize(("n", "d", "count"), [(40, 6, 12), (15, 2, 15), (9, 30, 1)])
def test_a_rule_picks_what_an_exhaustive_search_picks(rule, brute, n, d, count):
    for seed in range(5):
        points = points_of(n, d, seed)
        assert rule(points, count).tolist() == brute(points, count)


@pytest.mark.parametrize("rule", [herd, farthest_first])
def test_equal_images_are_all_picked_once_first_things_first(rule):
    assert rule(torch.ones(4, 3), 4).tolist() == [0, 1, 2, 3]


def test_of_two_equally_good_images_the_first_is_picked():
    points = torch.tensor([[-1.0], [1.0], [-3.0], [3.0]])  # mean 0
    assert herd(points, 1).tolist() == [0]
    assert farthest_first(points, 2).tolist() == [0, 3]
    assert farthest_first(points[[1, 0, 2, 3]], 2).tolist() == [0, 2]


def test_herding_keeps_close_to_a_mean_far_from_the_origin():
    """The sums grow with the picks and float32 does not: their difference must not drown."""
    points = 1e3 + points_of(300, 4)
    mean = points.double().mean(0)
    chosen = points[herd(points, 100)].double()
    random_error = (points[:100].double().mean(0) - mean).norm()
    assert (chosen.mean(0) - mean).norm() < random_error / 10


# -- the methods ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_method_is_installed_under_its_name(name):
    (point,) = entry_points(group="ddbench.methods", name=name)
    assert point.load() is ALL[name]
    assert bind(ALL[name]).info.steps(config_of(ALL[name]), 10) == 0


@pytest.mark.parametrize("name", ALL)
def test_the_set_is_real_images_of_each_class_none_twice(name, store):
    task = toy_task(per_class=9, ipc=4, store=store)
    synthetic = run(ALL[name], task)
    assert not check_set(synthetic, num_classes=3, shape=task.shape, ipc=4, balanced=True)
    same = (synthetic.images[:, None] == task.images[None]).flatten(2).all(2)  # (12, 27)
    places = same.int().argmax(1)
    assert same.sum(1).tolist() == [1] * 12
    assert len(set(places.tolist())) == 12
    assert torch.equal(task.labels[places], synthetic.labels)
    if name != "random":
        assert torch.equal(synthetic.columns["index"], places)


@pytest.mark.parametrize("name", ALL)
def test_the_set_is_independent_of_the_training_images(name, store):
    task = toy_task(ipc=2, store=store)
    before = task.images.clone()
    run(ALL[name], task).images.zero_()
    assert torch.equal(task.images, before)


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides(name, store):
    first, again = (run(ALL[name], toy_task(ipc=3, seed=5, store=store)) for _ in range(2))
    assert first.sha256() == again.sha256()


@pytest.mark.parametrize("name", ["herding", "kcenter"])
def test_greedy_selections_are_the_same_for_every_seed(name, store):
    first, other = (run(ALL[name], toy_task(ipc=3, seed=s, store=store)) for s in (0, 1))
    assert first.sha256() == other.sha256()


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_whole_class_can_be_selected(name, store):
    task = toy_task(per_class=4, ipc=4, store=store)
    assert sorted(run(ALL[name], task).columns["index"].tolist()) == list(range(12))


@pytest.mark.parametrize(
    ("name", "brute"), [("herding", brute_herding), ("kcenter", brute_k_center)]
)
def test_a_selection_is_made_class_by_class_in_the_networks_features(name, brute, store):
    task = toy_task(per_class=12, ipc=5, store=store)
    chosen = run(ALL[name], task).columns["index"].tolist()
    network = trained_network(task, "convnet-w8-d1", 5, floor=0.0).network
    with torch.no_grad():
        seen = network.embed(task.images)
    expected = [12 * c + i for c in range(3) for i in brute(seen[12 * c : 12 * c + 12], 5)]
    assert chosen == expected


def test_k_means_takes_the_image_nearest_to_the_mean_when_it_may_take_one(store):
    task = toy_task(per_class=12, store=store)
    chosen = run(kmeans, task).columns["index"].tolist()
    network = trained_network(task, "convnet-w8-d1", 5, floor=0.0).network
    with torch.no_grad():
        seen = network.embed(task.images)
    assert chosen == [12 * c + brute_k_center(seen[12 * c : 12 * c + 12], 1)[0] for c in range(3)]


def test_k_means_declares_the_work_that_torch_does_not_see(store, monkeypatch):
    task, declared = toy_task(ipc=2, store=store), []
    monkeypatch.setattr(task, "count_flops", lambda count, why: declared.append((count, why)))
    run(kmeans, task)
    assert [why for _, why in declared] == ["k-means"] * 3
    # 20 points of 8 channels x 4 x 4; at least 10 runs of two iterations over 2 centroids
    assert all(count >= 10 * 2 * 20 * 128 * 2 * 2 for count, _ in declared)


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_set_tells_how_good_the_network_was(name, store):
    task = toy_task(store=store)
    measures = run(ALL[name], task).measures
    accuracy = trained_network(task, "convnet-w8-d1", 5, floor=0.0).accuracy
    assert measures == {
        "feature_network": "convnet-w8-d1",
        "feature_epochs": 5,
        "feature_accuracy": accuracy,
    }


def test_random_is_the_real_init(tmp_path):
    task = toy_task(ipc=4, seed=3, store=tmp_path)
    initial = built_init(toy_task(ipc=4, seed=3, store=tmp_path))
    synthetic = run(random, task)
    assert torch.equal(synthetic.images, initial.images)
    assert not list(tmp_path.glob("network-*"))  # it needs none


def test_random_has_hard_labels_whatever_the_init_gives():
    logits = torch.tensor([[0.0, 3.0], [2.0, 1.0]])
    state = random.init(synthetic=SyntheticSet(torch.zeros(2, 1, 8, 8), logits))
    assert torch.equal(random.export(state).labels, torch.tensor([1, 0]))


def test_random_takes_every_image_of_the_class_alike(store):
    counts = torch.zeros(5)
    for seed in range(300):
        task = toy_task(classes=1, per_class=5, ipc=2, size=2, seed=seed, store=store)
        images = run(random, task).images
        counts += (images[:, None] == task.images[None]).flatten(2).all(2).sum(0)
    assert counts.sum() == 600
    assert (counts - 120).abs().max() < 4 * 8.5  # sd of 300 draws at 2/5 is 8.5


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_not_needed_and_does_nothing(name):
    with pytest.raises(Converged):
        bind(ALL[name]).hook.condense_step(state=None, task=None, step=0)


@pytest.mark.parametrize("name", ALL)
def test_a_class_with_too_few_images_is_refused_before_any_work(name, store):
    info = bind(ALL[name]).info
    reason = info.needs(config_of(ALL[name]), facts((20, 3, 2), 4))
    assert reason == "class 1 has 3 training images, ipc is 4; use ipc <= 2"
    assert info.needs(config_of(ALL[name]), facts((20, 4, 4), 4)) is None


@pytest.mark.parametrize("name", SELECTIONS)
def test_too_few_images_make_a_skipped_row(name, tmp_path):
    task = toy_task(per_class=3, ipc=4, store=tmp_path)
    with pytest.raises(Unsupported, match="class 0 has 3 training images"):
        bind(ALL[name]).hook.init(task=task, synthetic=None, config=config_of(ALL[name]))
    assert not list(tmp_path.glob("network-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network_epochs": 0}, "network_epochs is 0; expected at least 1"),
        ({"floor": 1.5}, "floor is 1.5; expected at least 0 and at most 1"),
        ({"runs": 0}, "runs is 0; expected at least 1"),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kmeans.Config(**options)


def test_a_name_that_is_no_method_is_no_attribute():
    package = importlib.import_module("ddbench_coresets")
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing


def test_only_kmeans_loads_scikit_learn():
    others = ", ".join(f"ddbench_coresets.{name}" for name in ALL if name != "kmeans")
    code = f"import sys, {others}; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
