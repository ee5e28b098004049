"""Synthetic sets in files: whatever a file holds, reading it gives a set or says what it is not."""

import pytest
import torch
from ddbench.contract.synthetic_set import SetError, SyntheticSet, check
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


RECORDS = '"recipe": {}, "measures": {}, "provenance": {}'


def test_a_set_of_a_later_ddbench_is_refused_by_name_whatever_it_holds(tmp_path):
    path = tmp_path / "set.safetensors"
    save_file({"pictures": torch.zeros(1)}, path, {"ddbench": '{"format": 99, "x": 3}'})
    with pytest.raises(SetError, match="set.safetensors: format 99 is newer .* upgrade ddbench"):
        SyntheticSet.load(path)


@pytest.mark.parametrize("number", ["null", "true", '"1"', "1.5"])
def test_a_format_that_is_no_number_makes_no_set(tmp_path, number):
    path = tmp_path / "set.safetensors"
    save_file(TENSORS, path, {"ddbench": f'{{"format": {number}, {RECORDS}}}'})
    with pytest.raises(SetError, match=r"not a synthetic set written by ddbench \(format"):
        SyntheticSet.load(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": torch.zeros(1)},
        {"images": torch.zeros(2, 4, 4)},
        {"images": torch.zeros(2, 1, 4, 4, dtype=torch.float64)},
        {"images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)},
        {"labels": torch.zeros(2)},
        {"labels": torch.zeros(2, 3, dtype=torch.int64)},
        {"labels": torch.zeros((), dtype=torch.int64)},
        {"labels": torch.arange(3)},
    ],
)
def test_tensors_that_are_no_images_or_labels_make_no_set(tmp_path, tensors):
    path = tmp_path / "set.safetensors"
    save_file(TENSORS | tensors, path, {"ddbench": f'{{"format": 1, {RECORDS}}}'})
    with pytest.raises(SetError, match=r"not a synthetic set written by ddbench \((images|labels)"):
        SyntheticSet.load(path)


def test_a_set_comes_back_as_saved(tmp_path):
    path = tmp_path / "set.safetensors"
    whole = SyntheticSet(**TENSORS, recipe={"lr": 0.1})
    whole.save(path)
    assert SyntheticSet.load(path).sha256() == whole.sha256()


# -- what a method exports -----------------------------------------------------------------------


def problems(**fields) -> list[str]:
    result = SyntheticSet(**{**TENSORS, **fields})
    return check(result, num_classes=2, shape=(1, 4, 4), ipc=1, balanced=True)


