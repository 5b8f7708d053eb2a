"""How large a model is, without building it."""

from __future__ import annotations

import torch

from nmt.config.model import ModelConfig
from nmt.models import build_model

LAYER_COUNTS = ("layers", "encoder_layers", "decoder_layers")


_FEW = 8  # layers that torch is told of at once


def parameter_count(config: ModelConfig, source_vocabulary: int, target_vocabulary: int) -> int:
    """Parameters of a model without building it: torch is told of its first layers, and how they grow goes on so.

    A bridge between all layers of two stacks grows with their square.
    """
    layers = {name: getattr(config, name) for name in LAYER_COUNTS if name in type(config).model_fields}

    def count(**few: int) -> int:
        with torch.device("meta"):
            small = config.model_copy(update=dict.fromkeys(layers, 1) | few)
            return build_model(small, source_vocabulary, target_vocabulary).parameter_count

    if max(layers.values()) <= _FEW:
        return count(**layers)
    total = first = count()
    for name, number in layers.items():
        second, third = count(**{name: 2}) - first, count(**{name: 3}) - first
        total += (number - 1) * second + (number - 1) * (number - 2) // 2 * (third - 2 * second)
    return total
