"""How much memory a model asks for, told before any of it is taken, and how much there is."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from nmt.config.recipe import ModelConfig, Recipe, SearchConfig
from nmt.errors import ConfigError
from nmt.models import build_model
from nmt.runtime.device import choose_precision
from nmt.training.batches import Batch

_LAYERS = ("layers", "encoder_layers", "decoder_layers")
# States that a layer keeps of each position for the backward pass: in fp32 the sum is 0.7 to 0.95 of what a batch took.
_KEPT = {"rnn": 16, "transformer": 8, "convolution": 8}
_FEW = 8  # layers that torch is told of at once
_CONTAINERS = (  # limit, use, and how much of that use is files that can be read again: control groups 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def parameter_count(config: ModelConfig, source_vocabulary: int, target_vocabulary: int) -> int:
    """Parameters of a model without building it: torch is told of its first layers, and how they grow goes on so.

    A bridge between all layers of two stacks grows with their square.
    """
    layers = {name: getattr(config, name) for name in _LAYERS if name in type(config).model_fields}

    def count(**few: int) -> int:
        with torch.device("meta"):
            small = config.model_copy(update=dict.fromkeys(layers, 1) | few)
            return build_model(small, source_vocabulary, target_vocabulary).parameter_count

    if max(layers.values()) <= _FEW:
        return count(**layers)
    total = first = count()
    for name, number in layers.items():
        second, third = count(**{name: 2}) - first, count(**{name: 3}) - first
        total += (number - 1) * second + (number - 1) * (number - 2) // 2 * (third - 2 * second)
    return total


def memory_there(device: torch.device | None = None) -> int:
    """Bytes that can be had now: of a GPU, or of this machine, less where a container may have less."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_of_machine(), *map(_of_container, _CONTAINERS))


def check_memory(what: str, needed: int, device: torch.device | None = None) -> None:
    """Refuses what does not fit.

    Args:
        what: needs it, and how to need less.
        needed: bytes at the least.
        device: where; the CPU if left out.

    Raises:
        ConfigError: there is less; says how much.
    """
    there = memory_there(device)
    if needed > there:
        raise ConfigError(f"{what}: that takes {_size(needed)} of memory at least, and there are {_size(there)}")


def check_training(recipe: Recipe, sizes: tuple[int, int], device: torch.device, processes: int = 1) -> None:
    """Refuses a recipe whose weights, gradients and moments do not fit into memory.

    Args:
        recipe: what is to be trained.
        sizes: of the two vocabularies.
        device: where.
        processes: that share the model; 1 where each holds all of it.

    Raises:
        ConfigError: it does not fit; says how many parameters there are.
    """
    count, training = parameter_count(recipe.model, *sizes), recipe.training
    moments = {"adam": 2, "muon": 1}[training.optimizer]
    copies = 1 + (0 if training.freeze else 1 + moments) + bool(training.ema)
    check_memory(
        f"training {count:,} parameters (model, tokenizer.vocabulary)", 4 * copies * count // processes, device
    )


def check_least(recipe: Recipe, device: torch.device) -> None:
    """Refuses before a corpus is prepared what no vocabulary can save; see `check_training`."""
    tokenizer = recipe.tokenizer
    size = 1 if tokenizer.kind in ("word", "character") else tokenizer.vocabulary
    if not recipe.training.shard:
        check_training(recipe, (size, size), device)


def check_batch(recipe: Recipe, batch: Batch) -> None:
    """Refuses a batch on the CPU, where what does not fit ends the process, by what its layers keep at the least.

    Raises:
        ConfigError: it does not fit.
    """
    model, positions = recipe.model, batch.source.numel() + batch.target_input.numel()
    width = model.width if model.kind == "transformer" else model.hidden
    layers = 1 if recipe.training.recompute else sum(getattr(model, name, 0) for name in _LAYERS)
    states = _KEPT[model.kind] * positions * width * layers
    if model.kind == "rnn" and model.attention == "additive":
        states += 2 * batch.target_input.numel() * batch.source.shape[1] * width  # of each pair of positions
    size = 2 if choose_precision(recipe.training.precision, torch.device("cpu")) == "bf16" else 4
    needed = size * states * (2 if recipe.training.r_drop else 1)
    check_memory(f"training.batch_tokens: the largest batch has {positions:,} positions", needed)


def check_search(search: SearchConfig, vocabulary: int, device: torch.device) -> None:
    """Refuses a beam whose scores do not fit into memory for a sentence of one word.

    Raises:
        ConfigError: they do not fit.
    """
    longest = search.max_length_ratio + search.max_length_constant
    needed = search.beam * (3 * 4 * vocabulary + 2 * 8 * int(longest))
    check_memory(f"search.beam = {search.beam} (and search.max_length_constant)", needed, device)


def _of_machine() -> int:
    try:
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        facts = {name: 1024 * int(number) for name, number, *_ in lines}
        return facts["MemAvailable:"] + facts.get("SwapFree:", 0)
    except (OSError, ValueError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_container(names: tuple[str, str, str]) -> int:
    limit, used, files = names
    root = Path("/sys/fs/cgroup")
    try:
        stated = dict(line.split() for line in (root / limit).with_name("memory.stat").read_text().splitlines())
        return int((root / limit).read_text()) - int((root / used).read_text()) + int(stated[files])
    except (OSError, ValueError, KeyError):
        return sys.maxsize  # no such container, or "max"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


@contextmanager
def collected_later() -> Generator[None]:
    """Inside, Python does not look for objects that refer to each other in circles.

    With the words of many sentences in memory it looks often, in vain, and for as long as everything else takes. Whoever works
    for long inside calls `gc.collect(0)` now and then, which looks at what is new alone.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
