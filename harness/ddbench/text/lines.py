"""Sanitise and shorten text for one line: error messages of plugins, values, file names."""

from __future__ import annotations

import os
import re
import traceback
from functools import lru_cache

LONGEST = 400  # characters of a reason
NO_REASON = "the method does not support this, and gave no reason"

# Escape sequences (colours, moves of the cursor), and control characters but for \t and \n.
_CONTROL = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return `text` without control characters; line ends and tabs stay."""
    return text if text.isprintable() else _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Return the first line of `text` that is not blank, without control characters."""
    lines = (line.strip() for line in printable(text).splitlines())
    return " ".join(next(filter(None, lines), "").split("\t"))


def shortened(line: str) -> str:
    """Return `line`, cut to the longest allowed reason."""
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def brief(value: object) -> str:
    """Return a value of any kind in at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def slug(*parts: object, most: int = 80) -> str:
    """Return a readable file name of letters, digits, dots and dashes; no path, maybe empty."""
    return "-".join(_slug_of(str(part)) for part in parts)[:most].strip("-.")


@lru_cache(maxsize=10_000)  # the ids of a plan share their parts
def _slug_of(part: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.")


def message_of(error: BaseException) -> str:
    """Return the message of an error in one line, even if its class breaks `str`.

    A first line that only announces what went wrong is followed by what did: the end of another
    process's traceback, the line behind a colon, the first of a group, what a command wrote.
    """
    try:
        text, more = str(error), _more_of(error)
    except Exception:  # the error's class is someone else's code
        return "(its message cannot be shown)"
    head, _, trace = text.partition(_TRACEBACK)
    first = one_line(head)
    if trace:
        more = [_end_of_traceback(trace), *more]
    elif first.endswith(":") or _COUNTED.match(first):
        rest = [line.strip() for line in printable(head).splitlines() if line.strip()]
        return " ".join([*rest[:3], *more])
    parts = [part for part in (first, *more) if part]
    return ": ".join([*(part.rstrip(".:") for part in parts[:-1]), *parts[-1:]])


def reason_of(error: BaseException) -> str:
    """Return the message of an error in one line, or its type if it has no message."""
    return message_of(error) or type(error).__name__


def named(error: BaseException) -> str:
    """Return an error's type and message in one line; without a message, its place."""
    message = message_of(error) or _line_of(error)
    return type(error).__name__ + (f": {message}" if message else "")


_TRACEBACK = "Traceback (most recent call last):"
_COUNTED = re.compile(r"[0-9]+ validation errors? for ")  # pydantic's; each error follows


def _end_of_traceback(text: str) -> str:
    """Return the line behind the frames of the last traceback in a text: type and message."""
    lines = [
        line for line in printable(text.rpartition(_TRACEBACK)[2]).splitlines() if line.strip()
    ]
    told = (line for line in lines if not line[0].isspace())
    return one_line(next(told, lines[-1] if lines else ""))


def _more_of(error: BaseException) -> list[str]:
    """Return what an error knows beside its message, each in one line."""
    if isinstance(error, BaseExceptionGroup):
        return [named(error.exceptions[0])]
    told = getattr(error, "stderr", None)  # of a command that failed
    if isinstance(told, bytes):
        told = told.decode(errors="replace")
    if isinstance(told, str) and told.strip():
        return [one_line(told.strip().splitlines()[-1])]
    notes = [one_line(str(note)) for note in getattr(error, "__notes__", ())[:1]]
    silent = not str(error).strip() and error.__cause__ is not None
    return ([named(error.__cause__)] if silent and error.__cause__ else []) + notes


def _line_of(error: BaseException) -> str:
    """Return where an error was raised, and the line that did it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}"
    return f"{where}: {frames[-1].line}" if frames[-1].line else where
