"""Files of other programs: what is read, what is told apart, and what is refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from ddbench import SyntheticSet
from ddbench.cli.imports import import_set
from ddbench.contract.foreign import (
    KINDS,
    LAYOUTS,
    SPACES,
    ForeignError,
    HowToRead,
    RealData,
    Source,
    claims_of_file,
    read_foreign,
    set_of,
)
from ddbench.contract.foreign.labels import labels_of
from ddbench.datasets import load
from ddbench.datasets.tensors import fit_zca, prepare
from safetensors.torch import save_file

NORMALISED = HowToRead(Source("normalised"))


@pytest.fixture(scope="module")
def toy():
    """The toy data; their first four images of class 0 to 3, and these as pixels."""
    data = load("toy")
    rows = [int((data.train_labels == c).argmax()) for c in range(4)]
    tensors = prepare(data, "cpu")
    pixels = torch.from_numpy(np.array(data.train_images[rows]))
    return data, tensors.train_images[rows], pixels


def imported(toy, content, how=NORMALISED, tmp_path=Path(), **read):
    path = tmp_path / "x.pt"
    torch.save(content, path)
    return set_of(path, read_foreign(path, **read), RealData("toy", toy[0]), how)


# -- layouts ---------------------------------------------------------------------------------------


def dc_file(path, images, experiments=2):
    """Write a file as DatasetCondensation does: accuracies are numpy's own numbers."""
    data = [[images + n, torch.arange(4)] for n in range(experiments)]
    accuracies = [np.float64(a) for a in (0.5, 0.7, 0.6, 0.8)]
    torch.save({"data": data, "accs_all_exps": {"ConvNet": accuracies, "MLP": []}}, path)


def test_dc_has_one_set_an_experiment_and_its_accuracies(toy, tmp_path):
    path = tmp_path / "res_DC_toy_ConvNet_1ipc.pt"
    dc_file(path, toy[1])
    with pytest.raises(ForeignError, match=r"the sets of 2 experiments.*--experiment 0\.\.1"):
        read_foreign(path)
    with pytest.raises(ForeignError, match=r"--experiment 2: .* holds 0\.\.1"):
        read_foreign(path, experiment=2)
    found = read_foreign(path, experiment=1)
    assert torch.equal(found.images, toy[1] + 1) and found.layout == "dc"
    [claim] = claims_of_file(found)
    assert (claim.network, claim.networks) == ("ConvNet", 2)
    assert claim.mean == pytest.approx(70) and claim.spread == pytest.approx(14.14, abs=0.01)


@pytest.mark.parametrize("name", ["best", "500"])
def test_mtt_and_datm_have_labels_and_learning_rate_beside_the_images(toy, tmp_path, name):
    torch.save(toy[1], tmp_path / f"images_{name}.pt")
    with pytest.raises(ForeignError, match=f"no labels in .*labels_{name}.pt; .* by --labels"):
        read_foreign(tmp_path / f"images_{name}.pt")
    torch.save(torch.arange(4), tmp_path / f"labels_{name}.pt")
    assert read_foreign(tmp_path / f"images_{name}.pt").layout == "mtt"
    torch.save(torch.tensor(0.02), tmp_path / f"lr_{name}.pt")
    found = read_foreign(tmp_path / f"images_{name}.pt")
    assert (found.layout, found.recipe) == ("datm", {"lr": 0.02})
    made, _ = set_of(tmp_path / "x.pt", found, RealData("toy", toy[0]), NORMALISED)
    assert made.recipe == {"lr": 0.02}


def test_a_folder_means_its_best_images(toy, tmp_path):
    torch.save(toy[1], tmp_path / "images_best.pt")
    torch.save(torch.arange(4), tmp_path / "labels_best.pt")
    assert read_foreign(tmp_path).layout == "mtt"


