"""FRePo's network: its layers, its start, its door."""

import subprocess
import sys

import pytest
import torch
from ddbench import canonical_architecture, has_batchnorm
from ddbench_frepo.network import build


def network_of(shape, classes=10, width=128, norm=False):
    return build(shape, classes, {"width": width, "norm": norm})


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("norm", [False, True])
def test_features_are_the_published_8192(norm, shape):
    network = network_of(shape, norm=norm).eval()
    images = torch.randn(2, *shape)
    assert network.embed(images).shape == (2, 8192) and network(images).shape == (2, 10)


def test_norm_comes_before_the_second_and_third_convolution_alone():
    layers = network_of((3, 32, 32), width=4, norm=True).features
    block = ["Conv2d", "ReLU", "AvgPool2d"]
    assert [type(layer).__name__ for layer in layers] == block + 2 * ["BatchNorm2d", *block]
    plain = network_of((3, 32, 32))
    assert not has_batchnorm(plain)
    assert [layer.out_channels for layer in plain.features[::3]] == [128, 256, 512]


def test_a_fresh_batch_weighs_nine_tenths_of_the_running_statistics():
    network = network_of((3, 32, 32), width=4, norm=True)
    norm = network.features[3]
    before = network.features[:3](images := torch.randn(8, 3, 32, 32))
    network(images)
    expected = 0.9 * before.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-5, atol=1e-6)


def test_weights_have_variance_one_over_fan_in_and_biases_are_zero():
    torch.manual_seed(0)
    layer = network_of((3, 32, 32)).features[3]
    fan_in = layer.weight[0].numel()
    assert layer.weight.var().item() * fan_in == pytest.approx(1, abs=0.02)
    assert layer.weight.abs().max() <= 2.28 / fan_in**0.5 and not layer.bias.any()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (27, 20)])
def test_small_and_uneven_images_are_padded(size):
    assert network_of((1, *size), width=4)(torch.randn(2, 1, *size)).shape == (2, 10)


def test_the_family_is_installed_and_its_door_imports_no_torch():
    assert canonical_architecture("frepo-bn-w0.25") == "frepo-w32-bn"
    code = "import sys, ddbench_frepo.extension; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
