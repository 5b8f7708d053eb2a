"""How much memory a model asks for, told before any of it is taken, and how much there is."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from nmt.config.search import SearchConfig
from nmt.errors import ConfigError

_CONTAINERS = (  # limit, use, and how much of that use is files that can be read again: control groups 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


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
