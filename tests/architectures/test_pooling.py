"""Average pooling: torch's values and derivatives, by every way of differentiating."""

import math

import pytest
import torch
from ddbench.architectures import build, pooling
from ddbench.architectures.pooling import AveragePool, average_pool
from ddbench.meter import count_flops
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

SIZES = [
    (2, 3, 8, 8),  # few
    (10, 8, 32, 16),  # strided sums
    (20, 12, 48, 32),  # one convolution, of channels that fill no vector
    (9, 130, 36, 32),  # several convolutions, the last of them smaller
    (1, 40, 180, 160),  # one image is more than a piece
]

# torch compiles its own forward-mode rules with torch.jit.script on first use.
FORWARD_MODE = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")


def stock(maps):
    return functional.avg_pool2d(maps, 2)


def random(shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def no_maps_are_few(monkeypatch):
    monkeypatch.setattr(pooling, "FEW", 0)


def derivatives(pool, maps):
    """Return the pooled maps, the gradient of a function of them, and that gradient's."""
    maps = maps.clone().requires_grad_()
    weights = random(pool(maps).shape, maps.dtype, 1).requires_grad_()
    pooled = pool(maps)
    (first,) = torch.autograd.grad((pooled * weights).sum(), maps, create_graph=True)
    (second,) = torch.autograd.grad((first * random(maps.shape, maps.dtype, 2)).sum(), weights)
    return pooled, first, second


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SIZES)
def test_values_and_derivatives_are_torch_s_bit_by_bit(shape, dtype):
    maps = random(shape, dtype)
    for ours, theirs in zip(derivatives(average_pool, maps), derivatives(stock, maps), strict=True):
        assert torch.equal(ours, theirs)


def test_the_sizes_reach_every_form():
    """What the other tests say of `SIZES` would be empty if a limit moved past them."""
    numbers = [math.prod(shape) for shape in SIZES]
    assert numbers[0] < pooling.FEW <= numbers[1] < pooling.MANY <= numbers[2] < pooling.PIECE
    assert math.prod(SIZES[3][1:]) < pooling.PIECE < numbers[3]
    assert math.prod(SIZES[4][1:]) > pooling.PIECE


@pytest.mark.parametrize("shape", [(10, 8, 33, 16), (10, 8, 32, 17), (10, 8, 33, 31), (8, 64, 64)])
def test_odd_sides_and_maps_without_a_batch_are_pooled_as_torch_does(shape):
    maps = random(shape)
    for ours, theirs in zip(derivatives(average_pool, maps), derivatives(stock, maps), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "view",
    [
        lambda maps: maps.to(memory_format=torch.channels_last),
        lambda maps: maps.transpose(2, 3),
        lambda maps: maps[:, ::2],
        lambda maps: maps[..., 1:-1, 1:-1],
        lambda maps: maps[:1].expand(30, -1, -1, -1),
    ],
)
def test_other_layouts_in_memory_have_the_same_values(view):
    maps = view(random((20, 12, 48, 32)))
    assert torch.equal(average_pool(maps), stock(maps))
    assert average_pool(maps).stride() == stock(maps).stride()


def test_a_gradient_of_another_layout_is_spread_alike():
    maps = random((10, 8, 32, 16)).requires_grad_()
    across = random((10, 8, 8, 16))
    for change in (lambda p: p.mean(), lambda p: (p.transpose(2, 3) * across).sum()):
        (ours,) = torch.autograd.grad(change(average_pool(maps)), maps)
        (theirs,) = torch.autograd.grad(change(stock(maps)), maps)
        assert torch.equal(ours, theirs)


