"""The Python API: what a notebook calls, and the tables it gets."""

import importlib
from dataclasses import replace
from pathlib import Path

import ddbench
import pandas as pd
import pytest
import torch
from ddbench.contract.synthetic_set import SetError
from ddbench.datasets import load, space_of
from ddbench.datasets.tensors import prepare
from ddbench.planning.registry import Protocol, RegistryError
from ddbench.store.run_folder import RunError, open_run, read_run
from ddbench.training import Recipe
from ddbench.training.evaluation import RealImages
from ddbench.training.evaluation import evaluate as train_and_test

REGISTRY = """
[protocols.short]
epochs = 4
networks = 2

[presets.tiny]
datasets = ["toy"]
architectures = ["convnet-w8-d1"]
evaluate_on = ["convnet-w8-d1"]
ipc = [1]
protocol = "short"
"""

EXAMPLE = Path(__file__).parents[1] / "docs/examples/ddbench-mean-image/ddbench_mean_image.py"


class Still:
    """Leaves the initial images as they are."""

    @ddbench.hookimpl
    def describe(self):
        return ddbench.MethodInfo(inits=("real", "noise"), steps=lambda config, ipc: 2)

    @ddbench.hookimpl
    def init(self, synthetic):
        return [synthetic]

    @ddbench.hookimpl
    def condense_step(self, state):
        return {"loss": 1.0}

    @ddbench.hookimpl
    def export(self, state):
        return state[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run a method of this file and one of the example's, once."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "registry.toml").write_text(REGISTRY)
    example = importlib.util.spec_from_file_location("example", EXAMPLE)
    module = importlib.util.module_from_spec(example)
    example.loader.exec_module(module)
    return ddbench.run(
        {"still": Still(), "mean": module},
        out=folder / "run",
        preset="tiny",
        seed=[0, 1],
        steps=3,
        options={"mean": {"batch_real": 4}},
        device="cpu",
        registry=folder / "registry.toml",
        cache=folder / "cache",
    )


def test_a_run_gives_tidy_frames(done):
    assert isinstance(done, ddbench.Run)
    assert set(done.leaderboard["row"]) == {"still", "mean"}
    assert len(done.condensations) == 4 and set(done.condensations["status"]) == {"done"}
    assert len(done.evaluations) == 4 and len(done.networks) == 8
    assert done.leaderboard["accuracy"].between(0, 1).all() and len(done.troubles) == 0


def test_class_names_and_counts_reach_the_records_and_the_manifest(done):
    facts = {
        "class_names": ["blob 0", "blob 1", "blob 2", "blob 3"],
        "train_counts": [20] * 4,
        "test_counts": [10] * 4,
        "data_notes": "",
    }
    records = read_run(open_run(done.folder))
    [manifest] = records.manifests
    assert facts.items() <= manifest.plan.datasets["toy"].items()
    assert all(facts.items() <= record.record().items() for record in records.evaluations.values())


def test_a_run_is_loaded_from_its_folder_alone(done):
    again = ddbench.load_run(str(done.folder))
    pd.testing.assert_frame_equal(again.networks, done.networks)


def test_sets_are_found_by_the_beginning_of_their_id(done):
    synthetic = done.synthetic("still-toy-convnet-w8-d1-real-ipc1-s1")
    assert synthetic.images.shape == (4, 1, 8, 8)
    assert synthetic.show().width > 0 and "<img" in synthetic._repr_html_()
    with pytest.raises(LookupError, match="2 condensations begin with 'still'"):
        done.synthetic("still")
    with pytest.raises(LookupError, match="there are: "):
        done.synthetic("nobody")


def test_a_run_shows_itself(done):
    assert "still" in repr(done) and "<table" in done._repr_html_()


def test_evaluating_a_set_by_hand_gives_the_accuracies_of_the_run(done):
    ids = done.condensations.set_index("row")["id"]["still"]
    synthetic = done.synthetic(ids.iloc[0])
    protocol = Protocol(epochs=4, networks=2)
    frame = ddbench.evaluate(synthetic, "toy", "convnet-w8-d1", protocol, device="cpu")
    of_run = done.networks[done.networks["condensation"] == ids.iloc[0]]
    assert frame["accuracy"].tolist() == of_run["accuracy"].tolist()


def test_evaluate_is_the_core_function_on_the_datasets_test_images():
    toy = prepare(load("toy"), torch.device("cpu"))
    synthetic = ddbench.SyntheticSet(toy.train_images, toy.train_labels)
    protocol = Protocol(epochs=3, networks=2, batch=16)
    frame = ddbench.evaluate(
        synthetic, "toy", ["mlp-w0.25", "convnet-w8-d1"], protocol, device="cpu"
    )
    assert frame["architecture"].tolist() == ["mlp-w0.25"] * 2 + ["convnet-w8-d1"] * 2
    scores = train_and_test(
        synthetic, RealImages(toy.test_images, toy.test_labels, 4), architecture="mlp-w0.25",
        recipe=Recipe(epochs=3, batch=16, momentum=0.0, weight_decay=0.0), networks=2,
    )  # fmt: skip
    assert frame["accuracy"].tolist()[:2] == scores.accuracies


def test_evaluate_reads_a_file_and_suggests_a_protocol(tmp_path):
    toy = prepare(load("toy"), torch.device("cpu"))
    path = tmp_path / "set.safetensors"
    ddbench.SyntheticSet(toy.train_images[:4], toy.train_labels[:4]).save(path)
    frame = ddbench.evaluate(path, "toy", "mlp-w0.25", "smoke", networks=1, device="cpu")
    assert len(frame) == 1
    with pytest.raises(RegistryError, match="unknown 'smoky'; did you mean 'smoke'"):
        ddbench.evaluate(path, "toy", "mlp-w0.25", "smoky")


def toy_set(**changes):
    toy = prepare(load("toy"), torch.device("cpu"))
    made = ddbench.SyntheticSet(toy.train_images[:4], toy.train_labels[::20])
    return replace(made, **changes)


def evaluated(synthetic, dataset="toy", **arguments):
    arguments = {"networks": 1, "device": "cpu"} | arguments
    return ddbench.evaluate(synthetic, dataset, "convnet-w8-d1", "smoke", **arguments)


def test_a_set_is_not_evaluated_in_another_space(tmp_path):
    plain, white = (load("toy", options={"zca": zca}) for zca in (False, True))
    about = {"dataset": "toy?zca=true", **space_of(white)}
    with pytest.raises(SetError, match=r"made of 'toy\?zca=true', whitened .*\?zca=true"):
        evaluated(toy_set(provenance=about))
    assert len(evaluated(toy_set(provenance=about), "toy?zca=true", cache=tmp_path)) == 1
    with pytest.raises(SetError, match="whitened by a matrix"):
        evaluated(toy_set(provenance=about), "toy?zca=true&seed=1", cache=tmp_path)
    about = {"dataset": "toy", **space_of(plain)}
    with pytest.raises(SetError, match="normalised, not whitened, and these .*zca=false"):
        evaluated(toy_set(provenance=about), "toy?zca=true", cache=tmp_path)
    assert len(evaluated(toy_set(provenance=about))) == 1
    for wrong in (plain.std, ["a"], "mean", [0.5]):
        with pytest.raises(SetError, match="normalised with mean .* and these data with"):
            evaluated(toy_set(provenance=about | {"mean": wrong}))


def test_a_set_made_of_other_data_in_the_same_space_is_evaluated_with_a_warning():
    about = {"dataset": "twin", **space_of(load("toy")), "dataset_fingerprint": "0123456789"}
    with pytest.warns(UserWarning, match=r"made of 'twin' \(fingerprint 01234567\), not of toy"):
        assert len(evaluated(toy_set(provenance=about))) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(4, 3, 8, 8)}, r"images have shape \(4, 3, 8, 8\); expected"),
        ({"images": torch.zeros(4, 1, 9, 9)}, r"images have shape \(4, 1, 9, 9\); expected"),
        ({"images": torch.zeros(4, 8, 8)}, r"images have shape \(4, 8, 8\); expected"),
        ({"images": torch.zeros(0, 1, 8, 8), "labels": torch.arange(0)}, "the set is empty"),
        ({"images": torch.zeros(4, 1, 8, 8).double()}, "images are torch.float64"),
        ({"images": torch.full((4, 1, 8, 8), float("nan"))}, "images hold NaN"),
        ({"labels": torch.arange(4) + 1}, r"labels run from 1 to 4; expected 0\.\.3"),
        ({"labels": torch.zeros(4, 5)}, "soft labels have 5 columns; expected 4"),
        ({"labels": torch.zeros(4)}, "labels are torch.float32"),
        ({"labels": torch.arange(3)}, "3 labels for 4 images"),
        ({"labels": [0, 1, 2, 3]}, "labels are list"),
        ({"recipe": {"learning_rate": 1.0}}, "unknown key 'learning_rate'"),
        ({"recipe": {"lr": "1"}}, "lr is '1'; expected"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_in_words(changes, message):
    with pytest.raises(SetError, match=message):
        evaluated(toy_set(**changes), own_recipe=True)


def test_a_set_may_ask_for_its_hard_labels_in_its_own_recipe():
    logits = torch.nn.functional.one_hot(torch.arange(4)).float()
    soft, hard = (toy_set(labels=logits, recipe={"labels": of}) for of in ("soft", "hard"))
    plain = toy_set(labels=torch.arange(4))
    toy = prepare(load("toy"), torch.device("cpu"))
    found = [
        train_and_test(
            one, RealImages(toy.test_images, toy.test_labels, 4), architecture="mlp-w0.25",
            recipe=Recipe(epochs=3), networks=1, own=True,
        )
        for one in (soft, hard, plain)
    ]  # fmt: skip
    assert [scores.labels for scores in found] == ["soft", "hard", "hard"]
    assert found[1].accuracies == found[2].accuracies


def test_evaluate_refuses_what_is_no_number_of_networks_and_no_protocol():
    with pytest.raises(ValueError, match="networks is 0; expected 1 or more"):
        evaluated(toy_set(), networks=0)
    with pytest.raises(RegistryError, match="protocol is dict; give a name"):
        ddbench.evaluate(toy_set(), "toy", "mlp-w0.25", {"epochs": 3}, device="cpu")


def test_the_public_function_survives_the_import_of_the_module_of_its_name():
    importlib.import_module("ddbench.training.evaluation")
    assert (
        callable(ddbench.evaluate)
        and ddbench.evaluate is importlib.import_module("ddbench.api").evaluate
    )


def test_an_edited_method_of_a_notebook_has_another_identity():
    from ddbench.api import _fingerprint

    class Other(Still):
        pace = 2

    assert _fingerprint(Still()) == _fingerprint(Still()) != _fingerprint(Other())


def test_mistakes_are_said_at_once(tmp_path):
    with pytest.raises(RegistryError, match="--method: method 'rando' is not installed"):
        ddbench.run("rando", out=tmp_path, cache=tmp_path)
    with pytest.raises(RunError):
        ddbench.load_run(tmp_path / "nothing")


def test_public_names_are_documented():
    for name in ddbench.__all__:
        if name not in ("NUMERICS", "__version__", "hookimpl"):
            assert getattr(ddbench, name).__doc__, name
