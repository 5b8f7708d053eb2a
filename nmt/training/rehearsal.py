"""Before the first update: settles the kind of update and the batch size."""

from __future__ import annotations

import torch

from nmt.config.recipe import Recipe
from nmt.training.memory import check_batch
from nmt.training.progress import Progress
from nmt.training.static_update import StaticUpdate, why_plain
from nmt.training.stream import BatchStream
from nmt.training.updater import Updater

_SMALLEST, _LARGEST = 1024, 524_288  # tokens of an automatic batch
_LARGE_BATCH = 100_000  # tokens from which a batch is checked against a computer's memory


def rehearse(recipe: Recipe, stream: BatchStream, updater: Updater, progress: Progress) -> str | None:
    """Settles the kind of update and the batch size in the progress; returns why updates are plain, or None.

    On a GPU the largest batch is tried first, so that a lack of memory shows now, not after hours. With
    `batch_tokens = "auto"` batches are doubled as long as the largest fits in one piece.
    """
    device, automatic = updater.device, recipe.training.batch_tokens == "auto"
    if automatic and not progress.batch_tokens:
        fits = stream.batch_tokens if device.type == "cpu" else _largest_that_fits(stream, updater)
        progress.batch_tokens = fits
    stream.set_batch_tokens(progress.batch_tokens or stream.batch_tokens)
    reason = why_plain(recipe, device, updater.world)
    if progress.step == 0:
        progress.static = reason is None
    if progress.static:
        reason = _lay_out(recipe, stream, updater, reason)
    elif reason is None:
        reason = "this training began with padded batches"
    if device.type == "cuda" and not automatic and not updater.static:
        progress.splits += updater.rehearse(stream.largest())
    if device.type == "cpu" and stream.batch_tokens > _LARGE_BATCH:
        check_batch(recipe, stream.largest())
    return reason


def _lay_out(recipe: Recipe, stream: BatchStream, updater: Updater, reason: str | None) -> str | None:
    """Sets up static updates if `reason` is None and memory suffices; otherwise returns why not and keeps padded batches."""
    layout = stream.lay_out(None if reason else updater.device)
    if reason is not None:
        return reason
    updater.static = StaticUpdate(updater, recipe.training.max_length + 1)
    try:
        for batch in layout.empty(updater.device):
            updater.static.prepare(batch)
    except torch.OutOfMemoryError:
        reason = "memory is too small for a batch in one piece"
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "triton":
            raise
        reason = f"this GPU does not take one of the kernels ({str(error).splitlines()[0]})"
    if reason is not None:
        updater.static = None
        stream.lay_out(None)
        torch.cuda.empty_cache()
    return reason


def _largest_that_fits(stream: BatchStream, updater: Updater) -> int:
    """Returns the tokens per batch: half of the largest that fits, which leaves half of the memory for later."""
    tokens = _SMALLEST
    while tokens < _LARGEST:
        stream.set_batch_tokens(2 * tokens)
        if updater.world.largest(updater.rehearse(stream.largest())):
            break
        tokens *= 2
    return max(_SMALLEST, tokens // 2)