@FORWARD_MODE
def test_gradients_are_those_of_finite_differences(no_maps_are_few):
    maps = random((1, 2, 2, 4), torch.float64).requires_grad_()
    check = {"check_forward_ad": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(average_pool, (maps,), **check)
    assert torch.autograd.gradgradcheck(average_pool, (maps,), check_fwd_over_rev=True)


def cube(pool):
    """Return a function of maps with derivatives of every order."""
    return lambda maps: pool(maps).pow(3).sum()


@FORWARD_MODE
def test_torch_func_composes(no_maps_are_few):
    maps, tangent = random((1, 2, 4, 4), torch.float64), random((1, 2, 4, 4), torch.float64, 1)
    for transform in (
        torch.func.grad,
        torch.func.hessian,
        lambda f: torch.func.grad(lambda m: torch.func.grad(f)(m).square().sum()),
        lambda f: lambda m: torch.func.jvp(f, (m,), (tangent,)),
        lambda f: lambda m: torch.func.jvp(torch.func.grad(f), (m,), (tangent,)),
        lambda f: lambda m: torch.func.vjp(f, m)[1](torch.ones((), dtype=m.dtype)),
    ):
        ours, theirs = transform(cube(average_pool))(maps), transform(cube(stock))(maps)
        torch.testing.assert_close(ours, theirs)


def test_vmap_over_a_backward_pass_that_began_outside_of_it(no_maps_are_few):
    maps, tangents = random((2, 3, 8, 8)).requires_grad_(), random((5, 2, 3, 4, 4), seed=1)
    rows = [torch.autograd.grad(stock(maps), maps, tangent)[0] for tangent in tangents]
    pooled = average_pool(maps)
    together = torch.vmap(lambda t: torch.autograd.grad(pooled, maps, t, retain_graph=True)[0])
    assert torch.equal(together(tangents), torch.stack(rows))


@pytest.mark.parametrize("axis", [0, 2, 4])
def test_vmap_is_a_loop(axis, no_maps_are_few):
    maps = random((5, 2, 3, 8, 8)).movedim(0, axis)
    for function in (average_pool, torch.func.grad(cube(average_pool))):
        together = torch.vmap(function, axis)(maps)
        assert torch.equal(together, torch.stack([function(one) for one in maps.unbind(axis)]))


def test_vmap_over_gradients_of_stacked_networks_is_a_loop(no_maps_are_few):
    networks = [build("convnet-w8", (1, 16, 16), 4).double() for _ in range(2)]
    weights, _ = torch.func.stack_module_state(networks)
    images, labels = random((3, 1, 16, 16), torch.float64), torch.arange(3)

    def loss(weights):
        logits = torch.func.functional_call(networks[0], weights, (images,))
        return functional.cross_entropy(logits, labels)

    together = torch.vmap(torch.func.grad(loss))(weights)
    for k in range(2):
        alone = torch.func.grad(loss)({name: stack[k] for name, stack in weights.items()})
        for name, gradient in alone.items():
            torch.testing.assert_close(together[name][k], gradient)


@FORWARD_MODE
def test_forward_mode_outside_torch_func(no_maps_are_few):
    maps, tangent = random((2, 3, 8, 8)), random((2, 3, 8, 8), seed=1)
    with forward_ad.dual_level():
        dual = average_pool(forward_ad.make_dual(maps, tangent))
        assert torch.equal(forward_ad.unpack_dual(dual).tangent, stock(tangent))


@pytest.mark.parametrize("counter", [count_flops, lambda: FlopCounterMode(display=False)])
def test_counters_count_what_they_counted_of_torch_s_pooling(counter):
    def step(pool):
        images, weight = random((20, 1, 48, 48)).requires_grad_(), random((8, 8, 3, 3))
        with counter() as count:
            maps = functional.conv2d(images, weight[:, :1], padding=1)
            loss = functional.conv2d(pool(maps), weight).square().sum()
            (first,) = torch.autograd.grad(loss, images, create_graph=True)
            first.square().sum().backward()
        return count

    ours, theirs = step(average_pool), step(stock)
    for what in ("total", "work", "opaque", "uncounted", "flop_counts"):
        assert getattr(ours, what, None) == getattr(theirs, what, None)
    assert getattr(ours, "total", None) or ours.get_total_flops() == theirs.get_total_flops() > 0


def test_a_backward_that_alone_is_counted_has_no_flops():
    maps = random((20, 12, 48, 32)).requires_grad_()
    loss = average_pool(maps).square().sum()
    with count_flops() as count:
        loss.backward()
    assert count.total == 0
    assert not count.lower_bound


def test_reduced_precision_and_autocast_stay_out(monkeypatch):
    maps = random((20, 12, 48, 32))
    monkeypatch.setattr(pooling, "_by_convolution", None)  # it would be rounded
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(average_pool(maps), stock(maps))
    try:
        torch.backends.mkldnn.conv.fp32_precision = "bf16"
        assert torch.equal(average_pool(maps), stock(maps))
    finally:
        torch.backends.mkldnn.conv.fp32_precision = "none"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.int64])
def test_other_dtypes_do_what_torch_does(dtype):
    maps = random((10, 8, 32, 16)).to(dtype)
    try:
        expected = stock(maps)
    except (RuntimeError, NotImplementedError):
        with pytest.raises((RuntimeError, NotImplementedError)):
            average_pool(maps)
    else:
        assert torch.equal(average_pool(maps), expected)


def test_other_devices_use_torch_s_operator():
    assert average_pool(torch.empty(20, 12, 48, 32, device="meta")).shape == (20, 12, 24, 16)


def test_the_zoo_pools_by_it_and_its_logits_are_those_of_torch_s_layer():
    images = random((40, 3, 32, 32))
    for name in ("convnet-w8", "resnet18-ap-w0.1"):
        network = build(name, (3, 32, 32), 10)
        assert any(isinstance(layer, AveragePool) for layer in network.modules())
        with torch.no_grad():
            ours = network(images)
            for layer in network.modules():
                layer.__class__ = nn.AvgPool2d if type(layer) is AveragePool else layer.__class__
            assert torch.equal(ours, network(images))
