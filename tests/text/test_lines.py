"""Text for one line."""

import subprocess
import sys

import pytest
from ddbench.text.lines import brief, message_of, named, reason_of, slug
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


def of_a_worker(words):
    trace = 'Original Traceback (most recent call last):\n  File "x.py", line 3, in get\n    raise'
    return ValueError(f"Caught ValueError in DataLoader worker process 0.\n{trace}\n{words}\n")


def caused(error, cause):
    error.__cause__ = cause
    return error


def noted(error, note):
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (of_a_worker("ValueError: disk on fire\nand more"),
         "Caught ValueError in DataLoader worker process 0: ValueError: disk on fire"),
        (of_a_worker("KeyError: 1\n\nDuring handling of the above exception, another one:\n\n"
                     "Traceback (most recent call last):\n  File 'y'\nOSError: no disk"),
         "Caught ValueError in DataLoader worker process 0: OSError: no disk"),
        (RuntimeError("Error(s) in loading state_dict for Net:\n\tMissing key(s): \"a.b\"."),
         'Error(s) in loading state_dict for Net: Missing key(s): "a.b".'),
        (ValueError("1 validation error for Config\nlr\n  Input should be above 0"),
         "1 validation error for Config lr Input should be above 0"),
        (ExceptionGroup("in a group", [KeyError("a"), KeyError("b")]),
         "in a group (2 sub-exceptions): KeyError: 'a'"),
        (caused(RuntimeError(), OSError("no disk")), "OSError: no disk"),
        (caused(RuntimeError("itself"), OSError("no disk")), "itself"),
        (noted(ValueError("wrong"), "in row 3\n..."), "wrong: in row 3"),
        (ValueError("plain.\nand a second line"), "plain."),
        (ValueError("\n"), ""),
    ],
)  # fmt: skip
def test_a_reason_says_what_went_wrong_not_only_that_something_did(error, words):
    assert message_of(error) == words


def test_a_command_that_fails_says_what_it_wrote():
    code = "import sys; sys.exit('nvcc: no such file')"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert message_of(caught.value).endswith("exit status 1: nvcc: no such file")


def test_an_error_without_words_is_named_with_its_place():
    try:
        assert 1 > 2
    except AssertionError as error:
        error.args = ()
        assert named(error).startswith("AssertionError: test_lines.py:")
        assert named(error).endswith(": assert 1 > 2")
    assert named(AssertionError()) == "AssertionError"
    assert named(KeyError("a")) == "KeyError: 'a'"


def test_an_error_whose_class_raises_is_named_all_the_same():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert named(Broken()) == "Broken: (its message cannot be shown)"