def test_images_zca_are_those_whose_whitening_is_undone(toy, tmp_path):
    path = tmp_path / "images_zca_500.pt"
    torch.save(toy[2].float() / 255, path)
    torch.save(torch.arange(4), tmp_path / "labels_500.pt")
    white = load("toy", options={"zca": True})
    data = RealData("toy?zca=true", white, fit_zca(white.train_images))
    found = read_foreign(path)
    with pytest.raises(ForeignError, match="whose whitening has been undone"):
        set_of(path, found, data, HowToRead(Source("zca")))
    made, _ = set_of(path, found, data, HowToRead(Source("0..1")))
    assert (made.unnormalised(data.whitening).int() - toy[2].int()).abs().max() <= 1


@pytest.mark.parametrize("how", ["tuple", "list", "dict", "old", "safetensors"])
def test_pairs_in_every_wrapping(toy, tmp_path, how):
    path, labels = tmp_path / "x.pt", torch.arange(4)
    if how == "safetensors":
        path = tmp_path / "x.safetensors"
        save_file({"images": toy[1], "labels": labels}, path)
    elif how == "dict":
        torch.save({"Image_syn": toy[1], "label_syn": labels, "epoch": 3}, path)
    else:
        pair = [toy[1].clone().requires_grad_(), labels]
        torch.save(tuple(pair) if how == "tuple" else pair, path,
                   _use_new_zipfile_serialization=how != "old")  # fmt: skip
    found = read_foreign(path)
    made, _ = set_of(path, found, RealData("toy", toy[0]), NORMALISED)
    assert torch.equal(made.images, toy[1]) and not made.images.requires_grad


def test_a_set_of_ours_that_does_not_say_its_space_keeps_its_recipe(toy, tmp_path):
    path = tmp_path / "x.safetensors"
    SyntheticSet(toy[1], torch.arange(4), recipe={"lr": 0.5, "epochs": 7}).save(path)
    made, _ = set_of(path, read_foreign(path), RealData("toy", toy[0]), NORMALISED)
    assert made.recipe == {"lr": 0.5, "epochs": 7} and torch.equal(made.images, toy[1])
    SyntheticSet(toy[1], torch.arange(4), payload={"z": torch.zeros(1)}).save(path)
    with pytest.raises(ForeignError, match="with a formation or payload"):
        read_foreign(path)
    made.save(path)
    with pytest.raises(ForeignError, match="describes itself; `ddbench evaluate` takes it"):
        read_foreign(path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), r"holds more than tensors, numbers and words \(posix.mkdir\)"),
        (torch.nn.Linear(2, 2), r"\(torch.nn.modules.linear.Linear\)"),
        (np.zeros(3), r"holds more than .*save its tensors alone"),
        ({"images": [Evil()]}, "posix.mkdir"),
        ({"a": torch.zeros(1)}, "no images and labels by these names, but a;"),
        ({}, "but nothing"),
        ((torch.zeros(1),), "expected images and labels as two tensors, found Tensor;"),
        ({"data": []}, "the sets of 0 experiments"),
        ({"data": [torch.zeros(2, 1)]}, "found Tensor"),
        ({"data": [[torch.zeros(1)] * 3]}, "found Tensor, Tensor, Tensor"),
        ({"images": None, "labels": None}, "no images and labels"),
        ("words", "found str"),
        (3, "found int"),
    ],
)
def test_all_else_is_refused_in_one_sentence_and_no_code_runs(
    tmp_path, monkeypatch, content, message
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    torch.save(content, path)
    with pytest.raises(ForeignError, match=message) as told:
        read_foreign(path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02.", b"PK\x03\x04", b"\x00" * 100])
def test_torn_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ForeignError, match="is torn, or no file|holds more than") as told:
        read_foreign(tmp_path / name)
    assert "\n" not in str(told.value)


def test_a_bare_pickle_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ForeignError):
        read_foreign(tmp_path / "x.pt")
    assert not (tmp_path / "hacked").exists()


