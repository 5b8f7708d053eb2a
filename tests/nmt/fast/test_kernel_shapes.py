"""Random shapes: whatever the rows, widths and vocabularies, the kernels agree with double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nmt.config.model import TransformerConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.fast.cpu.linear import TiledInt8Linear, TiledLinear
from nmt.fast.inference import fastest_decoder, for_inference
from nmt.fast.kernels import Kernels
from nmt.models import build_model
from nmt.runtime.device import SearchPrecision

CPU = torch.device("cpu")
ROWS, WIDTHS, VOCABULARIES = (1, 700), (32, 1024), (1, 50_000)
MOST = 30_000_000
"""Numbers of a product or a table, so that a shape takes a moment."""


class Draw:
    """Shapes and numbers of one seed; small shapes come as often as large ones."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)

    def between(self, bounds: tuple[int, int], most: float = 1e9) -> int:
        """A size within the bounds, and at most so large; evenly by its logarithm."""
        low, high = bounds[0], max(bounds[0], min(bounds[1], int(most)))
        return round(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def dtype(self) -> torch.dtype:
        return (torch.float32, torch.bfloat16)[int(self.random.integers(2))]

    def some(self, count: int) -> Tensor:
        """A few of so many rows, the first and the last among them."""
        chosen = {0, count - 1, *self.random.integers(count, size=6).tolist()}
        return torch.tensor(sorted(chosen))


def products(kernels: Kernels, draw: Draw) -> None:
    """A linear layer in fp32 or bf16, with and without what cuts off at zero."""
    rows, inputs = draw.between(ROWS), draw.between(WIDTHS)
    outputs = draw.between(VOCABULARIES, MOST / (rows * inputs))
    dtype = draw.dtype()
    linear = nn.Linear(inputs, outputs, dtype=dtype).requires_grad_(False)
    layer, states = TiledLinear(linear, kernels), torch.randn(rows, inputs).to(dtype)
    layer.activation = "relu" if rows % 2 else "none"
    chosen = draw.some(rows)
    exact = linear.double()(states[chosen].double())
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    found = layer(states)
    assert found.shape == (rows, outputs)
    wanted = exact.relu() if rows % 2 else exact
    torch.testing.assert_close(found[chosen].double(), wanted, rtol=tolerance, atol=tolerance)
    assert torch.equal(layer(states[chosen]), found[chosen])


def integers(kernels: Kernels, draw: Draw) -> None:
    """A layer in integers: the sum of what the bytes and the weights stand for, also at their extremes."""
    rows, inputs = draw.between(ROWS), draw.between(WIDTHS)
    outputs = draw.between(VOCABULARIES, MOST / (rows * inputs))
    linear = nn.Linear(inputs, outputs).requires_grad_(False)
    states = torch.randn(rows, inputs).to(draw.dtype())
    if draw.random.random() < 0.4:
        linear.weight.copy_(linear.weight.sign())
        states.copy_(states.sign())
    layer = TiledInt8Linear(linear, kernels, torch.float32)
    layer.middle = middle = (128, 0)[rows % 2]
    states = states if middle else states.abs()
    chosen = draw.some(rows)
    bytes_, scale = kernels.quantise(states[chosen], middle)
    exact_steps = states[chosen].double() / scale.double()[:, None]
    assert (bytes_.double() - middle - exact_steps).abs().max() <= 0.5001
    weights = (linear.weight / layer.scale[:, None]).round().double()
    exact = (bytes_.double() - middle) @ weights.T * scale[:, None].double() * layer.scale.double()
    found = layer(states)
    torch.testing.assert_close(found[chosen].double(), exact + linear.bias.double(), rtol=1e-5, atol=1e-5)
    assert torch.equal(layer(states[chosen]), found[chosen])


def extensions(kernels: Kernels, draw: Draw) -> None:
    """The best extensions of hypotheses, against a sort of all."""
    sentences, beam = draw.between((1, 60)), draw.between((1, 12))
    vocabulary = draw.between(VOCABULARIES, MOST / 10 / (sentences * beam))
    count = draw.between((1, 2 * beam))
    logits = (torch.randn(sentences * beam, vocabulary) * 4).to(draw.dtype())
    scores = -torch.rand(sentences, beam, dtype=torch.float64) * 9
    values, origins, tokens = kernels.best_extensions(scores, logits, count, normalised=False)
    table = logits.double().log_softmax(-1).unflatten(0, (-1, beam)) + scores[:, :, None]  # (B, K, V)
    forbidden = [token for token in (PAD, BOS) if token < vocabulary]
    table[:, :, forbidden] = -torch.inf
    expected = table.flatten(1).sort(1, descending=True).values[:, :count]
    there = expected.shape[1]
    torch.testing.assert_close(values[:, :there], expected, rtol=0, atol=1e-5)
    assert (values[:, there:] == -torch.inf).all()
    real = values > -torch.inf
    found = table[torch.arange(sentences)[:, None], origins.clamp(0, beam - 1), tokens.clamp(0, vocabulary - 1)]
    torch.testing.assert_close(found[real], values[real], rtol=0, atol=1e-5)


def entropy(kernels: Kernels, draw: Draw) -> None:
    """The loss of rows and its gradient."""
    rows = draw.between(ROWS)
    vocabulary = draw.between(VOCABULARIES, MOST / 10 / rows)
    logits = (torch.randn(rows, vocabulary) * 4).to(draw.dtype())
    target, columns = torch.randint(vocabulary, (rows,)), torch.zeros(vocabulary)
    exact, places = logits.double(), target[:, None]
    gradient = exact.softmax(1) - 0.1 / vocabulary
    gradient.scatter_(1, places, gradient.gather(1, places) - 0.9)
    negative, normaliser, right, _ = kernels.cross_entropy(logits, target, 0.1, None, columns)
    torch.testing.assert_close(normaliser.double(), exact.logsumexp(1), rtol=1e-5, atol=1e-5)
    wanted = exact.logsumexp(1) - exact.gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(negative.double(), wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(right, exact.gather(1, target[:, None]).squeeze(1) >= exact.amax(1))
    tolerance = 1e-5 if logits.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(logits.double(), gradient, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(columns.double(), logits.double().sum(0), rtol=1e-3, atol=1e-3)


def steps(kernels: Kernels, draw: Draw) -> None:
    """Steps of a Transformer from an empty past on, one row or many, against the whole in double precision."""
    assert kernels
    heads = draw.between((1, 8))
    width = heads * 16 * draw.between((1, 8), 64 / heads)
    config = TransformerConfig(
        width=width,
        heads=heads,
        feed_forward=draw.between((16, 512)),
        encoder_layers=1,
        decoder_layers=draw.between((1, 3)),
        norm=("pre", "post")[int(draw.random.integers(2))],
        positions=("none", "sinusoidal", "rotary", "alibi")[int(draw.random.integers(4))],
    )
    vocabulary = draw.between((5, 3000))
    model = build_model(config, vocabulary, vocabulary).eval()
    precision: SearchPrecision = ("fp32", "bf16", "int8")[int(draw.random.integers(3))]  # type: ignore[assignment]  # one of them
    searched = fastest_decoder(for_inference(model, CPU, precision))
    sentences, beam, length = draw.between((1, 20)), draw.between((1, 6)), draw.between((1, 12))
    lengths = torch.from_numpy(draw.random.integers(1, 30, size=sentences))
    source = torch.randint(4, vocabulary, (sentences, int(lengths.max())))
    source = source.masked_fill(torch.arange(source.shape[1]) >= lengths[:, None], PAD)
    source[torch.arange(sentences), lengths - 1] = EOS
    said = torch.randint(4, vocabulary, (sentences * beam, length))
    said[:, 0] = BOS
    with torch.inference_mode():
        state = searched.start(searched.encode(source, lengths), beam)
        found: list[Tensor] = []
        for tokens in said.T:
            scores, state = searched.step(state, tokens)
            found.append(scores)
        exact = model.double().log_probabilities(
            source.repeat_interleave(beam, 0), lengths.repeat_interleave(beam), said
        )
    together = torch.stack(found, 1).double().log_softmax(-1)
    if precision == "fp32":
        torch.testing.assert_close(together, exact, rtol=0, atol=1e-3)
    else:  # rounded weights say something else, but not something wild
        assert (together - exact).abs().mean() < 0.1


KINDS: list[Callable[[Kernels, Draw], None]] = [products, integers, extensions, entropy, steps]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_some_shapes_are_right(kernels: Kernels, kind: Callable[[Kernels, Draw], None]) -> None:
    """Each kernel agrees with its reference for a few random shapes."""
    for seed in range(3):
        kind(kernels, Draw(seed))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_many_shapes_are_right(kernels: Kernels, kind: Callable[[Kernels, Draw], None]) -> None:
    """Rows from 1 to 700, widths from 32 to 1,024, vocabularies from 1 to 50,000, pasts from none on."""
    for seed in range(3, 60):
        try:
            kind(kernels, Draw(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
