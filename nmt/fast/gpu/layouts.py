"""Batches of few shapes, as CUDA graphs ask for: packed where a model can read them so, else padded."""

from __future__ import annotations

from nmt.config.model import ModelConfig
from nmt.corpus.encoded import Ints
from nmt.fast.gpu.packing import Packed, Packing
from nmt.fast.gpu.rounding import Rounded, Rounding

StaticBatch = Packed | Rounded
Layout = Packing | Rounding


def layout_for(model: ModelConfig, source: Ints, target: Ints, tokens: int) -> Layout:
    """The layout of batches of at most so many target tokens, for sentences of these lengths, EOS counted."""
    kind = Packing if model.kind == "transformer" else Rounding
    return kind.of(source, target, tokens)
