"""Why a run ends before it is done: Ctrl-C, a batch system's signals, the time limit."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ddbench.processes.child_process import SIGNALS


class ToldToStop(BaseException):
    """A signal came while nothing was under way that had to be saved; says which."""


@dataclass
class Stop:
    """Whether a run shall stop, and why; call it to ask.

    Attributes:
        after_s: Seconds from now after which it shall, None for no limit.
        option: What on the command line said so.
        reason: Why it shall stop, "" while it need not.
    """

    after_s: float | None = None
    option: str = "--stop-after"
    reason: str = ""
    _gently: bool = False
    _begun: float = field(default_factory=time.monotonic)

    def __call__(self) -> bool:
        """Return whether to stop now."""
        ran = time.monotonic() - self._begun
        if not self.reason and self.after_s is not None and ran >= self.after_s:
            self.reason = f"{self.option} {self.after_s:g}s"
        return bool(self.reason)

    def within(self, seconds: float | None, option: str) -> None:
        """End after some seconds too, as `option` asks for, unless a limit has been set."""
        if self.after_s is None:
            self.after_s, self.option = seconds, option

    @contextmanager
    def heard(self, gently: bool = False) -> Iterator[Stop]:
        """Hear signals inside the block (of the main thread; there are none elsewhere).

        Ctrl-C, SIGTERM, SIGUSR1 and a closed terminal end the block at once, with
        `KeyboardInterrupt` or `ToldToStop`; `gently` they become the `reason`, and a second
        Ctrl-C ends it at once.
        """
        handled = list(SIGNALS)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            handled.remove(signal.SIGHUP)  # nohup has said that a closed terminal does not matter
        in_main = threading.current_thread() is threading.main_thread()
        gently_before, self._gently = self._gently, gently
        before = {s: signal.signal(s, self._hear) for s in handled} if in_main else {}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._gently = gently_before

    def _hear(self, number: int, frame: Any) -> None:  # noqa: ANN401
        if number == signal.SIGHUP:
            _leave_terminal()
        interrupted = number == signal.SIGINT
        if interrupted and (self.reason or not self._gently):
            raise KeyboardInterrupt
        self.reason = self.reason or ("interrupted" if interrupted else signal.Signals(number).name)
        if not self._gently:
            raise ToldToStop(self.reason)


def _leave_terminal() -> None:
    """Write nowhere where a terminal was that has gone: it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                os.dup2(nowhere, number)
    os.close(nowhere)
