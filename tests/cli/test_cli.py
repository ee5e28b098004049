"""The commands in this process: what they print, and what they refuse in one line."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.shell_completion import BashComplete, ZshComplete
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.cli.scaffold import text_of
from ddbench.discovery.methods import PACKAGES, MethodError
from ddbench.execution.costs import Cost, Costs
from ddbench.planning.forecasts import Machine
from ddbench.planning.jobs import Plan
from ddbench.planning.registry import RegistryError
from ddbench.store.records import Skipped
from ddbench.store.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("asked_here")


def ddbench(*words, code=0):
    """Run a command; return its standard output and error."""
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def session(monkeypatch):
    """The session that `run` and `plan` open; a test says what it answers."""
    session = SimpleNamespace(plan=lambda choices: Plan([], [], []), shared=lambda plan: [])
    monkeypatch.setattr("ddbench.cli.run.open_session", lambda *places, **how: session)
    return session


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["leaderbord"], "No such command 'leaderbord'; did you mean 'leaderboard'?"),
        (["qqq"], "No such command 'qqq'. There are: architectures, "),
        (["datasets", "fetsch", "toy"], "No such command 'fetsch'; did you mean 'fetch'?"),
    ],
)
def test_an_unknown_command_suggests_one_or_lists_all(words, hint):
    assert hint in ddbench(*words, code=2)[1]


# -- data ------------------------------------------------------------------------------------------


def test_fetch_says_of_made_up_data_that_they_need_no_files(tmp_path):
    out, _ = ddbench("datasets", "fetch", "toy", "--data", tmp_path)
    assert out == "toy needs no files\n"


# -- listings --------------------------------------------------------------------------------------


def test_a_networks_costs_on_a_known_dataset_need_no_files(tmp_path, monkeypatch):
    monkeypatch.delenv("DDBENCH_DATA", raising=False)
    words = ("architectures", "convnet", "--dataset", "mnist", "--data", tmp_path / "none")
    out, _ = ddbench(*words, "--cache", tmp_path)
    for text in ("317,706", "49,246,208", "492,462,080,000", "10,000 test images (as published)"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80
    (cost,) = json.loads(ddbench(*words, "--cache", tmp_path, "--json")[0])
    assert (cost["macs_image"], cost["macs_test"]) == (49_246_208, 492_462_080_000)


def test_a_networks_costs_on_data_that_are_here_are_those_of_the_files(tmp_path):
    words = ("architectures", "mlp", "--dataset", "mnist-mini?size=14", "--cache", tmp_path)
    (cost,) = json.loads(ddbench(*words, "--json")[0])
    assert (cost["shape"], cost["sizes"], cost["test_images"]) == ([1, 14, 14], "measured", 1000)
    assert cost["macs_test"] == 1000 * cost["macs_image"]


def test_architectures_says_what_there_is_not(tmp_path):
    words = ("architectures", "--cache", tmp_path)
    assert "did you mean 'convnet'?" in ddbench(*words, "convet", code=2)[1]
    assert "did you mean 'mnist'?" in ddbench(*words, "mlp", "--dataset", "mnst", code=2)[1]
    assert "train/<class>/" in ddbench(*words, "mlp", "--dataset", f"folder:{tmp_path}", code=2)[1]


def test_the_listing_of_architectures_has_readable_shapes(tmp_path):
    out, _ = ddbench("architectures", "--cache", tmp_path)
    assert "1×28×28: 317,706" in out and "3×32×32: 320,010" in out


REGISTRY = """
[protocols.short]
epochs = 4
networks = 2
summary = "four epochs"

[presets.mine]
datasets = ["toy"]
architectures = ["mlp"]
evaluate_on = ["mlp"]
ipc = [1, 2]
protocol = "short"
rows = ["thing", "thing@large"]
summary = "two rows"

