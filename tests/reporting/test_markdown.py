import io
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ddbench.reporting.leaderboard import load
from ddbench.reporting.leaderboard.curves import anytime
from ddbench.reporting.leaderboard.summary import title
from ddbench.reporting.markdown import figures
from ddbench.reporting.markdown.document import Document, escaped
from ddbench.reporting.terminal import print_leaderboard
from ddbench.store.run_folder import RunError, read_run
from PIL import Image


def text_of(made):
    return made.report().read_text().replace("\N{NO-BREAK SPACE}", " ")


def section(text, title):
    """Return what is folded away under a title."""
    assert f"<summary>{title}" in text, f"nothing is folded under {title!r}"
    rest = text.split(f"<summary>{title}", 1)[1].split("</summary>", 1)[1]
    inner = 0
    for found in re.finditer("<(/?)details>", rest):
        inner += -1 if found[1] else 1
        if inner < 0:
            return rest[: found.start()]
    raise AssertionError(f"{title!r} does not end")


def under(text, heading):
    """Return what stands under a heading, up to the next of its level or above."""
    level = heading.split()[0]
    rest = rf"^{re.escape(heading)}.*?$(.*?)(?=^#{{1,{len(level)}}} |\Z)"
    found = re.search(rest, text, re.M | re.S)
    assert found, f"no heading {heading!r}"
    return found[1]


def first_screen(text):
    """Return the report up to what is folded away."""
    return text.split("<details>")[0]


def row_of(text, name):
    """Return the cells of the first table row that names `name`, by column."""
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("|") and f"| {name} |" in line)
    head = max(n for n in range(at) if lines[n + 1].startswith("| -"))
    cells = [[cell.strip() for cell in lines[n].strip("|").split("|")] for n in (head, at)]
    assert len(cells[0]) == len(cells[1])
    return dict(zip(*cells, strict=True))


def fill(made):
    """Write a run as `ddbench run --all` leaves it: two methods, random, a reference, failures."""
    (dm,) = made.row("dm", [[0.80, 0.82]], reduced={"steps": [100, 20000]}, bibtex="@article{dm}")
    made.evaluation(dm, [0.70, 0.72], architecture="vgg11")
    made.row("random", [[0.40, 0.44], [0.48, 0.52]], costs={"flops_condense": 0})
    made.evaluation(None, [0.97], protocol="whole-quick", images=4000, train_s=[12.0])
    made.condensation("gm", status="failed", reason="ValueError: a | b")
    made.images(dm)
    made.curve(dm, {"step": [0, 1, 2], "seconds": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    skipped = {"row": "x", "dataset": "cifar10", "architecture": "convnet", "init": "real",
               "ipc": 1, "seed": 0, "reason": "no data here", "failed": False}  # fmt: skip
    made.manifest(dirty=True, plan={"condensations": [dm], "evaluations": [], "skipped": [skipped]})
    return dm


# -- the first paragraph -----------------------------------------------------------------------


def test_the_first_screen_says_which_method_at_what_cost_against_random(made):
    fill(made)
    first = first_screen(text_of(made))
    assert "- **Most accurate**: `dm` (real init): networks of `convnet-w32` trained on" in first
    assert "81.0 ± 1.4% of 1,000 test images (1 seed × 2 networks" in first
    # random: mean 46, sample deviation 5.16. Pairs of networks differ by 36 and 34: variance 1;
    # its seeds by 8: variance 16. t(1) = 12.706 times √17.
    assert "random real images give 46.0 ± 5.2% (2 seeds × 2 networks)" in first
    assert "35.0 points more (95% interval −17.4 to +87.4, 2 networks in pairs)" in first
    assert "Condensing took 11.0 s (2 GFLOPs in all) on Some CPU" in first
    assert "gives 97.0%, 16.0 points more" in first
    assert "takes 12.0 s, on the set 3.00 s" in first
    assert (
        "> [!NOTE]\n> Some rows did not run with the published settings, one condensation" in first
    )
    assert "it cannot be told from them." in first
    assert "| dm (real) ◆ |" in first and "| random (real) " in first


QUICK = "> [!NOTE]\n> Quick settings: steps that fit minutes"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quick": True, "reduced": {"steps": [100, 20000]}}, True),
        ({"quick": True}, False),  # nothing but what was published
        ({"quick": False, "reduced": {"steps": [100, 20000]}}, False),
    ],
)
def test_the_first_screen_says_that_rows_run_quick_settings(made, fields, said):
    made.row("dm", [[0.8]], **fields)
    made.row("random", [[0.4]], quick=True)
    text = text_of(made)
    assert (QUICK in first_screen(text)) is said
    assert "chosen on the test set" not in text


