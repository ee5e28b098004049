import pytest
import torch
from ddbench_fedd3 import partition


def class_members(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    return labels, [torch.nonzero(labels == c).flatten() for c in range(len(counts))]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


SCHEMES = {
    "reference": lambda members, seed: partition.by_classes(members, 10, 2, generator(seed)),
    "few clients": lambda members, seed: partition.by_classes(members, 5, 2, generator(seed)),
    "iid": lambda members, seed: partition.iid(members, 7, generator(seed)),
    "dirichlet": lambda members, seed: partition.dirichlet(members, 6, 0.5, 3, generator(seed)),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_image_has_exactly_one_client(scheme):
    labels, members = class_members([20, 31, 25, 20, 20, 23, 20, 20, 20, 21])
    split = SCHEMES[scheme](members, 0)
    assert sorted(torch.cat(split.members).tolist()) == list(range(len(labels)))


@pytest.mark.parametrize("scheme", ["reference", "iid", "dirichlet"])
def test_a_seed_decides_who_holds_what(scheme):
    labels, members = class_members([20] * 10)
    first, again, other = (SCHEMES[scheme](members, seed) for seed in (0, 0, 1))
    assert partition.encode(first, 200) == partition.encode(again, 200)
    assert partition.encode(first, 200) != partition.encode(other, 200)


def test_reference_clients_own_neighbouring_classes_in_equal_parts():
    labels, members = class_members([21, 20, 20, 20])
    split = partition.by_classes(members, 8, 2, generator())
    assert split.classes == ((0, 1), (1, 2), (2, 3), (3, 0)) * 2
    counts = [torch.bincount(labels[m], minlength=4).tolist() for m in split.members]
    assert counts[:7] == [
        [5, 5, 0, 0],
        [0, 5, 5, 0],
        [0, 0, 5, 5],
        [5, 0, 0, 5],
        [5, 5, 0, 0],
        [0, 5, 5, 0],
        [0, 0, 5, 5],
    ]
    assert counts[7] == [6, 0, 0, 5]  # the remainder goes to a class's last owner


def test_reference_starts_are_kept_wherever_they_reach_all_classes():
    assert [partition.owned(i, 3, 3, 5) for i in range(3)] == [(0, 1, 2), (1, 2, 3), (2, 3, 4)]


def test_few_clients_are_spread_so_that_no_class_is_left_to_nobody():
    assert [partition.owned(i, 5, 2, 10) for i in range(5)] == [
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 7),
        (8, 9),
    ]
    for clients in range(1, 13):
        for classes in range(1, 13):
            for per_client in range(1, classes + 1):
                if clients * per_client >= classes:
                    assert min(partition.owners(clients, per_client, classes)) > 0


@pytest.mark.parametrize("per_client", [1, 2, 5, 10])
def test_heterogeneity_of_balanced_classes_has_its_closed_form(per_client):
    labels, members = class_members([40] * 10)
    split = partition.by_classes(members, 10, per_client, generator())
    expected = 1 - per_client / 10
    assert partition.heterogeneity(split, labels, 10) == pytest.approx(expected, abs=1e-12)


def test_a_smaller_alpha_is_more_unequal():
    labels, members = class_members([200] * 5)
    unequal = [
        partition.heterogeneity(partition.dirichlet(members, 8, a, 1, generator()), labels, 5)
        for a in (0.1, 1.0, 1000.0)
    ]
    assert unequal[0] > unequal[1] > unequal[2]
    assert unequal[2] < 0.05


def test_dirichlet_proportions_have_the_mean_and_variance_of_the_distribution():
    labels, members = class_members([2000] * 100)
    split = partition.dirichlet(members, 4, 2.0, 1, generator())
    shares = torch.stack([torch.bincount(labels[m], minlength=100) / 2000 for m in split.members])
    assert shares.mean(1).tolist() == pytest.approx([0.25] * 4, abs=0.05)
    # Var = (1/K)(1 - 1/K) / (K alpha + 1) = 0.1875 / 9
    assert shares.var().item() == pytest.approx(0.1875 / 9, rel=0.2)


def test_dirichlet_gives_every_client_the_least_or_gives_up():
    labels, members = class_members([50] * 4)
    split = partition.dirichlet(members, 4, 1.0, 30, generator())
    assert min(len(m) for m in split.members) >= 30
    assert partition.dirichlet(members, 4, 1.0, 51, generator()) is None


def test_the_stored_partition_reads_back():
    labels, members = class_members([30] * 10)
    split = partition.by_classes(members, 10, 2, generator())
    stored = partition.decode(partition.encode(split, len(labels)))
    for client, mine in enumerate(split.members):
        assert torch.equal(torch.nonzero(stored == client).flatten(), mine.sort().values)