[methods.thing.ipc.2]
batch_real = 32
[methods.thing.dataset.toy.ipc.2]
steps = 9
[methods."thing@large"]
method = "thing"
published = false
batch_real = 128
"""


@pytest.fixture
def places(tmp_path):
    """A registry, and a file that is the method `thing`."""
    (tmp_path / "mine.toml").write_text(REGISTRY)
    (tmp_path / "thing.py").write_text(text_of("plugin.py.txt"))
    return "--registry", tmp_path / "mine.toml", "--plugin", tmp_path / "thing.py"


def test_a_method_in_full_has_a_line_for_each_option_with_all_its_values(places):
    out, _ = ddbench("methods", "thing@large", *places)
    lines = [line.split() for line in out.splitlines()]
    assert ["steps", "500"] in lines and ["labels", "hard"] in lines
    assert ["batch_real", "64", "32", "(ipc", "2)"] in lines
    assert ["lr_images", "1.0"] in lines
    assert ["steps", "100", "9", "(dataset", "toy,", "ipc", "2)"] in lines
    assert ["thing@large", "no", "batch_real=128"] in lines


def test_a_method_in_full_as_json_keeps_where_each_setting_holds(places):
    [thing] = json.loads(ddbench("methods", "thing", *places, "--json")[0])
    assert thing["options"] == {"lr_images": 1.0, "batch_real": 64}
    assert thing["registry"] == [
        {"at": {"dataset": "toy", "ipc": "2"}, "steps": 9},
        {"at": {"ipc": "2"}, "batch_real": 32},
    ]
    settings = [{"at": {}, "batch_real": 128}]
    assert thing["variants"] == {"thing@large": {"published": False, "settings": settings}}


def test_the_list_of_methods_leaves_options_to_their_own_page(places):
    out, err = ddbench("methods", *places)
    assert "thing" in out and "batch_real" not in out and "`ddbench methods NAME`" in err


def test_every_unknown_method_is_named_at_once(places):
    _, err = ddbench("methods", "thingg", "randon", *places, code=2)
    assert "did you mean 'thing'?" in err and "did you mean 'random'?" in err


def test_presets_and_protocols_are_listed(places):
    out, _ = ddbench("presets", *places[:2])
    lines = [line.split() for line in out.splitlines()]
    assert ["mine", "toy", "1,", "2", "thing", "two", "rows", "0", *["mlp"] * 2, "short"] in lines
    assert ["short", "4", "2", "256", "none", "four", "epochs"] in lines
    data = json.loads(ddbench("presets", *places[:2], "--json")[0])
    assert [row["method"] for row in data["presets"]["mine"]["rows"]] == ["thing", "thing@large"]
    assert data["protocols"]["short"]["epochs"] == 4


@pytest.mark.parametrize("command", ["presets", "datasets"])
def test_listings_of_names_import_no_torch(command):
    code = f"""if True:
        import sys
        from ddbench.cli import main
        main(["{command}", "--json"], standalone_mode=False)
        sys.exit("torch" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE).returncode == 0


# -- run -------------------------------------------------------------------------------------------


def test_require_all_says_once_what_several_seeds_lack(session, tmp_path):
    skipped = [
        Skipped("dm", "mnist", "convnet", "real", 1, seed, "mnist: not in /data; fetch it")
        for seed in range(3)
    ]
    session.plan = lambda choices: Plan([], [], skipped)
    run = ("run", "--method", "dm", "--require-all", "--out", tmp_path / "run")
    _, err = ddbench(*run, code=2)
    assert err == "ddbench: --require-all:\n  mnist: not in /data; fetch it\n"


