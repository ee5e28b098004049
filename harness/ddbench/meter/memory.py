"""Measure the peak memory of one block."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory a ``with`` block held at once, beyond what was held before it.

    On a CUDA device what tensors occupy; elsewhere the process's resident memory (Linux). Blocks
    must not lie inside each other: the inner one resets the mark of the outer.

    Attributes:
        bytes: the peak once the block has ended, never negative; None if it cannot be measured.
        reason: why it cannot be measured, else None.
    """

    def __init__(self, device: torch.device | str) -> None:
        """Measure on `device`."""
        self.device = torch.device(device)
        self.bytes: int | None = None
        self.reason: str | None = None
        self._base = 0

    def __enter__(self) -> PeakMemory:
        """Reset the high-water mark and take the base line."""
        self.bytes, self.reason = None, None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._base = torch.cuda.memory_allocated(self.device)
        else:
            self._reset_process()
        return self

    def __exit__(self, *error: object) -> None:
        """Read the high-water mark."""
        self.bytes = self.so_far()

    def so_far(self) -> int | None:
        """Return the peak of the block until now, None if it cannot be measured."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
        elif self.reason is None:
            peak = _high_water()
        else:
            return None
        return max(0, peak - self._base)

    def _reset_process(self) -> None:
        _release_free_memory()
        try:
            _CLEAR_REFS.write_text("5")  # proc(5): reset VmHWM to the current resident size
            _high_water()
        except (OSError, LookupError) as error:
            self.reason = f"the process's high-water mark cannot be reset or read: {error}"
        self._base = psutil.Process().memory_info().rss


def _high_water() -> int:
    """Return the process's peak resident size in bytes since it was last reset."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{_STATUS} has no VmHWM")


def _release_free_memory() -> None:
    """Give freed memory back to the system, else the block would reuse it unseen."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
