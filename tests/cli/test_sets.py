"""The commands about sets in files, in this process."""

import json
import re
from dataclasses import replace

import ddbench as api
import pytest
import torch
from click.testing import CliRunner
from ddbench import SyntheticSet
from ddbench.cli import main
from ddbench.contract.set_metadata import about_data
from ddbench.datasets import load
from ddbench.datasets.tensors import prepare
from ddbench.store.run_folder import open_run, read_run

pytestmark = pytest.mark.usefixtures("asked_here")

ON = ("--evaluate-on", "mlp-w0.25", "--protocol", "smoke", "--debug", "--device", "cpu")
COSTS = {"init_s": 1.0, "condense_s": 2.5, "export_s": 0.5, "artifact_s": 0.0, "bytes": 1056,
         "flops_condense": 7, "flops_artifact": 0, "steps_done": 9}  # fmt: skip


@pytest.fixture(autouse=True)
def _work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def ddbench(*words, code=0):
    """Run a command; return its standard output and error."""
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def toy_set(start=0, **changes):
    """Return one real image of each class of the toy data, as a set that describes itself."""
    toy = load("toy")
    tensors = prepare(toy, "cpu")
    rows = [int((tensors.train_labels == c).nonzero()[start]) for c in range(4)]
    made = SyntheticSet(
        tensors.train_images[rows], torch.arange(4), provenance=about_data("toy", toy)
    )
    return replace(made, **changes)


def saved(path, start=0, said=(), **changes):
    """Save a toy set whose provenance says more; return its path."""
    made = toy_set(start, **changes)
    replace(made, provenance={**made.provenance, **dict(said)}).save(path)
    return path


def accuracies(folder):
    return [
        one.accuracies for one in read_run(open_run(folder)).evaluations.values()
        if one.status == "done"
    ]  # fmt: skip


def rows(folder):
    return json.loads(ddbench("leaderboard", folder, "--json")[0])["rows"]


# -- evaluate --------------------------------------------------------------------------------------


def test_a_file_is_evaluated_as_in_a_run_and_its_folder_is_one(tmp_path):
    file = saved(tmp_path / "mine.safetensors", said={"method": "dm", "seed": 3, "costs": COSTS})
    out, err = ddbench("evaluate", file, *ON)
    frame = api.evaluate(file, "toy", "mlp-w0.25", "smoke", device="cpu")
    folder = tmp_path / "runs" / "evaluate-mine"
    assert accuracies(folder) == [frame["accuracy"].tolist()]
    assert "dm" in out and "report.md" in err
    [record] = read_run(open_run(folder)).condensations.values()
    assert record.set_sha256 == SyntheticSet.load(file).sha256() and record.from_file == str(file)
    assert (record.method, record.seed, record.costs.condense_s) == ("dm", 3, 2.5)
    [row] = rows(folder)
    assert row["condense_s"] == pytest.approx(4.0)
    ddbench("report", folder, "--to", tmp_path / "r.md")
    assert "comes from a file" in (tmp_path / "r.md").read_text()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*.json")}
    ddbench("evaluate", file, *ON)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_a_file_does_not_say_is_unknown_and_not_nothing(tmp_path):
    file = saved(tmp_path / "mine.safetensors", said={"costs": {"init_s": float("nan")}})
    out, _ = ddbench("evaluate", file, *ON, "--out", "r")
    [row] = rows("r")
    assert row["method"] == "mine" and row["condense_s"] is None
    assert row["own_flops"] is None
    ddbench("report", "r")


def test_sets_of_one_claim_are_told_apart_and_one_given_twice_is_one(tmp_path):
    files = [saved(tmp_path / f"{n}.safetensors", n, {"method": "dm"}) for n in range(2)]
    (tmp_path / "copy.safetensors").write_bytes(files[0].read_bytes())
    ddbench("evaluate", *files, tmp_path / "copy.safetensors", *ON, "--out", "r")
    records = read_run(open_run("r"))
    assert len(records.condensations) == len(records.evaluations) == 2
    assert len(rows("r")) == 2


