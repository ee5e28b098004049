"""Move a dataset to a device, normalised or whitened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddbench.datasets.dataset import Dataset
from ddbench.store.atomic_files import write_whole

ZCA_EPSILON = 0.1  # added to the eigenvalues before the root; MTT's and DATM's choice
CHUNK = 4096  # images at a time, where a float64 copy of all would not fit


@dataclass(frozen=True)
class TensorData:
    """A dataset on a device, as networks take it.

    Attributes:
        train_images: (n, ch, H, W) float32, normalised, or whitened where the dataset asks for ZCA.
        train_labels: (n,) int64.
        test_images: (m, ch, H, W) float32, by the training split's constants.
        test_labels: (m,) int64.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@dataclass(frozen=True)
class Whitening:
    """ZCA: x -> (x - mean) W with W = U diag(1 / sqrt(s + 0.1)) U^T, s and U of the covariance.

    Attributes:
        mean: (d,) float32, of flattened pixels in [0, 1].
        matrix: (d, d) float32, W; symmetric.
        inverse: (d, d) float32, W^-1, for viewing.
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    inverse: torch.Tensor

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return the whitened form of images in [0, 1], (B, ch, H, W) float32 on their device."""
        mean, matrix = self.mean.to(images.device), self.matrix.to(images.device)
        parts = [(part.flatten(1) - mean) @ matrix for part in images.split(CHUNK)]
        return torch.cat(parts).view_as(images)

    def invert(self, images: torch.Tensor) -> torch.Tensor:
        """Return whitened images as pixels, (B, ch, H, W); real ones fall into [0, 1] again."""
        mean, inverse = self.mean.to(images.device), self.inverse.to(images.device)
        return (images.flatten(1) @ inverse + mean).view_as(images)

    def save(self, path: Path) -> None:
        """Write the three tensors as safetensors, whole or not at all."""
        from safetensors.torch import save

        tensors = {"mean": self.mean, "matrix": self.matrix, "inverse": self.inverse}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_whole(path, save(tensors))

    @classmethod
    def load(cls, path: Path) -> Whitening:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: There is none.
            ValueError: The file is torn, or another program's; names it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            whitening = cls(**load_file(path))
            d = len(whitening.mean)
            tensors = (whitening.mean, whitening.matrix, whitening.inverse)
            if [tensor.shape for tensor in tensors] != [(d,), (d, d), (d, d)]:
                raise ValueError("shapes are not (d,), (d, d) and (d, d)")
            if {tensor.dtype for tensor in tensors} != {torch.float32}:
                raise ValueError("not all of float32")
        except (SafetensorError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: holds no whitening ({error}); fit it anew") from error
        return whitening


def fit_zca(
    train_images: np.ndarray | torch.Tensor,
    epsilon: float = ZCA_EPSILON,
    device: torch.device | str = "cpu",
) -> Whitening:
    """Return the whitening of (n, ch, H, W) uint8 training images, worked out in float64.

    The covariance divides by n - 1; no mean/std step comes before or after (as MTT and DATM do).
    d = ch*H*W; memory is a few (d, d) matrices of float64, 75 MB each at d = 3072.

    Args:
        train_images: n >= 2 images of one size.
        epsilon: Added to every eigenvalue.
        device: Where to compute; the result is on the CPU.
    """
    if isinstance(train_images, np.ndarray):
        images = torch.from_numpy(np.array(train_images))  # a writable copy, which torch needs
    else:
        images = train_images
    if images.dtype != torch.uint8 or len(images) < 2:
        raise ValueError(
            f"fit_zca needs 2 or more images of uint8, not {len(images)} {images.dtype}"
        )
    mean, covariance = _moments(images.flatten(1), torch.device(device))
    values, vectors = torch.linalg.eigh(covariance)
    roots = (values.clamp_min(0) + epsilon).sqrt()  # rounding can leave tiny negative eigenvalues
    matrix, inverse = ((vectors * scale) @ vectors.T for scale in (1 / roots, roots))
    return Whitening(*(tensor.float().cpu() for tensor in (mean, matrix, inverse)))


def _moments(pixels: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (d,) and covariance (d, d) of pixels / 255, both float64 on `device`."""
    number = len(pixels)
    mean = torch.zeros(pixels.shape[1], dtype=torch.float64, device=device)
    for part in pixels.split(CHUNK):
        mean += part.to(device, torch.float64).sum(0)
    mean /= number * 255
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=device)
    for part in pixels.split(CHUNK):  # centred before squaring, so that nothing cancels
        centred = part.to(device, torch.float64) / 255 - mean
        covariance.addmm_(centred.T, centred)
    return mean, covariance / (number - 1)


def prepare(
    dataset: Dataset, device: torch.device | str, whitening: Whitening | None = None
) -> TensorData:
    """Return the dataset on `device`, ready for networks; copies once, whatever maps the arrays.

    Args:
        dataset: What `load` returned.
        device: Where the tensors go.
        whitening: What `fit_zca` made of the training images; needed exactly when the dataset was
            loaded with the option zca, and then no mean/std step is taken.

    Raises:
        ValueError: A whitening without the option, or the option without a whitening.
    """
    if dataset.zca != (whitening is not None):
        raise ValueError(
            f"{dataset.name}: option zca is {dataset.zca}, but"
            f" {'no' if whitening is None else 'a'} whitening was given; use fit_zca with zca only"
        )
    images = [
        _network_input(array, dataset, torch.device(device), whitening)
        for array in (dataset.train_images, dataset.test_images)
    ]
    labels = [
        torch.from_numpy(np.array(array)).to(device)
        for array in (dataset.train_labels, dataset.test_labels)
    ]
    return TensorData(images[0], labels[0], images[1], labels[1])


def _network_input(
    array: np.ndarray, dataset: Dataset, device: torch.device, whitening: Whitening | None
) -> torch.Tensor:
    # np.array: a writable copy, which torch needs, of what may be mapped from a file
    images = torch.from_numpy(np.array(array)).to(device).float().div_(255)
    if whitening is not None:
        return whitening.apply(images)
    mean, std = _constants(dataset, images)
    return images.sub_(mean).div_(std)


def _constants(dataset: Dataset, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and std as (ch, 1, 1) on the device and in the dtype of `like`."""
    mean, std = (
        torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)
        for values in (dataset.mean, dataset.std)
    )
    return mean, std
