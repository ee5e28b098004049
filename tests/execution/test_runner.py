"""The runner: resume bit by bit, failures contained, budgets, snapshots, extension."""

import asyncio
import enum
import errno
import json
import os
import random
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ddbench import Converged, MethodInfo, SyntheticSet, Unsupported, hookimpl
from ddbench.contract.synthetic_set import SyntheticSet as Set
from ddbench.datasets import load as load_dataset
from ddbench.datasets.tensors import Whitening
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.fingerprints import ChangedError
from ddbench.discovery.methods import bind
from ddbench.execution.engines.crash_records import dead
from ddbench.execution.job_context import JobContext
from ddbench.execution.runner import (
    Control,
    Guard,
    MisbehavedError,
    Stopped,
    guard,
    in_words,
    run_condensation,
)
from ddbench.planning.job_ids import with_ids
from ddbench.store.atomic_files import umask
from ddbench.store.records import Condensation
from ddbench.store.run_folder import read_record
from ddbench.testing import toy_task
from safetensors.torch import save

TOY = load_dataset("toy").fingerprint
WHITE = {
    "dataset": "white",
    "dataset_fingerprint": load_dataset("toy", options={"zca": True}).fingerprint,
}

STEPS = 5


@dataclass(frozen=True)
class Config:
    lr: float = 0.1


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    optimizer: torch.optim.Optimizer
    network: torch.nn.Module
    trainer: torch.optim.Optimizer
    own: torch.Generator
    mean: Any = None  # appears with the first step


class Momentum:
    """A small method with all that a state may hold."""

    info = MethodInfo(config=Config, steps=lambda config, ipc: STEPS)

    @hookimpl
    def describe(self):
        return self.info

    @hookimpl
    def init(self, task, synthetic, config):
        images = synthetic.images.clone().requires_grad_()
        optimizer = torch.optim.SGD([images], lr=config.lr, momentum=0.9)
        network = task.new_network()
        trainer = torch.optim.Adam(network.parameters())
        own = task.new_generator("mine")
        return State(images, synthetic.labels, optimizer, network, trainer, own)

    @hookimpl
    def condense_step(self, state, task, step):
        real = torch.cat([task.real_images(c, 4) for c in range(task.num_classes)])
        real, synthetic = task.augment_alike(real, state.images)
        if step % 2:  # another of the task's generators, first drawn from late
            real = next(iter(task.batches(8)))[0]
        embed = state.network.embed if step < 3 else task.new_network().embed
        noise = 0.1 * torch.randn(synthetic.shape, generator=state.own)
        loss = (embed(real).mean(0) - embed(synthetic + noise).mean(0)).square().sum()
        state.optimizer.zero_grad()
        state.trainer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.trainer.step()
        decayed = 0 if state.mean is None else state.mean
        state.mean = 0.5 * decayed + state.images.detach()
        return {"loss": loss.item()}

    @hookimpl
    def export(self, state):
        return SyntheticSet(state.images.detach() + 0.01 * state.mean, state.labels)


def job(**changes) -> Condensation:
    made = Condensation(
        id="", options_id="", row="method", method="method", source="bound 0", code="bound",
        dataset="toy", dataset_fingerprint=TOY, architecture="convnet-w8-d1", init="real", ipc=2,
        seed=0, config={"lr": 0.1}, steps=STEPS, published_steps=STEPS, budget_s=None, cycle=1,
        step_unit="step", labels="hard", balanced=True, reduced={}, quick=False, control_of=None,
        paper="", bibtex="",
    )  # fmt: skip
    return with_ids(replace(made, **changes))


@pytest.fixture
def setting(tmp_path, shared_cache):
    return JobContext(folder=tmp_path / "run", cache=shared_cache)


def condense(setting, method=None, stop_at=None, **changes):
    """Run one condensation; stop it after `stop_at` of the steps that this call does."""
    steps = []
    control = Control(lambda: stop_at is not None and len(steps) >= stop_at, steps.append)
    plugin = bind(method or Momentum())
    return run_condensation(job(**changes), setting, plugin, Extensions(), control)


def result_of(setting, record) -> tuple[str, str, str]:
    """Return the bytes of the set's tensors and the curve without its seconds."""
    folder = setting.run.condensation(record["id"])
    rows = [line.split(",") for line in (folder / "curve.csv").read_text().splitlines()]
    curve = [row[:1] + row[2:] for row in rows]
    loaded = Set.load(folder / "synthetic.safetensors")
    return loaded.sha256(), Set.load(folder / "initial.safetensors").sha256(), json.dumps(curve)


