"""The commands about sets in files, in this process."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import ddbench as api
import pytest
import torch
from click.testing import CliRunner
from ddbench import SyntheticSet
from ddbench.cli import main
from ddbench.contract.set_metadata import about_data
from ddbench.datasets import load
from ddbench.datasets.tensors import fit_zca, prepare
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
    ddbench("report", "r", "--format", "csv", "--to", "r.csv")
    [network] = csv.DictReader(Path("r.csv").read_text().splitlines())
    assert network["condense_s"] == network["own_s"] == network["artifact_s"] == ""
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
    ddbench("evaluate", tmp_path / "mine.safetensors", "--dataset", "toy", *ON, "--out", "r")
    assert len(read_run(open_run("r")).evaluations) == 1  # the same data, named


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
    ddbench("import", "mine.safetensors", "--dataset", "toy", "--space", "normalised")
    ddbench("evaluate", "mine-imported.safetensors", *ON)


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


# -- verify ----------------------------------------------------------------------------------------


@pytest.fixture
def claimed(tmp_path):
    """A run with one set, and what it claims."""
    file = saved(tmp_path / "mine.safetensors", said={"method": "dm"})
    ddbench("evaluate", file, *ON, "--out", "r")
    [path] = (tmp_path / "r" / "evaluations").glob("*.json")
    return path


def test_a_run_that_says_the_truth_holds(claimed):
    out, _ = ddbench("verify", "r", "--debug", "--device", "cpu")
    assert "holds: 1 of 1 claim" in out and "the same" in out and "does not" not in out
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads(ddbench("verify", "r", "--debug", "--json")[0])
    assert told["holds"] and told["claims"][0]["exact"] and told["left_out"] == 0
    assert len(accuracies("runs/verify-r")) == 1


def test_a_claim_that_is_too_good_does_not_hold(claimed):
    record = json.loads(claimed.read_text())
    claimed.write_text(json.dumps({**record, "accuracies": [1.0] * record["networks"]}))
    out, _ = ddbench("verify", "r", "--debug", "--device", "cpu", code=1)
    assert "does not hold: 1 of 1 claim" in out
    told = json.loads(ddbench("verify", "r", "--debug", "--json", code=1)[0])
    assert told["claims"][0]["claimed"] == 1.0 and told["claims"][0]["high"] < 0


def test_another_set_in_the_place_of_the_claims_is_told(claimed, tmp_path):
    [file] = (tmp_path / "r").glob("condensations/*/synthetic.safetensors")
    saved(file, 3)
    out, _ = ddbench("verify", "r", "--debug", "--device", "cpu", code=1)
    assert "not tested:" in out and "not the set" in " ".join(out.split())
    assert json.loads(ddbench("verify", "r", "--json", "--debug", code=1)[0])["holds"] is False


def test_jobs_and_files_of_a_run_choose_its_claims(claimed, tmp_path, monkeypatch):
    [file] = (tmp_path / "r").glob("condensations/*/synthetic.safetensors")
    for words in (("r", "dm"), (file,), (file.parent,), ("r", claimed.stem)):
        assert "holds: 1 of 1" in ddbench("verify", *words, "--debug")[0]
    monkeypatch.chdir(file.parent)
    assert "holds: 1 of 1" in ddbench("verify", "synthetic.safetensors", "--debug")[0]
    monkeypatch.chdir(tmp_path)
    assert "is, or is of, 'gm'" in ddbench("verify", "r", "gm", "--debug", code=2)[1]
    assert "name another folder" in ddbench("verify", "r", "--out", "r", code=2)[1]
    file.unlink()
    _, err = ddbench("verify", "r", "--debug", "--out", "other", code=2)
    assert "is not there, so what is claimed of it cannot be tested" in err


@pytest.mark.parametrize(("wrong", "words"), [(0.0, "holds: 1 of 1"), (40.0, "does not hold")])
def test_what_a_paper_claims_of_a_file(claimed, wrong, words):
    [[found]] = accuracies("r")
    claim = f"{abs(100 * found - wrong):.1f}%"
    out, _ = ddbench("verify", "mine.safetensors", "--accuracy", claim, *ON, code=int(wrong > 0))
    assert words in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--accuracy", "0.45"), "expected an accuracy in percent, as 45.2%"),
        (("--accuracy", "145"), "expected an accuracy in percent"),
        (("--accuracy", "45", "--spread", "x"), "--spread x: expected percent"),
        (("--accuracy", "45", "--own-recipe"), "has no recipe or soft labels of its own"),
        (("--accuracy", "45", "--evaluate-on", "mlp"), "a claim is of one network by one protocol"),
        (("job", "--accuracy", "45"), "jobs belong to a run"),
        ((), "--evaluate-on: is of a claim about a file"),
    ],
)
def test_a_claim_that_says_too_little_is_refused(tmp_path, words, message):
    saved(tmp_path / "mine.safetensors")
    assert message in ddbench("verify", "mine.safetensors", *words, *ON, code=2)[1]


def test_a_file_outside_runs_claims_nothing(tmp_path):
    saved(tmp_path / "mine.safetensors")
    assert "lies in no run, so nothing" in ddbench("verify", "mine.safetensors", code=2)[1]


def test_data_that_are_others_than_the_claims_are_refused(claimed):
    record = json.loads(claimed.read_text())
    claimed.write_text(json.dumps({**record, "dataset_fingerprint": "0" * 64}))
    assert "is not what the claim was made on" in ddbench("verify", "r", "--debug", code=2)[1]


# -- import ----------------------------------------------------------------------------------------


def test_an_imported_file_is_evaluated_like_one_of_a_run(tmp_path):
    made = toy_set()
    torch.save((made.images, made.labels), tmp_path / "theirs.pt")
    words = ("import", "theirs.pt", "--dataset", "toy", "--space", "normalised")
    out, err = ddbench(*words, "--method", "dc", "--recipe", "lr=0.5")
    assert "made by dc, toy" in out and "read as pair; labels: class indices" in out
    assert "next: ddbench evaluate theirs.safetensors" in err
    found = SyntheticSet.load("theirs.safetensors")
    assert torch.equal(found.images, made.images) and found.recipe == {"lr": 0.5}
    saved(tmp_path / "ours.safetensors")
    ddbench("evaluate", "theirs.safetensors", "ours.safetensors", *ON, "--out", "r")
    common = {str(one.accuracies) for one in read_run(open_run("r")).evaluations.values()
              if not one.own_recipe}  # fmt: skip
    assert len(common) == 1
    assert "exists already; name another file by --to" in ddbench(*words, code=2)[1]


def test_what_a_file_claims_is_told_with_the_command_that_verifies_it(tmp_path):
    made = toy_set()
    content = {"data": [[made.images, made.labels]], "accs_all_exps": {"ConvNet": [0.5, 0.7]}}
    torch.save(content, tmp_path / "res.pt")
    out, err = ddbench("import", "res.pt", "--dataset", "toy", "--space", "normalised")
    assert "the file claims 60.0 ± 14.1% on ConvNet (2 networks)" in out
    words = "verify res.safetensors --accuracy 60.0% --spread 14.1% --networks 2"
    assert f"or: ddbench {words} --evaluate-on NETWORK --protocol PROTOCOL" in err
    ddbench(*words.split(), *ON)
    assert "60.0% on ConvNet" in ddbench("show", "res.safetensors")[0]


def test_whitened_sets_come_in_with_whitened_data(tmp_path):
    white = load("toy", options={"zca": True})
    whitening = fit_zca(white.train_images)
    images = prepare(white, "cpu", whitening).train_images[:4]
    torch.save((images, torch.arange(4)), tmp_path / "x.pt")
    assert "name the data whitened" in ddbench(
        "import", "x.pt", "--dataset", "toy", "--space", "zca", code=2
    )[1]  # fmt: skip
    ddbench("import", "x.pt", "--dataset", "toy?zca=true", "--space", "zca")
    ddbench("evaluate", "x.safetensors", *ON, "--out", "r")
    assert (
        "whitened (zca)" in ddbench("evaluate", "x.safetensors", "--dataset", "toy", *ON, code=2)[1]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.pt", "--dataset", "toy"), "none.pt: no such file"),
        (("x.pt", "--dataset", "toi"), "did you mean 'toy'"),
        (("x.pt", "--dataset", "toy"), "x.pt: in which space are the images?"),
        (("x.pt", "--dataset", "toy", "--mean", "0.5"), "give both, or none"),
        (("x.pt", "--dataset", "toy", "--mean", "a", "--std", "1"), "--mean a: expected numbers"),
        (("x.pt", "--dataset", "toy", "--recipe", "lr"), "--recipe lr: expected KEY=VALUE"),
    ],
)
def test_an_import_that_cannot_be_is_told_in_one_line(tmp_path, words, message):
    made = toy_set()
    torch.save((made.images, made.labels), tmp_path / "x.pt")
    _, err = ddbench("import", *words, code=2)
    assert message in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_formed_set_is_evaluated_by_its_parts_and_refused_without_them(tmp_path):
    formation = {"decode": {"name": "upsample", "factor": 2}}
    saved(tmp_path / "tiles.safetensors", formation=formation)
    ddbench("evaluate", "tiles.safetensors", *ON, "--out", "r")
    assert {one.decoded_images for one in read_run(open_run("r")).evaluations.values()} == {16}
    saved(tmp_path / "odd.safetensors", formation={"decode": {"name": "upsampel", "factor": 2}})
    _, err = ddbench("evaluate", "odd.safetensors", *ON, code=2)
    assert "does not fit toy" in err and "upsampel" in err


DEEP = {"a": [1]}
for _ in range(60):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    "said",
    [
        {"options": DEEP},
        {"options": {"lr": float("nan")}},
        {"seed": "one", "ipc": -1, "row": 3, "options": [], "code": {}},
        {"seed": 10**40, "reduced": "much", "published": "yes", "steps": None},
        {"classes": [{}, [], None, 4], "costs": {"init_s": "long"}, "versions": ["a"]},
        {"row": "\x1b[2J" + "x" * 500, "method": "", "hardware_class": DEEP, "setting": 4},
    ],
)
def test_whatever_a_file_says_of_itself_it_is_evaluated(tmp_path, said):
    file = saved(tmp_path / "mine.safetensors", said=said, measures={"a": float("inf"), "b": DEEP})
    ddbench("evaluate", file, *ON, "--out", "r")
    [row] = rows("r")
    assert row["accuracy"] > 0 and len(row["method"]) <= 80
    out, _ = ddbench("show", file)
    assert "\x1b" not in out


def test_a_set_of_a_published_setting_says_so_where_it_is_evaluated(tmp_path):
    said = {"method": "dm", "options": {"lr_images": 1.0}, "published": True,
            "reduced": {"steps": [5, 20000]}, "setting": "federated", "steps": 5}  # fmt: skip
    ddbench("evaluate", saved(tmp_path / "a.safetensors", said=said), *ON, "--out", "r")
    [record] = read_run(open_run("r")).condensations.values()
    assert record.published and record.reduced == {"steps": [5, 20000]}
    assert (record.setting, record.steps, record.config) == ("federated", 5, {"lr_images": 1.0})
