"""Datasets on a device: normalisation, ZCA, and the way back to pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbench import datasets
from ddbench.datasets import cache as dataset_cache
from ddbench.datasets.tensors import Whitening, fit_zca, prepare


@pytest.fixture(scope="module")
def toy():
    return datasets.load("toy", options={"channels": 3, "train_per_class": 40})


@pytest.fixture(scope="module")
def toy_zca():
    return datasets.load("toy", options={"channels": 3, "train_per_class": 40, "zca": True})


def whiten_by_definition(train, images, epsilon=0.1):
    """Return (x - mean) U diag(1/sqrt(s + eps)) U^T by numpy's SVD of the centred data, float64."""
    flat = train.reshape(len(train), -1) / 255.0
    centred = flat - flat.mean(0)
    _, singular, basis = np.linalg.svd(centred, full_matrices=True)
    values = np.zeros(flat.shape[1])
    values[: len(singular)] = singular**2 / (len(flat) - 1)
    matrix = basis.T @ np.diag(1 / np.sqrt(values + epsilon)) @ basis
    return ((images.reshape(len(images), -1) / 255.0 - flat.mean(0)) @ matrix).reshape(images.shape)


def test_prepare_normalises_each_channel(toy):
    data = prepare(toy, "cpu")
    assert data.train_images.dtype == torch.float32 and data.train_labels.dtype == torch.int64
    assert data.train_images.shape == (160, 3, 8, 8)
    flat = data.train_images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(3, dtype=torch.float64))
    by_hand = (toy.test_images[5, 2, 3, 4] / 255 - toy.mean[2]) / toy.std[2]
    assert data.test_images[5, 2, 3, 4].item() == pytest.approx(by_hand, rel=1e-6)
    assert data.test_labels.tolist() == toy.test_labels.tolist()


def test_prepare_copies_what_is_mapped_read_only(toy, tmp_path):
    entry = tmp_path / "toy"
    stored = dataset_cache.read_or_build(entry, "toy", toy.options, lambda: toy)
    before = stored.train_images.copy()
    data = prepare(stored, "cpu")  # a warning about read-only memory would be an error here
    data.train_images.zero_()
    data.train_labels.zero_()
    np.testing.assert_array_equal(stored.train_images, before)
    assert stored.train_labels.max() == 3


def test_zca_equals_its_definition_by_svd(toy_zca):
    whitening = fit_zca(toy_zca.train_images)
    data = prepare(toy_zca, "cpu", whitening)
    for images, found in (
        (toy_zca.train_images, data.train_images),
        (toy_zca.test_images, data.test_images),
    ):
        expected = torch.tensor(whiten_by_definition(toy_zca.train_images, images))
        torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=1e-5)


def test_zca_with_fewer_images_than_pixels():
    toy = datasets.load("toy", options={"channels": 3, "train_per_class": 5, "zca": True})
    data = prepare(toy, "cpu", fit_zca(toy.train_images))
    expected = torch.tensor(whiten_by_definition(toy.train_images, toy.test_images))
    torch.testing.assert_close(data.test_images.double(), expected, atol=2e-6, rtol=1e-5)


def test_zca_shrinks_every_direction_by_the_closed_form():
    # two pixels, exactly correlated: eigenvalues 2 v and 0 with v the variance of each
    images = np.array([[0, 0], [255, 255]], np.uint8).reshape(2, 1, 1, 2)
    whitening = fit_zca(images)
    along = 1 / np.sqrt(2 * 0.5 + 0.1)  # variance of 0 and 1 by n - 1 is 1/2
    across = 1 / np.sqrt(0.1)
    half = np.array([[along + across, along - across], [along - across, along + across]]) / 2
    np.testing.assert_allclose(whitening.matrix.numpy(), half, rtol=1e-6)
    np.testing.assert_allclose(whitening.mean.numpy(), [0.5, 0.5])


def test_zca_inverts(toy_zca):
    whitening = fit_zca(toy_zca.train_images)
    pixels = whitening.invert(prepare(toy_zca, "cpu", whitening).test_images)
    expected = torch.tensor(toy_zca.test_images) / 255
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


def test_zca_is_the_same_in_chunks(toy_zca, monkeypatch):
    whole = fit_zca(toy_zca.train_images)
    monkeypatch.setattr("ddbench.datasets.tensors.CHUNK", 7)
    parts = fit_zca(torch.tensor(toy_zca.train_images))
    torch.testing.assert_close(parts.matrix, whole.matrix, atol=1e-6, rtol=1e-6)
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(parts.apply(images), whole.apply(images), atol=1e-5, rtol=1e-5)


def test_whitening_is_kept_in_a_file(toy_zca, tmp_path):
    whitening = fit_zca(toy_zca.train_images)
    whitening.save(tmp_path / "zca.safetensors")
    again = Whitening.load(tmp_path / "zca.safetensors")
    assert torch.equal(again.matrix, whitening.matrix)
    assert torch.equal(again.inverse, whitening.inverse) and torch.equal(again.mean, whitening.mean)


def test_zca_and_whitening_go_together(toy, toy_zca):
    whitening = fit_zca(toy.train_images)
    assert toy.fingerprint != toy_zca.fingerprint
    for dataset, given in ((toy, whitening), (toy_zca, None)):
        with pytest.raises(ValueError, match="toy: option zca is"):
            prepare(dataset, "cpu", given)
    with pytest.raises(ValueError, match="2 or more images of uint8, not 1"):
        fit_zca(toy.train_images[:1])
    with pytest.raises(ValueError, match="not 160 torch.float32"):
        fit_zca(torch.zeros(160, 3, 8, 8))


@pytest.mark.gpu
def test_a_device_gets_what_the_cpu_gets(toy, toy_zca):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cpu, gpu = prepare(toy, "cpu"), prepare(toy, "cuda")
    assert gpu.train_images.is_cuda and gpu.test_labels.is_cuda
    torch.testing.assert_close(gpu.train_images.cpu(), cpu.train_images)
    there, here = (fit_zca(toy_zca.train_images, device=device) for device in ("cuda", "cpu"))
    torch.testing.assert_close(there.matrix, here.matrix, atol=1e-5, rtol=1e-5)
    whitened = prepare(toy_zca, "cuda", here).test_images.cpu()
    torch.testing.assert_close(whitened, prepare(toy_zca, "cpu", here).test_images)


def test_other_normalisation_changes_the_tensors(toy):
    shifted = prepare(replace(toy, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), "cpu")
    torch.testing.assert_close(shifted.test_images, torch.tensor(toy.test_images) / 255)
