"""One condensation: dataset, method and steps -> a synthetic set and what it cost."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ddbench import formations
from ddbench.contract import synthetic_set as sets
from ddbench.contract.config import make_config
from ddbench.contract.hookspecs import Converged
from ddbench.contract.set_metadata import about_data, about_job
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import Method
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner.callbacks import Control, Stopped
from ddbench.execution.runner.checkpoint import Checkpoint, Progress, holds_set_of, take_over
from ddbench.execution.runner.guard import Guard, MisbehavedError
from ddbench.execution.runner.provenance import provenance
from ddbench.inits import initial_set
from ddbench.meter import PeakMemory, StepMeter, warm_up
from ddbench.store.atomic_files import check_plain, write_whole
from ddbench.store.records import Condensation
from ddbench.store.run_folder import CURVE, INITIAL
from ddbench.store.tensor_trees import (
    TreeError,
    check_restorable,
    copied,
    held_kinds,
    restore_state,
    save_state,
)

OWN_COLUMNS = ("step", "seconds")  # of the curve, before those of the method's metrics


class Condensing:
    """One condensation, from the dataset to the record's fields."""

    def __init__(
        self,
        job: Condensation,
        setting: JobContext,
        method: Method,
        extensions: Extensions,
        control: Control,
        guard: Guard,
    ) -> None:
        """Condense `job` into the run folder of `setting`; `guard` watches the hooks."""
        self.job, self.setting, self.method = job, setting, method
        self.extensions, self.control, self.guard = extensions, control, guard
        self.device = torch.device(setting.device)
        self.run_folder = setting.run
        self.check_folder = setting.run.check_of_presence()
        self.at = Progress()
        self.repeated = 0  # images that the initial set has more than once
        self.meters = self._meters()
        self.memory = PeakMemory(self.device)
        made_on = provenance(setting)
        self.made_on = {name: made_on[name] for name in ("hardware_class", "versions")}

    def _meters(self) -> dict[str, StepMeter]:
        return {
            "init": StepMeter(self.device),
            "condense": StepMeter(self.device, cycle=self.job.cycle),
            "export": StepMeter(self.device),
        }

    def run(self) -> dict[str, Any]:
        """Return the fields of the record; write the set, the initial set and the curve.

        Raises:
            Stopped: The engine asked for it; a checkpoint is written.
        """
        self._prepare()
        with self.memory:
            state = self._init()
            self._loop(state)
            if self.setting.keep_state:
                self._checkpoint(state)
            result = self._exported(state)
        self._check_lent()
        return self._finish(result, self._peak(self.memory.bytes))

    def _prepare(self) -> None:
        """Load the data and make the task; this is not timed."""
        job = self.job
        dataset = self.setting.dataset_of(job, self.extensions)
        data = self.setting.tensors(dataset)
        self.whitening = self.setting.whitening(dataset)
        self.lent = (data.train_images, data.train_labels)
        self.checksum = _checksum(*self.lent)
        self.about = {**about_data(job.dataset, dataset, job.validate), **about_job(job)}
        self.task = self.setting.task(job, dataset, data, self.extensions)
        self.task.on_build = self.control.report
        warm_up(self.device)
        self.guard.refresh()

    def _peak(self, of_this_attempt: int | None) -> int | None:
        """Return the most memory held, in this attempt or in an earlier one."""
        known = [n for n in (self.at.peak_memory, of_this_attempt) if n is not None]
        return max(known, default=None)

    # -- the method's hooks ------------------------------------------------------------------

    def _call(self, hook: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Call one hook."""
        return getattr(self.method.hook, hook)(**arguments)

    @contextmanager
    def _metered(self, meter: str) -> Iterator[None]:
        """Put the block on a clock."""
        with self.task.metered_by(self.meters[meter]), self.meters[meter]:
            yield

    def _init(self) -> Any:  # noqa: ANN401
        """Return the state to start or to go on from."""
        config = make_config(self.method.info, self.job.config)
        with self._metered("init"):
            chosen = self.extensions.inits[self.job.init]
            initial = initial_set(chosen, self.task, self.method.info, config)
            with self.task.off_the_clock():
                untouched = None if initial is None else _own_tensors(initial)
            if initial is not None:
                self.repeated = int(initial.measures.get("repeated_images", 0))
            state = self._call("init", task=self.task, synthetic=initial, config=config)
        self.guard.check("init")
        if state is None:
            raise MisbehavedError("init returned None; expected the state to condense from")
        self.made_by_init = self._kinds(state)
        self._keep_start(state, untouched)
        self._resume(state)
        self._snapshot(state)
        return state

    def _keep_start(self, state: Any, initial: SyntheticSet | None) -> None:  # noqa: ANN401
        """Store what the condensation starts from: what the method would export now.

        Of a method that cannot export before its first step it is the initial set, if there is
        one: a picture is no reason to fail.
        """
        path = self.run_folder.condensation(self.job.id) / INITIAL
        if holds_set_of(self.job.id, path):
            return
        try:
            start: SyntheticSet | None = self._seen(state, self._copy_if_possible(state))
        except Exception as error:  # the method is someone else's code
            print(f"export before the first step: {type(error).__name__}: {error}")
            self.guard.put_back()
            start = None if initial is None else self._complete(initial)
        if start is not None:
            measures = {} if initial is None else initial.measures  # need not be handed on
            replace(start, measures={**measures, **start.measures}).save(path)

    def _copy_if_possible(self, state: Any) -> Any | None:  # noqa: ANN401
        """Return a copy of the state, None where no checkpoint could hold it either."""
        try:
            return copied(self._saved(state))
        except TreeError:
            return None

    def _seen(self, state: Any, saved: Any | None) -> SyntheticSet:  # noqa: ANN401
        """Return the set as it stands between two steps; this is not timed, and leaves no trace.

        An identity does not depend on when a set is looked at, so exporting must change nothing:
        `saved`, a copy of the state, is laid over it afterwards.
        """
        with self.task.without_a_trace():
            result = self._call("export", state=state, task=self.task)
            self.guard.check("export")
            if saved is not None:
                self._lay_over(state, saved)
        return self._checked(result)

    def _loop(self, state: Any) -> None:  # noqa: ANN401
        """Run the steps that are left, within the budget."""
        last_checkpoint = time.monotonic()
        while not self._spent():
            self._step(state)
            self._snapshot(state)
            stop = self.control.stop()
            if self._spent() and not stop:
                break
            if stop or time.monotonic() - last_checkpoint >= self.setting.checkpoint_s:
                self._checkpoint(state)
                last_checkpoint = time.monotonic()
            if stop:
                raise Stopped(f"stopped after {self.at.step} of {self.job.steps} steps")
        self._check_steps()

    def _spent(self) -> bool:
        return self._ended_by() is not None

    def _ended_by(self) -> str | None:
        """Return what ends the loop here, None if nothing does."""
        if self.at.converged:
            return "converged"
        if self.job.budget_s is not None:
            return "budget" if self._seconds() >= self.job.budget_s else None
        return "steps" if self.at.step >= self.job.steps else None

    def _seconds(self) -> float:
        """Return the seconds that count against a budget."""
        return self.meters["init"].seconds + self.meters["condense"].seconds

    def _step(self, state: Any) -> None:  # noqa: ANN401
        step = self.at.step
        metrics: Any = None
        with self._metered("condense"):
            try:
                metrics = self._call("condense_step", state=state, task=self.task, step=step)
            except Converged as end:
                metrics, self.at.converged = end.metrics, True
        self.guard.check_at_times("condense_step")
        numbers = _numbers({} if metrics is None else metrics)
        seconds = self.meters["condense"].seconds
        self.at.step += 1
        self.at.curve.append({"step": float(step), "seconds": seconds, **numbers})
        self.control.report(
            {
                "step": self.at.step,
                "of": self.job.steps,
                "seconds": self._seconds(),
                "metrics": numbers,
            }
        )
        self._notify(step, numbers)

    def _check_steps(self) -> None:
        """See that the steps left the process alone, before others run or a file is made."""
        if self.at.step:
            self.guard.check("condense_step")

    def _notify(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell the observers; what they do to the process is undone, and not the method's fault."""
        if self.extensions.manager.hook.step_finished.get_hookimpls():
            self._check_steps()
            about = {"job": self.job.record(), "step": step, "metrics": metrics}
            self.extensions.notify("step_finished", **about)
            self.guard.put_back()

    def _exported(self, state: Any) -> SyntheticSet:  # noqa: ANN401
        with self._metered("export"):
            result = self._call("export", state=state, task=self.task)
        self.guard.check("export")
        return self._checked(result)

    def _checked(self, result: Any) -> SyntheticSet:  # noqa: ANN401
        classes, shape = self.task.num_classes, self.task.shape
        problems = sets.check(
            result,
            num_classes=classes,
            shape=shape,
            ipc=self.job.ipc,
            balanced=self.job.balanced,
        ) or formations.problems(
            result,
            num_classes=classes,
            shape=shape,
            parts=self.extensions.formations,
            catalogue=self.extensions.architectures,
        )
        if problems:
            raise MisbehavedError("the exported set is not right: " + "; ".join(problems))
        for name in ("recipe", "measures", "provenance", "formation"):
            try:
                check_plain(dict(getattr(result, name)), name, depth=1)
            except ValueError as error:
                raise MisbehavedError(f"the exported set cannot be stored: {error}") from error
        return self._complete(result)

    def _complete(self, result: SyntheticSet) -> SyntheticSet:
        """Return the set with what training on it elsewhere needs to know."""
        parts = self.extensions.bringers_of(formations.part_names(result))
        about = {**self.about, "taken": self.at.step} | ({"parts": parts} if parts else {})
        return replace(result, provenance={**result.provenance, **about})

    def _snapshot(self, state: Any) -> None:  # noqa: ANN401
        """Keep the set as it stands, if asked to."""
        if self.at.step not in self.job.snapshots:
            return
        self._check_steps()
        path = self.run_folder.set_file(self.job.id, self.at.step)
        if holds_set_of(self.job.id, path):
            return
        self._seen(state, copied(self._saved(state))).save(path)

    # -- checkpoints -------------------------------------------------------------------------

    def _saved(self, state: Any) -> Any:  # noqa: ANN401
        saved = self._call("save", state=state)
        self.guard.check("save")
        if saved is None:
            saved = save_state(state)
            check_restorable(saved, self.made_by_init)
        return saved

    def _kinds(self, state: Any) -> dict[str, str]:  # noqa: ANN401
        try:
            return held_kinds(save_state(state))
        except TreeError:
            return {}  # the method's own save and restore may do, else the first checkpoint says it

    def _lay_over(self, state: Any, saved: Any) -> None:  # noqa: ANN401
        if not self._call("restore", state=state, tree=saved):
            restore_state(state, saved)
        self.guard.check("restore")

    def _checkpoint(self, state: Any) -> None:  # noqa: ANN401
        self._check_steps()
        self.check_folder()
        self._check_lent()
        Checkpoint(
            state=self._saved(state),
            generators=self.task.generator_states(),
            meters={name: meter.state() for name, meter in self.meters.items()},
            artifacts=list(self.task.artifacts_used),
            chose_on_split=self.task.chose_on_split,
            progress=replace(self.at, peak_memory=self._peak(self.memory.so_far())),
        ).save(self.run_folder.checkpoint(self.job.id))

    def _resume(self, state: Any) -> None:  # noqa: ANN401
        """Go on from the checkpoint, if there is one that can be read."""
        extended = None
        if not self.run_folder.checkpoint(self.job.id).exists():
            extended = take_over(self.job, self.run_folder)
        saved = self._left_behind()
        if saved is None:
            return
        self._lay_over(state, saved.state)
        self.task.restore_generators(saved.generators)
        self.task.chose_on_split |= saved.chose_on_split
        found = (self.setting.store().find(id) for id in saved.artifacts)
        self.task.artifacts_used |= {artifact.id: artifact for artifact in found if artifact}
        self.meters = self._meters()
        for name, meter in saved.meters.items():
            self.meters[name].load(meter)
        self.at = saved.progress
        if extended:
            self.at.extended_from = extended
        else:
            self.at.resumed += 1

    def _left_behind(self) -> Checkpoint | None:
        """Return the checkpoint to go on from; None, with a line in the log, to start over."""
        try:
            saved = Checkpoint.load(self.run_folder.checkpoint(self.job.id), self.device)
        except FileNotFoundError:
            return None
        except TreeError as error:
            print(f"starting over: {error}")
            return None
        for step in (step for step in self.job.snapshots if step < saved.progress.step):
            taken = self.run_folder.set_file(self.job.id, step)
            if not holds_set_of(self.job.id, taken):  # its step comes no more
                print(f"starting over: {taken}: no whole snapshot of this condensation")
                return None
        return saved

    def _check_lent(self) -> None:
        """See that the training tensors are as they were lent; no checkpoint may hide a write."""
        if _checksum(*self.lent) != self.checksum:
            raise MisbehavedError(
                "the method wrote into the training tensors of the task; work on a clone"
            )

    # -- the record --------------------------------------------------------------------------

    def _finish(self, result: SyntheticSet, peak: int | None) -> dict[str, Any]:
        fields = self._fields(result, peak)
        try:
            check_plain(fields)  # before it takes the place of an earlier result
        except ValueError as error:
            raise MisbehavedError(f"the result cannot be stored: {error}") from error
        self.check_folder()
        cost = {"costs": fields["costs"], **self.made_on}
        whole = replace(result, provenance={**result.provenance, **cost})
        whole.save(self.run_folder.set_file(self.job.id))
        write_whole(self.run_folder.condensation(self.job.id) / CURVE, _csv(self.at.curve))
        return fields

    def _fields(self, result: SyntheticSet, peak: int | None) -> dict[str, Any]:
        task = self.task
        present = set(result.hard_labels().tolist())
        last = {k: v for k, v in (self.at.curve or [{}])[-1].items() if math.isfinite(v)}
        return {
            "costs": self._costs(result, peak),
            "artifacts": [artifact.record() for artifact in task.artifacts_used.values()],
            # every row on the data has it alike, so it is not in their costs
            "whitening": self.whitening.record() if self.whitening else None,
            "measures": dict(result.measures),
            "metrics": {k: v for k, v in last.items() if k not in OWN_COLUMNS},
            "chose_on_split": task.chose_on_split,
            "set_sha256": result.sha256(),
            "images": len(result),
            "repeated_images": self.repeated,
            "missing_classes": [c for c in range(task.num_classes) if c not in present],
            "resumed": self.at.resumed,
            "extended_from": self.at.extended_from,
            "converged": self.at.converged,
            "ended_by": self._ended_by(),
        }

    def _plain_bytes(self) -> int:
        """Return the bytes of ipc float32 images a class, which ratios of bytes are against."""
        task = self.task
        return 4 * task.num_classes * task.ipc * math.prod(task.shape)

    def _costs(self, result: SyntheticSet, peak: int | None) -> dict[str, Any]:
        meters, artifacts = self.meters.values(), self.task.artifacts_used.values()
        declared: dict[str, int] = {}
        for meter in meters:
            for why, count in meter.declared.items():
                declared[why] = declared.get(why, 0) + count
        return {
            **{f"{name}_s": meter.seconds for name, meter in self.meters.items()},
            "artifact_s": sum(artifact.seconds for artifact in artifacts),
            "waited_s": sum(meter.waited for meter in meters),
            "flops_condense": sum(meter.flops for meter in meters),
            "flops_init": self.meters["init"].flops,
            "flops_export": self.meters["export"].flops,
            "flops_artifact": sum(artifact.flops for artifact in artifacts),
            "flops_lower_bound": any(meter.lower_bound for meter in meters)
            or any(artifact.lower_bound for artifact in artifacts),
            "peak_memory": peak,
            "bytes": result.bytes,
            "bytes_ratio": result.bytes / self._plain_bytes(),
            "steps_done": self.at.step,
            "declared_flops": declared,
        }


def _own_tensors(synthetic: SyntheticSet) -> SyntheticSet:
    """Return the set with tensors that the method does not get to see."""
    return synthetic.with_tensors(lambda tensor: tensor.detach().clone())


def _numbers(metrics: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the metrics of a step as floats by name."""
    if not isinstance(metrics, Mapping):
        raise MisbehavedError(
            f"condense_step returned {type(metrics).__name__}; expected numbers by name"
        )
    try:
        numbers = {str(name): float(value) for name, value in metrics.items()}
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise MisbehavedError(
            f"condense_step returned a metric that is no number ({error}); expected numbers by name"
        ) from error
    if taken := [name for name in OWN_COLUMNS if name in numbers]:
        raise MisbehavedError(
            f"condense_step returned a metric {taken[0]!r}, which is a column of the curve's own; "
            "give it another name"
        )
    return numbers


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
    return text.getvalue().encode(errors="backslashreplace")
