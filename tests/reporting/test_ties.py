"""All pairs of a table: Holm's correction, ranks, ties, and one row's interval."""

import random
import statistics

import pytest
from ddbench.reporting.leaderboard import Score, difference, interval_of, load, table_format
from ddbench.reporting.leaderboard.differences import Difference, compare, seeds_needed
from ddbench.reporting.leaderboard.ties import standings
from ddbench.reporting.markdown import make_report
from ddbench.reporting.markdown.document import Document
from scipy.stats import t as student
from scipy.stats import ttest_rel

MANY = 10**9  # test images, so many that rounding does not count


def score(*sets):
    every = [a for one in sets for a in one]
    return Score(sets=sets, networks=len(sets[0]), seeds=len(sets), mean=statistics.fmean(every))


def noisy(means, networks=5, noise=0.01, seed=0):
    draw = random.Random(seed)
    return [score(tuple(m + draw.gauss(0, noise) for _ in range(networks))) for m in means]


# -- pairs -------------------------------------------------------------------------------------


def test_the_test_of_a_pair_is_students_paired_one():
    one, other = noisy([0.8, 0.79])
    expected = ttest_rel(one.sets[0], other.sets[0])
    pairs = compare([one, other], MANY)
    assert pairs.p[0, 1] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert pairs.difference(0, 1).interval == pytest.approx((low, high))


def test_all_pairs_are_what_each_pair_is_alone():
    draw = random.Random(1)
    scores = [
        score(*[tuple(draw.random() for _ in range(k)) for _ in range(s)])
        for s, k in ((1, 3), (3, 3), (2, 5), (1, 1), (4, 1), (2, 2))
    ]
    pairs = compare(scores, 1000)
    for i, one in enumerate(scores):
        for j, other in enumerate(scores):
            if i != j:
                alone, among = difference(one, other, 1000), pairs.difference(i, j)
                assert among.mean == pytest.approx(alone.mean)
                assert among.half == pytest.approx(alone.half, nan_ok=True)
                assert among.networks == alone.networks


def test_holms_correction_by_hand():
    # p of three pairs 0.010, 0.020, 0.030: held against 0.05 / 3, 0.05 / 2 and 0.05.
    pairs = compare(noisy([0.8, 0.7, 0.6]), MANY)
    for i, j, p in ((0, 1, 0.010), (0, 2, 0.020), (1, 2, 0.030)):
        pairs.p[i, j] = pairs.p[j, i] = p
    assert pairs.told_apart().sum() == 6
    pairs.p[0, 2] = pairs.p[2, 0] = 0.026  # fails 0.025, and so does all that follows
    told = pairs.told_apart()
    assert told.sum() == 2 and told[0, 1]


def test_pairs_of_unknown_noise_are_no_tests():
    pairs = compare([score((0.8,)), score((0.7,)), score((0.6,))], 1000)
    assert pairs.tests == 0 and not pairs.told_apart().any()


# -- ranks and ties ----------------------------------------------------------------------------


def stands(scores, sets=None):
    return standings(scores, sets or [*range(len(scores))], MANY)[0]


def test_clear_rows_have_one_rank_each():
    found = stands(noisy([0.9, 0.8, 0.7], noise=0.001))
    assert [one.ranks for one in found] == [(1, 1), (2, 2), (3, 3)]
    assert [one.groups for one in found] == ["", "", ""]


def test_rows_within_the_noise_share_ranks_and_a_letter():
    found = stands(noisy([0.9, 0.8, 0.7999, 0.7], noise=0.001))
    assert [one.ranks for one in found] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert [one.groups for one in found] == ["", "a", "a", ""]
    assert not any(one.tied for one in found)


def test_a_row_between_two_ties_is_in_both():
    step = 0.01
    spread = (-step, 0, step, -step, step)

    def around(mean, shift):
        return score(tuple(mean + spread[(k + shift) % 5] for k in range(5)))

    found = stands([around(0.83, 0), around(0.82, 2), around(0.81, 1), around(0.75, 3)])
    assert found[1].groups in ("a", "ab")
    letters = [set(one.groups) for one in found]
    for one, letter in zip(found, letters, strict=True):
        assert one.ranks[0] <= one.ranks[1] and len(letter) == len(one.groups)


def test_rows_of_the_same_images_are_one_in_the_tests_and_count_in_the_ranks():
    a, b, c = noisy([0.9, 0.8, 0.7], noise=0.001)
    found, tests = standings([a, b, b, c], ["a", "same", "same", "c"], MANY)
    assert tests == 3
    assert [one.ranks for one in found] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert found[1].groups == found[2].groups == "a"


def test_unknown_noise_says_nothing():
    for one in stands([score((0.8,)), score((0.7,))]):
        assert (one.tied, one.ranks, one.groups) == (False, None, "")


def test_of_very_many_rows_each_is_tested_against_the_best(monkeypatch):
    rows = noisy([0.9, 0.899, 0.8], noise=0.005)
    all_pairs, tests = standings(rows, [0, 1, 2], MANY)
    monkeypatch.setattr("ddbench.reporting.leaderboard.ties.MOST", 2)
    found, fewer = standings(rows, [0, 1, 2], MANY)
    assert (tests, fewer) == (3, 2)
    assert [one.tied for one in found] == [one.tied for one in all_pairs] == [False, True, False]
    assert [one.below.mean for one in found] == [one.below.mean for one in all_pairs]
    assert {one.ranks for one in found} == {None}


