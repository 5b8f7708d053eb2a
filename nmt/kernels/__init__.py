"""Compiled kernels of search and of the loss on a CPU, built once on the machine that runs them, if that has a C compiler.

Without one, or with NMT_KERNELS=0, torch's operations do the same, more slowly. `nmt.kernels.build` makes and keeps them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from nmt.cpu import InstructionSet, instructions
from nmt.kernels.build import NotBuilt, library
from nmt.tokenizer import BOS, EOS, PAD

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far, S source positions, D width

_DTYPES = (torch.float32, torch.bfloat16)
LANES = 16
"""The width of a head is a multiple of it."""


class Kernels:
    """The functions of `decoding.c` and `loss.c`, of tensors on the CPU, contiguous, in fp32 or bf16."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, pointer, real = ctypes.c_long, ctypes.c_void_p, ctypes.c_float
        self._best = library.nmt_best_extensions
        self._best.argtypes = [pointer, number, number, pointer, *[number] * 4, pointer, *[number] * 3, *[pointer] * 3]
        self._past = library.nmt_attend_past
        self._past.argtypes = [pointer, pointer, *[number] * 4, real, number, pointer]
        self._source = library.nmt_attend_source
        self._source.argtypes = [*[pointer] * 4, *[number] * 5, real, number, pointer]
        self._additive = library.nmt_attend_additive
        self._additive.argtypes = [*[pointer] * 5, *[number] * 6, pointer, pointer]
        self._quantise, self._rescale = library.nmt_quantise, library.nmt_rescale
        self._quantise.argtypes = [pointer, *[number] * 4, pointer, pointer]
        self._rescale.argtypes = [*[pointer] * 3, *[number] * 4, pointer]
        self._entropy = library.nmt_cross_entropy
        self._entropy.argtypes = [pointer, *[number] * 4, pointer, real, number, *[pointer] * 5]
        self._multiply = library.nmt_multiply
        self._multiply.argtypes = [pointer, *[number] * 3, pointer, pointer, number, number, pointer]
        self._integers = library.nmt_multiply_integers
        self._integers.argtypes = [pointer, *[number] * 4, *[pointer] * 4, *[number] * 3, pointer]
        self.tile = int(library.nmt_tile())
        """Outputs whose weights lie together in a product; it follows the width of the CPU's vectors."""
        self.inner = int(library.nmt_inner())
        """Inputs of an output that lie together in a product of integers."""

    def best_extensions(
        self, scores: Tensor, logits: Tensor, count: int, normalised: bool, at_limit: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `nmt.extensions`: of log-probabilities (R, V), or of logits, with the two rules that always hold.

        Args:
            scores: (B, K) in double precision.
            logits: (R, V), not changed.
            count: extensions wanted of each sentence.
            normalised: they are log-probabilities already, with what is forbidden at -inf.
            at_limit: (B,) sentences whose hypotheses must end.
        """
        (sentences, beam), logits, scores = scores.shape, logits.contiguous(), scores.contiguous()
        values = scores.new_empty((sentences, count))
        origins = torch.empty((sentences, count), dtype=torch.long)
        tokens = torch.empty_like(origins)
        ending = None if at_limit is None else at_limit.data_ptr()
        special = (-1, -1, -1) if normalised else (PAD, BOS, EOS)
        found = (values.data_ptr(), origins.data_ptr(), tokens.data_ptr())
        sizes = (sentences, beam, logits.shape[1], count)
        _check(
            self._best(
                logits.data_ptr(), _half(logits), normalised, scores.data_ptr(), *sizes, ending, *special, *found
            )
        )
        return values, origins, tokens

    def attend_past(self, steps: Sequence[Tensor], past: Tensor, heads: int, scale: float) -> Tensor:
        """Attention (R, D) of the newest position of each row to its past.

        Args:
            steps: query, key and value of each position, (rows of that step, 3 * D).
            past: (R, T) int32, the row of each step that is a row's own.
            heads: of the attention.
            scale: of the products.
        """
        newest = steps[-1]
        (rows, length), width = past.shape, newest.shape[1] // 3
        places = (ctypes.c_void_p * length)(*[step.data_ptr() for step in steps])
        context = newest.new_empty((rows, width))
        shape = (rows, length, width, heads, scale, _half(newest))
        _check(self._past(places, past.data_ptr(), *shape, context.data_ptr()))
        return context

    def attend_source(
        self, queries: Tensor, memory: Tensor, owners: Tensor, lengths: Tensor, heads: int, scale: float
    ) -> Tensor:
        """Attention (R, D) of each row to the source of its sentence.

        Args:
            queries: (R, D)
            memory: keys and values (sentences, S, 2 * D).
            owners: (B,) the place of each sentence in the memory.
            lengths: (sentences,) positions that count.
            heads: of the attention.
            scale: of the products.
        """
        rows, width = queries.shape
        context = torch.empty_like(queries)
        places = (queries.data_ptr(), memory.data_ptr(), owners.data_ptr(), lengths.data_ptr())
        shape = (len(owners), rows // len(owners), memory.shape[1], width, heads, scale, _half(queries))
        _check(self._source(*places, *shape, context.data_ptr()))
        return context

    def attend_additive(
        self, queries: Tensor, keys: Tensor, combine: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context (R, C) and weights (R, S) of each row, by scores v . tanh(q + k) of the source of its sentence.

        Args:
            queries: e^2q (R, A).
            keys: e^2k (B, S, A).
            combine: v (A,), in fp32.
            values: (B, S, C)
            mask: (B, S) real positions, which come first.
        """
        (sentences, longest, width), depth = keys.shape, values.shape[2]
        rows = len(queries)
        context, weights = queries.new_empty((rows, depth)), queries.new_empty((rows, longest))
        places = [part.data_ptr() for part in (queries, keys, combine, values, mask)]
        shape = (sentences, rows // sentences, longest, width, depth, _half(queries))
        _check(self._additive(*places, *shape, weights.data_ptr(), context.data_ptr()))
        return context, weights

    def multiply(self, states: Tensor, weight: Tensor, bias: Tensor, outputs: int, relu: bool) -> Tensor:
        """Products (N, O) of rows with a matrix, plus a bias, summed in fp32.

        Args:
            states: x (N, I), in fp32 or bf16.
            weight: W in tiles (ceil(O / tile), I, tile), in the type of the states.
            bias: one for each output up to the end of the last tile, in fp32.
            outputs: O
            relu: cut off at zero.
        """
        result = states.new_empty((len(states), outputs))
        shape = (_half(states), *states.shape)
        places = (weight.data_ptr(), bias.data_ptr(), outputs, relu, result.data_ptr())
        _check(self._multiply(states.data_ptr(), *shape, *places))
        return result

    def multiply_integers(
        self, states: Tensor, zero: int, weights: Sequence[Tensor], outputs: int, relu: bool, dtype: torch.dtype
    ) -> Tensor:
        """The same in integers, from and to fp32 or bf16; rows are rounded as by `quantise`.

        Args:
            states: x (N, I).
            zero: as of `quantise`.
            weights: W in tiles (ceil(O / tile), ceil(I / inner), tile, inner), and for each output scale, sum and bias.
            outputs: see `multiply`.
            relu: cut off at zero.
            dtype: of the results.
        """
        result = torch.empty((len(states), outputs), dtype=dtype)
        places = [part.data_ptr() for part in weights]
        shape = (_half(states), *states.shape, zero)
        _check(self._integers(states.data_ptr(), *shape, *places, outputs, relu, _half(result), result.data_ptr()))
        return result

    def cross_entropy(
        self, logits: Tensor, targets: Tensor, weight: float | None, columns: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each row its negative log-likelihood, log normaliser and whether the target is the most probable; divergences.

        Args:
            logits: (N, V); if their gradient is wanted, they are overwritten by softmax p, plus the weighted gradient
                of the divergence.
            targets: (N,)
            weight: of KL(P1 || P2) + KL(P2 || P1) of the first and the second half of the rows, two passes over the same
                tokens; None: it is one pass, without divergences.
            columns: (V,) in fp32, to which the sum of these gradients is added; None: no gradient is wanted.
        """
        rows, passes = len(logits), 1 if weight is None else 2
        negative, normaliser = torch.empty(2, rows)
        right, apart = torch.empty(rows, dtype=torch.bool), torch.empty(rows // 2 if weight else 0)
        shape = (_half(logits), rows // passes, logits.shape[1], passes)
        found = [part.data_ptr() for part in (negative, normaliser, right, apart)]
        places = (*found, None if columns is None else columns.data_ptr())
        threads = torch.get_num_threads()
        _check(self._entropy(logits.data_ptr(), *shape, targets.data_ptr(), weight or 0.0, threads, *places))
        return negative, normaliser, right, apart

    def quantise(self, states: Tensor, zero: int) -> tuple[Tensor, Tensor]:
        """Rows (N, I) as unsigned bytes around a zero of 128, or of 0 if none is negative, and their scales (N,)."""
        integers = torch.empty(states.shape, dtype=torch.uint8)
        scales = torch.empty(len(states))
        self._quantise(states.data_ptr(), *states.shape, zero, _half(states), integers.data_ptr(), scales.data_ptr())
        return integers, scales

    def rescale(self, product: Tensor, scales: Tensor, bias: Tensor, relu: bool, dtype: torch.dtype) -> Tensor:
        """Products (N, O) of integers, in fp32, times the scales (N,) of their rows, plus the bias (O,)."""
        result = product if dtype == torch.float32 else torch.empty(product.shape, dtype=dtype)
        places = (product.data_ptr(), scales.data_ptr(), bias.data_ptr())
        self._rescale(*places, *product.shape, relu, _half(result), result.data_ptr())
        return result


def kernels_for(tensor: Tensor) -> Kernels | None:
    """The kernels, if they take such numbers and this machine has them."""
    return kernels() if tensor.device.type == "cpu" and tensor.dtype in _DTYPES else None


def kernels(path: InstructionSet | None = None) -> Kernels | None:
    """The kernels, built if they are not there yet; None where that cannot be.

    Args:
        path: the instructions that they use; those of `nmt.cpu.instructions` if left out.
    """
    return _made(path or instructions())[0]


def why_missing() -> str | None:
    """Why there are none though they are wanted; None: they are there, or switched off."""
    return _made(instructions())[1]


@cache
def _made(path: InstructionSet) -> tuple[Kernels | None, str | None]:
    try:
        file = library(path)
        built = None if file is None else Kernels(ctypes.CDLL(str(file)))
    except NotBuilt as error:
        return None, str(error)
    except (OSError, AttributeError) as error:
        return None, f"the compiled kernels cannot be loaded ({error})"
    if built is not None and not _is_right(built):
        return None, "the compiled kernels compute wrong results here"
    return built, None


def _is_right(built: Kernels) -> bool:
    """Whether probabilities, attention, cross entropy and products come out as torch has them."""
    steps = torch.linspace(-3, 3, 192).sin().view(2, 1, 96)
    logits, query, keys, values = steps[1], steps[1, 0, :32], steps[:, 0, 32:64], steps[:, 0, 64:]
    best = built.best_extensions(torch.zeros((1, 1), dtype=torch.float64), logits, 1, normalised=False)[0]
    context = built.attend_past(list(steps), torch.zeros((1, 2), dtype=torch.int32), 1, 1.0)
    expected = (keys @ query).softmax(0) @ values
    found = torch.allclose(best.float(), logits.log_softmax(1).max()) and torch.allclose(context, expected, atol=1e-5)
    negative = built.cross_entropy(logits, torch.zeros(1, dtype=torch.long), None, None)[0]
    found = found and torch.allclose(negative, -logits.log_softmax(1)[:, 0], atol=1e-5)
    states, weight = torch.linspace(-1, 1, 27).view(9, 3), torch.linspace(-3, 3, 3 * built.tile).view(3, built.tile)
    product = built.multiply(states, weight[None], torch.zeros(built.tile), built.tile, relu=False)
    return found and torch.allclose(product, states @ weight, atol=1e-5)


def _half(tensor: Tensor) -> int:
    return int(tensor.dtype == torch.bfloat16)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for a step of search")
