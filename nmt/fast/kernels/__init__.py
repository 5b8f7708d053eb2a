"""Compiled kernels of search and training on a CPU, built once on the machine that runs them, if it has a C compiler.

Without one, or with NMT_KERNELS=0, torch's operations do the same, but slower. `nmt.fast.kernels.build` builds and stores them.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial

import torch
from torch import Tensor

from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.fast.kernels.beam import Settling
from nmt.fast.kernels.build import NotBuilt, library
from nmt.fast.kernels.convolutional import ConvolutionKernels
from nmt.fast.kernels.layout import Matrix
from nmt.fast.kernels.rnn_search import RecurrentKernels
from nmt.fast.kernels.rnn_training import RecurrenceKernels
from nmt.fast.kernels.training import TrainingKernels
from nmt.fast.kernels.transformer import TransformerKernels
from nmt.fast.kernels.transformer_search import TransformerSearch
from nmt.runtime.cpu import InstructionSet, instructions

# B sentences, K beam, R = B * K rows, V vocabulary, T positions so far, S source positions, D width

_DTYPES = (torch.float32, torch.bfloat16)


class Kernels:
    """The functions of the C sources in this folder; tensors are on the CPU, contiguous, in fp32 or bf16."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, pointer, real = ctypes.c_long, ctypes.c_void_p, ctypes.c_float
        self.recurrent, self.convolution = RecurrentKernels(library), ConvolutionKernels(library)
        self._best = library.nmt_best_extensions
        self._best.argtypes = [
            pointer,
            number,
            number,
            pointer,
            *[number] * 4,
            pointer,
            *[number] * 3,
            ctypes.c_int,
            *[pointer] * 3,
        ]
        self._quantise, self._rescale = library.nmt_quantise, library.nmt_rescale
        self._quantise.argtypes = [pointer, *[number] * 4, pointer, pointer]
        self._rescale.argtypes = [*[pointer] * 3, *[number] * 4, pointer]
        self._entropy = library.nmt_cross_entropy
        self._entropy.argtypes = [pointer, pointer, *[number] * 4, pointer, real, real, number, *[pointer] * 5]
        self._multiply = library.nmt_multiply
        self._multiply.argtypes = [ctypes.POINTER(Matrix), pointer, number, number, number, number, pointer]
        self.training, self.recurrence = TrainingKernels(library), RecurrenceKernels(library)
        self.transformer, self.settle = TransformerKernels(library), Settling(library)
        self.search = TransformerSearch(library)
        self.tile = int(library.nmt_tile())
        """Number of outputs whose weights are stored together in a product, by the width of the CPU's vectors."""
        self.half_inner = int(library.nmt_half_inner())
        """Number of inputs of an output that are stored together in a bf16 product."""
        self.inner = int(library.nmt_inner())
        """Number of inputs of an output that are stored together in an int8 product."""

    def best_extensions(
        self, scores: Tensor, logits: Tensor, count: int, normalised: bool, at_limit: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `nmt.decoding.candidates`; takes log-probabilities (R, V), or logits, for which the two fixed rules are applied.

        Args:
            scores: (B, K) in double precision.
            logits: (R, V), unchanged.
            count: extensions wanted per sentence.
            normalised: whether they are log-probabilities, with -inf for forbidden tokens.
            at_limit: (B,) True for sentences whose hypotheses must end.
        """
        (sentences, beam), logits, scores = scores.shape, logits.contiguous(), scores.contiguous()
        values = scores.new_empty((sentences, count))
        origins = torch.empty((sentences, count), dtype=torch.long)
        tokens = torch.empty_like(origins)
        ending = None if at_limit is None else at_limit.data_ptr()
        special = (-1, -1, -1) if normalised else (PAD, BOS, EOS)
        found = (values.data_ptr(), origins.data_ptr(), tokens.data_ptr())
        sizes = (sentences, beam, logits.shape[1], count)
        given = (logits.data_ptr(), _half(logits), normalised, scores.data_ptr(), *sizes, ending, *special)
        _check(self._best(*given, torch.get_num_threads(), *found))
        return values, origins, tokens

    def multiply(self, layer: Matrix, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Multiplies rows by the matrix of a linear layer and adds its bias: (N, O).

        Args:
            layer: from `nmt.fast.cpu.linear`.
            states: (N, I), in fp32 or bf16.
            dtype: type of the results. Sums are in fp32, or exact for int8 weights.
        """
        result = torch.empty((len(states), layer.outputs), dtype=dtype)
        shape = (_half(states), len(states), _half(result), torch.get_num_threads(), result.data_ptr())
        _check(self._multiply(layer, states.data_ptr(), *shape))
        return result

    def cross_entropy(
        self,
        logits: Tensor,
        targets: Tensor,
        smoothing: float,
        weight: float | None,
        columns: Tensor | None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns negative log-likelihood, log normaliser and correctness of each row, and the divergences.

        Args:
            logits: (N, V); if `columns` is given, overwritten by the gradient of the smoothed cross entropy and the weighted
                divergence by them.
            targets: (N,)
            smoothing: see `nmt.training.loss.smoothed_cross_entropy`.
            weight: weight of KL(P1 || P2) + KL(P2 || P1) between the two halves of the rows, two passes over the same tokens;
                None: one pass, without divergences.
            columns: (V,) in fp32; the column sums of this gradient are added to it. None: no gradient is wanted.
            bias: (V,) in fp32, still to be added to the logits; None: already added.
        """
        rows, passes = len(logits), 1 if weight is None else 2
        negative, normaliser = torch.empty(2, rows, dtype=torch.float32)
        right, apart = torch.empty(rows, dtype=torch.bool), torch.empty(rows // 2 if weight else 0, dtype=torch.float32)
        shape = (_half(logits), rows // passes, logits.shape[1], passes)
        found = [part.data_ptr() for part in (negative, normaliser, right, apart)]
        places = (*found, None if columns is None else columns.data_ptr())
        threads = torch.get_num_threads()
        added = None if bias is None else bias.data_ptr()
        _check(
            self._entropy(
                logits.data_ptr(), added, *shape, targets.data_ptr(), smoothing, weight or 0.0, threads, *places
            )
        )
        return negative, normaliser, right, apart

    def quantise(self, states: Tensor, zero: int) -> tuple[Tensor, Tensor]:
        """Quantises rows (N, I) to unsigned bytes around 128, or 0 if no state is negative; returns them with scales (N,)."""
        integers = torch.empty(states.shape, dtype=torch.uint8)
        scales = torch.empty(len(states), dtype=torch.float32)
        self._quantise(states.data_ptr(), *states.shape, zero, _half(states), integers.data_ptr(), scales.data_ptr())
        return integers, scales

    def rescale(self, product: Tensor, scales: Tensor, bias: Tensor, relu: bool, dtype: torch.dtype) -> Tensor:
        """Multiplies integer products (N, O), given in fp32, by their rows' scales (N,), and adds the bias (O,)."""
        result = product if dtype == torch.float32 else torch.empty(product.shape, dtype=dtype)
        places = (product.data_ptr(), scales.data_ptr(), bias.data_ptr())
        self._rescale(*places, *product.shape, relu, _half(result), result.data_ptr())
        return result


def kernels_for(tensor: Tensor) -> Kernels | None:
    """Returns the kernels if they support the tensor and this machine has them."""
    return kernels() if tensor.device.type == "cpu" and tensor.dtype in _DTYPES else None


def kernels(path: InstructionSet | None = None) -> Kernels | None:
    """Returns the kernels, built if necessary; None if that is impossible.

    Args:
        path: the instruction set to use; that of `nmt.runtime.cpu.instructions` if left out.
    """
    return _made(path or instructions())[0]


def why_missing() -> str | None:
    """Returns why the kernels are missing although wanted; None: they exist or are switched off."""
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
    """Whether probabilities, cross entropy and products equal torch's."""
    line = partial(torch.linspace, dtype=torch.float32)
    logits = line(-3, 3, 96).sin()[None]
    best = built.best_extensions(torch.zeros((1, 1), dtype=torch.float64), logits, 1, normalised=False)[0]
    found = torch.allclose(best.float(), logits.log_softmax(1).max())
    negative = built.cross_entropy(logits, torch.zeros(1, dtype=torch.long), 0.0, None, None)[0]
    found = found and torch.allclose(negative, -logits.log_softmax(1)[:, 0], atol=1e-5)
    states, weight = line(-1, 1, 27).view(9, 3), line(-3, 3, 3 * built.tile).view(3, built.tile)
    bias = torch.zeros(built.tile, dtype=torch.float32)
    layer = Matrix(3, built.tile, 0, 0, 0, weight.data_ptr(), bias.data_ptr())
    found = found and torch.allclose(built.multiply(layer, states, torch.float32), states @ weight, atol=1e-5)
    return found and all(_multiplies(built, kind, inner) for kind, inner in ((1, built.half_inner), (2, built.inner)))


def _multiplies(built: Kernels, kind: int, inner: int) -> bool:
    """Whether products of bfloat16 (kind 1) or integers (kind 2) are right, for as many inputs as are stored together."""
    states = torch.linspace(-1, 1, 9 * inner, dtype=torch.float32).view(9, inner)
    weight = torch.arange(built.tile * inner).view(built.tile, inner) % 7 - 3
    tiles = weight.to(torch.bfloat16 if kind == 1 else torch.int8)
    bias, scales = torch.zeros(built.tile, dtype=torch.float32), torch.ones(built.tile, dtype=torch.float32)
    sums = weight.sum(1).to(torch.int32)
    places = [part.data_ptr() for part in (tiles, bias, scales, sums)]
    layer = Matrix(inner, built.tile, kind, 0, 128 if kind == 2 else 0, *places)
    return torch.allclose(built.multiply(layer, states, torch.float32), states @ weight.float().T, atol=0.1)


def _half(tensor: Tensor) -> int:
    return int(tensor.dtype == torch.bfloat16)


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the kernels")
