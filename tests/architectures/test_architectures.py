"""The network zoo against published counts, the reference's outputs and hand counts."""

import math
import warnings

import ddbench
import pytest
import torch
from ddbench import architectures
from ddbench.architectures import (
    Architecture,
    ArchitectureError,
    Choice,
    Network,
    Width,
    build,
    canonical,
    catalogue,
    has_batchnorm,
    listing,
    register_architectures,
)
from torch import nn

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)

# name: (parameters, fvcore operations) of 1x28x28 and of 3x32x32 images, 10 classes, eval mode, as
# measured on the reference implementation (VICO-UoE/DatasetCondensation).
PUBLISHED = {
    "mlp": (118_282, 118_016, 411_146, 410_880),
    "convnet": (317_706, 49_246_208, 320_010, 51_605_504),
    "lenet": (61_706, 416_520, 62_006, 651_720),
    "alexnet": (1_865_802, 238_450_688, 1_872_202, 245_004_288),
    "alexnet-bn": (1_867_722, 238_893_056, 1_874_122, 245_446_656),
    "vgg11": (9_229_962, 152_347_648, 9_231_114, 153_527_296),
    "vgg11-bn": (9_229_962, 151_892_992, 9_231_114, 153_072_640),
    "resnet18": (11_172_810, 458_200_832, 11_173_962, 558_494_720),
    "resnet18-bn": (11_172_810, 456_760_832, 11_173_962, 556_651_520),
    "resnet18-ap": (11_213_770, 548_865_536, 11_250_762, 748_175_360),
    "resnet18-bn-ap": (11_213_770, 547_079_168, 11_250_762, 745_816_064),
    "convnet-d1": (329_226, 2_162_688, 331_530, 4_521_984),
    "convnet-d2": (231_306, 39_829_504, 233_610, 42_188_800),
    "convnet-d4": (450_186, 51_600_384, 452_490, 53_959_680),
    "convnet-w32": (24_138, 3_464_192, 24_714, 4_054_016),
    "convnet-w64": (85_130, 12_826_624, 86_282, 14_006_272),
    "convnet-w256": (1_225_226, 192_864_256, 1_229_834, 197_582_848),
    "convnet-bn": (317_706, 48_730_112, 320_010, 51_089_408),
    "convnet-nn": (316_938, 48_386_048, 319_242, 50_745_344),
    "convnet-ln": (661_002, 49_246_208, 663_306, 51_605_504),
    "convnet-gn": (317_706, 49_246_208, 320_010, 51_605_504),
    "convnet-np": (1_607_946, 306_446_336, 1_610_250, 308_805_632),
    "convnet-mp": (317_706, 49_246_208, 320_010, 51_605_504),
}

