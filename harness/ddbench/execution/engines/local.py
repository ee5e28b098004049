"""The local engine: one process per job, forked from a server that has torch loaded.

This module imports no torch, so that the process which supervises starts at once. A worker that
loses its runner ends within two seconds; a worker that dies costs its own job alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.discovery.methods import MethodEntry
from ddbench.execution.engines import worker_channel
from ddbench.execution.engines.crash_records import (
    INFRASTRUCTURE,
    SERVER_LOST,
    dead,
    exit_words,
)
from ddbench.execution.engines.job_queue import Job, Jobs, Observer
from ddbench.execution.engines.limits import exceeds, relieve_log, shorten_log
from ddbench.execution.engines.reaper import Reaper, kill_family
from ddbench.processes.fork_server import (
    end_server,
    let_server_import,
    no_main_module,
    start_method,
    surroundings,
    try_to_start,
)
from ddbench.processes.start_errors import StartError, refuse_few_files
from ddbench.store.atomic_files import is_claimed
from ddbench.store.records import Condensation
from ddbench.text import streams

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess, SpawnProcess

    from ddbench.execution.job_context import JobContext

LOG = logging.getLogger(__name__)

GRACE = 6.0  # seconds a stopped worker has to end its step and save; batch systems allow ten
CLAIM_WAIT = 1.0  # seconds before a job that another run has claimed is looked at again
PRELOAD = "ddbench.execution.engines.preload"  # what the fork server of a run imports
RETRIES = 2  # of a job whose process somebody else has killed


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    slot: int
    record: dict[str, Any] | None = None
    claimed: bool = False
    stopped: bool = False
    killed: str = ""  # why we have killed it
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None  # noqa: S101  (it has been started)
        return self.process.pid


def run_local(
    jobs: Jobs,
    setting: JobContext,
    found: Mapping[str, MethodEntry],
    observe: Observer = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all jobs that are left, `setting.jobs` at once.

    When `stop` says so, no more jobs start and the running ones save a checkpoint and end; they
    stay pending.
    """
    _Local(jobs, setting, found, observe, stop).run()


def slots(setting: JobContext) -> list[str | None]:
    """Return the GPU of each slot in which one job at a time runs, None for no particular one."""
    if not setting.gpus:
        return [None] * setting.jobs
    return list[str | None](setting.gpus * setting.jobs_per_gpu)[: setting.jobs]


