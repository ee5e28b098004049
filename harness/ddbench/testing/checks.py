"""The checks of the contract: one function for each promise, which yields what breaks it.

A check yields (expected, got) pairs, in words. It may raise Unsupported, which is a refusal;
any other error is a fault of the method.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ddbench import formations
from ddbench.contract import synthetic_set as sets
from ddbench.contract.hookspecs import Unsupported
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.discovery.extensions import Extensions
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import Control, Stopped, run_condensation, run_evaluation
from ddbench.inits import register_inits
from ddbench.planning.jobs import Choices, Plan
from ddbench.planning.registry import parse
from ddbench.planning.workspace import Places, Session
from ddbench.store.records import DONE, SKIPPED, Condensation
from ddbench.testing.fake_device import ELSEWHERE, elsewhere
from ddbench.testing.method_under_test import (
    ARCHITECTURE,
    PER_CLASS,
    SIZE,
    Shape,
    Subject,
    Trial,
    ambient_seed,
    copied,
    difference,
    global_state,
    run,
    where,
)

Faults = Iterator[tuple[str, str]]  # (what was expected, what came)

BUDGET_S = 0.3
STEP_S = 5.0  # what one step on toy data may take, so that budgets and checkpoints fall between


@dataclass(frozen=True)
class Check:
    """A check of one promise of the contract.

    Attributes:
        name: Two or three words.
        function: Yields what breaks it.
        docs: Where it is explained.
        full: Whether it is left out of the quick form.
    """

    name: str
    function: Callable[[Subject], Faults]
    docs: str
    full: bool = False


CHECKS: list[Check] = []


def check(name: str, docs: str, full: bool = False) -> Any:  # noqa: ANN401
    """Return a decorator that adds a check; `docs` is a heading of docs/plugin-api.md."""

    def add(function: Callable[[Subject], Faults]) -> Callable[[Subject], Faults]:
        CHECKS.append(Check(name, function, f"docs/plugin-api.md#{docs}", full))
        return function

    return add


def extensions_of(subject: Subject) -> Extensions:
    """Return the extensions that the method's sets need: the installed ones, or none but ours."""
    return Extensions.installed() if subject.method.info.formations else Extensions()


# -- what it says of itself ------------------------------------------------------------------


@check("description", "methodinfo")
def describes_itself(subject: Subject) -> Faults:
    """MethodInfo holds values of the right kinds; Config has a default for every option."""
    info, config, ipc = subject.method.info, subject.method.info.config(), subject.shape.ipc
    steps, cycle = info.steps(config, ipc), info.cycle(config, ipc)
    if type(steps) is not int or steps < 0:
        yield "MethodInfo.steps to give a whole number from 0", repr(steps)
    if type(cycle) is not int or cycle < 1:
        yield "MethodInfo.cycle to give a whole number from 1", repr(cycle)
    if info.labels not in ("hard", "soft"):
        yield 'MethodInfo.labels to be "hard" or "soft"', repr(info.labels)
    if info.inits and info.default_init not in info.inits:
        yield f"MethodInfo.default_init to be one of {info.inits}", repr(info.default_init)
    own = info.own_init(config)
    if own is not None and (not isinstance(own, str) or info.inits and own not in info.inits):
        yield f"MethodInfo.own_init to give None or one of {info.inits}", repr(own)


# -- the set ---------------------------------------------------------------------------------


@check("the set", "the-synthetic-set")
def set_is_right(subject: Subject) -> Faults:
    """Before the first step, and after the last: ipc images a class, shape, dtype, finite."""
    trial = Trial(subject)
    for steps in (0, subject.steps):
        result = trial.go(steps).export()
        yield from _faults_of(result, subject, f"after {steps} steps ")


def _faults_of(result: Any, subject: Subject, when: str = "") -> Faults:  # noqa: ANN401
    shape, info = subject.shape, subject.method.info
    problems = sets.check(
        result,
        num_classes=shape.classes,
        shape=(shape.channels, SIZE, SIZE),
        ipc=shape.ipc,
        balanced=info.balanced,
    )
    problems = problems or formations.problems(
        result,
        num_classes=shape.classes,
        shape=(shape.channels, SIZE, SIZE),
        parts=extensions_of(subject).formations,
    )
    for problem in problems:
        yield f"{when}a set of {shape}", problem
    if problems:
        return
    if result.soft and info.labels == "hard":
        yield "hard labels, (N,) int64, as MethodInfo.labels says", "logits, (N, C)"
    if result.recipe and not (info.own_recipe or info.labels == "soft"):
        yield "MethodInfo.own_recipe, else the recipe of the set is not used", "False"
    wanted = result.images.device.type
    if wanted != subject.device.type:
        yield f"images on task.device ({subject.device})", f"images on {wanted}"


