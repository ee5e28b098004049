"""Pictures of an earlier report: taken again where nothing that they show has changed."""

import io

import pytest
from ddbench.reporting.markdown.redrawing import drawn, mark_of, marked, marks_in
from PIL import Image


@pytest.fixture
def png():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_marked_picture_is_the_same_picture(png):
    with Image.open(io.BytesIO(marked(png, "abc"))) as image:
        image.load()
        assert image.size == (3, 2) and image.info["drawn of"] == "abc"


def test_a_picture_of_the_same_data_is_not_drawn_again(png, tmp_path):
    mark, calls = mark_of("cost", "data"), []

    def draw():
        calls.append(1)
        return png

    first = drawn(marks_in(tmp_path / "absent"), mark, draw)
    (tmp_path / "one.png").write_bytes(first)
    (tmp_path / "other.png").write_bytes(png)  # without a mark
    assert drawn(marks_in(tmp_path), mark, draw) == first and len(calls) == 1
    assert drawn(marks_in(tmp_path), mark_of("cost", "other data"), draw) and len(calls) == 2
    assert mark_of("curves", "data") != mark


@pytest.mark.parametrize("cut", [0, 10, 60, -5])
def test_a_picture_that_is_cut_short_is_drawn_again(cut, png, tmp_path):
    mark = mark_of("cost", "data")
    (tmp_path / "one.png").write_bytes(marked(png, mark)[:cut])
    assert drawn(marks_in(tmp_path), mark, lambda: png) == marked(png, mark)


def test_no_picture_stays_none(tmp_path):
    assert drawn({}, mark_of("cost", "data"), lambda: None) is None