@pytest.mark.parametrize(
    ("dm", "random", "said"),
    [
        ([0.8, 0.81], [0.4, 0.41], "random real images give 40.5 ± 0.7% (1 seed × 2 networks)."),
        ([0.5, 0.6], [0.4, 0.6], "(1 seed × 2 networks): it cannot be told from them."),
        ([0.5], [0.4], "10.0 points more (one network, so no spread)"),
        ([0.3, 0.4], [0.4, 0.6], "no method beats random images. The nearest is"),
    ],
)
def test_it_is_honest_when_nothing_beats_random(made, dm, random, said):
    made.row("dm", [dm])
    made.row("random", [random])
    assert said in text_of(made)


@pytest.mark.parametrize(
    ("dm", "random", "said"),
    [
        # Pairs differ by 10 and 11 points; over all networks it would be 24.
        ([0.80, 0.82], [0.70, 0.71, 0.30], "10.5 points more (95% interval +4.1 to +16.9"),
        # Over all networks random images are 20 points better.
        ([0.80, 0.82, 0.1], [0.70, 0.71], "10.5 points more (95% interval +4.1 to +16.9"),
        # Over all networks random images are 7 points worse.
        ([0.80, 0.82], [0.90, 0.93, 0.3], "no method beats random images. The nearest is"),
    ],
)
def test_the_gain_over_random_is_of_the_networks_of_its_interval(made, dm, random, said):
    made.row("dm", [dm])
    made.row("random", [random])
    assert said in text_of(made)


def test_it_says_when_there_is_no_random_row(made):
    made.row("dm", [[0.5]])
    assert "no random images stand beside it" in text_of(made)


def test_it_says_when_there_is_only_random_or_nothing(made):
    assert "nothing to rank" in text_of(made)
    made.row("random", [[0.5]])
    assert "only random images have a score: 50.0%" in text_of(made)


def test_where_random_images_lead_no_method_equals_the_best(made):
    made.row("random", [[0.80, 0.82]])
    made.row("dm", [[0.80, 0.81]])
    made.row("dsa", [[0.79, 0.81]], costs={"condense_s": 1.0})
    first = first_screen(text_of(made))
    assert "no method beats random images. The nearest is `dm`" in first
    assert "cannot be told from the best" not in first


def test_it_names_the_cheapest_of_the_equals(made):
    made.row("dm", [[0.80, 0.82]])
    made.row("dsa", [[0.80, 0.81]], costs={"condense_s": 40.0})
    said = "`dsa` (real init) cannot be told from the best; none is at least 20% cheaper."
    assert said in text_of(made)
    made.row("gm", [[0.79, 0.82]], costs={"condense_s": 4.0})
    made.row("mtt", [[0.79, 0.82]], costs={"condense_s": 2.0, "artifact_s": 9.0})
    assert (
        "- **Cheapest as good**: `gm` (real init): 80.5 ± 2.1% for 5.00 s of condensing, 55% less;"
    ) in text_of(made)


def test_random_images_are_not_as_good_where_the_best_row_beats_them(made):
    """By itself the gain over them is decided; among all pairs of the table it is not."""
    made.row("dm", [[0.80, 0.82, 0.84], [0.81, 0.82, 0.86], [0.79, 0.83, 0.84]])
    made.row("random", [[0.77, 0.80, 0.80], [0.78, 0.79, 0.83], [0.75, 0.80, 0.82]])
    for n in range(8):
        made.row(f"m{n}", [[0.5 + n / 100, 0.6, 0.55], [0.52, 0.58, 0.55], [0.53, 0.55, 0.56]])
    board = load(made.folder).boards[0]
    assert board.baseline.tied and board.over_random(board.best).decided
    [line] = [line for line in text_of(made).splitlines() if "Cheapest as good" in line]
    assert "`m4`" in line and "random" not in line


def test_it_says_what_the_best_selection_of_real_images_gives(made):
    made.row("dm", [[0.80, 0.82]])
    made.row("random", [[0.5, 0.5]], costs={"steps_done": 0})
    made.row("dm", [[0.5, 0.5]], costs={"steps_done": 0}, steps=0, control_of="dm")
    assert "selection of real images" not in text_of(made)
    made.row("kmeans", [[0.7, 0.72]], costs={"steps_done": 0, "condense_s": 40.0})
    made.row("herding", [[0.7, 0.72]], costs={"steps_done": 0})
    made.row("kcenter", [[0.6, 0.62]], costs={"steps_done": 0, "condense_s": 1.0})
    assert (
        "The best selection of real images is `herding` (real init): 71.0 ± 1.4% for 11.0 s of "
        "condensing."
    ) in text_of(made)


def test_it_says_where_the_best_is_a_selection(made):
    made.row("herding", [[0.7, 0.72]], costs={"steps_done": 0})
    assert "Its images are real ones, selected." in text_of(made)