def test_a_right_set_has_no_problems():
    assert problems(recipe={"lr": 0.1}, columns={"client": torch.arange(2)}) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"images": torch.tensor(1.0)}, "images are a single number; expected a row for each"),
        ({"labels": torch.tensor(1)}, "labels are a single number; expected a row for each image"),
        ({"images": TENSORS["images"].to("meta")}, "images are on the device meta, which holds no"),
        ({"labels": TENSORS["labels"].to("meta")}, "labels are on the device meta, which holds no"),
        ({"images": TENSORS["images"].to_sparse()}, "images are torch.sparse_coo; export a dense"),
        ({"images": TENSORS["images"].numpy()}, "images are ndarray; expected a torch.Tensor"),
        ({"labels": [0, 1]}, "labels are list; expected a torch.Tensor"),
        ({"columns": None}, "columns is NoneType; expected a dict"),
        ({"columns": [1, 2]}, "columns is list; expected a dict"),
        ({"columns": {"a": [1, 2]}}, "column 'a' is list; expected a torch.Tensor"),
        ({"columns": {"a": torch.tensor(1)}}, "column 'a' is a single number; expected a row"),
        ({"columns": {"a": torch.zeros(2, device="meta")}}, "column 'a' is on the device meta"),
        ({"columns": {"a": torch.zeros(3)}}, "column 'a' has 3 rows for 2 images"),
        ({"recipe": None}, "recipe is NoneType; expected a dict"),
        ({"measures": [("a", 1)]}, "measures is list; expected a dict"),
        ({"provenance": 3}, "provenance is int; expected a dict"),
        (
            {"recipe": {"learning_rate": 0.5}},
            "the recipe has the unknown key 'learning_rate'; known: lr, batch, epochs, ",
        ),
        ({"recipe": {"epoch": 5}}, "the recipe has the unknown key 'epoch'; did you mean 'epochs'"),
        ({"recipe": {"lr": "0.1"}}, "the recipe's lr is '0.1'; expected a finite number above 0"),
        ({"recipe": {"lr": True}}, "the recipe's lr is True; expected a finite number above 0"),
        ({"recipe": {"lr": -0.1}}, "the recipe's lr is -0.1; expected a finite number above 0"),
        ({"recipe": {"lr": float("inf")}}, "the recipe's lr is inf; expected a finite number"),
        ({"recipe": {"lr": {2: 1.0}}}, "the recipe's lr is {2: 1.0}; expected a finite number"),
        ({"recipe": {"batch": 0}}, "the recipe's batch is 0; expected a whole number of at least"),
        ({"recipe": {"epochs": 2.0}}, "the recipe's epochs is 2.0; expected a whole number"),
        ({"recipe": {"augment": None}}, "the recipe's augment is None; expected the name of a"),
        (
            {"recipe": {"augment": "color_flop"}},
            "the recipe's augment is 'color_flop'; augment: unknown operation 'flop'",
        ),
        (
            {"recipe": {"labels": "none"}},
            "the recipe's labels is 'none'; expected 'hard'",
        ),
        ({"recipe": {"labels": ["soft"]}}, "the recipe's labels is ['soft']; expected 'hard'"),
        ({"recipe": {"labels": "soft"}}, "the recipe's labels are 'soft', but the set's are class"),
    ],
)
def test_what_is_no_set_is_said_in_one_sentence(fields, problem):
    [said] = problems(**fields)
    assert said.startswith(problem)


def test_every_fault_of_a_recipe_is_said_at_once():
    assert len(problems(recipe={"lr": "1", "rate": 1, "batch": 2.5})) == 3


REGRESSION = {
    "labels": torch.tensor([[0.5, -0.5], [-0.5, 0.5]]),
    "formation": {"targets": {"name": "stored", "kind": "regression"}},
}


@pytest.mark.parametrize(
    "recipe", [{}, {"loss": {"name": "cross_entropy"}}, {"loss": {"name": "kl"}}]
)
def test_regression_targets_are_never_taken_for_logits_or_a_distribution(recipe):
    [said] = problems(recipe=recipe, **REGRESSION)
    assert said.startswith("the labels are regression targets") and "'mse'" in said


@pytest.mark.parametrize("recipe", [{"loss": {"name": "mse"}}, {"labels": "hard"}])
def test_regression_targets_are_right_for_squared_error_and_for_hard_labels(recipe):
    assert problems(recipe=recipe, **REGRESSION) == []


def test_the_hash_does_not_depend_on_how_the_keys_of_a_recipe_are_written(tmp_path):
    images, labels = torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)
    made = SyntheticSet(images, labels, recipe={"lr": {2: 1.0, 10: 0.1}})
    made.save(tmp_path / "set.safetensors")
    assert SyntheticSet.load(tmp_path / "set.safetensors").sha256() == made.sha256()


@pytest.mark.parametrize("soft", [False, True])
def test_the_rows_of_a_class_are_those_of_its_hard_labels(soft):
    labels = torch.tensor([2, 0, 2, 1])
    of = torch.nn.functional.one_hot(labels, 4).float() if soft else labels
    given = SyntheticSet(torch.zeros(4, 1, 2, 2), of)
    assert [given.class_indices(c).tolist() for c in range(4)] == [[1], [3], [0, 2], []]