# The first logit (1x28x28, 3x32x32) of the reference implementation in float64, eval mode, its
# weights and image set by `spread` below.
REFERENCE_LOGIT = {
    "mlp": (0.827120109, -1.08414063),
    "convnet": (-3.1737532, -3.35160001),
    "lenet": (0.828019406, 0.842218822),
    "alexnet": (-2.90801249, -2.90689307),
    "alexnet-bn": (-15.7786824, -16.2108396),
    "vgg11": (15.3546363, 15.6403936),
    "vgg11-bn": (-124.9452, -127.235593),
    "resnet18": (25.3342687, 25.4222731),
    "resnet18-bn": (5.98655527, 5.31344533),
    "resnet18-ap": (-6.79123035, -9.0949174),
    "resnet18-bn-ap": (-4.79425771, -5.30461687),
    "convnet-d1": (-6.18293782, -6.39741593),
    "convnet-d2": (-4.57150223, -4.20327464),
    "convnet-d4": (-3.65375081, -3.87432093),
    "convnet-w32": (-1.92488437, -1.9991818),
    "convnet-w64": (-2.5435183, -2.52717458),
    "convnet-w256": (-3.3260114, -3.47111616),
    "convnet-sigmoid": (-3.17934767, -3.14388974),
    "convnet-leakyrelu": (-3.1714262, -3.33460462),
    "convnet-swish": (-2.80819999, -2.98805723),
    "convnet-nn": (-2.73087811, -2.7470536),
    "convnet-bn": (-6.85309867, -6.77599378),
    "convnet-ln": (-1.94774944, -1.94773918),
    "convnet-gn": (-4.47866397, -4.46552802),
    "convnet-np": (-10.6176374, -11.560542),
    "convnet-mp": (-4.78010961, -4.50403029),
    "convnet-swish-bn": (-6.26280781, -6.144129),
}
ROWS = [(name, shape) for name in PUBLISHED for shape in (MNIST, CIFAR)]


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def fvcore_count(network, shape):
    """Return fvcore's operations for one image, in all and by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network.eval(), torch.zeros(1, *shape))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return analysis.total(), analysis.by_operator()


@pytest.mark.parametrize(("name", "shape"), ROWS)
def test_parameters_and_fvcore_total_are_the_published_ones(name, shape):
    network = build(name, shape, 10)
    count, operations = PUBLISHED[name][:2] if shape == MNIST else PUBLISHED[name][2:]
    assert parameters(network) == count
    assert fvcore_count(network, shape)[0] == operations


def test_convnet_of_mnist_is_counted_operator_by_operator():
    total, parts = fvcore_count(build("convnet", MNIST, 10), MNIST)
    assert dict(parts) == {"conv": 48_365_568, "group_norm": 860_160, "linear": 20_480}
    assert total == 49_246_208


def test_convnet_of_mhist_has_the_study_s_count_worked_by_hand():
    network = build("convnet", CIFAR, 2)
    convolutions, pooled = [], []

    def note(layer, inputs, output):
        if isinstance(layer, nn.Conv2d):
            convolutions.append(output.numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.AvgPool2d):
            pooled.append(output.numel())

    for layer in network.features:
        layer.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, *CIFAR))
    assert sum(convolutions) == 50_724_864
    assert sum(pooled) == 43_008
    assert network.classifier.weight.numel() == 4_096
    assert fvcore_count(network, CIFAR)[0] == 51_589_120
    assert parameters(network) == 303_618


@pytest.mark.parametrize(("name", "count"), [("convnet-d4", 857_160), ("convnet", 1_938_120)])
def test_parameters_for_tiny_imagenet(name, count):
    assert parameters(on_meta(name, (3, 64, 64), 200)) == count


def on_meta(name, shape, num_classes=10, **more):
    """Return a network that has shapes but no numbers."""
    with torch.device("meta"):
        return build(name, shape, num_classes, **more)


def run(name, shape, num_classes=10):
    """Return the logits of two blank images."""
    with torch.no_grad():
        return build(name, shape, num_classes)(torch.zeros(2, *shape))


# Outputs --------------------------------------------------------------------------------------
def spread(count):
    """Return `count` fixed float64 numbers of variance 1 that repeat after a prime number."""
    k = torch.arange(1009)
    period = ((k * 7919 + k * k * 31) % 1009 / 1009 - 0.5).double() * math.sqrt(12)
    return period.repeat(count // 1009 + 1)[:count]


@pytest.mark.parametrize("shape", [MNIST, CIFAR])
@pytest.mark.parametrize("name", REFERENCE_LOGIT)
def test_output_is_the_reference_implementation_s(name, shape):
    """Weights and image are set by formula, so neither depends on a random generator."""
    network = build(name, shape, 10).double().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_((spread(p.numel()) / math.sqrt(p[0].numel())).view_as(p))
        logits = network(spread(math.prod(shape)).view(1, *shape))
    expected = REFERENCE_LOGIT[name][0 if shape == MNIST else 1]
    assert logits[0, 0].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "mnist", "cifar"),
    [
        ("convnet", 2048, 2048),
        ("alexnet", 3072, 3072),
        ("vgg11", 512, 512),
        ("resnet18", 512, 512),
        ("resnet18-ap", 4608, 8192),
        ("mlp", 128, 128),
        ("lenet", 84, 84),
    ],
)
def test_embedding_has_the_published_size(name, mnist, cifar):
    for shape, features in ((MNIST, mnist), (CIFAR, cifar)):
        assert on_meta(name, shape).classifier.in_features == features
    assert on_meta("convnet-d4", (3, 64, 64), 200).classifier.in_features == 2048


SMALL = ["convnet-w8", "alexnet-w0.05", "vgg11-w0.05", "resnet18-w0.1", "mlp-w0.1", "lenet"]
SMALL += ["resnet18-ap-w0.1", "resnet18-bn-w0.1", "resnet18-bn-ap-w0.1", "vgg11-bn-w0.05"]
SMALL += ["alexnet-bn-w0.05"]
SMALL += [f"convnet-w8-{token}" for token in "sigmoid leakyrelu swish nn bn ln gn np mp".split()]


@pytest.mark.parametrize("name", SMALL)
def test_forward_is_the_classifier_of_the_embedding(name):
    network = build(name, MNIST, 3).eval()
    images = torch.randn(2, *MNIST)
    with torch.no_grad():
        embedding = network.embed(images)
        assert embedding.shape == (2, network.classifier.in_features)
        assert torch.equal(network(images), network.classifier(embedding))


@pytest.mark.parametrize("name", SMALL)
def test_images_get_a_gradient_through_the_gradient_of_the_weights(name):
    """What gradient matching needs of every layer, those that work in place included."""
    torch.manual_seed(0)
    network = build(name, MNIST, 3)
    images = torch.randn(3, *MNIST, requires_grad=True)
    loss = nn.functional.cross_entropy(network(images), torch.arange(3))
    gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    sum(g.square().sum() for g in gradients).backward()
    assert images.grad.isfinite().all()
    assert all(image.abs().sum() > 0 for image in images.grad)


@pytest.mark.parametrize("name", ["convnet-w8", "vgg11-w0.1", "resnet18-w0.1", "resnet18-ap-w0.1"])
def test_instance_norm_is_the_same_in_train_and_eval_and_at_batch_1(name):
    network = build(name, CIFAR, 4)
    images = torch.randn(3, *CIFAR)
    with torch.no_grad():
        train, evaluated = network.train()(images), network.eval()(images)
        alone = torch.cat([network.train()(image[None]) for image in images])
    assert torch.equal(train, evaluated)
    torch.testing.assert_close(alone, train, rtol=1e-4, atol=1e-5)


def test_instance_norm_normalises_each_map_of_each_image():
    norm = build("convnet-w8", MNIST, 4).features[1]
    maps = norm(3 + 5 * torch.randn(2, 8, 32, 32))
    torch.testing.assert_close(maps.mean((2, 3)), torch.zeros(2, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(maps.var((2, 3), correction=0), torch.ones(2, 8), rtol=0, atol=1e-4)
    assert norm.weight.shape == norm.bias.shape == (8,)


def test_stacked_networks_run_under_vmap():
    networks = [build("convnet-w8", MNIST, 4) for _ in range(2)]
    weights, buffers = torch.func.stack_module_state(networks)
    images = torch.randn(3, *MNIST)

    def logits(weights, buffers):
        return torch.func.functional_call(networks[0], (weights, buffers), (images,))

    together = torch.vmap(logits)(weights, buffers)
    apart = torch.stack([network(images) for network in networks])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_builds_under_one_seed_are_equal():
    def weights(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.utils.parameters_to_vector(build("convnet-w8", MNIST, 4).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# Sizes ----------------------------------------------------------------------------------------
def first_map(name, shape):
    network = build(name, shape, 10)
    layer = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    return tuple(layer(torch.zeros(1, *shape)).shape[2:])


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_depends_on_the_size_and_not_on_the_channels(channels):
    for name in ("convnet-w8", "alexnet-w0.1", "vgg11-w0.1"):
        assert first_map(name, (channels, 28, 28)) == (32, 32)
        assert first_map(name, (channels, 32, 32)) == (32, 32)
        assert first_map(name, (channels, 64, 64)) == (64, 64)
    assert first_map("lenet", (channels, 28, 28)) == (28, 28)
    assert first_map("lenet", (channels, 32, 32)) == (28, 28)
    assert first_map("resnet18-w0.1", (channels, 28, 28)) == (28, 28)
    assert on_meta("mlp", (channels, 28, 28)).features[1].in_features == channels * 784


@pytest.mark.parametrize("name", ["convnet-w8", "alexnet-w0.1", "vgg11-w0.1", "lenet"])
def test_a_28_pixel_image_is_seen_as_a_32_pixel_one_with_a_black_frame(name):
    small, large = build(name, (3, 28, 28), 4), build(name, (3, 32, 32), 4)
    large.load_state_dict(small.state_dict())
    images = torch.randn(2, 3, 28, 28)
    framed = nn.functional.pad(images, (2, 2, 2, 2))
    torch.testing.assert_close(small(images), large(framed), rtol=1e-4, atol=1e-5)


NARROW = ["convnet-w8", "alexnet-w0.1", "vgg11-w0.1", "resnet18-w0.1", "resnet18-ap-w0.1", "lenet"]


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("size", [(28, 44), (33, 27), (64, 64), (25, 96)])
def test_other_sizes_and_oblong_images_work(name, size):
    assert run(name, (2, *size), 5).shape == (2, 5)


def test_features_of_an_oblong_image():
    assert on_meta("convnet", (1, 28, 20)).classifier.in_features == 128 * 4 * 3
    assert on_meta("mlp", (2, 3, 5)).features[1].in_features == 30


@pytest.mark.parametrize(
    "name",
    ["convnet", "convnet-w8-d4-np", "alexnet", "resnet18-bn-w0.1", "resnet18-bn-ap-w0.1", "mlp"],
)
def test_toy_images_of_8_pixels_work(name):
    assert run(name, (1, 8, 8), 4).shape == (2, 4)


def test_a_convnet_too_deep_for_the_image_names_sizes_and_the_largest_depth():
    with pytest.raises(ArchitectureError) as caught:
        build("convnet-d4-w8", (1, 8, 8), 4)
    assert str(caught.value) == (
        "convnet-d4-w8: depth 4 is too deep for 8x8 images "
        "(maps 8x8 -> 4x4 -> 2x2 -> 1x1 -> 0x0); use at most d3, or no pooling (np)"
    )


@pytest.mark.parametrize(
    ("name", "side"),
    [("vgg11", 25), ("lenet", 9), ("resnet18", 9), ("resnet18-ap", 16), ("resnet18-bn-ap", 8)],
)
def test_the_smallest_image_works_and_the_next_smaller_is_an_error(name, side):
    smaller = side - 1
    assert run(name, (1, side, side)).shape == (2, 10)
    with pytest.raises(ArchitectureError, match=f"^{name}: .*(too deep|1x1 map).*(images|pixels)"):
        on_meta(name, (1, smaller, smaller))


def test_the_error_of_vgg_names_the_smallest_image():
    with pytest.raises(ArchitectureError, match=r"8x8 images \(maps .*0x0\); .* at least 25x25"):
        build("vgg11", (1, 8, 8), 10)


@pytest.mark.parametrize(
    ("shape", "num_classes", "message"),
    [
        ((0, 28, 28), 10, r"shape \(0, 28, 28\); expected \(channels, height, width\)"),
        ((1, 28, 0), 10, r"shape \(1, 28, 0\)"),
        ((28, 28), 10, r"shape \(28, 28\)"),
        ((1, 28, 28), 0, "0 classes; expected at least 1"),
    ],
)
def test_impossible_shapes_and_classes_are_errors(shape, num_classes, message):
    with pytest.raises(ArchitectureError, match=message):
        build("convnet", shape, num_classes)


def test_one_class_and_one_channel_work():
    assert run("convnet-w8", MNIST, 1).shape == (2, 1)


# Widths ---------------------------------------------------------------------------------------
def widths(name):
    layers = (nn.Conv2d, nn.Linear)
    network = on_meta(name, CIFAR)
    return [m.weight.shape[0] for m in network.modules() if isinstance(m, layers)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convnet-w24", [24, 24, 24, 10]),
        ("convnet-w0.25", [32, 32, 32, 10]),
        ("convnet-w0.3-gn", [40, 40, 40, 10]),
        ("convnet-w2.0", [256, 256, 256, 10]),
        ("alexnet-w0.25", [32, 48, 64, 48, 48, 10]),
        ("vgg11-w0.25", [16, 32, 64, 64, 128, 128, 128, 128, 10]),
        ("mlp-w0.25", [32, 32, 10]),
        ("lenet-w0.25", [2, 4, 30, 21, 10]),
        ("lenet-w0.001", [1, 1, 1, 1, 10]),
        ("alexnet-w1.5", [192, 288, 384, 288, 288, 10]),
    ],
)
def test_width_tokens_set_every_hidden_width(name, expected):
    assert widths(name) == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet18-ap"])
def test_width_factor_scales_every_stage_of_resnet(name):
    assert widths(f"{name}-w0.25")[:-1] == [width // 4 for width in widths(name)[:-1]]


# Names ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convnet", "convnet"),
        ("convnet-w128-d3-relu-in-ap", "convnet"),
        ("convnet-ap-bn-swish", "convnet-swish-bn"),
        ("convnet-np-gn-d1-w8-sigmoid", "convnet-w8-d1-sigmoid-gn-np"),
        ("convnet-w032", "convnet-w32"),
        ("convnet-w0.25", "convnet-w32"),
        ("convnet-w1.0", "convnet"),
        ("alexnet-nn", "alexnet"),
        ("alexnet-bn-w0.250", "alexnet-w0.25-bn"),
        ("vgg11-w.5", "vgg11-w0.5"),
        ("vgg11-in-w1.", "vgg11"),
        ("mlp-w2.", "mlp-w2.0"),
        ("resnet18-ap-bn", "resnet18-bn-ap"),
        ("resnet18-strided", "resnet18"),
    ],
)
def test_canonical_drops_defaults_and_orders_tokens(name, expected):
    assert canonical(name) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize("name", ["convnet-ap-w0.25-bn-d2", "resnet18-ap-bn-w0.1", "vgg11-w.3-in"])
def test_canonical_names_the_same_network(name):
    shapes = [[p.shape for p in on_meta(n, CIFAR).parameters()] for n in (name, canonical(name))]
    assert shapes[0] == shapes[1]


def test_every_convnet_of_the_architecture_search_grid_builds():
    for depth in ("d1", "d2", "d3", "d4"):
        for norm in ("nn", "bn", "ln", "in", "gn"):
            for activation in ("sigmoid", "relu", "leakyrelu", "swish"):
                for pooling in ("np", "mp", "ap"):
                    name = f"convnet-w4-{depth}-{norm}-{activation}-{pooling}"
                    assert run(name, (3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "covnet",
            r"unknown architecture 'covnet' \(did you mean 'convnet'\?\); families: alexnet, co",
        ),
        ("ConvNetW32", "did you mean 'convnet-w32'"),
        ("ResNet18BN_AP", "did you mean 'resnet18-bn-ap'"),
        ("", "unknown architecture ''; families"),
        (
            "convnet-swsh",
            r"convnet has no token 'swsh' \(did you mean 'swish'\?\); its tokens: w32 \| w0",
        ),
        ("convnet-d9", r"no token 'd9'.*its tokens: .*, d3 \| d1 \| d2 \| d4, "),
        ("convnet-", "no token ''"),
        ("alexnet-d2", r"alexnet has no token 'd2'; its tokens: w0\.25, nn \| bn$"),
        ("mlp-bn", "mlp has no token 'bn'; its tokens: w0.25"),
        ("convnet-bn-gn", "'bn' and 'gn' both set the norm; keep one"),
        ("convnet-w32-w64", "'w32' and 'w64' both set the width"),
        ("convnet-w0", "'convnet-w0': 'w0': a width is at least 1"),
        ("alexnet-w0.0", "'w0.0': a width factor is above 0"),
        ("alexnet-w32", "'w32' is a number of channels.*such as w0.25"),
    ],
)
def test_names_that_do_not_exist_are_errors_with_a_remedy(name, message):
    with pytest.raises(ArchitectureError, match=message):
        canonical(name)
    with pytest.raises(ArchitectureError, match=message):
        build(name, MNIST, 10)


def test_group_norm_refuses_a_width_that_its_groups_do_not_divide():
    with pytest.raises(ArchitectureError, match="convnet-w30-gn: width 30 .* multiple of 4"):
        build("convnet-w30-gn", MNIST, 10)


# Batch norm, listing and third parties ----------------------------------------------------------
def test_batch_norm_is_told_by_modules():
    for name in ("convnet-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn", "resnet18-bn-ap"):
        assert has_batchnorm(on_meta(name, CIFAR))
    for name in ("convnet", "convnet-gn", "convnet-ln", "alexnet", "vgg11", "resnet18-ap", "mlp"):
        assert not has_batchnorm(on_meta(name, CIFAR))
    assert has_batchnorm(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))


def test_listing_counts_parameters_and_draws_nothing():
    before = torch.random.get_rng_state()
    rows = {row.name: row for row in listing()}
    assert torch.equal(before, torch.random.get_rng_state())
    assert list(rows) == list(register_architectures())
    for name, row in rows.items():
        assert row.parameters == {MNIST: PUBLISHED[name][0], CIFAR: PUBLISHED[name][2]}
        assert row.summary
    assert rows["vgg11"].tokens == "w0.25, in | bn"


def build_linear(shape, num_classes, options):
    if shape[0] == 3:
        raise ArchitectureError("grey images only")
    features = nn.Sequential(nn.Flatten(), options["act"]())
    return Network(features, nn.Linear(math.prod(shape), num_classes))


LINEAR = Architecture(
    "linear", build_linear, "a linear map", (Choice("act", {"id": nn.Identity, "tanh": nn.Tanh}),)
)


def test_a_third_party_family_is_found_named_built_and_listed():
    known = catalogue({"linear": LINEAR})
    assert isinstance(build("linear-tanh", MNIST, 3, catalogue=known).features[1], nn.Tanh)
    assert canonical("linear-id", known) == "linear"
    assert canonical("convnet-in", known) == "convnet"
    assert listing(known)[-1].parameters == {MNIST: 7850, CIFAR: None}
    with pytest.raises(ArchitectureError, match="linear: grey images only"):
        build("linear", CIFAR, 3, known)


def test_a_third_party_family_is_not_known_without_its_catalogue():
    catalogue({"linear": LINEAR})
    with pytest.raises(ArchitectureError, match="unknown architecture 'linear'"):
        build("linear", MNIST, 3)


def test_a_catalogue_refuses_names_that_are_taken_or_differ_from_the_key():
    taken = Architecture("convnet", build_linear, "mine")
    with pytest.raises(ArchitectureError, match="'convnet' exists already"):
        catalogue({"convnet": taken})
    with pytest.raises(ArchitectureError, match="'linear' is registered as 'other'"):
        catalogue({"other": LINEAR})
    with pytest.raises(ArchitectureError, match="'Line-ar': a family's name"):
        Architecture("Line-ar", build_linear, "mine")


def test_a_network_without_embed_is_refused():
    plain = Architecture("plain", lambda shape, classes, options: nn.Flatten(), "no embed")
    with pytest.raises(ArchitectureError, match="plain: the family built a Flatten without embed"):
        build("plain", MNIST, 3, catalogue({"plain": plain}))


def test_a_family_without_a_base_width_receives_the_factor():
    seen = {}
    wide = Architecture(
        "wide", lambda s, c, options: seen.update(options) or Network(None, None), "", (Width(),)
    )
    build("wide-w0.5", MNIST, 3, catalogue({"wide": wide}))
    assert seen == {"width": 0.5}


def test_the_package_exports_what_it_says():
    for name in architectures.__all__:
        assert hasattr(architectures, name), name


def test_an_outline_has_the_shapes_of_a_network_and_draws_nothing():
    before = torch.get_rng_state()
    outline = ddbench.outline("convnet-w8-bn", (1, 28, 28), 10)
    assert torch.equal(torch.get_rng_state(), before)
    state = build("convnet-w8-bn", (1, 28, 28), 10).state_dict()
    assert {name: value.shape for name, value in outline.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    assert all(value.is_meta for value in outline.parameters())
    assert ddbench.has_batchnorm(outline)
    assert not ddbench.has_batchnorm(ddbench.outline("lenet", (1, 28, 28), 10))
    with pytest.raises(ValueError, match="unknown architecture 'convnot'"):
        ddbench.outline("convnot", (1, 28, 28), 10)
