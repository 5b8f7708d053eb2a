"""Muon's step for many matrices in few operations: matrices with equal shorter sides are made orthogonal together.

They share a buffer, longer side last, padded with zeros, which do not change the iteration.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nmt.fast.gpu.lists import scale_all, subtract_all
from nmt.training.orthogonal import iterated, nesterov

_TOGETHER = (
    256  # longest shorter side for padding: for larger matrices the padding costs more than what fewer launches save
)


class Stack:
    """Matrices of one shape, whose momentum is one tensor; the optimizer's state holds views of it."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.moments = torch.zeros_like(torch.stack([parameter.detach() for parameter in self.parameters]))
        self._places = self.moments.unbind()
        self.rows, self.columns = self.moments.shape[1:]

    def direction(self, state: MutableMapping[Any, Any], momentum: float, found_inf: Tensor | None) -> Tensor:
        """Returns Nesterov's momentum (N, rows, columns), see `Muon`; without a gradient it stays as it is."""
        for parameter, place in zip(self.parameters, self._places, strict=True):
            held = state[parameter].get("momentum")
            if held is not place:
                if held is not None:
                    place.copy_(held)  # from a checkpoint
                state[parameter]["momentum"] = place
        found = zip(self.parameters, self._places, strict=True)
        gradients = torch.stack([place if parameter.grad is None else parameter.grad for parameter, place in found])
        return nesterov(self.moments, gradients, momentum, found_inf)

    def lying(self, stacked: Tensor) -> Tensor:
        """Transposes matrices (N, rows, columns) so that the longer side is last, or back."""
        return stacked.mT if self.rows > self.columns else stacked


class Stacks:
    """All matrices that Muon updates."""

    def __init__(self, matrices: Sequence[nn.Parameter]) -> None:
        alike: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in matrices:
            alike.setdefault(matrix.shape, []).append(matrix)
        sides: dict[tuple[int, int], list[Stack]] = {}
        for shape, parameters in alike.items():
            side = min(shape), 0 if min(shape) <= _TOGETHER else max(shape)
            sides.setdefault(side, []).append(Stack(parameters))
        self._sides = list(sides.values())
        self._buffers = [_room(stacks) for stacks in self._sides]

    def step(
        self, state: MutableMapping[Any, Any], momentum: float, rate: Tensor, decay: float, found_inf: Tensor | None
    ) -> None:
        """Updates the matrices that have a gradient.

        Args:
            state: the optimizer's state.
            momentum: see `Muon`.
            rate: learning rate; zero to skip the update.
            decay: weight decay.
            found_inf: one to skip the update.
        """
        parameters: list[Tensor] = []
        changes: list[Tensor] = []
        for stacks, buffer in zip(self._sides, self._buffers, strict=True):
            count = [len(stack.parameters) for stack in stacks]
            for stack, part in zip(stacks, buffer.split(count), strict=True):
                lying = stack.lying(stack.direction(state, momentum, found_inf))
                part[:, :, : lying.shape[2]].copy_(lying)
            found = iterated(buffer)
            for stack, part in zip(stacks, found.split(count), strict=True):
                long = max(stack.rows, stack.columns)
                change = stack.lying(part[:, :, :long]).to(stack.moments.dtype, memory_format=torch.contiguous_format)
                moves = change.mul_(rate * (0.2 * math.sqrt(long))).unbind()
                moved = [pair for pair in zip(stack.parameters, moves, strict=True) if pair[0].grad is not None]
                parameters += [parameter for parameter, _ in moved]
                changes += [move for _, move in moved]
        if not parameters:
            return
        if decay:
            scale_all(parameters, 1 - rate * decay)
        subtract_all(parameters, changes)


def _room(stacks: Sequence[Stack]) -> Tensor:
    """Returns zeros for all matrices of some stacks, in the precision of the iteration."""
    moments = stacks[0].moments
    dtype = torch.bfloat16 if moments.dtype == torch.float32 else moments.dtype
    count, side = sum(len(stack.parameters) for stack in stacks), min(stacks[0].rows, stacks[0].columns)
    return moments.new_zeros((count, side, max(max(stack.rows, stack.columns) for stack in stacks)), dtype=dtype)