def test_a_further_row_that_counts_as_equal_has_a_word_why(made):
    made.row("dm", [[0.80, 0.81, 0.82, 0.81]])
    made.row("gm", [[0.79, 0.80, 0.81, 0.80]])
    made.row("herding", [[0.60, 0.95, 0.65, 0.80]])
    board = load(made.folder).boards[0]
    assert {p.entry.label: p.tied for p in board.places} == {
        "dm": False, "gm": False, "herding": True,
    }  # fmt: skip
    [line] = [line for line in table_format.legend(board.places) if "further from the best" in line]
    assert "herding (real init) is further from the best than gm (real init), which is told" in line


def test_ties_in_order_need_no_word(made):
    made.row("dm", [[0.80, 0.82]])
    made.row("gm", [[0.80, 0.81]])
    assert "further" not in " ".join(table_format.legend(load(made.folder).boards[0].places))


@pytest.mark.parametrize(("networks", "said"), [(2, True), (3, False)])
def test_two_networks_are_told_to_be_few(made, networks, said):
    made.row("dm", [[0.8] * networks])
    text = " ".join(table_format.legend(load(made.folder).boards[0].places))
    assert ("use 3 networks or more" in text) is said


# -- one row -----------------------------------------------------------------------------------


def test_the_interval_is_over_the_seeds():
    found = interval_of(score((0.80, 0.84), (0.82, 0.86), (0.78, 0.82)), MANY)
    means = [0.82, 0.84, 0.80]
    half = student.ppf(0.975, 2) * statistics.stdev(means) / 3**0.5
    assert found == pytest.approx((0.82 - half, 0.82 + half))


def test_the_interval_of_one_seed_is_over_its_networks_and_says_so():
    one = score((0.80, 0.82, 0.84))
    half = student.ppf(0.975, 2) * 0.02 / 3**0.5
    assert interval_of(one, MANY) == pytest.approx((0.82 - half, 0.82 + half))
    assert table_format.accuracy_interval(one, MANY) == "77.0 to 87.0 (1 seed, 3 networks)"


def test_an_interval_has_some_width_and_stays_within_all_images():
    low, high = interval_of(score((0.9, 0.9)), 100)
    assert low < 0.9 < high
    assert interval_of(score((1.0, 0.9)), 100)[1] == 1.0
    assert interval_of(score((0.9,)), 100) is None and interval_of(Score(), 100) is None


def test_both_parts_of_the_variance():
    # Within sets 0.0008 each; between the means 0.82 and 0.90 0.0032, of which 0.0004 by networks.
    one = score((0.80, 0.84), (0.88, 0.92))
    assert one.network_variance == pytest.approx(0.0008)
    assert one.set_variance == pytest.approx(0.0032 - 0.0004)


def test_sets_that_vary_less_than_their_networks_vary_by_nothing():
    assert score((0.8, 0.9), (0.9, 0.8)).set_variance == 0.0


def test_seeds_needed_grow_with_the_tests_of_the_table():
    found = Difference(0.02, 0.0555, 1)
    alone, among = seeds_needed(found, 3), seeds_needed(found, 3, tests=45)
    assert (alone, seeds_needed(Difference(0.0, 0.05, 1), 3)) == (8, float("inf"))
    assert among > alone


def test_coverage_of_the_interval_over_seeds():
    """A small version, with a fixed seed, of benchmarks/coverage.py."""
    draw = random.Random(0)
    for seeds in (2, 3, 5, 10):
        hits = 0
        for _ in range(1000):
            sets = [0.5 + draw.gauss(0, 0.02) for _ in range(seeds)]
            one = score(*(tuple(s + draw.gauss(0, 0.01) for _ in range(3)) for s in sets))
            low, high = interval_of(one, 10_000)
            hits += low <= 0.5 <= high
        assert abs(hits / 1000 - 0.95) <= 0.02, seeds


# -- where it is shown -------------------------------------------------------------------------


def test_plain_values_have_intervals_ranks_and_ties(made):
    made.row("dm", [[0.80, 0.82, 0.81], [0.81, 0.83, 0.82]])
    made.row("gm", [[0.79, 0.83, 0.81], [0.83, 0.81, 0.81]])
    best, second = load(made.folder).rows
    assert best["rank_interval"] == [1, 2] and best["tie_groups"] == second["tie_groups"] == "a"
    assert best["accuracy_interval_over"] == "seeds" and len(best["accuracy_interval"]) == 2
    assert second["seeds_to_tell_from_best"] is None or second["seeds_to_tell_from_best"] > 2


def test_the_report_folds_statistics_away(made):
    made.row("dm", [[0.80, 0.82, 0.81]])
    made.row("gm", [[0.70, 0.72, 0.71]])
    text = make_report(load(made.folder), Document("run", "pictures")).text()
    assert "<summary>Statistics on convnet-w32: 1 pair of rows</summary>" in text
    assert "(1 seed, 3 networks) |" in text
