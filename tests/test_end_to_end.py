"""From a registry to a leaderboard: runs on toy data, in this process and through the engine."""

import hashlib
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ddbench import MethodInfo, SyntheticSet, hookimpl
from ddbench.cli import main
from ddbench.discovery.extensions import Extensions
from ddbench.discovery.methods import bind, discover
from ddbench.execution.run import RunOptions, carry_out
from ddbench.planning.jobs import Choices
from ddbench.planning.registry import parse
from ddbench.planning.workspace import Places, Session
from ddbench.store.run_folder import RunError, open_run, read_run

pytestmark = pytest.mark.usefixtures("asked_here")

REGISTRY = """
[protocols.short]
epochs = 6
networks = 2

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1", "mlp-w0.25"]
ipc = [1]
protocol = "short"
reference = "short"
rows = ["pull"]
"""

PULL = '''
"""Pull each image toward the mean of its class."""
from dataclasses import dataclass

import torch

from ddbench import MethodInfo, SyntheticSet, hookimpl


@dataclass(frozen=True)
class Config:
    rate: float = 0.5


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    rate: float


@hookimpl
def describe():
    return MethodInfo(config=Config, steps=lambda config, ipc: 4)


@hookimpl
def init(task, synthetic, config):
    return State(synthetic.images.clone(), synthetic.labels, config.rate)


@hookimpl
def condense_step(state, task):
    loss = 0.0
    for c in range(task.num_classes):
        away = state.images[state.labels == c] - task.images[task.class_indices(c)].mean(0)
        state.images[state.labels == c] -= state.rate * away
        loss += away.square().mean().item()
    return {"loss": loss}


@hookimpl
def export(state):
    return SyntheticSet(state.images.clone(), state.labels)
'''


@pytest.fixture
def registry(tmp_path):
    path = tmp_path / "registry.toml"
    path.write_text(REGISTRY)
    return path


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "pull.py"
    path.write_text(PULL)
    return path


def ddbench(*words, code=0):
    """Give the command in this process; return its standard output and error."""
    done = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == code, done.stderr
    return done.stdout, done.stderr


