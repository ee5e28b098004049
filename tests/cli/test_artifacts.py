"""`ddbench artifacts`: what it lists, builds ahead, verifies and removes."""

import json

import pytest
import torch
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.contract.artifacts import ArtifactStore

pytestmark = pytest.mark.usefixtures("asked_here")

REGISTRY = """
[protocols.short]
epochs = 2
networks = 1

[presets.quick]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1"]
ipc = [1]
seeds = [0, 1]
protocol = "short"
rows = ["sharing"]
"""
METHOD = """
from dataclasses import dataclass

import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl


@dataclass(frozen=True)
class Config:
    size: int = 3


def shared(task, config):
    def build(work):
        with work.meter:
            torch.ones(config.size, 4) @ torch.ones(4, 4)
        assert torch.get_num_threads() == 1
        (work.folder / "part").write_text("x" * config.size)

    if config.size > 100:
        raise RuntimeError("too large")
    return task.artifact("mine", {"size": config.size, "architecture": "mlp"}, build)


@hookimpl
def describe():
    return MethodInfo(config=Config, steps=lambda config, ipc: 0)


@hookimpl
def prepare(task, config):
    shared(task, config)
    return True


@hookimpl
def init(task, synthetic, config):
    shared(task, config)
    return synthetic


@hookimpl
def condense_step(state):
    pass


@hookimpl
def export(state):
    return SyntheticSet(state.images.clone(), state.labels.clone())
"""
PLAIN = METHOD.replace("@hookimpl\ndef prepare", "def not_a_hook").replace(
    "    shared(task, config)\n    return synthetic", "    return synthetic"
)


def artifacts(cache, *words, code=0):
    """Run `ddbench artifacts` in this process; return standard output and error."""
    result = CliRunner().invoke(main, ["artifacts", *map(str, words), "--cache", str(cache)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def build(tmp_path):
    """The words that build what the method `sharing` asks for."""
    (tmp_path / "registry.toml").write_text(REGISTRY)
    (tmp_path / "sharing.py").write_text(METHOD)
    (tmp_path / "plain.py").write_text(PLAIN)
    words = ["build", "--registry", tmp_path / "registry.toml"]
    return [*words, "--plugin", tmp_path / "sharing.py", "--plugin", tmp_path / "plain.py"]


def store_two(cache):
    """Store two artifacts; return their ids."""

    def write(work):
        (work.folder / "part").write_text("x" * 10)

    store = ArtifactStore(cache / "artifacts")
    cpu = torch.device("cpu")
    spec = {"architecture": "convnet-w32"}
    return [store.get("experts", {"n": n, **spec}, write, cpu, "mnist-mini").id for n in (1, 2)]


def test_an_empty_cache_lists_nothing_and_is_whole(tmp_path):
    assert artifacts(tmp_path / "none", "list")[0] == "nothing to show\n"
    assert json.loads(artifacts(tmp_path / "none", "list", "--json")[0]) == []
    assert artifacts(tmp_path / "none", "verify")[0] == "0 artifacts verified, all whole\n"
    assert not (tmp_path / "none").exists()


def test_artifacts_are_listed_with_their_costs(tmp_path):
    ids = sorted(store_two(tmp_path))
    (tmp_path / "artifacts" / "other-begun").mkdir()
    rows = json.loads(artifacts(tmp_path, "list", "--json")[0])
    assert [row["id"] for row in rows] == [*ids, "other-begun"]
    assert [row["state"] for row in rows] == ["done", "done", "begun"]
    assert (
        rows[0]["dataset"] == "mnist-mini" and rows[0]["seconds"] >= 0 and rows[2]["seconds"] == ""
    )
    assert {row["spec"]["n"] for row in rows[:2]} == {1, 2} and rows[0]["kind"] == "experts"
    out, _ = artifacts(tmp_path, "list")
    assert all(id in out for id in ids) and max(map(len, out.splitlines())) <= 80


def test_build_makes_what_a_run_would_ask_for_once(tmp_path, build):
    out, _ = artifacts(tmp_path, *build, "--method", "sharing")
    (line,) = out.splitlines()  # the two seeds share it
    (row,) = json.loads(artifacts(tmp_path, "list", "--json")[0])
    assert line.startswith(row["id"]) and row["dataset"] == "toy" and row["network"] == "mlp"
    before = (tmp_path / "artifacts" / row["id"] / "part").stat().st_mtime_ns
    assert artifacts(tmp_path, *build, "--method", "sharing")[0] == out
    assert (tmp_path / "artifacts" / row["id"] / "part").stat().st_mtime_ns == before
    run = ["run", *map(str, build[1:]), "--cache", str(tmp_path), "--method", "sharing", "--debug"]
    done = CliRunner().invoke(main, [*run, "--device", "cpu", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "artifacts" / row["id"] / "part").stat().st_mtime_ns == before
    assert len(json.loads(artifacts(tmp_path, "list", "--json")[0])) == 1


def test_build_takes_the_options_of_the_run(tmp_path, build):
    artifacts(tmp_path, *build, "--method", "sharing", "--set", "sharing.size=5,7")
    rows = json.loads(artifacts(tmp_path, "list", "--json")[0])
    assert {row["spec"]["size"] for row in rows} == {5, 7}


def test_a_row_that_cannot_be_built_is_named_and_the_others_are_built(tmp_path, build):
    words = [*build, "--method", "sharing", "--set", "sharing.size=101,7"]
    out, err = artifacts(tmp_path, *words, code=1)
    assert "cannot be built" in err and "RuntimeError: too large" in err and "sharing" in err
    assert len(out.splitlines()) == 1


def test_build_says_that_nothing_is_shared(tmp_path, build):
    out, err = artifacts(tmp_path, *build, "--method", "plain")
    assert out == "" and "nothing to build" in err


def test_verify_names_a_damaged_file(tmp_path):
    ids = store_two(tmp_path)
    assert artifacts(tmp_path, "verify")[0] == "2 artifacts verified, all whole\n"
    file = tmp_path / "artifacts" / ids[1] / "part"
    file.write_text("y" * 10)
    out, _ = artifacts(tmp_path, "verify", code=1)
    assert f"{file}: its content has changed" in out and ids[0] not in out
    assert artifacts(tmp_path, "verify", ids[0])[0] == "1 artifact verified, all whole\n"
    assert "no artifact experts-none" in artifacts(tmp_path, "verify", "experts-none", code=2)[1]


def test_remove_shows_first_and_does_it_when_told(tmp_path):
    first, second = store_two(tmp_path)
    (tmp_path / "artifacts" / "other-begun").mkdir()
    out, err = artifacts(tmp_path, "remove", first, "other-begun")
    assert out == f"{first}\nother-begun\n" and "2 artifacts" in err and "add --yes" in err
    assert (tmp_path / "artifacts" / first).is_dir()
    _, err = artifacts(tmp_path, "remove", first, first, "--yes")
    assert "1 artifact, " in err and err.endswith("removed\n")
    assert not (tmp_path / "artifacts" / first).exists()
    assert (tmp_path / "artifacts" / second).is_dir()


def test_remove_of_an_unknown_id_removes_nothing(tmp_path):
    first, second = store_two(tmp_path)
    _, err = artifacts(tmp_path, "remove", first, "experts-none", "--yes", code=2)
    assert "no artifact experts-none; there are: " in err and first in err and second in err
    assert (tmp_path / "artifacts" / first).is_dir()