def test_it_tells_an_own_recipe_apart(made):
    id = made.condensation("datm", costs={"artifact_s": 33.0})
    made.evaluation(id, [0.6])
    made.evaluation(id, [0.8], own_recipe=True)
    text = text_of(made)
    assert "recipe of its own set, `datm` gives 80.0%" in text
    assert "11.0 s and 33.0 s for its artifacts, in full" in text
    row = row_of(section(text, "Ranking"), "datm")
    assert (row["accuracy %"], row["own recipe %"]) == ("**60.0**", "80.0")


def test_an_own_recipe_is_called_the_only_one_only_where_it_is(made):
    for row, own in (("datm", 0.8), ("rded", 0.7)):
        id = made.condensation(row)
        made.evaluation(id, [0.75])
        made.evaluation(id, [own], own_recipe=True)
        said = "`datm` gives 80.0%, a number for itself"
        assert f"{said}{': no other row has such a recipe.' if row == 'datm' else '.'}" in (
            text_of(made)
        )


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (0.72, None),
        (0.60, "its own recipe gives 60.0%, −15.0 points against the common protocol."),
        (0.11, "gives 11.0%, −64.0 points against the common protocol, no better than chance."),
    ],
)
def test_a_recipe_that_does_harm_has_a_footnote_on_every_architecture(made, own, said):
    id = made.condensation("datm")
    for architecture in ("convnet-w32", "vgg11"):
        made.evaluation(id, [0.75], architecture=architecture)
        made.evaluation(id, [own], own_recipe=True, architecture=architecture)
    text = text_of(made)
    assert text.count(said) == 2 if said else "its own recipe gives" not in text


def test_each_dataset_and_ipc_has_its_paragraph(made):
    made.row("dm", [[0.5]])
    made.evaluation(made.condensation("dm", ipc=10), [0.6])
    titles = [title([board]) for board in load(made.folder).boards]
    assert titles == [
        "mnist-mini, 1 image per class, protocol quick",
        "mnist-mini, 10 images per class, protocol quick",
    ]
    for one in titles:
        assert f"## {one}" in text_of(made)
    link = "[mnist-mini, 1 image per class, protocol quick](#mnist-mini-1-image-per-class-protocol"
    assert link in text_of(made)


# -- tables ------------------------------------------------------------------------------------


def test_the_ranking_has_accuracy_samples_differences_and_cost(made):
    fill(made)
    row = row_of(section(text_of(made), "Ranking on convnet-w32"), "dm †")
    assert row == {
        "#": "1", "method": "dm †", "init": "real", "accuracy %": "**81.0 ± 1.4**", "n": "1 × 2",
        "± over seeds": "–", "vs random": "+35.0", "vs whole": "−16.0", "condense s": "11.0",
    }  # fmt: skip


def test_settings_that_differ_stand_in_a_table(made):
    fill(made)
    settings = section(text_of(made), "Settings that differ from the published ones")
    assert "| dm (real init) | `steps` | 100 | 20,000 |" in settings
    assert "- † Its settings are not the published ones" in section(text_of(made), "Ranking on")


def test_rows_of_equal_settings_share_a_line_and_controls_say_what_differs(made):
    made.row("gm", [[0.8]], reduced={"steps": [100, 1000]})
    made.row("gm", [[0.8]], reduced={"steps": [100, 1000]}, init="noise")
    made.row("datm", [[0.7]], reduced={"rho": [0, 0.01], "steps": [100, 10000]})
    reduced = {"rho": [0, 0.01], "steps": [0, 10000]}
    made.row("datm", [[0.6]], reduced=reduced, control_of="datm", steps=0)
    settings = section(text_of(made), "Settings that differ from the published ones")
    rows = [line for line in settings.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| gm (real init) and gm (noise init) | `steps` | 100 | 1,000 |",
        "| datm (real init) | `rho` | 0 | 0.01 |",
        "| datm (real init) | `steps` | 100 | 10,000 |",
        "| datm \\[steps=0\\] (real init) | `steps` | 0 | 10,000 |",
    ]


def test_rows_of_the_same_images_share_a_row_of_the_first_table(made):
    for row, seconds in (("herding", 9.0), ("kmeans", 4.0)):
        id = made.condensation(row, set_sha256="one", costs={"condense_s": seconds})
        made.evaluation(id, [0.7, 0.7], set_sha256="one")
    made.row("dm", [[0.8, 0.8]])
    table = [line for line in first_screen(text_of(made)).splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in table[2:4]] == [
        "dm (real) ◆", "kmeans = herding (real) ◆",
    ]  # fmt: skip


def test_cells_of_numbers_are_never_broken(made):
    fill(made)
    text = made.report().read_text()
    assert "30.7\N{NO-BREAK SPACE}KiB" in text and "30.7 KiB |" not in text


def test_settings_that_nobody_published_are_told_from_the_defaults(made):
    made.row("mine", [[0.8]], reduced={"steps": [100, 500]}, published=False)
    assert "| mine (real init) | `steps` | 100 | 500 (default) |" in text_of(made)


