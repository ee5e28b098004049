"""Checkpoints: exact, in place, without pickles, and clear about what they cannot hold."""

import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
from ddbench.store.tensor_trees import (
    TreeError,
    check_restorable,
    copied,
    held_kinds,
    load_tree,
    restore_state,
    save_state,
    save_tree,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(TREES)
def test_plain_values_come_back_exactly(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "tree"
    save_tree(path, tree)
    assert same(load_tree(path), tree)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16]
)
def test_tensors_come_back_bit_by_bit(tmp_path, dtype):
    whole = (torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) * 9).to(dtype)
    tree = {"a": whole.T, "b": [whole[::2], whole[0, 0]], "empty": whole[:0]}
    save_tree(tmp_path / "t", tree)
    back = load_tree(tmp_path / "t")
    for saved, other in (
        (tree["a"], back["a"]),
        *zip(tree["b"], back["b"], strict=True),
        (tree["empty"], back["empty"]),
    ):
        assert other.dtype == dtype and torch.equal(saved, other)


def test_nan_payloads_survive(tmp_path):
    odd = torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)
    save_tree(tmp_path / "t", odd)
    assert torch.equal(load_tree(tmp_path / "t").view(torch.int32), odd.view(torch.int32))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x80\x04K\x01.", b"\x08" + b"\0" * 7 + b"{}      ", b"\xff" * 64]
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(TreeError, match="state.safetensors: not a checkpoint"):
        load_tree(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"t": "0", "grad": true}', '{"t": "0", "grad": "x"}', '{"t": ["0"]}', '{"t": "1"}',
        '{"f": "0x1p99999"}', '{"f": 3}', '{"h": ["module"]}', '{"d": [[{"l": []}, 1]]}',
        '{"d": [1]}', '{"x": 1}', "{}", "[" * 100_000, '{"l": ' * 50_000,
    ],
)  # fmt: skip
def test_a_tree_that_save_never_wrote_is_named(tmp_path, text):
    path = tmp_path / "state.safetensors"
    save_file({"0": torch.arange(3)}, path, {"tree": text})
    with pytest.raises(TreeError, match="state.safetensors: not a checkpoint"):
        load_tree(path)


@given(st.data())
def test_a_checkpoint_cut_or_changed_anywhere_never_crashes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "cut"
    save_tree(path, {"x": torch.arange(5.0), "y": [1, 2.5, None, ("a",)]})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with suppress(TreeError):
        load_tree(path)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, torch.float32, print])
def test_other_types_are_refused_by_their_place(tmp_path, value):
    @dataclass
    class State:
        inner: Any

    with pytest.raises(
        TreeError, match=r"state\.inner\['a'\]\[1\] is .*metadata=.*save and restore"
    ):
        save_state(State({"a": [0, value]}))
    with pytest.raises(TreeError, match=r"state\['a'\]"):
        save_tree(tmp_path / "t", {"a": value})
    assert not (tmp_path / "t").exists()


def test_a_state_that_is_no_dataclass_is_refused():
    with pytest.raises(TreeError, match="the state is dict; make it a dataclass"):
        save_state({})


# -- laying over ---------------------------------------------------------------------------------


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Inner:
    count: int
    weights: torch.Tensor


@dataclass
class State:
    images: torch.Tensor
    optimizer: torch.optim.Optimizer
    network: torch.nn.Module
    generator: torch.Generator
    inner: Inner
    parts: list
    pair: Pair
    late: Any = None
    experts: Any = field(default=None, metadata={"checkpoint": False})


def made(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 4, generator=generator).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(
        [{"params": [images], "lr": 0.1}, {"params": network.parameters()}]
    )
    inner = Inner(0, torch.zeros(2))
    return State(images, optimizer, network, generator, inner, [inner, {}], Pair(1, [2]))


def step(state: State) -> None:
    noise = torch.randn(3, 4, generator=state.generator)
    state.optimizer.zero_grad()
    (state.network(state.images) - noise).square().sum().backward()
    state.optimizer.step()
    state.inner.count += 1
    state.inner.weights += noise[0, 0]
    state.parts.append(noise)
    state.parts[1][state.inner.count] = noise.mean().item()
    state.pair = Pair(state.pair.a + 1, [*state.pair.b, noise])
    state.late = state.images.detach().double()
    state.optimizer.param_groups[0]["lr"] *= 0.9


@pytest.mark.parametrize("stop", range(4))
def test_a_resumed_state_goes_on_bit_by_bit(tmp_path, stop):
    straight = made()
    for _ in range(6):
        step(straight)
    before = made()
    for _ in range(stop):
        step(before)
    save_tree(tmp_path / "t", save_state(before))
    resumed = made(seed=5)
    leaf = resumed.images
    restore_state(resumed, load_tree(tmp_path / "t"))
    for _ in range(6 - stop):
        step(resumed)
    assert resumed.images is leaf
    for name in ("images", "late"):
        assert torch.equal(getattr(resumed, name), getattr(straight, name)), name
    assert torch.equal(resumed.inner.weights, straight.inner.weights)
    assert resumed.parts[1] == straight.parts[1] and resumed.pair.a == straight.pair.a
    for a, b in zip(
        resumed.network.state_dict().values(), straight.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert torch.equal(resumed.generator.get_state(), straight.generator.get_state())


def test_modes_of_a_network_are_kept(tmp_path):
    state = made()
    state.network[1].eval()
    state.network[0].weight.requires_grad_(False)
    save_tree(tmp_path / "t", save_state(state))
    other = made()
    restore_state(other, load_tree(tmp_path / "t"))
    assert [part.training for part in other.network.modules()] == [True, True, False]
    assert [w.requires_grad for w in other.network.parameters()] == [False, True, True, True]


def test_fields_marked_otherwise_are_left_to_init():
    state = made()
    state.experts = object()
    tree = save_state(state)
    assert "experts" not in tree
    other = made()
    other.experts = mine = object()
    restore_state(other, tree)
    assert other.experts is mine


def test_a_leaf_that_came_after_init_still_wants_a_gradient(tmp_path):
    state = made()
    state.late = torch.ones(2, requires_grad=True)
    save_tree(tmp_path / "t", save_state(state))
    other = made()
    restore_state(other, load_tree(tmp_path / "t"))
    assert other.late.requires_grad and other.late.is_leaf


@pytest.mark.parametrize(
    "thing", [torch.nn.Linear(1, 1), torch.Generator(), Inner(1, torch.ones(1))]
)
def test_a_network_that_came_after_init_is_an_error_that_names_its_field(thing):
    state = made()
    kinds = held_kinds(save_state(state))
    state.late = thing
    tree = save_state(state)
    with pytest.raises(TreeError, match=r"state\.late holds a .* that init did not make"):
        check_restorable(tree, kinds)
    with pytest.raises(TreeError, match=r"state\.late holds a"):
        restore_state(made(), tree)


def test_another_network_is_an_error_that_names_its_field():
    tree = save_state(made())
    other = made()
    other.network = torch.nn.Linear(2, 2)
    with pytest.raises(TreeError, match=r"state\.network: the network that init made is another"):
        restore_state(other, tree)


def test_a_copied_tree_does_not_follow_the_state():
    state = made()
    tree = copied(save_state(state))
    before = state.images.detach().clone()
    step(state)
    restore_state(state, tree)
    assert torch.equal(state.images, before) and state.images.requires_grad
