"""What an unknown name may mean."""

import pytest
from ddbench.text.suggestions import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("leaderbord", ["leaderboard"]),
        ("Leaderboard", ["leaderboard"]),
        ("lr-images", ["lr_images"]),
        ("lrimages", ["lr_images"]),
        ("CIFAR10", ["cifar-10"]),
        ("qqq", []),
        ("", []),
        ("--", []),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case_and_dashes(name, found):
    assert nearest(name, ["leaderboard", "lr_images", "cifar-10"]) == found


def test_several_come_nearest_first_and_no_more_than_asked_for():
    known = ["dm-b", "dm-a", "gm"]
    assert nearest("DM_A", known, most=2, cutoff=0.4) == ["dm-a", "dm-b"]
    assert nearest("dmm", ["datm", "dm"], cutoff=0.75) == ["dm"]
    assert nearest("datm", ["dm"], cutoff=0.75) == []


def test_the_question_names_what_is_near():
    assert did_you_mean("dmm", ["dm", "gm"]) == "did you mean 'dm'?"
    assert did_you_mean("dm@lon", ["dm@longer", "dm@long"], most=2) == (
        "did you mean 'dm@long' or 'dm@longer'?"
    )
    assert did_you_mean("qqq", ["dm"]) == ""
