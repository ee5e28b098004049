"""The engine `ray`: the jobs of a run on the machines of a Ray cluster.

Each job is a task; the process that Ray gives it does the job as the engine `local` does, in a
process of its own under the same guard and limits. Only workers and nodes that are lost are tried
again. Where every node sees the run folder, jobs write into it; else their files travel through
Ray, and the driver writes them. The environment is the workers' own: nothing is shipped.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ddbench.discovery.methods import discover
from ddbench.execution.engines.job_queue import Event, Job
from ddbench.execution.engines.limits import memory_of_a_job
from ddbench.execution.engines.work import CLAIMED, Assignment, Work
from ddbench.execution.job_context import JobContext
from ddbench.processes.child_process import SIGNALS
from ddbench.store.atomic_files import claimed, write_whole
from ddbench.store.records import Condensation
from ddbench.store.run_folder import RESULT, RunError, RunFolder

# Read by Ray when it is imported, or by the processes that it starts.
SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` uploads the project for every worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # --memory is the limit, and what exceeds it is a row
    "RAY_worker_niceness": "0",  # by default workers give way to all else, and times are wrong
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
PACKAGES = ("ddbench", "torch", "torchvision", "numpy")
REFUSED = "refused"
LOOK_S = 1.0  # between two looks of a job at whether it shall stop, and two reports
ROOM_S = 5.0  # between two looks at how large the cluster is
GRACE_S = 20.0  # that jobs have to save and to end
NODE_S = 300.0  # that a node may take to answer at first: it imports, and may be busy


def run_ray(work: Work) -> None:
    """Do all jobs that are left on a Ray cluster.

    Raises:
        RunError: Ray is not installed or does not start, or a node has another environment.
    """
    ray = _imported()
    with _joined(ray, work):
        _Driver(ray, work).run()


def _imported() -> Any:  # noqa: ANN401
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise RunError(
            "--engine ray: Ray is not installed; `uv pip install 'ddbench[ray]'`, on every machine"
        ) from error
    return ray


@contextmanager
def _joined(ray: Any, work: Work) -> Iterator[None]:  # noqa: ANN401
    """Be connected to the cluster for the block; one that is connected already stays so."""
    if ray.is_initialized():
        yield
        return
    context, address = work.context, work.options.get("address")
    given: dict[str, Any] = {"address": address}
    if address is None:  # "local": an old file of a cluster that has gone is not read
        given = {"address": "local", "include_dashboard": False}
        given["num_cpus"] = work.jobs_at_once * context.threads
        given["num_gpus"] = len(context.gpus)
        if context.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(context.gpus)
    # Without byte code Ray's own programs are compiled at each start, which can take them longer
    # than the 15 s that Ray waits for them.
    no_byte_code = os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    hearing = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        ray.init(**given, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray raises many kinds, and plain ones among them
        where = "no Ray cluster starts here" if address is None else f"--ray-address {address}"
        raise RunError(f"--engine ray: {where}: {' '.join(str(error).split())[:300]}") from error
    finally:
        if no_byte_code is not None:
            os.environ["PYTHONDONTWRITEBYTECODE"] = no_byte_code
        with suppress(ValueError):  # not in the main thread, where nothing is heard
            for number, handler in hearing.items():
                signal.signal(number, handler)  # Ray takes SIGTERM for itself
    try:
        yield
    finally:
        ray.shutdown()


# -- the driver ----------------------------------------------------------------------------------


class _Driver:
    def __init__(self, ray: Any, work: Work) -> None:  # noqa: ANN401
        self.ray, self.work, self.context = ray, work, work.context
        self.running: dict[Any, Job] = {}  # by the reference of the task
        self.claims: dict[str, ExitStack] = {}  # of jobs whose files travel
        self.expected = _environment(work)
        self.room, self.looked = 0, 0.0
        self.told_to_stop = 0.0
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        board = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(_Board)
        self.board = board.remote()
        self.travels = False

    def run(self) -> None:
        """Do the work."""
        token = self.context.run.root / "claims" / f".seen-{uuid.uuid4().hex}"
        token.write_text("")
        try:
            self.travels = not self._check_nodes(token)
        finally:
            token.unlink(missing_ok=True)
        self.task = self.ray.remote(max_retries=0, scheduling_strategy="SPREAD", **self._share())(
            _do
        )
        try:
            while self.running or (self.work.left and not self.work.stopping):
                self._turn()
        finally:
            for reference in self.running:
                self.ray.cancel(reference, force=True)
            for claim in self.claims.values():
                claim.close()

    def _share(self) -> dict[str, float]:
        """Return what of a node a job takes."""
        if self.context.gpus or self.context.device.startswith("cuda"):
            return {"num_gpus": 1 / self.context.jobs_per_gpu, "num_cpus": 0}
        return {"num_cpus": self.context.threads, "num_gpus": 0}

    def _check_nodes(self, token: Path) -> bool:
        """See that every node has the driver's environment; say whether all see the run folder.

        Raises:
            RunError: One has not; names each difference.
        """
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        asked = [
            self.ray.remote(_look).options(
                num_cpus=0, max_retries=0, scheduling_strategy=affinity(node["NodeID"], soft=False)
            ).remote(self.expected, str(token))
            for node in nodes
        ]  # fmt: skip
        try:
            answers = self.ray.get(asked, timeout=NODE_S)
        except self.ray.exceptions.RayError as error:
            raise RunError(
                "--engine ray: a node cannot start ddbench (is the same environment installed "
                f"there?): {' '.join(str(error).split())[-300:]}"
            ) from error
        wrong = [f"{host}: {one}" for host, differences, _ in answers for one in differences]
        if wrong:
            raise _refusal(wrong)
        return all(sees for _, _, sees in answers)

    def _turn(self) -> None:
        if self.work.stopping:
            self._stop()
        else:
            self._fill()
        if not self.running:
            time.sleep(0.2)  # what is left is being done by another run
            return
        ended, _ = self.ray.wait(list(self.running), num_returns=1, timeout=0.5)
        for reference in ended:
            self._take(reference)
        self._show()

    def _fill(self) -> None:
        """Hand jobs to the cluster until it has as many as it has room for."""
        if time.monotonic() - self.looked > ROOM_S or not self.looked:
            self.looked, room = time.monotonic(), self._room()
            if room != self.room:
                self.room = room
                self.work.observe({"event": "workers", "jobs_at_once": room})
        if len(self.running) >= self.room:
            return
        for job in self.work.ready():
            if len(self.running) >= self.room:
                return
            self._start(job)

    def _room(self) -> int:
        """Return how many jobs the cluster has room for: one at least, so that it may grow."""
        if asked := self.work.options.get("jobs"):
            return max(1, int(asked))
        has, share = self.ray.cluster_resources(), self._share()
        if share["num_gpus"]:
            return max(1, int(has.get("GPU", 0) / share["num_gpus"]))
        return max(1, int(has.get("CPU", 0) // share["num_cpus"]))

    def _start(self, job: Job) -> None:
        files: dict[str, bytes] = {}
        if self.travels:
            claim = ExitStack()
            if not claim.enter_context(claimed(self.context.run.claim(job.id), "Ray driver")):
                claim.close()
                return
            self.claims[job.id] = claim
            files = _needed(self.context.run, job)
        self.work.begin(job)
        assignment = self.work.assignment(job, self.context)
        limits = {"memory": self.work.memory_is_default, "travels": self.travels}
        reference = self.task.remote(
            assignment, files, self.board, self.expected, {"cwd": os.getcwd(), **limits}
        )
        self.running[reference] = job
        self.work.observe({"event": "start", "job": job})

    def _take(self, reference: Any) -> None:  # noqa: ANN401
        """Take in what has become of a job."""
        job = self.running.pop(reference)
        errors = self.ray.exceptions
        outcome: dict[str, Any] = {}
        lost = ""
        try:
            outcome = self.ray.get(reference)
        except errors.TaskCancelledError:
            outcome = {"event": CLAIMED}
        except errors.RayError as error:  # of its own nothing: the worker or its node has gone
            first = next(iter(str(error).strip().splitlines()), "")
            lost = f"its Ray worker was lost again and again ({type(error).__name__}: {first})"
        if outcome.get("event") == REFUSED:
            raise _refusal(outcome["why"])
        if self.travels and "files" in outcome:
            _bring_home(self.context.run, job, outcome["files"])
        if claim := self.claims.pop(job.id, None):
            claim.close()
        if lost:
            self.work.lost(job, lost)
        else:
            self.work.end(job, outcome)

    def _show(self) -> None:
        jobs = {job.id: job for job in self.running.values()}
        with suppress(self.ray.exceptions.RayError):
            for id, event in self.ray.get(self.board.take.remote(), timeout=5).items():
                if id in jobs:
                    self.work.report(jobs[id], event)

    def _stop(self) -> None:
        """Let jobs save and end; those that wait in Ray's queue end at once."""
        if not self.told_to_stop:
            self.told_to_stop = time.monotonic()
            self.board.end.remote()
            with suppress(self.ray.exceptions.RayError):
                begun = set(self.ray.get(self.board.begun.remote(), timeout=5))
                for reference, job in self.running.items():
                    if job.id not in begun:
                        self.ray.cancel(reference)
        if time.monotonic() - self.told_to_stop > GRACE_S:
            for reference, job in list(self.running.items()):
                self.ray.cancel(reference, force=True)
                del self.running[reference]
                self.work.put_back(job)


