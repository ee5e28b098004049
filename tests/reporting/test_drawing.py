"""Scales, ticks and words of drawings: what is drawn can be read."""

import random

import pytest
from ddbench.reporting.markdown import figures
from ddbench.reporting.markdown.drawing import SHAPES, Mark, Panel, Scale, figure, lines_of

RANGES = [
    (10, 11),
    (14.1, 14.9),
    (1e-3, 1e5),
    (1, 1),
    (5e8, 2e12),
    (0.3, 0.7),
    (99, 101),
    (1, 1e30),
]


def spread(low, high):
    return [low, (low * high) ** 0.5, high]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("text", [figures._flops, figures._seconds])
def test_labels_of_an_axis_stand_apart(low, high, zero, text):
    values = [*([0.0] if zero else []), *spread(low, high)]
    panel = Panel(Scale.of(values, log=True), Scale.of([50, 60]), x_text=text)
    ticks = panel.x_ticks()
    assert len(ticks) >= 2 and len({text for _, text in ticks}) == len(ticks)
    spans = [(x - len(text) * 2.75, x + len(text) * 2.75) for x, text in ticks]  # at font size 10
    assert all(right <= left for (_, right), (left, _) in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("log", [False, True])
def test_all_values_lie_on_the_axis_in_order(low, high, log):
    scale = Scale.of([0.0, *spread(low, high)], log)
    at = [scale.at(value) for value in [0.0, *spread(low, high)]]
    assert at[0] >= 0 and at == sorted(at) and at[-1] <= 1


def test_values_below_zero_are_on_a_linear_axis():
    scale = Scale.of([-2.0, 3.0], log=True)
    assert not scale.log and 0 in scale.ticks(5)


def test_notes_never_lie_on_each_other_or_outside():
    panel, draw = Panel(Scale.of([0, 100]), Scale.of([0, 100])), random.Random(0)
    for _ in range(60):
        panel.note((100 * draw.random(), 100 * draw.random()), ["a name,", "another name"])
    assert 3 < len(panel.boxes) < 60
    for n, (left, top, right, bottom) in enumerate(panel.boxes):
        assert left >= 0 and top >= 0 and right <= panel.width and bottom <= panel.height
        for other in panel.boxes[:n]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart


def test_a_long_legend_makes_the_drawing_higher_and_wider():
    panel = Panel(Scale.of([0, 1]), Scale.of([0, 1]))
    keys = [(f"a row {'x' * n}", Mark("#000000", n).at) for n in range(40)]
    size = 'width="{}" height="{}"'
    small, large = figure([panel], 1).decode(), figure([panel], 1, keys).decode()
    assert size.format(464, 368) in small
    assert int(large.split('height="')[1].split('"')[0]) >= 40 * 17


def test_every_shape_differs():
    assert len({Mark("#000000", n).at((0, 0)) for n in range(len(SHAPES))}) == len(SHAPES)


def test_words_of_others_are_short_lines_of_text():
    assert lines_of("a\x1b[31m b\n c\udce9") == ["a b c\\udce9"]
    assert all(len(line) <= 45 for line in lines_of("word " * 100))
    mark = Mark("#000000", 0).at((0, 0), about="<b>&\ufffe")
    assert "<title>&lt;b&gt;&amp;</title>" in mark