def test_training_costs_one_line_and_shows_time_saved(made):
    fill(made)
    # Nine seconds are saved by each training, and the set took eleven.
    row = row_of(section(text_of(made), "What condensing cost"), "dm †")
    assert (row["train s"], row["time saved"], row["pays off after"]) == ("3.00", "75%", "2")
    below = section(text_of(made), "Ranking on convnet-w32")
    assert "Training one network on a set takes 1 G FLOPs, testing it 0.20 s or more" in below
    assert "3,000,000 multiply-adds for an image, 3,000,000,000 for the test set" in below


def test_architectures_stand_side_by_side(made):
    fill(made)
    row = row_of(section(text_of(made), "Across architectures"), "dm †")
    assert (row["convnet-w32"], row["vgg11"]) == ("81.0 ± 1.4", "71.0 ± 1.4")
    assert "<summary>Ranking on vgg11</summary>" in text_of(made)


def test_a_missing_seed_is_said_beside_the_mean(made):
    made.row("dm", [[0.8, 0.8]])
    made.condensation("dm", 1, status="failed", reason="boom")
    row = row_of(text_of(made), "dm")
    assert row["accuracy %"] == "**80.0 ± 0.0 (1 seed missing)**"


def test_artifacts_count_in_full_and_show_their_share(made):
    shared = [{"id": "experts-1", "kind": "experts", "seconds": 33.0, "flops": 5e12,
               "lower_bound": True, "bytes": 2048}]  # fmt: skip
    costs = {"artifact_s": 33.0, "flops_artifact": 5e12, "flops_lower_bound": True}
    made.row("datm", [[0.5]], costs=costs, artifacts=shared)
    costs = section(text_of(made), "What condensing cost")
    row = row_of(costs, "datm")
    assert (row["own s"], row["artifacts s (share)"]) == ("11.0", "33.0 (75%)")
    assert (row["own FLOPs"], row["artifact FLOPs"]) == ("≥ 2 G", "5 T")
    assert "| experts | `experts-1` | 33.0 | ≥ 5 T | 2.0 KiB | datm |" in costs


@pytest.mark.parametrize(("steps", "shown"), [(100, "≥ 0"), (0, "0")])
def test_steps_without_a_counted_operation_are_not_said_to_cost_none(made, steps, shown):
    made.row("kip", [[0.5]], costs={"flops_condense": 0, "steps_done": steps})
    assert row_of(section(text_of(made), "What condensing cost"), "kip")["own FLOPs"] == shown


def test_classes_of_hardware_are_told_apart(made):
    for n, machine in enumerate(["CPU one", "CPU two"]):
        id = made.condensation(f"m{n}", hardware_class=machine)
        made.evaluation(id, [0.5], hardware_class=machine, train_s=[1.0 + n])
    made.evaluation(None, [0.9], protocol="whole", hardware_class="CPU one", train_s=[10.0])
    text = text_of(made)
    assert "Times and memory compare only inside one class of hardware" in text.replace(
        "times and", "Times and"
    )
    costs = section(text, "What condensing cost")
    names = ("train s", "time saved", "pays off after")
    assert [row_of(costs, "m0")[n] for n in names] == ["1.00 [A]", "90% [A]", "2 [A]"]
    assert [row_of(costs, "m1")[n] for n in names] == ["2.00 [B]", "–", "–"]
    assert "are not plotted together" in text


def test_balanced_accuracy_stands_where_classes_are_unequal(made):
    id = made.condensation("dm", dataset="mhist", dataset_fingerprint="m")
    made.evaluation(id, [0.7], balanced_accuracies=[0.6], class_counts_test=[617, 360],
                    dataset="mhist", dataset_fingerprint="m", majority=0.6315)  # fmt: skip
    text = text_of(made)
    assert row_of(text, "dm")["balanced %"] == "60.0"
    assert "majority class 63.1%" in text or "majority class 63.2%" in text


def test_measures_stand_beside_the_controls(made):
    made.row("fedd3", [[0.6]], measures={"clients": 5, "uplink_bytes_total": 31_000})
    made.row("random", [[0.5]], control_of="fedd3")
    measures = section(text_of(made), "What methods measured")
    row = row_of(measures, r"uplink\_bytes\_total")
    assert row["fedd3 (real)"] == "31,000" and row["random ‡ (real)"] == "–"
    accuracy = row_of(measures, "accuracy % on convnet-w32")
    assert (accuracy["fedd3 (real)"], accuracy["random ‡ (real)"]) == ("60.0", "50.0")


def test_rows_are_held_against_their_controls(made):
    for accuracy, fields in ((0.8, {}), (0.7, {"steps": 0, "control_of": "datm"})):
        id = made.condensation("datm", **fields)
        made.evaluation(id, [accuracy, accuracy + 0.02])
        made.evaluation(id, [accuracy, accuracy + 0.04, accuracy - 0.1], own_recipe=True)
    assert (
        r"‡ datm (real init) against datm \[steps=0\] (real init): +10.0 points "
        "(95% interval +9.6 to +10.4) and +10.0 points (95% interval +9.9 to +10.1) by their "
        "own recipes."
    ) in text_of(made)


