"""Sources laid end to end without padding, and padded batches of them for families that need those."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nmt.decoding.device.beams import Beams

# B sentences, S source positions, N slots, P sentences of the queue, D width


def token_positions(ids: Sequence[list[int]]) -> list[int]:
    """Returns the number of positions of each source: one for each token, and one for its end."""
    return [len(tokens) + 1 for tokens in ids]


def real_positions(lengths: Tensor, width: int, device: torch.device) -> Tensor:
    """Returns the indices of the real positions in a padded batch (B * S), from lengths (B,) on the CPU."""
    real = torch.arange(width) < lengths[:, None]
    return sent(real.flatten().nonzero().squeeze(1), device)


def sent(numbers: Tensor, device: torch.device) -> Tensor:
    """Sends a CPU tensor to a device without waiting."""
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers


def padded_places(beams: Beams) -> tuple[Tensor, Tensor]:
    """Returns the indices (N, S) of each slot's source positions among all, and whether they are real (N, S)."""
    queue, longest = beams.queue, beams.room.source
    within = torch.arange(longest, device=beams.owners.device)
    lengths = queue.lengths[beams.owners][:, None]
    real = within < lengths
    return queue.offsets[beams.owners][:, None] + torch.minimum(within, lengths - 1), real


def taken(states: Tensor, places: Tensor) -> Tensor:
    """Gathers states (tokens, D) at places (N, S): (N, S, D)."""
    return states.index_select(0, places.flatten()).unflatten(0, places.shape)
