"""AdamW, and the course of the learning rate as a pure function of the update."""

from __future__ import annotations

import math

import torch
from torch import nn

from nmt.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) in one fused kernel; without weight decay it is Adam. Vectors never decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() >= 2]
    vectors = [parameter for parameter in trained if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.adam_betas, eps=1e-9, fused=True)


def learning_rate(update: int, updates: int, config: TrainingConfig, plateau_factor: float = 1.0) -> float:
    """Learning rate of an update, counted from 1, of `updates` in all.

    Linear warm-up over `warmup` updates, of a schedule that ends at most a tenth of all; then half a cosine down to zero,
    peak * sqrt(warmup / update) (Vaswani et al. 2017, equation 3), the peak until it falls linearly to zero over the last
    fifth (Zhai et al. 2022), `plateau_factor` times the peak, or the peak.
    """
    peak = config.learning_rate
    warmup = max(1, config.warmup or 1)
    if config.schedule in ("cosine", "trapezoid"):  # which a small budget may make shorter than the warm-up
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
