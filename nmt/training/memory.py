"""What a training asks of memory, told before any of it is taken."""

from __future__ import annotations

import torch

from nmt.config.recipe import Recipe
from nmt.models.size import LAYER_COUNTS, parameter_count
from nmt.runtime.device import choose_precision
from nmt.runtime.memory import check_memory
from nmt.training.batches import Batch

# States that a layer keeps of each position for the backward pass: in fp32 the sum is 0.7 to 0.95 of what a batch took.
_KEPT = {"rnn": 16, "transformer": 8, "convolution": 8}


def check_training(recipe: Recipe, sizes: tuple[int, int], device: torch.device, processes: int = 1) -> None:
    """Refuses a recipe whose weights, gradients and moments do not fit into memory.

    Args:
        recipe: what is to be trained.
        sizes: of the two vocabularies.
        device: where.
        processes: that share the model; 1 where each holds all of it.

    Raises:
        ConfigError: it does not fit; says how many parameters there are.
    """
    count, training = parameter_count(recipe.model, *sizes), recipe.training
    moments = {"adam": 2, "muon": 1}[training.optimizer]
    copies = 1 + (0 if training.freeze else 1 + moments) + bool(training.ema)
    check_memory(
        f"training {count:,} parameters (model, tokenizer.vocabulary)", 4 * copies * count // processes, device
    )


def check_least(recipe: Recipe, device: torch.device) -> None:
    """Refuses before a corpus is prepared what no vocabulary can save; see `check_training`."""
    tokenizer = recipe.tokenizer
    size = 1 if tokenizer.kind in ("word", "character") else tokenizer.vocabulary
    if not recipe.training.shard:
        check_training(recipe, (size, size), device)


def check_batch(recipe: Recipe, batch: Batch) -> None:
    """Refuses a batch on the CPU, where what does not fit ends the process, by what its layers keep at the least.

    Raises:
        ConfigError: it does not fit.
    """
    model, positions = recipe.model, batch.source.numel() + batch.target_input.numel()
    width = model.width if model.kind == "transformer" else model.hidden
    layers = 1 if recipe.training.recompute else sum(getattr(model, name, 0) for name in LAYER_COUNTS)
    states = _KEPT[model.kind] * positions * width * layers
    if model.kind == "rnn" and model.attention == "additive":
        states += 2 * batch.target_input.numel() * batch.source.shape[1] * width  # of each pair of positions
    size = 2 if choose_precision(recipe.training.precision, torch.device("cpu")) == "bf16" else 4
    needed = size * states * (2 if recipe.training.r_drop else 1)
    check_memory(f"training.batch_tokens: the largest batch has {positions:,} positions", needed)
