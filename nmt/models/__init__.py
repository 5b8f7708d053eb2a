"""The model families, in the order of history."""

from __future__ import annotations

from typing import Any, assert_never

from nmt.config.model import ConvolutionConfig, ModelConfig, RnnConfig, TransformerConfig, VisualConfig
from nmt.models.convolution import Convolution
from nmt.models.protocol import EncoderDecoder, Seq2Seq
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.transformer.model import Transformer
from nmt.models.visual.model import Visual

Model = EncoderDecoder[Any, Any]


def build_model(config: ModelConfig, source_vocabulary: int, target_vocabulary: int) -> Model:
    """Builds a freshly initialised model of the configured family."""
    match config:
        case RnnConfig():
            return RnnSeq2Seq(config, source_vocabulary, target_vocabulary)
        case TransformerConfig():
            return Transformer(config, source_vocabulary, target_vocabulary)
        case ConvolutionConfig():
            return Convolution(config, source_vocabulary, target_vocabulary)
        case VisualConfig():
            return Visual(config, target_vocabulary)
        case _:
            assert_never(config)


__all__ = ["Convolution", "Model", "RnnSeq2Seq", "Seq2Seq", "Transformer", "Visual", "build_model"]
