"""Whether there is a GPU, asked without importing torch into this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASK = "import torch; print(torch.cuda.is_available())"


def has_cuda() -> bool:
    """Say whether torch sees a CUDA device; a machine without a driver answers at once."""
    if not any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")):
        return False
    return _asked(ASK) == "True"


def cuda_devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip())
    count = int(_asked("import torch; print(torch.cuda.device_count())") or 0)
    return tuple(str(index) for index in range(count))


def _asked(program: str) -> str:
    """Return what a program prints; it imports nothing of the working folder (-P)."""
    words = [sys.executable, "-P", "-c", program]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
