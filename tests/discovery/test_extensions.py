"""Extensions: what they register is there, and one that raises costs only itself."""

import builtins
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ddbench import Init, MethodInfo, SyntheticSet, hookimpl
from ddbench.cli import main
from ddbench.cli.scaffold import text_of
from ddbench.discovery import observers
from ddbench.discovery.extensions import Extensions, installed_code
from ddbench.discovery.methods import bind, discover, is_extension
from ddbench.execution.run import RunOptions, carry_out
from ddbench.planning.jobs import Choices
from ddbench.planning.registry import parse
from ddbench.planning.workspace import Places, Session

REGISTRY = """
[protocols.short]
epochs = 2
networks = 2

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1"]
ipc = [1]
protocol = "short"
rows = ["still"]
"""


class Still:
    @hookimpl
    def describe(self):
        return MethodInfo(inits=(), steps=lambda config, ipc: 3)

    @hookimpl
    def init(self, synthetic):
        return [synthetic]

    @hookimpl
    def condense_step(self, step):
        return {"loss": float(step), "broken": float("nan")}

    @hookimpl
    def export(self, state):
        return state[0]


def run(tmp_path, plugins, **choices):
    extensions = Extensions(plugins)
    registry = parse(REGISTRY, Path("registry.toml"))
    session = Session.of(registry, Places(tmp_path), {"still": bind(Still())}, extensions)
    plan = session.plan(Choices(**choices))
    return carry_out(session, plan, RunOptions(tmp_path / "run", engine="inline")), extensions


class Recorder:
    def __init__(self):
        self.seen = []

    @hookimpl
    def job_started(self, job):
        self.seen.append(("started", job["id"]))

    @hookimpl
    def step_finished(self, job, step, metrics):
        self.seen.append(("step", step, metrics["loss"]))

    @hookimpl
    def job_finished(self, job, result):
        self.seen.append(("finished", job["id"], result["status"]))

    @hookimpl
    def run_finished(self, folder):
        self.seen.append(("run", folder))


def test_an_observer_sees_every_job_and_step_in_order(tmp_path):
    recorder = Recorder()
    outcome, _ = run(tmp_path, {"recorder": recorder})
    condensation, evaluation = outcome.plan.condensations[0].id, outcome.plan.evaluations[0].id
    assert recorder.seen == [
        ("started", condensation), *(("step", n, float(n)) for n in range(3)),
        ("finished", condensation, "done"),
        ("started", evaluation), ("finished", evaluation, "done"),
        ("run", str(tmp_path / "run")),
    ]  # fmt: skip


@pytest.mark.parametrize("hook", ["job_started", "step_finished", "job_finished", "run_finished"])
def test_an_observer_that_raises_costs_no_job_and_is_switched_off(tmp_path, hook, caplog):
    calls = []

    def fail():
        calls.append(hook)
        raise RuntimeError("the tracker is down")

    plugin = types.SimpleNamespace(**{hook: hookimpl(fail)})
    outcome, extensions = run(tmp_path, {"tracker": plugin})
    assert outcome.exit_code == 0 and len(calls) == 1
    assert "the tracker is down" in extensions.failures["tracker"]
    assert "extension 'tracker' is switched off" in caplog.text


def test_an_init_that_an_extension_brings_can_be_run(tmp_path, monkeypatch):
    def zeros(task):
        images = torch.zeros(task.num_classes * task.ipc, *task.shape, device=task.device)
        return SyntheticSet(images, torch.arange(task.num_classes, device=task.device))

    plugin = types.SimpleNamespace(
        register_inits=hookimpl(lambda: {"zeros": Init("zeros", zeros, "nothing")})
    )
    point = types.SimpleNamespace(name="mine", load=lambda: plugin)
    monkeypatch.setattr("ddbench.discovery.extensions.entry_points", lambda group: [point])
    outcome, _ = run(tmp_path, {"mine": plugin}, inits=("zeros",))
    job = outcome.plan.condensations[0]
    assert not SyntheticSet.load(outcome.folder.set_file(job.id)).images.any()


