"""Ask methods and architectures what the planner needs to know, in a child process.

Plugins import torch; the planner does not. One child answers all questions of a plan, and its
answers are kept under a key made of the questions and the fingerprints of the code asked.
"""

from __future__ import annotations

import atexit
import dataclasses
import itertools
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from ddbench.discovery.extensions import Extensions, installed_code
from ddbench.discovery.fingerprints import code_fingerprint
from ddbench.discovery.introspection import answer, serve
from ddbench.discovery.methods import Method, MethodEntry, MethodError
from ddbench.processes.fork_server import ForkServer
from ddbench.processes.start_errors import refuse_few_files
from ddbench.store.atomic_files import write_json
from ddbench.store.hashing import hash_of_text

LOG = logging.getLogger(__name__)
PATIENCE_S = 120.0  # for importing every plugin on a slow disk
PARTING_S = 2.0  # from the end of its pipe to that of a process
SERVER = ForkServer("ddbench.discovery.preload")  # where no jobs follow

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Failed(BaseModel):
    """Instead of an answer: what is wrong with a method or an architecture."""

    error: str


class Described(BaseModel):
    """What a method is; see `MethodInfo`."""

    options: dict[str, Any]
    steps: dict[str, int]
    inits: list[str]
    formations: list[str]
    default_init: str
    step: str
    quick: dict[str, Any]
    labels: str
    own_recipe: bool
    published_at: dict[str, list[Any]]
    published: bool
    setting: str
    balanced: bool
    controls: list[dict[str, Any]]
    paper: str
    bibtex: str


class Refused(BaseModel):
    """Options that a method refuses: (option, or "" where unknown; why) each."""

    problems: list[list[str]] = Field(min_length=1)


class Configured(BaseModel):
    """What a method makes of options."""

    problems: list[list[str]] = Field(max_length=0)
    config: dict[str, Any]
    published: dict[str, Any]
    alike: list[str]
    canonical: dict[str, Any]
    steps: int
    published_steps: int
    cycle: int
    needs: str | None
    own_init: str | None


class Known(BaseModel):
    """A known architecture: its canonical name; then whose code it is, or why it does not fit."""

    canonical: str


class Unknown(BaseModel):
    """Why there is no such architecture."""

    unknown: str


class Answers(BaseModel):
    """The answers to one request; the lists are in the order of its questions."""

    describe: dict[str, Described | Failed]
    configure: list[Configured | Refused | Failed]
    architectures: list[Known | Unknown]
    inits: dict[str, str]
    formations: dict[str, str]
    price: list[dict[str, Any]] = []
    artifacts: list[dict[str, Any]] = []


def in_process(methods: Mapping[str, Method], extensions: Extensions) -> Answer:
    """Return an asker for methods that are loaded here: tests, and methods bound in a notebook."""
    return lambda request: answer(request, methods, extensions)