def test_the_gain_over_a_control_is_of_the_networks_of_its_interval(made):
    made.row("datm", [[0.80, 0.82]])
    made.row("datm", [[0.70, 0.71, 0.30]], steps=0, control_of="datm")
    assert ": +10.5 points (95% interval +4.1 to +16.9)" in text_of(made)


def test_rows_of_one_seed_are_said_to_leave_out_the_noise_of_condensing(made):
    made.row("random", [[0.5, 0.5], [0.6, 0.6]])
    said = "one condensation seed (n 1 × …): ± and intervals do not hold"
    assert said not in text_of(made)
    made.row("dm", [[0.8, 0.8]])
    made.row("gm", [[0.8, 0.8]])
    assert text_of(made).count(said) == 1


def test_measures_are_means_over_seeds(made):
    for seed, value in enumerate([0.2, 0.4]):
        made.evaluation(made.condensation("fedd3", seed, measures={"h": value, "w": "x"}), [0.5])
    measures = section(text_of(made), "What methods measured")
    assert row_of(measures, "h")["fedd3 (real)"] == "0.3"
    assert row_of(measures, "w")["fedd3 (real)"] == "x"


def test_methods_that_measured_the_same_share_a_table(made):
    for row in ("herding", "kmeans"):
        made.row(row, [[0.6]], measures={"feature_epochs": 4})
    made.row("fedd3", [[0.5]], measures={"clients": 5})
    made.row("random", [[0.5]])
    measures = section(text_of(made), "What methods measured")
    row = row_of(measures, r"feature\_epochs")
    assert row == {"measure": r"feature\_epochs", "herding (real)": "4", "kmeans (real)": "4",
                   "random (real)": "–"}  # fmt: skip
    assert measures.count("| measure |") == 2


# -- what went wrong, and where it comes from --------------------------------------------------


def test_failed_and_skipped_jobs_stand_with_their_reasons(made):
    fill(made)
    trouble = under(text_of(made), "## Failed and skipped")
    assert "| failed | condense gm on mnist-mini" in trouble
    assert r"ValueError: a \| b |" in trouble
    assert "| skipped | condense x on cifar10" in trouble and "no data here" in trouble
    [failed] = [id for id, one in read_run(made.folder).condensations.items()
                if one.status == "failed"]  # fmt: skip
    assert f"`ddbench show {made.folder.name} {failed}`" in trouble
    assert row_of(text_of(made), "gm")["accuracy %"] == "failed"


def test_a_clean_run_says_so(made):
    made.row("dm", [[0.5]])
    assert "Nothing failed and nothing was skipped." in text_of(made)


def test_files_that_cannot_be_read_are_named_inside_the_run(made):
    made.row("dm", [[0.5]])
    made.folder.evaluation("torn").write_text("{")
    made.evaluation(None, id="newer")
    made.spoil("newer", schema=99)
    text = under(text_of(made), "### Files that could not be read")
    assert "`evaluations/torn.json`: not whole JSON" in text
    assert "`evaluations/newer.json`: schema 99 is newer" in text
    assert str(made.folder.root) not in text


def test_provenance_names_hardware_versions_commit_and_command(made):
    fill(made)
    made.manifest(command=["ddbench", "run", "--set", "dm.lr=1 2"])
    text = section(text_of(made), "Environment")
    assert "Some CPU, 1 thread, 2 jobs at once, float32" in text
    assert "ddbench 0.1.0, torch 2.15.0" in text
    assert "`0123456789ab` with uncommitted changes" in text
    assert "```sh\nddbench run --all\nddbench run --set 'dm.lr=1 2'\n```" in text


def test_methods_have_package_paper_and_bibtex(made):
    fill(made)
    text = section(text_of(made), "Methods and papers")
    assert row_of(text, "dm")["package"] == "ddbench-dm 0.1.0"
    assert "```bibtex\n@article{dm}\n```" in text


def test_superseded_and_stale_results_are_counted(made):
    made.condensation("dm", options_id="same", code="1")
    id = made.condensation("dm", options_id="same", code="2")
    made.evaluation(id, [0.5])
    made.evaluation(id, [0.5], architecture="vgg11", set_sha256="of an earlier set")
    text = text_of(made)
    assert "1 condensation left out: done again since by other code." in text
    assert "1 evaluation left out: the set has changed since" in text


# -- pictures ----------------------------------------------------------------------------------


def pictures(made):
    return {path.name: path for path in (made.folder.root / "report_files").iterdir()}


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def test_every_picture_that_the_text_names_is_there_and_no_other(made):
    fill(made)
    text = text_of(made)
    named = set(re.findall(r"report_files/([^\")]+)", text))
    assert named == set(pictures(made))
    assert any("accuracy-against-cost" in name for name in named)
    assert any("curves" in name for name in named)


