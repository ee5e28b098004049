"""The loops inside one iteration, by images per class."""

from itertools import pairwise

import pytest
from ddbench_gm import DSA, GM, dsa, gm, loops, loops_by_ipc

PUBLISHED = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


@pytest.mark.parametrize("ipc", PUBLISHED)
def test_gives_the_published_loops(ipc):
    assert loops_by_ipc(ipc) == PUBLISHED[ipc]


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(2, (2, 50)), (5, (5, 50)), (15, (15, 38)), (25, (25, 23)), (36, (36, 17)), (100, (50, 10))],
)
def test_gives_stated_loops_to_every_other_ipc(ipc, expected):
    assert loops_by_ipc(ipc) == expected


def test_is_monotone_where_the_network_is_trained_at_all():
    for before, after in pairwise(loops_by_ipc(ipc) for ipc in range(2, 200)):
        assert before.outer <= after.outer
        assert before.inner_epochs >= after.inner_epochs > 0


def test_options_override_the_table_one_by_one():
    assert loops(GM(outer=3), 10) == (3, 50)
    assert loops(GM(inner_epochs=0), 10) == (10, 0)


@pytest.mark.parametrize("method", [gm, dsa])
@pytest.mark.parametrize(("ipc", "updates"), [(1, 1000), (10, 10_000), (50, 50_000)])
def test_plans_exactly_as_many_image_updates_as_iterations_times_outer(method, ipc, updates):
    info = method.describe()
    assert info.steps(info.config(), ipc) == updates
    assert info.cycle(info.config(), ipc) == PUBLISHED[ipc][0]


def test_gm_and_dsa_differ_in_augmentation_alone():
    assert GM(augment="dsa").__dict__ == DSA().__dict__
    assert GM().augment == "none"