class Child:
    """A process that imports the methods it is asked about; started at the first question.

    Answers are kept on disk, so that a plan whose code and questions have not changed starts no
    process at all.
    """

    def __init__(
        self,
        found: Mapping[str, MethodEntry],
        cache: Path,
        files: Iterable[Path] = (),
        server: ForkServer = SERVER,
    ) -> None:
        """Answer about the methods in `found`, with the extensions of `files`.

        Answers are kept below `cache`. The process is forked from `server`.
        """
        self.server = server
        self.found, self.kept = found, cache / "probes"
        self.files = [str(file.resolve()) for file in files]
        self.core = code_fingerprint(Path(__file__).parents[1])
        self.extensions = installed_code(map(Path, self.files))
        self.deadly: dict[str, str] = {}  # methods that end or hang who imports them, and how
        self._asked: _Asked | None = None

    def __call__(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request, from what is kept if it is there.

        Raises:
            MethodError: The process ended, because a method kills it.
        """
        asked, kept = self._place_of(request)
        if (found := self.kept_answers(request)) is not None:
            LOG.debug("about %s: answers kept in %s", ", ".join(asked) or "no method", kept)
            return found
        started = time.monotonic()
        answers = self._answers(request, asked)
        LOG.debug("about %s: a process of its own answered in %.1f s",
                  ", ".join(asked) or "no method", time.monotonic() - started)  # fmt: skip
        # a broken install may be mended without a trace
        if not any("error" in part for part in _parts(answers)):
            with suppress(OSError):  # where they cannot be kept they are asked for again
                write_json(kept, answers)
        return answers

    def kept_answers(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answers to a request if they are kept, else None; starts no process."""
        _, kept = self._place_of(request)
        with suppress(OSError, ValueError, RecursionError):
            content = kept.read_bytes()
            if _answers_to(request, content):
                answers: dict[str, Any] = json.loads(content)
                return answers
        return None

    def _place_of(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
        """Return the methods that a request is about, and the file of its answers."""
        names = {*request.get("describe", ())}
        for question in _about_methods(request):
            names |= {question["method"]} if "method" in question else set()
        asked = {name: dataclasses.asdict(self.found[name]) for name in sorted(names)}
        question = {"request": request, "methods": asked, "extensions": self.extensions}
        text = json.dumps(question, sort_keys=True)
        key = hash_of_text(f"{self.core}\0{sys.prefix}\0{text}", 24)
        return asked, self.kept / f"{key}.json"

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self._asked is not None:
            process, pipe = self._asked
            with suppress(OSError):  # with the programs that a plugin starts when it is imported
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
            pipe.close()
            self._asked = None

    def _answers(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the process; if a method ends or hangs it, find out which and ask without it."""
        try:
            return self._ask(request, asked)
        except _Lost:
            for name, found in asked.items():
                if name not in self.deadly:
                    try:
                        self._ask({"describe": [name]}, {name: found})
                    except _Lost as lost:
                        source = self.found[name].source
                        self.deadly[name] = f"method {name!r} from {source} {lost} when imported"
        try:
            return self._ask(request, asked)
        except _Lost as lost:
            raise MethodError(self._suspects(asked, lost)) from lost

    def _suspects(self, asked: Iterable[str], lost: _Lost) -> str:
        if methods := ", ".join(asked):
            return (
                f"one of the methods {methods} {lost} when asked about its settings; "
                "run them one by one to find it"
            )
        if extensions := ", ".join(self.extensions):
            return (
                f"one of the extensions {extensions} {lost} when asked for architectures and "
                "inits; remove them one by one to find it"
            )
        return (
            f"the process that describes architectures and inits {lost}; check that "
            "`import torch` works"
        )

    def _ask(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        process, pipe = self._started()
        patience = None if request.get("price") else PATIENCE_S
        try:
            pipe.send_bytes(json.dumps(self._message(request, asked)).encode())
            if pipe.poll(patience):
                return dict(json.loads(pipe.recv_bytes()))
        except (EOFError, OSError):
            process.join(PARTING_S)
            code = process.exitcode
            self.close()
            how = "closed all files of" if code is None else "ended"
            what = "" if code is None else f" (exit code {code})"
            raise _Lost(f"{how} the process{what}") from None
        self.close()
        raise _Lost(f"did not answer for {patience:g} s")

    def _started(self) -> _Asked:
        """Return the process, which is started where there is none, or none any more."""
        if self._asked is not None and not self._asked.process.is_alive():
            self.close()
        if self._asked is None:
            refuse_few_files(1)
            ours, theirs = multiprocessing.Pipe()
            process = self.server.start(serve, theirs)
            theirs.close()
            self._asked = _Asked(process, ours)
            atexit.register(self.close)
        return self._asked

    def _message(self, request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        methods = {name: self.deadly.get(name, found) for name, found in asked.items()}
        return {"request": request, "methods": methods, "files": self.files}


def _about_methods(request: Mapping[str, Any]) -> list[Any]:
    """Return the questions of a request that name a method."""
    return [one for key in ("configure", "price", "artifacts") for one in request.get(key, ())]


def _parts(answers: Mapping[str, Any]) -> list[Any]:
    """Return the answers about one thing each; where something is wrong they have an ``error``."""
    lists = (answers.get(key, []) for key in ("configure", "architectures", "price", "artifacts"))
    return [*answers["describe"].values(), *itertools.chain.from_iterable(lists)]


def _answers_to(request: Mapping[str, Any], content: bytes) -> bool:
    """Say whether what a file holds has the form of answers to a request."""
    try:
        found = Answers.model_validate_json(content, strict=True)
    except ValidationError:
        return False
    lists = ("configure", "architectures", "price", "artifacts")
    return (
        all(len(getattr(found, key)) == len(request.get(key, ())) for key in lists)
        and {*request.get("describe", ())} <= {*found.describe}
        and bool(found.inits or not request.get("inits"))
    )


class _Asked(NamedTuple):
    """The process that answers, and the pipe to it."""

    process: Any
    pipe: Connection


class _Lost(Exception):
    """The process did not answer; the text goes on from "method X"."""
