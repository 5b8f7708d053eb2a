"""Linear layers laid out for search multiply as they did before."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nmt import kernels as module
from nmt.kernels import Kernels
from nmt.models.linear import Int8Linear, PackedLinear, TiledInt8Linear, TiledLinear, packed, quantised

SHAPES = [(33, 17), (64, 32), (5, 100), (256, 600)]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    found = module.kernels()
    if found is None or not found.multiplies or not found.multiplies_integers:
        pytest.skip("no C compiler, or a CPU without AVX-512")
    return found


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
    torch.manual_seed(0)
    linear = nn.Linear(64, 48).requires_grad_(False)
    states = torch.randn(2, 3, 64)
    torch.testing.assert_close(PackedLinear(linear)(states), linear(states))
    assert (Int8Linear(linear)(states) - linear(states)).abs().max() < 0.05


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_tiled_layers_multiply_each_row_by_itself(kernels: Kernels, inputs: int, outputs: int) -> None:
    """As the layer does, and to the bit the same in any batch."""
    torch.manual_seed(inputs)
    linear = nn.Linear(inputs, outputs).requires_grad_(False)
    tiled = TiledLinear(linear, kernels)
    states = torch.randn(2, 19, inputs)
    together = tiled(states)
    torch.testing.assert_close(together, linear(states), rtol=1e-4, atol=1e-5)
    for rows in range(1, 10):
        assert torch.equal(tiled(states[0, :rows]), together[0, :rows])
    tiled.activation = "relu"
    assert torch.equal(tiled(states), together.relu())
    without = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    torch.testing.assert_close(TiledLinear(without, kernels)(states), without(states), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiled_integers_are_those_of_onednn(kernels: Kernels, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    """To the bit, whatever the zero, the activation and the types of numbers."""
    torch.manual_seed(inputs)
    linear = nn.Linear(inputs, outputs).requires_grad_(False)
    pair = TiledInt8Linear(linear, kernels, torch.float32), Int8Linear(linear, torch.float32)
    for middle, activation in ((128, "none"), (0, "relu")):
        for layer in pair:
            layer.middle, layer.activation = middle, activation  # type: ignore[assignment]  # a literal
        for rows in (1, 7, 8, 21):
            states = torch.randn(rows, inputs).to(dtype)
            states = states if middle else states.relu()
            tiled, plain = (layer(states) for layer in pair)
            assert torch.equal(tiled, plain)
    assert TiledInt8Linear(linear, kernels)(states).dtype == dtype


def test_layers_are_tiled_for_one_thread_alone(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """OneDNN knows how to share a product among threads."""
    assert kernels
    linear = nn.Linear(16, 32).requires_grad_(False)
    assert [type(make(linear)) for make in (packed, quantised)] == [TiledLinear, TiledInt8Linear]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert [type(make(linear)) for make in (packed, quantised)] == [PackedLinear, Int8Linear]
