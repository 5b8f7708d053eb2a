"""The attention RNN on a GPU: the loop over positions of `AttentionDecoder`, with a few kernels per position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.fast.gpu.recurrence import Source, attending_recurrence
from nmt.fast.triton import usable
from nmt.models.rnn.decoder import AttentionDecoder
from nmt.models.rnn.scores import AdditiveScore, BilinearScore, CoverageScore, DotScore
from nmt.models.rnn.state import Carry, Decoded, RnnMemory
from nmt.models.rnn.weighting import Softmax


def attend_by_kernels(model: nn.Module) -> None:
    """Replaces every `AttentionDecoder.forward` in a model by the kernels, where these are usable."""
    for module in model.modules():
        if isinstance(module, AttentionDecoder):
            module.replacement = decoded_by_kernels


def decoded_by_kernels(decoder: AttentionDecoder, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Decoded | None:
    """Runs `AttentionDecoder.forward` by kernels; None if they cannot be used. See `nmt.fast.gpu.recurrence`."""
    source = _source(decoder, embedded, memory, carry) if usable(embedded) else None
    if source is None:
        return None
    attended = attending_recurrence(
        decoder.input(embedded).transpose(0, 1).contiguous(),
        tuple(part[0] for part in carry.hidden),
        source,
        (decoder.recurrent.weight, decoder.recurrent.bias),
        decoder.context.weight,
        decoder.score.query.weight if isinstance(decoder.score, AdditiveScore) else None,
    )
    top, after = decoder.above(attended.states.transpose(0, 1), attended.last, carry)
    sentences = len(source.values)
    weights = [part.unflatten(0, (sentences, -1)) for part in attended.weights]  # (B, beam, S) each
    contexts = attended.contexts.transpose(0, 1)
    return Decoded(top, contexts, Carry(after, carry.position + embedded.shape[1]), weights)


def _source(decoder: AttentionDecoder, embedded: Tensor, memory: RnnMemory, carry: Carry) -> Source | None:
    """Returns the source for the kernels; None: they lack this score or weighting, or gradients over a beam."""
    apart = torch.is_grad_enabled() and len(embedded) != len(memory.values)
    if apart or carry.coverage is not None or not isinstance(decoder.weighting, Softmax):
        return None
    lengths = memory.mask.sum(1)
    match decoder.score:
        case CoverageScore():
            return None
        case AdditiveScore(combine=combine):
            return Source(memory.keys, memory.values, lengths, combine.weight[0])
        case DotScore(scale=scale):
            return Source(memory.keys, memory.values, lengths, None, scale)
        case BilinearScore():
            return Source(memory.keys, memory.values, lengths, None)
        case _:
            return None
