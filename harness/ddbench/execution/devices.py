"""Which GPUs there are, asked without importing torch into this process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

ASK = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
UNIQUE = ("GPU-", "MIG-")  # how the names of GPUs begin that do not count them


def has_cuda() -> bool:
    """Say whether torch sees a CUDA device; a machine without a driver answers at once."""
    return _count(os.environ.get("CUDA_VISIBLE_DEVICES")) > 0


def cuda_devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = _count(named)
    if named is None:
        return tuple(str(index) for index in range(count))
    # CUDA passes over the first that is not there, and all behind it
    return tuple(part.strip() for part in named.split(",") if part.strip())[:count]


def is_there(gpu: str) -> bool:
    """Say whether a GPU may be used that is named by its UUID, where none is named so yet."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named is None and gpu.startswith(UNIQUE) and _count(gpu) == 1


@functools.cache
def _count(visible: str | None) -> int:
    """Return how many GPUs torch sees where CUDA_VISIBLE_DEVICES is `visible`."""
    if not any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")):
        return 0
    environment = dict(os.environ) | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    words = [sys.executable, "-P", "-c", ASK]  # -P: nothing of the working folder
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    last = done.stdout.split()[-1:]  # a driver may warn before
    return int(last[0]) if last and last[0].isdecimal() else 0
