"""Check that a method keeps the contract: run all checks, and collect the findings."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ddbench.contract.config import ConfigError, make_config
from ddbench.contract.hookspecs import Unsupported
from ddbench.discovery.methods import Method, MethodError, bind, discover, find, from_file, load
from ddbench.inits import register_inits
from ddbench.meter import warm_up
from ddbench.testing.checks import CHECKS, Check
from ddbench.testing.method_under_test import Shape, Subject, where
from ddbench.testing.tasks import one_thread
from ddbench.text.suggestions import unknown_at

STEPS = 4  # of a trial
LIMIT_S = 120.0  # of one check, ten in the full form: toy data take a few seconds
# Shapes to check with, in order of preference: the first that the method does not refuse.
SHAPES = (Shape(1, 3, 2), Shape(1, 2, 2), Shape(1, 10, 1), Shape(1, 10, 10))


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Its name.
        faults: (expected, got) of each broken promise, in words; () if none.
        refused: Why the method declined what was asked of it, or "".
        docs: Where the promise is explained.
        seconds: What the check took.
    """

    check: str
    faults: tuple[tuple[str, str], ...]
    refused: str
    docs: str
    seconds: float
    hangs: bool = False  # it was ended; nothing can be learned from more of the same

    @property
    def passed(self) -> bool:
        """Whether nothing is broken."""
        return not self.faults

    def __str__(self) -> str:
        """Return the finding as people read it."""
        if self.refused and not self.faults:
            return f"{self.check}: declined: {self.refused}"
        if not self.faults:
            return f"{self.check}: passed"
        lines = [f"{self.check}: failed"]
        for expected, got in self.faults:
            lines += [f"  expected {expected}", f"  got      {got}"]
        return "\n".join([*lines, f"  see {self.docs}"])


class CheckFailed(AssertionError):
    """A method that breaks the contract; the text lists what was expected and what it got."""

    def __init__(self, name: str, failed: list[Finding], total: int) -> None:
        """Keep what failed."""
        found = "\n".join(str(finding) for finding in failed)
        super().__init__(f"method {name!r} fails {len(failed)} of {total} checks\n{found}")
        self.findings = failed


def check_method(
    method: object,
    *,
    options: Mapping[str, Any] | None = None,
    init: str | None = None,
    full: bool = False,
) -> list[Finding]:
    """Check that a method keeps the contract, on toy data and the CPU; return the findings.

    Args:
        method: The name of an installed method, the path of a Python file, or an object with
            the hooks.
        options: Over those of MethodInfo.quick and MethodInfo.check.
        init: Where to start from, instead of MethodInfo.default_init.
        full: Every combination of data, in up to a minute, instead of a few in seconds.

    Raises:
        CheckFailed: With what was expected, what it got, and where that is explained.
        MethodError: The method cannot be loaded.
    """
    name, loaded = _load(method)
    found = list(findings(loaded, name, options=options, init=init, full=full))
    failed = [finding for finding in found if not finding.passed]
    if failed:
        raise CheckFailed(name, failed, len(found))
    return found


def findings(
    method: Method,
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    init: str | None = None,
    full: bool = False,
) -> Iterator[Finding]:
    """Run the checks of a loaded method, one after the other."""
    warm_up(torch.device("cpu"))  # or the first check would seem to take seconds
    with one_thread(), tempfile.TemporaryDirectory(prefix="ddbench-check-") as folder:
        subject = _Started(method, name, options or {}, init, Path(folder), full)
        yield subject.finding
        if subject.subject is not None:
            for check in CHECKS:
                if full or not check.full:
                    finding = _found(check, subject.subject)
                    yield finding
                    if finding.hangs:
                        return


def _load(method: object) -> tuple[str, Method]:
    if isinstance(method, Method):
        return method.name, method
    if isinstance(method, Path) or (isinstance(method, str) and method.endswith(".py")):
        found = from_file(Path(method))
        return found.name, load(found)
    if isinstance(method, str):
        return method, load(find(method, discover()))
    bound = bind(method)
    return bound.name, bound


