import io
from types import SimpleNamespace

import numpy as np
import pytest
from ddbench.contract import image_grid
from PIL import Image

MNIST = {"mean": [0.5], "std": [0.25]}


def pixels(picture):
    return np.asarray(picture)


def test_normalisation_is_undone():
    images = np.array([-2.0, 0.0, 2.0, 4.0]).reshape(4, 1, 1, 1)
    assert image_grid.visible(images, MNIST).flatten().tolist() == [0.0, 0.5, 1.0, 1.0]


def test_each_channel_has_its_own_constants():
    images = np.ones((1, 3, 1, 1))
    about = {"mean": [0.0, 0.1, 0.2], "std": [0.5, 0.25, 0.1]}
    assert image_grid.visible(images, about).flatten() == pytest.approx([0.5, 0.35, 0.3])


@pytest.mark.parametrize(
    "about", [{**MNIST, "zca": True}, {}, {"mean": [0, 0, 0], "std": [1, 1, 1]}]
)
def test_values_that_cannot_be_put_back_are_spread_around_grey(about):
    images = np.array([-1.0, 1.0]).reshape(2, 1, 1, 1)
    assert image_grid.visible(images, about).flatten().tolist() == [0.3, 0.7]


def test_images_lie_in_class_order_row_by_row():
    # Class k is an image of grey k/4; the set holds them out of order.
    labels = np.array([2, 0, 3, 1])
    images = ((labels / 4 - 0.5) / 0.25).reshape(4, 1, 1, 1) * np.ones((1, 1, 64, 64))
    shown = pixels(image_grid.picture(images, labels, MNIST, columns=2))
    assert shown.shape == (64 * 2 + image_grid.GAP, 64 * 2 + image_grid.GAP)
    corners = [shown[0, 0], shown[0, -1], shown[-1, 0], shown[-1, -1]]
    assert [round(float(c) / 255 * 4) for c in corners] == [0, 1, 2, 3]
    assert (shown[64 : 64 + image_grid.GAP] == 255).all()


def test_small_images_are_enlarged_by_a_whole_factor():
    images = np.zeros((1, 1, 28, 28), np.float32)
    assert image_grid.picture(images, np.zeros(1), MNIST).size == (84, 84)
    assert image_grid.picture(np.zeros((1, 3, 64, 64)), np.zeros(1), {}).size == (64, 64)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB")])
def test_other_numbers_of_channels_become_grey(channels, mode):
    images = np.zeros((2, channels, 8, 8), np.float32)
    assert image_grid.picture(images, np.zeros(2), {}).mode == mode


def test_the_last_row_may_be_short():
    images = np.zeros((3, 1, 64, 64))
    shown = pixels(image_grid.picture(images, np.zeros(3), MNIST, columns=2))
    assert (shown[-64:, -64:] == 255).all() and (shown[-64:, :64] != 255).all()


def test_values_that_are_not_finite_are_still_shown():
    images = np.array([np.nan, np.inf, 0.0]).reshape(3, 1, 1, 1)
    assert np.isfinite(image_grid.visible(images, {})).all()


def test_a_set_shows_itself_in_a_notebook():
    torch = pytest.importorskip("torch")
    from ddbench import SyntheticSet

    made = SyntheticSet(
        torch.zeros(20, 1, 8, 8), torch.arange(20) % 10, provenance={"id": "<dm>", **MNIST}
    )
    assert made.show(columns=5).size == (5 * 66 - 2, 4 * 66 - 2)
    html = made._repr_html_()
    assert "&lt;dm&gt;: 20 images of 1×8×8, hard labels" in html
    assert html.count("<img src=") == 1


def test_png_bytes_hold_the_picture():
    picture = image_grid.picture(np.zeros((2, 1, 8, 8)), np.zeros(2), MNIST)
    read = Image.open(io.BytesIO(image_grid.png(picture)))
    assert (pixels(read) == pixels(picture)).all()


def test_soft_labels_order_by_their_largest_logit():
    torch = pytest.importorskip("torch")
    labels = torch.tensor([1, 0])
    images = labels.float().reshape(2, 1, 1, 1).expand(2, 1, 64, 64)
    made = SimpleNamespace(images=images, hard_labels=lambda: labels, provenance={})
    shown = pixels(image_grid.grid(made))
    assert shown[0, 0] < shown[0, -1]


def test_sets_of_every_format_that_can_be_saved_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    from ddbench.contract import synthetic_set
    from ddbench.reporting.markdown import galleries

    assert galleries.FORMAT == synthetic_set.FORMAT
    images, labels, path = torch.randn(2, 1, 4, 4), torch.arange(2), tmp_path / "set.safetensors"
    more = {"payload": {"codes": torch.ones(2)}, "formation": {"decode": {"name": "mine"}}}
    synthetic_set.SyntheticSet(images, labels, **more).save(path)
    assert (galleries.read_set(path).images == images.numpy()).all()
    synthetic_set.SyntheticSet(images[:0], labels, **more).save(path)
    with pytest.raises(ValueError, match="its images are decoded from other tensors"):
        galleries.read_set(path)
