"""Two runs beside each other: what changed, and whether that is more than noise."""

import json
import re

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.reporting.leaderboard import difference, load
from ddbench.reporting.leaderboard.changes import changes

from .conftest import MadeRun

GOOD = [[0.80, 0.82, 0.81], [0.81, 0.83, 0.82]]
BAD = [[0.60, 0.62, 0.61], [0.61, 0.63, 0.62]]
NEAR = [[0.81, 0.815, 0.81], [0.82, 0.82, 0.825]]


@pytest.fixture
def two(tmp_path):
    return MadeRun(tmp_path / "a"), MadeRun(tmp_path / "b")


def compare(two, *more):
    a, b = (str(one.folder.root) for one in two)
    return CliRunner().invoke(main, ["compare", a, b, *more])


def found(two):
    return {(one.entry.label, one.own): one for one in changes(*(load(run.folder) for run in two))}


def test_a_run_is_no_worse_than_itself(two):
    for run in two:
        run.row("dm", GOOD)
    done = compare(two)
    assert done.exit_code == 0 and "B is no worse in 1 row: 1 identical" in done.output


def test_a_row_that_is_worse_by_more_than_noise_ends_with_1(two):
    a, b = two
    a.row("dm", GOOD), b.row("dm", BAD)
    a.row("gm", GOOD), b.row("gm", NEAR)
    done = compare(two)
    assert done.exit_code == 1
    assert "B is worse in 1 of 2 rows: 1 worse, 1 not told apart" in done.output
    assert compare((b, a)).exit_code == 0 and "1 better" in compare((b, a)).output


def test_the_interval_is_that_of_the_leaderboard(two):
    a, b = two
    a.row("dm", GOOD), b.row("dm", NEAR)
    of = [load(run.folder).boards[0].places[0].score for run in (b, a)]
    assert found(two)["dm", False].difference == difference(*of, 1000)


def test_one_of_many_rows_is_not_worse_by_chance(two):
    """A difference that alone would be told is within what some of twenty rows differ by."""
    a, b = two
    a.row("m0", [[0.80, 0.82, 0.81]]), b.row("m0", [[0.79, 0.805, 0.80]])
    assert found(two)["m0", False].verdict == "worse"
    for n in range(1, 21):
        a.row(f"m{n}", [[0.80, 0.82, 0.81]]), b.row(f"m{n}", [[0.81, 0.81, 0.81]])
    assert {one.verdict for one in found(two).values()} == {"not told apart"}
    assert not found(two)["m0", False].difference.interval[1] > 0


def test_rows_of_one_run_only_are_said_and_cost_nothing(two):
    a, b = two
    for run in two:
        run.row("dm", GOOD)
    a.row("gone", GOOD), b.row("new", GOOD)
    done = compare(two)
    assert done.exit_code == 0 and "1 only in A, 1 only in B" in done.output
    assert re.search(r"gone \(real\) +82\d?", done.output.replace("81.5", "82"))


@pytest.mark.parametrize("others", [True, False])
def test_a_row_that_failed_since_is_worse(two, others):
    a, b = two
    if others:
        for run in two:
            run.row("gm", GOOD)
    a.row("dm", GOOD)
    b.condensation("dm", status="failed", reason="no memory")
    done = compare(two)
    assert done.exit_code == 1 and "no score any more" in done.output and "no memory" in done.output


def test_one_network_says_nothing_of_noise(two):
    a, b = two
    a.row("dm", [[0.8]]), b.row("dm", [[0.2]])
    done = compare(two)
    assert done.exit_code == 0 and "1 noise unknown" in done.output
    assert "one network has no spread" in done.output


def test_rows_of_a_sweep_are_paired_by_their_options(two):
    a, b = two
    for lr, scores in ((1.0, GOOD), (2.0, BAD)):
        a.row("dm", scores, config={"lr_images": lr})
    for lr, scores in ((2.0, BAD), (1.0, GOOD), (3.0, NEAR)):
        b.row("dm", scores, config={"lr_images": lr})
    verdicts = {label: one.verdict for (label, _), one in found(two).items()}
    assert verdicts == {
        "dm [lr_images=1.0]": "identical", "dm [lr_images=2.0]": "identical",
        "dm [lr_images=3.0]": "only in B",
    }  # fmt: skip


def test_what_else_differs_is_said(two):
    a, b = two
    a.row("dm", GOOD, config={"lr_images": 1.0}), b.row("dm", GOOD, config={"lr_images": 0.5})
    a.manifest(), b.manifest(versions={"ddbench": "0.1.0", "python": "3.12.1"})
    text = compare(two).output
    assert "dm (real): lr_images 1.0 -> 0.5" in text
    assert "versions: python 3.11.7 -> 3.12.1" in text


def test_another_recipe_of_one_protocol_is_paired_and_said(two):
    a, b = two
    recipe = {"epochs": 301, "optimizer": "sgd", "lr": 0.01, "augment": "none"}
    for run, epochs in ((a, 301), (b, 30)):
        id = run.condensation("dm")
        run.evaluation(id, GOOD[0], recipe=recipe | {"epochs": epochs})
    (one,) = found(two).values()
    assert one.verdict == "identical" and one.others == ("recipe epochs 301 -> 30",)


def test_scores_by_the_own_recipe_are_compared_too(two):
    for run, own in zip(two, (GOOD, BAD), strict=True):
        ids = run.row("datm", GOOD)
        for id, accuracies in zip(ids, own, strict=True):
            run.evaluation(id, accuracies, own_recipe=True)
    assert found(two)["datm", False].verdict == "identical"
    assert found(two)["datm", True].verdict == "worse" and compare(two).exit_code == 1


def test_runs_without_a_row_in_common_cannot_be_compared(two):
    a, b = two
    a.row("dm", GOOD), b.row("dm", GOOD, dataset="other")
    done = compare(two)
    assert done.exit_code == 2 and "share no row" in done.output


def test_json_and_markdown_hold_the_same(two):
    a, b = two
    a.row("dm", GOOD), b.row("dm", BAD)
    for form in (["--json"], ["--format", "json"]):
        done = compare(two, *form)
        record = json.loads(done.output)
        row = record["rows"][0]
        assert done.exit_code == 1 and record["worse"] == 1 and row["verdict"] == "worse"
        low, high = row["difference_interval"]
        assert low < row["difference"] < high and row["difference"] == pytest.approx(-0.2)
    text = compare(two, "--format", "md").output
    assert "| dm (real) | 81.5 | 61.5 | −20.0 |" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_no_folder_is_a_usage_error(two, tmp_path):
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "a"), str(tmp_path / "none")])
    assert done.exit_code == 2 and "no such folder" in done.output
