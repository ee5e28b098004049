import math

import pytest
from ddbench.leaderboard import load


def test_accuracy_is_pooled_over_seeds_and_networks(made):
    made.row("random", [[0.4, 0.5], [0.6, 0.7]])
    (board,) = load(made.folder).boards
    score = board.places[0].score
    assert score.mean == pytest.approx(0.55)
    assert score.spread == pytest.approx(math.sqrt(0.05 / 3))  # by hand, n - 1
    assert score.seed_spread == pytest.approx(0.2 / math.sqrt(2))
    assert (score.seeds, score.networks) == (2, 2)
