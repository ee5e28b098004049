"""The local engine: one process per job, forked from a server that has torch loaded.

This module imports no torch, so that the process which supervises starts at once. A worker that
loses its runner ends within two seconds; a worker that dies costs its own job alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from ddbench.engines.jobs import Job, Jobs, Observer
from ddbench.methods import Found
from ddbench.plan import Condensation
from ddbench.results import FAILED, write_record

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from ddbench.setting import Setting

# glibc keeps freed memory instead of giving it back at each step: 1.15 to 1.48 times faster here.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**24),
}
GRACE = 30.0  # seconds a stopped worker has to reach the end of its step and save
CLAIM_WAIT = 1.0  # seconds before a job that another run has claimed is looked at again


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess
    pipe: Connection
    slot: int
    record: dict[str, Any] | None = None
    claimed: bool = False
    stopped: bool = False
    started: float = field(default_factory=time.monotonic)


def run_local(
    jobs: Jobs,
    setting: Setting,
    found: Mapping[str, Found],
    observe: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all jobs that are left, `setting.jobs` at once.

    When `stop` says so, no more jobs start and the running ones save a checkpoint and end; they
    stay pending.
    """
    _Local(jobs, setting, found, observe, stop).run()


class _Local:
    def __init__(
        self,
        jobs: Jobs,
        setting: Setting,
        found: Mapping[str, Found],
        observe: Observer,
        stop: Callable[[], bool],
    ) -> None:
        self.jobs, self.setting, self.found = jobs, setting, found
        self.observe, self.stop = observe, stop
        self.workers: list[_Worker] = []
        self.not_before: dict[str, float] = {}
        self.asked_to_stop = 0.0

    def run(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["ddbench.engines.forked"])
        self.context = context
        try:
            with _environment(ALLOCATOR | {"OMP_NUM_THREADS": str(self.setting.threads)}):
                while self._turn():
                    pass
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()

    def _turn(self) -> bool:
        """Start what can start, hear what workers say; say whether anything is left to do."""
        stopping = self._stopping()
        waiting = False
        if not stopping:
            waiting = self._start_ready()
        if not self.workers:
            if waiting:
                time.sleep(0.1)
            return waiting and not stopping
        pipes = {worker.pipe: worker for worker in self.workers}
        for pipe in wait(list(pipes), timeout=0.2):
            self._hear(pipes[pipe])  # type: ignore[index]
        return True

    def _stopping(self) -> bool:
        if not self.asked_to_stop and self.stop():
            self.asked_to_stop = time.monotonic()
            for worker in self.workers:
                _tell(worker, "stop")
        if self.asked_to_stop and time.monotonic() - self.asked_to_stop > GRACE:
            for worker in self.workers:
                worker.stopped = True
                worker.process.kill()
        return bool(self.asked_to_stop)

    def _start_ready(self) -> bool:
        """Fill the free slots; say whether jobs wait for something."""
        now = time.monotonic()
        waiting = False
        for job in self.jobs.ready():
            if self.not_before.get(job.id, 0.0) > now:
                waiting = True
                continue
            if len(self.workers) >= self.setting.jobs:
                return True
            self._start(job)
        return waiting

    def _start(self, job: Job) -> None:
        taken = {worker.slot for worker in self.workers}
        slot = next(slot for slot in range(self.setting.jobs) if slot not in taken)
        ours, theirs = self.context.Pipe()
        found = self.found.get(job.method) if isinstance(job, Condensation) else None
        process = self.context.Process(
            target=_enter, args=(theirs, job.record(), self.setting, found and asdict(found))
        )
        process.start()
        theirs.close()
        self.jobs.start(job)
        self.workers.append(_Worker(job, process, ours, slot))
        self.observe({"event": "start", "job": job})

    def _hear(self, worker: _Worker) -> None:
        try:
            event = worker.pipe.recv()
        except (EOFError, OSError):
            self._ended(worker)
            return
        if event["event"] == "end":
            worker.record = event["record"]
        elif event["event"] == "claimed":
            worker.claimed = True
        elif event["event"] == "stopped":
            worker.stopped = True
        else:
            self.observe({**event, "job": worker.job})

    def _ended(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self.workers.remove(worker)
        job = worker.job
        if worker.record is None and (worker.claimed or worker.stopped):
            self.not_before[job.id] = time.monotonic() + CLAIM_WAIT
            self.jobs.put_back(job)
            self.observe({"event": "put back", "job": job})
            return
        if worker.record is None:
            worker.record = self._record_death(worker)
        self.jobs.end(job, worker.record)
        self.observe({"event": "end", "job": job, "record": worker.record})

    def _record_death(self, worker: _Worker) -> dict[str, Any]:
        """Write the record of a job whose process ended without one."""
        job, run = worker.job, self.setting.run
        kind = "condensation" if isinstance(job, Condensation) else "evaluation"
        reason = f"its process ended without a result: {_exit_words(worker.process.exitcode)}"
        record = {**job.record(), "status": FAILED, "reason": reason, "traceback": None}
        path = run.result(job.id) if kind == "condensation" else run.evaluation(job.id)
        write_record(path, kind, record)
        return record


def _tell(worker: _Worker, word: str) -> None:
    try:
        worker.pipe.send(word)
    except OSError:
        pass  # it has just ended by itself


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = {
            "SIGKILL": " (killed from outside, often because memory ran out)",
            "SIGSEGV": " (a crash inside compiled code)",
        }
        return f"signal {name}{hint.get(name, '')}"
    return f"exit code {code}"


@contextmanager
def _environment(values: Mapping[str, str]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Set environment variables for the processes that are started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if name not in os.environ})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _enter(*arguments: Any) -> None:  # noqa: ANN401
    """Begin the work of a forked process; found here so that this module needs no torch."""
    from ddbench.engines.forked import main

    main(*arguments)
