"""Devices: which GPUs there are, asked without importing torch here, and how they are named."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

from ddbench.planning.registry import RegistryError

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


def device_named(name: str, gpus: str | None = None) -> tuple[str, tuple[str, ...] | None]:
    """Return the device of "auto", "cpu", "cuda" or "cuda:1", and the GPUs of "0,2" or None.

    Raises:
        RegistryError: It is not here, or one of them is not; says what is.
    """
    if name != "cpu" and not re.fullmatch(r"auto|cuda(:[0-9]+)?", name):
        raise RegistryError([f"--device {name}: expected auto, cpu, cuda or cuda:N; {_here()}"])
    there = name != "cpu" and has_cuda()
    if name.startswith("cuda") and not there:
        raise RegistryError([f"--device {name}: there is no CUDA device here; use --device cpu"])
    if gpus is not None and not there:
        why = "needs --device cuda" if name == "cpu" else "there is no CUDA device here"
        raise RegistryError([f"--gpus {gpus}: {why}; leave it out"])
    chosen = None if gpus is None else _gpus_named(gpus)
    if name.startswith("cuda:"):
        visible = chosen or cuda_devices()
        if int(name[5:]) >= len(visible):
            raise RegistryError([f"--device {name}: there is no such GPU; {_here(visible)}"])
    return ("cuda" if there else "cpu") if name == "auto" else name, chosen


def _gpus_named(text: str) -> tuple[str, ...]:
    """Return the GPUs of "0,2", each once."""
    visible = cuda_devices()
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    absent = [gpu for gpu in named if gpu not in visible and not is_there(gpu)]
    if absent or not named:
        what = f"there is no GPU {absent[0]}" if absent else "names none"
        raise RegistryError([f"--gpus {text}: {what}; visible here: {', '.join(visible)}"])
    return named


def _here(visible: tuple[str, ...] | None = None) -> str:
    """Return the devices that there are, in words."""
    count = len((cuda_devices() if has_cuda() else ()) if visible is None else visible)
    return f"here: {', '.join(('cpu', *(f'cuda:{number}' for number in range(count))))}"


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
