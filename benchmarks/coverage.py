"""How often 95% intervals hold what they should: simulated tables of seeds and networks.

    python benchmarks/coverage.py [--tables 1000]

Each table has S condensation seeds of K networks. A set's accuracy varies by 2 points, a network's
by 1 on each set, and by 0.5 alike on all sets. "skewed": all of these have skewness 1 (a gamma
distribution of shape 4). The interval of an accuracy should hold the mean over all sets that there
could be; that of a difference 0, for the two rows really are equal.
"""

import argparse

import numpy as np
from ddbench.reporting.leaderboard import Score, difference, interval_of

SEEDS, NETWORKS, N_TEST = (2, 3, 5, 10), (3, 5, 20), 10_000
ALLOWED = {"normal": 0.02, "skewed": 0.04}


def draws(generator, kind, shape):
    """Return draws of mean 0 and standard deviation 1."""
    if kind == "normal":
        return generator.standard_normal(shape)
    return (generator.gamma(4.0, size=shape) - 4.0) / 2.0


def row(generator, kind, seeds, shared):
    """Return the score of a row whose true mean is 0.5, network effects that are shared aside."""
    networks = len(shared)
    sets = 0.02 * draws(generator, kind, (seeds, 1))
    values = 0.5 + sets + shared + 0.01 * draws(generator, kind, (seeds, networks))
    return Score(
        mean=float(values.mean()),
        seeds=seeds,
        networks=networks,
        sets=tuple(tuple(map(float, one)) for one in values),
    )


def coverage(generator, kind, seeds, networks, tables):
    """Return how often the interval of an accuracy, and of a difference, holds the truth."""
    hits = np.zeros(2)
    for _ in range(tables):
        shared = 0.005 * draws(generator, kind, networks)
        one, other = (row(generator, kind, seeds, shared) for _ in range(2))
        low, high = interval_of(one, N_TEST)
        hits += [low <= 0.5 + shared.mean() <= high, not difference(one, other, N_TEST).decided]
    return hits / tables


def main():
    """Print a table; end with 1 where an accuracy is covered too seldom or too often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    tables = parser.parse_args().tables
    generator, far = np.random.default_rng(0), 0
    print("effects  seeds  networks  accuracy %  difference %")
    for kind, allowed in ALLOWED.items():
        for seeds in SEEDS:
            for networks in NETWORKS:
                of_row, of_pair = coverage(generator, kind, seeds, networks, tables)
                off = abs(of_row - 0.95) > allowed
                far += off
                print(f"{kind:8} {seeds:5} {networks:9} {100 * of_row:11.1f} {100 * of_pair:13.1f}"
                      f"{'  !' if off else ''}")  # fmt: skip
    raise SystemExit(far > 0)


if __name__ == "__main__":
    main()