@check("a set of its own", "export")
def set_is_independent(subject: Subject) -> Faults:
    """An exported set shares no memory with the state; exporting changes nothing."""
    trial = Trial(subject).go(1)
    exported = trial.export()
    kept = copied(exported)
    if (found := difference(kept, trial.export())) is not None:
        yield "two exports in a row to give the same set", found
    trial.go(subject.steps - 1)
    trial.export()
    if (found := difference(kept, exported)) is not None:
        yield (
            "an exported set to stay as it is while later steps run (.detach().clone())",
            f"it changed: {found}",
        )
    last, straight = trial.export(), run(subject)
    if (found := difference(last, straight)) is not None:
        yield "exporting midway to change nothing about the end", found


@check("save and load", "the-synthetic-set")
def set_is_stored(subject: Subject) -> Faults:
    """A set comes back from its file as it was."""
    result = run(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.safetensors"
        result.save(path)
        loaded = SyntheticSet.load(path, subject.device)
    if (found := difference(result, loaded)) is not None:
        yield "the set to come back from its file as it was", found
    if dict(result.measures) != dict(loaded.measures):
        yield "the measures to come back from the file", f"{loaded.measures}"


# -- randomness, and what is not the method's ------------------------------------------------


@check("one seed, one set", "randomness")
def seed_decides(subject: Subject) -> Faults:
    """The same seed gives the same set whatever the global random state; another seed another."""
    with ambient_seed(1):
        one = run(subject)
    with ambient_seed(2):
        again = run(subject)
    if (found := difference(one, again)) is not None:
        yield "the same seed to give the same set, bit for bit", found
    selects = subject.method.info.steps(subject.config, subject.shape.ipc) == 0
    # a selection may well find the same images from every seed
    if not selects and difference(one, run(subject, seed=1)) is None:
        yield "another seed to give another set", "the same set for seeds 0 and 1"


@check("global state", "randomness")
def globals_are_left_alone(subject: Subject) -> Faults:
    """No hook uses or changes what the whole process shares."""
    with ambient_seed(3):
        task = subject.task()
        initial = subject.initial_set(task)
        before = global_state()
        Trial(subject, task, initial).go(subject.steps).export()
        after = global_state()
    for name, value in before.items():
        if value != after[name]:
            yield (
                f"{name} to be neither used nor changed (draw from task.generator)",
                "it changed",
            )


@check("training data", "task")
def data_is_left_alone(subject: Subject) -> Faults:
    """Nobody writes into the training tensors, which other jobs and the evaluation may share."""
    task = subject.task()
    kept = SyntheticSet(task.images.clone(), task.labels.clone())
    Trial(subject, task).go(subject.steps).export()
    if (found := difference(kept, SyntheticSet(task.images, task.labels))) is not None:
        yield "task.images and task.labels to be left as they are", found


@check("any device", "devices")
def device_is_the_tasks(subject: Subject) -> Faults:
    """Every tensor is made on the task's device, or moved there."""
    if torch.cuda.is_available():
        there = replace(subject, device=torch.device("cuda"))
        yield from _faults_of(run(there), there)
        return
    # Without a norm: torch 2.11 cannot differentiate a group norm twice on a device it has not.
    there = replace(subject, device=ELSEWHERE, architecture=f"{ARCHITECTURE}-nn")
    with elsewhere():
        try:
            result = run(there)
        except Unsupported:
            raise
        except (Exception, SystemExit) as error:
            yield "every tensor to be made on task.device, or moved there", where(error)
            return
        for name, tensor in (("images", result.images), ("labels", result.labels)):
            if tensor.device.type != ELSEWHERE.type:
                yield f"{name} of the set on task.device", f"{name} on {tensor.device}"


# -- the runner ------------------------------------------------------------------------------

REGISTRY = """
[protocols.check]
epochs = 2
networks = 1

[presets.check]
datasets = ["check"]
architectures = ["{architecture}"]
evaluate_on = ["{architecture}"]
ipc = [{ipc}]
protocol = "check"

[datasets.check]
source = "toy"
options = {{ classes = {classes}, channels = {channels}, train_per_class = {per_class} }}
"""


def _planned(subject: Subject, folder: Path) -> tuple[Plan, JobContext]:
    """Return the plan of the subject's condensation, and the setting to do it in."""
    text = REGISTRY.format(architecture=ARCHITECTURE, per_class=PER_CLASS, **vars(subject.shape))
    tables = {subject.name: dict(subject.options)}
    registry = replace(parse(text, Path("registry.toml")), methods=tables, own=tables)
    places = Places(subject.store.parent)
    session = Session.of(registry, places, {subject.name: subject.method}, extensions_of(subject))
    rows, inits = (subject.name,), (subject.init,)
    plan = session.plan(Choices(preset="check", rows=rows, inits=inits, steps=subject.steps))
    setting = JobContext(
        folder=folder,
        cache=places.cache,
        datasets=session.named_datasets(),
        device=str(subject.device),
    )
    if not plan.condensations:
        raise Unsupported("; ".join(skipped.reason for skipped in plan.skipped))
    return plan, setting


def _condense(
    job: Condensation, setting: JobContext, subject: Subject, stops: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return the record of a condensation that is stopped after each of `stops` steps."""
    extensions = extensions_of(subject)
    for after in stops:
        taken: list[Any] = []
        control = Control(lambda taken=taken, n=after: len(taken) >= n, taken.append)  # type: ignore[misc]
        try:
            return run_condensation(job, setting, subject.method, extensions, control)
        except Stopped:
            continue
    record = run_condensation(job, setting, subject.method, extensions, Control())
    if record["status"] == SKIPPED:
        raise Unsupported(record["reason"])
    return record


@check("a run", "steps")
def runs(subject: Subject) -> Faults:
    """The runner condenses with it, and networks train on its set."""
    with tempfile.TemporaryDirectory() as folder:
        plan, setting = _planned(subject, Path(folder))
        job = plan.condensations[0]
        record = _condense(job, setting, subject)
        if record["status"] != DONE:
            yield "the runner to condense with it", str(record["reason"])
            return
        done = record["costs"]["steps_done"]
        if done != job.steps and not record["converged"]:
            yield f"{job.steps} steps", f"{done} steps"
        for evaluation in plan.evaluations:
            if evaluation.condensation != job.id:  # of a control that MethodInfo asks for
                continue
            scored = run_evaluation(evaluation, setting, extensions_of(subject), Control())
            if scored["status"] != DONE:
                by = "its own recipe" if evaluation.own_recipe else "hard labels"
                yield f"a network to train on its set by {by}", str(scored["reason"])


@check("resume", "checkpoints")
def resumes(subject: Subject) -> Faults:
    """A run that is stopped and taken up again ends like one that never stopped."""
    _require_steps(subject)
    straight, record = _result_of(subject, ())
    for stops in _places_to_stop(subject, record):
        resumed, record = _result_of(subject, stops)
        if isinstance(straight, str) or isinstance(resumed, str):
            yield f"a run stopped after {stops} steps to end", str(record["reason"])
        elif (found := difference(straight, resumed)) is not None:
            yield (
                f"a run stopped after {' and '.join(map(str, stops))} steps and taken up again "
                "to end with the same set as one that never stopped",
                found,
            )


def _require_steps(subject: Subject) -> None:
    if not subject.steps:
        raise Unsupported("it takes no steps")


def _places_to_stop(subject: Subject, straight: dict[str, Any]) -> list[tuple[int, ...]]:
    """Return after how many steps to stop, one run each: midway, or everywhere.

    `straight` is the record of the run that is not stopped.

    Raises:
        Unsupported: It converges before any of them.
    """
    places: list[tuple[int, ...]] = [((subject.steps + 1) // 2,)]
    if subject.full:
        places = [*((step,) for step in range(1, subject.steps)), (1,) * (subject.steps - 1)]
    if not straight.get("converged"):
        return places
    taken = straight["costs"]["steps_done"]
    places = [stops for stops in places if sum(stops) < taken]
    if not places:
        raise Unsupported(
            f"it converges after {taken} of {subject.steps} steps, before it could be stopped; "
            "MethodInfo.check may set options with which it goes on"
        )
    return places


def _result_of(
    subject: Subject, stops: tuple[int, ...]
) -> tuple[SyntheticSet | str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        plan, setting = _planned(subject, Path(folder))
        job = plan.condensations[0]
        record = _condense(job, setting, subject, stops)
        if record["status"] != DONE:
            return str(record["reason"]), record
        return SyntheticSet.load(setting.run.set_file(job.id), subject.device), record


@check("budget", "steps")
def budget_is_obeyed(subject: Subject) -> Faults:
    """A step is short, and a budget of seconds may take more steps than are published."""
    _require_steps(subject)
    trial, longest = Trial(subject), 0.0
    for _ in range(subject.steps):
        started = time.perf_counter()
        trial.go(1)
        longest = max(longest, time.perf_counter() - started)
    if longest > STEP_S:
        yield f"a step on toy data to take less than {STEP_S:g} s", f"{longest:.1f} s"
        return
    if trial.converged:
        raise Unsupported(
            f"it converges after {trial.step} of {subject.steps} steps, and no budget takes it "
            "further; MethodInfo.check may set options with which it goes on"
        )
    with tempfile.TemporaryDirectory() as folder:
        plan, setting = _planned(subject, Path(folder))
        job = replace(plan.condensations[0], budget_s=BUDGET_S)
        record = _condense(job, setting, subject)
    if record["status"] != DONE:
        yield (
            f"{BUDGET_S:g} s of steps, beyond the published number if need be",
            str(record["reason"]),
        )


# -- other data, other starts ----------------------------------------------------------------

OTHER = (Shape(1, 2, 1), Shape(3, 10, 3))
EVERY = tuple(
    Shape(channels, classes, ipc) for channels in (1, 3) for classes in (2, 10) for ipc in (1, 3)
)


@check("kinds of data", "task")
def takes_other_data(subject: Subject) -> Faults:
    """One and three channels, two and ten classes, ipc 1 and 3."""
    reasons, shapes = [], EVERY if subject.full else OTHER
    for shape in shapes:
        try:
            yield from _faults_of(run(subject.at(shape=shape)), subject.at(shape=shape))
        except Unsupported as refusal:
            reasons.append(f"{shape}: {refusal}")
            if not str(refusal):
                yield f"a reason why {shape} cannot be done", "Unsupported without a text"
        except (Exception, SystemExit) as error:
            yield f"a set, or Unsupported with a reason, for {shape}", where(error)
    if len(reasons) == len(shapes):
        raise Unsupported("; ".join(reasons))


@check("refusals", "unsupported")
def refusal_is_a_skipped_row(subject: Subject) -> Faults:
    """What a method cannot do is a refusal with a reason, never another error."""
    greedy = Shape(1, 2, PER_CLASS + 1)  # more images a class than there are
    try:
        run(subject.at(shape=greedy))
    except Unsupported as refusal:
        if not str(refusal):
            yield "a reason", "Unsupported without a text"
    except (Exception, SystemExit) as error:
        yield (
            f"Unsupported with a reason, or a set, where a class has {PER_CLASS} images "
            f"and ipc is {greedy.ipc}",
            where(error),
        )


@check("all inits", "init", full=True)
def takes_its_inits(subject: Subject) -> Faults:
    """Every init that MethodInfo names."""
    built_in = register_inits()
    for name in subject.method.info.inits:
        if name in built_in:
            try:
                start = subject.at(init=name)
                yield from _faults_of(run(start), start, f"from init {name}: ")
            except Unsupported:
                continue


@check("soft labels", "init", full=True)
def takes_soft_labels(subject: Subject) -> Faults:
    """An init may give logits; synthetic.hard_labels() serves for both kinds."""
    if subject.method.info.inits:  # those that come with ddbench give hard labels
        raise Unsupported(f"it starts from {' or '.join(subject.method.info.inits)} alone")
    if subject.method.info.own_init(subject.config):
        raise Unsupported("it makes its own initial set")
    task = subject.task()
    initial = register_inits()[subject.init].build(task)
    logits = 5 * torch.nn.functional.one_hot(initial.hard_labels(), task.num_classes).float()
    try:
        trial = Trial(subject, task, replace(initial, labels=logits))
        result = trial.go(subject.steps).export()
    except Unsupported:
        return
    yield from _faults_of(result, subject, "from an initial set with soft labels: ")
