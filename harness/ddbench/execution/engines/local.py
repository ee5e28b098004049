"""The local engine: one process per job, forked from a server that has torch loaded.

This module imports no torch, so that the process which supervises starts at once. A worker that
loses its runner ends within two seconds; a worker that dies costs its own job alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.execution.engines import worker_channel
from ddbench.execution.engines.crash_records import (
    INFRASTRUCTURE,
    SERVER_LOST,
    dead,
    exit_words,
)
from ddbench.execution.engines.job_queue import Job
from ddbench.execution.engines.limits import exceeds, relieve_log, shorten_log
from ddbench.execution.engines.reaper import Reaper, kill_family
from ddbench.execution.engines.work import RETRIES, Work
from ddbench.processes.fork_server import (
    end_server,
    let_server_import,
    no_main_module,
    start_method,
    surroundings,
    try_to_start,
)
from ddbench.processes.start_errors import StartError, refuse_few_files
from ddbench.store.records import Condensation
from ddbench.text import streams

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess, SpawnProcess

LOG = logging.getLogger(__name__)

GRACE = 6.0  # seconds a stopped worker has to end its step and save; batch systems allow ten
PRELOAD = "ddbench.execution.engines.preload"  # what the fork server of a run imports


@dataclass
class _Worker:
    job: Job
    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    record: dict[str, Any] | None = None
    claimed: bool = False
    stopped: bool = False
    killed: str = ""  # why we have killed it
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None  # noqa: S101  (it has been started)
        return self.process.pid


def run_local(work: Work) -> None:
    """Do all jobs that are left, `work.jobs_at_once` at once.

    When the run shall stop, no more jobs start and the running ones save a checkpoint and end; they
    stay pending.
    """
    _Local(work).run()


class _Local:
    def __init__(self, work: Work) -> None:
        self.work, self.setting, self.stop = work, work.context, work.stop
        self.workers: list[_Worker] = []
        self.not_started = 0  # processes in a row that could not be started
        self.suspects: set[str] = set()  # jobs that ran when a fork server was lost
        self.asked_to_stop = 0.0

    def run(self) -> None:
        refuse_few_files(self.work.jobs_at_once)
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
        LOG.debug("the fork server has torch loaded; %d jobs at once", self.work.jobs_at_once)
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
        if len(self.workers) < self.work.jobs_at_once:
            for job in self.work.ready():
                if self._not_beside_others(job):
                    continue
                if self.stop():
                    break
                self._start(job)
                if len(self.workers) >= self.work.jobs_at_once:
                    break
        return self.work.left

    def _not_beside_others(self, job: Job) -> bool:
        """Say whether a job must wait because it, or one that runs, may have lost a fork server.

        Such jobs run alone, so that the one that has done it costs no other.
        """
        running = {worker.job.id for worker in self.workers}
        return bool(running) and bool({job.id, *running} & self.suspects)

    def _start(self, job: Job) -> None:
        """Start the process of a job."""
        ours, theirs = self.context.Pipe()
        gpu = self.work.begin(job)
        setting = replace(self.setting, silenced=tuple(self.work.switched_off))
        about = (job.record(), setting, self.work.method_of(job), gpu)
        process = self.context.Process(target=_enter, args=(theirs, *about))
        try:
            with no_main_module():
                process.start()
        except (OSError, EOFError) as error:
            ours.close()
            self._could_not_start(job, error)
            return
        finally:
            theirs.close()
        self.not_started = 0
        worker = _Worker(job, process, ours)
        self.workers.append(worker)
        self.reaper.watch(worker.pid)
        LOG.debug("job %s: process %d starts", job.id, worker.pid)
        self.work.observe({"event": "start", "job": job})

    def _could_not_start(self, job: Job, error: Exception) -> None:
        """Put a job back whose process could not be started: that is no fault of its own.

        What the system lacks may come free when another worker ends; if none runs, it will not.
        """
        self.not_started += 1
        LOG.debug("job %s: no process can be started: %r", job.id, error)
        self.work.put_back(job)
        if not self.workers and self.not_started > RETRIES:
            raise StartError.of(error) from error

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
        return self.work.jobs.folder.log(job.id, isinstance(job, Condensation))

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
            self.work.silence(event["reasons"])
        else:
            self.work.observe({**event, "job": worker.job})

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
            self.work.close(job, worker.record)
        elif worker.claimed or worker.stopped:
            self.work.put_back(job)
        elif worker.killed:
            self.work.close(job, dead(job, self.setting.run, worker.killed))
        else:
            reason = f"its process ended without a result: {exit_words(code)}"
            if code in INFRASTRUCTURE:
                self.work.lost(job, reason)
            else:
                self.work.close(job, dead(job, self.setting.run, reason))


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
