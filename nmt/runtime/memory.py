"""Memory that a model needs, checked before it is used, and memory that is free."""

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

_CONTAINERS = (  # limit, use, and reclaimable file cache within the use: control groups 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def memory_there(device: torch.device | None = None) -> int:
    """Returns the bytes that can be allocated now: of a GPU, or of this machine, or less in a container."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_of_machine(), *map(_of_container, _CONTAINERS))


def check_memory(what: str, needed: int, device: torch.device | None = None) -> None:
    """Refuses work that does not fit into memory.

    Args:
        what: describes the work, and how to need less.
        needed: the least bytes needed.
        device: the device; the CPU if left out.

    Raises:
        ConfigError: there is less; gives both sizes.
    """
    there = memory_there(device)
    if needed > there:
        raise ConfigError(f"{what}: that takes {_size(needed)} of memory at least, and there are {_size(there)}")


def check_search(search: SearchConfig, vocabulary: int, device: torch.device) -> None:
    """Refuses a beam whose scores for a sentence of one word do not fit into memory.

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
    """Turns off Python's search for reference cycles within the block.

    With the words of many sentences in memory, Python would search often and in vain, for as long as all other work takes. Long
    work inside calls `gc.collect(0)` now and then, which searches only new objects.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