def test_seeds_of_one_row_make_one_row(tmp_path):
    said = {"method": "dm", "options": {"lr_images": 1.0}}
    files = [saved(tmp_path / f"{n}.safetensors", n, {**said, "seed": n}) for n in range(2)]
    ddbench("evaluate", *files, *ON, "--out", "r")
    [row] = rows("r")
    assert row["seeds"] == 2


def test_a_set_with_a_recipe_is_evaluated_by_it_too(tmp_path):
    file = saved(tmp_path / "mine.safetensors", recipe={"lr": 0.5})
    ddbench("evaluate", file, *ON, "--out", "r")
    own = {one.own_recipe: one.recipe["lr"] for one in read_run(open_run("r")).evaluations.values()}
    assert own[True] == 0.5 and own[False] != 0.5


def test_held_out_images_are_held_out_again_and_the_test_set_tests(tmp_path):
    toy = load("toy", options={"validate": 20})
    tensors = prepare(toy, "cpu")
    about = about_data("toy", toy, 20)
    made = SyntheticSet(tensors.train_images[:4], torch.arange(4), provenance=about)
    made.save(tmp_path / "mine.safetensors")
    ddbench("evaluate", tmp_path / "mine.safetensors", *ON, "--out", "r")
    [record] = read_run(open_run("r")).evaluations.values()
    assert (record.validate, record.tested_on, record.n_test) == (20, "test", len(toy.test_labels))


@pytest.mark.parametrize(
    ("changes", "said", "message"),
    [
        ({"images": torch.rand(4, 1, 8, 8)}, {}, "as pixels of 0..1 do .*--space 0..1"),
        ({"images": 255 * torch.rand(4, 1, 8, 8)}, {}, "as pixels of 0..255 do"),
        ({"images": torch.randn(4, 3, 8, 8)}, {}, r"shape \(4, 3, 8, 8\); expected"),
        ({"labels": torch.arange(4) + 1}, {}, "labels run from 1 to 4"),
        ({}, {"mean": [0.5]}, r"normalised with mean \[0.5\]"),
        ({}, {"zca": True}, r"whitened \(zca\).*zca=true"),
        ({}, {"classes": [f"blob {c}" for c in (1, 0, 2, 3)]}, "another order: its class 0 is"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, changes, said, message
):
    file = saved(tmp_path / "mine.safetensors", said=said, **changes)
    _, err = ddbench("evaluate", file, *ON, code=2)
    assert re.search(message, err), err
    assert not (tmp_path / "runs").exists()


def test_a_set_that_says_nothing_of_its_space_or_data_is_not_guessed_at(tmp_path):
    toy_set(provenance={}).save(tmp_path / "mine.safetensors")
    _, err = ddbench("evaluate", "mine.safetensors", *ON, code=2)
    assert "does not say of what data it was made; give --dataset" in err
    _, err = ddbench("evaluate", "mine.safetensors", "--dataset", "toy", *ON, code=2)
    assert "does not say how its images were normalised; `ddbench import FILE" in err


def test_a_set_of_other_data_is_evaluated_with_a_word(tmp_path):
    about = {"dataset": "twin", "dataset_fingerprint": "0123456789", "classes": list("abcd")}
    file = saved(tmp_path / "mine.safetensors", said=about)
    _, err = ddbench("evaluate", file, "--dataset", "toy", *ON, "--out", "r")
    assert "made of 'twin' (fingerprint 01234567), not of toy" in err
    assert "its class 0 is 'a', theirs 'blob 0'" in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "no such file; name the file of a set"),
        ("folder", "is a folder without synthetic.safetensors"),
        ("text.pt", "not a synthetic set written by ddbench .*`ddbench import`"),
    ],
)
def test_what_is_no_set_is_told_in_one_line(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.pt").write_text("hello")
    _, err = ddbench("evaluate", name, *ON, code=2)
    assert re.search(message, err) and err.count("\n") == 1


def test_sets_of_different_data_and_data_that_are_not_here_are_refused(tmp_path):
    one = saved(tmp_path / "1.safetensors")
    two = saved(tmp_path / "2.safetensors", said={"dataset": "mnist"})
    assert "evaluate them apart" in ddbench("evaluate", one, two, *ON, code=2)[1]
    assert "mnist" in ddbench("evaluate", two, *ON, "--data", tmp_path, code=2)[1]
