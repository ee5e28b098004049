"""Synthetic sets in files: whatever a file holds, reading it gives a set or says what it is not."""

import pytest
import torch
from ddbench.synthetic import SetError, SyntheticSet
from safetensors.torch import save_file

TENSORS = {"images": torch.zeros(2, 1, 4, 4), "labels": torch.arange(2)}


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "[" * 100_000 + "]" * 100_000, "[]", "3", '{"recipe": 3}', '"recipe"'],
)
def test_metadata_of_somebody_else_make_no_set(tmp_path, text):
    path = tmp_path / "set.safetensors"
    save_file(TENSORS, path, {"ddbench": text})
    with pytest.raises(SetError, match="not a synthetic set written by ddbench"):
        SyntheticSet.load(path)


def test_a_set_comes_back_as_saved(tmp_path):
    path = tmp_path / "set.safetensors"
    whole = SyntheticSet(**TENSORS, recipe={"lr": 0.1})
    whole.save(path)
    assert SyntheticSet.load(path).sha256() == whole.sha256()
