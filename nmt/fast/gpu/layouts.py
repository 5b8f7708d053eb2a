"""Batches of few shapes, as CUDA graphs need: packed for models that can read them so, otherwise padded."""

from __future__ import annotations

from nmt.config.model import ModelConfig
from nmt.corpus.encoded import Lengths
from nmt.fast.gpu.packing import Packed, Packing
from nmt.fast.gpu.rounding import Rounded, Rounding

StaticBatch = Packed | Rounded
Layout = Packing | Rounding


def layout_for(model: ModelConfig, source: Lengths, target: Lengths, tokens: int) -> Layout:
    """Returns the layout for batches of at most `tokens` target tokens and sentences of these lengths, with EOS."""
    kind = Packing if model.kind == "transformer" else Rounding
    return kind.of(source, target, tokens)
