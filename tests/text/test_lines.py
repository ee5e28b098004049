"""Text for one line."""

from ddbench.text.lines import brief, reason_of, slug
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_slug_is_a_short_file_name(parts):
    name = slug(*parts)
    assert len(name) <= 80 and "/" not in name and not name.startswith(".")


def test_a_slug_keeps_letters_digits_and_dots():
    assert slug("../../etc/passwd [x=1]") == "etc-passwd-x-1"
    assert slug("A b", "lr=0.1") == "a-b-lr-0.1"
    assert slug("...") == "" and slug("ab-cd", most=3) == "ab"


def test_a_value_is_shown_in_at_most_40_characters():
    assert brief("ab") == "'ab'"
    assert len(brief("x" * 100)) == 40 and brief("x" * 100).endswith("...")


def test_the_reason_of_an_error_without_words_is_its_type():
    assert reason_of(ValueError("\n  no such file\nmore")) == "no such file"
    assert reason_of(AssertionError()) == "AssertionError"
