"""Find the leak: which inputs move which outputs of a decoder? Write `reach`, then `python docs/teaching/reach_exercise.py`.

T target positions, D width. A decoder is a function from (T, D) to (T, D). Output t predicts word t + 1. So it may depend on
the inputs up to t, and on no later one.
"""

from torch import Tensor

from decoders import DECODERS, Decoder


def reach(decoder: Decoder, inputs: Tensor) -> Tensor:
    """Returns (T, T) of bool: row t, column s is True where a change of input s changes output t.

    Change one input after the other, and compare the outputs with those before.
    """
    raise NotImplementedError  # about 6 lines


if __name__ == "__main__":
    from decoders import show

    for name in DECODERS:
        show(name, reach)