# -- resume --------------------------------------------------------------------------------------


def test_interrupted_at_each_step_and_resumed_is_the_straight_run_bit_by_bit(setting, tmp_path):
    straight = condense(setting)
    assert straight["status"] == "done", straight["traceback"]
    expected = result_of(setting, straight)
    other = replace(setting, folder=tmp_path / "interrupted")
    for _ in range(STEPS):
        with pytest.raises(Stopped):
            condense(other, stop_at=1)
    resumed = condense(other)
    assert resumed["resumed"] == STEPS
    assert result_of(other, resumed) == expected
    assert resumed["costs"]["flops_condense"] == straight["costs"]["flops_condense"]
    assert not other.run.checkpoint(resumed["id"]).parent.exists()


@pytest.mark.parametrize("stop_at", range(1, STEPS + 1))
def test_interrupted_once_is_the_straight_run_too(setting, tmp_path, stop_at):
    expected = result_of(setting, condense(setting))
    other = replace(setting, folder=tmp_path / "interrupted")
    with pytest.raises(Stopped, match=f"stopped after {stop_at} of {STEPS} steps"):
        condense(other, stop_at=stop_at)
    assert result_of(other, condense(other)) == expected


def test_a_torn_checkpoint_starts_over_and_says_so(setting, capsys):
    expected = result_of(setting, condense(setting))
    with pytest.raises(Stopped):
        condense(setting, stop_at=3)
    path = setting.run.checkpoint(job().id)
    path.write_bytes(path.read_bytes()[:100])
    record = condense(setting)
    assert record["resumed"] == 0 and result_of(setting, record) == expected
    assert "starting over" in capsys.readouterr().out


def test_checkpoints_fall_by_time(setting, monkeypatch):
    saved = []
    from ddbench.execution.runner.checkpoint import Checkpoint

    save = Checkpoint.save
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, path: (saved.append(self.progress.step), save(self, path))
    )
    condense(replace(setting, checkpoint_s=0.0))
    assert saved == list(range(1, STEPS))
    saved.clear()
    condense(replace(setting, checkpoint_s=3600.0), seed=1)
    assert saved == []


def test_the_checkpoint_outlives_everything_but_the_record(setting, monkeypatch):
    """A kill between the last step and the record must not cost the condensation."""
    import ddbench.execution.runner as runner

    def no_room(*arguments):
        raise OSError(28, "No space left on device")

    with pytest.raises(Stopped):
        condense(setting, stop_at=4)
    monkeypatch.setattr(runner, "write_record", no_room)
    with pytest.raises(OSError, match="No space left"):
        condense(setting)
    assert setting.run.checkpoint(job().id).exists()


