"""The answer to "which method, at what cost, for my data", and what the report says beside it."""

import json

import pytest
from ddbench.reporting import markdown as report
from ddbench.reporting.leaderboard import answer, load, table_format
from ddbench.reporting.markdown.document import Document

SPLIT = {"tested_on": "validation", "validation": "20% of the training images, held out",
         "n_test": 800}  # fmt: skip
CLASSES = {
    "class_names": ["oak", "elm"], "train_counts": [90, 10], "class_counts_test": [70, 30],
    "majority": 0.7,
}  # fmt: skip


def rows(made, by_row, on=SPLIT, **fields):
    """Write rows, each a list of seeds, each a list of networks; on held-out images by default."""
    for row, by_seed in by_row.items():
        for seed, accuracies in enumerate(by_seed):
            made.evaluation(made.condensation(row, seed, **fields), accuracies, **on)


def said(made):
    return answer(load(made.folder).boards[:1])


def text_of(made):
    return report.make_report(load(made.folder), Document("run", "pictures")).text()


def test_where_the_best_is_decided_the_answer_is_one_sentence(made):
    rows(made, {"dm": [[0.80, 0.82], [0.80, 0.82], [0.81, 0.81]],
                "gm": [[0.70, 0.72], [0.71, 0.71], [0.70, 0.72]]})  # fmt: skip
    assert said(made) == (
        "Take dm: for 11.0 s of condensing, networks trained on its 10 images reach 81.0% of 800 "
        "validation images, 10.0 points more than the next method, gm (95% interval +9.9 to +10.1)."
    )


def test_where_it_is_not_the_answer_says_how_many_seeds_and_minutes_would_settle_it(made):
    rows(made, {"dm": [[0.80], [0.84], [0.82]], "gm": [[0.80], [0.81], [0.79]]})
    text = said(made)
    assert "dm (82.0% for 11.0 s) and gm (80.0% for 11.0 s) cannot be told apart on 800" in text
    # Half the interval is 5.55 points at 3 seeds, t(2) = 4.303; the difference is 2. At 8 seeds,
    # t(7) = 2.365, it is 5.55 * 2.365 / 4.303 * sqrt(3 / 8) = 1.87. A set takes 11 s, networks 3.2.
    assert "About 5 more seeds, 2 min 22 s of computing, would settle it" in text
    assert "the same command with --method dm --method gm --seed 0 --seed 1 ... --seed 7." in text


def test_random_images_that_cannot_be_told_from_the_best_are_the_cheapest(made):
    rows(made, {"dm": [[0.80], [0.84], [0.82]]})
    rows(made, {"random": [[0.80], [0.81], [0.79]]}, costs={"condense_s": 0.0})
    assert "until they can, take the cheapest of them, random real images." in said(made)


def test_rows_that_nothing_would_tell_apart_are_said_to_be_so(made):
    rows(made, {"dm": [[0.80], [0.84], [0.82]], "gm": [[0.84], [0.80], [0.82]]})
    assert "From gm, 100 seeds would not tell the best." in said(made)


def test_where_random_images_are_the_best_no_method_is_recommended(made):
    rows(made, {"random": [[0.9], [0.9], [0.9]], "dm": [[0.1], [0.1], [0.1]]})
    assert said(made).startswith("Take random real images: no method gives more than their 90.0%")


def test_rows_below_the_largest_class_are_called_so(made):
    rows(made, {"dm": [[0.6], [0.6], [0.6]]}, on=SPLIT | {"majority": 0.7})
    assert "No row reaches the 70.0% of always naming the largest class" in said(made)
    assert "the balanced accuracy, 60.0% of the first." in said(made)


def test_the_settings_of_a_method_are_no_rivals_of_each_other(made):
    for rate, accuracy in ((1.0, 0.80), (10.0, 0.81)):
        for seed in range(3):
            id = made.condensation("dm", seed, config={"lr_images": rate})
            made.evaluation(id, [accuracy], **SPLIT)
    assert said(made).endswith("no other method stands beside it.")
    assert "Take dm [lr_images=10.0]" in said(made)


def test_seeds_go_on_with_the_budget_that_each_condensation_had(made):
    rows(made, {"dm": [[0.80], [0.84], [0.82]], "gm": [[0.80], [0.81], [0.79]]}, budget_s=12.0)
    assert "--budget 12s." in said(made)


