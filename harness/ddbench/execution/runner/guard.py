"""The guard: what a plugin must leave as it found it, checked after its hooks and put back."""

from __future__ import annotations

import io
import math
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddbench.store.atomic_files import umask

EVERY_S = 0.05  # between two checks of a loop of short steps: a check takes 0.1 to 0.3 ms


class MisbehavedError(Exception):
    """A method broke the contract: what it returned, or did to what it was lent."""


@dataclass(frozen=True)
class _Aspect:
    """Something about the process that all code in it shares."""

    what: str
    remedy: str
    look: Callable[[], Any]
    put_back: Callable[[Any], object]
    same: Callable[[Any, Any], bool] = lambda a, b: a == b


class Guard:
    """Keeps the state of the process for a block, and puts it back afterwards.

    Isolation against accidents: a plugin that means harm can do all that its user can.
    """

    def __init__(self) -> None:
        """Look at the process as it is now."""
        self._before = [aspect.look() for aspect in ASPECTS]
        self._modules = len(sys.modules)
        self._streams = _Streams()
        self._environment = dict(os.environ)
        self._checked = -math.inf  # when the last check ended

    def __enter__(self) -> Guard:
        """Begin the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Put everything back, new environment variables too."""
        self.put_back()
        if dict(os.environ) != self._environment:
            _set_environment(self._environment)
        self._streams.close()

    def refresh(self) -> None:
        """Take the process as it is now for the one to be left alone."""
        self._before = [aspect.look() for aspect in ASPECTS]

    def check_at_times(self, hook: str) -> None:
        """Check as `check` does, if none was made in the last `EVERY_S` seconds.

        For a hook that is called often. What one call changes is found later but not lost; check
        before anything is written, so that it is found before.

        Raises:
            MisbehavedError: As `check`.
        """
        if time.monotonic() - self._checked >= EVERY_S:
            self.check(hook)

    def check(self, hook: str) -> None:
        """Put back what has changed.

        Raises:
            MisbehavedError: Something had; names the hook, what it changed, and what would do.
        """
        changed = self.put_back()
        self._checked = time.monotonic()
        if changed:
            raise MisbehavedError("; ".join(f"{hook} {words}" for words in changed))

    def put_back(self) -> list[str]:
        """Put back what has changed; say what it was, in words."""
        words = self._streams.mend()
        # Some libraries draw from Python's generator, or seed it, while they are imported.
        excused = _PYTHONS_RANDOMNESS if len(sys.modules) != self._modules else None
        self._modules = len(sys.modules)
        for aspect, before in zip(ASPECTS, self._before, strict=True):
            now = aspect.look()
            if not aspect.same(before, now):
                aspect.put_back(before)
                if aspect.what != excused:
                    words.append(f"changed {aspect.what}; {aspect.remedy}")
        return words


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None  # it has been removed


def _to_folder(path: str | None) -> None:
    if path is not None:
        with suppress(OSError):
            os.chdir(path)


def _same_environment(before: dict[str, str], now: dict[str, str]) -> bool:
    """Compare what was there before: libraries add variables when they are imported."""
    return all(now.get(name) == value for name, value in before.items())


def _set_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _torch_randomness() -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states += [generator.get_state() for generator in torch.cuda.default_generators]
    return states


def _same_tensors(before: list[torch.Tensor], now: list[torch.Tensor]) -> bool:
    # CUDA's generators appear with its first use: that is no change.
    return all(torch.equal(a, b) for a, b in zip(before, now, strict=False))


def _set_torch_randomness(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        for generator, state in zip(torch.cuda.default_generators, states[1:], strict=True):
            generator.set_state(state)


def _numpy_randomness() -> tuple[bytes, Any]:
    _, keys, *rest = np.random.get_state()
    return np.asarray(keys).tobytes(), rest


def _set_numpy_randomness(state: tuple[bytes, Any]) -> None:
    keys = np.frombuffer(state[0], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, *state[1]))


def _grad_modes() -> tuple[bool, bool]:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


def _set_grad_mode(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


_LIBRARIES: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)


def _set_precision(values: list[str]) -> None:
    for library, value in zip(_LIBRARIES, values, strict=True):
        library.fp32_precision = value


def _or_none(device: torch.device) -> torch.device | None:
    return None if device.type == "cpu" else device  # None spares each call a detour


_PYTHONS_RANDOMNESS = "Python's global random state"
_GENERATORS = "draw from task.generator, or a generator of your own seeded from it"

ASPECTS = (
    _Aspect("the working folder", "use whole paths", _folder, _to_folder),
    _Aspect("the umask", "set the mode of your own files with os.chmod", umask, os.umask),
    _Aspect(
        "the environment", "leave variables that are set as they are",
        lambda: dict(os.environ), _set_environment, _same_environment,
    ),
    _Aspect(
        "torch's default dtype", "pass dtype= where tensors are made",
        torch.get_default_dtype, torch.set_default_dtype,
    ),
    _Aspect(
        "torch's default device", "use task.device",
        torch.get_default_device, lambda device: torch.set_default_device(_or_none(device)),
    ),
    _Aspect(
        "torch's grad mode", "use it as a context: with torch.no_grad()",
        _grad_modes, lambda modes: _set_grad_mode(modes[0]),
    ),
    _Aspect(
        "the number of torch's threads", "leave it to --threads",
        torch.get_num_threads, torch.set_num_threads,
    ),
    _Aspect(
        "the precision of torch's matrix products",
        "leave it to the harness",
        lambda: [library.fp32_precision for library in _LIBRARIES],
        lambda values: _set_precision(values),
    ),
    _Aspect(
        "torch's global random state", _GENERATORS,
        _torch_randomness, _set_torch_randomness, _same_tensors,
    ),
    _Aspect("numpy's global random state", _GENERATORS, _numpy_randomness, _set_numpy_randomness),
    _Aspect(_PYTHONS_RANDOMNESS, _GENERATORS, random.getstate, random.setstate),
)  # fmt: skip


class _Streams:
    """Standard output and error: kept open, so that no result is ever written to their numbers."""

    def __init__(self) -> None:
        self._python = (sys.stdout, sys.stderr)
        self._spare = {number: _duplicate(number) for number in (1, 2)}
        self._known = {number: _file_of(number) for number in (1, 2)}

    def mend(self) -> list[str]:
        words = []
        for number, spare in self._spare.items():
            if spare is not None and _file_of(number) != self._known[number]:
                os.dup2(spare, number)
                words.append(f"closed or replaced file {number}; leave the standard streams open")
        if (sys.stdout, sys.stderr) != self._python or any(map(_closed, self._python)):
            words.append("closed or replaced sys.stdout or sys.stderr; leave them as they are")
            sys.stdout, sys.stderr = (
                _open_again(stream, number) for number, stream in enumerate(self._python, start=1)
            )
            self._python = (sys.stdout, sys.stderr)
        return words

    def close(self) -> None:
        for spare in self._spare.values():
            if spare is not None:
                os.close(spare)


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:
        return None  # the process was started without this stream


def _file_of(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _closed(stream: Any) -> bool:  # noqa: ANN401
    return stream is not None and stream.closed  # a program may have been started without one


def _open_again(stream: Any, number: int) -> Any:  # noqa: ANN401
    if not _closed(stream):
        return stream
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), line_buffering=True)
