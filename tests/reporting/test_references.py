"""The published figures that come with ddbench, and the command that lists them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from ddbench.cli import main
from ddbench.planning.registry import read as read_registry
from ddbench.reporting.references import ReferencesError, chosen, data_of, read, references

ALL = references()


def figures(**wanted):
    return {one.printed for one in chosen(ALL, **{k: [v] for k, v in wanted.items()})}


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("91.7 ± 0.5", {"method": "gm", "datasets": "mnist", "ipc": 1, "source": "kip"}),
        ("63.0 ± 0.4", {"method": "dm", "datasets": "cifar10", "ipc": 50, "source": "pad"}),
        ("85.5 ± 0.4", {"method": "datm", "datasets": "cifar10", "ipc": 1000}),
        ("45.1", {"method": "idc", "datasets": "cifar100", "ipc": 10}),
        ("50.99", {"method": "gm", "datasets": "cifar10", "source": "dcbench"}),
        ("96.03", {"method": "gm", "datasets": "mnist", "source": "study-notebooks"}),
        ("56.2 ± 0.3", {"method": "whole", "datasets": "cifar100"}),
    ],
)
def test_figures_are_there_as_printed(printed, wanted):
    assert printed in figures(**wanted)


def test_accuracies_are_shares_and_correlations_are_not():
    [one] = [r for r in ALL if r.source == "m-datm" and r.dataset == "cifar100-zca"]
    assert (one.value, one.spread, one.printed) == (0.4061, None, "40.61")
    assert all(0 < r.value < 1 for r in ALL if r.quantity == "accuracy")
    assert min(r.value for r in ALL if r.quantity == "rank correlation") == -0.5


def test_what_was_recalled_says_so():
    recalled = {r.method for r in ALL if r.trust == "recalled" and r.dataset == "mnist"}
    assert recalled == {"gm", "dm", "random", "herding", "whole", "frepo"}
    own = [r for r in ALL if r.trust == "own"]
    assert not [r for r in own if r.source == "dc-papers"]


def test_the_best_on_the_test_set_is_never_called_the_last_epoch():
    maxima = [r for r in ALL if r.method in ("mtt", "datm") and r.protocol in ("mtt", "datm")]
    assert maxima and {r.how.reports for r in maxima} == {
        "the best of several evaluations on the test set"
    }


def test_no_figure_stands_there_twice():
    keys = [
        (r.method, r.dataset, r.ipc, r.architecture, r.condensed_on, r.protocol, r.source,
         r.init, str(r.options), r.quantity, r.printed)
        for r in ALL
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["dc300", "dc1000-mnist", "dsa1000", "seed", "fedd3-server"])
def test_protocols_of_one_name_are_the_registrys(name):
    ours = read_registry().protocols[name]
    theirs = next(r.how for r in ALL if r.protocol == name)
    drop = ours.drop.model_dump() if ours.drop else None
    recipe = theirs.recipe.model_dump()
    augment = recipe.pop("augment")
    assert recipe == {"epochs": ours.epochs, "optimizer": ours.optimizer.name,
                      "lr": ours.optimizer.lr, "momentum": ours.optimizer.momentum,
                      "weight_decay": ours.optimizer.weight_decay, "batch": ours.batch,
                      "drop": drop}  # fmt: skip
    assert ours.augment in augment or ours.augment == "dsa"


def test_the_page_has_no_figures_of_its_own():
    page = (Path(__file__).parents[2] / "docs" / "published.md").read_text()
    assert not re.search(r"\d\d\.\d", page) and "± 0" not in page


TABLE = """
[sources.s]
title = "a paper"
trust = "quoted"
[protocols.p]
summary = "some"
[[tables]]
method = "gm"
dataset = "mnist"
protocol = "p"
source = "s"
by_ipc = { 1 = "90.0 ± 1.0" }
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"90.0 ± 1.0"', '"90,0"'), "'90,0' is no figure; expected one such as"),
        (('source = "s"', 'source = "t"'), "tables.0.source: unknown 't'; available: s"),
        (('protocol = "p"', 'protocol = "q"'), "tables.0.protocol: unknown 'q'; available: p"),
        (("by_ipc", "values"), "tables.0.values: Extra inputs are not permitted"),
        (('trust = "quoted"', 'trust = "sure"'), "sources.s.trust: Input should be 'own'"),
        (("by_ipc = { 1", "by_ipc = { 0"), "greater than or equal to 1"),
        (("by_ipc", 'figure = "1.0"\nby_ipc'), "one of by_ipc, by_architecture and figure"),
        (("by_ipc", "ipc = 1\nby_ipc"), "ipc stands beside by_architecture"),
        (("[[tables]]", "[[tables"), "place.toml: "),
    ],
)
def test_mistakes_in_the_file_are_named_with_their_place(change, said):
    assert len(read(TABLE)) == 1
    with pytest.raises(ReferencesError) as caught:
        read(TABLE.replace(*change), "place.toml")
    assert said in str(caught.value) and "place.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data"),
    [("cifar10-zca", "cifar10"), ("cifar100-mtt", "cifar100"), ("mnist?size=32", "mnist"),
     ("mnist-mini", "mnist-mini")],
)  # fmt: skip
def test_the_data_behind_a_name(name, data):
    assert data_of(name) == data


# -- the command -------------------------------------------------------------------------------


def listed(*options):
    return CliRunner().invoke(main, ["references", *options])


def test_the_command_lists_and_filters():
    out = listed("--method", "gm", "--dataset", "mnist", "--ipc", "1", "--source", "kip").output
    assert "91.7 ± 0.5" in out and "dc1000-mnist" in out and "quoted" in out
    assert "97.4" not in out and "88.7" not in out


def test_json_holds_all_fields():
    [one] = json.loads(listed("--method", "gm", "--dataset", "mnist", "--ipc", "1",
                              "--source", "kip", "--json").output)  # fmt: skip
    assert (one["value"], one["spread"], one["trust"]) == (0.917, 0.005, "quoted")
    assert one["how"]["sets"] == 5 and one["how"]["reports"] == "the last epoch"


def test_a_dataset_stands_for_its_whitened_form():
    assert "66.8 ± 0.2" in listed("--method", "datm", "--dataset", "cifar10").output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "datmm"), "--method: unknown 'datmm'; did you mean 'datm'?"),
        (("--source", "KIPP"), "--source: unknown 'KIPP'; did you mean 'kip'?"),
        (("--dataset", "imagenet"), "--dataset: unknown 'imagenet'"),
    ],
)
def test_an_unknown_filter_is_refused(options, said):
    done = listed(*options)
    assert done.exit_code == 2 and said in done.output


def test_filters_that_leave_nothing_say_so():
    assert "nothing to show" in listed("--method", "delt", "--ipc", "500").output