def test_the_steps_of_a_budget_are_told_from_few_to_many(made):
    for seed, steps in enumerate((10, 8)):
        id = made.condensation("gm", seed, budget_s=15.0, costs={"steps_done": steps})
        made.evaluation(id, [0.5])
    [row] = load(made.folder).boards[0].places
    assert "steps taken in 15 s: gm 8 to 10" in table_format.noted([row])


def test_a_report_says_that_the_test_set_waits_until_it_was_tested(made):
    rows(made, {"dm": [[0.8, 0.81]], "random": [[0.5, 0.51]]})
    text = text_of(made)
    assert (
        "of 800 validation images" in text
        and "test images" not in text.split("How it was measured")[0]
    )
    assert "no network was tested on the test set: --test does that" in text
    id = next(iter(load(made.folder).records.condensations))
    made.evaluation(id, [0.7, 0.72], validation=SPLIT["validation"])
    text = text_of(made)
    assert "each method's best row was tested on the test set since" in text
    found = load(made.folder)
    assert [len(board.places) for board in found.boards] == [2, 1]  # what was not chosen waits


def test_a_validation_does_not_excuse_itself_for_quick_settings(made):
    rows(made, {"dm": [[0.8, 0.81]]}, quick=True, reduced={"steps": [5, 100]})
    assert "uick settings: steps" not in text_of(made)


# -- classes -----------------------------------------------------------------------------------


def test_unequal_classes_are_named_counted_and_weighed(made):
    id = made.condensation("dm")
    made.images(id, (2, 1, 8, 8))
    made.evaluation(id, [0.8], balanced_accuracies=[0.6], **CLASSES)
    text = text_of(made)
    assert "| oak | 90 | 70 |" in text and "| elm | 10 | 30 |" in text
    assert "(balanced accuracy) is 60.0%; always naming the largest class gives 70.0%" in text
    assert "From left to right: oak, elm." in text


def test_what_is_left_out_of_the_data_is_said(made):
    rows(made, {"dm": [[0.8]]})
    assert "left out" not in text_of(made)
    [path] = (made.folder.root / "evaluations").glob("*.json")
    notes = "3 files or folders left out: a|b.txt"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_notes": notes}))
    assert "; 3 files or folders left out: a\\|b.txt.\n\n" in text_of(made)


def test_equal_classes_are_folded_away(made):
    rows(made, {"dm": [[0.8]]}, on=CLASSES | {"class_counts_test": [50, 50]})
    text = text_of(made)
    assert "<summary>The 2 classes: names and images</summary>" in text
    assert "balanced accuracy) is" not in text


def test_records_without_class_names_have_no_such_table(made):
    rows(made, {"dm": [[0.8]]}, on={})
    assert "classes: names and images" not in text_of(made)


# -- what is not claimed -----------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "shown"), [(301, True), (8, False)])
def test_time_saved_is_shown_where_the_whole_set_is_trained_alike_alone(made, epochs, shown):
    rows(made, {"dm": [[0.8]]}, on={})
    recipe = {"epochs": epochs, "optimizer": "sgd", "lr": 0.01, "momentum": 0.9,
              "weight_decay": 5e-4, "batch": 256, "drop": None, "augment": "none"}  # fmt: skip
    made.evaluation(None, [0.97], protocol="whole-quick", recipe=recipe, train_s=[1.0])
    text = text_of(made)
    assert ("time saved" in text) is shown and ("pays off after" in text) is shown
    assert ("trained on by another recipe (`whole-quick`: 8 epochs)" in text) is not shown
    assert ("takes 1.00 s (8 epochs), on the set 3.00 s (301 epochs)" in text) is not shown


@pytest.mark.parametrize(
    ("random", "words"),
    [
        ([0.60, 0.61], "The best selection of real images is `herding`"),
        ([0.75, 0.76], "No selection of real images beats random ones."),
        ([0.60, 0.80], "No selection of real images can be told from random ones."),
    ],
)
def test_a_selection_is_praised_where_it_beats_random_images_alone(made, random, words):
    rows(made, {"dm": [[0.90, 0.91]]}, on={})
    rows(made, {"herding": [[0.72, 0.73]]}, on={}, costs={"steps_done": 0})
    rows(made, {"random": [random]}, on={}, costs={"steps_done": 0})
    assert words in text_of(made)
