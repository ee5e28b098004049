"""The runner: one job -> one record. It owns the loop, the clock, checkpoints and failures."""

from __future__ import annotations

import csv
import io
import os
import platform
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ddbench
from ddbench import synthetic as sets
from ddbench.datasets import DatasetMissing, chance, majority_accuracy
from ddbench.evaluate import evaluate, recipe_from
from ddbench.extensions import Extensions
from ddbench.files import write_whole
from ddbench.hookspecs import Converged, Unsupported
from ddbench.meter import PeakMemory, StepMeter, hardware, hardware_class, warm_up
from ddbench.methods import Method
from ddbench.plan import Condensation, Evaluation
from ddbench.probe import make_config
from ddbench.results import DONE, FAILED, INITIAL, SKIPPED, write_record
from ddbench.setting import Setting
from ddbench.synthetic import SyntheticSet
from ddbench.task import Task
from ddbench.trees import TreeError, load_tree, restore_state, save_state, save_tree

Report = Callable[[Mapping[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop; what was under way is in its checkpoint."""


class MisbehavedError(Exception):
    """A method broke the contract: what it returned, or did to what it was lent."""


@dataclass
class Control:
    """The strings by which an engine holds a job.

    Attributes:
        stop: Says whether to stop at the next step, after a checkpoint.
        report: Is told of every step, for progress bars.
    """

    stop: Callable[[], bool] = lambda: False
    report: Report = lambda event: None


def run_condensation(
    job: Condensation, setting: Setting, method: Method, extensions: Extensions, control: Control
) -> dict[str, Any]:
    """Condense, write set, curve and record into the run folder; return the record.

    Whatever the method does wrong becomes a failed record, with its traceback; `Unsupported`
    becomes a skipped one.

    Raises:
        Stopped: The engine asked for it; a checkpoint is there to go on from.
    """
    started = _now()
    record = {**job.record(), "started": started, **provenance(setting)}
    extensions.notify("job_started", job=job.record())
    try:
        record |= _Condensing(job, setting, method, extensions, control).run()
        record |= {"status": DONE, "reason": None, "traceback": None}
    except (Stopped, KeyboardInterrupt):
        raise
    except (Unsupported, DatasetMissing) as refusal:
        record |= {"status": SKIPPED, "reason": str(refusal), "traceback": None}
    except Exception as error:  # the method is someone else's code
        record |= failure(error)
    record["ended"] = _now()
    write_record(setting.run.result(job.id), "condensation", record)
    extensions.notify("job_finished", job=job.record(), result=record)
    return record


def run_evaluation(
    job: Evaluation, setting: Setting, extensions: Extensions, control: Control
) -> dict[str, Any]:
    """Evaluate a set that is in the run folder; write and return the record."""
    record = {**job.record(), "started": _now(), **provenance(setting)}
    extensions.notify("job_started", job=job.record())
    try:
        record |= _evaluate(job, setting, extensions, control)
        record |= {"status": DONE, "reason": None, "traceback": None}
    except (Stopped, KeyboardInterrupt):
        raise
    except DatasetMissing as missing:
        record |= {"status": SKIPPED, "reason": str(missing), "traceback": None}
    except Exception as error:  # an architecture may be someone else's code
        record |= failure(error)
    record["ended"] = _now()
    write_record(setting.run.evaluation(job.id), "evaluation", record)
    extensions.notify("job_finished", job=job.record(), result=record)
    return record


def failure(error: BaseException) -> dict[str, Any]:
    """Return the fields of a failed record."""
    text = "".join(traceback.format_exception(error))
    return {"status": FAILED, "reason": in_words(error), "traceback": text}


def in_words(error: BaseException) -> str:
    """Return one line that a person understands."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        peak = torch.cuda.max_memory_allocated() / 2**30
        return f"the GPU is out of memory (peak of this job: {peak:.1f} GiB)"
    if isinstance(error, MemoryError):
        return "out of memory"
    message = (str(error).splitlines() or [""])[0]
    place = _place_of(error)
    return f"{type(error).__name__}: {message}" + (f" ({place})" if place else "")


def _place_of(error: BaseException) -> str:
    """Return file:line of the last frame that is neither torch's nor the harness's."""
    own = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(own) and "site-packages" not in frame.filename:
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


def provenance(setting: Setting) -> dict[str, Any]:
    """Return where and on what a record came to be."""
    machine = hardware(torch.device(setting.device), setting.jobs, setting.threads)
    return {
        "device": setting.device,
        "hardware": machine,
        "hardware_class": hardware_class(machine),
        "versions": versions(),
        "commit": setting.commit,
        "host": socket.gethostname(),
    }


def versions() -> dict[str, str]:
    """Return the versions that results depend on."""
    packages = ("torch", "torchvision", "numpy", "pluggy", "fvcore")
    return {
        "ddbench": ddbench.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# -- condensing ------------------------------------------------------------------------------


@dataclass
class _Progress:
    """Where the loop stands: what a checkpoint holds beside the method's state."""

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    converged: bool = False
    resumed: int = 0


class _Condensing:
    """One condensation, from the dataset to the record's fields."""

    def __init__(
        self,
        job: Condensation,
        setting: Setting,
        method: Method,
        extensions: Extensions,
        control: Control,
    ) -> None:
        self.job, self.setting, self.method = job, setting, method
        self.extensions, self.control = extensions, control
        self.device = torch.device(setting.device)
        self.at = _Progress()
        self.meters = {
            "init": StepMeter(self.device),
            "condense": StepMeter(self.device, cycle=job.cycle),
            "export": StepMeter(self.device),
        }

    def run(self) -> dict[str, Any]:
        """Return the fields of the record; write the set, the initial set and the curve."""
        dataset = self.setting.dataset(self.job.dataset, self.extensions)
        data = self.setting.tensors(dataset)
        self.classes = dataset.num_classes
        self.about_data = {
            "dataset": self.job.dataset,
            "dataset_fingerprint": dataset.fingerprint,
            "classes": list(dataset.classes),
            "mean": list(dataset.mean),
            "std": list(dataset.std),
            "zca": dataset.zca,
        }
        task = self.task = self._task(dataset, data)
        untouched = _checksum(data.train_images, data.train_labels)
        warm_up(self.device)
        memory = PeakMemory(self.device)
        with memory:
            state = self._init(task)
            self._snapshot(state)
            self._loop(state, task)
            result = self._export(state, "export")
        if _checksum(data.train_images, data.train_labels) != untouched:
            raise MisbehavedError(
                "the method wrote into the training tensors of the task; work on a clone"
            )
        return self._finish(result, task, memory.bytes)

    def _task(self, dataset: Any, data: Any) -> Task:  # noqa: ANN401
        job = self.job
        return Task(
            images=data.train_images,
            labels=data.train_labels,
            num_classes=dataset.num_classes,
            dataset=job.dataset,
            fingerprint=dataset.fingerprint,
            strategy=dataset.augment,
            architecture=job.architecture,
            ipc=job.ipc,
            seed=job.seed,
            store=self.setting.store(),
            catalogue=self.extensions.architectures,
        )

    def _metered(self, name: str, task: Task) -> Any:  # noqa: ANN401
        return _metered(self.meters[name], task)

    def _init(self, task: Task) -> Any:  # noqa: ANN401
        config = make_config(self.method.info, self.job.config)
        with self._metered("init", task):
            initial = self.extensions.inits[self.job.init].build(task)
            state = self.method.hook.init(task=task, synthetic=initial, config=config)
        if state is None:
            raise MisbehavedError("init returned None; expected the state to condense from")
        initial_path = self.setting.run.condensation(self.job.id) / INITIAL
        if not initial_path.exists():
            self._complete(initial).save(initial_path)
        self._resume(state, task)
        return state

    def _loop(self, state: Any, task: Task) -> None:  # noqa: ANN401
        """Run the steps that are left, within the budget."""
        last_checkpoint = time.monotonic()
        while not self._spent():
            self._step(state, task)
            self._snapshot(state)
            stop = self.control.stop()
            if self._spent() and not stop:
                break
            if stop or time.monotonic() - last_checkpoint >= self.setting.checkpoint_s:
                self._checkpoint(state, task)
                last_checkpoint = time.monotonic()
            if stop:
                raise Stopped(f"stopped after {self.at.step} of {self.job.steps} steps")

    def _spent(self) -> bool:
        if self.at.converged:
            return True
        if self.job.budget_s is not None:
            own = self.meters["init"].seconds + self.meters["condense"].seconds
            return own >= self.job.budget_s
        return self.at.step >= self.job.steps

    def _step(self, state: Any, task: Task) -> None:  # noqa: ANN401
        step = self.at.step
        metrics: Any = {}
        with self._metered("condense", task):
            try:
                metrics = self.method.hook.condense_step(state=state, task=task, step=step) or {}
            except Converged as end:
                metrics, self.at.converged = end.metrics, True
        if not isinstance(metrics, Mapping):
            raise MisbehavedError(
                f"condense_step returned {type(metrics).__name__}; expected numbers by name"
            )
        numbers = {str(name): float(value) for name, value in metrics.items()}
        seconds = self.meters["condense"].seconds
        self.at.step += 1
        self.at.curve.append({"step": float(step), "seconds": seconds, **numbers})
        self.control.report({"step": self.at.step, "of": self.job.steps, "metrics": numbers})
        self.extensions.notify("step_finished", job=self.job.record(), step=step, metrics=numbers)

    def _export(self, state: Any, meter: str) -> SyntheticSet:  # noqa: ANN401
        with self._metered(meter, self.task):
            result = self.method.hook.export(state=state, task=self.task)
        problems = sets.check(
            result,
            num_classes=self.classes,
            shape=self.task.shape,
            ipc=self.job.ipc,
            balanced=self.job.balanced,
        )
        if problems:
            raise MisbehavedError("the exported set is not right: " + "; ".join(problems))
        return self._complete(result)

    def _complete(self, result: SyntheticSet) -> SyntheticSet:
        """Return the set with what training on it elsewhere needs to know."""
        made_by = {"method": self.job.method, "source": self.job.source, "id": self.job.id}
        return replace(result, provenance={**result.provenance, **self.about_data, **made_by})

    def _snapshot(self, state: Any) -> None:  # noqa: ANN401
        """Keep the set as it stands, if asked to; on nobody's clock."""
        path = self.setting.run.set_file(self.job.id, self.at.step)
        if self.at.step in self.job.snapshots and not path.exists():
            generators = self.task.generator_states()
            with self.task.metered_by(None):
                result = self.method.hook.export(state=state, task=self.task)
            self.task.restore_generators(generators)
            self._complete(result).save(path)

    # -- checkpoints -----------------------------------------------------------------------

    def _checkpoint(self, state: Any, task: Task) -> None:  # noqa: ANN401
        saved = self.method.hook.save(state=state)
        if saved is None:
            saved = save_state(state)
        tree = {
            "state": saved,
            "generators": task.generator_states(),
            "step": self.at.step,
            "curve": self.at.curve,
            "converged": self.at.converged,
            "resumed": self.at.resumed,
            "meters": {name: meter.state() for name, meter in self.meters.items()},
        }
        save_tree(self.setting.run.checkpoint(self.job.id), tree)

    def _resume(self, state: Any, task: Task) -> None:  # noqa: ANN401
        """Go on from the checkpoint, if there is one that can be read."""
        try:
            tree = load_tree(self.setting.run.checkpoint(self.job.id))
        except FileNotFoundError:
            return
        except TreeError as error:
            print(f"starting over: {error}")  # into the job's log
            return
        if not self.method.hook.restore(state=state, tree=tree["state"]):
            restore_state(state, tree["state"])
        task.restore_generators(tree["generators"])
        for name, saved in tree["meters"].items():
            self.meters[name] = StepMeter(self.device, cycle=self.meters[name].cycle)
            self.meters[name].load(saved)
        self.at = _Progress(tree["step"], tree["curve"], tree["converged"], tree["resumed"] + 1)

    # -- the record ------------------------------------------------------------------------

    def _finish(self, result: SyntheticSet, task: Task, peak: int | None) -> dict[str, Any]:
        folder = self.setting.run.condensation(self.job.id)
        result.save(self.setting.run.set_file(self.job.id))
        write_whole(folder / "curve.csv", _csv(self.at.curve))
        if not self.setting.keep_state:
            _remove_checkpoint(self.setting.run.checkpoint(self.job.id))
        present = set(result.hard_labels().tolist())
        last = {k: v for k, v in (self.at.curve or [{}])[-1].items() if np.isfinite(v)}
        return {
            "costs": self._costs(result, task, peak),
            "artifacts": [artifact.record() for artifact in task.artifacts_used.values()],
            "measures": dict(result.measures),
            "metrics": {k: v for k, v in last.items() if k not in ("step", "seconds")},
            "chose_on_split": task.chose_on_split,
            "set_sha256": result.sha256(),
            "images": len(result),
            "missing_classes": [c for c in range(self.classes) if c not in present],
            "resumed": self.at.resumed,
            "converged": self.at.converged,
        }

    def _costs(self, result: SyntheticSet, task: Task, peak: int | None) -> dict[str, Any]:
        meters, artifacts = self.meters.values(), task.artifacts_used.values()
        declared: dict[str, int] = {}
        for meter in meters:
            for why, count in meter.declared.items():
                declared[why] = declared.get(why, 0) + count
        return {
            **{f"{name}_s": meter.seconds for name, meter in self.meters.items()},
            "artifact_s": sum(artifact.seconds for artifact in artifacts),
            "waited_s": sum(meter.waited for meter in meters),
            "flops_condense": sum(meter.flops for meter in meters),
            "flops_artifact": sum(artifact.flops for artifact in artifacts),
            "flops_lower_bound": any(meter.lower_bound for meter in meters)
            or any(artifact.lower_bound for artifact in artifacts),
            "peak_memory": peak,
            "bytes": result.bytes,
            "steps_done": self.at.step,
            "declared_flops": declared,
        }


@contextmanager
def _metered(meter: StepMeter, task: Task):  # type: ignore[no-untyped-def]  # noqa: ANN202
    with task.metered_by(meter), meter:
        yield


def _checksum(*tensors: torch.Tensor) -> list[int]:
    """Return sums of the tensors' bits that an ordinary write into them changes."""
    sums = []
    for tensor in tensors:
        for bits in tensor.detach().view(torch.int32).flatten().split(2**24):
            weights = torch.arange(len(bits), device=bits.device).remainder_(8191)
            sums.append(int((bits * weights.add_(1)).sum()))
    return sums


def _csv(curve: list[dict[str, float]]) -> bytes:
    columns = list(dict.fromkeys(name for row in curve for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    for row in curve:
        writer.writerow({**row, "step": int(row["step"])})
    return text.getvalue().encode()


def _remove_checkpoint(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not os.listdir(path.parent):
        path.parent.rmdir()


# -- evaluating ------------------------------------------------------------------------------


def _evaluate(
    job: Evaluation, setting: Setting, extensions: Extensions, control: Control
) -> dict[str, Any]:
    dataset = setting.dataset(job.dataset, extensions)
    data = setting.tensors(dataset)
    if job.condensation is None:
        synthetic = SyntheticSet(data.train_images, data.train_labels)
        sha256 = None
    else:
        path = setting.run.set_file(job.condensation, job.snapshot)
        synthetic = SyntheticSet.load(path, setting.device)
        sha256 = synthetic.sha256()

    def progress(done: int, total: int) -> None:
        control.report({"step": done, "of": total, "metrics": {}})
        if control.stop():
            raise Stopped(f"stopped after {done} of {total} epochs; evaluations start over")

    warm_up(torch.device(setting.device))
    memory = PeakMemory(torch.device(setting.device))
    with memory:
        scores = evaluate(
            synthetic,
            data.test_images,
            data.test_labels,
            architecture=job.architecture,
            num_classes=dataset.num_classes,
            recipe=recipe_from(job.recipe),
            networks=job.networks,
            own=job.own_recipe,
            catalogue=extensions.architectures,
            progress=progress,
        )
    drop = scores.recipe.drop
    return {
        "accuracies": scores.accuracies,
        "balanced_accuracies": scores.balanced_accuracies,
        "train_s": scores.train_s,
        "test_s": scores.test_s,
        "flops_train": scores.flops_train,
        "flops_lower_bound": scores.lower_bound,
        "forward_macs": scores.forward_macs,
        "recipe": {**vars(scores.recipe), "drop": vars(drop) if drop else None},
        "labels": scores.labels,
        "peak_memory": memory.bytes,
        "n_test": len(data.test_labels),
        "images": len(synthetic),
        "chance": chance(dataset),
        "majority": majority_accuracy(dataset),
        "class_counts_test": np.bincount(
            dataset.test_labels, minlength=dataset.num_classes
        ).tolist(),
        "set_sha256": sha256,
    }
