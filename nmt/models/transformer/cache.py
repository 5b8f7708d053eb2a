"""What the hypotheses of a search have said so far, as the decoder of a Transformer sees it, in slots that stay in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.softmax import lanes
from nmt.models.transformer.attention import KeyValue

# B sentences, R = B * beam rows, H heads, N slots of a sentence, K width of a head


@dataclass(frozen=True)
class Slots:
    """Keys and values of the past of all hypotheses of B sentences.

    The positions of all hypotheses of a sentence lie side by side, in the order in which they came. When hypotheses are
    reordered, only the mask that says whose past each slot is follows them. (Slots of all hypotheses are scored, some of
    them in vain; at the lengths of sentences that costs far less than moving keys and values at every step.) When
    the slots are full, those that are no living hypothesis's past make room.
    """

    layers: Sequence[KeyValue]
    """Of each decoder layer, (B * H, N, K)."""
    seen: Tensor
    """(B, beam, N) True where a slot is a hypothesis's own past."""
    places: Tensor | None
    """(B, N) the target position of each slot, where somebody counts distances."""
    used: int = 0
    """How many have been filled."""

    @classmethod
    def empty(cls, memory: Sequence[KeyValue], sentences: int, beam: int, placed: bool) -> Slots:
        """With no past, for as many layers as the memory has, and like it."""
        layers = [
            KeyValue(torch.zeros_like(layer.key[:, :1]), torch.zeros_like(layer.value[:, :1])) for layer in memory
        ]
        seen = torch.zeros((sentences, beam, 1), dtype=torch.bool, device=layers[0].key.device)
        return cls(layers, seen, seen[:, 0].long() if placed else None)

    def has_room(self) -> bool:
        """Whether another position of each hypothesis fits."""
        return self.used + self.seen.shape[1] <= self.seen.shape[2]

    def reordered(self, rows: Tensor, beam: int) -> Slots:
        """Hypotheses that go on from the given rows (R,), a beam to a sentence; `kept` does the rest if sentences have left."""
        return replace(self, seen=self.seen.flatten(0, 1).index_select(0, rows).unflatten(0, (-1, beam)))

    def kept(self, sentences: Tensor, heads: int, dtype: torch.dtype) -> Slots:
        """Of the given sentences, those that `seen` is of, what is somebody's past, and room for some steps more."""
        beam = self.seen.shape[1]
        live = self.seen.any(1)  # (B, N)
        used = int(live.sum(1).max())
        width = used + _STEPS * beam
        width += -width % lanes(dtype)
        order = live.byte().argsort(dim=1, descending=True, stable=True)[:, :width]  # (B, at most the width)
        missing = width - order.shape[1]
        seen = F.pad(self.seen.gather(2, order[:, None].expand(-1, beam, -1)), (0, missing))
        order = F.pad(order, (0, missing))  # with any slot that is there: it is not seen
        places = None if self.places is None else self.places[sentences].gather(1, order)
        first = sentences[:, None] * heads + torch.arange(heads, device=live.device)  # (B, H), of B * H
        rows = first[:, :, None] * self.seen.shape[2] + order[:, None]  # (B, H, N), of B * H * N
        layers = [layer.take(rows.flatten(0, 1)).to(dtype) for layer in self.layers]
        return Slots(layers, seen, places, used)

    def filled(self, position: int) -> Slots:
        """With the next position of each hypothesis, which sees itself; its keys and values come when a layer makes them."""
        after = self.used + self.seen.shape[1]
        self.seen[:, :, self.used : after].diagonal(dim1=1, dim2=2).fill_(True)
        if self.places is not None:
            self.places[:, self.used : after] = position
        return replace(self, used=after)


@dataclass(frozen=True)
class Past:
    """The slots as one decoder layer sees them."""

    slots: KeyValue
    """(B * H, N, K)"""
    bias: Tensor
    """(B * H, beam, N) zero where a slot is a hypothesis's own past, else -inf."""
    first: int
    """Where the new position goes."""
    position: int
    """Which it is in the target."""

    def extended(self, new: KeyValue) -> KeyValue:
        """Stores the new position of each hypothesis (B * H, beam, K); returns all slots."""
        for slots, states in ((self.slots.key, new.key), (self.slots.value, new.value)):
            slots[:, self.first : self.first + states.shape[1]] = states
        return self.slots


_STEPS = 4  # more room is more to attend to in vain, less is moved more often
