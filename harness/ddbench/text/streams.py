"""Prepare the standard streams, and keep data on standard output apart from messages."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from typing import Any, TextIO

_data: ContextVar[TextIO | None] = ContextVar("data", default=None)


LEFT = (errno.EPIPE, errno.EIO)  # the reader of a pipe has left, the terminal has gone


class _Lasting(io.FileIO):
    """A file that goes on taking bytes when the reader of its pipe, or the terminal, has left."""

    def write(self, data: Any) -> Any:  # noqa: ANN401  (a number, or None where it would block)
        """Write `data`; if the reader has gone, drop it and all later data.

        Raises:
            OSError: Standard output cannot be written, to a full disk say. What is lost of
                standard error is no reason to end.
        """
        try:
            return super().write(data)
        except OSError as error:
            talk = self.fileno() == 2
            if error.errno in LEFT or not talk:
                _open_nowhere(self.fileno())  # or the end of the program would try again, and fail
            if error.errno in LEFT or talk:
                return len(data)
            raise OSError(error.errno, error.strerror, "standard output") from error


def open_closed() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    Else the next file that is opened gets its number, and what is printed goes into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _open_nowhere(number)
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stdout = sys.stdout or _opened(1, "w")
    sys.stderr = sys.stderr or _opened(2, "w")


def prepare_program() -> None:
    """Make the standard streams of this program such that no print can fail.

    Closed ones are opened, a reader who leaves is no error, and what an encoding lacks is printed
    as an escape. So a program ends with the exit code of what it has done.
    """
    open_closed()
    sys.stdout = _lasting(sys.stdout, 1)
    sys.stderr = _lasting(sys.stderr, 2)


def data() -> TextIO:
    """Return where data goes: standard output, or what `data_alone` keeps of it.

    What its encoding lacks (half a surrogate pair, of a file name) is written as an escape.
    """
    out = _data.get() or sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    return out


@contextmanager
def data_alone() -> Iterator[None]:
    """Keep standard output for what is written to `data()`, in the block.

    All else that is printed, by plugins or below Python, goes to standard error. In a program of
    its own that lasts to its end: exit handlers print too.
    """
    sys.stdout.flush()
    if _number(sys.stdout) == 1:
        kept = _lasting(sys.stdout, os.dup(1))
        os.dup2(2, 1)
    else:  # a test or a notebook has put another stream there
        kept = sys.stdout
    token = _data.set(kept)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        kept.flush()
        _data.reset(token)


def speaks_unicode(stream: TextIO) -> bool:
    """Return whether a stream can encode every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _lasting(stream: TextIO, number: int) -> TextIO:
    """Return a stream to the file `number` that prints as `stream` does, and never fails to."""
    with suppress(OSError, ValueError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, "w", closefd=False)),
        encoding=_encoding_kept(stream.encoding),
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )


def _encoding_kept(encoding: str) -> str:
    """Return an encoding that writes what `encoding` does, and has no name of ASCII's.

    click takes a stream that is ASCII for a mistake, and writes UTF-8 past it.
    """
    ascii_ = codecs.lookup("ascii")
    if codecs.lookup(encoding).name != ascii_.name:
        return encoding
    kept = codecs.CodecInfo(*ascii_[:4], ascii_.incrementalencoder, ascii_.incrementaldecoder,
                            name=_ASCII)  # fmt: skip
    codecs.register(lambda name: kept if name == _ASCII else None)
    return _ASCII


_ASCII = "ascii_alone"


def _opened(number: int, mode: str) -> TextIO:
    return io.TextIOWrapper(io.FileIO(number, mode, closefd=False))


def _number(stream: TextIO) -> int | None:
    """Return the number of the file that a stream writes to, None if it has none."""
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def _open_nowhere(number: int) -> None:
    """Let the file `number` be one that takes everything and holds nothing."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
