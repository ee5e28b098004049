"""Augmentation: each operation against its definition image by image, and how it is drawn."""

import dataclasses
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ddbench import augment as A
from ddbench.augment import dc, dsa
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

DSA = "color_crop_cutout_flip_scale_rotate"
DIGITS = "color_crop_cutout_scale_rotate"
ALL = [*dsa.OPERATIONS, "dc-mnist", "dc-bn"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(*shape, seed=1):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def drawn(operation, images, seed=0, shared=False):
    B, ch, H, W = images.shape
    return A.draw(operation, B, (H, W), seeded(seed), shared=shared, channels=ch)


# --- the definitions, one image and one pixel at a time, in numpy float64 --------------------


def value_at(image, c, i, j, outside=0.0):
    H, W = image.shape[1:]
    return image[c, i, j] if 0 <= i < H and 0 <= j < W else outside


def each_pixel(image, value):
    result = np.empty_like(image)
    for c, i, j in itertools.product(*map(range, image.shape)):
        result[c, i, j] = value(c, i, j)
    return result


def plain_color(image, brightness, saturation, contrast):
    x = image + brightness
    for i, j in itertools.product(*map(range, image.shape[1:])):
        mean = sum(x[:, i, j]) / len(x)
        x[:, i, j] = (x[:, i, j] - mean) * saturation + mean
    mean = x.sum() / x.size
    return (x - mean) * contrast + mean


def plain_crop(image, rows, columns):
    return each_pixel(image, lambda c, i, j: value_at(image, c, i + int(rows), j + int(columns)))


def plain_cutout(image, row, column):
    H, W = image.shape[1:]
    height, width = int(H * 0.5 + 0.5), int(W * 0.5 + 0.5)
    result = image.copy()
    top, left = int(row) - height // 2, int(column) - width // 2
    for i, j in itertools.product(range(top, top + height), range(left, left + width)):
        if 0 <= i < H and 0 <= j < W:
            result[:, i, j] = 0
    return result


def plain_flip(image, flip):
    W = image.shape[2]
    return each_pixel(image, lambda c, i, j: image[c, i, W - 1 - j]) if flip else image


def plain_affine(image, matrix):
    """Read at matrix @ (x', y'), sides running from -1 to 1, by hats over all pixels."""
    H, W = image.shape[1:]

    def value(c, i, j):
        x, y = matrix @ [(2 * j + 1) / W - 1, (2 * i + 1) / H - 1]
        column, row = ((x + 1) * W - 1) / 2, ((y + 1) * H - 1) / 2
        hat_rows = np.maximum(0, 1 - abs(np.arange(H) - row))
        hat_columns = np.maximum(0, 1 - abs(np.arange(W) - column))
        return hat_rows @ image[c] @ hat_columns

    return each_pixel(image, value)


def plain_scale(image, x, y):
    return plain_affine(image, np.diag([float(x), float(y)]))


def plain_rotate(image, degrees):
    a = math.radians(degrees)
    return plain_affine(image, np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]))


PLAIN = {
    "color": plain_color,
    "crop": plain_crop,
    "cutout": plain_cutout,
    "flip": plain_flip,
    "scale": plain_scale,
    "rotate": plain_rotate,
}


@pytest.mark.parametrize("shape", [(6, 1, 10, 10), (5, 3, 9, 12)])
@pytest.mark.parametrize("operation", PLAIN)
def test_operation_is_its_definition_applied_to_each_image(operation, shape):
    images = some_images(*shape)
    transform = drawn(operation, images)
    expected = [
        PLAIN[operation](
            image.copy(), **{name: value[b].item() for name, value in transform.parameters.items()}
        )
        for b, image in enumerate(images.numpy())
    ]
    np.testing.assert_allclose(transform.apply(images).numpy(), np.stack(expected), atol=1e-12)


