"""DATM's start: which images, and which label logits."""

import pytest
import torch
from ddbench import testing
from ddbench_datm.start import (
    FALLBACK_LOGIT,
    ensemble_labels,
    predicted_correctly,
    single_labels,
)


class Oracles:
    """Experts by table: expert e calls image i `answers[e][i]`, by the image's first pixel."""

    def __init__(self, answers):
        self.answers = torch.tensor(answers)
        self.asked = []

    def __len__(self):
        return len(self.answers)

    def weights(self, expert, epoch):
        self.asked.append((expert, epoch))
        return self.answers[expert]


def read(answers, images):
    """Logits of 3 classes: 5 for the answer, the image's number over 100 elsewhere."""
    numbers = images[:, 0, 0, 0].long()
    logits = (numbers / 100)[:, None].repeat(1, 3)
    return logits.scatter(1, answers[numbers][:, None], 5.0)


def numbered(task):
    """The task with every image's number written into its first pixel."""
    task.images[:, 0, 0, 0] = torch.arange(len(task.images))
    return task


@pytest.fixture
def task():
    return numbered(testing.toy_task(classes=3, per_class=4, ipc=2))  # images 0-3, 4-7, 8-11


def chosen_numbers(task, answers, epoch=-1, seed=0):
    experts = Oracles(answers)
    generator = torch.Generator().manual_seed(seed)
    images, classes = predicted_correctly(task, read, experts, epoch, generator)
    assert classes.dtype == torch.int64 and classes.tolist() == [0, 0, 1, 1, 2, 2]
    return images[:, 0, 0, 0].long().tolist(), experts


RIGHT = [0] * 4 + [1] * 4 + [2] * 4
WRONG = [1] * 4 + [2] * 4 + [0] * 4


def walks(seed):
    generator = torch.Generator().manual_seed(seed)
    return [(4 * c + torch.randperm(4, generator=generator)).tolist() for c in range(3)]


def test_the_first_correct_images_of_a_random_walk_are_kept():
    for seed in range(5):
        task = numbered(testing.toy_task(classes=3, per_class=4, ipc=2))
        answers = list(RIGHT)
        answers[1], answers[6] = 2, 0  # expert 0 gets these two wrong
        numbers, experts = chosen_numbers(task, [answers, RIGHT], seed=seed)
        expected = [[n for n in walk if n not in (1, 6)][:2] for walk in walks(seed)]
        assert numbers == sum(expected, [])
        assert {expert for expert, _ in experts.asked} == {0}


def test_the_choice_uses_the_epoch_asked_for(task):
    _, experts = chosen_numbers(task, [RIGHT], epoch=4)
    assert {epoch for _, epoch in experts.asked} == {4}


def test_the_next_expert_takes_over_for_good_where_a_class_runs_out(task):
    first = [0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 2, 2]  # of class 1 it knows image 4 alone
    second = [2] * 4 + [1] * 4 + [2, 2, 0, 0]  # of class 2 it knows 8 and 9 alone
    for seed in range(4):
        numbers, experts = chosen_numbers(task, [first, second], seed=seed)
        walk = walks(seed)[1]
        assert numbers[2:4] == [4, next(n for n in walk if n != 4)]  # the kept one stays
        assert sorted(numbers[4:]) == [8, 9]
    assert [expert for expert, _ in experts.asked] == [0, 0, 1, 1]


def test_a_class_that_no_expert_knows_is_filled_in_walking_order(task):
    answers = [0] * 4 + [2] * 4 + [2] * 4
    numbers, _ = chosen_numbers(task, [answers, answers])
    assert numbers[2:4] == walks(0)[1][:2]
    assert len(set(numbers)) == 6


def test_labels_average_the_experts_that_are_right():
    images = torch.zeros(3, 1, 8, 8)
    images[:, 0, 0, 0] = torch.arange(3)
    classes = torch.tensor([0, 1, 2])
    tables = {0: (0, 0, 2), 1: (0, 1, 2), 2: (1, 1, 2)}
    logits = {e: torch.randn(3, 3, generator=torch.Generator().manual_seed(e)) for e in tables}
    for e, answers in tables.items():
        logits[e].scatter_(1, torch.tensor(answers)[:, None], 9.0)

    class Table:
        def __len__(self):
            return 3

        def weights(self, expert, epoch):
            return logits[expert]

    def look_up(weights, images):
        return weights[images[:, 0, 0, 0].long()]

    labels = ensemble_labels(look_up, Table(), -1, images, classes)
    expected = torch.stack(
        [
            (logits[0][0] + logits[1][0]) / 2,  # expert 2 is wrong about image 0
            (logits[1][1] + logits[2][1]) / 2,  # expert 0 about image 1
            (logits[0][2] + logits[1][2] + logits[2][2]) / 3,
        ]
    )
    torch.testing.assert_close(labels, expected)
    single = single_labels(look_up, Table(), -1, images, classes)
    torch.testing.assert_close(single, logits[0])  # right or wrong


def test_an_image_that_no_expert_is_right_about_gets_a_scaled_one_hot_label():
    images = torch.zeros(2, 1, 8, 8)
    images[:, 0, 0, 0] = torch.arange(2)
    experts = Oracles([[1, 1], [2, 1]])  # nobody knows image 0
    labels = ensemble_labels(read, experts, -1, images, torch.tensor([0, 1]))
    assert torch.isfinite(labels).all()
    assert labels[0].tolist() == [FALLBACK_LOGIT, 0.0, 0.0]
    assert labels[1].argmax() == 1
