import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from ddbench.planning.job_ids import keeping
from ddbench.planning.jobs import DatasetFacts, Plan, Shared
from ddbench.reporting.leaderboard import load
from ddbench.reporting.markdown.document import Document
from ddbench.reporting.markdown.provenance import overview
from ddbench.reporting.terminal import (
    Progress,
    print_leaderboard,
    print_plan,
    print_rows,
    print_table,
    show_failed,
    show_job,
    show_last,
)
from ddbench.reporting.terminal.chart import binned, chart
from ddbench.reporting.terminal.eta import Eta
from ddbench.reporting.terminal.job_words import JobWords
from ddbench.reporting.terminal.progress import outcome, stale_lines
from ddbench.store.job_names import find_job
from ddbench.store.records import Condensation, Evaluation, Skipped
from ddbench.store.run_folder import RunError, RunFolder, read_run
from rich.console import Console

# -- tables ------------------------------------------------------------------------------------


def test_a_table_in_a_pipe_is_never_cut(capsys):
    long = "x" * 300
    print_table([{"name": long, "other": long}])
    assert f"{long}   {long}" in capsys.readouterr().out


def test_a_colon_on_either_side_is_no_emoji(capsys):
    facts = DatasetFacts("folder:tv", "f", 2, (1, 8, 8), (3, 1), "none", ("a", "b"), (1, 1))
    print_plan(Plan([condensation(dataset="folder:tv")], [], [], datasets={"folder:tv": facts}))
    Progress()._say("folder:tv: no")
    captured = capsys.readouterr()
    assert "folder:tv: 4 training images" in captured.out and captured.err == "folder:tv: no\n"


def test_words_of_others_are_not_markup(capsys):
    print_table([{"name": "[red]dm[/red]", "[b]": "[/]"}], title="[i]t")
    out = capsys.readouterr().out
    assert "[red]dm[/red]" in out and "[b]" in out and "[i]t" in out


