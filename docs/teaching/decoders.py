"""Three decoders for the exercise on leaks. Do not read on before you have found the leaks.

All are self-attention of nmt with random weights, in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nmt.models.transformer.attention import SelfAttention

T, D = 5, 8
Decoder = Callable[[Tensor], Tensor]
torch.manual_seed(1)
_ATTENTION = SelfAttention(D, heads=2).double().eval()


def _attended(inputs: Tensor, first_hidden: int) -> Tensor:
    """Self-attention in which position t does not see those from t + `first_hidden` on."""
    bias = torch.full((1, len(inputs), len(inputs)), -torch.inf, dtype=torch.float64).triu(first_hidden)
    query, memory = _ATTENTION.project(inputs[None])
    return _ATTENTION(query, memory, bias)[0]


def _first(inputs: Tensor) -> Tensor:
    return inputs + _attended(inputs, 1)


def _second(inputs: Tensor) -> Tensor:
    return inputs + _attended(inputs, 2)


def _third(inputs: Tensor) -> Tensor:
    # The mask is right. But the mean over all positions is taken away, as some normalisations do.
    return inputs + _attended(inputs, 1) - inputs.mean(0)


DECODERS: dict[str, Decoder] = {"first": _first, "second": _second, "third": _third}


def show(name: str, reach: Callable[[Decoder, Tensor], Tensor]) -> None:
    """Prints the reach of a decoder: a row is an output, a column an input.

    Raises:
        SystemExit: the exercise is not solved yet.
    """
    inputs = torch.randn(T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    try:
        rows = reach(DECODERS[name], inputs)
    except NotImplementedError as error:
        raise SystemExit("Not written yet: fill in `reach`.") from error
    print(f"{name} decoder")
    for row in rows:
        print("  " + " ".join("x" if seen else "." for seen in row))