def test_what_a_step_used_before_the_checkpoint_is_in_the_resumed_record(setting):
    class Uses(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            if step == 0:
                task.split(0.5)
                task.artifact("thing", {}, lambda work: (work.folder / "x").write_text("x"))
            state.mean = state.images.detach()

    with pytest.raises(Stopped):
        condense(setting, Uses(), stop_at=2)
    record = condense(setting, Uses())
    assert record["resumed"] == 1 and record["chose_on_split"]
    assert [artifact["kind"] for artifact in record["artifacts"]] == ["thing"]


def test_a_resumed_record_holds_the_peak_memory_of_its_earlier_attempts(setting):
    class Hungry(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            if step == 0:
                torch.ones(256 * 2**20 // 4)
            state.mean = state.images.detach()

    for _ in range(2):
        with pytest.raises(Stopped):
            condense(setting, Hungry(), stop_at=2)
    record = condense(setting, Hungry())
    assert record["resumed"] == 2 and record["costs"]["peak_memory"] > 240 * 2**20


def test_converged_ends_the_loop_and_its_step_counts(setting):
    class Quick(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            state.mean = state.images.detach()
            if step == 2:
                raise Converged({"loss": 0.5})

    record = condense(setting, Quick(), steps=50, snapshots=(1, 40))
    assert record["converged"] and record["ended_by"] == "converged"
    assert record["costs"]["steps_done"] == 3 and record["metrics"] == {"loss": 0.5}
    assert setting.run.set_file(record["id"], 1).exists()


def test_a_failure_to_do_it_again_leaves_what_was_done(setting):
    class Fails(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            raise ZeroDivisionError

    done = condense(setting)
    again = condense(setting, Fails(), snapshots=(2,))
    assert again["status"] == "failed" and again["id"] == done["id"]
    assert read_record(setting.run.result(done["id"]), "condensation").status == "done"
    dead(job(snapshots=(2,)), setting.run, "signal SIGSEGV")
    assert read_record(setting.run.result(done["id"]), "condensation").status == "done"

    class Boasts(Momentum):
        @hookimpl
        def export(self, state, task):
            task.count_flops(10**120, "all of it")
            return SyntheticSet(state.images.detach() + 1, state.labels)

    again = condense(setting, Boasts(), snapshots=(2,))
    assert again["status"] == "failed" and "a number of 121 digits" in again["reason"]
    stored = read_record(setting.run.result(done["id"]), "condensation")
    kept = Set.load(setting.run.set_file(done["id"]))
    assert stored.set_sha256 == done["set_sha256"] == kept.sha256()
    setting.run.set_file(done["id"]).unlink()
    condense(setting, Fails(), snapshots=(2,))
    assert read_record(setting.run.result(done["id"]), "condensation").status == "failed"


# -- extension -----------------------------------------------------------------------------------


def test_a_kept_state_is_extended_to_what_a_straight_run_gives(setting, tmp_path):
    straight = condense(replace(setting, folder=tmp_path / "straight"), steps=2 * STEPS)
    kept = replace(setting, keep_state=True)
    first = condense(kept, steps=STEPS)
    assert kept.run.checkpoint(first["id"]).exists()
    done = []
    plugin = bind(Momentum())
    longer = run_condensation(
        job(steps=2 * STEPS), kept, plugin, Extensions(), Control(report=done.append)
    )
    assert [event["step"] for event in done] == list(range(STEPS + 1, 2 * STEPS + 1))
    assert longer["extended_from"] == first["id"] and longer["resumed"] == 0
    other = replace(setting, folder=tmp_path / "straight")
    assert result_of(kept, longer) == result_of(other, straight)
    assert longer["costs"]["flops_condense"] == straight["costs"]["flops_condense"]


@pytest.mark.parametrize("changes", [{"seed": 1}, {"config": {"lr": 0.2}}, {"code": "edited"}])
def test_another_identity_is_not_extended(setting, changes):
    kept = replace(setting, keep_state=True)
    condense(kept)
    assert condense(kept, steps=STEPS + 1, **changes)["extended_from"] is None


def test_nothing_is_extended_over_snapshots_that_were_not_taken(setting):
    kept = replace(setting, keep_state=True)
    first = condense(kept, snapshots=(1,))
    assert condense(kept, steps=STEPS + 1, snapshots=(2,))["extended_from"] is None
    extended = condense(kept, steps=STEPS + 2, snapshots=(1, STEPS + 1))
    assert extended["extended_from"] == job(steps=STEPS + 1).id or first["id"]
    for snapshot in (1, STEPS + 1):
        assert kept.run.set_file(extended["id"], snapshot).exists()


# -- failures ------------------------------------------------------------------------------------


def failed(setting, **hooks) -> dict[str, Any]:
    """Return the record of a method whose hooks are overridden; check that it is in the folder."""
    plugin = Momentum()
    for name, function in hooks.items():
        setattr(plugin, name, hookimpl(function))
    record = condense(setting, plugin)
    assert record["status"] == "failed"
    assert read_record(setting.run.result(record["id"]), "condensation").record() == record
    return record


class BadMessage(Exception):
    def __str__(self):
        raise RuntimeError("no message either")


class OwnBase(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("seven\nlines"), "ValueError: seven (test_runner.py:"),
        (SystemExit(3), "SystemExit: the code ended the program (sys.exit(3))"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 EB"), "out of memory"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (BadMessage(), "BadMessage: (its message cannot be shown)"),
        (ValueError("\udc80"), r"ValueError: \udc80"),
        (ValueError("x" * 10_000), "ValueError: xxx"),
        (ValueError("\n\x1b[2J\x1b[31mred\x1b[0m\tand\a\x9b1mloud"), "ValueError: red andloud ("),
        (asyncio.CancelledError("c"), "CancelledError: c (test_runner.py:"),
        (GeneratorExit(), "GeneratorExit (test_runner.py:"),
        (OwnBase("mine"), "OwnBase: mine (test_runner.py:"),
    ],
)
def test_whatever_a_hook_raises_is_a_failed_record(setting, error, reason):
    def condense_step(state):
        raise error

    record = failed(setting, condense_step=condense_step)
    assert record["reason"].startswith(reason) and len(record["reason"]) <= 400
    assert "condense_step" in record["traceback"]


def test_unsupported_is_a_skipped_record(setting):
    class Picky(Momentum):
        @hookimpl
        def init(self):
            raise Unsupported("only squares")

    record = condense(setting, Picky())
    assert (record["status"], record["reason"]) == ("skipped", "only squares")


class BadRefusal(Unsupported):
    def __str__(self):
        raise RuntimeError("no reason either")


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Unsupported(), "the method does not support this, and gave no reason"),
        (Unsupported("first\nsecond"), "first"),
        (Unsupported("x" * 10_000), "x" * 399 + "…"),
        (BadRefusal(), "(its message cannot be shown)"),
    ],
)
def test_any_refusal_becomes_one_line(setting, refusal, reason):
    class Picky(Momentum):
        @hookimpl
        def init(self):
            raise refusal

    record = condense(setting, Picky())
    assert (record["status"], record["reason"]) == ("skipped", reason)


def test_an_interrupt_of_the_keyboard_goes_on_up(setting):
    class Interrupted(Momentum):
        @hookimpl
        def condense_step(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        condense(setting, Interrupted())
    assert not setting.run.result(job().id).exists()


def step_that(action):
    def condense_step(state, task, step):
        state.mean = state.images.detach()
        return action(task)

    return condense_step


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        ({"init": lambda: None}, "init returned None"),
        ({"condense_step": step_that(lambda task: 3)}, "condense_step returned int"),
        ({"condense_step": step_that(lambda task: 0.0)}, "condense_step returned float"),
        ({"condense_step": step_that(lambda task: torch.ones(3))}, "condense_step returned Tensor"),
        ({"condense_step": step_that(lambda task: np.zeros(1))}, "condense_step returned ndarray"),
        ({"condense_step": step_that(lambda task: {"x": 10**400})}, "a metric that is no number"),
        ({"condense_step": step_that(lambda task: {"step": 1})}, "a metric 'step', which is a col"),
        ({"condense_step": step_that(lambda task: {"seconds": 1})}, "a metric 'seconds', which"),
        ({"condense_step": step_that(lambda task: {"x": "y"})}, "a metric that is no number"),
        ({"condense_step": step_that(lambda task: {"x": torch.ones(2)})}, "a metric that is no"),
        ({"export": lambda: None}, "export returned NoneType; expected a ddbench.SyntheticSet"),
        (
            {"export": lambda state: Set(state.images.detach() * torch.nan, state.labels)},
            "images hold NaN",
        ),
        ({"export": lambda state: Set(state.images, state.labels)}, "still require grad"),
        (
            {"export": lambda state: Set(state.images.detach()[1:], state.labels[1:])},
            "images per class",
        ),
        (
            {"export": lambda state: Set(state.images.detach(), state.labels, measures={"a": {1}})},
            "the exported set cannot be stored: measures.a is set; use finite numbers, strings",
        ),
        (
            {
                "export": lambda state: Set(
                    state.images.detach(), state.labels, measures={"a": float("nan")}
                )
            },
            "measures.a is nan; expected a finite number",
        ),
    ],
)
def test_a_wrong_return_is_a_failed_record_that_says_what_was_expected(setting, hooks, reason):
    def cheap(state):
        state.mean = state.images.detach()

    record = failed(setting, **{"condense_step": cheap, **hooks})
    assert record["reason"].startswith("MisbehavedError: ") and reason in record["reason"]


