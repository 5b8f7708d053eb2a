"""Beam search that stays on its device: the host sends sentences, starts steps and reads one array at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.batches import padded, search_batches
from nmt.decoding.beam_search import Hypothesis, length_limits
from nmt.decoding.device.beams import Beams, Room
from nmt.decoding.device.graphs import Repeated
from nmt.decoding.device.sources import sent
from nmt.decoding.device.steps import Steps, steps_for
from nmt.models.protocol import Seq2Seq
from nmt.runtime.memory import memory_there

# P sentences, N slots, K beam

_SLOTS = (64, 128, 256, 512, 1024, 2048, 4096)
_ROWS = 8192  # with more, a step takes so much longer that nothing is gained
_BLOCK = 8  # steps between two looks at whether all is done
_ENCODED = 65_536  # padded source tokens that are encoded at once
_SHARE = 0.5  # of the memory that is there


class DeviceSearch:
    """Searches with one decoder. What was allocated, and the graph captured in it, serves again while it is large enough."""

    def __init__(self, steps: Steps, device: torch.device, slots: int | None = None) -> None:
        """See `device_search`."""
        self.steps, self.device, self.slots = steps, device, slots
        self.running: Running | None = None
        """What was made for the last search."""

    @torch.inference_mode()
    def search(self, ids: Sequence[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """The `best` hypotheses of each sentence of source tokens, best first; see `nmt.decoding.beam_search.beam_search`."""
        lengths = [len(tokens) + 1 for tokens in ids]
        order = sorted(range(len(ids)), key=lambda place: -lengths[place])
        found: list[list[Hypothesis]] = [[] for _ in ids]
        start = 0
        while start < len(order):
            sizes = torch.tensor([lengths[place] for place in order[start:]])
            count, room = self._room(sizes, config)
            part = order[start : start + count]
            running = self._prepared(room, config, best)
            for place, hypotheses in zip(part, running.search([ids[place] for place in part]), strict=True):
                found[place] = hypotheses
            start += count
        return found

    def _room(self, lengths: Tensor, config: SearchConfig) -> tuple[int, Room]:
        """How many of the sentences, longest first, the memory holds, and room for them.

        Where that is not all, the longest come first, alone: they decide how much each of the others would take.
        """
        target = _rounded(int(length_limits(lengths[:1], config)))
        count, source, beam, free = len(lengths), _rounded(int(lengths[0])), config.beam, _SHARE * self._free()
        slots = self.slots or _slots(count, beam)
        while True:
            tokens = int(lengths[:count].sum())
            room = Room(slots, beam, _whole(count, 1024), _whole(tokens, 16_384), source, target)
            if (
                self.steps.bytes(room) + 16 * target * beam * (room.sentences + 3 * slots) <= free
                or count == 1 == slots
            ):
                return count, room
            longest = int((2 * lengths[:count] > lengths[0]).sum())
            if longest < count:
                count, slots = longest, min(slots, _slots(longest, beam))
            elif count > 4 * slots or slots == 1:
                count //= 2
            else:
                slots //= 2

    def _free(self) -> float:
        """Bytes that can be had: what torch keeps for later and what the last search holds among them."""
        free = memory_there(self.device)
        if self.device.type == "cuda":
            free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + (0 if self.running is None else self.steps.bytes(self.running.room))

    def _prepared(self, room: Room, config: SearchConfig, best: int) -> Running:
        running = self.running
        if running is None or not running.serves(room, config, best):
            self.running = running = None  # its memory first
            self.running = running = Running(self.steps, room, config, best, self.device)
        return running


class Running:
    """The search in one room."""

    def __init__(self, steps: Steps, room: Room, config: SearchConfig, best: int, device: torch.device) -> None:
        self.steps, self.room, self.device = steps, room, device
        steps.reserve(room)
        self.beams = Beams(room, device, config, best)
        self.block = Repeated(self.steps_of_a_block, device)

    def serves(self, room: Room, config: SearchConfig, best: int) -> bool:
        """Whether it can search for others too."""
        return self.room.holds(room) and (self.beams.config, self.beams.best) == (config, best)

    def search(self, ids: Sequence[list[int]]) -> list[list[Hypothesis]]:
        """The hypotheses of sentences, which come longest first."""
        lengths = torch.tensor([len(tokens) + 1 for tokens in ids])
        offsets = (lengths.cumsum(0) - lengths).tolist()
        for batch in search_batches(lengths.tolist(), _ENCODED, 1):
            source, sizes = padded([ids[row] for row in batch], before=-1, after=EOS)
            self.steps.load(batch[0], offsets[batch[0]], sent(source, self.device), sizes)
        self.beams.begin(lengths)
        self.block.until_zero(self.beams.remaining)
        return self.beams.queue.hypotheses(len(ids), self.beams.best)

    def steps_of_a_block(self) -> None:
        """Some steps of all rows."""
        for _ in range(_BLOCK):
            self.beams.advance(self.steps.step(self.beams))


def device_search(model: Seq2Seq[Any, Any], device: torch.device, slots: int | None = None) -> DeviceSearch | None:
    """The search of a model on its GPU; None: the device is none, or the family has no such search.

    Args:
        model: on the device, ready for search.
        device: where it is.
        slots: sentences that are searched at the same time; as many as are worth while if left out.
    """
    steps = steps_for(model) if device.type == "cuda" else None
    return None if steps is None else DeviceSearch(steps, device, slots)


def can_search(config: SearchConfig) -> bool:
    """Whether there is such a search by these settings; groups and rules that look at what was said want the plain loop."""
    return config.groups == 1 and config.no_repeat_ngram == 0 and config.repetition_penalty == 1


def _slots(count: int, beam: int) -> int:
    """Slots for so many sentences: each is filled twice or more, where that leaves enough rows for the device."""
    most = max((size for size in _SLOTS if size * beam <= _ROWS), default=_SLOTS[0])
    return min(most, next((size for size in _SLOTS if 2 * size >= count), most))


def _rounded(length: int) -> int:
    """Up to a number of which there are few, so that what is made for one length serves others."""
    return max(32, 1 << (length - 1).bit_length()) if length <= 64 else _whole(length, 64)


def _whole(count: int, size: int) -> int:
    """Up to a multiple."""
    return -(-count // size) * size
