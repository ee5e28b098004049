"""Does a claim hold: the verdicts, and how often they are wrong."""

import numpy as np
import pytest
from ddbench.reporting.leaderboard.verification import Verdict, of_mean, of_networks, together


def test_the_very_same_accuracies_hold_exactly():
    verdict = of_networks([0.5, 0.6], [0.5, 0.6], 100)
    assert verdict.exact and verdict.holds and verdict.difference == 0


@pytest.mark.parametrize(("shift", "holds"), [(0.0003, True), (0.05, False), (-0.05, False)])
def test_networks_pair_so_that_a_shift_of_all_is_seen(shift, holds):
    found = [0.50, 0.55, 0.61, 0.48]
    noise = [0.001, -0.002, 0.001, -0.001]
    claimed = [a + shift + n for a, n in zip(found, noise, strict=True)]
    verdict = of_networks(claimed, found, 10_000)
    assert verdict.holds is holds and verdict.difference == pytest.approx(-shift, abs=1e-3)
    assert (verdict.half < abs(verdict.difference)) is not holds


def test_one_network_is_judged_by_counting_images():
    assert of_networks([0.50], [0.52], 1000).holds
    assert not of_networks([0.50], [0.60], 1000).holds
    assert of_mean(0.5, [0.52], 1000, None, None).half == pytest.approx(0.0438, abs=1e-3)
    assert np.isfinite(of_networks([1.0], [0.0], 10).p)


def test_a_mean_is_held_against_its_own_spread_where_it_has_one():
    found = [0.60, 0.61, 0.62, 0.59, 0.58]
    assert not of_mean(0.65, found, 10_000, None, None).holds
    assert of_mean(0.65, found, 10_000, 0.10, 5).holds
    assert not of_mean(0.65, found, 10_000, 0.10, 1000).holds


def test_honest_claims_hold_nineteen_times_of_twenty():
    random = np.random.default_rng(0)
    draws = random.normal(0.6, 0.02, (2000, 2, 5)).clip(0, 1)
    held = [of_mean(a.mean(), b, 10**6, None, None).holds for a, b in draws]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_of_many_honest_claims_all_hold_together_and_what_was_not_tested_does_not():
    verdicts = [Verdict(0.5, 0.5, p=p) for p in np.linspace(0.03, 0.97, 20)]
    assert all(one.holds for one in together(verdicts))
    wrong = [*verdicts, Verdict(0.9, 0.5, p=1e-6), Verdict.untested("no data")]
    assert [one.holds for one in together(wrong)] == [True] * 20 + [False] * 2


def test_unknown_numbers_are_null():
    plain = Verdict.untested("why").record()
    assert plain["claimed"] is plain["low"] is plain["p"] is None and plain["reason"] == "why"