def test_a_name_that_is_taken_switches_the_newcomer_off():
    plugin = types.SimpleNamespace(register_inits=hookimpl(lambda: {"real": None}))
    extensions = Extensions({"mine": plugin})
    assert extensions.inits["real"] is not None
    assert "real is already registered" in extensions.failures["mine"]


def test_a_misspelt_hook_is_reported():
    plugin = types.SimpleNamespace(job_begun=hookimpl(lambda job: None))
    assert "job_begun" in Extensions({"mine": plugin}).failures["mine"]


def test_an_extension_that_does_not_import_is_reported(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("gone", "no_such_module_anywhere", "ddbench.extensions")
    monkeypatch.setattr("ddbench.discovery.extensions.entry_points", lambda group: [point])
    extensions = Extensions.installed()
    assert "no_such_module_anywhere" in extensions.failures["gone"]
    assert "real" in extensions.inits


def test_an_unknown_observer_is_reported_with_the_one_that_was_meant(tmp_path):
    extensions = Extensions.installed(["tensorbord"], tmp_path)
    assert "did you mean 'tensorboard'" in extensions.failures["tensorbord"]


def test_a_tracker_that_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError("No module named 'tensorboard'")
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "ddbench.discovery.observers.tensorboard", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(observers.ObserverError, match=r"pip install 'ddbench\[tensorboard\]'"):
        observers.make("tensorboard", tmp_path)


class Writer:
    """Stands for torch's SummaryWriter; the real one has a test of its own."""

    made = []

    def __init__(self, folder):
        self.folder, self.points, self.closed = folder, [], False
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.points.append((name, value, step))

    def close(self):
        self.closed = True


def test_tensorboard_gets_each_curve_and_accuracy(tmp_path, monkeypatch):
    stub = types.ModuleType("torch.utils.tensorboard")
    stub.SummaryWriter = Writer
    Writer.made = []
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    monkeypatch.delitem(sys.modules, "ddbench.discovery.observers.tensorboard", raising=False)
    outcome, extensions = run(tmp_path, {"tb": observers.make("tensorboard", tmp_path / "run")})
    del sys.modules["ddbench.discovery.observers.tensorboard"]  # it holds the stub
    condensed, evaluated = Writer.made
    assert not extensions.failures and condensed.closed and evaluated.closed
    assert condensed.points == [("condense/loss", float(n), n) for n in range(3)]  # no NaN
    assert condensed.folder == str(tmp_path / "run/tensorboard" / outcome.plan.condensations[0].id)
    assert [(name, k) for name, _, k in evaluated.points] == [
        ("accuracy/convnet-w8-d1", 0), ("accuracy/convnet-w8-d1", 1),
    ]  # fmt: skip


def test_tensorboards_own_files_hold_the_curve(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome, extensions = run(tmp_path, {"tb": observers.make("tensorboard", tmp_path / "run")})
    job = outcome.plan.condensations[0].id
    events = EventAccumulator(str(tmp_path / "run/tensorboard" / job))
    events.Reload()
    assert [event.value for event in events.Scalars("condense/loss")] == [0.0, 1.0, 2.0]
    assert not extensions.failures


@pytest.mark.parametrize(
    ("name", "words"), [("tensorbord", "did you mean 'tensorboard'"), ("wandb", "unknown 'wandb'")]
)
def test_the_command_refuses_an_unknown_observer_before_any_work(tmp_path, name, words):
    command = ["run", "--preset", "smoke", "--observe", name, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2 and words in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_observer_that_leaves_or_writes_into_what_it_is_told_costs_nothing(tmp_path):
    class Rude:
        @hookimpl
        def job_started(self, job):
            job.clear()

        @hookimpl
        def job_finished(self, job, result):
            result.clear()

        @hookimpl
        def step_finished(self, metrics):
            metrics["loss"] = -1.0
            raise SystemExit("bye")

    recorder = Recorder()
    outcome, extensions = run(tmp_path, {"rude": Rude(), "recorder": recorder})
    assert outcome.exit_code == 0 and "SystemExit: bye" in extensions.failures["rude"]
    assert ("step", 2, 2.0) in recorder.seen


class Zeros:
    """Registers an init, and raises whenever it is told something."""

    @hookimpl
    def register_inits(self):
        def build(task):
            images = torch.zeros(task.num_classes * task.ipc, *task.shape)
            return SyntheticSet(images, torch.arange(task.num_classes).repeat_interleave(task.ipc))

        return {"zeros": Init("zeros", build, "all black")}

    @hookimpl
    def job_started(self):
        raise RuntimeError("no")


def test_what_raises_as_an_observer_keeps_what_it_has_registered(tmp_path):
    outcome, extensions = run(tmp_path, {"zeros": Zeros()}, inits=("zeros",))
    assert outcome.exit_code == 0 and list(extensions.failures) == ["zeros"]


def test_the_code_behind_an_init_of_an_extension_is_in_the_ids_of_its_jobs(tmp_path):
    def planned(code, init):
        extensions = Extensions({"zeros": Zeros()})
        extensions._code["zeros"] = code
        session = Session.of(parse(REGISTRY, Path("registry.toml")), Places(tmp_path),
                             {"still": bind(Still())}, extensions)  # fmt: skip
        [job] = session.plan(Choices(inits=(init,))).condensations
        return job

    before, after = planned("sha256:1", "zeros"), planned("sha256:2", "zeros")
    assert before.id != after.id and before.options_id == after.options_id
    assert before.extensions == {"zeros": "sha256:1"}
    assert planned("sha256:1", "real").id == planned("sha256:2", "real").id


PARTS = """
import torch
from ddbench import Architecture, Init, SyntheticSet, hookimpl
from ddbench.datasets.embedded import Toy
from ddbench.architectures import Network
from torch import nn


def init(task):
    labels = torch.arange(task.num_classes).repeat_interleave(task.ipc)
    return SyntheticSet(torch.zeros(len(labels), *task.shape), labels)


def linear(shape, num_classes, options):
    return Network(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], num_classes))


class Blobs(Toy):
    name = "blobs"


@hookimpl
def register_inits():
    return {"zeros": Init("zeros", init, "")}


@hookimpl
def register_architectures():
    return {"linear": Architecture("linear", linear, "", ())}


@hookimpl
def register_datasets():
    return {"blobs": Blobs()}
"""


def test_a_file_is_an_extension_without_being_installed(tmp_path, monkeypatch, asked_here):
    """The local engine: the planner's child and each job's process load it too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "still.py").write_text(text_of("plugin.py.txt"))
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY)
    words = [
        *("--method", "still", "--steps", "1", "--init", "zeros", "--arch", "linear"),
        *("--dataset", "blobs", "--registry", "registry.toml", "--cache", tmp_path / "cache"),
        *("--plugin", "parts.py", "--plugin", "still.py"),
    ]

    def planned():
        done = CliRunner().invoke(main, ["plan", *map(str, words), "--json"])
        [job] = json.loads(done.stdout)["condensations"]
        return job

    before = planned()
    assert {*before["extensions"]} == {"zeros", "linear"}
    run = [sys.executable, "-m", "ddbench", "run", *words, "--out", "run"]
    subprocess.run(run, check=True, capture_output=True)
    record = json.loads(
        (tmp_path / "run/condensations" / before["id"] / "result.json").read_bytes()
    )
    assert (record["status"], record["dataset"], record["init"]) == ("done", "blobs", "zeros")
    (tmp_path / "parts.py").write_text(PARTS + "# edited\n")
    assert planned()["id"] != before["id"]
    assert not is_extension(tmp_path / "still.py") and "parts" not in discover(
        [tmp_path / "parts.py"]
    )


def test_extensions_of_one_name_all_count_and_know_their_own_code(tmp_path, monkeypatch):
    for folder, dist in (("a", "xone"), ("b", "xtwo")):
        about = tmp_path / folder / f"{dist}-1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[ddbench.extensions]\ndata = {dist}_data\n")
        (tmp_path / folder / f"{dist}_data.py").write_text(
            "from ddbench import hookimpl\nfrom ddbench.datasets import Source\n"
            "class Own(Source):\n    def locate(self, roots): pass\n"
            "    def load(self, roots, options): pass\n"
            f"@hookimpl\ndef register_datasets(): return {{'{dist}': Own()}}\n"
        )
        monkeypatch.syspath_prepend(tmp_path / folder)
    extensions, code = Extensions.installed(), installed_code()
    assert not extensions.failures
    own = {"xtwo": code["data"], "xone": code["data of xone"]}
    assert {name: extensions.datasets[name].code for name in own} == own
    assert own["xone"] != own["xtwo"] and extensions.datasets["toy"].code == ""


def test_an_extension_named_twice_is_taken_once(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    extensions = Extensions.installed(files=[tmp_path / "parts.py", tmp_path / "." / "parts.py"])
    assert not extensions.failures and "blobs" in extensions.datasets


def test_an_observer_that_raises_in_a_worker_is_reported_once_and_left_alone(tmp_path):
    """The local engine: each job is a process, whose extensions are those installed."""
    site = tmp_path / "site"
    about = site / "loud-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[ddbench.extensions]\nloud = loud_observer\n")
    (site / "loud_observer.py").write_text(
        "from ddbench import hookimpl\n\n\n@hookimpl\ndef job_started(job):\n"
        f"    open({str(tmp_path / 'calls')!r}, 'a').write('x')\n    raise RuntimeError('no')\n"
    )
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY.replace('["still"]', '["random"]'))
    done = subprocess.run(
        [sys.executable, "-m", "ddbench", "run", "--method", "random", "--registry", registry,
         "--jobs", "1", "--cache", tmp_path / "cache", "--out", tmp_path / "run"],
        env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("extension 'loud' is switched off: RuntimeError: no") == 1
    assert (tmp_path / "calls").read_text() == "x"


DECODER = '''
import torch
from dataclasses import dataclass
from ddbench import hookimpl
from ddbench.formations import Decoded, Formation


@dataclass(frozen=True)
class Negative:
    """No options."""


def negative(options, synthetic):
    images = -synthetic.images  # EDIT
    return Decoded(images, torch.arange(len(images), device=images.device))


@hookimpl
def register_formations():
    return {"negative": Formation("decode", Negative, negative, "inverted images")}
'''
METHOD = """
from ddbench import MethodInfo, SyntheticSet, hookimpl


@hookimpl
def describe():
    return MethodInfo(steps=lambda config, ipc: 0, formations=("negative",))


@hookimpl
def init(synthetic):
    return [synthetic]


@hookimpl
def condense_step(state):
    return {}


@hookimpl
def export(state):
    return SyntheticSet(-state[0].images, state[0].labels,
                        formation={"decode": {"name": "negative"}})
"""


def test_a_decoder_of_an_extension_is_run_recorded_and_part_of_the_jobs_id(tmp_path):
    from ddbench import api

    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY.replace('["still"]', '["inverted"]'))
    decoder, method = tmp_path / "decoder.py", tmp_path / "inverted.py"
    decoder.write_text(DECODER)
    method.write_text(METHOD)

    def ids_of(name, plugins):
        done = CliRunner().invoke(
            main, ["run", "--preset", "quick", "--registry", str(registry), "--jobs", "1",
                   "--out", str(tmp_path / name),
                   "--cache", str(tmp_path / "cache"),
                   *(part for file in plugins for part in ("--plugin", str(file)))],
        )  # fmt: skip
        return done, [folder.name for folder in (tmp_path / name / "condensations").iterdir()]

    done, first = ids_of("run", [decoder, method])
    assert done.exit_code == 0, done.output
    made = api.load_run(tmp_path / "run").synthetic(first[0])
    assert made.formation == {"decode": {"name": "negative"}}
    assert str(decoder) in made.provenance["parts"]["negative"]
    decoder.write_text(DECODER.replace("# EDIT", "# edited"))
    done, second = ids_of("edited", [decoder, method])
    assert done.exit_code == 0 and first != second
    # without the extension its rows fail alone, with the name of what lacks
    done, _ = ids_of("without", [method])
    assert done.exit_code == 1 and "decoder 'negative' is not installed" in done.output
