"""Device, arithmetic, seeds and threads."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nmt.errors import ConfigError
from nmt.runtime.cpu import cpu_facts, has_fast_bf16, hold_libraries, instructions

Precision = Literal["fp32", "bf16"]
SearchPrecision = Literal["fp32", "bf16", "int8"]

hold_libraries()  # before the first product


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:n` as a device.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes that torchrun has started
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:n, got {name}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device must be auto, cpu, cuda or cuda:n, got {name}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: this torch ({torch.__version__}) finds no CUDA device; use --device cpu")
    return device


def choose_precision(name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Arithmetic of matrix products: bf16 where the device has it, if not told otherwise."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if has_fast_bf16() else "fp32"


def choose_search_precision(name: str, device: torch.device) -> SearchPrecision:
    """Arithmetic of search. On CPU auto is fp32, which makes output independent of the batch; bf16 and int8 are a choice.

    Raises:
        ConfigError: unknown, or not to be had on the device.
    """
    match name:
        case "auto":
            return "fp32" if device.type == "cpu" else choose_precision("auto", device)
        case "int8" if device.type == "cuda":
            raise ConfigError("--precision int8 is for the CPU; use bf16 on CUDA")
        case "fp32" | "bf16" | "int8":
            return name
        case _:
            raise ConfigError(f"--precision must be auto, fp32, bf16 or int8, got {name}")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context in which matrix products use that precision; weights stay fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def onednn_products(enabled: bool) -> Generator[None]:
    """Inside, if enabled, fp32 products go through oneDNN, else as torch does by itself; see `onednn_is_faster`."""
    matmul = _matmul_settings()
    before = getattr(matmul, "fp32_precision", None)
    if enabled == (before == "bf16"):
        yield
        return
    matmul.fp32_precision = "bf16" if enabled else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


FEW_ROWS = 64
"""The products of attention for so few rows at a time take oneDNN, in bf16 as in fp32, longer to set up than to compute."""


def products_for(rows: int) -> AbstractContextManager[None]:
    """Inside, fp32 products for few rows are left to torch, whatever was chosen outside."""
    return onednn_products(False) if rows <= FEW_ROWS else nullcontext()


def set_threads() -> None:
    """One thread per core that this process may use, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cores())


def seed_all(seed: int) -> None:
    """Seeds torch's generators with any integer."""
    torch.manual_seed(seed % 2**64)


def draws(seed: int, *numbers: int) -> np.random.Generator:
    """A generator of numpy whose draws depend on a seed, which may be any integer, and on some numbers from 0 on."""
    return np.random.default_rng((seed % 2**128, *numbers))


def seed_update(seed: int, update: int, rank: int = 0) -> None:
    """Seeds the generators of one update of one process, so that there is no generator state to save."""
    torch.manual_seed(update_seed(seed, update, rank))


def update_seed(seed: int, update: int, rank: int = 0) -> int:
    """The number that decides on the dropout of one update of one process."""
    return (seed * 1_000_003 + update + rank * 7_368_787_001) % 2**63


def describe(device: torch.device, threads: int | None = None) -> str:
    """The device in words, for reports; with the threads of a process that is not this one, if they are given."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = threads or torch.get_num_threads()
    cpu = cpu_facts().get("model name") or platform.processor() or platform.machine()
    return f"{cpu} ({instructions().name}), {threads} thread{'s' if threads > 1 else ''}"


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory held so far, in MB: of the device for CUDA, of the process for CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def release_memory() -> None:
    """Gives memory that the C library keeps for itself back to the system.

    Batches of ever new shapes leave its heap full of holes: a training that needs 1.3 GB grew to 7 GB in an hour.
    """
    with suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)


def usable_cores() -> int:
    """Cores of the affinity mask, less where a container's CPU quota allows less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def _matmul_settings() -> Any:
    """OneDNN's settings of products, which torch's types do not know; None in a torch that has none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@cache
def onednn_is_faster() -> bool:
    """Whether fp32 products go through oneDNN, by a switch of torch whose name promises bf16: wherever they stay exact.

    On AMD's CPUs with AVX-512 oneDNN takes half of MKL's time, on others as long. Decided by what comes out, never by a
    stopwatch: starts that choose differently end with different weights.
    """
    matmul = _matmul_settings()
    if not hasattr(matmul, "fp32_precision"):
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    with onednn_products(True):
        error = float((left @ right - left.double() @ right.double()).abs().max())
    return error < 1e-4  # not so where bf16 has units of its own
