"""What a set says of itself, and what it gives to code that knows nothing of ddbench."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbench import SyntheticSet
from ddbench.contract.set_metadata import (
    NotPlainError,
    UnknownSpaceError,
    about_data,
    in_words,
)
from ddbench.datasets import load
from ddbench.datasets.tensors import fit_zca, prepare
from torch.nn import functional
from torch.utils.data import DataLoader


def real(zca=False, **changes):
    """Return the first images of the toy set as a synthetic one, and their pixels."""
    toy = load("toy", options={"zca": zca})
    whitening = fit_zca(toy.train_images) if zca else None
    tensors = prepare(toy, "cpu", whitening)
    name = "toy?zca=true" if zca else "toy"
    made = SyntheticSet(
        tensors.train_images[:8], tensors.train_labels[:8], provenance=about_data(name, toy)
    )
    return replace(made, **changes), toy.train_images[:8], whitening


@pytest.mark.parametrize("zca", [False, True])
def test_pixels_come_back_as_they_were(zca):
    synthetic, pixels, whitening = real(zca)
    found = synthetic.unnormalised(whitening)
    assert found.dtype == torch.uint8 and found.shape == pixels.shape
    assert np.abs(found.numpy().astype(int) - pixels).max() <= int(zca)  # float32 of a matrix


def test_values_beyond_black_and_white_are_cut_off():
    synthetic, _, _ = real()
    wild = replace(synthetic, images=torch.full_like(synthetic.images, 1e6))
    assert wild.unnormalised().unique().tolist() == [255]


def test_without_what_undoes_the_normalisation_there_are_no_pixels():
    synthetic, _, _ = real()
    with pytest.raises(UnknownSpaceError, match="lacks mean and std"):
        replace(synthetic, provenance={}).unnormalised()
    with pytest.raises(UnknownSpaceError, match=r"whitened \(zca\).*fit_zca.*'toy\?zca=true'"):
        real(zca=True)[0].unnormalised()


@pytest.mark.parametrize("soft", [False, True])
def test_a_set_trains_in_three_lines_of_anybodys_code(soft):
    synthetic, _, _ = real()
    if soft:
        logits = 9.0 * functional.one_hot(synthetic.labels, 4).float()
        synthetic = replace(synthetic, labels=logits)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    for images, labels in DataLoader(synthetic.dataset(), batch_size=3):
        functional.cross_entropy(network(images), labels).backward()
    if soft:
        assert torch.allclose(synthetic.dataset()[0][1].sum(), torch.tensor(1.0))


def test_a_set_shows_itself_in_three_lines():
    synthetic, _, _ = real()
    made = replace(synthetic, provenance=synthetic.provenance | {"method": "dm", "seed": 3})
    first, second, third = repr(made).splitlines()
    assert first.startswith("SyntheticSet: 8 images of 1×8×8, hard labels of ")
    assert second.startswith("  made by dm, toy (") and second.endswith("seed 3")
    assert third == "  normalised; no recipe of its own"
    assert "does not say" in repr(SyntheticSet(torch.zeros(1, 1, 2, 2), torch.zeros(1).long()))


@pytest.mark.parametrize(
    ("images", "labels"), [(None, None), (torch.tensor(1.0), torch.tensor(1)), ([], torch.ones(1))]
)
def test_what_is_no_set_can_be_shown_too(images, labels):
    assert "no set that can be trained on" in repr(SyntheticSet(images, labels))


def test_words_hide_what_would_steer_a_terminal_and_take_any_value():
    strange = {"method": "\x1b[2Jdm", "options": 3, "classes": "abc", "costs": [], "mean": {}}
    words = in_words(real(provenance=strange)[0])
    assert words["made by"] == "dm" and "classes" not in words


def test_a_formed_set_gives_no_dataset_of_what_is_stored():
    synthetic, _, _ = real()
    formed = replace(synthetic, formation={"decode": {"name": "upsample", "factor": 2}})
    with pytest.raises(NotPlainError, match="decode='upsample'; ddbench.formations"):
        formed.dataset()
    kinds = {"targets": {"name": "stored", "kind": "probabilities"}}
    shares = torch.full((8, 4), 0.25)
    assert replace(synthetic, labels=shares, formation=kinds).dataset()[0][1].sum() == 1
