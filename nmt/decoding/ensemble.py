"""Ensembles: the probabilities of several models are averaged at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.fast.inference import fastest_decoder
from nmt.models import Model
from nmt.models.protocol import log_softmax

Parts = Sequence[Any]


class Ensemble:
    """log p(y_t) = log mean_m p_m(y_t), in the protocol of search, for models that share the target vocabulary."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self.searched = [fastest_decoder(model) for model in models]

    def encode(self, source: Tensor, lengths: Tensor) -> Parts:
        """See `Seq2Seq.encode`."""
        return [model.encode(source, lengths) for model in self.searched]

    def start(self, memory: Parts, beam: int) -> Parts:
        """See `Seq2Seq.start`."""
        return [model.start(part, beam) for model, part in zip(self.searched, memory, strict=True)]

    def step(self, state: Parts, tokens: Tensor) -> tuple[Tensor, Parts]:
        """See `Seq2Seq.step`; the logits are log-probabilities."""
        steps = [model.step(part, tokens) for model, part in zip(self.searched, state, strict=True)]
        log_probabilities = torch.stack([log_softmax(logits) for logits, _ in steps])  # (M, R, V)
        return log_probabilities.logsumexp(0) - math.log(len(steps)), [part for _, part in steps]

    def reorder(self, state: Parts, rows: Tensor, beam: int) -> Parts:
        """See `Seq2Seq.reorder`."""
        return [model.reorder(part, rows, beam) for model, part in zip(self.searched, state, strict=True)]

    def log_probabilities(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.log_probabilities`."""
        each = torch.stack([model.log_probabilities(source, lengths, target) for model in self.models])
        return each.logsumexp(0) - math.log(len(self.models))

    def attention(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.attention`; returns the mean over the models."""
        return torch.stack([model.attention(source, lengths, target) for model in self.models]).mean(0)
