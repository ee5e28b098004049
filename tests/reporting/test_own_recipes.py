"""What sets give by their own recipes: beside controls of the same labels, never ranked."""

import pytest
from ddbench.reporting.leaderboard import columns, load
from ddbench.reporting.leaderboard.own_recipes import images_or_labels, over_controls


def soft_row(made, row, accuracies, own, regime="SL+KD", **fields):
    costs = {"bytes_ratio": 2.5, **fields.pop("costs", {})}
    id = made.condensation(row, labels="soft", costs=costs, **fields)
    made.evaluation(id, accuracies)
    made.evaluation(
        id, own, own_recipe=True, labels="soft", regime=regime, steps_trained=3000,
        images_seen=30_000, flops_targets=7,
    )  # fmt: skip


def with_controls(made, images=(0.70, 0.72, 0.71), real=(0.69, 0.72, 0.70)):
    soft_row(made, "sre2l", [0.5, 0.51, 0.52], list(images), config={"images": "recovered"})
    control = {"method": "sre2l", "control_of": "sre2l"}
    soft_row(made, "sre2l", [0.4, 0.41, 0.4], list(real), config={"images": "real"}, **control)
    soft_row(made, "sre2l", [0.1, 0.1, 0.1], [0.3, 0.31, 0.3], config={"images": "noise"},
             **control)  # fmt: skip
    made.row("random", [[0.45, 0.46, 0.44]])
    return load(made.folder).boards[0]


def test_images_are_held_against_each_control_of_the_same_labels(made):
    board = with_controls(made)
    place = next(p for p in board.places if not p.entry.is_control and p.entry.method == "sre2l")
    gains = {g.control.entry.config["images"]: g.found for g in over_controls(board, place)}
    assert gains["real"].mean == pytest.approx((0.01 + 0 + 0.01) / 3)
    assert gains["noise"].mean == pytest.approx(0.71 - 0.91 / 3)
    assert gains["noise"].decided and not gains["real"].decided
    text = images_or_labels(board)
    assert text.startswith("sre2l") and "71.0 ± 1.0% by its own soft labels and recipe" in text
    assert (
        "+0.7 points over sre2l [images=real] (95% interval −0.8 to +2.1: no more than noise)"
        in text
    )
    assert "+40.7 points over sre2l [images=noise] (95% interval +" in text


def test_controls_of_another_regime_are_not_held_against(made):
    soft_row(made, "datm", [0.5, 0.5], [0.6, 0.62], regime="SL")
    soft_row(made, "datm", [0.4, 0.4], [0.5, 0.52], regime="HL", init="noise",
             method="datm", control_of="datm")  # fmt: skip
    board = load(made.folder).boards[0]
    assert over_controls(board, board.places[0]) == [] and images_or_labels(board) == ""


def test_the_first_screen_says_what_images_add_and_a_folded_table_what_it_takes(made):
    with_controls(made)
    text = made.report().read_text()
    assert "- **Images or labels**: `sre2l" in text
    table = text.partition("<summary>Trained by the sets&#x27; own recipes</summary>")[2]
    assert table, "no such section"
    table = table.partition("</details>")[0]
    row = next(line for line in table.splitlines() if line.startswith("| sre2l"))
    assert "SL+KD" in row and "2.50" in row and "3,000" in row and "30,000" in row
    assert "random (" not in table


def test_plain_values_have_the_regime_and_the_bytes(made):
    board = with_controls(made)
    values = columns.plain([board], board.places[0])
    assert values["own_recipe_regime"] == "SL+KD" and values["bytes_ratio"] == 2.5
    assert values["own_recipe_images_seen"] == 30_000
    assert board.places[0].rank is not None, "the common protocol ranks"


def test_repeated_images_are_noted_in_the_row(made):
    made.row("dm", [[0.5, 0.6]], init="fill", repeated_images=18)
    (place,) = load(made.folder).boards[0].places
    assert "18 of its first images are repetitions" in place.entry.notes[0]
