"""Records and sets with a field that is not as we write it: named and left out, never fatal."""

import json

import numpy as np
import pytest
import torch
from ddbench.contract import synthetic_set
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.reporting.leaderboard import load
from ddbench.reporting.markdown import galleries, make_report
from ddbench.reporting.markdown.document import Document
from ddbench.reporting.terminal import print_leaderboard
from ddbench.store.housekeeping import find_litter, status_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

ARTIFACT = {
    "id": "a",
    "kind": "experts",
    "seconds": 1.0,
    "flops": 10,
    "lower_bound": False,
    "bytes": 5,
}

# What no field of ours, or few, may be.
ODD = [
    None, True, 0, -1, 7, 10**90, 10**400, 1e308, float("inf"), float("nan"), 0.5, "", "text",
    "caf\udce9", [], [[1]], [None], ["a", 1], [-1.0], [10**400], {}, {"a": {"b": None}},
]  # fmt: skip


@pytest.fixture
def filled(made):
    """A run with all that a table reads: snapshots, own recipes, controls, failures, plans."""
    (dm,) = made.row("dm", [[0.80, 0.82]], reduced={"steps": [100, 20000]}, measures={"m": 1.5})
    made.evaluation(dm, [0.70, 0.72], architecture="vgg11")
    made.evaluation(dm, [0.60], snapshot=10, id="on-the-way")
    made.evaluation(dm, [0.85], own_recipe=True)
    made.row("dm", [[0.5]], control_of="dm", steps=0, artifacts=[ARTIFACT])
    made.row("random", [[0.40, 0.44]], costs={"flops_condense": 0})
    made.evaluation(None, [0.97], protocol="whole-quick", images=4000, train_s=[12.0])
    made.condensation("gm", status="failed", reason="ValueError")
    made.images(dm)
    made.curve(dm, {"step": [0, 1, 2], "seconds": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    skipped = {"row": "x", "dataset": "d", "architecture": "a", "init": "i", "ipc": 1, "seed": 0,
               "reason": "no data here", "failed": False}  # fmt: skip
    made.manifest(plan={"condensations": [dm], "evaluations": [], "skipped": [skipped]})
    return made


def everything(made):
    """Do all that reads a run folder; return the leaderboard."""
    leaderboard = load(made.folder)
    print_leaderboard(leaderboard)
    print_leaderboard(leaderboard, as_json=True)
    make_report(leaderboard, Document("made", "files")).text()
    status_of(made.folder)
    find_litter(made.folder)
    return leaderboard


def files(made):
    return sorted(path for path in made.folder.root.rglob("*.json") if path.parent.name != "claims")


def places(record):
    """Return the fields of a record, those one level down among them."""
    inner = [(k, n) for k, v in record.items() if isinstance(v, dict) for n in v]
    return [*((name,) for name in record), *inner]


def changed(record, place, value):
    if len(place) == 1:
        return record | {place[0]: value}
    return record | {place[0]: record[place[0]] | {place[1]: value}}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_change_of_one_field_crashes_a_reader(filled, capsys, data):
    path = data.draw(st.sampled_from(files(filled)))
    whole = path.read_text()
    record = json.loads(whole)
    place, value = data.draw(st.sampled_from(places(record))), data.draw(st.sampled_from(ODD))
    path.write_text(json.dumps(changed(record, place, value)))
    try:
        everything(filled)
    finally:
        path.write_text(whole)
        capsys.readouterr()


@pytest.mark.parametrize(
    ("kind", "name", "value", "reason"),
    [
        ("evaluations", "n_test", 0, "n_test is 0; expected at least 1"),
        ("evaluations", "n_test", 10**400, "a number of 401 digits"),
        ("evaluations", "snapshot", [1], "snapshot is [1]; expected a whole number"),
        ("evaluations", "condensation", {}, "condensation is {}; expected text"),
        (
            "evaluations",
            "class_counts_test",
            [[1]],
            "class_counts_test.0 is [1]; expected a whole number",
        ),
        (
            "evaluations",
            "accuracies",
            [1.5],
            "accuracies.0 is 1.5; expected at most 1",
        ),
        ("evaluations", "dataset", "x", "dataset is 'x'; its condensation has 'mnist-mini'"),
        ("evaluations", "dataset_fingerprint", "x", "its condensation has 'f00d'"),
        ("condensations", "ipc", 0, "ipc is 0; expected at least 1"),
        ("condensations", "config", [1], "config is [1]; expected an object"),
    ],
)
def test_a_record_that_does_not_hold_is_left_out_by_name(made, capsys, kind, name, value, reason):
    made.row("random", [[0.4]])
    made.row("dm", [[0.8]])
    path = sorted((made.folder.root / kind).rglob("*.json"))[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    [(named, why)] = everything(made).records.unreadable
    assert named == path and reason in why
    assert f"not read: {path}: " in capsys.readouterr().out


@pytest.mark.parametrize("ids", [5, None, {"a": 1}, ["a\0b", 3, "../.."]])
def test_a_plan_of_something_else_is_passed_over(made, ids):
    (dm,) = made.row("dm", [[0.8]])
    made.manifest(plan={"condensations": ids, "evaluations": ids, "skipped": [{"row": []}]})
    assert [board.places[0].entry.row for board in everything(made).boards] == ["dm"]


# -- sets --------------------------------------------------------------------------------------


def deep(levels=100_000):
    return "[" * levels + "]" * levels


@pytest.fixture
def written(made):
    (dm,) = made.row("dm", [[0.8]])
    made.images(dm)
    return made, made.folder.set_file(dm)


def test_a_set_whose_metadata_never_end_is_not_shown(written):
    made, path = written
    images = np.zeros((10, 1, 8, 8), np.float32)
    save_file({"images": images, "labels": np.arange(10)}, path, {"ddbench": deep()})
    assert "not shown, no synthetic set" in report(made)


def test_a_set_of_a_later_ddbench_is_not_shown(written):
    made, path = written
    save_file({"images": np.zeros(1)}, path, {"ddbench": '{"format": 99}'})
    assert "not shown, of a later ddbench (format 99): upgrade ddbench" in report(made)


def test_a_set_with_a_formation_is_shown(written):
    made, path = written
    images, labels = torch.zeros(10, 1, 8, 8), torch.eye(10)
    formation = {"targets": {"name": "stored", "kind": "regression"}}
    SyntheticSet(images, labels, formation=formation).save(path)
    assert galleries.FORMAT == synthetic_set.FORMAT
    assert galleries.read_set(path).labels.tolist() == list(range(10))
    assert "not shown" not in report(made)


def test_a_set_without_stored_images_says_why_it_is_not_shown(written):
    made, path = written
    formation = {"decode": {"name": "mine"}}
    SyntheticSet(torch.zeros(0, 1, 8, 8), torch.arange(10), formation=formation).save(path)
    assert "not shown, its images are decoded from other tensors" in report(made)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_a_set_in_a_format_that_numpy_has_not_is_not_shown(written, kind):
    made, path = written
    size = 2 if kind == "BF16" else 1
    header = {
        "images": {"dtype": kind, "shape": [10, 1, 2, 2], "data_offsets": [0, 40 * size]},
        "labels": {"dtype": "I64", "shape": [10], "data_offsets": [40 * size, 40 * size + 80]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(40 * size + 80))
    with pytest.raises(ValueError, match="no synthetic set"):
        galleries.read_set(path)
    assert "not shown, no synthetic set" in report(made)


@pytest.mark.parametrize("mean", [5, "mean", ["a"], [0.1, 0.2], [None], {"a": 1}, [1e308]])
def test_a_set_whose_mean_is_none_is_shown_as_it_is(written, mean):
    made, path = written
    made.images(path.parent.name, mean=mean)
    assert "not shown" not in report(made) and "-final.png" in report(made)


def report(made):
    return make_report(load(made.folder), Document("made", "files")).text()
