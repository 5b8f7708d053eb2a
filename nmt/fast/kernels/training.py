"""The functions of `training.c` and `attention.c`: what stands between the products of a Transformer that is trained."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

# N rows (words of a batch, without padding), B sentences, D width, H heads, K width of a head, V vocabulary

_long, _int, _float, _place = ctypes.c_long, ctypes.c_int32, ctypes.c_float, ctypes.c_void_p


class _Normalisation(ctypes.Structure):
    """`normalisation` of training.c."""

    _fields_ = [("centred", _int), ("epsilon", _float), ("weight", _place), ("bias", _place)]


class _Attention(ctypes.Structure):
    """`attention` of attention.c."""

    _fields_ = [
        *((name, _long) for name in ("sentences", "heads", "size")),
        *((name, _int) for name in ("half", "causal")),
        *((name, _float) for name in ("scale", "rate")),
        ("key", ctypes.c_uint64),
        *((name, _place) for name in ("here", "there", "places")),
        *((name, _long) for name in ("query_step", "key_step")),
        *((name, _place) for name in ("queries", "keys", "values", "query_bias", "key_bias", "value_bias", "weights")),
    ]


@dataclass(frozen=True)
class Chance:
    """Dropout at a rate, as a pure function of a key of 64 bits and of the place of a number."""

    rate: float = 0.0
    key: int = 0


@dataclass(frozen=True)
class Norm:
    """LayerNorm, or RMSNorm, which has no bias."""

    weight: Tensor
    """(D,)"""
    bias: Tensor | None
    epsilon: float


@dataclass(frozen=True)
class Summed:
    """A residual stream, and its norm."""

    total: Tensor
    """(N, D) in fp32."""
    measures: Tensor
    """(N, 2) mean and scale of each row."""
    normed: Tensor
    """(N, D) in fp32; where products take bf16 and nobody else reads it, empty."""
    read: Tensor
    """The norm as products take it; it may be `normed`."""


@dataclass(frozen=True)
class Spread:
    """Where the sentences of a batch stand in its rows, and which keys their queries see."""

    here: Tensor
    """(B + 1,) first query of each sentence, and the end."""
    there: Tensor
    """(B + 1,) the same of its keys."""
    causal: bool
    """Position t sees the positions up to t only."""
    heads: int
    scale: float
    """Of scores."""


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values as products have left them: without their biases."""

    queries: Tensor
    """(N, D), in fp32 or bf16."""
    keys: Tensor
    """(M, D)"""
    values: Tensor
    """(M, D), as far from row to row as the keys."""
    biases: tuple[Tensor, Tensor, Tensor]
    """(D,) each."""


