"""The decoder of a model that reads pictures: its base is stepped, and reads the vectors of slices in place of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from nmt.corpus.rendering import slice_count
from nmt.corpus.tokenizer import spelled_text
from nmt.models import Visual

if TYPE_CHECKING:
    from nmt.decoding.device.steps import Steps


class VisualSteps:
    """Steps the base of a model; a source has one position for each slice of its picture."""

    def __init__(self, model: Visual, base: Steps) -> None:
        self.model, self.base = model, base
        self.bytes, self.reserve, self.step = base.bytes, base.reserve, base.step

    def positions(self, ids: Sequence[list[int]]) -> list[int]:
        """Returns the number of slices of each source."""
        config, renderer = self.model.config, self.model.renderer
        widths = np.array([len(renderer.line(spelled_text(tokens))) for tokens in ids], np.int64)
        return slice_count(widths, config.window, config.stride).tolist()

    def load(self, first: int, offset: int, source: Tensor, lengths: Tensor) -> None:
        """See `Steps.load`."""
        vectors, counts = self.model.embed(source, lengths)
        self.base.load(first, offset, vectors, counts.cpu())
