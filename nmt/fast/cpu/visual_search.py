"""A model that reads pictures, in search on a CPU: torch reads the picture, the kernels of its base do the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nmt.fast.cpu.transformer_search import TransformerByKernels
from nmt.fast.kernels import Kernels
from nmt.fast.kernels.layout import Stack
from nmt.models.protocol import Seq2Seq
from nmt.models.transformer.model import TransformerMemory
from nmt.models.visual.model import Visual


class VisualByBase:
    """A visual model whose base is stepped by another decoder with the same memory."""

    def __init__(self, model: Visual, decoder: Seq2Seq[Any, Any]) -> None:
        self.model, self.start, self.step, self.reorder = model, decoder.start, decoder.step, decoder.reorder

    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        """See `Seq2Seq.encode`."""
        return self.model.encode(source, lengths)


class VisualByKernels(TransformerByKernels):
    """A visual model with a Transformer as its base: the kernels take the vectors of slices for embeddings."""

    def __init__(self, model: Visual, kernels: Kernels) -> None:
        if model.config.base.kind != "transformer":
            raise TypeError("the base is no Transformer")
        super().__init__(model.base, kernels)  # type: ignore[arg-type]  # checked above
        self.visual = model

    def encode(self, source: Tensor, lengths: Tensor) -> TransformerMemory:
        """See `Seq2Seq.encode`."""
        vectors, counts = self.visual.embed(source, lengths)  # (B, S, D)
        table = vectors.flatten(0, 1).float().contiguous()
        encoder = Stack.from_buffer_copy(self._encoder)
        encoder.table, encoder.embedding_scale = table.data_ptr(), 1.0
        numbers = torch.arange(len(table)).view(vectors.shape[:2])
        added, turns = self._places.of_source(vectors.shape[1])
        states = self.kernels.transformer.encode(encoder, numbers, counts, added, turns)
        return TransformerMemory(states, counts, None)


def visual_by_base(model: Visual, decoder: Seq2Seq[Any, Any]) -> Seq2Seq[Any, Any]:
    """Returns the model with its base stepped by `decoder`, which is the base itself or what replaces it."""
    if isinstance(decoder, TransformerByKernels):
        return VisualByKernels(model, decoder.kernels)
    return VisualByBase(model, decoder)
