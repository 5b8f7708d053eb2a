"""Memory needs of a training, checked before any memory is used."""

from __future__ import annotations

from typing import assert_never

import torch

from nmt.config.model import ConvolutionConfig, RnnConfig, TransformerConfig
from nmt.config.recipe import Recipe
from nmt.models.size import LAYER_COUNTS, parameter_count
from nmt.runtime.device import choose_precision
from nmt.runtime.memory import check_memory
from nmt.training.batches import Batch
from nmt.training.flops import slice_counts

# Numbers in fp32 that an image encoder keeps per pixel: the nine neighbours of each, what convolutions find, and norms.
_KEPT_PER_PIXEL = {"slices": 2, "visrep": 30, "cnn": 32}
_CPU = torch.device("cpu")


def check_training(recipe: Recipe, sizes: tuple[int, int], device: torch.device, processes: int = 1) -> None:
    """Refuses a recipe whose weights, gradients and moments do not fit into memory.

    Args:
        recipe: the recipe to train.
        sizes: number of tokens of the two vocabularies.
        device: where to train.
        processes: number that divide the model; 1 if each holds all of it.

    Raises:
        ConfigError: it does not fit; gives the number of parameters.
    """
    count, training = parameter_count(recipe.model, *sizes), recipe.training
    moments = {"adam": 2, "muon": 1}[training.optimizer]
    copies = 1 + (0 if training.freeze else 1 + moments) + bool(training.ema)
    check_memory(
        f"training {count:,} parameters (model, tokenizer.vocabulary)", 4 * copies * count // processes, device
    )


def check_least(recipe: Recipe, device: torch.device) -> None:
    """Refuses a recipe that fits with no vocabulary, before its corpus is prepared; see `check_training`."""
    source, target = (
        recipe.tokenizer.vocabulary if kind in ("unigram", "bpe") else 1 for kind in recipe.tokenizer.kinds
    )
    if not recipe.training.shard:
        check_training(recipe, (source, target), device)


def check_batch(recipe: Recipe, batch: Batch) -> None:
    """Refuses a batch whose layers keep more than the CPU's memory, where running out of it ends the process.

    Raises:
        ConfigError: it does not fit.
    """
    check_memory(
        f"training.batch_tokens: the largest batch has {_positions(recipe, batch):,} positions",
        kept_bytes(recipe, batch, _CPU) + picture_bytes(recipe, batch),
    )


def kept_bytes(recipe: Recipe, batch: Batch, device: torch.device) -> int:
    """Estimates the bytes that the layers of a model keep of a batch for the backward pass, rather too few.

    Those of an image encoder are apart; see `picture_bytes`.
    """
    positions = _positions(recipe, batch)
    model = recipe.model.base if recipe.model.kind == "visual" else recipe.model
    width = model.width if model.kind == "transformer" else model.hidden
    layers = 1 if recipe.training.recompute else sum(getattr(model, name, 0) for name in LAYER_COUNTS)
    states = _kept(model) * positions * width * layers
    if model.kind == "rnn" and model.attention == "additive":
        states += 2 * batch.target_input.numel() * batch.source.shape[1] * width  # states per pair of positions
    size = 2 if choose_precision(recipe.training.precision, device) == "bf16" else 4
    return round(size * states * (2 if recipe.training.r_drop else 1))


def _kept(config: RnnConfig | TransformerConfig | ConvolutionConfig) -> float:
    """Returns how many states a layer keeps per position for the backward pass, as measured in fp32."""
    match config:
        case RnnConfig():
            return 16 if config.attends else 10.4
        case TransformerConfig():
            return 8
        case ConvolutionConfig():
            return 1.6
        case _:
            assert_never(config)


def picture_bytes(recipe: Recipe, batch: Batch) -> int:
    """Estimates the bytes that an image encoder keeps of a batch for the backward pass; 0 if the model reads tokens."""
    config = recipe.model
    if config.kind != "visual":
        return 0
    pixels = slice_counts(config, batch.lengths).sum().item() * config.height * config.window
    return round(4 * _KEPT_PER_PIXEL[config.image_encoder] * pixels * (2 if recipe.training.r_drop else 1))


def _positions(recipe: Recipe, batch: Batch) -> int:
    """Returns the positions of a batch, padding included: tokens or slices of the source, and tokens of the target."""
    source = batch.source.numel()
    if recipe.model.kind == "visual":
        source = len(batch.lengths) * int(slice_counts(recipe.model, batch.lengths).max())
    return source + batch.target_input.numel()
