"""AdamW, Muon, and the learning rate as a pure function of the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.recipe import TrainingConfig
from nmt.training.adam import AdamW, Optimizer
from nmt.training.orthogonal import nesterov, orthogonal

if TYPE_CHECKING:
    from nmt.training.muon import Stacks


def make_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Makes AdamW (Loshchilov and Hutter 2019), fused, or Muon with it; without weight decay it is Adam.

    Vectors never decay. Both change nothing when their tensor `found_inf` is one.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inner = inner_matrices(model) if config.optimizer == "muon" else []
    chosen = {id(parameter) for parameter in inner}
    matrices = [parameter for parameter in trained if parameter.dim() >= 2 and id(parameter) not in chosen]
    vectors = [parameter for parameter in trained if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    adam = AdamW(groups, config.adam_betas, epsilon=1e-9)
    return Muon(inner, adam, config.weight_decay) if inner else adam


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for the inner matrices, at the scale of Adam's updates, and AdamW for the rest.

    The momentum of a matrix is made orthogonal before it is subtracted, so that all directions are learnt at the same rate.
    Scaled by 0.2 sqrt(longer side), its entries are as large as Adam's (Liu et al. 2025, equation 4), so that one learning
    rate fits both.
    """

    momentum = 0.95

    def __init__(self, matrices: Sequence[nn.Parameter], adam: AdamW, weight_decay: float) -> None:
        super().__init__([{"params": list(matrices), "weight_decay": weight_decay}])
        self._adam = adam
        self.state = adam.state
        self.param_groups.extend(adam.param_groups)
        self._stacks: Stacks | None = None
        if all(matrix.is_cuda for matrix in matrices):
            self.stack()

    def stack(self) -> None:
        """Switches to few operations for all matrices, as suits a GPU; see `nmt.training.muon`."""
        from nmt.training.muon import Stacks

        self._stacks = Stacks(self.param_groups[0]["params"])

    @torch.no_grad()
    def step(self) -> None:
        """Updates each parameter that has a gradient; matrices of one shape are updated together."""
        self._adam.found_inf = self.found_inf
        self._adam.step()
        own = self.param_groups[0]
        if self._stacks is not None:
            kept = 1.0 if self.found_inf is None else 1 - self.found_inf
            rate = own["lr"] * torch.as_tensor(kept, device=own["params"][0].device)
            self._stacks.step(self.state, self.momentum, rate, own["weight_decay"], self.found_inf)
            return
        alike: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in own["params"]:
            if parameter.grad is not None:
                alike.setdefault(parameter.shape, []).append(parameter)
        for shape, parameters in alike.items():
            update = orthogonal(self._direction(parameters))
            rate = own["lr"] * (1.0 if self.found_inf is None else 1 - self.found_inf)
            for parameter, change in zip(parameters, update * (rate * 0.2 * math.sqrt(max(shape))), strict=True):
                parameter.mul_(1 - rate * own["weight_decay"]).sub_(change)

    def _direction(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Returns Nesterov's momentum (N, rows, columns) of matrices of one shape; a skipped update leaves it unchanged."""
        for parameter in parameters:
            self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        kept = [self.state[parameter]["momentum"] for parameter in parameters]
        moments, gradients = torch.stack(kept), torch.stack([parameter.grad for parameter in parameters])  # type: ignore[misc]
        direction = nesterov(moments, gradients, self.momentum, self.found_inf)
        for place, value in zip(kept, moments, strict=True):
            place.copy_(value)
        return direction


def learning_rate(update: int, updates: int, config: TrainingConfig, plateau_factor: float = 1.0) -> float:
    """Returns the learning rate of update `update`, counted from 1, out of `updates`.

    It rises linearly over `warmup` updates, at most a tenth of all for schedules with an end. Then the schedule decides:
    "cosine" falls by half a cosine to zero, "inverse_square_root" is peak * sqrt(warmup / update) (Vaswani et al. 2017,
    equation 3). "trapezoid" stays at the peak and falls linearly to zero over the last fifth (Zhai et al. 2022). "plateau" is
    `plateau_factor` times the peak, and "constant" the peak.
    """
    peak = config.learning_rate
    warmup = max(1, config.warmup or 1)
    if config.schedule in ("cosine", "trapezoid"):  # a small budget can be shorter than the warm-up
        warmup = max(1, min(warmup, updates // 10))
    if update < warmup:
        return peak * update / warmup
    match config.schedule:
        case "cosine":
            progress = min(1.0, (update - warmup) / max(1, updates - warmup))
            return peak * 0.5 * (1 + math.cos(math.pi * progress))
        case "inverse_square_root":
            return peak * math.sqrt(warmup / update)
        case "trapezoid":
            return peak * min(1.0, 5 * (1 - update / updates))
        case "plateau":
            return peak * plateau_factor
        case "constant":
            return peak


def inner_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Returns the trained matrices that map states to states: no embeddings, no output projection, no single row or column."""
    outer = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    output = getattr(model, "output", None)
    if isinstance(output, nn.Linear):
        outer.add(id(output.weight))
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return [item for item in trained if item.dim() == 2 and min(item.shape) > 1 and id(item) not in outer]
