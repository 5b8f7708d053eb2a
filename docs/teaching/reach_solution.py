"""The solution of `reach_exercise.py`.

T target positions, D width. A decoder is a function from (T, D) to (T, D). Output t predicts word t + 1. So it may depend on
the inputs up to t, and on no later one.
"""

import torch
from torch import Tensor

from decoders import DECODERS, Decoder


def reach(decoder: Decoder, inputs: Tensor) -> Tensor:
    """Returns (T, T) of bool: row t, column s is True where a change of input s changes output t.

    Change one input after the other, and compare the outputs with those before.
    """
    before, found = decoder(inputs), torch.zeros(len(inputs), len(inputs), dtype=torch.bool)
    for column in range(len(inputs)):
        changed = inputs.clone()
        changed[column] += 1.0
        found[:, column] = (decoder(changed) - before).abs().amax(1) > 1e-9
    return found


if __name__ == "__main__":
    from decoders import show

    for name in DECODERS:
        show(name, reach)
