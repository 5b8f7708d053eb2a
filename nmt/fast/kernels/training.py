"""The functions of `training.c` and `attention.c`: the steps between the products of a Transformer in training."""

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
    """Dropout as a pure function of a 64-bit key and the index of a number."""

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
    """A residual sum and its norm."""

    total: Tensor
    """(N, D) in fp32."""
    measures: Tensor
    """(N, 2) mean and scale of each row."""
    normed: Tensor
    """(N, D) in fp32; empty if products use bf16 and fp32 is not needed."""
    read: Tensor
    """The norm in the type of products; may be `normed`."""


@dataclass(frozen=True)
class Spread:
    """The rows of each sentence of a batch, and which keys its queries see."""

    here: Tensor
    """(B + 1,) first query row of each sentence, and the total."""
    there: Tensor
    """(B + 1,) first key row of each sentence, and the total."""
    causal: bool
    """Whether position t sees only positions up to t."""
    heads: int
    scale: float
    """Factor of the scores."""


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values from products, without their biases."""

    queries: Tensor
    """(N, D), in fp32 or bf16."""
    keys: Tensor
    """(M, D)"""
    values: Tensor
    """(M, D), with the row stride of the keys."""
    biases: tuple[Tensor, Tensor, Tensor]
    """Biases of queries, keys and values, (D,) each."""


class TrainingKernels:
    """The training functions, for CPU tensors in fp32; inputs and outputs of products may be bf16."""

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
        """Returns total = stream + dropout(update + bias), and its norm.

        Args:
            stream: (N, D) in fp32.
            update: (N, D) from a product; None: the total is the stream.
            bias: (D,) bias of that product, if any.
            norm: norm of the total.
            chance: dropout of the update.
            dtype: type of products.
            both: whether the norm is wanted in fp32 too.
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
        """Returns the gradients of stream and update, and (3, D) those of the bias and of the norm's weight and bias.

        Args:
            gradients: by `read`, by `normed` if that is another tensor, and by `total`, each if there is one.
            summed: result of `residual`.
            norm: as for `residual`.
            chance: as for `residual`.
            updated: whether there was an update; otherwise its gradient is empty.
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
        """Replaces states (N, F) by dropout(max(0, states + bias))."""
        shape = (_half(states), *states.shape, chance.key, chance.rate)
        self._activate(states.data_ptr(), bias.data_ptr(), *shape, torch.get_num_threads())

    def activate_back(self, activated: Tensor, gradients: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Returns the gradients of the states (N, F) and of the bias (F,), from the activated states."""
        found = torch.empty_like(activated)
        sums = torch.zeros((self._blocks(len(activated)), activated.shape[1]), dtype=torch.float32)
        shape = (_half(activated), *activated.shape, chance.rate)
        places = found.data_ptr(), sums.data_ptr()
        self._activate_back(activated.data_ptr(), gradients.data_ptr(), *shape, *places, torch.get_num_threads())
        return found, sums.sum(0)

    def embed(
        self, table: Tensor, tokens: Tensor, added: Tensor | None, places: Tensor, gain: float, chance: Chance
    ) -> Tensor:
        """Returns dropout(gain * embedding + position embedding): (N, D).

        Args:
            table: (V, D)
            tokens: (N,)
            added: (P, D) position embeddings; None: none are added.
            places: (N,) position of each token in its sentence.
            gain: factor of the embeddings.
            chance: dropout.
        """
        out = table.new_empty((len(tokens), table.shape[1]))
        read = table.data_ptr(), tokens.data_ptr(), _address(added), places.data_ptr()
        self._embed(*read, *out.shape, gain, chance.key, chance.rate, out.data_ptr(), torch.get_num_threads())
        return out

    def embed_back(self, gradients: Tensor, tokens: Tensor, vocabulary: int, gain: float, chance: Chance) -> Tensor:
        """Returns the gradient (V, D) of the table."""
        table = gradients.new_zeros((vocabulary, gradients.shape[1]))
        settings = (*gradients.shape, gain, chance.key, chance.rate, table.data_ptr(), torch.get_num_threads())
        self._embed_back(gradients.data_ptr(), tokens.data_ptr(), *settings)
        return table

    def attend(self, projected: Projected, spread: Spread, chance: Chance) -> tuple[Tensor, Tensor]:
        """Returns the contexts (N, D) of all heads, and the weights for the backward pass."""
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
        """Fills the gradients of queries, keys and values, strided as these; returns those of their biases (3, D)."""
        sums = torch.zeros((self._shares, 3, d_context.shape[1]), dtype=torch.float32)
        call, _kept = self._call(projected, spread, chance, weights)
        places = [part.data_ptr() for part in (d_context, *d_projected, sums)]
        _check(self._attend_back(call, *places, torch.get_num_threads()))
        return sums.sum(0)

    def _call(self, projected: Projected, spread: Spread, chance: Chance, weights: Tensor) -> tuple[_Attention, Tensor]:
        """Describes an attention to C, and returns also what must outlive the call."""
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
    """Returns the address of the numbers; None: the tensor is empty or missing."""
    return None if tensor is None or not tensor.numel() else tensor.data_ptr()


def _half(tensor: Tensor) -> int:
    return int(tensor.dtype == torch.bfloat16)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for attention")
