import numpy as np
import pytest
import torch
from ddbench import Unsupported
from ddbench.contract.synthetic_set import check
from ddbench.features import extractor
from ddbench.features.extractor import TrainedNetwork
from ddbench.inits import register_inits
from ddbench.testing import toy_task

REAL_ONES = ("real", "spc", "kmeans")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Share the networks between the tests, as runs do."""
    return tmp_path_factory.mktemp("artifacts")


def build(name, task):
    return register_inits()[name].build(task)


def places(synthetic, task):
    """Return the index in the training set of each synthetic image."""
    index = {image.numpy().tobytes(): i for i, image in enumerate(task.images)}
    return [index[image.numpy().tobytes()] for image in synthetic.images]


class Judge(torch.nn.Module):
    """A network that is right about the images in `known` and says class (c + 1) of the others."""

    def __init__(self, task, known):
        super().__init__()
        self.task, self.known, self.asked = task, known, 0
        self.index = {image.numpy().tobytes(): i for i, image in enumerate(task.images)}

    def forward(self, images):
        self.asked += len(images)
        indices = [self.index[image.numpy().tobytes()] for image in images]
        wrong = torch.tensor([i not in self.known for i in indices]).long()
        said = (self.task.labels[indices] + wrong) % self.task.num_classes
        return torch.nn.functional.one_hot(said, self.task.num_classes).float()


@pytest.fixture
def judge(monkeypatch):
    """Let a `Judge` be the trained network."""

    def install(task, known):
        network = Judge(task, known)
        trained = TrainedNetwork(network, "judge", 1, 0.5, 10)
        monkeypatch.setattr(extractor, "trained_network", lambda task, architecture: trained)
        return network

    return install


@pytest.mark.parametrize("name", register_inits())
def test_every_init_makes_ipc_images_of_each_class_in_order(name, store):
    task = toy_task(ipc=3, store=store)
    synthetic = build(name, task)
    problems = check(synthetic, num_classes=3, shape=task.shape, ipc=3, balanced=True)
    assert not problems
    assert synthetic.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert register_inits()[name].name == name


@pytest.mark.parametrize("name", register_inits())
def test_the_seed_decides(name, store):
    first, again, other = (
        build(name, toy_task(per_class=40, ipc=2, seed=seed, store=store)) for seed in (0, 0, 1)
    )
    assert torch.equal(first.images, again.images)
    if name != "kmeans":  # whose clusters may be the same from every start
        assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("name", REAL_ONES)
def test_real_inits_take_different_images_of_the_class(name, store):
    task = toy_task(per_class=6, ipc=5, store=store)
    synthetic = build(name, task)
    chosen = places(synthetic, task)
    assert len(set(chosen)) == 15
    assert torch.equal(task.labels[chosen], synthetic.labels)


@pytest.mark.parametrize("name", register_inits())
def test_the_images_are_no_view_of_the_training_set(name, store):
    task = toy_task(ipc=2, store=store)
    before = task.images.clone()
    build(name, task).images.zero_()
    assert torch.equal(task.images, before)


@pytest.mark.parametrize("name", REAL_ONES)
def test_a_class_with_too_few_images_is_refused(name, store):
    message = f"init {name} on toy: class 0 has 2 training images, ipc is 3; use ipc <= 2"
    with pytest.raises(Unsupported, match=message):
        build(name, toy_task(per_class=2, ipc=3, store=store))


def test_fill_takes_every_image_before_it_repeats_one(store):
    synthetic = build("fill", toy_task(per_class=4, ipc=10, store=store))
    for c in range(3):
        images = synthetic.images[synthetic.labels == c]
        counts = images.flatten(1).unique(dim=0, return_counts=True)[1]
        assert sorted(counts.tolist()) == [2, 2, 3, 3]
    assert synthetic.measures == {"repeated_images": 18}
    enough = [build(name, toy_task(ipc=3, store=store)) for name in ("fill", "real")]
    assert torch.equal(enough[0].images, enough[1].images) and not enough[0].measures


def test_noise_needs_no_images(store):
    assert len(build("noise", toy_task(per_class=2, ipc=30, store=store))) == 90


def test_noise_is_standard_normal(store):
    images = build("noise", toy_task(ipc=200, store=store)).images
    assert images.mean().item() == pytest.approx(0, abs=0.03)
    assert images.std().item() == pytest.approx(1, abs=0.03)


# -- spc --------------------------------------------------------------------------------------


def walk_by_hand(task, known):
    """Return what spc should keep, image by image instead of in blocks."""
    generator, kept = task.new_generator("init"), []
    for c in range(task.num_classes):
        members = [i for i, label in enumerate(task.labels.tolist()) if label == c]
        order = [members[j] for j in torch.randperm(len(members), generator=generator)]
        right = [i for i in order if i in known]
        wrong = [i for i in order if i not in known]
        kept += (right + wrong)[: task.ipc]
    return kept


def test_spc_keeps_the_first_correctly_classified_of_a_random_walk(store, judge):
    task = toy_task(per_class=300, ipc=4, store=store)
    known = set(range(0, 900, 7))
    judge(task, known)
    synthetic = build("spc", task)
    assert places(synthetic, task) == walk_by_hand(task, known)
    assert set(places(synthetic, task)) <= known
    assert synthetic.measures["spc_wrong"] == 0
    assert synthetic.measures["feature_accuracy"] == 0.5


def test_spc_fills_up_with_wrongly_classified_images_and_counts_them(store, judge):
    task = toy_task(per_class=300, ipc=4, store=store)
    known = {5, 299, *range(300, 600)}  # two of class 0, all of class 1, none of class 2
    judge(task, known)
    synthetic = build("spc", task)
    chosen = places(synthetic, task)
    assert set(chosen[:2]) == {5, 299}
    assert len(set(chosen)) == 12
    assert chosen == walk_by_hand(task, known)
    assert synthetic.measures["spc_wrong"] == 2 + 0 + 4


def test_spc_looks_no_further_than_it_must(store, judge):
    task = toy_task(classes=2, per_class=600, ipc=1, store=store)
    network = judge(task, set(range(1200)))
    build("spc", task)
    assert network.asked == 2 * 256


def test_spc_images_are_correct_by_the_shared_network(store):
    task = toy_task(per_class=30, ipc=3, store=store)
    synthetic = build("spc", task)
    network = extractor.trained_network(task, task.architecture).network
    assert synthetic.measures["spc_wrong"] == 0
    assert torch.equal(network(synthetic.images).argmax(1), synthetic.labels)


# -- kmeans -----------------------------------------------------------------------------------


def test_kmeans_of_one_image_takes_the_nearest_to_the_class_mean(store):
    task = toy_task(per_class=25, store=store)
    chosen = places(build("kmeans", task), task)
    network = extractor.trained_network(task, task.architecture).network
    with torch.no_grad():
        seen = network.embed(task.images).double().numpy()
    for c in range(3):
        members = np.flatnonzero(task.labels.numpy() == c)
        gaps = np.linalg.norm(seen[members] - seen[members].mean(0), axis=1)
        assert chosen[c] == members[gaps.argmin()]


def test_kmeans_takes_one_image_of_each_group(store, monkeypatch):
    """Features with three far groups in every class: one image of each must be taken."""

    class Groups(torch.nn.Module):
        def embed(self, images):
            return images.flatten(1)[:, :1]

    task = toy_task(per_class=12, ipc=3, store=store)
    group = torch.arange(36) % 3
    jitter = 0.1 * torch.randn(36, generator=task.generator)
    task.images[:, 0, 0, 0] = 100.0 * group + jitter
    trained = TrainedNetwork(Groups(), "groups", 1, 1.0, 3)
    monkeypatch.setattr(extractor, "trained_network", lambda task, architecture: trained)
    chosen = places(build("kmeans", task), task)
    for c in range(3):
        assert sorted(group[chosen[3 * c : 3 * c + 3]].tolist()) == [0, 1, 2]