def test_a_result_that_could_not_be_read_again_is_a_failed_record(setting):
    def condense_step(state, task, step):
        state.mean = state.images.detach()
        task.count_flops(10**120, "loop")

    reason = failed(setting, condense_step=condense_step)["reason"]
    assert "the result cannot be stored: costs.flops_condense is a number of 121 digits" in reason


class Kind(str, enum.Enum):  # noqa: UP042  (as plugins for older Pythons write it)
    A = "a"


def test_a_record_is_returned_as_it_is_in_the_file(setting):
    class Enums(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            state.mean = state.images.detach()
            task.count_flops(10, Kind.A)

        @hookimpl
        def export(self, state):
            measures = {"kind": Kind.A, "pair": (np.float64(1), 2)}
            return SyntheticSet(state.images.detach(), state.labels, measures=measures)

    with pytest.raises(Stopped):
        condense(setting, Enums(), stop_at=2)
    record = condense(setting, Enums())
    assert record == read_record(setting.run.result(record["id"]), "condensation").record()
    assert type(record["measures"]["kind"]) is str
    assert record["costs"]["declared_flops"] == {"a": 10 * STEPS}
    assert [type(why) for why in record["costs"]["declared_flops"]] == [str]


def in_place(task):
    task.images.mul_(2)


def by_numpy(task):
    task.images.numpy()[3, 0, 0, 0] += 1e-3


def by_data(task):
    task.labels.data[0] = 1


def swapped(task):
    task.images[[0, 1]] = task.images[[1, 0]].clone()


@pytest.mark.parametrize("action", [in_place, by_numpy, by_data, swapped])
def test_writing_into_the_training_tensors_fails_the_job(setting, action):
    record = failed(setting, condense_step=step_that(action))
    assert "wrote into the training tensors" in record["reason"]


def test_the_indices_of_a_class_are_a_copy():
    task = toy_task()
    expected = task.class_indices(0).tolist()
    task.class_indices(0).zero_()
    assert task.class_indices(0).tolist() == expected


def test_a_write_is_seen_before_a_checkpoint_can_hide_it(setting):
    class Writer(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            in_place(task)

    record = condense(setting, Writer(), stop_at=1)
    assert "wrote into the training tensors" in record["reason"]
    assert not setting.run.checkpoint(record["id"]).exists()


def test_a_state_that_no_checkpoint_can_hold_names_the_field(setting):
    class Odd(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            state.mean = object()

    record = condense(setting, Odd(), stop_at=1)
    assert "state.mean is object, which a checkpoint cannot hold" in record["reason"]


# -- the process is left as it was ---------------------------------------------------------------


def change_folder(task):
    os.chdir("/")


def change_umask(task):
    os.umask(0o777)


def change_environment(task):
    os.environ["HOME"] = "/nowhere"


def change_dtype(task):
    torch.set_default_dtype(torch.float64)


def change_grad(task):
    torch.set_grad_enabled(False)


def change_threads(task):
    torch.set_num_threads(2)


def draw(task):
    torch.rand(1)


def seed(task):
    torch.manual_seed(0)


def draw_numpy(task):
    np.random.rand()


def draw_python(task):
    random.random()


CHANGES = {
    change_folder: "the working folder; use whole paths",
    change_umask: "the umask; set the mode of your own files with os.chmod",
    change_environment: "the environment",
    change_dtype: "torch's default dtype",
    change_grad: "torch's grad mode",
    change_threads: "the number of torch's threads",
    draw: "torch's global random state; draw from task.generator",
    seed: "torch's global random state",
    draw_numpy: "numpy's global random state",
    draw_python: "Python's global random state",
}


@pytest.mark.parametrize("action", CHANGES, ids=lambda action: action.__name__)
@pytest.mark.parametrize("raising", [False, True], ids=["returns", "raises"])
def test_a_plugin_that_changes_the_process_fails_and_the_next_is_unharmed(setting, action, raising):
    torch.manual_seed(123)  # so that a plugin's own seed is a change
    folder, home, mask = os.getcwd(), os.environ.get("HOME"), umask()
    states = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()

    def act(task):
        action(task)
        if raising:
            raise ValueError("after all")

    record = failed(setting, condense_step=step_that(act))
    expected = "ValueError: after all" if raising else f"condense_step changed {CHANGES[action]}"
    assert expected in record["reason"]
    assert (os.getcwd(), os.environ.get("HOME"), umask()) == (folder, home, mask)
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert torch.get_num_threads() == 1 and torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tobytes() == states[1] and random.getstate() == states[2]


@pytest.mark.parametrize("ending", ["export", "checkpoint", "snapshot"])
def test_a_change_between_two_checks_is_found_before_anything_is_written(
    setting, monkeypatch, ending
):
    """Not each of many short steps is checked."""

    class Late(Momentum):
        @hookimpl
        def condense_step(self, state, task, step):
            if step == 1:
                draw(task)

    monkeypatch.setattr(guard, "EVERY_S", 3600)  # else a slow machine may check in between
    more = {"snapshots": (2,)} if ending == "snapshot" else {}
    record = condense(setting, Late(), 2 if ending == "checkpoint" else None, steps=3, **more)
    assert "condense_step changed torch's global random state" in record["reason"]
    assert not setting.run.checkpoint(record["id"]).exists()
    assert not setting.run.set_file(record["id"]).exists()
    assert not setting.run.set_file(record["id"], 2).exists()


def test_a_loop_of_short_steps_is_checked_at_times(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Guard() as watch:
        watch.check_at_times("condense_step")
        torch.rand(1)
        watch.check_at_times("condense_step")  # too soon
        now[0] = guard.EVERY_S
        with pytest.raises(MisbehavedError, match="condense_step changed torch's global random"):
            watch.check_at_times("condense_step")


def test_a_new_variable_is_no_change_but_is_gone_afterwards(setting, monkeypatch):
    monkeypatch.delenv("DDBENCH_TEST_NEW", raising=False)

    class Sets(Momentum):
        @hookimpl
        def describe(self):
            return self.info

        @hookimpl
        def export(self, state):
            os.environ["DDBENCH_TEST_NEW"] = "1"
            return Momentum.export(self, state)

    assert condense(setting, Sets())["status"] == "done"
    assert "DDBENCH_TEST_NEW" not in os.environ


def test_closed_streams_are_opened_again(capfd):
    with Guard() as guard:
        os.close(1)
        with pytest.raises(MisbehavedError, match="closed or replaced file 1"):
            guard.check("init")
        os.write(1, b"still here\n")
    assert capfd.readouterr().out == "still here\n"


def test_a_removed_working_folder_is_survived(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    guard = Guard()
    os.rmdir(tmp_path / "gone")
    assert guard.put_back()
    guard._streams.close()


def test_an_observer_is_not_the_methods_fault(setting):
    class Watcher:
        @hookimpl
        def step_finished(self, step):
            torch.manual_seed(step + 99)
            os.environ["HOME"] = "/nowhere"

    home = os.environ["HOME"]
    extensions = Extensions({"watcher": Watcher()})
    record = run_condensation(job(), setting, bind(Momentum()), extensions, Control())
    assert record["status"] == "done", record["reason"]
    assert os.environ["HOME"] == home


def test_cuda_out_of_memory_is_recognised(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    words = in_words(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert words == "the GPU is out of memory (peak of this job: 3.0 GiB)"
    for message in ("CUDA error: out of memory\nCUDA kernel", "CUBLAS_STATUS_ALLOC_FAILED when"):
        assert in_words(RuntimeError(message)) == words
    assert in_words(ValueError("CUDA error: out of memory")).startswith("ValueError: ")


def test_cuda_out_of_memory_is_recognised_behind_another_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate")
    words = "the GPU is out of memory (peak of this job: 3.0 GiB), then ValueError: no batch"
    error = ValueError("no batch")
    error.__cause__ = RuntimeError()
    error.__cause__.__context__ = full
    full.__context__ = error  # a ring is no trap
    assert in_words(error) == words
    error.__cause__, error.__context__ = None, full
    assert in_words(error) == "ValueError: no batch"  # raised `from None`
    error.__suppress_context__ = False
    assert in_words(error) == words


# -- no leaks ------------------------------------------------------------------------------------


def test_no_test_image_can_be_reached_through_the_task(setting):
    """Walk over everything that the task holds and compare bytes with the test images."""
    import gc

    seen: dict[int, Any] = {}
    tests = setting.tensors(setting.dataset("toy", Extensions())).test_images
    found = []

    class Looks(Momentum):
        @hookimpl
        def init(self, task, synthetic, config):
            queue = [task]
            while queue:
                thing = queue.pop()
                if id(thing) in seen or isinstance(thing, type) or callable(thing):
                    continue
                seen[id(thing)] = thing
                if isinstance(thing, torch.Tensor) and thing.ndim == 4:
                    same = (thing[:, None] == tests[None].to(thing)).flatten(2).all(2).any()
                    found.append(bool(same))
                queue += gc.get_referents(thing)
            return super().init(task, synthetic, config)

    assert condense(setting, Looks())["status"] == "done"
    assert found and not any(found)


def test_a_row_says_that_it_chose_on_a_split(setting):
    assert condense(setting)["chose_on_split"] is False

    class Chooses(Momentum):
        @hookimpl
        def init(self, task, synthetic, config):
            split = task.split(0.25)
            both = torch.cat([split.fit, split.held_out])
            assert sorted(both.tolist()) == list(range(len(task.labels)))
            return super().init(task, synthetic, config)

    assert condense(setting, Chooses())["chose_on_split"] is True


def test_the_initial_set_is_stored_as_it_was_before_init_wrote_into_it(setting):
    class Overwrites(Momentum):
        @hookimpl
        def init(self, task, synthetic, config):
            state = super().init(task, synthetic, config)
            synthetic.images.zero_()
            return state

    record = condense(setting, Overwrites())
    initial = Set.load(Path(setting.run.condensation(record["id"])) / "initial.safetensors")
    assert initial.images.abs().sum() > 0


def test_whitening_is_fitted_once_and_its_cost_stands_in_each_record(tmp_path):
    setting = JobContext(tmp_path / "run", tmp_path, datasets={"white": ("toy", {"zca": True})})
    first, second = (condense(setting, **WHITE, seed=seed) for seed in (0, 1))
    whitening = first["whitening"]
    assert whitening["kind"] == "zca" and whitening == second["whitening"]
    pixels, images = 64, 80  # at least the covariance, 2 operations a multiply-add
    assert whitening["flops"] > 2 * images * pixels**2
    assert whitening["seconds"] > 0 and whitening["bytes"] > 3 * 4 * pixels
    # every row on the data has it alike: it is in nobody's costs
    assert first["artifacts"] == [] and first["costs"]["artifact_s"] == 0
    assert first["costs"]["flops_artifact"] == 0


@pytest.mark.parametrize("content", [None, b"", b"torn", save({"mean": torch.zeros(3)})])
def test_a_torn_whitening_is_named_and_fitted_anew(tmp_path, content):
    setting = JobContext(tmp_path / "run", tmp_path, datasets={"white": ("toy", {"zca": True})})
    whole = condense(setting, **WHITE, steps=1)
    [path] = tmp_path.glob("artifacts/zca-*/whitening.safetensors")
    path.unlink() if content is None else path.write_bytes(content)
    if content is not None:
        with pytest.raises(ValueError, match=f"{path}: holds no whitening"):
            Whitening.load(path)
    other = replace(setting, folder=tmp_path / "other")
    again = condense(other, **WHITE, steps=1)
    assert again["set_sha256"] == whole["set_sha256"] and again["whitening"] == whole["whitening"]
    Whitening.load(path)


def test_data_that_are_not_whitened_have_no_whitening(setting):
    assert condense(setting)["whitening"] is None


# -- what was there when the run was planned -----------------------------------------------------


def test_data_that_have_gone_since_the_plan_fail_the_job_by_their_path(setting, tmp_path):
    record = condense(setting, dataset=f"npz:{tmp_path}/lost/set.npz")
    assert record["status"] == "failed" and f"{tmp_path}/lost/set.npz" in record["reason"]


def test_data_that_have_changed_since_the_plan_are_not_used(setting):
    with pytest.raises(ChangedError, match="dataset toy has changed since the plan was made"):
        condense(setting, dataset_fingerprint="other")
    assert not setting.run.condensation(job(dataset_fingerprint="other").id).exists()


def test_extensions_that_have_been_edited_since_the_plan_are_not_used(setting):
    with pytest.raises(ChangedError, match="the code that brings real has been edited"):
        condense(setting, extensions={"real": "sha256:old"})


def test_a_checkpoint_that_cannot_be_opened_now_is_not_given_up(setting, monkeypatch):
    with pytest.raises(Stopped):
        condense(setting, stop_at=2)
    path = setting.run.checkpoint(job().id)
    whole = path.read_bytes()

    usual = Path.open

    def refuse(self, *arguments, **options):
        if self == path:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return usual(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        record = condense(setting)
    assert record["status"] == "failed" and "Input/output error" in record["reason"]
    assert path.read_bytes() == whole


def test_a_cache_that_has_gone_does_not_stop_a_job_and_a_file_in_its_place_is_named(tmp_path):
    setting = JobContext(folder=tmp_path / "run", cache=tmp_path / "lost" / "cache")
    mini = {"dataset": "mnist-mini", "dataset_fingerprint": load_dataset("mnist-mini").fingerprint}
    assert condense(setting, **mini, steps=1)["status"] == "done"
    shutil.rmtree(tmp_path / "lost")
    (tmp_path / "lost").write_text("a file")
    record = condense(setting, **mini, seed=1, steps=1)
    assert record["status"] == "failed" and str(tmp_path / "lost") in record["reason"]
