"""A session: installed methods and data, a registry and choices -> plan -> run folder."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ddbench
from ddbench import datasets
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.introspection import Answer, Child, in_process
from ddbench.discovery.methods import Method, MethodEntry, discover
from ddbench.execution import devices
from ddbench.execution.devices import cuda_devices
from ddbench.execution.engines import Jobs, Observer, memory_of_a_job, run_local
from ddbench.execution.signals import Stop
from ddbench.machine import usable_cores
from ddbench.planning.job_ids import adopting, keeping
from ddbench.planning.jobs import Choices, DatasetFacts, Plan, Shared, row_labels
from ddbench.planning.planner import MissingData, PlanningContext, make
from ddbench.planning.registry import Registry, RegistryError
from ddbench.store.atomic_files import write_json
from ddbench.store.records import DONE, Condensation, Evaluation
from ddbench.store.run_folder import RunError, RunFolder, read_run, refuse_newer

LOG = logging.getLogger(__name__)
LONGEST_S = 3650 * 86400.0  # that an option may ask for: ten years


@dataclass(frozen=True)
class Places:
    """Where a session looks and keeps things.

    Attributes:
        cache: Datasets, artifacts and answers kept between runs.
        roots: Data roots, in the order of search.
        plugins: Python files, each a method or an extension.
    """

    cache: Path
    roots: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()


def default_cache() -> Path:
    """Return the user's cache folder for ddbench.

    Raises:
        RunError: The user has no home folder: in a container, under a number without a name.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "ddbench"
    except RuntimeError as error:
        raise RunError(
            "no place for what runs share: neither XDG_CACHE_HOME nor HOME is set, and this user "
            "has no home folder; name a folder with --cache, or set XDG_CACHE_HOME"
        ) from error