class _Local:
    def __init__(
        self,
        jobs: Jobs,
        setting: JobContext,
        found: Mapping[str, MethodEntry],
        observe: Observer,
        stop: Callable[[], bool],
    ) -> None:
        self.jobs, self.setting, self.found = jobs, setting, found
        self.observe, self.stop = observe, stop
        self.slots = slots(setting)
        self.workers: list[_Worker] = []
        self.not_before: dict[str, float] = {}
        self.retries: dict[str, int] = {}
        self.not_started = 0  # processes in a row that could not be started
        self.suspects: set[str] = set()  # jobs that ran when a fork server was lost
        self.asked_to_stop = 0.0
        self.switched_off: dict[str, str] = {}  # extensions that have raised, and what

    def run(self) -> None:
        refuse_few_files(len(self.slots))
        # Any: typeshed's BaseContext has no Process
        self.context: Any = multiprocessing.get_context(start_method())
        let_server_import(PRELOAD)
        streams.open_closed()  # workers have what is open here
        self.reaper = Reaper()
        try:
            with surroundings(self.setting.threads):
                if self._server_is_up():
                    while self._turn():
                        pass
        finally:
            for worker in self.workers:
                kill_family(worker.pid)
                worker.process.join()
            self.reaper.close()

    def _server_is_up(self) -> bool:
        """Start the fork server; say whether it was up before the run was asked to stop.

        It takes the seconds of importing torch, in which a signal must not go unheard.

        Raises:
            StartError: It cannot be started, or a worker cannot import what it needs.
        """
        first = self.context.Process(target=_ready)
        faults: list[Exception] = []
        starting = threading.Thread(target=try_to_start, args=(first, faults), daemon=True)
        starting.start()
        while starting.is_alive():
            if self.stop():
                end_server()
                return False
            starting.join(0.1)
        if faults:
            raise StartError.of(faults[0])
        while first.is_alive():  # where there is no fork server, it imports torch itself
            if self.stop():
                first.kill()
            first.join(0.1)
        if self.stop():
            return False
        if first.exitcode:
            raise StartError.of(EOFError())
        LOG.debug("the fork server has torch loaded; %d jobs at once", len(self.slots))
        return True

    def _turn(self) -> bool:
        """Start what can start, hear what workers say; say whether anything is left to do."""
        stopping = self._stopping()
        waiting = False if stopping else self._startready()
        if not self.workers:
            if waiting:
                time.sleep(0.1)
            return waiting and not stopping
        self._hear_all()
        for worker in self.workers:
            self._watch(worker)
        return True

    def _hear_all(self) -> None:
        """Take in what workers have said, and who has ended."""
        speaking: dict[Any, _Worker] = {worker.pipe: worker for worker in self.workers}
        # The pipe alone would not do: a process that a plugin has started may hold it open.
        ending: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in self.workers}
        ready = wait([*speaking, *ending], timeout=0.2)
        for key in ready:
            if key in speaking and speaking[key] in self.workers:
                self._hear(speaking[key])
        for key in ready:
            if key in ending and ending[key] in self.workers:
                while ending[key] in self.workers and ending[key].pipe.poll():
                    self._hear(ending[key])
                if ending[key] in self.workers:
                    self._ended(ending[key])

    def _stopping(self) -> bool:
        if not self.asked_to_stop and self.stop():
            self.asked_to_stop = time.monotonic()
            for worker in self.workers:
                _tell(worker, "stop")
        if self.asked_to_stop and time.monotonic() - self.asked_to_stop > GRACE:
            for worker in self.workers:
                worker.stopped = True
                kill_family(worker.pid)
        return bool(self.asked_to_stop)

    # -- starting ----------------------------------------------------------------------------

    def _startready(self) -> bool:
        """Fill the free slots; say whether jobs wait for something.

        Raises:
            StartError: No process can be started, again and again.
        """
        now = time.monotonic()
        waiting = False
        for job in self.jobs.ready():
            if len(self.workers) >= len(self.slots):
                return True
            if self.not_before.get(job.id, 0.0) > now or self._not_beside_others(job):
                waiting = True
            elif is_claimed(self.jobs.folder.claim(job.id)):
                self.not_before[job.id] = now + CLAIM_WAIT
                waiting = True
            elif self.stop():
                return True
            elif not self._start(job):
                waiting = True
        return waiting

    def _not_beside_others(self, job: Job) -> bool:
        """Say whether a job must wait because it, or one that runs, may have lost a fork server.

        Such jobs run alone, so that the one that has done it costs no other.
        """
        running = {worker.job.id for worker in self.workers}
        return bool(running) and bool({job.id, *running} & self.suspects)

    def _start(self, job: Job) -> bool:
        """Start the process of a job; say whether it has started."""
        taken = {worker.slot for worker in self.workers}
        slot = next(slot for slot in range(len(self.slots)) if slot not in taken)
        ours, theirs = self.context.Pipe()
        found = self.found.get(job.method) if isinstance(job, Condensation) else None
        setting = replace(self.setting, silenced=tuple(self.switched_off))
        about = (job.record(), setting, found and asdict(found), self.slots[slot])
        process = self.context.Process(target=_enter, args=(theirs, *about))
        self.jobs.start(job)
        try:
            with no_main_module():
                process.start()
        except (OSError, EOFError) as error:
            ours.close()
            self._could_not_start(job, error)
            return False
        finally:
            theirs.close()
        self.not_started = 0
        worker = _Worker(job, process, ours, slot)
        self.workers.append(worker)
        self.reaper.watch(worker.pid)
        LOG.debug("job %s: process %d starts", job.id, worker.pid)
        self.observe({"event": "start", "job": job})
        return True

    def _could_not_start(self, job: Job, error: Exception) -> None:
        """Put a job back whose process could not be started: that is no fault of its own.

        What the system lacks may come free when another worker ends; if none runs, it will not.
        """
        self.not_started += 1
        LOG.debug("job %s: no process can be started: %r", job.id, error)
        if not self.workers and self.not_started > RETRIES:
            self.jobs.put_back(job)
            raise StartError.of(error) from error
        self._put_back(job)

    # -- watching ----------------------------------------------------------------------------

    def _watch(self, worker: _Worker) -> None:
        """Hold a worker to its limits."""
        relieve_log(self._log(worker.job))
        setting = self.setting
        if worker.killed or worker.stopped:
            return
        ran = time.monotonic() - worker.started
        if setting.job_s is not None and ran > setting.job_s:
            worker.killed = (
                f"it ran longer than --job-time allows ({setting.job_s:g} s); if it did not hang, "
                "`ddbench retry --failed` and a longer --job-time go on from its checkpoint"
            )
        elif setting.memory is not None and (held := exceeds(worker.pid, setting.memory)):
            worker.killed = (
                f"it held {held / 2**30:.1f} GiB of memory; --memory allows a job "
                f"{setting.memory / 2**30:.1f} GiB"
            )
        if worker.killed:
            kill_family(worker.pid)

    def _log(self, job: Job) -> Path:
        return self.jobs.folder.log(job.id, isinstance(job, Condensation))

    # -- hearing -----------------------------------------------------------------------------

    def _hear(self, worker: _Worker) -> None:
        try:
            event = worker_channel.receive(worker.pipe)
        except (EOFError, OSError):
            self._ended(worker)
            return
        except ValueError:
            worker.killed = "it wrote into the pipe to its runner"
            kill_family(worker.pid)
            self._ended(worker)
            return
        if event["event"] == "end":
            worker.record = event["record"]
        elif event["event"] == "claimed":
            worker.claimed = True
        elif event["event"] == "stopped":
            worker.stopped = True
        elif event["event"] == "switched off":
            new = event["reasons"].keys() - self.switched_off.keys()
            self.switched_off |= event["reasons"]
            for name in sorted(new):
                self.observe({"event": "switched off", "reason": event["reasons"][name]})
        else:
            self.observe({**event, "job": worker.job})

    def _ended(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self.reaper.release(worker.pid)
        shorten_log(self._log(worker.job))
        self.workers.remove(worker)
        job, code = worker.job, worker.process.exitcode
        ran = time.monotonic() - worker.started
        LOG.debug("job %s: process %d ended after %.1f s, exit code %s; log: %s",
                  job.id, worker.pid, ran, code, self._log(job))  # fmt: skip
        if code == SERVER_LOST:
            self.suspects.add(job.id)
        if worker.record is not None:
            self._end(job, worker.record)
        elif worker.claimed or worker.stopped:
            self._put_back(job)
        elif worker.killed:
            self._end(job, dead(job, self.setting.run, worker.killed))
        elif code not in INFRASTRUCTURE or not self._again(job):
            reason = f"its process ended without a result: {exit_words(code)}"
            self._end(job, dead(job, self.setting.run, reason))

    def _again(self, job: Job) -> bool:
        """Put a job back whose process was lost through no fault of its own, if it may be."""
        done = self.retries[job.id] = self.retries.get(job.id, 0) + 1
        if done > RETRIES:
            return False
        self._put_back(job)
        return True

    def _put_back(self, job: Job) -> None:
        self.not_before[job.id] = time.monotonic() + CLAIM_WAIT
        self.jobs.put_back(job)
        self.observe({"event": "put back", "job": job})

    def _end(self, job: Job, record: dict[str, Any]) -> None:
        self.jobs.end(job, record)
        self.observe({"event": "end", "job": job, "record": record})


def _tell(worker: _Worker, word: str) -> None:
    with suppress(OSError):  # it has just ended by itself
        worker_channel.send(worker.pipe, {"event": word})


def _ready() -> None:
    """Import what a job needs, in a process that shows that the fork server is up."""
    import ddbench.execution.engines.worker_process  # noqa: F401


def _enter(*arguments: Any) -> None:  # noqa: ANN401
    """Begin the work of a forked process; found here so that this module needs no torch."""
    from ddbench.execution.engines.worker_process import main

    main(*arguments)