def ddbench_alone(*words):
    """Give the command in a process of its own, as a user does; return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "ddbench", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_process(tmp_path, method, out="run", rows=("pull",), **choices):
    """Plan and run `method` inline as `pull`; return the outcome."""
    session = Session.of(
        parse(REGISTRY, Path("registry.toml")),
        Places(tmp_path / "cache"),
        {"pull": bind(method)},
        Extensions(),
    )
    plan = session.plan(Choices(rows=rows, **choices))
    return carry_out(session, plan, RunOptions(tmp_path / out, engine="inline"))


def sets_of(folder):
    """Return the hash of each set, with all that its file says but what it cost here."""
    files = {p.parent.name: p for p in folder.glob("condensations/*/synthetic.*")}
    sets = {id: SyntheticSet.load(path) for id, path in files.items()}
    measured = ("costs", "hardware_class")
    about = {id: {k: v for k, v in one.provenance.items() if k not in measured}
             for id, one in sets.items()}  # fmt: skip
    return {id: f"{one.sha256()} {about[id]} {one.measures}" for id, one in sets.items()}


def accuracies_of(folder):
    records = read_run(open_run(folder)).evaluations
    return {id: record.accuracies for id, record in records.items()}


def test_a_run_writes_sets_records_and_a_report_and_is_not_done_twice(tmp_path, registry, plugin):
    run = ("run", "--registry", registry, "--plugin", plugin, "--method", "pull", "--method",
           "random", "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    out = ddbench_alone(*run, "--jobs", 2)
    assert "pull" in out and "random" in out
    records = read_run(open_run(tmp_path / "run"))
    assert [record.status for record in records.condensations.values()] == ["done"] * 2
    assert len(records.evaluations) == 2 * 2 + 1 and not records.unreadable
    assert (tmp_path / "run" / "report.md").read_text().startswith("#")
    first = sets_of(tmp_path / "run"), accuracies_of(tmp_path / "run")

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("*/**/*.json")}
    ddbench(*run, "--evaluate-on", "convnet-w8-d1", "--evaluate-on", "convnet-w4-d1", "--debug")
    assert {p: p.stat().st_mtime_ns for p in before} == before  # what was done is not touched
    again = read_run(open_run(tmp_path / "run"))
    assert again.condensations == records.condensations  # a new architecture condenses nothing
    assert len(again.evaluations) == len(records.evaluations) + 2

    ddbench(*run[:-1], tmp_path / "here", "--debug")  # one after the other, in one process
    assert (sets_of(tmp_path / "here"), accuracies_of(tmp_path / "here")) == first


def test_an_edited_method_gets_new_numbers_and_never_the_old_ones(tmp_path, registry, plugin):
    run = ("run", "--registry", registry, "--plugin", plugin, "--method", "pull", "--cache",
           tmp_path / "cache", "--out", tmp_path / "run", "--debug")  # fmt: skip
    ddbench(*run)
    [first] = sets_of(tmp_path / "run").items()
    plugin.write_text(PULL.replace("-= state.rate * away", "-= 0.5 * state.rate * away"))
    _, err = ddbench(*run, "--keep-stale")
    assert "edited since: kept, marked (--keep-stale)\n  " + first[0] in err
    assert dict([first]) == sets_of(tmp_path / "run")  # kept, because it was asked for
    assert "edited since" in (tmp_path / "run" / "report.md").read_text()
    _, err = ddbench(*run)
    assert "edited since: done again with 2 evaluations\n  " + first[0] in err
    both = sets_of(tmp_path / "run")
    assert len(both) == 2 and both[first[0]] == first[1]
    assert len(set(both.values())) == 2


def test_one_line_of_an_editable_distribution_changes_its_fingerprint(tmp_path, monkeypatch):
    package = tmp_path / "ddbench_pull"
    package.mkdir()
    (package / "__init__.py").write_text(PULL)
    info = tmp_path / "ddbench_pull-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ddbench-pull\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ddbench.methods]\npull = ddbench_pull\n")
    digest = urlsafe_b64encode(hashlib.sha256(PULL.encode()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"ddbench_pull/__init__.py,sha256={digest},{len(PULL)}\n")
    monkeypatch.syspath_prepend(tmp_path)
    released = discover()["pull"].code
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    before = discover()["pull"].code
    (package / "__init__.py").write_text(PULL.replace("0.5", "0.25"))
    after = discover()["pull"].code
    assert released == "1.0"
    assert before.startswith("sha256:") and after.startswith("sha256:") and before != after


class Plain:
    """A method whose hooks a test replaces."""

    @hookimpl
    def describe(self):
        return MethodInfo(steps=lambda config, ipc: 3)

    @hookimpl
    def init(self, synthetic):
        return {"images": synthetic.images.clone(), "labels": synthetic.labels}

    @hookimpl
    def condense_step(self, state):
        state["images"] += 0.1
        return {"loss": 1.0}

    @hookimpl
    def export(self, state):
        return SyntheticSet(state["images"].clone(), state["labels"])


def test_a_failing_method_is_a_row_with_its_reason_and_exit_code_one(tmp_path):
    class Raises(Plain):
        @hookimpl
        def condense_step(self, state, step):
            raise ZeroDivisionError(f"at step {step}")

    outcome = in_process(tmp_path, Raises())
    assert outcome.exit_code == 1
    [record] = outcome.jobs.failed
    assert "ZeroDivisionError: at step 0" in record.reason
    assert "condense_step" in record.traceback
    assert set(outcome.jobs.blocked.values()) == {f"its condensation failed: {record.reason}"}


def test_where_nothing_is_left_that_can_start_no_engine_does(tmp_path, monkeypatch):
    class Raises(Plain):
        @hookimpl
        def condense_step(self, state, step):
            raise ZeroDivisionError

    first = in_process(tmp_path, Raises())
    monkeypatch.setattr("ddbench.execution.run.Work", lambda *_: pytest.fail("it starts"))
    again = in_process(tmp_path, Raises())
    assert again.jobs.blocked == first.jobs.blocked != {}


@pytest.mark.parametrize(
    ("exported", "reason"),
    [
        (lambda images, labels: None, "export returned NoneType"),
        (lambda images, labels: SyntheticSet(images * float("nan"), labels), "NaN"),
        (lambda images, labels: SyntheticSet(images[:-1], labels[:-1]), "images per class"),
        (lambda images, labels: SyntheticSet(images.double(), labels), "torch.float64"),
        (lambda images, labels: SyntheticSet(images[:, :, 1:], labels), "shape"),
        (lambda images, labels: SyntheticSet(images, labels + 100), "expected 0..3"),
        (lambda images, labels: SyntheticSet(images.requires_grad_(), labels), "require grad"),
    ],
)
def test_a_set_that_breaks_the_contract_fails_with_what_is_wrong(tmp_path, exported, reason):
    class Wrong(Plain):
        @hookimpl
        def export(self, state):
            return exported(state["images"].clone(), state["labels"].clone())

    [record] = in_process(tmp_path, Wrong()).jobs.failed
    assert reason in record.reason


def test_writing_into_the_training_data_is_found_out(tmp_path):
    class Writes(Plain):
        @hookimpl
        def condense_step(self, state, task):
            task.images[0].numpy()[:] = 7.0

    [record] = in_process(tmp_path, Writes()).jobs.failed
    assert "training tensors" in record.reason


def test_everything_promised_is_measured(tmp_path):
    outcome = in_process(tmp_path, Plain())
    assert outcome.exit_code == 0
    records = read_run(outcome.folder)
    [condensed] = records.condensations.values()
    costs = condensed.costs
    assert costs.steps_done == 3 and costs.condense_s > 0 and costs.init_s > 0
    assert costs.flops_condense == 0  # an addition is no matrix operation
    assert costs.bytes == condensed.images * (64 * 4 + 8)
    assert (
        condensed.hardware_class and condensed.versions["torch"] == torch.__version__.split("+")[0]
    )
    for evaluation in records.evaluations.values():
        assert len(evaluation.accuracies) == len(evaluation.train_s) == 2
        assert evaluation.flops_train > 0 and evaluation.forward_macs > 0
        assert evaluation.chance == pytest.approx(0.25)


def test_the_set_on_disk_says_how_it_was_prepared(tmp_path):
    outcome = in_process(tmp_path, Plain())
    [(id, _)] = sets_of(outcome.folder.root).items()
    synthetic = SyntheticSet.load(outcome.folder.set_file(id))
    assert synthetic.provenance["dataset"] == "toy"
    assert len(synthetic.provenance["mean"]) == len(synthetic.provenance["std"]) == 1
    assert synthetic.provenance["method"] == "pull"
    [record] = read_run(outcome.folder).condensations.values()
    assert synthetic.sha256() == record.set_sha256
    about = synthetic.provenance
    assert about["costs"] == asdict(record.costs) and about["versions"] == record.versions
    for name in ("row", "init", "ipc", "seed", "steps", "architecture", "code", "hardware_class"):
        assert about[name] == getattr(record, name)
    assert about["options"] == record.config and about["classes"] == [f"blob {c}" for c in range(4)]
    assert "255 * (x * std + mean)" in about["inverse"]
    assert synthetic.unnormalised().shape == synthetic.images.shape


def test_evaluation_networks_start_alike_for_every_method(tmp_path):
    outcome = in_process(tmp_path, Plain(), out="a")
    twice = in_process(tmp_path, Plain(), out="b")
    assert accuracies_of(outcome.folder.root) == accuracies_of(twice.folder.root)


# -- as a careless user --------------------------------------------------------------------------


def test_without_a_choice_it_says_what_to_say():
    _, err = ddbench("run", code=2)
    assert "--all, --preset NAME or --method NAME" in err


def test_a_folder_that_is_no_run_is_refused(tmp_path, registry, plugin):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    _, err = ddbench("run", "--registry", registry, "--plugin", plugin, "--method", "pull",
                     "--cache", tmp_path / "cache", "--out", tmp_path / "home", code=2)  # fmt: skip
    assert "is not empty and not a run folder" in err
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"
    _, err = ddbench("leaderboard", tmp_path / "home", code=2)
    assert "is not a run folder" in err
    _, err = ddbench("report", tmp_path / "nowhere", code=2)
    assert "no such folder" in err


def test_a_run_does_not_replace_what_a_later_ddbench_wrote(tmp_path):
    [job] = in_process(tmp_path, Plain()).plan.condensations
    path = tmp_path / "run" / "condensations" / job.id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    before = path.read_text()
    with pytest.raises(RunError, match="upgrade ddbench"):
        in_process(tmp_path, Plain())
    assert path.read_text() == before


def test_typos_come_with_suggestions_and_exit_code_two(registry):
    _, err = ddbench("run", "--registry", registry, "--method", "randon", code=2)
    assert "did you mean 'random'?" in err
    _, err = ddbench("plan", "--method", "random", "--dataset", "mnits", code=2)
    assert "did you mean 'mnist'?" in err


def test_init_registry_writes_a_copy_once(tmp_path):
    copy = tmp_path / "mine.toml"
    ddbench("init-registry", copy)
    parse(copy.read_text(), copy)
    _, err = ddbench("init-registry", copy, code=2)
    assert "exists already" in err
    out, _ = ddbench("run", "--registry", copy, "--print-registry")
    assert json.loads(out)["protocols"]["dc300"]["epochs"] == 301
