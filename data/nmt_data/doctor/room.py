"""Room: memory and disk that are free, against those that the corpus and the training will need."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from nmt.config.paths import PACKED
from nmt.config.recipe import Recipe
from nmt.corpus.opening import size_of
from nmt.corpus.tokenizer import Tokenizers
from nmt.runtime.files import home_folder, nearest
from nmt.runtime.memory import memory_there
from nmt.training.needs import Needs
from nmt_data.doctor.finding import Finding, advice, ok, problem, size
from nmt_data.parts import Part, fingerprint_of, parts_of

_PACKED = 3  # times smaller
_BYTES_PER_TOKEN = {"unigram": 4.4, "bpe": 4.4, "word": 5.5, "character": 1.0, "byte": 1.0}
_PAIR = 110  # bytes of text
_FEWEST = 3  # checkpoints at the same time, with training.keep = 1: the newest, the best, and one that is being written
_TOKENIZER = 250_000  # bytes, most of them rules of normalisation


def memory(recipe: Recipe, needs: Needs, device: torch.device) -> Finding:
    """Compares the memory that training needs with what is free on the device."""
    there = memory_there(device)
    figures = {"needed": needs.memory, "least": needs.least, "free": there}
    place = "the GPU's memory" if device.type == "cuda" else "memory"
    text = f"training needs some {size(needs.memory)} of {place}, and {size(there)} are free"
    if needs.least > there and (device.type == "cpu" or needs.state > there):
        return problem("memory", text, _lower(recipe, needs), **figures)
    if needs.least > there:
        return advice("memory", f"{text}: batches will be split", "lower training.batch_tokens", **figures)
    if needs.memory > there:
        text += f"; {size(needs.caches)} of it come with time, for batches of ever new shapes"
        remedy = f"{_lower(recipe, needs)}, or set ONEDNN_PRIMITIVE_CACHE_CAPACITY=16"
        return advice("memory", text, remedy, **figures)
    return ok("memory", text, **figures)


def checkpoints(recipe: Recipe, needs: Needs, run: Path) -> Finding:
    """Compares the disk that checkpoints need with what is free where the run will be."""
    there = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    needed, free = max(0, needs.disk - there), shutil.disk_usage(nearest(run.absolute())).free
    figures = {"needed": needed, "free": free, "checkpoint": needs.checkpoint, "checkpoints": needs.checkpoints}
    text = f"{needs.checkpoints} checkpoints of {size(needs.checkpoint)} and the model need {size(needed)} in {run}"
    text += f", where {size(free)} are free"
    if needed > free:
        fewer = f"lower training.keep = {recipe.training.keep}, or " if needs.checkpoints > _FEWEST else ""
        remedy = f"{fewer}name a --run folder on another disk"
        return problem("disk", text, remedy, **figures)
    return ok("disk", text, **figures)


def corpus_room(recipe: Recipe) -> Finding | None:
    """Compares the disk that the prepared corpus will need with what is free.

    Returns:
        The finding, or None if the corpus is prepared already, or its text is not in local files.

    Raises:
        DataError: a card or file is wrong.
    """
    parts, home = parts_of(recipe), home_folder()
    needed = prepared_bytes(recipe, parts)
    if needed is None or (home / "corpora" / fingerprint_of(recipe, parts, Tokenizers.taken(recipe))).exists():
        return None
    free = shutil.disk_usage(nearest(home.absolute())).free
    text = f"the prepared corpus will need some {size(needed)} in {home}, where {size(free)} are free"
    if needed > free:
        return problem("disk", text, "set NMT_HOME to a folder on another disk", needed=needed, free=free)
    return ok("disk", text, needed=needed, free=free)


def prepared_bytes(recipe: Recipe, parts: Sequence[Part]) -> int | None:
    """Estimates the size of the prepared corpus from the files of its text; None: there are none."""
    sizes = [
        (split.name == "train", size_of(path) * (_PACKED if path.suffix in PACKED else 1), side % 2)
        for part in parts
        for split in part.splits()
        for side, path in enumerate(split.files)
    ]
    if not sizes:
        return None
    text, train = sum(count for _, count, _ in sizes), sum(count for trains, count, _ in sizes if trains)
    kinds = recipe.tokenizer.kinds
    tokens = sum(count / _BYTES_PER_TOKEN[kinds[side]] for trains, count, side in sizes if trains)
    return round(text + 4 * tokens + 16 * train / _PAIR) + _TOKENIZER * (1 if recipe.tokenizer.joint else 2)


def _lower(recipe: Recipe, needs: Needs) -> str:
    """Returns the keys to lower for less memory, by what takes most of it."""
    width = {"transformer": "width", "visual": "base"}.get(recipe.model.kind, "hidden")
    if needs.kept > needs.state:
        more = ", or set training.recompute" if recipe.model.kind == "transformer" else ""
        return f"lower training.batch_tokens = {recipe.training.batch_tokens}{more}"
    return f"lower model.{width} or tokenizer.vocabulary ({needs.parameters:,} parameters)"
