"""The formats of reports: ddbench's own and others', by one hook."""

import csv
import io
import json
import types

import pytest
from click.testing import CliRunner
from ddbench import Reporter, hookimpl
from ddbench.cli import main
from ddbench.discovery.extensions import Extensions
from ddbench.reporting.leaderboard import load
from ddbench.reporting.reporters import OURS, ReporterError, Reporters, write_report
from ddbench.store.run_folder import RunError

PLUGIN = """
from ddbench import Reporter, hookimpl

def fail(run):
    raise ValueError("no ink")

@hookimpl
def register_reporters():
    count = lambda run: f"{run.title}: {len(run.rows)} rows, {len(run.networks)} networks"
    return {
        "count": Reporter("count", count, ".txt", "how many"),
        "broken": Reporter("broken", fail, ".bad", "always fails"),
    }
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture
def folder(made):
    """A run of a method with two seeds, random images, and the whole training set."""
    ids = made.row("dm", [[0.80, 0.82], [0.81, 0.83]], costs={"condense_s": 9.0})
    made.evaluation(ids[0], [0.3], snapshot=10)
    made.row("random", [[0.40, 0.42]])
    made.evaluation(None, [0.95])
    made.condensation("gm", status="failed", reason="no memory")
    return str(made.folder.root)


def run(*arguments):
    return CliRunner().invoke(main, ["report", *arguments])


def test_ddbench_s_own_formats_come_in_by_the_hook():
    assert list(Extensions(OURS).reporters) == ["md", "html", "csv", "json", "latex"]
    assert not Extensions().reporters  # there is no other way


def test_several_formats_at_once_have_stable_paths(made, folder, tmp_path):
    formats = ("md", "html", "csv", "json", "latex")
    done = run(folder, *(part for name in formats for part in ("--format", name)))
    names = ["report.md", "report.html", "report.csv", "report.json", "report.tex"]
    assert done.exit_code == 0
    assert done.output.split() == [str(made.folder.root / name) for name in names]
    done = run(folder, "--format", "csv", "--format", "latex", "--to", str(tmp_path / "v1.2"))
    assert done.output.split() == [str(tmp_path / "v1.2.csv"), str(tmp_path / "v1.2.tex")]


def test_csv_has_one_row_for_each_network_that_counts(made, folder):
    assert run(folder, "--format", "csv").exit_code == 0
    rows = list(csv.DictReader(io.StringIO((made.folder.root / "report.csv").read_text())))
    assert [(r["row"], r["seed"], r["network"], r["snapshot"], r["accuracy"]) for r in rows] == [
        ("dm", "0", "0", "", "0.8"), ("dm", "0", "1", "", "0.82"), ("dm", "0", "0", "10", "0.3"),
        ("dm", "1", "0", "", "0.81"), ("dm", "1", "1", "", "0.83"),
        ("random", "0", "0", "", "0.4"), ("random", "0", "1", "", "0.42"),
        ("whole training set", "", "0", "", "0.95"),
    ]  # fmt: skip
    assert [row["condense_s"] for row in rows] == ["10.0", "10.0", "", "10.0", "10.0",
                                                   "11.0", "11.0", ""]  # fmt: skip


def test_a_network_of_a_set_that_has_changed_since_is_not_counted(made):
    id = made.condensation("dm")
    made.evaluation(id, [0.5], set_sha256="of another set")
    rows = csv.DictReader(io.StringIO(made.report("csv").read_text()))
    assert not list(rows)
    assert [row["current"] for row in load(made.folder).networks] == [False]


def test_json_holds_rows_networks_and_what_failed(made, folder):
    run(folder, "--format", "json")
    found = json.loads((made.folder.root / "report.json").read_text())
    assert [row["row"] for row in found["rows"]] == ["dm", "random", "gm"]
    assert len(found["networks"]) == 8 and found["troubles"][0]["reason"] == "no memory"


def test_latex_is_one_table_to_input(made, folder):
    run(folder, "--format", "latex")
    text = (made.folder.root / "report.tex").read_text()
    assert text.startswith(r"% \usepackage{booktabs}") and text.count(r"\toprule") == 1


def test_a_third_party_s_format_is_written(made, folder, plugin, tmp_path):
    done = run(folder, "--plugin", plugin, "--format", "count")
    assert done.exit_code == 0
    assert (made.folder.root / "report.txt").read_text() == "quick: 3 rows, 8 networks"
    done = run(folder, "--plugin", plugin, "--to", str(tmp_path / "n.txt"))  # by its ending
    assert (tmp_path / "n.txt").read_text() == "n: 3 rows, 8 networks"


def test_an_installed_format_is_found_without_being_named_before(made, folder, monkeypatch):
    def write(report):
        return bytes([0, len(report.troubles)])

    brought = {"bits": Reporter("bits", write, ".bin", "")}
    plugin = types.SimpleNamespace(register_reporters=hookimpl(lambda: brought))
    point = types.SimpleNamespace(name="p", dist=None, module="p", load=lambda: plugin)
    monkeypatch.setattr(
        "ddbench.discovery.extensions.entry_points", lambda group: [point], raising=True
    )
    path = write_report(load(made.folder), Reporters().named("bits"))
    assert path.read_bytes() == bytes([0, 1])


def test_a_reporter_that_raises_costs_its_own_file_alone(made, folder, plugin):
    done = run(folder, "--plugin", plugin, "--format", "broken", "--format", "csv")
    assert done.exit_code == 1 and "--format broken: failed: ValueError: no ink" in done.output
    assert (made.folder.root / "report.csv").exists()
    assert not (made.folder.root / "report.bad").exists()


def test_an_unknown_format_names_the_nearest_and_writes_nothing(made, folder):
    done = run(folder, "--format", "csv", "--format", "htlm")
    assert done.exit_code == 2 and "did you mean 'html'? available: csv, html" in done.output
    assert not (made.folder.root / "report.csv").exists()


def test_a_file_of_another_ending_is_refused(made, folder, tmp_path):
    found, reporters = load(made.folder), Reporters()
    with pytest.raises(RunError, match="no file of the format latex; name one, such as .*tex"):
        write_report(found, reporters.named("latex"), tmp_path / "t.csv")
    with pytest.raises(ReporterError, match="its ending stands for no format"):
        reporters.of_file(tmp_path / "t.pdf")
