"""The size of a model, computed without building it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nmt.config.model import ModelConfig
from nmt.models import build_model
from nmt.models.visual.image import make_image_encoder

LAYER_COUNTS = ("layers", "encoder_layers", "decoder_layers")
_FEW = 8  # the most layers to build; beyond them the count is extrapolated


@contextmanager
def outlines() -> Generator[None]:
    """Inside, a model is made in no time and takes no memory: its parameters have shapes and names, but no values."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Fills no tensors. torch would load its compiler, which takes seconds, to draw numbers that nobody reads."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (*args, *(kwargs or {}).values())[0]
        return func(*args, **(kwargs or {}))


def parameter_count(config: ModelConfig, source_vocabulary: int, target_vocabulary: int) -> int:
    """Counts the parameters of a model without building it.

    Small models with few layers are made on the meta device, and the count is extrapolated from them. A bridge between all
    layers of two stacks grows with their square.
    """
    if config.kind == "visual":
        with outlines():
            image = make_image_encoder(config, config.source_width)
        return parameter_count(config.base, 0, target_vocabulary) + sum(map(torch.numel, image.parameters()))
    layers = {name: getattr(config, name) for name in LAYER_COUNTS if name in type(config).model_fields}

    def count(**few: int) -> int:
        with outlines():
            small = config.model_copy(update=dict.fromkeys(layers, 1) | few)
            return build_model(small, source_vocabulary, target_vocabulary).parameter_count

    if max(layers.values()) <= _FEW:
        return count(**layers)
    total = first = count()
    for name, number in layers.items():
        second, third = count(**{name: 2}) - first, count(**{name: 3}) - first
        total += (number - 1) * second + (number - 1) * (number - 2) // 2 * (third - 2 * second)
    return total
