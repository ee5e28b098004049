"""DD-Ranking's scores: the formulas, and what of a leaderboard goes into them."""

import json

import pytest
from ddbench.reporting.leaderboard import Score, load
from ddbench.reporting.leaderboard.curves import AnytimePoint
from ddbench.reporting.leaderboard.equal_cost import levels, reaching, within
from ddbench.reporting.leaderboard.fair_scores import (
    augmentation_robust_score,
    fair_scores,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from ddbench.reporting.markdown import make_report
from ddbench.reporting.markdown.document import Document


@pytest.mark.parametrize(
    ("hlr", "ior", "score"),
    [(0.0, 0.0, 0.268941), (0.30, 0.10, 0.228454), (0.20, 0.40, 0.313687),
     (-1.0, 1.0, 1.0), (1.0, -1.0, 0.0)],
)  # fmt: skip
def test_the_published_test_vectors(hlr, ior, score):
    assert label_robust_score(hlr, ior) == pytest.approx(score, abs=5e-7)
    assert augmentation_robust_score(ior, -hlr) == pytest.approx(score, abs=5e-7)


def test_the_weights_are_of_ior_and_of_augmentation():
    assert label_robust_score(0.3, 0.5, weight=1.0) == label_robust_score(-0.5, 0.5)
    assert augmentation_robust_score(0.3, 0.9, weight=1.0) == augmentation_robust_score(0.3, 0.3)


def test_smaller_recovery_and_larger_improvement_are_better():
    assert hard_label_recovery(0.99, 0.91) == pytest.approx(0.08)
    assert improvement_over_random(0.91, 0.65) == pytest.approx(0.26)
    assert label_robust_score(0.1, 0.2) > label_robust_score(0.2, 0.2)


RECIPE = {"epochs": 301, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4,
          "batch": 256, "drop": None, "learning_rates": [0.001, 0.01]}  # fmt: skip
PLAIN = {"protocol": "fair-plain", "recipe": RECIPE | {"augment": "none"}}
AUGMENTED = {"protocol": "fair", "recipe": RECIPE | {"augment": "crop_rotate"}}


def scores_of(made, label, protocol="fair-plain"):
    boards = load(made.folder).boards
    board = next(one for one in boards if one.protocol == protocol)
    place = next(one for one in board.places if one.entry.label == label)
    return fair_scores(board, boards)[place.entry.key]


def test_scores_come_from_the_whole_set_random_images_and_both_augmentations(made):
    dm, random = made.condensation("dm"), made.condensation("random")
    for id, plain, augmented in ((dm, 0.80, 0.86), (random, 0.60, 0.70)):
        made.evaluation(id, [plain], **PLAIN)
        made.evaluation(id, [augmented], **AUGMENTED)
    made.evaluation(None, [0.95], protocol="whole")
    for protocol, hard, gain in (("fair-plain", 0.80, 0.20), ("fair", 0.86, 0.16)):
        found = scores_of(made, "dm", protocol)
        assert (found.hard, found.plain, found.augmented) == (hard, 0.80, 0.86)
        assert found.hlr == pytest.approx(0.95 - hard) and found.ior == pytest.approx(gain)
        assert found.lrs == pytest.approx(label_robust_score(0.95 - hard, gain))
        assert found.ars == pytest.approx(augmentation_robust_score(0.16, 0.20))
        assert found.missing == () and found.own is None


def test_a_set_with_a_recipe_is_held_against_random_images_by_that_recipe(made):
    made.evaluation(made.condensation("random"), [0.5], **PLAIN)
    datm = made.condensation("datm", labels="soft")
    start = made.condensation("datm", steps=0, control_of="datm", labels="soft")
    for id, hard, own in ((datm, 0.7, 0.9), (start, 0.6, 0.8)):
        made.evaluation(id, [hard], **PLAIN)
        made.evaluation(id, [own], **PLAIN, own_recipe=True, labels="soft")
    found = scores_of(made, "datm")
    assert (found.hard, found.own, found.random) == (0.7, 0.9, 0.5)
    assert found.random_by_recipe == 0.8 and found.ior == pytest.approx(0.1)


def test_a_start_of_chosen_images_is_not_random(made):
    datm = made.condensation("datm", init="spc")
    start = made.condensation("datm", init="spc", steps=0, control_of="datm")
    for id in (datm, start):
        made.evaluation(id, [0.7], **PLAIN)
        made.evaluation(id, [0.8], **PLAIN, own_recipe=True)
    found = scores_of(made, "datm")
    assert found.ior is None and found.lrs is None
    assert "IOR: random real images trained by the set's own recipe" in found.missing


def test_what_is_missing_is_said(made):
    made.evaluation(made.condensation("dm"), [0.8], **PLAIN)
    found = scores_of(made, "dm")
    assert (found.hlr, found.ior, found.lrs, found.ars) == (None, None, None, None)
    assert [line.partition(":")[0] for line in found.missing] == ["HLR", "IOR", "ARS"]


def test_protocols_that_differ_in_more_than_augmentation_give_no_ars(made):
    dm, random = made.condensation("dm"), made.condensation("random")
    for id in (dm, random):
        made.evaluation(id, [0.8], **PLAIN)
        longer = AUGMENTED["recipe"] | {"epochs": 1001}
        made.evaluation(id, [0.9], protocol="fair", recipe=longer)
    assert scores_of(made, "dm").ars is None


# -- at equal cost, and in a report ------------------------------------------------------------


def point(step, seconds, accuracy, flops=0.0):
    return AnytimePoint(step, seconds, flops, Score(mean=accuracy, networks=1))


ON_THE_WAY = [point(0, 1.0, 0.5, 10), point(10, 3.0, 0.7, 30), point(20, 5.0, 0.65, 50)]


@pytest.mark.parametrize(
    ("limit", "cost", "step"),
    [(0.9, "seconds", None), (1.0, "seconds", 0), (4.9, "seconds", 10), (99.0, "seconds", 20),
     (29, "flops", 0)],
)  # fmt: skip
def test_a_row_has_the_last_set_within_a_cost(limit, cost, step):
    found = within(ON_THE_WAY, limit, cost)
    assert (found and found.step) == step


def test_an_unknown_cost_is_none_that_can_be_kept_within():
    assert within([point(0, float("nan"), 0.5)], 100.0, "seconds") is None
    assert within(ON_THE_WAY, float("nan"), "seconds") is None


def test_the_first_set_that_reaches_an_accuracy():
    assert reaching(ON_THE_WAY[::-1], 0.6).step == 10
    assert reaching(ON_THE_WAY, 0.5).step == 0 and reaching(ON_THE_WAY, 0.71) is None


def test_accuracies_asked_after_lie_between_random_images_and_the_best():
    assert levels([ON_THE_WAY], 0.5) == pytest.approx([0.6, 0.65, 0.68, 0.7])
    assert levels([ON_THE_WAY], 0.7) == [] == levels([], 0.5)


def text_of(made):
    return (
        make_report(load(made.folder), Document("run", "pictures"))
        .text()
        .replace("\N{NO-BREAK SPACE}", " ")
    )


def test_the_report_holds_rows_against_selections_that_cost_no_more(made):
    made.row("dm", [[0.8, 0.82]])
    made.row("random", [[0.6, 0.62]], costs={"condense_s": 0.0})
    made.row("herding", [[0.7, 0.72]], costs={"condense_s": 1000.0})
    text = text_of(made)
    assert "<summary>At equal cost</summary>" in text
    assert "| dm | real | 81.0 | 11.0 | 61.0 | – | – |" in text  # herding's second is 1,001


def test_the_report_says_how_long_rows_took(made):
    id = made.condensation("dm", snapshots=[10])
    made.evaluation(id, [0.75], snapshot=10)
    made.evaluation(id, [0.8])
    made.curve(id, {"step": range(1, 101), "seconds": [0.1 * k for k in range(1, 101)]})
    made.row("random", [[0.6]])
    assert "| method | init | ≥ 70.0% |" in text_of(made)
    assert "| dm | real | 1.50 s (step 10) | 1.50 s (step 10) | 11.0 s (step 100) | " in text_of(
        made
    )


def test_the_report_folds_fair_scores_away(made):
    made.row("dm", [[0.8, 0.82]])
    made.row("random", [[0.6, 0.62]])
    assert "Fair scores" not in text_of(made)
    made.evaluation(None, [0.95])
    text = text_of(made)
    assert "<summary>Fair scores: HLR, IOR, LRS, ARS</summary>" in text
    assert f"| 14.0 | 20.0 | {label_robust_score(0.14, 0.20):.3f} | – |" in text


def test_json_has_them_in_every_row(made):
    made.row("dm", [[0.8]])
    made.evaluation(None, [0.95])
    [row] = load(made.folder).rows
    assert row["fair"]["hlr"] == pytest.approx(0.15) and row["fair"]["ior"] is None
    json.dumps(row)
