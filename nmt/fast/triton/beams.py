"""A search step in two kernels: the best tokens of each row, then the update of a slot's hypotheses.

`nmt.decoding.device.beams` defines the computation. Among equal extensions the first row and token win.
"""

# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# Functions under @triton.jit are in Triton's language, whose tensors have no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS, PAD

# N slots, K beam, R = N * K rows, V vocabulary, C extensions of a row, P parts of the vocabulary, T longest translation

_PAD, _BOS, _EOS = tl.constexpr(PAD), tl.constexpr(BOS), tl.constexpr(EOS)
_PART = 8192  # entries of the vocabulary per program


@triton.jit
def _best(
    LOGITS, VALUES, TOKENS, TOP, TOTAL, POSITIONS, OWNERS, LIMITS, minimum, size, beam,
    COUNT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Finds the best tokens of one row in one part of the vocabulary, and the part's softmax denominator."""
    row = tl.program_id(0)
    place = row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    token = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    logits = tl.load(LOGITS + row.to(tl.int64) * size + token, token < size, -float("inf")).to(tl.float32)
    top = tl.max(logits, 0)
    tl.store(TOP + place, top)
    tl.store(TOTAL + place, tl.sum(tl.exp(logits - top), 0))
    slot = row // beam
    length = tl.load(POSITIONS + slot) + 1
    at_limit = length >= tl.load(LIMITS + tl.load(OWNERS + slot))
    may = (token != _PAD) & (token != _BOS) & ((token != _EOS) | (length > minimum))
    logits = tl.where(tl.where(at_limit, token == _EOS, may), logits, -float("inf"))
    for rank in range(COUNT):
        best, at = tl.max(logits, 0, return_indices=True)
        tl.store(VALUES + place * COUNT + rank, best)
        tl.store(TOKENS + place * COUNT + rank, tl.program_id(1) * BLOCK + at)
        logits = tl.where(tl.arange(0, BLOCK) == at, -float("inf"), logits)


@triton.jit
def _normalised(VALUES, TOP, TOTAL, SCORES, slot, parts, K: tl.constexpr, KB: tl.constexpr, PB: tl.constexpr,
                C: tl.constexpr, CB: tl.constexpr):  # fmt: skip
    """Returns log-probabilities (KB, CB) of hypotheses with their best extensions."""
    row, part, column = tl.arange(0, KB), tl.arange(0, PB), tl.arange(0, CB)
    there = (row[:, None] < K) & (part[None, :] < parts)
    at = (slot * K + row[:, None]) * parts + part[None, :]
    tops = tl.load(TOP + at, there, -float("inf"))
    top = tl.where(row < K, tl.max(tops, 1), 0.0)  # (KB,)
    total = tl.sum(tl.load(TOTAL + at, there, 0.0) * tl.exp(tops - top[:, None]), 1)
    total = tl.where(row < K, total, 1.0)
    inside = (row[:, None] < K) & (column[None, :] < parts * C)
    logits = tl.load(VALUES + (slot * K + row[:, None]) * parts * C + column[None, :], inside, -float("inf"))
    scores = tl.load(SCORES + slot * K + row, row < K, -float("inf"))
    values = (logits - top[:, None] - tl.log(total)[:, None]).to(tl.float64) + scores[:, None]
    return tl.where(inside, values, -float("inf"))


@triton.jit
def _keep(
    SCORES, LOGS, LENGTHS, CUT, TOKENS, FED, ANCESTRY, place, score, value, cut, slot, parent, position,
    K: tl.constexpr, T: tl.constexpr, TB: tl.constexpr,
):  # fmt: skip
    """Stores an ended hypothesis: its scores and its tokens."""
    tl.store(SCORES + place, score)
    tl.store(LOGS + place, value)
    tl.store(LENGTHS + place, position + 1)
    tl.store(CUT + place, cut)
    for start in range(0, position + 1, TB):
        at = start + tl.arange(0, TB)
        past = at <= position
        other = tl.load(ANCESTRY + (slot * K + parent) * T + at, past, 0)
        tl.store(TOKENS + place * T + at, tl.load(FED + (slot * K + other) * T + at, past, 0), past)


@triton.jit
def _is_done(kept, scores, row, divisor, K: tl.constexpr, BEST: tl.constexpr, BY_COUNT: tl.constexpr):
    """Whether a sentence is done, by its ended hypotheses (infinity from K on) and its live scores, best first."""
    if BY_COUNT:
        return tl.min(kept, 0) > -float("inf")
    kept = tl.where(row < K, kept, -float("inf"))
    for _ in range(BEST - 1):
        _, place = tl.max(kept, 0, return_indices=True)
        kept = tl.where(row == place, -float("inf"), kept)
    return tl.max(kept, 0) >= tl.max(scores, 0) / divisor


@triton.jit
def _inherit(ANCESTRY, slot, row, parents, position, closed, K: tl.constexpr, T: tl.constexpr, TB: tl.constexpr):
    """Gives each hypothesis the ancestry of the one it continues; a new sentence gets only itself."""
    for start in range(0, position + 1, TB):
        at = start + tl.arange(0, TB)
        past = (row[:, None] < K) & (at[None, :] <= position)
        other = tl.load(ANCESTRY + (slot * K + parents[:, None]) * T + at[None, :], past, 0)
        tl.debug_barrier()  # all must have read before one writes
        other = tl.where(closed, row[:, None].to(tl.int64), other)
        tl.store(ANCESTRY + (slot * K + row[:, None]) * T + at[None, :], other, past)


@triton.jit
def _advance(
    VALUES, CHOSEN, TOP, TOTAL, OWNERS, POSITIONS, TOKENS, FED, ANCESTRY, ORIGINS, SCORES, FOLLOWING, REMAINING,
    BEST_SCORES, BEST_LOGS, BEST_LENGTHS, BEST_CUT, BEST_TOKENS, LIMITS, COUNT, DIVISORS, parts, rows, nobody,
    K: tl.constexpr, KB: tl.constexpr, PB: tl.constexpr, C: tl.constexpr, CB: tl.constexpr, T: tl.constexpr,
    TB: tl.constexpr, BEST: tl.constexpr, BY_COUNT: tl.constexpr,
):  # fmt: skip
    """Runs `Beams.advance` for one slot."""
    slot = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, KB)
    owner, position = tl.load(OWNERS + slot), tl.load(POSITIONS + slot)
    length, limit = position + 1, tl.load(LIMITS + owner)
    values = tl.reshape(_normalised(VALUES, TOP, TOTAL, SCORES, slot, parts, K, KB, PB, C, CB), [KB * CB])
    kept = tl.load(BEST_SCORES + owner * K + row, row < K, float("inf"))
    scores = tl.full([KB], -float("inf"), tl.float64)
    parents, tokens = tl.zeros([KB], tl.int64), tl.zeros([KB], tl.int64)
    live = 0
    for rank in range(C):
        value, at = tl.max(values, 0, return_indices=True)
        values = tl.where(tl.arange(0, KB * CB) == at, -float("inf"), values)
        parent = (at // CB).to(tl.int64)
        token = tl.load(CHOSEN + (slot * K + parent) * parts * C + tl.minimum(at % CB, parts * C - 1)).to(tl.int64)
        if (token == _EOS) & (value > -float("inf")):
            score = value / tl.load(DIVISORS + length)
            worst, place = tl.min(kept, 0, return_indices=True)
            if (rank < K) & (score > worst):
                kept = tl.where(row == place, score, kept)
                _keep(
                    BEST_SCORES, BEST_LOGS, BEST_LENGTHS, BEST_CUT, BEST_TOKENS, FED, ANCESTRY, owner * K + place,
                    score, value, length >= limit, slot, parent, position, K, T, TB,
                )  # fmt: skip
        else:
            scores = tl.where((row == live) & (row < K), value, scores)
            parents, tokens = tl.where(row == live, parent, parents), tl.where(row == live, token, tokens)
            live += 1
    closed = _is_done(kept, scores, row, tl.load(DIVISORS + limit), K, BEST, BY_COUNT) | (length >= limit)
    tl.debug_barrier()  # the tokens have been read
    if K > 1:
        _inherit(ANCESTRY, slot, row, parents, position, closed, K, T, TB)
    origins = slot * K + parents
    if closed:
        following = tl.atomic_add(FOLLOWING, 1)
        if owner != nobody:
            tl.atomic_add(REMAINING, -1)
        owner = tl.where(following < tl.load(COUNT), following, nobody)
        scores = tl.where(row == 0, 0.0, -float("inf")).to(tl.float64)
        tokens, origins = tl.full([KB], _BOS, tl.int64), tl.zeros([KB], tl.int64) + rows + owner
        length = tl.zeros_like(length)
    tl.store(OWNERS + slot, owner)
    tl.store(POSITIONS + slot, length)
    tl.store(SCORES + slot * K + row, scores, row < K)
    tl.store(TOKENS + slot * K + row, tokens, row < K)
    tl.store(ORIGINS + slot * K + row, origins, row < K)
    tl.store(FED + (slot * K + row) * T + length, tokens, row < K)


@torch.library.custom_op("nmt::best_of_rows", mutates_args=())
def best_of_rows(
    logits: Tensor, positions: Tensor, owners: Tensor, limits: Tensor, minimum: int, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the best logits (R, P, C) per row and part of the vocabulary, their tokens, and maxima and sums (R, P).

    Args:
        logits: (R, V)
        positions: (N,) target position of each slot.
        owners: (N,) sentence of each slot.
        limits: length limit of each sentence; a hypothesis of that length ends.
        minimum: least length, end of sentence not counted.
        count: number of best logits, C.
    """
    rows, size = logits.shape
    block = min(_PART, triton.next_power_of_2(size))
    parts = triton.cdiv(size, block)
    values, tokens, tops, totals = _room(logits, parts, count)
    _best[(rows, parts)](
        logits.contiguous(), values, tokens, tops, totals, positions, owners, limits,
        minimum, size, rows // len(positions), COUNT=count, BLOCK=block, num_warps=8 if block > 2048 else 4,
    )  # fmt: skip
    return values, tokens, tops, totals


@best_of_rows.register_fake
def _(logits, positions, owners, limits, minimum, count):
    return _room(logits, triton.cdiv(logits.shape[1], min(_PART, triton.next_power_of_2(logits.shape[1]))), count)


def _room(logits: Tensor, parts: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (len(logits), parts, count)
    values = logits.new_empty(shape, dtype=torch.float32)
    tokens = logits.new_empty(shape, dtype=torch.int32)
    return values, tokens, values.new_empty(shape[:2]), values.new_empty(shape[:2])


@torch.library.custom_op("nmt::advance_beams", mutates_args=("state",))
def advance(found: list[Tensor], state: list[Tensor], fixed: list[Tensor], best: int, by_count: bool) -> None:
    """Updates all hypotheses after a step.

    Args:
        found: the result of `best_of_rows`.
        state: tensors that change, in the order of `Beams.state`.
        fixed: limits of the sentences, their number, and divisors by length.
        best: number of hypotheses wanted.
        by_count: whether a sentence is done when a whole beam of hypotheses has ended.
    """
    values, _, tops, _ = found
    fed, scores = state[3], state[6]
    slots, beam = scores.shape
    parts, count = tops.shape[1], values.shape[2]
    columns = triton.next_power_of_2(parts * count)
    rows = triton.next_power_of_2(beam)
    _advance[(slots,)](
        *found, *state, *fixed, parts, slots * beam, len(fixed[0]) - 1,
        K=beam, KB=rows, PB=triton.next_power_of_2(parts), C=count, CB=columns, T=fed.shape[1], TB=32, BEST=best,
        BY_COUNT=by_count, num_warps=1 if rows * columns <= 128 else 4,
    )  # fmt: skip


@advance.register_fake
def _(found, state, fixed, best, by_count):
    return None
