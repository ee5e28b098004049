"""Trajectories on disk: an array of snapshots for each expert, written as it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ddbench import OptionsError


class ExpertError(OptionsError):
    """A trajectory that is missing, damaged or too short; says which and what to do."""


def trajectory_name(number: int) -> str:
    """Return the file name of one expert's trajectory."""
    return f"expert-{number:04d}.npy"


class Experts:
    """Trajectories on disk, memory-mapped: only the snapshots asked for are read."""

    def __init__(
        self, files: Sequence[Path], snapshots: Sequence[int], device: torch.device
    ) -> None:
        """Open one file for each expert; `snapshots` are the epochs of their rows, rising."""
        self._rows = {epoch: row for row, epoch in enumerate(snapshots)}
        self._arrays = [_opened(file, len(snapshots)) for file in files]
        self._device = device

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._arrays)

    def weights(self, expert: int, epoch: int) -> torch.Tensor:
        """Return an expert's weights after `epoch` epochs, -1 for the last, (P,) float32.

        Raises:
            ExpertError: There is no such snapshot.
        """
        row = self._rows.get(max(self._rows) if epoch == -1 else epoch)
        if row is None:
            raise ExpertError(
                f"expert {expert} has no snapshot after epoch {epoch}; it has {len(self._rows)}, "
                f"of epochs {min(self._rows)} to {max(self._rows)}; train the experts longer, or "
                "keep more snapshots"
            )
        # A copy: torch may not share memory with a file opened for reading.
        return torch.from_numpy(np.array(self._arrays[expert][row])).to(self._device)


class ShapesOfExperts(Experts):
    """Experts without content, to price a plan: nothing is trained."""

    def __init__(self, count: int, parameters: int, device: torch.device) -> None:
        """Stand for `count` experts of so many parameters."""
        self._count, self._parameters, self._device = count, parameters, device

    def __len__(self) -> int:
        """Return the number of experts."""
        return self._count

    def weights(self, expert: int, epoch: int) -> torch.Tensor:
        """Return (P,) float32 of the device "meta"."""
        return torch.empty(self._parameters, device=self._device)


def _opened(file: Path, rows: int) -> np.ndarray:
    remedy = f"remove the artifact {file.parent.name} and it is built again"
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ExpertError(f"{file}: no readable trajectory ({error}); {remedy}") from error
    if array.ndim != 2 or len(array) != rows or array.dtype != np.float32:
        raise ExpertError(
            f"{file}: {array.dtype} of shape {array.shape}; expected float32 of {rows} rows; "
            f"{remedy}"
        )
    return array


class Recorder:
    """The files of experts that train together, (snapshots, P) float32 each."""

    def __init__(self, folder: Path, numbers: range, snapshots: Sequence[int]) -> None:
        """Write into `folder` the experts called `numbers`, after the epochs `snapshots`."""
        self._files = [folder / trajectory_name(number) for number in numbers]
        self._snapshots = list(snapshots)

    def create(self, parameters: int) -> None:
        """Make empty files of `parameters` weights a row."""
        shape = (len(self._snapshots), parameters)
        for file in self._files:
            np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape).flush()

    def store(self, epoch: int, weights: torch.Tensor) -> None:
        """Write the weights (G, P) after `epoch` epochs into their rows, if that epoch is kept."""
        if epoch not in self._snapshots:
            return
        for file, row in zip(self._files, weights, strict=True):
            array = np.lib.format.open_memmap(file, mode="r+")
            array[self._snapshots.index(epoch)] = row.cpu().numpy()
            array.flush()
