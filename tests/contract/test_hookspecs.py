"""What methods ask of options and data: `require`, `missing_classes`, `shortage`."""

from dataclasses import dataclass, replace

import pytest
from ddbench import Facts, missing_classes, require, shortage
from ddbench.testing import toy_task

FACTS = Facts("blobs", 3, (1, 8, 8), (4, 2, 3), "convnet", "real", 2, 10)


@dataclass(frozen=True)
class Config:
    rate: float = 0.5
    count: int | None = None
    metric: str = "cos"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"above": 0.5}, "more than 0.5"),
        ({"least": 0.6}, "at least 0.6"),
        ({"below": 0.5}, "below 0.5"),
        ({"most": 0.4}, "at most 0.4"),
        ({"least": 0, "below": 0.5}, "at least 0 and below 0.5"),
    ],
)
def test_an_option_outside_its_range_is_named_with_its_value(bounds, expected):
    with pytest.raises(ValueError, match=f"^rate is 0.5; expected {expected}$"):
        require(Config(), "rate", **bounds)


def test_an_option_at_its_bounds_passes():
    require(Config(), "rate", least=0.5, most=0.5)
    require(Config(), "rate", above=0.4, below=0.6)


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="rate is nan"):
        require(Config(rate=float("nan")), "rate", above=0)


def test_an_option_that_is_not_set_passes():
    require(Config(), "rate", "count", above=0)
    with pytest.raises(ValueError, match="count is 0"):
        require(Config(count=0), "rate", "count", above=0)


def test_an_unknown_name_is_answered_by_the_known_ones():
    require(Config(), "metric", one_of={"cos": 1, "mse": 2})
    with pytest.raises(ValueError, match="metric is 'l1'; available: cos, mse"):
        require(Config(metric="l1"), "metric", one_of=("cos", "mse"))


def test_classes_without_images_are_named():
    assert missing_classes(None, FACTS) is None
    empty = replace(FACTS, class_counts=(4, 0, 0))
    assert missing_classes(None, empty) == "blobs has no training images of classes [1, 2]"


def test_a_class_with_too_few_images_is_named():
    assert shortage(None, FACTS) is None
    why = shortage(None, replace(FACTS, ipc=3))
    assert why == "class 1 has 2 training images, ipc is 3; use ipc <= 2"


def test_a_task_can_be_asked_too():
    task = toy_task(per_class=2, ipc=3)
    assert missing_classes(None, task) is None
    assert shortage(None, task) == "class 0 has 2 training images, ipc is 3; use ipc <= 2"
