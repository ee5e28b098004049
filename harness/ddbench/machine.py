"""Find the cores and the processor that this process may use, on Linux and macOS."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")
SYSCTL = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")  # macOS


def usable_cores() -> int:
    """Return the number of cores that this process may use, or all if the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_models() -> list[str]:
    """Return the names of the NVIDIA GPUs as their driver gives them; [] where it tells none."""
    names = []
    for path in sorted(GPUS.glob("*/information")):
        with suppress(OSError):
            for line in path.read_text().splitlines():
                if line.startswith("Model:"):
                    names.append(line.split(":", 1)[1].strip())
    return names


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    with suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(SYSCTL, capture_output=True, text=True, check=True, timeout=10)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine()