def test_the_layout_that_is_named_must_be_the_files(toy, tmp_path):
    dc_file(tmp_path / "x.pt", toy[1], 1)
    with pytest.raises(ForeignError, match="not of the layout 'pair' but 'dc'"):
        read_foreign(tmp_path / "x.pt", "pair")
    torch.save((toy[1], torch.arange(4)), tmp_path / "y.pt")
    with pytest.raises(ForeignError, match="--experiment 1: .* holds one set"):
        read_foreign(tmp_path / "y.pt", experiment=1)


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "change"),
    [
        (Source("normalised"), lambda x, pixels: x),
        (Source("0..1"), lambda x, pixels: pixels / 255),
        (Source("0..255"), lambda x, pixels: pixels.float()),
        (Source(""), lambda x, pixels: pixels),
        (Source("normalised", [0.5], [0.25]), lambda x, pixels: (pixels / 255 - 0.5) / 0.25),
        (Source("normalised"), lambda x, pixels: x.double()),
        (Source("normalised"), lambda x, pixels: x.permute(0, 2, 3, 1)),
        (Source("normalised"), lambda x, pixels: x[:, 0]),
    ],
)
def test_images_come_into_the_space_of_the_data(toy, tmp_path, source, change):
    content = (change(toy[1], toy[2]), torch.arange(4))
    made, _ = imported(toy, content, HowToRead(source), tmp_path)
    assert torch.allclose(made.images, toy[1], atol=1e-5) and made.images.dtype == torch.float32
    assert torch.equal(made.unnormalised(), toy[2])


@pytest.mark.parametrize(
    ("source", "images", "message"),
    [
        (Source(""), torch.randn(4, 1, 8, 8), "in which space are the images"),
        (Source("normalised"), torch.rand(4, 1, 8, 8), "as pixels of 0..1 do that are not"),
        (Source("0..1"), 255 * torch.rand(4, 1, 8, 8), "images have values up to 2"),
        (Source("0..1"), -torch.rand(4, 1, 8, 8), "100% of the values lie outside 0..1"),
        (Source("0..255"), -9 * torch.rand(4, 1, 8, 8), "lie outside 0..255"),
        (Source("0..255"), torch.rand(4, 1, 8, 8), r"no value is above .* is it 0\.\.1"),
        (Source("zca"), torch.randn(4, 1, 8, 8), r"name the data whitened, as 'toy\?zca=true'"),
        (Source("0..1"), torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "bytes"),
        (Source("0..1", [0.5], [0.5]), torch.rand(4, 1, 8, 8), "are of normalised images"),
        (Source("normalised", [0.5] * 3, [0.5] * 3), torch.randn(4, 1, 8, 8), "give 1 numbers"),
        (Source("normalised", [0.5], [0.0]), torch.randn(4, 1, 8, 8), "numbers above 0"),
        (Source("normalised"), torch.randn(4, 3, 8, 8), r"\(4, 3, 8, 8\); the data's are"),
        (Source("normalised"), torch.randn(4, 64), r"\(4, 64\); the data's are"),
        (Source("normalised"), torch.full((4, 1, 8, 8), float("nan")), "NaN"),
        (Source("normalised"), torch.zeros(4, 1, 8, 8, dtype=torch.complex64), "expected numbers"),
    ],
)
def test_images_in_no_space_or_another_are_refused(toy, tmp_path, source, images, message):
    with pytest.raises(ForeignError, match=message):
        imported(toy, (images, torch.arange(4)), HowToRead(source), tmp_path)


def test_normalised_images_do_not_pass_for_whitened_data(toy, tmp_path):
    white = load("toy", options={"zca": True})
    data = RealData("toy?zca=true", white, fit_zca(white.train_images))
    torch.save((toy[1], torch.arange(4)), tmp_path / "x.pt")
    with pytest.raises(ForeignError, match="these data are whitened"):
        set_of(tmp_path / "x.pt", read_foreign(tmp_path / "x.pt"), data, NORMALISED)


# -- labels ----------------------------------------------------------------------------------------

EYE = torch.eye(4)
SOFT = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).repeat(4, 1)