@dataclass
class Session:
    """All that a command needs to plan and run.

    Attributes:
        registry: As read.
        places: Where things are.
        found: Methods by name.
        extensions: Datasets, architectures, inits, observers.
        ask: How methods are asked; in a child process unless methods are bound here.
        bound: Methods that are loaded here, for the inline engine.
    """

    registry: Registry
    places: Places
    found: dict[str, MethodEntry]
    extensions: Extensions
    ask: Answer
    bound: Mapping[str, Method] = field(default_factory=dict)

    @classmethod
    def installed(cls, registry: Registry, places: Places) -> Session:
        """Return a session over what is installed."""
        found = discover(places.plugins)
        extensions = Extensions.installed(files=places.plugins)
        ask = Child(found, places.cache, places.plugins)
        LOG.debug("registry %s, cache %s, data in %s", registry.path, places.cache,
                  ", ".join(map(str, places.roots)) or "no folder")  # fmt: skip
        LOG.debug("methods: %s", ", ".join(f"{one.name} ({one.source})" for one in found.values()))
        return cls(registry, places, found, extensions, ask)

    @classmethod
    def of(
        cls,
        registry: Registry,
        places: Places,
        methods: Mapping[str, Method],
        extensions: Extensions | None = None,
    ) -> Session:
        """Return a session over methods bound in this process: tests and notebooks."""
        found = {name: replace(method.found, name=name) for name, method in methods.items()}
        extensions = extensions or Extensions()
        ask = in_process(methods, extensions)
        return cls(registry, places, found, extensions, ask, methods)

    def plan(self, choices: Choices) -> Plan:
        """Return the plan of a run.

        Raises:
            RegistryError: Every unknown name and refused option at once.
        """
        names = lambda: self.extensions.datasets  # noqa: E731
        return make(
            self.registry, choices, PlanningContext(self.found, self.ask, self._facts, names)
        )

    def close(self) -> None:
        """Let go of the process that answers about methods: nothing is asked while jobs run."""
        if isinstance(self.ask, Child):
            self.ask.close()

    def price(self, plan: Plan) -> list[Priced]:
        """Return the FLOPs of each row of a plan and of its evaluations, counted on shapes alone.

        Jobs that differ by seed alone are counted once, and so is each artifact, whoever shares it.
        What cannot be priced says why.
        """
        questions, about = [], []
        sources = self.named_datasets()
        for name, held_out in {job.dataset: job.validate for job in plan.condensations}.items():
            source, options = sources.get(name, (name, {}))
            facts = self._facts(source, {**options, "validate": held_out} if held_out else options)
            for kind, row, jobs, question in _price_questions(plan, name, facts):
                about.append((kind, row, jobs))
                questions.append(question)
        answers = self.ask({"price": questions})["price"] if questions else []
        prices = [
            Priced(
                kind, row, jobs, answer.get("flops", 0) * jobs, answer.get("unpriced", ""),
                bool(answer.get("lower_bound")),
            )
            for (kind, row, jobs), answer in zip(about, answers, strict=True)
        ]  # fmt: skip
        return [*_shared(answers), *prices]

    def shared(self, plan: Plan) -> list[Shared]:
        """Return the artifacts that the rows of a plan share, and whether the cache has them.

        Jobs that differ by seed alone are asked about once. Nothing is built.
        """
        from ddbench.execution.sharing import shared

        return shared(plan, self.ask, self.places.cache / "artifacts")

    def _facts(self, name: str, options: Mapping[str, Any]) -> DatasetFacts:
        started = time.monotonic()
        try:
            dataset = datasets.load(
                name,
                roots=self.places.roots,
                cache=self.places.cache,
                options=options,
                sources=self.extensions.datasets,
            )
        except datasets.DatasetMissing as missing:
            raise MissingData(str(missing)) from missing
        LOG.debug("dataset %s: %d + %d images in %.1f s", name, len(dataset.train_images),
                  len(dataset.test_images), time.monotonic() - started)  # fmt: skip
        about = datasets.facts_of(dataset)
        return DatasetFacts(
            name,
            dataset.fingerprint,
            dataset.num_classes,
            dataset.shape,
            tuple(about["train_counts"]),
            dataset.augment,
            tuple(about["class_names"]),
            tuple(about["test_counts"]),
            dataset.notes,
            dataset.options.get("validate"),
            dataset.epoch_images,
            dataset.zca,
        )

    def sizes(self, name: str) -> datasets.Sizes:
        """Return the sizes of a dataset, known or read.

        Raises:
            DatasetError: An unknown name; files that are absent, of which nothing is published.
        """
        source, options = self.named_datasets().get(name, (name, {}))
        places = self.places
        known = self.extensions.datasets
        return datasets.sizes(
            source, roots=places.roots, cache=places.cache, options=options, sources=known
        )

    def named_datasets(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Return the registry's own datasets, as jobs need them."""
        return {k: (d.source, d.options) for k, d in self.registry.datasets.items()}


@dataclass(frozen=True)
class Priced:
    """The FLOPs of some jobs of a plan that cost the same.

    `kind` is condense or evaluate, or artifact: `jobs` are then the artifacts of a kind. With
    `lower_bound` they are at least as many, because content decides about some of the work.
    """

    kind: str
    row: str
    jobs: int
    flops: int
    unpriced: str = ""
    lower_bound: bool = False


def _shared(answers: Iterable[Mapping[str, Any]]) -> list[Priced]:
    """Return the artifacts of all answers, each once, by what they are."""
    found: dict[str, Mapping[str, Any]] = {}
    for answer in answers:
        found |= answer.get("artifacts", {})
    kinds: dict[str, list[int]] = {}
    for one in found.values():
        kinds.setdefault(one["kind"], []).append(one["flops"])
    return [Priced("artifact", kind, len(flops), sum(flops)) for kind, flops in kinds.items()]


def _price_questions(
    plan: Plan, dataset: str, facts: DatasetFacts
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Go through what differs in cost: (kind, row, how many jobs, question to the probe)."""
    known = {
        "num_classes": facts.num_classes,
        "shape": list(facts.shape),
        "class_counts": list(facts.class_counts),
        "augment": facts.augment,
        "epoch_images": facts.epoch_images,
    }
    labels = row_labels(plan.condensations)
    alike: dict[str, list[Condensation]] = {}
    for job in plan.condensations:
        if job.dataset == dataset:
            key = repr(replace(job, id="", options_id="", series_id="", seed=0, control_of=None))
            alike.setdefault(key, []).append(job)
    for jobs in alike.values():
        row = labels[jobs[0].id]
        job = replace(jobs[0], id="", options_id="", seed=0)
        row = f"{row}, {job.architecture}, {job.init}, ipc {job.ipc}"
        yield "condense", row, len(jobs), {
            "method": job.method, "job": job.record(), "facts": known
        }  # fmt: skip
    by_id = {job.id: job for job in plan.condensations if job.dataset == dataset}
    trained: dict[tuple[str, str, int], list[Evaluation]] = {}
    for evaluation in plan.evaluations:
        if evaluation.dataset == dataset:
            ipc = by_id[evaluation.condensation].ipc if evaluation.condensation else 0
            what_counts = (evaluation.architecture, evaluation.protocol, ipc)
            trained.setdefault(what_counts, []).append(evaluation)
    for (architecture, protocol, ipc), evaluations in trained.items():
        record = replace(evaluations[0], id="", condensation=None).record()
        images = ipc * facts.num_classes or sum(facts.class_counts)
        what = f"ipc {ipc}" if ipc else "the whole set"
        question = {"job": record, "facts": known, "images": images}
        yield "evaluate", f"{what} on {architecture}, {protocol}", len(evaluations), question


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out.

    Attributes:
        out: The run folder.
        device: "cpu", "cuda", "cuda:0".
        jobs: Jobs at once; None is one for each core (CPU) or each GPU.
        threads: CPU threads of a job.
        checkpoint_s: Seconds between checkpoints.
        keep_state: Keep the final state of each condensation.
        gpus: The GPUs to use, as CUDA_VISIBLE_DEVICES names them; None is all.
        jobs_per_gpu: Jobs at once on each of them.
        job_s: Seconds that one job may take.
        memory: Bytes that one job may hold: None is its share of what is free, 0 any.
        inline: One job after the other in this process.
        observers: Observers of `ddbench.discovery.observers` that watch the run.
        keep_stale: Keep results of code that has been edited since, marked, instead of doing
            them again.
        command: What was typed, for the manifest.
    """

    out: Path
    device: str = "cpu"
    jobs: int | None = None
    threads: int = 1
    checkpoint_s: float = 60.0
    keep_state: bool = False
    gpus: tuple[str, ...] | None = None
    jobs_per_gpu: int = 1
    job_s: float | None = None
    memory: int | None = None
    inline: bool = False
    keep_stale: bool = False
    observers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    preset: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder: The run folder.
        plan: What was planned.
        jobs: What became of it.
        stopped: "" or why the run ended with work left.
    """

    folder: RunFolder
    plan: Plan
    jobs: Jobs
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some job is not, 3 nothing could run, 4 more to do, 130 interrupted."""
        if self.stopped:
            return 130 if self.stopped == "interrupted" else 4
        return self.plan.exit_code or int(bool(self.jobs.failed or self.jobs.pending))


def carry_out(
    session: Session,
    plan: Plan,
    options: RunOptions,
    observe: Observer = lambda event: None,
    stop: Stop | None = None,
) -> Outcome:
    """Do what is missing of a plan in a run folder; write the manifest beside the results.

    When `stop` says so, or a signal does, what runs is checkpointed and the rest stays pending.
    """
    stop = stop or Stop()
    stop.within(plan.total_s, "--budget-total")
    folder = RunFolder(options.out)
    folder.create()
    refuse_newer(folder, "run")
    plan = adopting(plan, *folder.ids())
    stale = stale_results(plan, folder)
    if options.keep_stale:
        plan = adopting(keeping(plan, stale), *folder.ids())
    session.close()
    started = datetime.now(UTC)
    commit, dirty = git_commit()
    manifest = {
        "started": started.isoformat(timespec="milliseconds"),
        "command": list(options.command),
        "commit": commit,
        "dirty": dirty,
        "versions": {"ddbench": ddbench.__version__, "python": platform.python_version()},
        "preset": options.preset,
        "registry": session.registry.dump(),
        "plan": plan.record(),
        "code": {job.method: job.code for job in plan.condensations},
        "options": {"device": options.device, "threads": options.threads, "jobs": options.jobs},
        "host": socket.gethostname(),
    }
    stamp = started.strftime("%Y%m%dT%H%M%S%f")
    path = folder.root / "manifests" / f"{_file_name(socket.gethostname())}-{stamp}.json"
    write_json(path, manifest)
    session.extensions.observe(options.observers, options.out.resolve())
    jobs = Jobs.left(plan, folder)
    observe({"event": "plan", "jobs": jobs, "plan": plan, "stale": stale})
    stopped = ""
    if jobs.pending:
        with stop.heard(gently=True):
            _engine(session, jobs, options, commit, observe, stop)
        stopped = stop.reason if jobs.pending else ""
    ended = datetime.now(UTC).isoformat(timespec="milliseconds")
    with suppress(OSError):  # a disk that is full, or a folder that has gone, costs no more
        folder.check_there()
        write_json(path, manifest | {"ended": ended, "stopped": stopped, "blocked": jobs.blocked})
    session.extensions.notify("run_finished", folder=str(folder.root))
    return Outcome(folder, plan, jobs, stopped)


def stale_results(plan: Plan, folder: RunFolder) -> dict[str, str]:
    """Return planned condensations that only other code has done: planned id -> that one's.

    The options are the same and the fingerprint of the method's code (or NUMERICS) is not; of
    several such results the newest counts.
    """
    records = read_run(folder).condensations
    newest: dict[str, str] = {}
    for record in sorted(records.values(), key=lambda record: record.ended):
        if record.status == DONE:
            newest[record.options_id] = record.id
    return {
        job.id: newest[job.options_id]
        for job in plan.condensations
        if job.id not in records and job.options_id in newest
    }


def _engine(
    session: Session,
    jobs: Jobs,
    options: RunOptions,
    commit: str | None,
    observe: Observer,
    stop: Callable[[], bool],
) -> None:
    from ddbench.execution.job_context import JobContext

    device, gpus = (options.device, ()) if options.inline else _gpus(options)
    count = jobs_at_once(options)
    setting = JobContext(
        folder=options.out.resolve(),
        cache=session.places.cache.resolve(),
        roots=session.places.roots,
        datasets=session.named_datasets(),
        device=device,
        threads=options.threads,
        jobs=count,
        observers=options.observers,
        plugins=tuple(file.resolve() for file in session.places.plugins),
        checkpoint_s=options.checkpoint_s,
        keep_state=options.keep_state,
        gpus=gpus,
        jobs_per_gpu=max(options.jobs_per_gpu, -(-count // max(1, len(gpus)))),
        job_s=options.job_s,
        memory=memory_of_a_job(count) if options.memory is None else options.memory or None,
        commit=commit,
    )
    if options.inline:
        from ddbench.discovery.methods import load
        from ddbench.execution.engines.inline import run_inline

        def method(name: str) -> Method:
            return session.bound[name] if name in session.bound else load(session.found[name])

        run_inline(jobs, setting, method, session.extensions, observe, stop)
    else:
        run_local(jobs, setting, session.found, observe, stop)


def device_named(name: str, gpus: str | None = None) -> tuple[str, tuple[str, ...] | None]:
    """Return the device of "auto", "cpu", "cuda" or "cuda:1", and the GPUs of "0,2" or None.

    Raises:
        RegistryError: It is not here, or one of them is not; says what is.
    """
    if name != "cpu" and not re.fullmatch(r"auto|cuda(:[0-9]+)?", name):
        raise RegistryError([f"--device {name}: expected auto, cpu, cuda or cuda:N; {_here()}"])
    there = name != "cpu" and devices.has_cuda()
    if name.startswith("cuda") and not there:
        raise RegistryError([f"--device {name}: there is no CUDA device here; use --device cpu"])
    if gpus is not None and not there:
        why = "needs --device cuda" if name == "cpu" else "there is no CUDA device here"
        raise RegistryError([f"--gpus {gpus}: {why}; leave it out"])
    chosen = None if gpus is None else _gpus_named(gpus)
    if name.startswith("cuda:"):
        visible = chosen or cuda_devices()
        if int(name[5:]) >= len(visible):
            raise RegistryError([f"--device {name}: there is no such GPU; {_here(visible)}"])
    return ("cuda" if there else "cpu") if name == "auto" else name, chosen


def _gpus_named(text: str) -> tuple[str, ...]:
    """Return the GPUs of "0,2", each once."""
    visible = cuda_devices()
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    absent = [gpu for gpu in named if gpu not in visible and not devices.is_there(gpu)]
    if absent or not named:
        what = f"there is no GPU {absent[0]}" if absent else "names none"
        raise RegistryError([f"--gpus {text}: {what}; visible here: {', '.join(visible)}"])
    return named


def _here(visible: tuple[str, ...] | None = None) -> str:
    """Return the devices that there are, in words."""
    count = len((cuda_devices() if devices.has_cuda() else ()) if visible is None else visible)
    return f"here: {', '.join(('cpu', *(f'cuda:{number}' for number in range(count))))}"


def _gpus(options: RunOptions) -> tuple[str, tuple[str, ...]]:
    """Return the device as jobs see it, and the GPUs to share among them.

    Each job sees its own GPU alone, so there every one of them is "cuda".
    """
    name, _, number = options.device.partition(":")
    if name != "cuda":
        return options.device, options.gpus or ()
    visible = options.gpus or cuda_devices()
    return name, (visible[int(number)],) if number else visible


def jobs_at_once(options: RunOptions) -> int:
    """Return how many jobs run side by side."""
    if options.inline:
        return 1
    _, gpus = _gpus(options)
    return options.jobs or len(gpus) * options.jobs_per_gpu or default_jobs(options.threads)


def default_jobs(threads: int) -> int:
    """Return how many jobs run at once on the CPU: one for each core."""
    return max(1, usable_cores() // threads)


def git_commit() -> tuple[str | None, bool]:
    """Return the commit of the checkout that ddbench runs from, and whether it has been edited."""
    place = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(place), *words], capture_output=True, text=True, timeout=10,
                check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    tracked = git("ls-files", "--error-unmatch", __file__)
    if not commit or not tracked:
        return None, False
    return commit, bool(git("status", "--porcelain", "--untracked-files=no"))


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def parse_duration(text: str, option: str) -> float:
    """Return seconds of "90", "90s", "9m", "2h".

    Raises:
        RegistryError: It is none of those.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|)", text.strip())
    if not match or float(match[1]) == 0:
        raise RegistryError([f"{option} {text}: is no duration; write 90s, 9m, 2h"])
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if seconds > LONGEST_S:
        raise RegistryError([f"{option} {text}: is too long; at most {LONGEST_S / 86400:g}d"])
    return seconds


def parse_percentage(text: str, option: str) -> int:
    """Return the whole percentage of "20%" or "20", from 1 to 90.

    Raises:
        RegistryError: It is none of those.
    """
    match = re.fullmatch(r"([0-9]{1,2})\s*%?", text.strip())
    if not match or not 1 <= int(match[1]) <= 90:
        raise RegistryError([f"{option} {text}: expected a percentage from 1% to 90%, as 20%"])
    return int(match[1])


def parse_size(text: str, option: str) -> int:
    """Return bytes of "500M", "4G", "1.5g"; 0 of "none".

    Raises:
        RegistryError: It is none of those.
    """
    if text.strip().lower() == "none":
        return 0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt])(?:i?b)?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise RegistryError([f"{option} {text}: is no size; write 500M, 4G or none"])
    return int(float(match[1]) * 1024 ** (" kmgt".index(match[2])))
