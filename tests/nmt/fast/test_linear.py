"""Linear layers laid out for search multiply as they did before."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nmt.fast import kernels as module
from nmt.fast.cpu import linear as layers
from nmt.fast.cpu.linear import (
    Int8Linear,
    OneDnnInt8Linear,
    PackedLinear,
    TiledInt8Linear,
    TiledLinear,
    packed,
    quantised,
)
from nmt.fast.kernels import Kernels

SHAPES = [(33, 17), (64, 32), (5, 100), (256, 600)]
DTYPES = [torch.float32, torch.bfloat16]


@given(rows=st.integers(1, 9), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_int8_rows_do_not_depend_on_their_batch(rows: int, seed: int) -> None:
    """Bit for bit: integer sums, and a scale of its own for each row."""
    torch.manual_seed(seed)
    linear = Int8Linear(nn.Linear(33, 17).requires_grad_(False))
    states = torch.randn(rows, 33)
    together = linear(states)
    for row in range(rows):
        assert torch.equal(linear(states[row : row + 1])[0], together[row])


def test_packed_and_int8_layers_are_close_to_the_layer() -> None:
    """Whatever packs them on this machine."""
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).requires_grad_(False)
    states = torch.randn(2, 3, 64)
    torch.testing.assert_close(packed(linear)(states), linear(states), rtol=1e-4, atol=1e-5)
    for layer in (quantised(linear), Int8Linear(linear)):
        assert (layer(states) - linear(states)).abs().max() < 0.05
    half = copy.deepcopy(linear).to(torch.bfloat16)
    torch.testing.assert_close(packed(half)(states.to(torch.bfloat16)).float(), linear(states), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_tiled_layers_multiply_each_row_by_itself(
    kernels: Kernels, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    """As the layer does, and to the bit the same in any batch."""
    torch.manual_seed(inputs)
    rtol, atol = (1e-4, 1e-5) if dtype == torch.float32 else (2e-2, 2e-2)
    linear = nn.Linear(inputs, outputs, dtype=dtype).requires_grad_(False)
    tiled = TiledLinear(linear, kernels)
    states = torch.randn(2, 19, inputs).to(dtype)
    together = tiled(states)
    torch.testing.assert_close(together, linear(states), rtol=rtol, atol=atol)
    for rows in range(1, 10):
        assert torch.equal(tiled(states[0, :rows]), together[0, :rows])
    tiled.activation = "relu"
    assert torch.equal(tiled(states), together.relu())
    without = nn.Linear(inputs, outputs, bias=False, dtype=dtype).requires_grad_(False)
    torch.testing.assert_close(TiledLinear(without, kernels)(states), without(states), rtol=rtol, atol=atol)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiled_integers_are_exact(kernels: Kernels, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    """Those of torch's operations and of oneDNN, whatever the zero, the activation and the types of numbers."""
    torch.manual_seed(inputs)
    linear = nn.Linear(inputs, outputs).requires_grad_(False)
    made = [TiledInt8Linear(linear, kernels, torch.float32), Int8Linear(linear, torch.float32)]
    if layers._is_exact(OneDnnInt8Linear):
        made.append(OneDnnInt8Linear(linear, torch.float32))
    for middle, activation in ((128, "none"), (0, "relu")):
        for layer in made:
            layer.middle, layer.activation = middle, activation  # type: ignore[assignment]  # a literal
        for rows in (1, 7, 8, 21):
            states = torch.randn(rows, inputs).to(dtype)
            states = states if middle else states.relu()
            tiled, *others = (layer(states) for layer in made)
            for (
                other
            ) in others:  # the same integers; scaling them may round otherwise where there is no fused multiply-add
                torch.testing.assert_close(tiled, other, rtol=1e-6, atol=1e-6)
    assert TiledInt8Linear(linear, kernels)(states).dtype == dtype


@pytest.mark.parametrize("middle", [128, 0])
def test_the_largest_integers_do_not_saturate(kernels: Kernels, middle: int) -> None:
    """Sums of 255 * 127 and of 255 * -127 over many inputs: 16 bits would not hold two of them."""
    inputs, outputs = 1000, 40
    linear = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.ones(inputs) * torch.linspace(-3, 3, outputs)[:, None])
    tiled, plain = TiledInt8Linear(linear, kernels), Int8Linear(linear)
    tiled.middle = plain.middle = middle
    for sign in (1, -1) if middle else (1,):
        states = sign * torch.ones(9, inputs)
        assert torch.equal(tiled(states), plain(states))
        torch.testing.assert_close(tiled(states), linear(states), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize("works", [True, False])
def test_a_few_outputs_in_bf16_take_states_in_fp32(outputs: int, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a step of the kernels, which are too few for a tile: with oneDNN's products of bf16, and without."""
    if not works and module.kernels() is None:
        pytest.skip("no C compiler")
    if works and not layers._works(layers.PackedLinear, torch.bfloat16):
        pytest.skip("oneDNN does not multiply in bf16 with these instructions")
    monkeypatch.setattr(layers, "_works", lambda *_: works)
    linear = nn.Linear(64, outputs, dtype=torch.bfloat16).requires_grad_(False)
    states = torch.randn(3, 64)
    found = packed(linear)(states)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, linear.float()(states), rtol=0.05, atol=0.05)


def test_layers_are_multiplied_by_the_kernels_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else by oneDNN; what that would saturate it does not get."""
    linear = nn.Linear(16, 32).requires_grad_(False)
    if module.kernels() is not None:
        assert [type(make(linear)) for make in (packed, quantised)] == [TiledLinear, TiledInt8Linear]
    monkeypatch.setattr(layers, "kernels_for", lambda _: None)
    for exact, kind in ((True, OneDnnInt8Linear), (False, Int8Linear)):
        monkeypatch.setattr(layers, "_is_exact", lambda _, exact=exact: exact)
        assert [type(make(linear)) for make in (packed, quantised)] == [PackedLinear, kind]


def test_threads_share_a_product_and_change_nothing(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, also where a thread has nothing to do."""
    torch.manual_seed(1)
    linear, states = nn.Linear(256, 600).requires_grad_(False), torch.randn(9, 256)
    for layer in (TiledLinear(linear, kernels), TiledInt8Linear(linear, kernels)):
        alone = layer(states)
        for threads in (2, 3, 40):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            assert torch.equal(layer(states), alone)
        monkeypatch.undo()


def test_a_precision_without_products_of_its_own_is_multiplied_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither kernels nor oneDNN: the layer stays as it is, and integers are torch's."""
    monkeypatch.setattr(layers, "kernels_for", lambda _: None)
    monkeypatch.setattr(layers, "_works", lambda *_: False)
    monkeypatch.setattr(layers, "_is_exact", lambda _: False)
    torch.manual_seed(1)
    linear = nn.Linear(16, 32).requires_grad_(False)
    states = torch.randn(3, 16)
    assert packed(linear) is linear
    assert (quantised(linear)(states) - linear(states)).abs().max() < 0.05
