"""Beam search that stays on its device: the host sends sentences, starts steps and reads one array at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_ROWS = 8192  # with more rows a step takes longer and nothing is gained
_BLOCK = 8  # steps between two checks whether all sentences are done
_ENCODED = 65_536  # padded source tokens encoded at once
_SHARE = 0.5  # share of the free memory to use


class DeviceSearch:
    """Searches with one decoder. Keeps its memory and captured graph for later searches that fit."""

    def __init__(self, steps: Steps, device: torch.device, slots: int | None = None) -> None:
        """See `device_search`."""
        self.steps, self.device, self.slots = steps, device, slots
        self.running: Running | None = None
        """The memory and graph of the last search."""

    @torch.inference_mode()
    def search(self, ids: Sequence[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """Returns the `best` hypotheses of each sentence of source tokens, best first; see `beam_search.beam_search`."""
        lengths, positions = [len(tokens) + 1 for tokens in ids], self.steps.positions(ids)
        order = sorted(range(len(ids)), key=lambda place: -lengths[place])
        found: list[list[Hypothesis]] = [[] for _ in ids]
        start = 0
        while start < len(order):
            left = order[start:]
            sizes, spans = (torch.tensor([side[place] for place in left]) for side in (lengths, positions))
            count, room = self._room(sizes, spans, config)
            part = left[:count]
            running = self._prepared(room, config, best)
            results = running.search([ids[place] for place in part], spans[:count])
            for place, hypotheses in zip(part, results, strict=True):
                found[place] = hypotheses
            start += count
        return found

    def _room(self, lengths: Tensor, positions: Tensor, config: SearchConfig) -> tuple[int, Room]:
        """Returns how many of the sentences, longest first, fit into memory, and the room for them.

        Lengths are in tokens; positions are those that the decoder reads. If not all fit, the longest are searched first and
        alone, as they set the memory of every slot.
        """
        target = _rounded(int(length_limits(lengths[:1], config)))
        count, source, beam, free = len(lengths), _rounded(int(positions.max())), config.beam, _SHARE * self._free()
        slots = self.slots or _slots(count, beam)
        while True:
            tokens = int(positions[:count].sum())
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
        """Returns the bytes that can be allocated, including torch's cache and the memory of the last search."""
        free = memory_there(self.device)
        if self.device.type == "cuda":
            free += cached_bytes(torch.cuda.memory_snapshot(), torch.cuda.current_device())
        return free + (0 if self.running is None else self.steps.bytes(self.running.room))

    def _prepared(self, room: Room, config: SearchConfig, best: int) -> Running:
        running = self.running
        if running is None or not running.serves(room, config, best):
            self.running = running = None  # frees its memory first
            self.running = running = Running(self.steps, room, config, best, self.device)
        return running


def cached_bytes(segments: Sequence[Mapping[str, Any]], device: int) -> int:
    """Returns what torch's cache on a GPU can give; what CUDA graphs keep for themselves nobody else can have.

    Args:
        segments: from `torch.cuda.memory_snapshot`.
        device: number of the GPU.
    """
    shared = [item for item in segments if item["device"] == device and tuple(item["segment_pool_id"]) == (0, 0)]
    return sum(int(item["total_size"]) - int(item["allocated_size"]) for item in shared)


class Running:
    """A search with allocated memory."""

    def __init__(self, steps: Steps, room: Room, config: SearchConfig, best: int, device: torch.device) -> None:
        self.steps, self.room, self.device = steps, room, device
        steps.reserve(room)
        self.beams = Beams(room, device, config, best)
        self.block = Repeated(device)

    def serves(self, room: Room, config: SearchConfig, best: int) -> bool:
        """Whether this memory and graph also serve another search."""
        return self.room.holds(room) and (self.beams.config, self.beams.best) == (config, best)

    def search(self, ids: Sequence[list[int]], positions: Tensor) -> list[list[Hypothesis]]:
        """Returns the hypotheses of sentences with so many source positions (P,); they must come longest first."""
        lengths = torch.tensor([len(tokens) + 1 for tokens in ids])
        offsets = (positions.cumsum(0) - positions).tolist()
        for batch in search_batches(lengths.tolist(), _ENCODED, 1):
            source, sizes = padded([ids[row] for row in batch], before=-1, after=EOS)
            self.steps.load(batch[0], offsets[batch[0]], sent(source, self.device), sizes)
        self.beams.begin(lengths, positions)
        self.block.until_zero(self.steps_of_a_block, self.beams.remaining)
        return self.beams.queue.hypotheses(len(ids), self.beams.best)

    def steps_of_a_block(self) -> None:
        """Runs some steps of all rows."""
        for _ in range(_BLOCK):
            self.beams.advance(self.steps.step(self.beams))


def device_search(model: Seq2Seq[Any, Any], device: torch.device, slots: int | None = None) -> DeviceSearch | None:
    """Returns the search of a model on its GPU; None: no GPU, or the family has no such search.

    Args:
        model: on the device and ready for search.
        device: the device of the model.
        slots: sentences searched at the same time; chosen from their number if left out.
    """
    steps = steps_for(model) if device.type == "cuda" else None
    return None if steps is None else DeviceSearch(steps, device, slots)


def can_search(config: SearchConfig) -> bool:
    """Whether the device search supports these settings. It has no groups and no rules about earlier tokens."""
    return config.groups == 1 and config.no_repeat_ngram == 0 and config.repetition_penalty == 1


def _slots(count: int, beam: int) -> int:
    """Returns the number of slots for `count` sentences, so that each is filled at least twice if the rows suffice."""
    most = max((size for size in _SLOTS if size * beam <= _ROWS), default=_SLOTS[0])
    return min(most, next((size for size in _SLOTS if 2 * size >= count), most))


def _rounded(length: int) -> int:
    """Rounds a length up to one of few values, so that allocations can be reused."""
    return max(32, 1 << (length - 1).bit_length()) if length <= 64 else _whole(length, 64)


def _whole(count: int, size: int) -> int:
    """Rounds up to a multiple of `size`."""
    return -(-count // size) * size
