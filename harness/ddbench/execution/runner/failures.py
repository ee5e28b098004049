"""What went wrong, as a record keeps it: one line for a person, and the traceback."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ddbench.contract.hookspecs import OptionsError, Unsupported
from ddbench.store.records import FAILED, SKIPPED
from ddbench.text.lines import NO_REASON, message_of, named, printable, shortened

TRACEBACK = 20_000  # characters of a traceback; the middle is left out

# How CUDA and its libraries say that memory ran out, other than by an error class of its own.
GPU_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def failure(error: BaseException, method: str = "") -> dict[str, Any]:
    """Return the fields of a failed record, of a job of `method`."""
    text = printable("".join(traceback.format_exception(error)))
    reason = in_words(error) + _cure(error, method)
    return {"status": FAILED, "reason": reason, "traceback": _middle_cut(text)}


def _cure(error: BaseException, method: str) -> str:
    """Return the options that an error recommends, as the command line takes them."""
    if not (isinstance(error, OptionsError) and error.options and method):
        return ""
    settings = (f"--set {method}.{name}={value}" for name, value in error.options.items())
    return "; try " + printable(" ".join(settings))


def refusal(error: Unsupported) -> dict[str, Any]:
    """Return the fields of a skipped record."""
    reason = message_of(error) or NO_REASON
    return {"status": SKIPPED, "reason": shortened(reason), "traceback": None}


def in_words(error: BaseException) -> str:
    """Return one line that a person understands."""
    message = message_of(error)
    full = next(filter(_gpu_is_full, _with_causes(error)), None)
    if full is not None:
        peak = torch.cuda.max_memory_allocated() / 2**30
        text = f"the GPU is out of memory (peak of this job: {peak:.1f} GiB)"
        return text if full is error else shortened(f"{text}, then {_named(error, message)}")
    if isinstance(error, MemoryError) or "can't allocate memory" in message:
        return "out of memory: more than the machine could give at once"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full, or the quota used up ({message})"
    if isinstance(error, SystemExit):
        message = f"the code ended the program (sys.exit({message or 0}))"
    return shortened(_named(error, message))


def _named(error: BaseException, message: str) -> str:
    place = _place_of(error)
    if not message and not place:
        return named(error)
    text = type(error).__name__ + (f": {message}" if message else "")
    return text + (f" ({place})" if place else "")


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to what it came of, as its traceback does."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _gpu_is_full(error: BaseException) -> bool:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    message = message_of(error)
    return isinstance(error, RuntimeError) and any(words in message for words in GPU_FULL)


def _place_of(error: BaseException) -> str:
    """Return file:line of the last frame that is neither torch's nor the harness's."""
    own = str(Path(__file__).parents[2])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own) and "site-packages" not in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


def _middle_cut(text: str) -> str:
    half = TRACEBACK // 2
    return text if len(text) <= TRACEBACK else f"{text[:half]}\n[...]\n{text[-half:]}"
