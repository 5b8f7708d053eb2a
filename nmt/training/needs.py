"""Memory and disk that a training needs, estimated before it begins."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass

import torch

from nmt.config.recipe import Recipe, TrainingConfig
from nmt.corpus.prepared import Prepared
from nmt.models import Model, build_model
from nmt.models.size import outlines
from nmt.runtime.cpu import instructions
from nmt.runtime.device import choose_precision, onednn_is_faster
from nmt.training.fine_tuning import freeze
from nmt.training.memory import kept_bytes, picture_bytes
from nmt.training.optim import inner_matrices
from nmt.training.stream import BatchStream

_IMPORTED = 80_000_000  # bytes of what training imports besides torch
_DRAWING = 80_000_000  # bytes of what draws text
_FLOAT = 4  # bytes

# Where oneDNN multiplies with AVX-512 or in bf16, memory grows with each batch of a new shape, as it keeps code for it.
# In bf16 the heap has holes of other sizes too. These fit what the trainings of `recipes/` logged after 50, 300 and all
# updates, and what others took after 6 to 200 updates, in fp32 and bf16. Elsewhere it hardly grows.
_CODE = 52_000_000  # bytes per square root of the number of shapes, after the first few
_FREE_SHAPES, _MOST_SHAPES = 4, 1000  # oneDNN's cache is full then
_ONCE = {"fp32": 25_000_000, "bf16": 150_000_000}  # bytes of code and holes from the start
_HOLES, _FIRST, _LAST = 1.7, 6, 2000  # growth of the heap, in sizes of what is kept per batch, between these updates


@dataclass(frozen=True)
class Needs:
    """Bytes that a training on one device needs."""

    parameters: int
    """Number of parameters."""
    state: int
    """Weights, gradients, moments, and the running mean if there is one."""
    kept: int
    """What the layers keep of the largest batch for the backward pass."""
    libraries: int
    """On a CPU what is imported besides torch; 0 on a GPU."""
    caches: int
    """On a CPU what oneDNN and the heap keep in the end for batches of all shapes; 0 on a GPU."""
    checkpoint: int
    """A checkpoint on disk; a CPU also holds it in memory while it is written."""
    checkpoints: int
    """Number of checkpoints on disk at the same time, the one that is being written included."""

    @property
    def least(self) -> int:
        """The memory of the first updates: resident memory of the process besides torch itself, or memory of the GPU."""
        return self.state + self.kept + self.libraries + (self.checkpoint if self.libraries else 0)

    @property
    def memory(self) -> int:
        """The same at the end, which is the peak."""
        return self.least + self.caches

    @property
    def disk(self) -> int:
        """All checkpoints, and the finished model."""
        return self.checkpoints * self.checkpoint + _FLOAT * self.parameters


def training_needs(recipe: Recipe, prepared: Prepared, device: torch.device) -> Needs:
    """Estimates what the training of a recipe needs, without building its model.

    Raises:
        ConfigError: `training.freeze` does not fit the model.
        DataError: no training pair fits the length limit.
    """
    training, on_cpu = recipe.training, device.type == "cpu"
    precision = choose_precision(training.precision, device)
    with outlines():
        model = build_model(recipe.model, *prepared.tokenizers.sizes)
    freeze(model, training.freeze)
    parameters, moments = model.parameter_count, _moments(model, training)
    gradients = sum(part.numel() for part in model.parameters() if part.requires_grad)
    mean = parameters if training.ema else 0
    with closing(BatchStream(recipe, prepared)) as stream:
        largest = stream.largest()
        kept = kept_bytes(recipe, largest, device) + picture_bytes(recipe, largest)
    return Needs(
        parameters=parameters,
        state=_FLOAT * (parameters + gradients + moments + mean),
        kept=kept,
        libraries=_IMPORTED + _DRAWING * (recipe.model.kind == "visual") if on_cpu else 0,
        caches=_caches(recipe, kept, precision) if on_cpu else 0,
        checkpoint=_FLOAT * (parameters + moments + mean),
        checkpoints=checkpoints_kept(training) + 1,
    )


def checkpoints_kept(training: TrainingConfig) -> int:
    """Returns the most checkpoints that a finished training leaves: the newest, and the best."""
    return min(validations(training), training.keep + 1)


def validations(training: TrainingConfig) -> int:
    """Returns the number of validations of a training, each of which saves a checkpoint."""
    return math.ceil(training.updates / training.validate_every)


def _moments(model: Model, training: TrainingConfig) -> int:
    """Returns the numbers that the optimizer keeps: two for each that is trained, one where it is Muon's."""
    trained = sum(part.numel() for part in model.parameters() if part.requires_grad)
    inner = inner_matrices(model) if training.optimizer == "muon" else []
    return 2 * trained - sum(part.numel() for part in inner)


def _caches(recipe: Recipe, kept: int, precision: str) -> int:
    """Estimates what stays in memory after all batches, whose shapes are new ever less often."""
    batches = recipe.training.updates * recipe.training.accumulate
    if precision == "fp32" and not (onednn_is_faster() and "avx512f" in instructions().needs):
        return _ONCE[precision]
    once = _ONCE["fp32" if recipe.model.kind == "convolution" else precision]
    code = once + _CODE * math.sqrt(max(0, min(batches, _MOST_SHAPES) - _FREE_SHAPES))
    if precision == "fp32":
        return round(code)
    return round(code + _HOLES * kept * math.log(min(max(batches, _FIRST), _LAST) / _FIRST))
