"""What went wrong, as a record keeps it: one line for a person, and the traceback."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

import torch

from ddbench.results import FAILED

REASON = 400  # characters of a reason
TRACEBACK = 20_000  # characters of a traceback; the middle is left out


def failure(error: BaseException) -> dict[str, Any]:
    """Return the fields of a failed record."""
    text = "".join(traceback.format_exception(error))
    return {"status": FAILED, "reason": in_words(error), "traceback": _shortened(text)}


def in_words(error: BaseException) -> str:
    """Return one line that a person understands."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_allocated() / 2**30
        return f"the GPU is out of memory (peak of this job: {peak:.1f} GiB)"
    message = _message(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in message:
        return "out of memory: more than the machine could give at once"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full, or the quota used up ({message})"
    if isinstance(error, SystemExit):
        message = f"the code ended the program (sys.exit({message or 0}))"
    place = _place_of(error)
    text = f"{type(error).__name__}: {message}" + (f" ({place})" if place else "")
    return text if len(text) <= REASON else text[: REASON - 1] + "…"


def _message(error: BaseException) -> str:
    try:
        return (str(error).splitlines() or [""])[0]
    except Exception:  # the error's class is someone else's code
        return "(its message cannot be shown)"


def _place_of(error: BaseException) -> str:
    """Return file:line of the last frame that is neither torch's nor the harness's."""
    own = str(Path(__file__).parent.parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own) and "site-packages" not in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


def _shortened(text: str) -> str:
    half = TRACEBACK // 2
    return text if len(text) <= TRACEBACK else f"{text[:half]}\n[...]\n{text[-half:]}"