@pytest.mark.parametrize("operation", ["scale", "rotate"])
def test_sampling_equals_grid_sample_with_corners_not_aligned(operation):
    images = some_images(32, 3, 28, 20).float()
    transform = drawn(operation, images)
    parameters = transform.parameters
    theta = torch.zeros(32, 2, 3)
    if operation == "scale":
        theta[:, 0, 0], theta[:, 1, 1] = parameters["x"], parameters["y"]
    else:
        angle = torch.deg2rad(parameters["degrees"])
        theta[:, 0, 0], theta[:, 0, 1] = angle.cos(), -angle.sin()
        theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos()
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(transform.apply(images), expected, atol=5e-5, rtol=0)


def test_saturation_changes_nothing_on_one_channel():
    images = some_images(8, 1, 12, 12)
    transform = drawn("color", images)
    grey = transform.parameters | {"saturation": torch.ones(8)}
    neutral = dataclasses.replace(transform, parameters=grey)
    assert transform.parameters["saturation"].std() > 0.1
    torch.testing.assert_close(transform.apply(images), neutral.apply(images))
    colour = some_images(8, 3, 12, 12)
    assert not torch.allclose(transform.apply(colour), neutral.apply(colour))


@pytest.mark.parametrize(("side", "hole"), [(28, 14), (32, 16), (9, 5), (7, 4)])
def test_cutout_takes_a_quarter_at_most_and_its_mean_is_that_of_a_clipped_square(side, hole):
    count = 20_000
    transform = A.draw("cutout", count, (side, side), seeded(), shared=False)
    area = 1 - transform.apply(torch.ones(count, 1, side, side)).mean((1, 2, 3)).double()
    centres = range(side + 1 - hole % 2)
    lengths = [
        sum(0 <= i < side for i in range(centre - hole // 2, centre - hole // 2 + hole))
        for centre in centres
    ]
    assert area.max().item() == pytest.approx((hole / side) ** 2)
    assert area.min().item() == pytest.approx((min(lengths) / side) ** 2)
    expected = (sum(lengths) / len(lengths) / side) ** 2  # row and column are independent
    assert abs(area.mean() - expected) < 5 * area.std() / math.sqrt(count)
    if side in (28, 32):
        assert min(lengths) ** 2 / side**2 == 0.0625
        assert expected == pytest.approx(0.186, abs=1e-3)


# --- DC's augmentation ------------------------------------------------------------------------


def plain_dc_crop(image, mean, rows, columns):
    ch, H, W = image.shape
    padded = np.ones((ch, H + 8, W + 8)) * mean[:, None, None]
    padded[:, 4 : 4 + H, 4 : 4 + W] = image
    top, left = int(rows) + 4, int(columns) + 4
    return padded[:, top : top + H, left : left + W]


def plain_dc_scale(image, mean, height, width):
    ch, H, W = image.shape
    resized = F.interpolate(torch.from_numpy(image)[None], [int(height), int(width)])[0].numpy()
    canvas_side = max(int(height), int(width), H, W)
    canvas = np.zeros((ch, canvas_side, canvas_side))
    top, left = (canvas_side - int(height)) // 2, (canvas_side - int(width)) // 2
    canvas[:, top : top + int(height), left : left + int(width)] = resized
    top, left = (canvas_side - H) // 2, (canvas_side - W) // 2
    return canvas[:, top : top + H, left : left + W]


def plain_dc_rotate(image, mean, degrees):
    ch, H, W = image.shape
    rotated = ndimage.rotate(image, int(degrees), axes=(-2, -1), cval=mean.mean())
    top, left = (rotated.shape[1] - H) // 2, (rotated.shape[2] - W) // 2
    return rotated[:, top : top + H, left : left + W]


PLAIN_DC = {
    "crop": (dc.draw_crop, dc.crop, plain_dc_crop),
    "scale": (dc.draw_scale, dc.scale, plain_dc_scale),
    "rotate": (dc.draw_rotate, dc.rotate, plain_dc_rotate),
}


@pytest.mark.parametrize("shape", [(40, 1, 28, 28), (40, 3, 15, 16)])
@pytest.mark.parametrize("operation", PLAIN_DC)
def test_dc_operation_is_its_definition_applied_to_each_image(operation, shape):
    draw, apply, plain = PLAIN_DC[operation]
    images = some_images(*shape)
    parameters = draw(shape[0], shape[1:], seeded())
    mean = images.mean((0, 2, 3)).numpy()
    expected = [
        plain(image, mean, **{name: value[b].item() for name, value in parameters.items()})
        for b, image in enumerate(images.numpy())
    ]
    np.testing.assert_allclose(apply(images, parameters).numpy(), np.stack(expected), atol=1e-11)


@pytest.mark.parametrize("side", [27, 28, 32])
def test_dc_rotation_equals_scipys_at_every_angle(side):
    degrees = torch.arange(-45, 45)
    image = some_images(1, 1, side, side)
    images = image.expand(90, -1, -1, -1)
    expected = np.stack(
        [plain_dc_rotate(image[0].numpy(), image.numpy().mean((0, 2, 3)), d) for d in degrees]
    )
    in_double = dc.rotate(images, {"degrees": degrees})
    np.testing.assert_allclose(in_double.numpy(), expected, atol=1e-11)
    in_single = dc.rotate(images.float(), {"degrees": degrees})
    np.testing.assert_allclose(in_single.numpy(), expected, atol=2e-4)


def test_dc_scale_equals_interpolate_at_every_size():
    sizes = torch.cartesian_prod(torch.arange(22, 34), torch.arange(22, 34))
    image = some_images(1, 1, 28, 28)
    scaled = dc.scale(image.expand(144, -1, -1, -1), {"height": sizes[:, 0], "width": sizes[:, 1]})
    expected = [plain_dc_scale(image[0].numpy(), None, height, width) for height, width in sizes]
    np.testing.assert_array_equal(scaled.numpy(), np.stack(expected))


def test_dc_noise_has_its_strength_and_differs_everywhere():
    images = torch.zeros(50, 3, 16, 16)
    parameters = dc.draw_noise(50, (3, 16, 16), seeded())
    added = dc.noise(images, parameters)
    assert added.std().item() == pytest.approx(0.001, rel=0.02)
    assert added.unique().numel() > 0.9 * added.numel()


@pytest.mark.parametrize(
    ("strategy", "functions"),
    [("dc-mnist", [dc.crop, dc.scale, dc.rotate]), ("dc-bn", [dc.crop, dc.noise])],
)
def test_dc_strategy_gives_each_image_one_of_its_operations(strategy, functions):
    images = some_images(300, 3, 14, 14)
    transform = drawn(strategy, images)
    result = transform.apply(images)
    alone = [
        function(
            images,
            {
                name.split(".")[1]: value
                for name, value in transform.parameters.items()
                if name.startswith(f"{function.__name__}.")
            },
        )
        for function in functions
    ]
    chosen = transform.parameters["choice"]
    for b in range(300):
        torch.testing.assert_close(result[b], alone[chosen[b]][b])
    counts = chosen.bincount(minlength=len(functions))
    assert (counts - 300 / len(functions)).abs().max() < 45  # about 5 standard deviations


# --- one transform for several batches, or one per image -------------------------------------


@pytest.mark.parametrize("strategy", ALL)
@pytest.mark.parametrize("synthetic_count", [1, 2, 10])
def test_siamese_batches_of_any_sizes_get_one_transform(strategy, synthetic_count):
    image = some_images(1, 3, 12, 12).float()
    real, synthetic = (image.expand(count, -1, -1, -1) for count in (256, synthetic_count))
    for seed in range(3):
        results = torch.cat(A.augment_alike(strategy, seeded(seed), real, synthetic))
        torch.testing.assert_close(results, results[:1].expand_as(results), atol=2e-6, rtol=0)


def test_siamese_transform_does_not_depend_on_the_batches():
    image = some_images(1, 1, 12, 12)
    for seed in range(20):
        alone = A.augment_alike(DSA, seeded(seed), image)[0]
        among = A.augment_alike(DSA, seeded(seed), some_images(7, 1, 12, 12), image)[1]
        torch.testing.assert_close(among, alone)


def test_shared_parameters_are_one_set_whatever_the_count():
    many, one = (A.draw("scale", count, (8, 8), seeded(), shared=True) for count in (5, 1))
    assert {name: value.shape for name, value in many.parameters.items()} == {"x": (1,), "y": (1,)}
    assert all(torch.equal(many.parameters[name], one.parameters[name]) for name in ("x", "y"))
    assert many.apply(torch.ones(7, 1, 8, 8)).shape == (7, 1, 8, 8)


def test_plain_augmentation_draws_parameters_for_each_image():
    for operation in dsa.OPERATIONS:
        images = some_images(1, 3, 16, 16).expand(40, -1, -1, -1)
        results = A.augment(operation, seeded(), images)
        distinct = results.flatten(1).unique(dim=0).shape[0]
        assert distinct == 2 if operation == "flip" else distinct > 20, operation


@pytest.mark.parametrize("operation", dsa.OPERATIONS)
def test_no_image_depends_on_its_neighbours(operation):
    images = some_images(6, 3, 12, 12)
    changed = images.clone()
    changed[1:] += 1
    transform = drawn(operation, images)
    torch.testing.assert_close(transform.apply(changed)[0], transform.apply(images)[0])
    assert not torch.allclose(transform.apply(changed)[1:], transform.apply(images)[1:])


# --- how parameters are drawn ----------------------------------------------------------------


def test_operations_are_drawn_uniformly():
    generator = seeded()
    names = Counter(
        A.draw(DIGITS, 1, (28, 28), generator, shared=True).operation for _ in range(3000)
    )
    assert set(names) == set(DIGITS.split("_"))
    chi_square = sum((count - 600) ** 2 / 600 for count in names.values())
    assert chi_square < 23.5  # 4 degrees of freedom, p = 1e-4


@pytest.mark.parametrize(
    ("operation", "name", "low", "high"),
    [
        ("color", "brightness", -0.5, 0.5),
        ("color", "saturation", 0, 2),
        ("color", "contrast", 0.5, 1.5),
        ("scale", "x", 1 / 1.2, 1.2),
        ("scale", "y", 1 / 1.2, 1.2),
        ("rotate", "degrees", -15, 15),
    ],
)
def test_continuous_parameters_are_uniform_over_their_range(operation, name, low, high):
    values = A.draw(operation, 20_000, (28, 28), seeded(), shared=False).parameters[name]
    assert values.shape == (20_000,)
    assert low <= values.min() and values.max() <= high
    counts = torch.histc(values, bins=10, min=low, max=high)
    assert ((counts - 2000) ** 2 / 2000).sum() < 33.7  # 9 degrees of freedom, p = 1e-4


@pytest.mark.parametrize(
    ("strategy", "name", "size", "expected"),
    [
        ("crop", "rows", (28, 32), range(-4, 5)),
        ("crop", "columns", (28, 64), range(-8, 9)),
        ("cutout", "row", (28, 28), range(29)),
        ("cutout", "column", (28, 9), range(9)),
        ("dc-mnist", "crop.rows", (28, 28), range(-4, 4)),
        ("dc-mnist", "scale.height", (28, 28), range(22, 34)),
        ("dc-mnist", "rotate.degrees", (28, 28), range(-45, 45)),
    ],
)
def test_whole_parameters_take_every_value_of_their_range(strategy, name, size, expected):
    values = A.draw(strategy, 20_000, size, seeded(), shared=False).parameters[name]
    assert sorted(values.unique().tolist()) == list(expected)
    interior = torch.bincount(values - expected[0])[1:-1]
    share = 20_000 / len(expected)
    assert (interior / share - 1).abs().max() < 5 / math.sqrt(share) + (
        0.1 if "scale" in name else 0
    )


def test_independent_parameters_are_uncorrelated():
    for operation, names in [
        ("color", ["brightness", "saturation", "contrast"]),
        ("crop", ["rows", "columns"]),
        ("cutout", ["row", "column"]),
        ("scale", ["x", "y"]),
    ]:
        parameters = A.draw(operation, 20_000, (28, 28), seeded(), shared=False).parameters
        correlation = torch.corrcoef(torch.stack([parameters[name].double() for name in names]))
        assert (correlation - torch.eye(len(names))).abs().max() < 5 / math.sqrt(20_000), operation


def test_half_of_the_images_are_flipped():
    flips = A.draw("flip", 20_000, (4, 4), seeded(), shared=False).parameters["flip"]
    assert abs(flips.double().mean() - 0.5) < 5 * 0.5 / math.sqrt(20_000)


@pytest.mark.parametrize("strategy", [DSA, "dc-mnist", "dc-bn"])
def test_one_seed_gives_one_result_and_the_global_generator_takes_no_part(strategy):
    images = some_images(5, 3, 12, 12)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = [A.augment(strategy, seeded(seed), images) for seed in range(12)]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(8)
    second = [A.augment(strategy, seeded(seed), images) for seed in range(12)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_none_returns_the_images_and_draws_nothing():
    generator = seeded()
    before = generator.get_state()
    images = some_images(2, 1, 8, 8)
    assert A.augment("none", generator, images) is images
    assert A.augment_alike("none", generator, images, images[:1])[0] is images
    assert torch.equal(before, generator.get_state())


# --- derivatives, transforms, devices ---------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("strategy", ALL)
def test_first_and_second_derivatives_are_exact(strategy, shared):
    channels = 2 if strategy == "color" else 1  # only color mixes them
    images = some_images(2, channels, 4, 3).requires_grad_()
    transform = drawn(strategy, images, shared=shared)
    assert torch.autograd.gradcheck(lambda x: transform.apply(x), images)
    # Squared: each operation is linear or affine in the images, so alone its second is zero.
    assert torch.autograd.gradgradcheck(lambda x: transform.apply(x).square(), images)


@pytest.mark.parametrize("strategy", ALL)
def test_vmap_over_networks_equals_a_loop(strategy):
    images = some_images(4, 3, 2, 8, 9)  # (networks, B, ch, H, W)
    transforms = [drawn(strategy, batch, seed) for seed, batch in enumerate(images)]
    stacked = {
        name: torch.stack([transform.parameters[name] for transform in transforms])
        for name in transforms[0].parameters
    }

    def energy(batch, parameters):
        return dataclasses.replace(transforms[0], parameters=parameters).apply(batch).pow(3).sum()

    gradients = torch.func.vmap(torch.func.grad(energy))(images, stacked)
    for k, transform in enumerate(transforms):
        torch.testing.assert_close(
            gradients[k], torch.func.grad(energy)(images[k], transform.parameters)
        )


# torch compiles its own forward-mode rules with torch.jit.script on first use.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("strategy", ALL)
def test_forward_mode_derivative_equals_reverse_mode(strategy):
    images = some_images(2, 1, 6, 6)
    transform = drawn(strategy, images)
    tangent, weight = some_images(2, 1, 6, 6, seed=2), some_images(2, 1, 6, 6, seed=3)
    _, forward = torch.func.jvp(transform.apply, (images,), (tangent,))
    _, pull = torch.func.vjp(transform.apply, images)
    torch.testing.assert_close((forward * weight).sum(), (pull(weight)[0] * tangent).sum())


@pytest.mark.parametrize("strategy", ALL)
def test_applying_never_asks_the_device_for_a_value(strategy):
    images = torch.empty(3, 1, 8, 8, device="meta")  # any question to it raises
    assert drawn(strategy, images).apply(images).shape == (3, 1, 8, 8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("strategy", ALL)
def test_gpu_gives_what_the_cpu_gives(strategy):
    images = some_images(16, 3, 28, 28)
    on_cpu = A.augment(strategy, seeded(), images)
    on_gpu = A.augment(strategy, seeded(), images.to("cuda"))
    torch.testing.assert_close(on_gpu.cpu(), on_cpu)


@pytest.mark.parametrize("strategy", ALL)
def test_inputs_are_left_as_they_were(strategy):
    images = some_images(4, 3, 10, 10)
    before = images.clone()
    result = A.augment(strategy, seeded(), images)
    result.mul_(2)
    assert torch.equal(images, before)


def test_rotation_under_inference_mode_does_not_spoil_later_gradients():
    images = some_images(2, 1, 11, 11)
    with torch.inference_mode():
        A.augment("dc-mnist", seeded(), images)
    images.requires_grad_()
    A.augment("dc-mnist", seeded(), images).sum().backward()
    assert torch.isfinite(images.grad).all()


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(["none", DSA, *ALL]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(3, 20), st.integers(3, 20)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_any_batch_keeps_its_shape_and_dtype_and_stays_finite(strategy, shape, dtype, seed):
    images = 5 * some_images(*shape, seed=seed).to(dtype)
    for result in (
        A.augment(strategy, seeded(seed), images),
        *A.augment_alike(strategy, seeded(seed), images, images[:1]),
    ):
        assert result.shape[1:] == images.shape[1:]
        assert result.dtype == dtype
        assert torch.isfinite(result).all()


# --- strategies one after the other ------------------------------------------------------------


def test_strategies_joined_by_plus_are_applied_in_turn():
    images = some_images(4, 3, 12, 12)
    generator = seeded()
    by_hand = images
    for part in ("flip", "color", "crop_scale", "cutout"):
        by_hand = A.augment(part, generator, by_hand)
    assert torch.equal(A.augment("flip+color+crop_scale+cutout", seeded(), images), by_hand)
    assert not torch.equal(by_hand, images)


def test_strategies_joined_by_plus_are_alike_for_each_batch():
    real, synthetic = some_images(4, 3, 12, 12), some_images(2, 3, 12, 12, seed=1)
    one, other = A.augment_alike("color+crop+cutout", seeded(), real, synthetic)
    transform = A.draw("color+crop+cutout", 1, (12, 12), seeded(), shared=True, channels=3)
    assert torch.equal(one, transform.apply(real)) and torch.equal(
        other, transform.apply(synthetic)
    )
    with pytest.raises(ValueError, match="2 images, but brightness was drawn for 3"):
        A.draw("flip+color", 3, (8, 8), seeded(), shared=False).then.apply(torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("strategy", ["color+crop_color", "+crop", "crop+", "none+crop"])
def test_strategies_joined_by_plus_are_checked_as_one(strategy):
    with pytest.raises(ValueError, match="'color' twice|unknown operation '(|none)'"):
        A.operations(strategy)


# --- errors -----------------------------------------------------------------------------------


def test_unknown_operation_is_named_with_the_known_ones_and_a_suggestion():
    with pytest.raises(ValueError, match="'rotat'.*'crop_rotat'.*did you mean 'rotate'.*cutout"):
        A.operations("crop_rotat")
    with pytest.raises(ValueError, match="did you mean 'none'"):
        A.operations("None")
    with pytest.raises(ValueError, match="unknown operation ''"):
        A.operations("")


def test_repeated_operation_is_refused():
    with pytest.raises(ValueError, match="'crop' twice"):
        A.operations("crop_flip_crop")


def test_transform_refuses_images_it_was_not_drawn_for():
    transform = A.draw("crop", 3, (8, 8), seeded(), shared=False)
    with pytest.raises(ValueError, match=r"\(3, 1, 8, 9\).*\(B, ch, 8, 8\)"):
        transform.apply(torch.zeros(3, 1, 8, 9))
    with pytest.raises(ValueError, match="2 images, but rows was drawn for 3"):
        transform.apply(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="uint8; normalise"):
        transform.apply(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))


def test_siamese_batches_must_agree_in_shape():
    with pytest.raises(ValueError, match=r"\(1, 8, 8\), \(3, 8, 8\)"):
        A.augment_alike(DSA, seeded(), torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8))
