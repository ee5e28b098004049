import math
import statistics

import pytest
from ddbench.reporting.leaderboard import Score, difference, load


def score(*sets):
    return Score(sets=sets, networks=len(sets[0]), seeds=len(sets))


MANY = 10**9  # test images, so many that rounding does not count


def test_networks_are_paired():
    # Differences 10, 8 and 9 points: deviation 1 point, standard error 1/√3, t(2) = 4.303.
    found = difference(score((0.80, 0.82, 0.84)), score((0.70, 0.74, 0.75)), MANY)
    assert found.mean == pytest.approx(0.09)
    assert found.half == pytest.approx(4.30265 * 0.01 / math.sqrt(3))
    assert (found.networks, found.decided) == (3, True)


def test_what_networks_have_in_common_cancels():
    found = difference(score((0.9, 0.5)), score((0.8, 0.4)), MANY)
    assert found.half == pytest.approx(0, abs=1e-7) and found.decided


@pytest.mark.parametrize(
    ("n_test", "half", "decided"),
    [
        # Each accuracy is rounded by a variance of 1 / 12 n²: that of the differences is 1 / 6 n²,
        # of their mean 1 / 12 n²; t(1) = 12.706, so 3.668 / n.
        (1000, 0.003668, True),
        (100, 0.03668, False),  # both a single image apart
    ],
)
def test_differences_that_agree_are_known_no_better_than_the_test_set_resolves(
    n_test, half, decided
):
    found = difference(score((0.80, 0.82)), score((0.79, 0.81)), n_test)
    assert found.mean == pytest.approx(0.01)
    assert found.half == pytest.approx(half, rel=1e-3)
    assert found.decided is decided


def test_several_sets_round_less_together():
    # Two sets of each row. Differences by network: (1/2 + 1/2) / 12 n², of their mean 1 / 24 n².
    # Means of the sets of a row over both networks: 1 / 24 n², of their mean 1 / 48 n². Together
    # 1 / 12 n², with (1/12)² / (1/24² + 2/48²) = 2.67 degrees of freedom: t(2) = 4.303.
    alike = (0.8, 0.8), (0.8, 0.8)
    assert difference(score(*alike), score(*alike), 10).half == pytest.approx(
        4.30265 / 10 / math.sqrt(12)
    )


def test_one_network_of_equal_sets_has_an_interval_of_some_width():
    # Of each row's two accuracies 1 / 12 n², of their mean 1 / 24 n²; both rows 1 / 12 n², t(2).
    found = difference(score((0.8,), (0.8,)), score((0.7,), (0.7,)), 10)
    assert found.half == pytest.approx(4.30265 / 10 / math.sqrt(12)) and not found.decided


def test_seeds_count_where_one_row_has_several():
    # No variance between networks; seed means 50 and 70: variance 0.02 / 2, t(1) = 12.706.
    found = difference(score((0.8, 0.8)), score((0.5, 0.5), (0.7, 0.7)), MANY)
    assert found.mean == pytest.approx(0.2)
    assert found.half == pytest.approx(12.706205 * 0.1)
    assert not found.decided


def test_the_variances_of_networks_and_seeds_add_up():
    # Differences by network 30 and 40 points: variance 0.005 / 2. Seed means of the second row
    # 40 and 50: variance 0.005 / 2. Together 0.005, Welch and Satterthwaite: 2 degrees of freedom.
    found = difference(score((0.8, 0.8)), score((0.45, 0.35), (0.55, 0.45)), MANY)
    assert found.mean == pytest.approx(0.35)
    assert found.half == pytest.approx(4.303 * math.sqrt(0.005), rel=1e-4)


def test_degrees_of_freedom_are_rounded_down():
    # Variances of the means 4e-4 (1 degree) and 4/3 e-4 (2 degrees): 1.68 degrees, taken as 1.
    one = score((0.80, 0.82), (0.84, 0.86))
    other = score((0.50, 0.52), (0.52, 0.54), (0.54, 0.56))
    assert difference(one, other, MANY).half == pytest.approx(12.706205 * math.sqrt(16e-4 / 3))


@pytest.mark.parametrize(
    ("one", "other", "known"),
    [
        (score((0.8,)), score((0.7,)), False),
        (score((0.8,)), score((0.7,), (0.6,)), False),
        (score((0.8,), (0.7,)), score((0.7,), (0.6,)), True),
        (score((0.8, 0.9)), score((0.7,)), False),
    ],
)
def test_one_network_of_one_set_has_no_interval(one, other, known):
    found = difference(one, other, MANY)
    assert found.known is known and (found.decided is False)


def test_only_networks_that_both_rows_have_are_paired():
    found = difference(score((0.8, 0.8, 0.2)), score((0.7, 0.7)), MANY)
    assert (found.mean, found.networks) == (pytest.approx(0.1), 2)


def test_a_gain_beside_an_interval_is_of_the_same_networks(made):
    made.row("dm", [[0.80, 0.82]])
    made.row("random", [[0.70, 0.71, 0.30]])
    best, baseline = load(made.folder).rows
    assert best["over_random"] == pytest.approx(0.105)  # over all networks it would be 24 points
    assert sum(best["over_random_interval"]) / 2 == pytest.approx(0.105)
    assert baseline["over_random"] == 0


@pytest.mark.parametrize(("networks", "t"), [(2, 12.7062), (31, 2.0423), (101, 1.9840)])
def test_the_quantile_is_that_of_student_for_any_number_of_networks(networks, t):
    one = [0.8 + 0.01 * (k % 2) for k in range(networks)]
    found = difference(score(tuple(one)), score((0.5,) * networks), MANY)
    assert found.half == pytest.approx(t * statistics.stdev(one) / math.sqrt(networks), rel=1e-4)


def test_scores_keep_the_accuracies_of_each_set(made):
    made.row("random", [[0.4, 0.5], [0.6, 0.7]])
    assert load(made.folder).boards[0].places[0].score.sets == ((0.4, 0.5), (0.6, 0.7))


def test_a_row_that_cannot_be_told_from_the_best_is_tied(made):
    made.row("dm", [[0.80, 0.82]])
    made.row("gm", [[0.80, 0.81]])
    made.row("herding", [[0.70, 0.72]])
    places = load(made.folder).boards[0].places
    assert [(p.entry.label, p.tied) for p in places] == [
        ("dm", False),
        ("gm", True),
        ("herding", False),
    ]


def test_ties_of_single_networks_are_unknown(made):
    made.row("dm", [[0.80]])
    made.row("random", [[0.79]])
    found = load(made.folder)
    assert not found.boards[0].places[1].tied
    row = found.rows[1]
    assert row["tied_with_best"] is None and row["below_best_interval"] is None