def test_the_sets_are_shown_at_first_and_at_last(made):
    fill(made)
    text_of(made)
    found = pictures(made)
    first, last = (
        np.asarray(opened(found[f"mnist-mini-ipc1-dm-real-convnet-w32-{when}.png"]))
        for when in ("initial", "final")
    )
    # The made sets are a ramp and its mirror image, ten images in a row.
    assert first.shape == last.shape == (64, 10 * 64 + 9 * 2)
    assert first[0, 0] > first[0, -1] and last[0, 0] < last[0, -1]


def test_a_large_set_shows_ten_images_of_ten_classes(made):
    id = made.condensation("dm", ipc=20)
    made.evaluation(id, [0.5])
    made.images(id, (400, 1, 64, 64), classes=[str(c) for c in range(20)])
    text = text_of(made)
    picture = opened(pictures(made)["mnist-mini-ipc20-dm-real-convnet-w32-final.png"])
    assert picture.size == (10 * 64 + 18, 10 * 64 + 18)
    assert "The first 10 images of each class." in text


def test_a_torn_or_missing_set_is_named_and_not_fatal(made):
    dm = fill(made)
    made.folder.set_file(dm).write_bytes(b"torn")
    text = section(text_of(made), "All sets")
    assert "dm: not shown, no synthetic set (" in text
    assert "random: not shown, its file is not there." in text
    assert f"condensations/{dm}/synthetic.safetensors: torn, or another program's (" in text
    assert f"`ddbench retry RUN {dm}` and the next run mend it." in text


@pytest.mark.parametrize("name", ["initial.safetensors", "curve.csv", "snapshots/5.safetensors"])
def test_what_is_torn_beside_a_shown_set_is_named(made, name):
    dm = fill(made)
    path = made.folder.condensation(dm) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"torn")
    text = section(text_of(made), "All sets")
    assert f"condensations/{dm}/{name}: torn" in text and "dm: not shown" not in text


def test_whitened_sets_are_said_to_be(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.5])
    made.images(id, zca=True)
    assert "ZCA-whitened" in text_of(made)


def test_snapshots_make_a_plot_of_accuracy_on_the_way(made):
    id = made.condensation("dm", steps=4, snapshots=[0, 2], costs={"steps_done": 4})
    made.curve(id, {"step": [0, 1, 2, 3], "seconds": [2, 4, 6, 10]})
    made.evaluation(id, [0.3], snapshot=0)
    made.evaluation(id, [0.6], snapshot=2)
    made.evaluation(id, [0.8])
    text = section(text_of(made), "Accuracy on the way")
    assert "`dm` (real) 0, 2, 4." in text
    assert "mnist-mini-ipc1-quick-anytime.svg" in pictures(made)


def test_every_row_is_on_the_anytime_curve_or_the_caption_says_why_not(made):
    dm = made.condensation("dm", steps=4, costs={"steps_done": 4})
    made.evaluation(dm, [0.3], snapshot=0)
    made.evaluation(dm, [0.8])
    made.row("random", [[0.4]], costs={"flops_condense": 0})
    made.row("herding", [[0.45]], costs={"flops_condense": None})
    made.condensation("gm", status="failed", reason="ValueError")
    text = section(text_of(made), "Accuracy on the way")
    assert "`dm` (real) 0, 4." in text
    points = re.search("Single points, the final set alone was evaluated: (.*?)[.]", text)[1]
    assert set(points.split(", ")) == {"`random` (real)", "`herding` (real)"}
    assert "Not drawn over FLOPs, which are unknown: `herding` (real)." in text
    assert "Not drawn, without a score: `gm` (real)." in text
    assert "hardware" not in text


def test_a_row_on_two_classes_of_hardware_is_on_the_anytime_curve_without_seconds(made):
    one = made.condensation("dm", 0, steps=4, costs={"steps_done": 4})
    two = made.condensation("dm", 1, steps=4, costs={"steps_done": 4}, hardware_class="a GPU")
    for id in (one, two):
        made.evaluation(id, [0.3], snapshot=0)
        made.evaluation(id, [0.8])
    found = load(made.folder)
    ((_, moments),) = anytime(found.results, made.folder, found.boards[0])
    assert [m.flops for m in moments] == [0, 2e9]
    assert all(math.isnan(m.seconds) for m in moments)
    text = section(text_of(made), "Accuracy on the way")
    assert "`dm` (real) 0, 4." in text
    assert "Seconds are of several classes of hardware and are not plotted." in text


def test_two_reports_of_one_run_are_the_same(made):
    fill(made)
    first = text_of(made), {name: path.read_bytes() for name, path in pictures(made).items()}
    second = text_of(made), {name: path.read_bytes() for name, path in pictures(made).items()}
    assert first == second