def _refusal(differences: list[str]) -> RunError:
    lines = "\n  ".join(differences)
    return RunError(
        f"--engine ray: nodes differ from this machine; install the same there:\n  {lines}"
    )


class _Board:
    """What the driver and its jobs tell each other: an actor on the driver's node."""

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}
        self._begun: list[str] = []
        self._ends = False

    def begin(self, id: str) -> None:
        self._begun.append(id)

    def begun(self) -> list[str]:
        return self._begun

    def tell(self, id: str, event: Event) -> None:
        self._events[id] = event

    def take(self) -> dict[str, Event]:
        events, self._events = self._events, {}
        return events

    def end(self) -> None:
        self._ends = True

    def ends(self) -> bool:
        return self._ends


# -- in the workers ------------------------------------------------------------------------------


def _do(
    assignment: Assignment,
    files: Mapping[str, bytes],
    board: Any,  # noqa: ANN401
    expected: Mapping[str, Any],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """Do a job in a worker of Ray; return the outcome, with its files where these travel."""
    import ray

    host = socket.gethostname()
    if wrong := differences(json.dumps(expected)):
        return {"event": REFUSED, "why": [f"{host}: {one}" for one in wrong]}
    if not how["travels"] and not assignment.context.run.is_run():
        folder = assignment.context.folder
        return {"event": REFUSED, "why": [f"{host}: does not see the run folder {folder}"]}
    with suppress(OSError):  # names of data may be relative
        os.chdir(how["cwd"])
    board.begin.remote(assignment.record["id"])
    context = _context_here(ray, assignment.context, how["memory"])
    stop = _now_and_then(lambda: ray.get(board.ends.remote(), timeout=30))
    report = functools.partial(board.tell.remote, assignment.record["id"])
    if not how["travels"]:
        return replace(assignment, context=context)(stop, report)
    with tempfile.TemporaryDirectory(prefix="ddbench-") as place:
        run = RunFolder(Path(place) / "run")
        run.create()
        _write(run.root, files)
        outcome = replace(assignment, context=replace(context, folder=run.root))(stop, report)
        return {**outcome, "files": _made(run, assignment.record)}


def _context_here(ray: Any, context: JobContext, by_default: bool) -> JobContext:  # noqa: ANN401
    """Return the context of a job on this node: its GPU, its share of memory, jobs at once."""
    own = ray.get_runtime_context().get_node_id()
    [has] = [node["Resources"] for node in ray.nodes() if node["NodeID"] == own]
    gpus = tuple(str(gpu) for gpu in ray.get_gpu_ids())[:1]
    jobs = int(has.get("CPU", 1) // context.threads)
    if gpus:
        jobs = int(has.get("GPU", 1) * context.jobs_per_gpu)
    memory = memory_of_a_job(max(1, jobs)) if by_default else context.memory
    return replace(context, gpus=gpus, jobs=max(1, jobs), memory=memory)


def _now_and_then(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return an asker that asks once in a while, and keeps a yes; no answer is none."""
    last, answer = 0.0, False

    def asked() -> bool:
        nonlocal last, answer
        if not answer and time.monotonic() - last > LOOK_S:
            last = time.monotonic()
            with suppress(Exception):  # the driver's actor has gone: then Ray ends this worker
                answer = ask()
        return answer

    return asked


def _look(expected: Mapping[str, Any], token: str) -> tuple[str, list[str], bool]:
    """Return this host, how it differs from the driver, and whether it sees the run folder."""
    return socket.gethostname(), differences(json.dumps(expected)), Path(token).exists()


def _environment(work: Work) -> dict[str, Any]:
    """Return what workers must have too: versions, and the code of the methods that are planned."""
    methods = {job.method for job in work.jobs.pending if isinstance(job, Condensation)}
    return {
        "versions": _versions(),
        "plugins": [str(path) for path in work.context.plugins],
        "methods": {
            name: [work.found[name].source, work.found[name].code]
            for name in sorted(methods)
            if name in work.found
        },
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@functools.cache
def differences(expected: str) -> list[str]:
    """Return how this environment differs from the driver's, given as JSON, a line each."""
    wanted = json.loads(expected)
    here = _versions()
    lines = [
        f"{name} is {here.get(name, 'not installed')}, on the driver {value}"
        for name, value in wanted["versions"].items()
        if here.get(name) != value
    ]
    files = [path for path in wanted["plugins"] if Path(path).exists()]
    lines += [f"--plugin {path} is not there" for path in wanted["plugins"] if path not in files]
    found = discover(files)
    for name, (source, code) in wanted["methods"].items():
        if name not in found:
            if not Path(source).is_file():  # one of a file comes with the job
                lines.append(f"method {name} ({source}) is not installed")
        elif found[name].code != code:
            lines.append(f"method {name} is {found[name].source} with other code, not {source}")
    return lines


# -- files that travel ---------------------------------------------------------------------------


def _needed(run: RunFolder, job: Job) -> dict[str, bytes]:
    """Return the files that a job starts from, by their names in the run folder."""
    if isinstance(job, Condensation):
        return _below(run.root, run.condensation(job.id))
    if job.condensation is None:
        return {}
    wanted = [run.result(job.condensation), run.set_file(job.condensation, job.snapshot)]
    return {str(path.relative_to(run.root)): path.read_bytes() for path in wanted if path.exists()}


def _made(run: RunFolder, record: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that a job has left."""
    id = str(record["id"])
    if "method" in record:
        return _below(run.root, run.condensation(id))
    paths = [path for path in (run.evaluation(id), run.log(id, False)) if path.exists()]
    return {str(path.relative_to(run.root)): path.read_bytes() for path in paths}


def _below(root: Path, folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files, records last: one that is there says that all else is."""
    for name in sorted(files, key=lambda name: (name.endswith(RESULT), name)):
        write_whole(root / name, files[name])


def _bring_home(run: RunFolder, job: Job, files: Mapping[str, bytes]) -> None:
    """Write what a job has left; what it has removed, such as its checkpoint, goes here too."""
    run.check_there()
    _write(run.root, files)
    if isinstance(job, Condensation):
        checkpoint = run.checkpoint(job.id).parent
        if checkpoint.is_dir() and not any("/checkpoint/" in name for name in files):
            shutil.rmtree(checkpoint, ignore_errors=True)
