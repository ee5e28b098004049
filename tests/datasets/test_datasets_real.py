"""The real MNIST, Fashion-MNIST and CIFAR-10 (npz), under the folders in DDBENCH_DATA."""

import os
from pathlib import Path

import numpy as np
import pytest
from ddbench import datasets
from ddbench.datasets.dataset import measure

pytestmark = pytest.mark.realdata
ROOTS = [Path(root) for root in os.environ.get("DDBENCH_DATA", "").split(os.pathsep) if root]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def load(name, **options):
        if not datasets.locate(name, roots=ROOTS).present:
            pytest.skip(f"{name} is not under DDBENCH_DATA")
        return datasets.load(name, roots=ROOTS, cache=cache, options=options)

    return load


@pytest.mark.parametrize("name", ["mnist", "fashionmnist"])
def test_counts_and_constants(load, name):
    dataset = load(name)
    assert dataset.train_images.shape == (60_000, 1, 28, 28)
    assert dataset.test_images.shape == (10_000, 1, 28, 28) and dataset.notes == ""
    mean, std = measure(dataset.train_images)
    # Fashion-MNIST's is 0.28604, which the reference code rounds up to 0.2861
    np.testing.assert_allclose(dataset.mean, mean, atol=1e-4)
    np.testing.assert_allclose(dataset.std, std, atol=5e-5)


def test_mnist_class_counts_and_majority(load):
    mnist = load("mnist")
    # as published with the set; the digit 1 is the commonest, 1,135 times in the test set
    assert datasets.class_counts(mnist).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert datasets.majority_accuracy(mnist) == 0.1135


def test_fashionmnist_classes_are_equal(load):
    assert datasets.class_counts(load("fashionmnist")).tolist() == [6000] * 10


def test_cifar10_counts_and_constants(load):
    cifar = load("cifar10")
    assert cifar.train_images.shape == (50_000, 3, 32, 32) and len(cifar.test_labels) == 10_000
    assert datasets.class_counts(cifar).tolist() == [5000] * 10
    np.testing.assert_allclose(cifar.mean, measure(cifar.train_images)[0], atol=5e-5)
    # The std that everybody uses is no std of the pixels (.2470 .2435 .2616) but the mean of the
    # images' own, to within 1e-4.
    own = (cifar.train_images / 255).std((2, 3)).mean(0)
    np.testing.assert_allclose(cifar.std, own, atol=1.5e-4)


def test_resized_mnist_is_measured(load):
    small = load("mnist", size=16, train_per_class=100)
    assert small.train_images.shape == (1000, 1, 16, 16)
    assert small.mean == measure(small.train_images)[0] != (0.1307,)


def test_mnist_mini_is_a_part_of_mnist(load):
    mnist, mini = load("mnist"), load("mnist-mini")
    digits = {
        image.tobytes(): label
        for image, label in zip(mnist.train_images, mnist.train_labels, strict=True)
    }
    for images, labels in (
        (mini.train_images, mini.train_labels),
        (mini.test_images, mini.test_labels),
    ):
        for image, label in zip(images, labels, strict=True):
            assert digits[image.tobytes()] == label