class _Started:
    """The first check: the options are taken, and there is something that the method can do."""

    def __init__(
        self,
        method: Method,
        name: str,
        options: Mapping[str, Any],
        init: str | None,
        folder: Path,
        full: bool,
    ) -> None:
        started = time.perf_counter()
        self.subject: Subject | None = None
        faults: list[tuple[str, str]] = []
        refused: list[str] = []
        inits = register_inits()
        if init is not None and init not in inits:
            faults.append(("an init that there is", unknown_at("--init", init, inits)))
        try:
            if not faults:
                self._start(method, name, options, init, folder, full, refused)
        except ConfigError as error:
            faults.append(("MethodInfo.quick, and the options given, to be taken", str(error)))
        except (Exception, SystemExit) as error:  # `steps` and `needs` are the plugin's code
            faults.append(("its description to be usable", where(error)))
        if self.subject is None and not faults:
            shapes = "; ".join(str(shape) for shape in SHAPES)
            faults.append((f"something that it can do, of: {shapes}", "; ".join(refused)))
        seconds = time.perf_counter() - started
        docs = "docs/plugin-api.md#methodinfo"
        self.finding = Finding("options", tuple(faults), "", docs, seconds)

    def _start(
        self,
        method: Method,
        name: str,
        options: Mapping[str, Any],
        init: str | None,
        folder: Path,
        full: bool,
        refused: list[str],
    ) -> None:
        given = {**method.info.quick, **method.info.check, **options}
        steps = given.pop("steps", None)
        config = make_config(method.info, given)
        published = method.info.steps(config, SHAPES[0].ipc)
        # a selection takes no steps, whatever the others are asked to
        trial = 0 if published == 0 else min(STEPS, int(published if steps is None else steps))
        first = Subject(
            name=name,
            method=replace(method, name=name),
            options=given,
            config=config,
            init=init or method.info.default_init,
            shape=SHAPES[0],
            steps=max(trial, int(published != 0)),
            store=folder / "artifacts",
            device=torch.device("cpu"),
            full=full,
        )
        for shape in SHAPES:
            try:
                self.subject = first.at(shape=shape)
                return
            except Unsupported as refusal:
                refused.append(f"{shape}: {refusal}")


def _found(check: Check, subject: Subject) -> Finding:
    started = time.perf_counter()
    faults: list[tuple[str, str]] = []
    refused, hangs = "", False
    limit = LIMIT_S * (10 if subject.full else 1)
    try:
        with _settings_put_back(), _at_most(limit):
            faults.extend(check.function(subject))
    except Unsupported as refusal:
        refused = str(refusal)
    except TooLong as error:
        hangs = True
        faults.append((f"an end within {limit:g} s (the checks after this are left out)",
                       where(error)))  # fmt: skip
    except (Exception, SystemExit) as error:  # the method is someone else's code
        faults.append(("no error", where(error)))
    seconds = time.perf_counter() - started
    return Finding(check.name, tuple(faults), refused, check.docs, seconds, hangs)


class TooLong(BaseException):
    """Raised in the middle of a check whose time is over; no Exception, which a method may eat."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong in the block once `seconds` are over.

    By the alarm of the process, which only the main thread can take, and which only reaches
    Python between two operations. An earlier alarm of someone else's is left to them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    theirs = signal.getitimer(signal.ITIMER_REAL)[0]
    if 0 < theirs <= seconds:
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if theirs:
            left = theirs - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))


def _ring(number: int, frame: FrameType | None) -> None:
    raise TooLong("still running")


@contextmanager
def _settings_put_back() -> Iterator[None]:
    """Put the process's shared settings back, whatever a method did to them."""
    enabled, dtype, threads = (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
    )  # fmt: skip
    try:
        yield
    finally:
        torch.set_grad_enabled(enabled)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


__all__ = ["CheckFailed", "Finding", "MethodError", "check_method", "findings"]