class TrainingKernels:
    """These functions, of tensors on the CPU: fp32, but in bf16 what products read or write, if those take bf16."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, real, key = ctypes.c_long, ctypes.c_float, ctypes.c_uint64
        norm, attention = ctypes.POINTER(_Normalisation), ctypes.POINTER(_Attention)
        self._residual, self._residual_back = library.nmt_residual, library.nmt_residual_back
        self._residual.argtypes = [*[_place] * 3, _int, number, number, key, real, norm, *[_place] * 4, _int]
        self._residual_back.argtypes = [*[_place] * 3, _int, number, number, key, real, norm, *[_place] * 5, _int]
        self._activate, self._activate_back = library.nmt_activate, library.nmt_activate_back
        self._activate.argtypes = [_place, _place, _int, number, number, key, real, _int]
        self._activate_back.argtypes = [_place, _place, _int, number, number, real, _place, _place, _int]
        self._embed, self._embed_back = library.nmt_embed, library.nmt_embed_back
        self._embed.argtypes = [*[_place] * 4, number, number, real, key, real, _place, _int]
        self._embed_back.argtypes = [_place, _place, number, number, real, key, real, _place, _int]
        for function in (self._residual, self._residual_back, self._activate, self._activate_back):
            function.restype = None
        self._embed.restype = self._embed_back.restype = None
        self._attend, self._attend_back = library.nmt_attend, library.nmt_attend_back
        self._attend.argtypes, self._attend_back.argtypes = [attention, _place, _int], [attention, *[_place] * 5, _int]
        self._blocks, self._lanes = library.nmt_blocks, int(library.nmt_lanes())
        self._blocks.argtypes, self._blocks.restype = [number], number
        self._shares = int(library.nmt_shares())

    def residual(
        self,
        stream: Tensor,
        update: Tensor | None,
        bias: Tensor | None,
        norm: Norm,
        chance: Chance,
        dtype: torch.dtype,
        both: bool,
    ) -> Summed:
        """Total = stream + dropout(update + bias), and its norm.

        Args:
            stream: (N, D) in fp32.
            update: (N, D) from a product; None: the total is the stream.
            bias: (D,) of that product, if there is one.
            norm: of the total.
            chance: of dropout.
            dtype: of products.
            both: the norm is wanted in fp32 too, whatever products take.
        """
        half = dtype == torch.bfloat16
        total = stream if update is None else torch.empty_like(stream)
        normed = torch.empty_like(stream) if both or not half else stream.new_empty(0)
        read = torch.empty_like(stream, dtype=dtype) if half else normed
        measures = stream.new_empty((len(stream), 2))
        places = stream.data_ptr(), _address(update), _address(bias), half, *stream.shape, chance.key, chance.rate
        found = total.data_ptr(), _address(normed), _address(read if half else None), measures.data_ptr()
        self._residual(*places, _normalisation(norm), *found, torch.get_num_threads())
        return Summed(total, measures, normed, read)

    def residual_back(
        self,
        gradients: tuple[Tensor | None, Tensor | None, Tensor | None],
        summed: Summed,
        norm: Norm,
        chance: Chance,
        updated: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of stream, of update and of (3, D) bias, weight and bias of the norm.

        Args:
            gradients: of `read`, of `normed` where it is another, and of `total`, each if there is one.
            summed: what `residual` made.
            norm: as for `residual`.
            chance: as for `residual`.
            updated: there was an update; else its gradient is empty.
        """
        total, dtype = summed.total, summed.read.dtype
        d_stream = torch.empty_like(total)
        d_update = torch.empty_like(total if updated else total.new_empty(0), dtype=dtype)
        sums = total.new_zeros((self._blocks(len(total)), 3, total.shape[1]))
        places = [_address(part) for part in gradients]
        shape = (dtype == torch.bfloat16, *total.shape, chance.key, chance.rate)
        found = d_stream.data_ptr(), _address(d_update), sums.data_ptr()
        known = total.data_ptr(), summed.measures.data_ptr()
        self._residual_back(*places, *shape, _normalisation(norm), *known, *found, torch.get_num_threads())
        return d_stream, d_update, sums.sum(0)

    def activate(self, states: Tensor, bias: Tensor, chance: Chance) -> None:
        """States (N, F) become dropout(max(0, states + bias))."""
        shape = (_half(states), *states.shape, chance.key, chance.rate)
        self._activate(states.data_ptr(), bias.data_ptr(), *shape, torch.get_num_threads())

    def activate_back(self, activated: Tensor, gradients: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Gradients of the states (N, F) and of the bias (F,), from what was activated."""
        found = torch.empty_like(activated)
        sums = torch.zeros((self._blocks(len(activated)), activated.shape[1]), dtype=torch.float32)
        shape = (_half(activated), *activated.shape, chance.rate)
        places = found.data_ptr(), sums.data_ptr()
        self._activate_back(activated.data_ptr(), gradients.data_ptr(), *shape, *places, torch.get_num_threads())
        return found, sums.sum(0)

    def embed(
        self, table: Tensor, tokens: Tensor, added: Tensor | None, places: Tensor, gain: float, chance: Chance
    ) -> Tensor:
        """dropout(gain * embedding + what the place adds), (N, D).

        Args:
            table: (V, D)
            tokens: (N,)
            added: (P, D), if places are added.
            places: (N,) place of each token in its sentence.
            gain: of embeddings.
            chance: of dropout.
        """
        out = table.new_empty((len(tokens), table.shape[1]))
        read = table.data_ptr(), tokens.data_ptr(), _address(added), places.data_ptr()
        self._embed(*read, *out.shape, gain, chance.key, chance.rate, out.data_ptr(), torch.get_num_threads())
        return out

    def embed_back(self, gradients: Tensor, tokens: Tensor, vocabulary: int, gain: float, chance: Chance) -> Tensor:
        """The gradient (V, D) of the table."""
        table = gradients.new_zeros((vocabulary, gradients.shape[1]))
        settings = (*gradients.shape, gain, chance.key, chance.rate, table.data_ptr(), torch.get_num_threads())
        self._embed_back(gradients.data_ptr(), tokens.data_ptr(), *settings)
        return table

    def attend(self, projected: Projected, spread: Spread, chance: Chance) -> tuple[Tensor, Tensor]:
        """Contexts (N, D) of all heads, and the weights, for the way back."""
        lengths, seen = spread.here.diff(), spread.there.diff()
        ends = (lengths * ((seen + self._lanes - 1) // self._lanes * self._lanes)).cumsum(0) * spread.heads
        weights = torch.empty(int(ends[-1]), dtype=torch.float32)
        context = projected.queries.new_empty(projected.queries.shape)
        call, _kept = self._call(projected, spread, chance, weights)
        _check(self._attend(call, context.data_ptr(), torch.get_num_threads()))
        return context, weights

    def attend_back(
        self,
        d_context: Tensor,
        weights: Tensor,
        projected: Projected,
        d_projected: tuple[Tensor, Tensor, Tensor],
        spread: Spread,
        chance: Chance,
    ) -> Tensor:
        """Fills the gradients of queries, keys and values, which lie like these; returns those of their biases (3, D)."""
        sums = torch.zeros((self._shares, 3, d_context.shape[1]), dtype=torch.float32)
        call, _kept = self._call(projected, spread, chance, weights)
        places = [part.data_ptr() for part in (d_context, *d_projected, sums)]
        _check(self._attend_back(call, *places, torch.get_num_threads()))
        return sums.sum(0)

    def _call(self, projected: Projected, spread: Spread, chance: Chance, weights: Tensor) -> tuple[_Attention, Tensor]:
        """The attention as C reads it, and what must outlive it."""
        queries, keys, values = projected.queries, projected.keys, projected.values
        lengths, seen = spread.here.diff(), spread.there.diff()
        sizes = lengths * ((seen + self._lanes - 1) // self._lanes * self._lanes) * spread.heads
        places = sizes.cumsum(0) - sizes
        call = _Attention(
            len(lengths),
            spread.heads,
            queries.shape[1] // spread.heads,
            _half(queries),
            spread.causal,
            spread.scale,
            chance.rate,
            chance.key,
            *(part.data_ptr() for part in (spread.here, spread.there, places)),
            queries.stride(0),
            keys.stride(0),
            *(part.data_ptr() for part in (queries, keys, values, *projected.biases, weights)),
        )
        return call, places


def _normalisation(norm: Norm) -> _Normalisation:
    return _Normalisation(norm.bias is not None, norm.epsilon, norm.weight.data_ptr(), _address(norm.bias))


def _address(tensor: Tensor | None) -> int | None:
    """Where its numbers are; None: it is empty, or there is none."""
    return None if tensor is None or not tensor.numel() else tensor.data_ptr()


def _half(tensor: Tensor) -> int:
    return int(tensor.dtype == torch.bfloat16)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for attention")
