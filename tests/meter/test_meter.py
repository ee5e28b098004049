"""Seconds, FLOPs and memory against hand counts, torch's own counter and a clock of our own."""

import ast
import json
from itertools import pairwise
from pathlib import Path

import ddbench.meter
import pytest
import torch
from ddbench import architectures
from ddbench.meter import (
    PeakMemory,
    StepMeter,
    Stopwatch,
    count_flops,
    forward_macs,
    hardware,
    hardware_class,
    memory,
    warm_up,
)
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.flop_counter import FlopCounterMode

torch.set_num_threads(1)
GRAY = (1, 28, 28)


@pytest.fixture(scope="module")
def convnet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return architectures.build("convnet", GRAY, 10)


def count_of(block):
    with count_flops() as count:
        block()
    return count


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# Counts by hand


def test_linear_layer_forward_backward_and_double_backward_by_hand():
    layer, inputs = torch.nn.Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    product = 2 * 3 * 5 * 7
    assert count_of(lambda: layer(inputs)).total == product
    assert count_of(lambda: layer(inputs).sum().backward()).total == 3 * product

    def double():  # y = x W: g = x^T e; d|g|^2/dx is e (2g)^T, and e depends on nothing
        (gradient,) = torch.autograd.grad(layer(inputs).sum(), layer.weight, create_graph=True)
        gradient.square().sum().backward()

    assert count_of(double).total == (1 + 1 + 1) * product


@pytest.mark.parametrize(("stride", "side"), [(1, 8), (2, 4)])
def test_convolution_forward_and_backward_by_hand(stride, side):
    layer = torch.nn.Conv2d(3, 6, 3, padding=1, stride=stride)
    images = torch.randn(2, 3, 8, 8)
    product = 2 * 2 * (side * side) * 6 * (3 * 3 * 3)
    assert count_of(lambda: layer(images)).total == product
    assert count_of(lambda: layer(images).sum().backward()).total == 2 * product  # weight alone
    images.requires_grad_()
    assert count_of(lambda: layer(images).sum().backward()).total == 3 * product


@pytest.mark.parametrize("transposed", [False, True])
def test_grouped_convolution_backward_costs_two_forwards(transposed):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer, images = kind(8, 16, 3, groups=4), torch.randn(2, 8, 9, 9, requires_grad=True)
    pixels = 81 if transposed else 49
    forward = 2 * 2 * pixels * (8 * 16 // 4) * 9
    assert count_of(lambda: layer(images)).total == forward
    assert count_of(lambda: layer(images).sum().backward()).total == 3 * forward


def test_convnet_forward_is_the_published_count(convnet):
    count = count_of(lambda: convnet(torch.zeros(1, *GRAY)))
    assert count.total == 96_772_096
    assert count.by_op == {"convolution": 2 * 48_365_568, "addmm": 2 * 20_480}
    assert not count.lower_bound


def test_inference_mode_counts_the_same(convnet):
    with torch.inference_mode():
        assert count_of(lambda: convnet(torch.zeros(1, *GRAY))).total == 96_772_096


def gradient_matching(network, images):
    """The step that GM takes on the synthetic images, without the real ones."""
    loss = functional.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.long))
    gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    sum(gradient.square().sum() for gradient in gradients).backward()


def test_gradient_matching_step_by_hand(convnet):
    images = torch.zeros(1, *GRAY, requires_grad=True)
    forward, first = 96_772_096, 2 * 32 * 32 * 128 * 9
    # Forward 1; gradients of the weights 1 and of the layers' inputs 1, save the first layer's;
    # through both of these gradients 2 + 2, the input's half again without the first layer;
    # back through the forward 2. In all 9 forwards less 3 first layers: 8.93 forwards.
    assert count_of(lambda: gradient_matching(convnet, images)).total == 9 * forward - 3 * first


def per_class_gradients(network):
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def loss(parameters, images, labels):
        return functional.cross_entropy(functional_call(network, parameters, (images,)), labels)

    images, labels = torch.zeros(3, 2, *GRAY), torch.zeros(3, 2, dtype=torch.long)
    vmap(grad(loss), (None, 0, 0))(parameters, images, labels)


@pytest.fixture
def small():
    return architectures.build("convnet-w32", GRAY, 10)


def test_function_transforms_are_counted_like_the_loop_they_stand_for(small):
    forward = count_of(lambda: small(torch.zeros(1, *GRAY))).total
    first = 2 * 32 * 32 * 32 * 9
    count = count_of(lambda: per_class_gradients(small))
    # 6 images, forward and both gradients; torch.func also asks for what the first layer's
    # images get only if they are inputs of the derivative, which they are not
    assert count.total == 6 * (3 * forward - first)


