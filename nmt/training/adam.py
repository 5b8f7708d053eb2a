"""AdamW by torch's fused kernel, and what all optimizers share.

`torch.optim` would load torch's compiler at its first call: two seconds and 80 MB for each process that trains.
"""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# These operations are private and undocumented, but torch.optim depends on them.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

State = defaultdict[nn.Parameter, dict[str, Tensor]]
"""What an optimizer keeps of each parameter, by name."""


class Optimizer(ABC):
    """Changes parameters by their gradients."""

    found_inf: Tensor | None = None
    """One to skip the update, else zero."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        """Begins with a learning rate of zero.

        Args:
            groups: each has its parameters under `params`, and settings of its own such as `weight_decay`. The learning rate
                `lr`, a number or a tensor, is set before each step.
        """
        self.param_groups: list[dict[str, Any]] = [{"lr": 0.0, **group} for group in groups]
        self.state: State = defaultdict(dict)

    @abstractmethod
    def step(self) -> None:
        """Updates each parameter that has a gradient."""

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class AdamW(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], epsilon: float) -> None:
        super().__init__(groups)
        self.betas, self.epsilon = betas, epsilon

    @torch.no_grad()
    def step(self) -> None:
        """Updates each parameter that has a gradient; the parameters of a group must have one device and one type."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            kept = [self._kept(parameter) for parameter in parameters]
            steps = [entry["step"] for entry in kept]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                [parameter.grad for parameter in parameters],
                [entry["exp_avg"] for entry in kept],
                [entry["exp_avg_sq"] for entry in kept],
                [],
                steps,
                lr=group["lr"],
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=group["weight_decay"],
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
                found_inf=self.found_inf,
            )
            if self.found_inf is not None:
                torch._foreach_sub_(steps, [self.found_inf] * len(steps))

    def _kept(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device, dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state