def test_json_keeps_values_and_turns_nan_into_null(capsys):
    print_rows([{"a": math.nan, "b": [1, math.inf], "c": {"d": None}}], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": None, "b": [1, None], "c": {"d": None}}]


def test_a_table_without_rows_says_so(capsys):
    print_table([])
    assert capsys.readouterr().out == "nothing to show\n"
    print_rows([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_columns_choose_and_order(capsys):
    print_table([{"a": 1, "b": 2, "c": None}], columns=["c", "b"])
    head = capsys.readouterr().out.splitlines()[1].split()
    assert head == ["c", "b"]


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes stdout a terminal of some width."""

    def of_width(width):
        screen = Console(file=sys.stdout, width=width, force_terminal=True, color_system=None)
        for module in ("tables", "plans", "rankings"):
            name = f"ddbench.reporting.terminal.{module}.stdout"
            monkeypatch.setattr(name, lambda *widest: screen)

    return of_width


def test_a_narrow_terminal_does_without_the_droppable_and_says_so(terminal, capsys):
    legend = {"keep": "keep: what stays", "drop": "drop: what goes"}
    for width, dropped in ((70, True), (100, False)):
        terminal(width)
        print_table([{"keep": "k" * 20, "drop": "d" * 60}], right=legend, droppable=["drop"],
                    legend=legend)  # fmt: skip
        out = capsys.readouterr().out
        assert "k" * 20 in out and ("d" * 60 in out) is not dropped
        assert ("not shown: drop (a wider terminal or --json has them)" in out) is dropped
        assert "keep: what stays" in out and ("drop: what goes" in out) is not dropped


def test_numbers_are_never_broken_but_names_are(terminal, capsys):
    terminal(40)
    print_table([{"method": "fedd3 " * 8, "accuracy": "82.6 ± 1.2"}], right=["accuracy"])
    out = capsys.readouterr().out
    assert "82.6 ± 1.2" in out and len([line for line in out.splitlines() if "fedd3" in line]) > 1


def test_tables_need_neither_torch_nor_pandas():
    code = "import sys, ddbench.reporting.terminal; print({'torch', 'pandas'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# -- the leaderboard ---------------------------------------------------------------------------


def test_the_leaderboard_shows_every_architecture_and_what_failed(made, capsys):
    id = made.condensation("dm", reduced={"steps": [100, 20000]})
    made.evaluation(id, [0.8, 0.82])
    made.evaluation(id, [0.5, 0.52], architecture="vgg11")
    made.condensation("gm", status="failed", reason="ValueError: [boom]")
    (made.folder.root / "evaluations" / "torn.json").write_text("{")
    print_leaderboard(load(made.folder))
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if " dm (real)" in line)
    assert "81.0 (68.3–93.7)" in row and "51.0" in row
    assert "Some rows did not run with the published settings" in out
    [failed] = [line for line in out.splitlines() if "failed: condense gm on mnist-mini" in line]
    assert re.search(r"ValueError: \[boom\]; see: ddbench show \S+ gm-s0-\d+$", failed)
    assert "not read:" in out and "torn.json" in out
    assert "chance 10.0%" in out


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_width_has_whole_numbers_and_a_legend_of_its_columns(made, terminal, capsys, width):
    for n, config in enumerate(({}, {"client_distiller": "random"})):
        id = made.condensation("fedd3", config=config, steps=n)
        for architecture in ("convnet-w32", "alexnet-w0.25", "vgg11-w0.25"):
            made.evaluation(id, [0.80, 0.82], architecture=architecture)
        made.evaluation(id, [0.80, 0.82], own_recipe=True)
    terminal(width)
    print_leaderboard(load(made.folder))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    head = next(line for line in out.splitlines() if " method " in line)
    row = next(line for line in out.splitlines() if " fedd3" in line)
    assert "81.0 (68.3–93.7)" in row and "…" not in row
    for column in ("others %", "condense s", "one use s"):
        meaning = f"{column.removesuffix(' %')}: "
        assert (f"  {column}" in head) is (meaning in " ".join(out.split()))
    assert ("not shown: " in out) is (width < 120)


def test_quick_settings_are_said_to_show_the_harness(made, capsys):
    made.row("dm", [[0.8]], quick=True, reduced={"steps": [100, 20000]})
    print_leaderboard(load(made.folder))
    assert "Quick settings: steps that fit minutes" in capsys.readouterr().out


def test_seconds_of_condensing_hold_the_artifacts_in_full(made, capsys):
    made.row("datm", [[0.8]], costs={"artifact_s": 33.0})
    print_leaderboard(load(made.folder))
    out = capsys.readouterr().out
    assert re.search(r" datm .* 44.0 +47.0 ", out)
    assert "condense s: wall seconds until the set is there, artifacts in full" in out


def test_several_classes_of_hardware_are_told_apart(made, capsys):
    for n, machine in enumerate(["CPU one", "CPU two"]):
        id = made.condensation(f"m{n}", hardware_class=machine, costs={"condense_s": 9.0 + n})
        made.evaluation(id, [0.5], hardware_class=machine)
    print_leaderboard(load(made.folder))
    out = capsys.readouterr().out
    assert "10.0 [A]" in out and "11.0 [B]" in out
    assert "[A] CPU one; [B] CPU two" in out


def test_a_run_that_ended_early_says_how_much_of_its_plan_is_left(made, capsys):
    made.row("dm", [[0.8]])
    records = read_run(made.folder)
    plan = {
        "condensations": [*records.condensations, "gm-1"], "skipped": [],
        "evaluations": [*records.evaluations, "e-2", "e-3", "e-4"],
    }  # fmt: skip
    made.manifest(plan=plan, stopped="--budget-total 60s", blocked={"e-4": "failed"})
    left = "ended (--budget-total 60s) without 1 of 2 sets and 2 of 4 evaluations"
    print_leaderboard(load(made.folder))
    assert left in capsys.readouterr().out
    document = Document("run", "pictures")
    overview(document, load(made.folder))
    assert left in document.text().replace("\\", "")
    made.manifest(plan=plan)  # a later run came to its end
    print_leaderboard(load(made.folder))
    assert "without" not in capsys.readouterr().out


def test_an_empty_leaderboard_says_how_to_go_on(made, capsys):
    print_leaderboard(load(made.folder))
    assert "no evaluation has ended yet" in capsys.readouterr().out


def test_the_leaderboard_as_json_is_plain_data(made, capsys):
    made.row("dm", [[0.8]])
    made.evaluation(None, [0.97], protocol="whole-quick")
    made.condensation("gm", status="skipped", reason="no")
    print_leaderboard(load(made.folder), as_json=True)
    data = json.loads(capsys.readouterr().out)
    dm, gm = data["rows"]
    assert (dm["row"], dm["accuracy"], dm["rank"], dm["spread_networks"]) == ("dm", 0.8, 1, None)
    assert dm["condensing"][0]["own_s"] == 11.0
    assert (gm["accuracy"], gm["trouble"]) == (None, ["seed 0 skipped: no"])
    assert data["references"][0]["accuracy"] == 0.97
    assert data["troubles"][0]["status"] == "skipped"


# -- the plan ----------------------------------------------------------------------------------


def condensation(**fields):
    return Condensation(
        **{
            "id": "dm-1", "options_id": "o", "row": "dm", "method": "dm", "source": "", "code": "",
            "dataset": "toy", "dataset_fingerprint": "", "architecture": "convnet",
            "init": "real", "ipc": 1, "seed": 0, "config": {}, "steps": 20,
            "published_steps": 20000, "budget_s": None, "cycle": 1, "step_unit": "iteration",
            "labels": "hard", "balanced": True, "reduced": {"steps": [20, 20000]},
            "quick": True, "control_of": None, "paper": "", "bibtex": "",
        }
        | fields
    )  # fmt: skip


def evaluation(of="dm-1", id="e-1", **fields):
    values = {"snapshot": None, "dataset": "toy", "dataset_fingerprint": "",
              "protocol": "quick", "architecture": "convnet", "recipe": {}, "own_recipe": False,
              "networks": 3}  # fmt: skip
    return Evaluation(id=id, condensation=of, **values | fields)


def test_the_time_that_is_left_goes_by_what_was_predicted_and_how_that_has_held():
    jobs = [condensation(seed=s, id=f"dm-{s}") for s in range(8)]
    predicted = Eta(FakeJobs(pending=jobs), {job.id: 10.0 for job in jobs}, jobs_at_once=2)
    assert predicted.remaining_s == 40
    for job in jobs[:4]:
        predicted.ended(job, 30.0)  # three times as long
    assert predicted.remaining_s == 3 * 40 / 2
    unknown = Eta(FakeJobs(pending=jobs), {}, jobs_at_once=1)
    unknown.ended(jobs[0], 5.0)
    assert unknown.remaining_s is None  # one job tells nothing of the others
    for job in jobs[1:3]:
        unknown.ended(job, 5.0)
    assert unknown.remaining_s == 5 * 5


def test_a_plan_has_a_line_for_all_seeds_of_a_row(capsys):
    jobs = [condensation(seed=s, id=f"dm-{s}") for s in range(3)]
    evaluations = [evaluation(f"dm-{s}", f"e-{s}") for s in range(3)] + [evaluation(None)]
    skipped = [Skipped("x", "cifar10", "convnet", "real", 1, s, "no data") for s in (0, 1)]
    print_plan(Plan(jobs, evaluations, skipped))
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "dm †" in line).split()
    assert row == ["dm", "†", "20", "20,000", "iteration", "3"]
    axes = "matched convnet, init real, ipc 1, seeds"
    assert f"condensations: dataset toy, {axes} 0, 1, 2" in out
    assert "† dm: the steps alone" in out and "--published" in out
    assert f"skipped: dataset cifar10, {axes} 0, 1" in out
    assert next(line for line in out.splitlines() if " x " in line).split() == ["x", "no", "data"]
    counts = (
        "3 condensations, 4 evaluations of 12 networks (1 on the whole training set), 2 skipped"
    )
    assert counts in out and "time" not in out


def own_plan():
    """Return a plan as the preset `own` makes it: every method with two candidates."""
    where = {"dataset": "folder:/home/someone/pictures/leaves", "architecture": "convnet-w32"}
    jobs = []
    for row, names in {
        "gm": ("lr_images", "batch_real"),
        "datm": ("student_steps", "match_epochs", "expert_epochs", "expert_augment", "lr_images"),
    }.items():
        for rate in (50.0, 500.0):
            differing = {name: [rate if name == "lr_images" else 8, 256] for name in names}
            reduced = {**differing, "dataset": [where["dataset"], "mnist"], "steps": ["12 s", 9]}
            fields = {"row": row, "method": row, "config": {"lr_images": rate}, "budget_s": 12.0}
            jobs += [
                condensation(
                    **where, **fields, reduced=reduced, seed=s, id=f"{row}-{rate}-{s}", steps=9
                )
                for s in (0, 1, 2)
            ]
    fields = {"row": "datm", "method": "datm", "control_of": "datm", "steps": 0, "id": "start"}
    jobs.append(condensation(**where, **fields))
    facts = DatasetFacts(
        where["dataset"], "f", 3, (3, 32, 32), (64, 38, 26), "none", ("oak", "maple", "birch"),
        (20, 12, 8), "files left out: 1 other file", 20,
    )  # fmt: skip
    return Plan(jobs, [], [], datasets={where["dataset"]: facts}, total_s=420.0)


@pytest.mark.parametrize("width", [80, None])
def test_a_plan_fits_a_terminal_and_a_pipe_and_says_everything_once(terminal, capsys, width):
    if width:
        terminal(width)
    shared = [Shared("experts", "e", ("datm [lr_images=50.0]", "datm [lr_images=500.0]"), "done")]
    print_plan(own_plan(), shared, jobs_at_once=2)
    out = capsys.readouterr().out
    lines, words = out.splitlines(), " ".join(out.split())
    assert max(map(len, lines)) <= (width or 100)
    assert words.count("someone/pictures") == 3  # the data and their note, and all rows
    assert "128 training images (20% more held out), 40 test images, 3×32×32" in words
    assert "3 classes: oak (64), maple (38), birch (26)" in words
    assert "† gm: lr_images 50 or 500 (published 256), batch_real 8 (256)" in words
    assert words.count("student_steps") == 1 and words.count("† other data than published: gm") == 1
    assert next(line for line in lines if "experts" in line).split()[-1] == "datm"
    assert "run ends after 7 min 0 s; 12 × 12 s of condensing take 72.0 s with 2 jobs" in words


def test_a_plan_as_json_has_every_job(capsys):
    facts = DatasetFacts("toy", "f", 2, (1, 8, 8), (3, 1), "none", ("a", "b"), (1, 1), "half of it")
    plan = Plan([condensation()], [evaluation()], [], datasets={"toy": facts})
    print_plan(plan)
    assert "toy: half of it" in capsys.readouterr().out
    print_plan(plan, as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["condensations"][0]["id"] == "dm-1"
    assert data["evaluations"][0]["condensation"] == "dm-1"
    assert data["skipped"] == []
    assert data["datasets"]["toy"] == {
        "fingerprint": "f", "shape": [1, 8, 8], "class_names": ["a", "b"],
        "train_counts": [3, 1], "test_counts": [1, 1], "data_notes": "half of it",
    }  # fmt: skip


def test_a_plan_shows_what_its_rows_share(capsys):
    shared = [
        Shared("network convnet", "network-1", ("herding", "kmeans"), "done"),
        Shared("", "", ("mine",), "not known before it runs: mine has no hook prepare"),
    ]
    print_plan(Plan([condensation()], [evaluation()], []), shared)
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "network convnet" in line)
    assert "in the cache" in row and "herding, kmeans" in row
    assert "artifacts of mine: not known before it runs" in out
    print_plan(Plan([condensation()], [evaluation()], []), shared, as_json=True)
    assert json.loads(capsys.readouterr().out)["artifacts"][0]["id"] == "network-1"


# -- one job -----------------------------------------------------------------------------------


def test_a_job_is_shown_with_its_evaluations_and_curve(made, capsys):
    id = made.condensation("dm", measures={"clients": 5}, whitening={"kind": "zca", "seconds": 7.5})
    made.evaluation(id, [0.8, 0.815], id="e-1")
    made.curve(id, {"step": [0, 1, 2], "seconds": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    show_job(made.folder, id[:-1])
    out = capsys.readouterr().out
    assert f"condensation {id}" in out and "measures.clients" in out
    assert "80, 81.5" in out and "whitening.seconds" in out and "7.5" in out
    assert "loss in 3 steps" in out and "┤" in out


def test_a_chosen_learning_rate_is_shown_where_there_was_a_choice(made, capsys):
    id = made.condensation("dm")
    made.evaluation(id, [0.8], id="e-1")
    show_job(made.folder, id)
    assert "learning rate" not in capsys.readouterr().out
    made.evaluation(id, [0.8], id="e-2", chosen_lr=0.03)
    show_job(made.folder, id)
    out = capsys.readouterr().out
    assert "learning rate" in out and "0.03" in out


def test_a_failed_job_is_shown_with_its_traceback(made, capsys):
    id = made.condensation("dm", status="failed", reason="boom", traceback="Traceback [x]\n  boom")
    show_job(made.folder, id)
    assert "Traceback [x]" in capsys.readouterr().out


def test_a_job_as_json_has_curve_and_evaluations(made, capsys):
    id = made.condensation("dm")
    of = made.evaluation(id, [0.8])
    made.curve(id, {"step": [0, 1], "loss": [3.0, math.nan]})
    show_job(made.folder, id, as_json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["id"] == id and data["curve"]["loss"] == [3.0, None]
    assert [one["id"] for one in data["evaluations"]] == [of]


def test_a_job_is_found_by_the_beginning_of_its_id(made):
    made.condensation("dm", id="dm-1")
    made.condensation("dm", id="dm-12")
    records = read_run(made.folder)
    assert find_job(records, "dm-1").id == "dm-1"
    with pytest.raises(RunError, match="2 jobs begin so"):
        find_job(records, "dm")
    with pytest.raises(RunError, match="did you mean\n  dm-1"):
        find_job(records, "dm_1")


def test_the_beginning_of_a_row_and_its_control_means_the_row(made):
    row = made.condensation("datm", id="datm-ipc1-s0-ab")
    for name in ("cd", "ef"):
        made.condensation("datm", id=f"datm-ipc1-s0-steps0-{name}", control_of="datm")
    records = read_run(made.folder)
    assert find_job(records, "datm").id == row
    assert find_job(records, "datm-ipc1-s0-steps0-c").control_of == "datm"
    with pytest.raises(RunError, match="2 jobs begin so"):
        find_job(records, "datm-ipc1-s0-steps0")
    made.condensation("datm", 1, id="datm-ipc1-s1-gh")
    with pytest.raises(RunError, match="2 jobs begin so"):
        find_job(read_run(made.folder), "datm")


def test_failed_jobs_are_shown_one_for_each_reason_and_the_last_alone(made, capsys):
    show_failed(made.folder)
    assert capsys.readouterr().out == "no job has failed\n"
    with pytest.raises(RunError, match="no job has ended yet"):
        show_last(made.folder)
    fault = {"status": "failed", "reason": "boom", "traceback": "Traceback\n  boom"}
    ids = [made.condensation("dm", seed, **fault) for seed in range(2)]
    done = made.condensation("gm")
    show_failed(made.folder)
    out = capsys.readouterr().out
    assert out.count("Traceback") == 1 and all(id in out for id in ids) and done not in out
    show_failed(made.folder, as_json=True)
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ids
    for failed, last in ((False, done), (True, ids[1])):
        show_last(made.folder, failed=failed, as_json=True)
        assert json.loads(capsys.readouterr().out)["id"] == last


def test_a_condensation_goes_before_evaluations_whose_ids_begin_alike(made):
    id = made.condensation("dm", id="dm-toy-convnet-real-ipc1-s0-ab")
    made.evaluation(id, [0.8], id="dm-real-ipc1-s0-on-convnet-cd")
    made.evaluation(id, [0.8], id="dm-real-ipc1-s0-on-mlp-ef")
    records = read_run(made.folder)
    assert find_job(records, "dm").id == id
    assert find_job(records, "dm-real-ipc1-s0-on-m").kind == "evaluation"
    with pytest.raises(RunError, match="2 jobs begin so"):
        find_job(records, "dm-real")


def test_a_chart_goes_from_the_top_left_to_the_bottom_right():
    lines = chart([3.0, 2.0, 1.0], width=4, height=3)
    assert lines[0].startswith("3 ┤") and lines[-1].startswith("1 ┤")
    dots = [[ord(c) - 0x2800 for c in line.split("┤")[1]] for line in lines]
    assert dots[0][0] and not dots[0][-1] and dots[-1][-1] and not dots[-1][0]


def test_a_chart_of_a_constant_or_of_nothing():
    assert len(chart([1.0], width=4, height=3)) == 3
    assert chart([math.nan], width=4) == ["no finite value"]


def test_long_curves_are_averaged_in_equal_parts():
    assert binned([1, 3, 5, 7], 2) == [2, 6]
    assert binned([1, math.nan, 5, 7], 2) == [1, 6]
    assert binned([1, 2], 5) == [1, 2]


# -- progress ----------------------------------------------------------------------------------


@dataclass
class FakeJobs:
    total: int = 2
    kept: int = 1
    pending: list = field(default_factory=list)
    blocked: dict = field(default_factory=dict)
    outdated: list = field(default_factory=list)
    folder: RunFolder = RunFolder(Path("no run"))


def events(progress, records, jobs=None):
    jobs = jobs or FakeJobs()
    plan = Plan([condensation()], [evaluation(architecture="mlp")], [])
    with progress:
        progress({"event": "plan", "jobs": jobs, "plan": plan})
        for job, record in records:
            progress({"event": "start", "job": job})
            progress({"event": "step", "job": job, "step": 1, "of": 20, "metrics": {"loss": 0.5}})
            progress({"event": "something new", "job": job})
            progress({"event": "end", "job": job, "record": record})
        jobs.blocked = {"e-2": "failed"}


def test_a_pipe_gets_one_plain_line_for_each_job(capsys):
    done = {"status": "done", "metrics": {"grad": 3.0, "loss": 0.25}}
    scored = {"status": "done", "accuracies": [0.8, 0.82]}
    events(Progress(), [(condensation(), done), (evaluation(), scored)])
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == (
        "2 jobs to do, 1 done before: toy, convnet, real init, ipc 1, evaluated on mlp"
    )
    assert lines[1] == "[1/2] condense dm, seed 0: loss 0.25, 0.0 s"
    assert lines[2] == "[2/2] evaluate dm, seed 0: accuracy 81.0 ± 1.4%, 0.0 s"
    assert lines[3] == "1 evaluation has no set to evaluate: failed"
    assert len(lines) == 4


def test_jobs_without_a_set_to_evaluate_are_not_to_do(capsys):
    progress = Progress()
    jobs = FakeJobs(total=3, kept=0, blocked={"e-1": "failed", "e-2": "failed"})
    with progress:
        progress({"event": "plan", "jobs": jobs, "plan": Plan([condensation()], [], [])})
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("1 job to do, 2 without a set to evaluate")
    assert last == "2 evaluations have no set to evaluate: failed"


def test_lines_say_of_a_job_what_tells_it_from_the_others():
    jobs = [condensation(id=f"dm-{n}", ipc=n) for n in (1, 10)]
    jobs.append(condensation(id="c", control_of="dm", steps=0))
    evaluations = [
        evaluation("dm-1", snapshot=5), evaluation(None, "whole", architecture="vgg11"),
        evaluation("dm-10", "own", own_recipe=True),
    ]  # fmt: skip
    words = JobWords(Plan(jobs, evaluations, []))
    assert words.common == "toy, convnet, real init"
    assert [words(job) for job in (*jobs, *evaluations)] == [
        "condense dm, ipc 1, seed 0",
        "condense dm, ipc 10, seed 0",
        "condense dm [steps=0] (control), ipc 1, seed 0",
        "evaluate dm, ipc 1, seed 0 after 5 steps on convnet",
        "evaluate the whole training set on vgg11",
        "evaluate dm, ipc 10, seed 0 on convnet by its own recipe",
    ]


def test_a_bar_counts_the_seconds_where_they_end_the_job():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    job = condensation(budget_s=12.0)
    with Progress(console) as progress:
        progress({"event": "plan", "jobs": FakeJobs(kept=0), "plan": Plan([job], [], [])})
        progress({"event": "start", "job": job})
        building = {"event": "step", "job": job, "step": 3, "of": 9, "artifact": "experts"}
        progress(building | {"waiting": True})
        progress.bars.refresh()
        told = {"event": "step", "job": job, "step": 23, "of": 100, "metrics": {}, "seconds": 3.0}
        progress(told)
        assert progress.bars.tasks[1].percentage == 25
        progress.bars.refresh()
    assert "waits for experts" in screen.getvalue() and "3/12 s" in screen.getvalue()
    assert "None" not in screen.getvalue()


def test_stale_results_are_named_and_said_to_be_done_again():
    plan = Plan([condensation()], [evaluation()], [])
    planned = plan.condensations[0].id
    lines = stale_lines(plan, FakeJobs(), {planned: "dm-old"})
    assert lines == [
        "stale: 1 condensation of code that has been edited since: done again with 1 evaluation\n"
        "  dm-old"
    ]
    many = {f"new-{n}": f"old-{n}" for n in range(5)}
    [text] = stale_lines(plan, FakeJobs(), many)
    assert text.splitlines()[1:] == ["  old-0", "  old-1", "  old-2", "  and 2 more"]
    [text] = stale_lines(keeping(plan, {planned: "dm-old"}), FakeJobs(), {planned: "dm-old"})
    assert "edited since: kept, marked (--keep-stale)\n  dm-old" in text
    [text] = stale_lines(plan, FakeJobs(outdated=["e-1"]), {})
    assert text == "stale: 1 evaluation of sets that have changed since: done again\n  e-1"


def test_a_failure_is_told_with_its_reason():
    assert outcome({"status": "failed", "reason": "boom"}, 3) == "failed: boom"
    assert outcome({"status": "skipped", "reason": "no"}, 3) == "skipped: no"
    assert outcome({"status": "done"}, 3) == "3.0 s"


def test_a_failure_ends_in_the_command_that_explains_it_if_it_is_kept(made, capsys):
    job = condensation()
    fields = {"status": "failed", "reason": "boom", "traceback": "Traceback\n  boom"}
    made.condensation("dm", id=job.id, **fields)
    for tracebacks, folder in ((False, made.folder), (True, RunFolder(Path("gone")))):
        events(Progress(tracebacks=tracebacks), [(job, fields)], FakeJobs(folder=folder))
        lines = capsys.readouterr().err.splitlines()[1:]
        see = f"; see: ddbench show {made.folder.root} {job.id}" * (not tracebacks)
        assert lines[0].endswith(f": failed: boom{see}")
        assert lines[1:4] == ([f"{job.id}:", "Traceback", "  boom"] if tracebacks else lines[1:4])
        assert ("Traceback" in lines) == tracebacks


def test_a_terminal_gets_bars_that_vanish():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    progress = Progress(console)
    job = condensation()
    progress.__enter__()
    plan = Plan([job], [], [])
    progress({"event": "plan", "jobs": FakeJobs(kept=0), "plan": plan})
    progress({"event": "start", "job": job})
    progress({"event": "step", "job": job, "step": 5, "of": 20, "metrics": {"loss": 0.5}})
    progress.bars.refresh()
    drawn = screen.getvalue()
    assert "5/20" in drawn and "loss 0.5" in drawn and "all jobs" in drawn
    progress({"event": "put back", "job": job})
    assert len(progress.bars.tasks) == 1
    progress({"event": "start", "job": job})
    progress({"event": "end", "job": job, "record": {"status": "failed", "reason": "boom"}})
    progress.bars.refresh()
    progress.__exit__(None, None, None)
    assert "failed: boom" in screen.getvalue() and "1 failed" in screen.getvalue()
    assert len(progress.bars.tasks) == 1


def test_names_of_others_in_a_bar_are_no_markup_and_move_no_cursor():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    job = replace(condensation(), row="dm[/x]")
    with Progress(console) as progress:
        progress({"event": "plan", "jobs": FakeJobs(kept=0), "plan": Plan([job], [], [])})
        progress({"event": "start", "job": job})
        metrics = {"\x1b[2Jgrad[/conv1]": 1.0}
        progress({"event": "step", "job": job, "step": 1, "of": 2, "metrics": metrics})
        progress.bars.refresh()
    assert "dm[/x]" in screen.getvalue() and " grad[/conv1] 1" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def test_a_job_that_was_never_started_may_end():
    progress = Progress(Console(file=open(os.devnull, "w")))
    progress.words = JobWords(Plan([condensation()], [], []))
    progress({"event": "end", "job": condensation(), "record": {"status": "done"}})
    progress({"event": "step", "job": SimpleNamespace(id="x"), "step": 1, "of": 2, "metrics": {}})
    assert progress.ended == 1
    progress.console.file.close()