def test_pictures_of_an_earlier_report_go(made):
    dm = fill(made)
    text_of(made)
    shutil.rmtree(made.folder.condensation(dm))
    text_of(made)
    assert not any("-dm-" in name for name in pictures(made))


# -- files -------------------------------------------------------------------------------------


def test_an_export_stands_alone(made, tmp_path, monkeypatch):
    fill(made)
    monkeypatch.chdir(tmp_path)
    target = made.report("md", Path("reports/mine.md"))
    text = target.read_text()
    named = set(re.findall(r"\(?(mine/[^\")]+\.png)", text))
    assert named and all((tmp_path / "reports" / name).is_file() for name in named)
    assert text.startswith("# Leaderboard: mine\n")
    assert "ddbench run --all\nddbench report quick --to reports/mine.md\n```" in text
    assert str(tmp_path) not in text


def test_an_export_needs_a_markdown_file(made, tmp_path):
    with pytest.raises(RunError, match="no file of the format md"):
        made.report("md", tmp_path)
    with pytest.raises(RunError, match="no file of the format md"):
        made.report("md", tmp_path / "report.html")


def test_an_export_never_mixes_with_other_files(made, tmp_path):
    fill(made)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").touch()
    with pytest.raises(RunError, match="holds other files than pictures"):
        made.report("md", tmp_path / "mine.md")


def test_pictures_that_no_report_referred_to_stay(made, tmp_path):
    dm = fill(made)
    (tmp_path / "mine").mkdir()
    own = tmp_path / "mine" / "holiday.png"
    own.write_bytes(b"of somebody else")
    made.report("md", tmp_path / "mine.md")
    drawn = len(list(own.parent.iterdir()))
    shutil.rmtree(made.folder.condensation(dm))
    made.report("md", tmp_path / "mine.md")
    assert own.exists() and len(list(own.parent.iterdir())) < drawn


def test_an_unwritable_place_is_an_error_that_names_it(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="--to .*file/x.md: .* cannot be written"):
        made.report("md", tmp_path / "file" / "x.md")


def test_words_of_others_are_no_markdown():
    assert escaped("a|b *c* <d>\n# e") == r"a\|b \*c\* \<d\> \# e"


def cells_of(line):
    """Return the cells of a table's line, as GitHub splits it."""
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))


def test_every_row_of_every_table_has_its_header_s_cells_whatever_names_hold(made):
    odd = 'a|b/c`d"e\nf&lt;'
    id = made.condensation(odd, id="odd", init=odd, bibtex="```", paper=odd)
    made.evaluation(id, [0.5])
    made.row("random", [[0.4]])
    made.images(id)
    made.condensation(odd, status="failed", reason=odd, id="odd-failed", seed=1)
    made.manifest(command=["ddbench", "run", "--set", f"m.x=```{odd}"])
    lines = text_of(made).splitlines()
    size = 0
    for line in lines:
        cells = len(cells_of(line)) if line.startswith("|") else 0
        assert not (cells and size) or cells == size, line
        size = cells
    assert {"````sh", "````bibtex"} <= {*lines}
    assert any("a-b-c-d-e-f-lt" in name for name in pictures(made))


def test_pictures_of_one_name_do_not_overwrite_each_other():
    document = Document("t", "files")
    assert document.picture("a.png", b"1") == "files/a.png"
    assert document.picture("a.png", b"2") == "files/a-2.png"
    assert document.picture("a.png", b"1") == "files/a.png"
    assert document.files == {"a.png": b"1", "a-2.png": b"2"}