@pytest.mark.parametrize(
    ("labels", "first", "expected", "words"),
    [
        (torch.arange(4), None, [0, 1, 2, 3], "class indices"),
        (torch.arange(4).to(torch.uint8), None, [0, 1, 2, 3], "class indices"),
        (torch.arange(4.0), None, [0, 1, 2, 3], "which were float32"),
        (torch.arange(4)[:, None], None, [0, 1, 2, 3], "class indices"),
        (torch.arange(4) + 1, 1, [0, 1, 2, 3], "counted from 1"),
        (torch.tensor([1, 2, 1, 2]), 0, [1, 2, 1, 2], "class indices"),
        (torch.tensor([2, 3, 2, 3]), None, [2, 3, 2, 3], "class indices"),
        (EYE.flip(0), None, [3, 2, 1, 0], "one-hot"),
        (EYE.long(), None, [0, 1, 2, 3], "one-hot"),
        (EYE.bool(), None, [0, 1, 2, 3], "one-hot"),
    ],
)
def test_hard_labels_in_every_form(labels, first, expected, words):
    found, said = labels_of(labels, 4, 4, first, None)
    assert found.tolist() == expected and found.dtype == torch.int64 and words in said


@pytest.mark.parametrize("soft", [None, "probabilities"])
def test_probabilities_become_logits_of_the_same_probabilities(soft):
    found, said = labels_of(SOFT, 4, 4, None, soft)
    assert torch.allclose(found.softmax(1), SOFT) and "probabilities" in said
    certain, _ = labels_of(EYE, 4, 4, None, "probabilities")
    assert torch.isfinite(certain).all() and torch.allclose(certain.softmax(1), EYE, atol=1e-6)


def test_logits_stay_as_they_are():
    logits = torch.randn(4, 4)
    assert torch.equal(labels_of(logits, 4, 4, None, None)[0], logits)
    assert torch.equal(labels_of(SOFT, 4, 4, None, "logits")[0], SOFT)


@pytest.mark.parametrize(
    ("labels", "first", "soft", "message"),
    [
        (torch.arange(4) + 1, None, None, "counted from 1; say so by --first-label 1"),
        (torch.tensor([1, 2, 2, 3]), None, None, "whether the first class is 0 or 1"),
        (torch.arange(4) * 7, None, None, r"run from 0 to 21; expected 0\.\.3 for 4 classes"),
        (torch.arange(4) - 1, None, None, "run from -1 to 2"),
        (torch.arange(4), 1, None, r"run from 0 to 3; expected 1\.\.4"),
        (torch.tensor([0, 1.5, 2, 3]), None, None, "with fractions, such as 1.5"),
        (torch.tensor([True] * 4), None, None, "true or false"),
        (torch.tensor([0, 1, 2, float("nan")]), None, None, "NaN"),
        (torch.arange(3), None, None, r"the shape \(3,\); expected 4 class indices"),
        (torch.tensor(3), None, None, r"the shape \(\)"),
        (torch.zeros(4, 2, 2), None, None, r"the shape \(4, 2, 2\)"),
        (torch.zeros(4, 3), None, None, "rows of 3 numbers; the data have 4 classes"),
        (torch.ones(4, 4).long(), None, None, "rows of int64, and not one-hot"),
        (5 * SOFT, None, None, "do not sum to 1: say by --soft"),
        (5 * SOFT, None, "probabilities", "do not sum to 1"),
        (torch.arange(4), None, "logits", "--soft logits: labels are one number an image"),
        (SOFT, 1, None, "--first-label 1: labels are rows"),
    ],
)
def test_labels_that_may_be_two_things_or_none_are_refused(labels, first, soft, message):
    with pytest.raises(ForeignError, match=message):
        labels_of(labels, 4, 4, first, soft)


def test_a_wrong_recipe_is_refused(toy, tmp_path):
    how = HowToRead(Source("normalised"), recipe={"learning_rate": 1})
    with pytest.raises(ForeignError, match="unknown key 'learning_rate'"):
        imported(toy, (toy[1], torch.arange(4)), how, tmp_path)


def test_the_command_offers_what_can_be_read():
    offered = {p.name: getattr(p.type, "choices", None) for p in import_set.params}
    assert tuple(offered["space"]) == SPACES and tuple(offered["layout"]) == ("auto", *LAYOUTS)
    assert tuple(offered["soft"]) == KINDS
