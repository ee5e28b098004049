"""A set in the terminal: its pictures, where there is something to draw them with."""

import io
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ddbench import SyntheticSet
from ddbench.cli import main
from ddbench.reporting.terminal.sets import can_draw, draw, layout, show_set
from PIL import Image
from rich.console import Console

MNIST = {"mean": [0.0], "std": [1.0], "zca": False, "dataset": "toy"}


def console(**how):
    settings = {"force_terminal": True, "color_system": "truecolor", "width": 80, **how}
    return Console(file=io.StringIO(), legacy_windows=False, highlight=False, **settings)


def made(n=4, size=2, channels=1, **more):
    images = torch.linspace(0, 1, n * channels * size * size).reshape(n, channels, size, size)
    labels = torch.arange(n) % 4
    return SyntheticSet(images, labels, provenance={**MNIST, "mean": [0.0] * channels,
                        "std": [1.0] * channels}, **more)  # fmt: skip


def drawn(synthetic, **how):
    out = console(**how)
    draw(synthetic, out)
    return out.file.getvalue()


def test_a_terminal_draws_where_it_says_that_it_has_colours():
    assert can_draw(console()) and can_draw(console(color_system="256"))
    for lacking in ({"color_system": "standard"}, {"color_system": None}, {"no_color": True}):
        assert not can_draw(console(**lacking))


@pytest.mark.parametrize(
    ("environment", "draws"),
    [
        ({"COLORTERM": "truecolor"}, True),
        ({"COLORTERM": "", "TERM": "xterm-256color"}, True),
        ({"COLORTERM": "", "TERM": "dumb"}, False),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_those_of_the_environment(environment, draws):
    out = Console(file=io.StringIO(), force_terminal=True, legacy_windows=False,
                  _environ={"TERM": "xterm", **environment})  # fmt: skip
    assert can_draw(out) is draws


def test_two_rows_of_pixels_are_one_line_of_half_blocks_in_their_colours():
    text = drawn(made(1))  # black, a third, two thirds, white
    assert "\x1b[38;2;0;0;0;48;2;170;170;170m▀" in text
    assert "\x1b[38;2;85;85;85;48;2;255;255;255m▀" in text
    assert text.count("▀") == 2


@pytest.mark.parametrize("columns", [40, 80, 100, 200, 400])
@pytest.mark.parametrize("width", [1, 8, 28, 32, 64, 224])
def test_images_fill_a_terminal_and_no_more(width, columns):
    beside, each = layout(width, columns)
    assert 5 <= beside <= 10 and 1 <= each <= width
    assert beside * (each + 1) - 1 <= columns


def test_some_of_each_class_are_drawn_and_the_rest_is_told():
    text = drawn(made(400))
    assert text.count("▀") == 48 * 2 and "48 of 400 images; --png PATH writes all" in text


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_shape_of_image_can_be_drawn(size, channels):
    assert "▀" in drawn(made(2, size, channels))


def test_decoded_sets_without_images_are_told_in_words_alone(capsys):
    labels = torch.arange(4)
    synthetic = SyntheticSet(torch.zeros(0, 1, 1, 1), labels, payload={"z": torch.zeros(4, 2)},
                             formation={"decode": {"name": "theirs"}})  # fmt: skip
    assert drawn(synthetic) == ""
    show_set("x", synthetic, as_json=False)
    assert "theirs" in capsys.readouterr().out


# -- the command -----------------------------------------------------------------------------------


def show(*words, code=0, **environment):
    result = CliRunner().invoke(main, ["show", *map(str, words)], env=environment)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_a_file_is_shown_in_words_and_written_as_a_picture(tmp_path):
    made(recipe={"lr": 0.1}).save(tmp_path / "x.safetensors")
    out, err = show(tmp_path / "x.safetensors", "--png", tmp_path / "x.png")
    for words in ("4 images of 1×2×2", "lr=0.1", "no picture: this is no terminal", "toy"):
        assert words in out
    assert "\x1b" not in out and "x.png written" in err
    assert np.asarray(Image.open(tmp_path / "x.png")).max() == 255
    told = json.loads(show(tmp_path / "x.safetensors", "--json")[0])
    assert told["recipe"] == {"lr": 0.1} and told["tensors"]["images"]["shape"] == [4, 1, 2, 2]
    coloured = {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}
    assert "▀" in show(tmp_path / "x.safetensors", **coloured)[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x.safetensors", "job"), "is one set; a job, --failed and --last are of a run folder"),
        (("x.safetensors", "--png", "x.jpg"), "name a file that ends in .png"),
        (("none.safetensors",), "no such file"),
        (("run", "job", "--png", "x.png"), "--png: is of the file of a set, as run/condensations/"),
        (("y.pt",), "`ddbench import` reads those of other programs"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    made().save(tmp_path / "x.safetensors")
    (tmp_path / "y.pt").write_text("")
    _, err = show(*words, code=2)
    assert message in err and err.count("\n") == 1