def test_a_report_imports_no_torch(made):
    fill(made)
    code = (
        "import sys; from ddbench.cli import main;"
        f"main(['report', {str(made.folder.root)!r}], standalone_mode=False);"
        "print({'torch', 'torchvision', 'pandas'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "set()"


def test_no_report_is_written_where_a_run_folder_was(made):
    fill(made)
    made.folder.root.rename(made.folder.root.with_name("moved"))
    with pytest.raises(FileNotFoundError, match="the run folder has gone"):
        made.report()
    assert not made.folder.root.exists()


def test_plots_are_drawings(made):
    dm = fill(made)
    made.evaluation(dm, [0.3], snapshot=0)
    text_of(made)
    for name in ("accuracy-against-cost", "anytime", "curves"):
        drawing = parsed(pictures(made)[f"mnist-mini-ipc1-quick-{name}.svg"].read_bytes())
        assert drawing.tag.endswith("svg") and float(drawing.get("width")) > 290
        assert len(list(drawing.iter())) > 10


def parsed(content):
    """Return the root of a drawing; whatever names hold, it is whole XML."""
    return ElementTree.fromstring(content)  # noqa: S314  (ddbench's own)


def texts_of(content):
    return [found.text for found in parsed(content).iter() if found.tag.endswith("}text")]


def test_every_row_has_a_marker_and_every_method_a_colour_of_its_own(made):
    for n in range(12):
        made.row(f"m{n}", [[0.5]])
    made.row("m0", [[0.5]], init="noise")
    made.row("m0", [[0.4]], steps=0, control_of="m0")
    board = load(made.folder).boards[0]
    found = figures.styles(board)
    of = {(p.entry.label, p.entry.init): found[p.entry.key] for p in board.places}
    assert len(of) == len({style.shape for style in of.values()}) == 14
    assert len({style.colour for style in of.values()}) == 12
    assert of["m0", "real"].colour == of["m0", "noise"].colour
    assert of["m0 [steps=0]", "real"].hollow


def test_rows_of_one_method_have_colours_of_their_own(made):
    for lr in (1.0, 2.0, 3.0):
        made.row("dm", [[0.5]], config={"lr_images": lr})
    found = figures.styles(load(made.folder).boards[0])
    assert len({style.colour for style in found.values()}) == 3


def test_rows_on_one_spot_are_all_named_and_without_cost_all_in_the_legend(made):
    for row in ("herding", "kcenter", "kmeans"):
        made.row(row, [[0.7]])
    made.row("dm", [[0.8]])
    made.row("random", [[0.4]], costs={"flops_condense": 0})
    made.row("other", [[0.3]], costs={"flops_condense": None})
    board = load(made.folder).boards[0]
    content = figures.cost_plot(board)
    texts = texts_of(content)
    assert "herding =|kcenter =|kmeans" in "|".join(texts)
    assert texts.count("herding =") == 2  # over FLOPs and over seconds
    for row in ("herding", "kcenter", "kmeans", "dm", "random", "other"):
        assert texts.count(f"{row} (real)") == 1
    titles = [found.text for found in parsed(content).iter() if found.tag.endswith("}title")]
    assert len(titles) == 5 + 6 and "dm (real): 80.0%, 11 s" in titles
    assert "Not drawn over FLOPs, which are unknown: `other` (real)." in (
        first_screen(text_of(made))
    )


def test_plots_have_room_for_many_rows_on_one_spot_with_long_names_in_any_script(made):
    for n in range(30):
        made.row(f"metode-{n}-{'x' * 200}", [[0.5]], config={"mode": "条件$"}, init="真实")
    board = load(made.folder).boards[0]
    texts = texts_of(figures.cost_plot(board))
    assert all(len(text) <= 60 for text in texts)
    assert "(真实)" in "".join(texts)
    curve = {"step": [0.0, 1.0], "损失<": [2.0, 1.0]}
    content, _ = figures.curve_plot([(place.entry, [curve]) for place in board.places])
    assert any(text.endswith("损失<") for text in texts_of(content))


def test_metrics_that_never_change_have_no_panel(made):
    entry = load(fill(made) and made.folder).boards[0].places[0].entry
    curve = {"step": [0.0, 1.0], "loss": [2.0, 1.0], "gated": [0.0, 0.0]}
    texts = texts_of(figures.curve_plot([(entry, [curve])])[0])
    assert "dm (real): loss" in texts and "dm (real): gated" not in texts


def test_there_are_no_plots_of_nothing(made):
    board = load(fill(made) and made.folder).boards[0]
    assert figures.curve_plot([]) == (None, 0)
    assert figures.cost_plot(replace(board, places=())) is None


def test_curves_beyond_the_room_are_counted(made):
    entry = load(fill(made) and made.folder).boards[0].places[0].entry
    curve = {"step": [0.0, 1.0], **{f"m{n}": [1.0, 2.0] for n in range(30)}}
    assert figures.curve_plot([(entry, [curve])])[1] == 30 - figures.PANELS


# -- text that has no UTF-8 --------------------------------------------------------------------

BROKEN = "caf\udce9.png"  # as os.fsdecode gives a file name in Latin-1


def test_words_that_have_no_utf_8_are_written_as_escapes(made):
    dm = fill(made)
    made.condensation("gm", status="failed", reason=f"FileNotFoundError: {BROKEN}")
    made.curve(dm, {"step": [0, 1, 2], r"$\fra$": [3.0, 2.0, 1.0]})
    made.row("dm", [[0.5]], config={"file": BROKEN})
    assert r"FileNotFoundError: caf\\udce9.png" in text_of(made)


def test_a_folder_whose_name_has_no_utf_8_can_hold_a_report(made):
    fill(made)
    target = made.folder.root.parent / f"{BROKEN}.md"
    assert made.report("md", target).is_file()
    assert "caf%E9.png/" in target.read_text()


def test_the_terminal_shows_words_that_have_no_utf_8_as_escapes(made, monkeypatch):
    made.condensation("gm", status="failed", reason=BROKEN)
    for as_json in (False, True):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
        print_leaderboard(load(made.folder), as_json=as_json)
        sys.stdout.flush()
        assert rb"\udce9.png" in raw.getvalue()