def test_mistakes_of_the_command_line_come_with_those_of_the_plan(session):
    def plan(choices):
        raise RegistryError([*choices.faults, "and more"])

    session.plan = plan
    _, err = ddbench("plan", "--set", "dm", "--set", "lr=1", "--budget", "soon", code=2)
    starts = [
        "ddbench: this",
        "  say what to run",
        "  --set dm:",
        "  --set lr=1:",
        "  --budget soon",
    ]
    assert [
        line[: len(start)] for line, start in zip(err.splitlines(), starts, strict=False)
    ] == starts
    assert err.endswith("  and more\n")
    session.plan = None  # is not asked where nothing at all is chosen
    assert "say what to run" in ddbench("plan", code=2)[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space", "/a/m.json"),
            "/a/m.json: No space; make room there and",
        ),
        (OSError(errno.EROFS, "Read-only", b"/a"), "/a: Read-only; make it writable, or name"),
        (OSError(errno.ESTALE, "Stale", "/a", None, "/b"), "/b: Stale; see that its disk is there"),
        (
            OSError("odd"),
            "odd; see that its disk is there and whole and run the same command again",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_path_and_a_remedy(
    session, tmp_path, error, words
):
    def plan(choices):
        raise error

    session.plan = plan
    _, err = ddbench("run", "--method", "dm", "--out", tmp_path / "run", code=2)
    assert err.startswith(f"ddbench: {words}") and err.count("\n") == 1


# -- costs -----------------------------------------------------------------------------------------

MACHINE = Machine("a processor", 1, 2)
COSTS = Costs(
    [
        Cost("artifact", "experts", 1, 5 * 10**16, False, 7200.0, "probe", None, None),
        Cost("condense", "dm, ipc 1", 2, 36_000, False, 60.0, "same jobs", 2**30, 4096),
        Cost("condense", "mine, ipc 1", 1, None, False, None, "", None, 0, "content decides"),
        Cost("evaluate", "ipc 1", 2, 10, True, 8.0, "probe", 3 * 2**30, 0, "needs 3 GiB", False),
    ],
    {}, MACHINE, 40.0, 2**30, 2 * 2**30, 7200.0,
)  # fmt: skip


def costs_of(session, monkeypatch, *words, costs=COSTS):
    job = SimpleNamespace(id="e", networks=1, condensation=None, tested_on="test", record=dict)
    session.plan = lambda choices: Plan([], [job], [])
    monkeypatch.setattr("ddbench.execution.costs.costs", lambda *given: costs)
    return ddbench("plan", "--method", "dm", *words)[0]


def test_costs_as_json_are_plain_numbers_or_null(session, monkeypatch):
    found = json.loads(costs_of(session, monkeypatch, "--json"))["costs"]
    assert [row["flops"] for row in found["rows"]] == [5 * 10**16, 36_000, None, 10]
    assert found["total"]["seconds"] is None  # one row is not known
    assert found["total"]["memory"] == 3 * 2**30 and found["total"]["disk"] == 4096
    assert found["rows"][2]["why"] == "content decides"


def test_costs_in_a_table_have_units_that_fit_and_what_does_not_fit_is_said(session, monkeypatch):
    out = " ".join(costs_of(session, monkeypatch).split())
    assert "2 h 0 min" in out and "36 k" in out and "1.0 GiB 4.0 KiB same jobs" in out
    assert "FLOPs: at least 50 PFLOPs" in out
    assert "time: not known, because nothing predicts the time of mine, ipc 1" in out
    assert "does not fit: ipc 1: needs 3 GiB" in out
    known = replace(COSTS, rows=[COSTS.rows[0], COSTS.rows[1]])
    out = costs_of(session, monkeypatch, costs=known)
    assert "time: 2 h 0 min with 2 jobs at once" in out and "and what experts take" in out
    assert "costs" not in ddbench("plan", "--method", "dm", "--no-price")[0]


# -- places ----------------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file", tmp_path / "file" / "below"):
        _, err = ddbench("plan", "--method", "dm", "--cache", cache, code=2)
        assert err == f"ddbench: --cache {cache}: is a file, or lies below one; name a folder\n"


def test_a_cache_that_cannot_be_written_is_refused_with_the_reason(tmp_path, monkeypatch):
    def refuse(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    _, err = ddbench("plan", "--method", "dm", "--cache", tmp_path, code=2)
    assert f"--cache {tmp_path}: cannot be written (Read-only file system); name another" in err


# -- what is not installed, and what is in a file ------------------------------------------------


def test_plan_exits_as_run_would(session):
    left_out = [Skipped("dm", "mnist", "convnet", "real", 1, 0, "no data")]
    broken = [Skipped("dm", "mnist", "convnet", "real", 1, 0, "does not import", failed=True)]
    for skipped, code in ((left_out, 3), (broken, 1), ([], 0)):
        session.plan = lambda choices, skipped=skipped: Plan([], [], skipped)
        ddbench("plan", "--preset", "quick", code=code)


def test_methods_names_the_packages_where_none_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("ddbench.planning.workspace.discover", lambda files: {})
    _, said = ddbench("methods", "--cache", tmp_path)
    assert f"pip install {' '.join(PACKAGES)}" in said


EXTENSION = """
from ddbench import Architecture, hookimpl
from ddbench.architectures import Network
from ddbench.datasets import Presence, Source
from torch import nn


class Leaves(Source):
    name = "leaves"
    summary = "dry ones"

    def locate(self, roots):
        return Presence(False, None, "collect them")

    def load(self, roots, options):
        raise NotImplementedError


def twig(shape, num_classes, options):
    pixels = shape[0] * shape[1] * shape[2]
    return Network(nn.Flatten(), nn.Linear(pixels, num_classes))


@hookimpl
def register_datasets():
    return {"leaves": Leaves()}


@hookimpl
def register_architectures():
    return {"twig": Architecture("twig", twig, "a thin one")}
"""


def test_listings_show_what_a_file_brings(tmp_path):
    file = tmp_path / "parts.py"
    file.write_text(EXTENSION)
    for command, name in (("datasets", "leaves"), ("architectures", "twig")):
        out, _ = ddbench(command, "--plugin", file, "--json")
        assert f'"{name}"' in out
        assert f'"{name}"' not in ddbench(command, "--json")[0]


def test_the_session_of_a_plan_says_what_a_registry_leaves_out(tmp_path):
    file = tmp_path / "mine.toml"
    words = ("plan", "--registry", file, "--cache", tmp_path / "cache", "--preset", "x")
    for head, said in (
        ("", True),
        ('extends = "nothing"\n', False),
        ('extends = "default"\n', False),
    ):
        file.write_text(head + REGISTRY)
        assert ("leaves out the default registry" in ddbench(*words, code=2)[1]) == said


# -- seeing what went wrong ------------------------------------------------------------------------


def test_show_takes_a_job_or_says_which_ways_there_are(tmp_path):
    RunFolder(tmp_path / "run").create()
    for words in ([], ["dm", "--failed"]):
        assert "--failed or --last" in ddbench("show", tmp_path / "run", *words, code=2)[1]
    assert ddbench("show", tmp_path / "run", "--failed")[0] == "no job has failed\n"
    assert "no job has ended yet" in ddbench("show", tmp_path / "run", "--last", code=2)[1]


def test_debug_shows_the_traceback_behind_a_message(session, tmp_path, caplog):
    def plan(choices):
        raise MethodError("it does not import") from ImportError("no module")

    session.plan = plan
    run = ("plan", "--method", "dm")
    _, plain = ddbench(*run, code=2)
    assert plain == "ddbench: it does not import\n"
    _, err = ddbench("--debug", *run, code=2)
    assert "ImportError: no module" in err and err.endswith(plain)
    logging.getLogger("ddbench").setLevel(logging.NOTSET)
    assert not logging.getLogger("PIL").isEnabledFor(logging.DEBUG)


# -- completion ------------------------------------------------------------------------------------

TYPED = {
    "ddbench lea": {"leaderboard"},
    "ddbench show --fa": {"--failed"},
    "ddbench run --preset smo": {"smoke"},
    "ddbench plan --method kce": {"kcenter"},
    "ddbench run --dataset mnist-": {"mnist-mini"},
    "ddbench leaderboard runs/": {"runs/mine"},
    "ddbench show runs/mine dm-": {"dm-1", "dm-on-mlp"},
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A working folder with a run below `runs/`."""
    (tmp_path / "runs/mine/condensations/dm-1").mkdir(parents=True)
    (tmp_path / "runs/mine/evaluations").mkdir()
    (tmp_path / "runs/mine/evaluations/dm-on-mlp.json").touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("shell", [BashComplete, ZshComplete])
def test_tab_completes_commands_options_and_names(typed, shell, runs, monkeypatch):
    words = typed.split()
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    offered = shell(main, {}, "ddbench", "_DDBENCH_COMPLETE").complete()
    lines = offered.splitlines()
    found = lines[1::3] if shell is ZshComplete else [line.split(",")[1] for line in lines]
    assert set(found) == TYPED[typed]


def test_bash_completes_with_the_line_that_the_readme_gives(runs):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    line = next(line for line in readme.splitlines() if "bash_source" in line)
    script = f"""{line}
        COMP_WORDS=(ddbench leaderb) COMP_CWORD=1
        _ddbench_completion ddbench
        echo "offered: ${{COMPREPLY[*]}}"; complete -p ddbench"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["bash", "--norc", "-c", script]
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert "offered: leaderboard" in done.stdout and "-F _ddbench_completion" in done.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_line_that_the_readme_gives():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    line = next(line for line in readme.splitlines() if "zsh_source" in line)
    script = f"autoload -U compinit; compinit -D; {line}\nprint ${{_comps[ddbench]}}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = ["zsh", "-f", "-c", script]
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.stdout.strip() == "_ddbench_completion", done.stderr
