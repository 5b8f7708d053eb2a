"""Runs a model on a batch that was laid out for a static update: hidden states of its target, a row for each position."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from nmt.device import Precision, autocast
from nmt.fast.layouts import StaticBatch
from nmt.fast.lists import copy_all
from nmt.fast.packed_transformer import PackedTransformer
from nmt.fast.packing import Packed
from nmt.fast.recurrence import Source, attending_recurrence
from nmt.fast.rounding import Rounded
from nmt.fast.seeds import Seeds
from nmt.fast.triton import usable
from nmt.models import Model
from nmt.models.dropout import drop_words
from nmt.models.recurrence import Carry, Decoded, Hidden, RnnMemory, run
from nmt.models.rnn import AttentionDecoder, RnnSeq2Seq
from nmt.models.scores import AdditiveScore, BilinearScore, DotScore, Score
from nmt.models.transformer import Transformer
from nmt.models.weighting import Softmax

# N rows of the target, D width


class Runner(Protocol):
    """What a static update knows of a model."""

    leaves: list[Tensor]
    """What gradients are taken by, one for each parameter that is trained, in their order."""

    def refresh(self) -> None:
        """Takes the parameters up as they are now."""

    def hidden(self, batch: StaticBatch) -> Tensor:
        """Hidden states (N, D)."""
        ...

    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the output, in the precision of the hidden states."""
        ...


class PackedRunner:
    """A Transformer on packed rows. In bf16 all its weights are copies, and so are the states between its layers."""

    def __init__(self, model: Transformer, precision: Precision, seeds: Seeds, longest: int) -> None:
        """For sentences of at most `longest` tokens, EOS counted."""
        half = precision == "bf16"
        parameters = list(model.parameters())
        self._copies = [
            parameter.detach().to(torch.bfloat16).requires_grad_(parameter.requires_grad)
            for parameter in (parameters if half else ())
        ]
        self._masters = [parameter.detach() for parameter in parameters if half]
        weights = dict[Tensor, Tensor](zip(parameters, self._copies or parameters, strict=True))
        self.leaves = [weights[parameter] for parameter in parameters if parameter.requires_grad]
        self.packed = PackedTransformer(model, weights, seeds, longest)

    def refresh(self) -> None:
        """Copies the parameters into half precision."""
        if self._copies:
            copy_all([copy.detach() for copy in self._copies], self._masters)

    def hidden(self, batch: StaticBatch) -> Tensor:
        """See `Runner`."""
        if not isinstance(batch, Packed):
            raise TypeError("a Transformer takes packed batches")
        return self.packed.hidden(batch)

    def projection(self) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        output = self.packed.model.output
        return self.packed.of(output.weight), self.packed.of(output.bias)


class PaddedRunner:
    """Any model, as it is, on padded batches."""

    def __init__(self, model: Model, precision: Precision, device: torch.device) -> None:
        self.model, self.device = model, device
        self.precision: Precision = precision
        self.leaves: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def refresh(self) -> None:
        """Nothing: the parameters are what is used."""

    def hidden(self, batch: StaticBatch) -> Tensor:
        """See `Runner`."""
        if not isinstance(batch, Rounded):
            raise TypeError("only a Transformer takes packed batches")
        with autocast(self.device, self.precision):
            hidden = self._states(batch)  # (B, T, D)
        return hidden.to(self._dtype(hidden.dtype)).flatten(0, 1)

    def projection(self) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        output: nn.Linear = self.model.output
        dtype = self._dtype(output.weight.dtype)
        return output.weight.to(dtype), output.bias.to(dtype)

    def _states(self, batch: Rounded) -> Tensor:
        return self.model(batch.source, batch.lengths.long(), batch.target_input)

    def _dtype(self, own: torch.dtype) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.promote_types(own, torch.float32)


class RecurrentRunner(PaddedRunner):
    """A decoder that attends at each position (Bahdanau et al. 2015) on padded batches, a position in four kernels each way."""

    def __init__(
        self, model: RnnSeq2Seq, decoder: AttentionDecoder, precision: Precision, device: torch.device
    ) -> None:
        super().__init__(model, precision, device)
        self.recurrent, self.decoder = model, decoder

    def _states(self, batch: Rounded) -> Tensor:
        model, config = self.recurrent, self.recurrent.config
        lengths = batch.lengths.long()
        memory = model.encode(batch.source, lengths)
        embedded = model.dropout(drop_words(model.target_embedding(batch.target_input), config.word_dropout))
        hidden = model.start(memory, 1).carry.hidden  # each (L, B, H)
        decoded = self._decoded(embedded, memory, hidden, lengths)
        return model.readout(embedded, decoded)

    def _decoded(self, embedded: Tensor, memory: RnnMemory, hidden: Hidden, lengths: Tensor) -> Decoded:
        """See `AttentionDecoder.forward`."""
        decoder, (vector, query, scale) = self.decoder, _parts_of(self.decoder.score)
        source = Source(memory.keys, memory.values, lengths, vector, scale)
        gates = decoder.input(embedded.transpose(0, 1).contiguous())  # (T, B, G * H)
        bottom = tuple(part[0] for part in hidden)
        recurrent = decoder.recurrent.weight, decoder.recurrent.bias
        found = attending_recurrence(gates, bottom, source, recurrent, decoder.context.weight, query)
        top = found.states.transpose(0, 1)  # (B, T, H)
        if decoder.upper is not None:
            top, _ = run(decoder.upper, decoder.dropout(top), tuple(part[1:] for part in hidden))
        return Decoded(top, found.contexts.transpose(0, 1), Carry(hidden))


def _parts_of(score: Score) -> tuple[Tensor | None, Tensor | None, float]:
    """Vector, query weight and scale of a score that has kernels."""
    match score:
        case AdditiveScore():
            return score.combine.weight.squeeze(0), score.query.weight, 1.0
        case DotScore():
            return None, None, score.scale
        case _:
            return None, None, 1.0


def has_kernels(decoder: nn.Module) -> bool:
    """Whether a decoder's score and weighting have kernels: additive, dot or bilinear, by softmax, and no coverage."""
    return (
        isinstance(decoder, AttentionDecoder)
        and type(decoder.score) in (AdditiveScore, DotScore, BilinearScore)
        and isinstance(decoder.weighting, Softmax)
    )


def runner_for(model: Model, precision: Precision, seeds: Seeds, longest: int) -> Runner:
    """What runs a model."""
    if isinstance(model, Transformer):
        return PackedRunner(model, precision, seeds, longest)
    weight = model.output.weight
    decoder = model.decoder if isinstance(model, RnnSeq2Seq) and usable(weight) else None
    if isinstance(model, RnnSeq2Seq) and isinstance(decoder, AttentionDecoder) and has_kernels(decoder):
        return RecurrentRunner(model, decoder, precision, weight.device)
    return PaddedRunner(model, precision, weight.device)
