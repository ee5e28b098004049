"""Words of other people's code, made fit for one line on a terminal."""

from __future__ import annotations

import re

LONGEST = 400  # characters of a reason
NO_REASON = "the method does not support this, and gave no reason"

# Escape sequences (colours, moves of the cursor), and control characters but for \t and \n.
_CONTROL = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return `text` without what would steer a terminal; lines and tabs stay."""
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    """Return the first line of `text` that says anything, without control characters."""
    lines = (line.strip() for line in printable(text).splitlines())
    return " ".join(next(filter(None, lines), "").split("\t"))


def shortened(line: str) -> str:
    """Return `line`, cut if it is longer than a reason may be."""
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def message_of(error: BaseException) -> str:
    """Return what an error says in one line, whatever its class does to its message."""
    try:
        return one_line(str(error))
    except Exception:  # the error's class is someone else's code
        return "(its message cannot be shown)"
