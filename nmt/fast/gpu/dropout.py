"""Dropout whose mask is a function of seed and position, so that no kernel stores it and a replayed graph draws anew."""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = 24
_WORD = 0xFFFFFFFF


def threshold(probability: float) -> int:
    """Returns the probability in units of 2^-24, to which it is rounded."""
    return round(probability * 2**_BITS)


def kept(seed: Tensor, places: Tensor, probability: float) -> Tensor:
    """Returns which positions are kept: True with probability 1 - `probability`.

    Args:
        seed: one int64; every seed gives another mask.
        places: positions, int64, of any shape; only the lowest 32 bits count.
        probability: probability of False.
    """
    low = seed & _WORD
    high = (seed >> 32) & _WORD
    first = _mix(low ^ _mix((high + 0x9E3779B9) & _WORD))
    second = _mix((first + 0x85EBCA6B) & _WORD)
    word = ((places & _WORD) ^ first) * 0x7FEB352D & _WORD
    return (_mix(word ^ (word >> 15) ^ second) >> (32 - _BITS)) >= threshold(probability)


def dropped(states: Tensor, seed: Tensor | None, probability: float) -> Tensor:
    """Applies dropout to states of any shape; positions are counted through."""
    if seed is None or probability == 0.0:
        return states
    places = torch.arange(states.numel(), device=states.device).view(states.shape)
    return states * kept(seed, places, probability) * scale(probability)


def scale(probability: float) -> float:
    """Returns the factor of the values that are kept."""
    return 1 / (1 - threshold(probability) / 2**_BITS)


def _mix(word: Tensor) -> Tensor:
    """Mixes 32-bit words by a bijection: each input bit flips half of the output bits on average (Wellons' lowbias32)."""
    word = (word ^ (word >> 16)) * 0x7FEB352D & _WORD
    word = (word ^ (word >> 15)) * 0x846CA68B & _WORD
    return word ^ (word >> 16)