WORKLOADS = {
    "forward": lambda network: network(torch.zeros(2, *GRAY)),
    "training": lambda network: network(torch.zeros(2, *GRAY)).sum().backward(),
    "matching": lambda network: gradient_matching(network, torch.zeros(1, *GRAY)),
    "attention": lambda _: functional.scaled_dot_product_attention(*torch.zeros(3, 2, 4, 6, 8)),
    "transposed": lambda _: torch.nn.ConvTranspose2d(3, 4, 3, stride=2)(torch.zeros(2, 3, 5, 5)),
    "products": lambda _: torch.addmm(torch.zeros(3, 2), torch.zeros(3, 9), torch.zeros(9, 2)),
    "batches": lambda _: torch.zeros(2, 3, 4) @ torch.zeros(2, 4, 5),
    "batched": lambda _: torch.baddbmm(*map(torch.zeros, [(2, 3, 5), (2, 3, 4), (2, 4, 5)])),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_totals_are_those_of_torchs_counter(name, small):
    with FlopCounterMode(display=False) as torchs:
        WORKLOADS[name](small)
    assert count_of(lambda: WORKLOADS[name](small)).total == torchs.get_total_flops()
    # torch 2.11's counter has no formula for attention on the CPU.
    assert torchs.get_total_flops() > 0 or name == "attention"


def test_gradients_for_the_images_alone_are_counted(small):
    """torch's counter raises here: its module table hooks the leaf."""
    images = torch.zeros(1, *GRAY, requires_grad=True)
    count = count_of(lambda: torch.autograd.grad(small(images).sum(), images))
    assert count.total == 2 * count_of(lambda: small(images)).total


# Formulas that torch lacks


A, B, RECT = random(6, 6), random(6, 3), random(9, 6)
S = A @ A.T + 6 * torch.eye(6, dtype=torch.float64)
BATCH = torch.stack([S, S])  # (2, 6, 6)
CHOLESKY = torch.linalg.cholesky(S)

FORMULAS = {  # n = 6, n^2 = 36, n^3 = 216
    "cholesky": (lambda: torch.linalg.cholesky(S), 72),
    "cholesky of a batch": (lambda: torch.linalg.cholesky(BATCH), 144),
    "cholesky_ex": (lambda: torch.linalg.cholesky_ex(S), 72),
    "cholesky_solve": (lambda: torch.cholesky_solve(B, CHOLESKY), 2 * 36 * 3),
    "solve_triangular": (lambda: torch.linalg.solve_triangular(S, B, upper=True), 36 * 3),
    "solve_triangular, right": (
        lambda: torch.linalg.solve_triangular(S, B.T, upper=True, left=False),
        36 * 3,
    ),
    "eigh": (lambda: torch.linalg.eigh(S), 1944),
    "eigenvalues alone": (lambda: torch.ops.aten._linalg_eigh(S, compute_v=False), 288),
    "mv": (lambda: torch.mv(RECT, B[:, 0]), 2 * 54),
    "matrix @ vector": (lambda: RECT @ B[:, 0], 2 * 54),
    "dot": (lambda: torch.dot(A[0], A[1]), 12),
    "cdist": (lambda: torch.cdist(A, RECT), 2 * 6 * 9 * 6),
    "cdist, by matrix product": (lambda: torch.cdist(random(30, 6), RECT), 2 * 30 * 9 * 6),
    "cdist, batch, p=1": (lambda: torch.cdist(BATCH, RECT, p=1), 2 * 2 * 6 * 9 * 6),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_linear_algebra_is_counted_by_its_documented_formula(name):
    block, expected = FORMULAS[name]
    assert count_of(block).total == expected


def loops(n, operations):
    return sum(operations(k) for k in range(n))


def test_leading_orders_agree_with_the_loops_of_the_algorithms():
    """2 per multiply-add of the textbook loops, for n = 300, where lower orders are small."""
    n = 300
    matrix = torch.eye(n)
    cases = {  # after pivot k, r = n - k - 1 rows remain
        torch.linalg.cholesky: loops(n, lambda k: (n - k - 1) * (n - k)),  # half of r^2
        lambda a: torch.linalg.solve_triangular(a, a[:, :1], upper=True): loops(n, lambda k: 2 * k),
    }
    for call, expected in cases.items():
        assert count_of(lambda call=call: call(matrix)).total == pytest.approx(expected, rel=0.01)


def test_a_cholesky_in_a_differentiated_solve_is_counted_forward_and_backward():
    kernel = S.clone().requires_grad_()
    count = count_of(
        lambda: torch.cholesky_solve(B, torch.linalg.cholesky(kernel)).sum().backward()
    )
    assert count.by_op["linalg_cholesky_ex"] == 72
    assert count.by_op["cholesky_solve"] == 2 * (2 * 36 * 3)  # forward and backward
    assert count.by_op["linalg_solve_triangular"] == 2 * 216


# What is not counted


def test_uncounted_operations_are_named_with_their_calls():
    count = count_of(lambda: (torch.zeros(3).exp().exp(), torch.zeros(3).sort()))
    assert count.total == 0
    assert count.uncounted["exp"] == 2
    assert count.uncounted["sort"] == 1


def test_dominating_uncounted_work_makes_a_lower_bound():
    values = torch.zeros(2_000_000)
    count = count_of(lambda: (values.sort(), values.sort(), values.sort()))
    assert count.total == 0
    assert count.lower_bound


MATRIX = torch.eye(100)
WITHOUT_FORMULA = {
    "inv": lambda: torch.linalg.inv(MATRIX),
    "solve": lambda: torch.linalg.solve(MATRIX, MATRIX),
    "lu": lambda: torch.linalg.lu(MATRIX),
    "det": lambda: torch.linalg.det(MATRIX),
    "svd": lambda: torch.linalg.svd(MATRIX),
    "svdvals": lambda: torch.linalg.svdvals(MATRIX),
    "qr": lambda: torch.linalg.qr(MATRIX),
    "eigvals": lambda: torch.linalg.eigvals(MATRIX),
    "lstsq": lambda: torch.linalg.lstsq(MATRIX, MATRIX),
    "pinv": lambda: torch.linalg.pinv(MATRIX),
    "matrix_exp": lambda: torch.linalg.matrix_exp(MATRIX),
    "cholesky_inverse": lambda: torch.cholesky_inverse(MATRIX),
    "addbmm": lambda: torch.addbmm(MATRIX, *torch.zeros(2, 6, 100, 100)),
    "bilinear": lambda: functional.bilinear(MATRIX, MATRIX, torch.zeros(10, 100, 100)),
    "pdist": lambda: torch.pdist(torch.zeros(500, 60)),
}


@pytest.mark.parametrize("name", WITHOUT_FORMULA)
def test_a_factorisation_or_product_without_a_formula_is_a_lower_bound(name):
    count = count_of(WITHOUT_FORMULA[name])
    assert count.lower_bound and count.uncounted


def test_a_small_factorisation_without_a_formula_leaves_the_count_as_it_is():
    assert not count_of(lambda: (torch.linalg.inv(A), A @ A)).lower_bound


def test_broadcast_distances_are_a_lower_bound_but_moving_data_is_not():
    points = torch.zeros(200, 784)
    broadcast = count_of(lambda: (points[:, None] - points[:120]).square_().sum(-1))
    assert broadcast.lower_bound
    moved = torch.zeros(20_000_000)
    assert not count_of(lambda: [moved.clone() for _ in range(6)]).lower_bound


@torch.library.custom_op("ddbench_test::opaque", mutates_args=())
def opaque(values: torch.Tensor) -> torch.Tensor:
    return values + 1


def test_an_operation_of_unknown_work_is_a_lower_bound_until_it_is_declared():
    assert count_of(lambda: opaque(torch.zeros(2))).lower_bound
    steps = StepMeter("cpu")
    with steps:
        opaque(torch.zeros(2))
    assert steps.lower_bound
    steps.add_flops(2, "opaque")
    assert not steps.lower_bound
    assert steps.flops == 2


def test_a_formula_that_fails_does_not_cost_the_job(monkeypatch):
    monkeypatch.setitem(ddbench.meter.formulas.FORMULAS, "mv", lambda args, out: 1 // 0)
    count = count_of(lambda: torch.mv(A, A[0]))
    assert count.uncounted["mv"] == 1
    assert count.lower_bound


def test_a_pause_is_not_counted():
    with count_flops() as count:
        with count.paused():
            A @ B
        A @ A
    assert count.total == 2 * 216


# Metering a loop


def product(n):
    """Cost exactly 2n FLOPs."""
    torch.ones(1, n) @ torch.ones(n, 1)


def metered(costs, cycle=1):
    """Meter a loop whose steps cost 2 * costs[step] FLOPs."""
    steps = StepMeter("cpu", cycle=cycle)
    for cost in costs:
        with steps:
            product(cost)
    return steps


def counted_steps(steps):
    return sum(phase["counts"] for phase in steps.state()["phases"])


@pytest.mark.parametrize("length", [1, 2, 3, 50, 200])
def test_constant_costs_are_exact(length):
    steps = metered([37] * length)
    assert steps.flops == 2 * 37 * length
    assert steps.steps == length


@pytest.mark.parametrize("length", [3, 10, 47, 200])
def test_cyclic_costs_are_exact_also_in_a_cycle_that_breaks_off(length):
    costs = [1000 if step % 10 == 0 else 7 * (step % 10) for step in range(length)]
    assert metered(costs, cycle=10).flops == 2 * sum(costs)


DRIFTS = {
    "falling": [1000 - 4 * step for step in range(240)],
    "decaying": [int(5000 * 0.99**step) for step in range(240)],
    "clients drop out": [2000 - 150 * max(0, (step - 60) // 20) for step in range(240)],
    "cyclic and falling": [(3000 if step % 5 == 0 else 100) - step // 3 for step in range(240)],
}


@pytest.mark.parametrize("name", DRIFTS)
def test_slowly_varying_costs_are_within_two_percent(name):
    steps = metered(DRIFTS[name], cycle=5 if "cyclic" in name else 1)
    assert steps.flops == pytest.approx(2 * sum(DRIFTS[name]), rel=0.02)
    assert counted_steps(steps) < 240 * 0.2


def test_samples_grow_with_the_root_of_the_loop():
    places = []
    steps = StepMeter("cpu")
    for _ in range(400):
        with steps:
            if _get_current_dispatch_mode() is not None:
                places.append(steps.steps)
    assert places[:6] == [0, 2, 5, 9, 14, 20]
    gaps = [after - before for before, after in pairwise(places)]
    assert gaps == list(range(2, 2 + len(gaps)))
    assert len(places) == 27


@pytest.mark.parametrize("cut", [0, 1, 2, 7, 20, 61])
def test_a_resumed_loop_counts_like_an_uninterrupted_one(cut):
    costs = [(500 if step % 3 == 0 else 90) - step for step in range(80)]

    def go(steps, costs):
        for cost in costs:
            with steps:
                product(cost)
                torch.zeros(cost).exp()
                steps.add_flops(5, "declared")
        return steps

    whole = go(StepMeter("cpu", cycle=3), costs)
    saved = json.loads(json.dumps(go(StepMeter("cpu", cycle=3), costs[:cut]).state()))
    resumed = StepMeter("cpu", cycle=3)
    resumed.load(saved)
    go(resumed, costs[cut:])
    assert resumed.flops == whole.flops
    assert resumed.steps == whole.steps
    assert resumed.declared == whole.declared == {"declared": 400}
    assert resumed.uncounted == whole.uncounted
    assert whole.uncounted["exp"] > 0
    assert resumed.lower_bound == whole.lower_bound
    assert counted_steps(resumed) == counted_steps(whole)


def test_a_state_of_another_cycle_is_refused():
    with pytest.raises(ValueError, match="cycle of 3 steps, this meter of 2"):
        StepMeter("cpu", cycle=2).load(StepMeter("cpu", cycle=3).state())


def test_a_step_that_raises_counts_and_leaves_no_mode_behind():
    steps = StepMeter("cpu")
    with pytest.raises(KeyError), steps:
        product(10)
        raise KeyError
    assert (steps.steps, steps.flops) == (1, 20)
    assert _get_current_dispatch_mode() is None


def test_a_step_inside_a_step_is_refused():
    steps = StepMeter("cpu")
    with steps, pytest.raises(RuntimeError, match="inside a step"):
        steps.__enter__()
    assert steps.steps == 1


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="cycle 0: must be at least 1"):
        StepMeter("cpu", cycle=0)
    with pytest.raises(ValueError, match="-1 for 'loop': must not be negative"):
        StepMeter("cpu").add_flops(-1, "loop")
    with pytest.raises(TypeError, match=r"the reason is \('k-means', 1\); expected words"):
        StepMeter("cpu").add_flops(10, ("k-means", 1))
    with pytest.raises(TypeError, match="2.5 for 'loop'; expected an int"):
        StepMeter("cpu").add_flops(2.5, "loop")


def test_declared_work_is_kept_by_reason_and_not_extrapolated():
    steps = StepMeter("cpu")
    for _ in range(20):
        with steps:
            product(3)
            steps.add_flops(100, "library")
    steps.add_flops(7, "at the end")
    assert steps.declared == {"library": 2000, "at the end": 7}
    assert steps.flops == 2 * 3 * 20 + 2007


def test_without_counting_only_declared_work_is_known():
    steps = StepMeter("cpu", count=False)
    with steps:
        product(10)
        assert _get_current_dispatch_mode() is None
    steps.add_flops(4, "declared")
    assert steps.flops == 4
    assert steps.lower_bound


def test_an_excluded_block_is_not_counted():
    steps = StepMeter("cpu")
    with steps:
        product(10)
        with steps.excluding():
            product(1000)
            with count_flops() as inner:  # an artifact has a meter of its own
                product(500)
    assert steps.flops == 20
    assert inner.total == 1000


def test_a_loop_of_sorting_is_a_lower_bound_and_a_loop_of_products_is_not():
    values, matrix = torch.zeros(3_000_000), torch.zeros(300, 300)
    sorting, products = StepMeter("cpu"), StepMeter("cpu")
    for _ in range(3):
        with sorting:
            values.sort()
        with products:
            matrix @ matrix
    assert sorting.lower_bound
    assert not products.lower_bound


# Time


class FakeTime:
    """A clock that only goes when told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr("ddbench.meter.clock.time", fake)
    return fake


def test_a_counted_step_lasts_as_long_as_the_uncounted_ones(clock):
    steps = StepMeter("cpu")
    for _ in range(10):
        with steps:
            clock.now += 50.0 if _get_current_dispatch_mode() else 2.0
    assert steps.seconds == pytest.approx(20.0)


def test_counted_steps_take_the_mean_of_their_own_place_in_the_cycle(clock):
    steps = StepMeter("cpu", cycle=2)
    for step in range(20):
        with steps:
            clock.now += 100.0 if _get_current_dispatch_mode() else (2.0, 6.0)[step % 2]
    assert steps.seconds == pytest.approx(10 * 2.0 + 10 * 6.0)


def test_a_loop_of_counted_steps_alone_keeps_their_time(clock):
    steps = StepMeter("cpu")
    with steps:
        clock.now += 3.0
    assert steps.seconds == 3.0


def test_waits_are_taken_out_and_summed(clock):
    steps = StepMeter("cpu")
    for _ in range(5):
        with steps:
            clock.now += 1.0
            with steps.excluding():
                clock.now += 10.0
                with steps.excluding():
                    clock.now += 1.0
    with pytest.raises(KeyError), steps.excluding():
        clock.now += 4.0
        raise KeyError
    assert steps.seconds == pytest.approx(5.0)
    assert steps.waited == pytest.approx(59.0)


def test_time_between_steps_is_not_the_loops(clock):
    steps = StepMeter("cpu")
    for _ in range(3):
        clock.now += 7.0
        with steps:
            clock.now += 1.0
    assert steps.seconds == pytest.approx(3.0)


def test_seconds_and_waits_go_on_after_a_resume(clock):
    first = StepMeter("cpu")
    for _ in range(4):
        with first:
            clock.now += 1.0
    with first.excluding():
        clock.now += 2.0
    second = StepMeter("cpu")
    second.load(json.loads(json.dumps(first.state())))
    clock.now += 1000.0
    with second:
        clock.now += 1.0
    assert second.seconds == pytest.approx(5.0)
    assert second.waited == pytest.approx(2.0)


def test_the_stopwatch_sums_by_name_without_waits(clock):
    watch = Stopwatch("cpu")
    for _ in range(2):
        with watch("init"):
            clock.now += 1.5
            with watch.excluding():
                clock.now += 8.0
    with pytest.raises(KeyError), watch("export"):
        clock.now += 0.5
        raise KeyError
    assert watch.seconds == {"init": 3.0, "export": 0.5}
    assert watch.waited == 16.0


# Memory


MEGABYTE = 2**20
resettable = pytest.mark.skipif(
    not memory._CLEAR_REFS.exists(), reason="this system cannot reset a process's peak memory"
)


def hold(megabytes):
    return torch.ones(megabytes * MEGABYTE // 4)


@resettable
def test_peak_memory_is_what_the_block_held_at_once():
    before = hold(64)
    with PeakMemory("cpu") as peak:
        for _ in range(3):
            hold(96)
    assert peak.bytes == pytest.approx(96 * MEGABYTE, rel=0.1)
    assert peak.reason is None
    del before


@resettable
def test_an_earlier_peak_does_not_show():
    hold(256)
    with PeakMemory("cpu") as peak:
        hold(32)
    assert peak.bytes == pytest.approx(32 * MEGABYTE, rel=0.2)


@resettable
def test_memory_freed_before_the_block_does_not_hide_what_the_block_takes():
    pieces = [torch.ones(8 * 1024) for _ in range(2048)]  # 64 MB of pieces that the heap keeps
    del pieces
    with PeakMemory("cpu") as peak:
        pieces = [torch.ones(8 * 1024) for _ in range(2048)]
        del pieces
    assert peak.bytes == pytest.approx(64 * MEGABYTE, rel=0.2)


@resettable
def test_peak_memory_is_never_negative():
    held = [hold(64)]
    with PeakMemory("cpu") as peak:
        held.clear()
    assert 0 <= peak.bytes < 8 * MEGABYTE


def test_a_system_that_cannot_reset_the_mark_gives_none_and_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent" / "clear_refs")
    with PeakMemory("cpu") as peak:
        hold(1)
    assert peak.bytes is None
    assert "clear_refs" in peak.reason


def test_a_status_without_a_mark_gives_none_and_a_reason(monkeypatch, tmp_path):
    (tmp_path / "status").write_text("VmRSS: 1 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    with PeakMemory("cpu") as peak:
        hold(1)
    assert peak.bytes is None
    assert "VmHWM" in peak.reason


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_memory_and_time_are_metered():
    held = torch.ones(2**20, device="cuda")
    warm_up("cuda")
    with PeakMemory("cuda") as peak:
        torch.ones(2**22, device="cuda")
    assert peak.bytes == 4 * 2**22
    steps = StepMeter("cuda")
    for _ in range(4):
        with steps:
            held.reshape(1024, 1024) @ held.reshape(1024, 1024)
    assert steps.flops == 4 * 2 * 1024**3
    assert steps.seconds > 0
    assert hardware("cuda", 1, 1)["device"] == torch.cuda.get_device_name()


# fvcore, warming up, hardware


@pytest.mark.parametrize(
    ("name", "shape", "macs"),
    [
        ("convnet", GRAY, 49_246_208),
        ("convnet", (3, 32, 32), 51_605_504),
        ("convnet-w32", GRAY, 3_464_192),
        ("lenet", GRAY, 416_520),
        ("mlp", (3, 32, 32), 410_880),
    ],
)
def test_forward_macs_are_the_published_counts(name, shape, macs):
    assert forward_macs(architectures.build(name, shape, 10), shape) == macs


def test_forward_macs_leaves_modes_gradients_and_statistics_alone():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout(), torch.nn.Flatten()
    )
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert forward_macs(network, (1, 5, 5)) == 9 * 2 * 9 + 2 * 18  # eval batch norm: 2 a pixel
    assert [module.training for module in network] == [True, False, True, True]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_fvcore_is_not_imported_with_the_module():
    for path in Path(ddbench.meter.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:  # top level only
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "fvcore" not in ast.unparse(node), path


def test_warming_up_draws_no_random_numbers_and_keeps_grad_mode():
    before = torch.get_rng_state()
    warm_up("cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert _get_current_dispatch_mode() is None


def test_hardware_can_be_written_as_json_and_names_the_machine():
    record = hardware("cpu", jobs_at_once=2, threads=1)
    assert json.loads(json.dumps(record)) == record
    assert record["device"] == record["cpu"] != ""
    assert record["torch"] == torch.__version__
    assert 0 < record["cores"] <= 4096
    assert record["memory"] > 2**28


def test_times_compare_only_within_one_hardware_class():
    record = hardware("cpu", jobs_at_once=2, threads=1)
    same = hardware_class({**record, "python": "4.0", "cores": 999})
    assert hardware_class(record) == same
    assert hardware_class(record).endswith("1 thread, 2 jobs at once, float32")
    changes = [
        {"device": "another"},
        {"threads": 2},
        {"jobs_at_once": 1},
        {"precision": {"dtype": "float32", "float32": {"conv": "tf32"}}},
        {"precision": {"dtype": "float64", "float32": {}}},
    ]
    classes = {hardware_class({**record, **change}) for change in changes}
    assert len(classes | {hardware_class(record)}) == len(changes) + 1


def test_reduced_precision_shows_in_the_hardware_class():
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    try:
        setting.fp32_precision = "bf16"
        assert hardware_class(hardware("cpu", 1, 1)).endswith("float32, bf16 in matmul")
    finally:
        setting.fp32_precision = before
