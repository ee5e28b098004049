"""A whitening that does not fit into memory is refused before any image is read."""

import numpy as np
import pytest
from ddbench.datasets import Dataset, DatasetError, Presence, Source, load


class Large(Source):
    name = "large"
    summary = "images of 224x224"
    num_classes = 2
    shape = (3, 224, 224)
    read = 0

    def locate(self, roots):
        return Presence(True, None)

    def load(self, roots, options):
        self.read += 1
        images = np.zeros((4, 3, 8, 8), np.uint8)
        labels = np.array([0, 1, 0, 1])
        return Dataset("large", images, labels, images, labels, classes=("a", "b"))


class Memory:
    total = 16 * 10**9


def test_a_whitening_of_150528_pixels_is_refused_by_its_size(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    large = Large()
    with pytest.raises(DatasetError, match="150,528 × 150,528 numbers: 181 GB.*16 GB of memory"):
        load("large?zca=true", sources={"large": large})
    assert large.read == 0


def test_one_of_unknown_shape_is_refused_before_it_is_fitted(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Small", (), {"total": 10**5}))
    large = Large()
    large.shape = None
    with pytest.raises(DatasetError, match="3×8×8 images needs matrices of 192 × 192"):
        load("large?zca=true", sources={"large": large})


def test_small_images_are_whitened_and_large_ones_without_it_read(monkeypatch):
    assert load("toy?zca=true").zca
    large = Large()
    load("large", sources={"large": large})
    assert large.read == 1
