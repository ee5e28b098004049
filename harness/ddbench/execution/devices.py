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
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"


def cuda_devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip())
    ask = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    return tuple(str(index) for index in range(int(done.stdout.strip() or 0)))
