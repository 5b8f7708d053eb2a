"""A Transformer as search runs it without compiled kernels: keys and values of the past stay in place, in slots.

It finds what `Transformer.step` finds, which moves the past of every hypothesis at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.protocol import sentences_of
from nmt.models.softmax import lanes
from nmt.models.transformer.attention import KeyValue, mask_bias
from nmt.models.transformer.model import Sources, Transformer, TransformerMemory
from nmt.models.transformer.positions import distance_bias
from nmt.runtime.device import FEW_ROWS

# B sentences, R = B * beam rows, H heads, N slots of a sentence, K width of a head


@dataclass(frozen=True)
class Slots:
    """Keys and values of all earlier positions of the hypotheses of B sentences.

    The positions of all hypotheses of a sentence lie side by side, in order of time. Reordering hypotheses changes only the
    mask `seen`, which says whose past each slot is. Attention also scores the slots of other hypotheses, in vain. At the
    lengths of sentences that costs far less than moving keys and values at every step. When the slots are full, those that
    belong to no living hypothesis are dropped.
    """

    layers: Sequence[KeyValue]
    """Keys and values of each decoder layer, (B * H, N, K)."""
    seen: Tensor
    """(B, beam, N) True where a slot belongs to the past of the hypothesis."""
    places: Tensor | None
    """(B, N) the target position of each slot; None unless positions are distances (ALiBi)."""
    used: int = 0
    """Number of filled slots."""

    @classmethod
    def empty(cls, memory: Sequence[KeyValue], sentences: int, beam: int, placed: bool) -> Slots:
        """Makes slots with no past, with the layers, precision and device of the memory."""
        layers = [
            KeyValue(torch.zeros_like(layer.key[:, :1]), torch.zeros_like(layer.value[:, :1])) for layer in memory
        ]
        seen = torch.zeros((sentences, beam, 1), dtype=torch.bool, device=layers[0].key.device)
        return cls(layers, seen, seen[:, 0].long() if placed else None)

    def has_room(self) -> bool:
        """Whether one more position of each hypothesis fits."""
        return self.used + self.seen.shape[1] <= self.seen.shape[2]

    def reordered(self, rows: Tensor, beam: int) -> Slots:
        """Lets hypotheses continue the given rows (R,), `beam` per sentence. If sentences have left, call `kept` next."""
        return replace(self, seen=self.seen.flatten(0, 1).index_select(0, rows).unflatten(0, (-1, beam)))

    def kept(self, sentences: Tensor, heads: int, dtype: torch.dtype) -> Slots:
        """Keeps the given sentences (those of `seen`) and slots in use, and adds room for the next steps."""
        beam = self.seen.shape[1]
        live = self.seen.any(1)  # (B, N)
        used = int(live.sum(1).max())
        width = used + _STEPS * beam
        width += -width % lanes(dtype)
        order = live.byte().argsort(dim=1, descending=True, stable=True)[:, :width]  # (B, at most the width)
        missing = width - order.shape[1]
        seen = F.pad(self.seen.gather(2, order[:, None].expand(-1, beam, -1)), (0, missing))
        order = F.pad(order, (0, missing))  # points at any existing slot: it is not seen
        places = None if self.places is None else self.places[sentences].gather(1, order)
        first = sentences[:, None] * heads + torch.arange(heads, device=live.device)  # (B, H), of B * H
        rows = first[:, :, None] * self.seen.shape[2] + order[:, None]  # (B, H, N), of B * H * N
        layers = [layer.take(rows.flatten(0, 1)).to(dtype) for layer in self.layers]
        return Slots(layers, seen, places, used)

    def filled(self, position: int) -> Slots:
        """Marks the next position of each hypothesis as seen by itself. The layers store its keys and values later."""
        after = self.used + self.seen.shape[1]
        self.seen[:, :, self.used : after].diagonal(dim1=1, dim2=2).fill_(True)
        if self.places is not None:
            self.places[:, self.used : after] = position
        return replace(self, used=after)


_STEPS = 4  # steps of room: with more, attention scores more empty slots; with less, slots are moved more often


@dataclass(frozen=True)
class SlotState:
    """R rows in the middle of decoding. States of one search share the slots, so step from each state only once."""

    sources: Sources
    slots: Slots
    """The past of the decoder layers."""
    position: int
    beam: int


class TransformerBySlots:
    """A Transformer in the protocol of search; it shares its weights with the model."""

    def __init__(self, model: Transformer) -> None:
        self.model, self.heads = model, model.config.heads
        self.encode = model.encode  # as it is

    def start(self, memory: TransformerMemory, beam: int) -> SlotState:
        """See `Seq2Seq.start`."""
        sentences = len(memory.states)
        sources = _laid_out(self.model.sources(memory), self._precision(sentences * beam))
        slots = Slots.empty(sources.layers, sentences, beam, placed=self.model.config.positions == "alibi")
        return SlotState(sources, slots, 0, beam)

    def step(self, state: SlotState, tokens: Tensor) -> tuple[Tensor, SlotState]:
        """See `Seq2Seq.step`."""
        model, sources, slots, beam = self.model, state.sources, state.slots, state.beam
        if not slots.has_room():
            sentences = torch.arange(len(slots.seen), device=tokens.device)
            slots = slots.kept(sentences, self.heads, self._precision(len(tokens)))
        first, slots = slots.used, slots.filled(state.position)
        bias = mask_bias(slots.seen, self.heads, slots.layers[0].key.dtype)
        if slots.places is not None:
            here = torch.tensor([state.position], device=tokens.device)
            distances = distance_bias(here, slots.places, self.heads)  # (B, H, 1, N)
            bias = bias + distances.to(bias.dtype).flatten(0, 1)
        states = model.target_embedding(tokens.view(-1, beam), state.position, together=True)  # (B, beam, D)
        for layer, keys_values, past in zip(model.decoder, sources.layers, slots.layers, strict=True):
            before = layer.self_residual.before(states)
            query, new = layer.self_attention.project(before, state.position, together=True)
            seen = _stored(past, new, first)
            states = layer.self_residual.after(states, layer.self_attention(query, seen, bias))
            states = layer.rest(states, keys_values, sources.bias)
        logits = model.output(model.decoder_norm(states)).flatten(0, 1)  # (R, V)
        return logits, SlotState(sources, slots, state.position + 1, beam)

    def reorder(self, state: SlotState, rows: Tensor, beam: int) -> SlotState:
        """See `Seq2Seq.reorder`."""
        sources, slots = state.sources, state.slots.reordered(rows, beam)
        precision = self._precision(len(rows))
        if len(slots.seen) < len(state.slots.seen):
            sentences = sentences_of(rows, state.beam, beam)
            sources, slots = sources.select(sentences), slots.kept(sentences, self.heads, precision)
        if precision != sources.layers[0].key.dtype:
            sources = _laid_out(sources, precision)
        return SlotState(sources, slots, state.position, beam)

    def _precision(self, rows: int) -> torch.dtype:
        """Returns the precision of attention in search; see `FEW_ROWS`."""
        weight = self.model.target_embedding.table.weight
        few = weight.device.type == "cpu" and rows <= FEW_ROWS
        return torch.float32 if few and weight.dtype == torch.bfloat16 else weight.dtype


def _laid_out(sources: Sources, precision: torch.dtype) -> Sources:
    """Lays sources out for many small products: contiguous, in that precision, padded to whole vector registers."""
    layers = [layer.to(precision) for layer in sources.layers]
    bias = None if sources.bias is None else sources.bias.to(precision)
    key = layers[0].key
    width = key.shape[1]
    missing = -width % lanes(precision) if key.device.type == "cpu" else 0
    if missing == 0:
        return replace(sources, layers=[layer.contiguous() for layer in layers], bias=bias)
    bias = key.new_zeros((len(key), 1, width)) if bias is None else bias
    bias = F.pad(bias, (0, missing), value=-torch.inf)
    return replace(sources, layers=[layer.padded(missing) for layer in layers], bias=bias)


def _stored(slots: KeyValue, new: KeyValue, first: int) -> KeyValue:
    """All slots (B * H, N, K), with the new position of each hypothesis (B * H, beam, K) stored from `first` on."""
    for place, states in ((slots.key, new.key), (slots.value, new.value)):
        place[:, first : first + states.shape[1]] = states
    return slots
