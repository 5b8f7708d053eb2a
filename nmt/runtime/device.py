"""Device, arithmetic, seeds and threads."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from nmt.errors import ConfigError
from nmt.runtime.cpu import cpu_facts, has_fast_bf16, hold_libraries, instructions, usable_cores

Precision = Literal["fp32", "bf16"]
SearchPrecision = Literal["fp32", "bf16", "int8"]

hold_libraries()  # before the first product


def process_count() -> int:
    """Returns how many processes train together, as torchrun says; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def choose_device(name: str | torch.device) -> torch.device:
    """Returns the device of `auto`, `cpu`, `cuda` or `cuda:n`, or of torch's own name.

    A GPU of that number becomes the current one, where kernels start and graphs are captured.

    Raises:
        ConfigError: the device is unknown or missing.
    """
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes started by torchrun
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:n, got {name}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:n, got {name}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name}: this torch ({torch.__version__}) finds no CUDA device; use cpu")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        there = "there is 1 GPU: cuda:0" if count == 1 else f"there are {count} GPUs: cuda:0 to cuda:{count - 1}"
        raise ConfigError(f"device {name}: {there}")
    if device.type == "cuda" and ":" in name:
        torch.cuda.set_device(device)
    return device


def choose_precision(name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """Returns the precision of matrix products: as given, or for `auto` bf16 where the device is fast at it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if has_fast_bf16() else "fp32"


def choose_search_precision(name: str, device: torch.device) -> SearchPrecision:
    """Returns the precision of search. On CPU `auto` is fp32, so that output does not depend on the batch.

    Raises:
        ConfigError: the precision is unknown, or not available on the device.
    """
    match name:
        case "auto":
            return "fp32" if device.type == "cpu" else choose_precision("auto", device)
        case "int8" if device.type == "cuda":
            raise ConfigError("precision int8 is for the CPU; use bf16 on CUDA")
        case "fp32" | "bf16" | "int8":
            return name
        case _:
            raise ConfigError(f"precision must be auto, fp32, bf16 or int8, got {name}")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Returns a context in which matrix products use that precision; weights stay fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def onednn_products(enabled: bool) -> Generator[None]:
    """Computes fp32 products by oneDNN within the block if enabled, else as torch does by default; see `onednn_is_faster`."""
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
"""Up to this many rows, oneDNN takes longer to set up attention's products than to compute them, in bf16 and fp32."""


def products_for(rows: int) -> AbstractContextManager[None]:
    """Leaves fp32 products of few rows to torch within the block, whatever is set outside."""
    return onednn_products(False) if rows <= FEW_ROWS else nullcontext()


def set_threads() -> None:
    """Uses one thread per core that this process may use, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cores())


def seed_all(seed: int) -> None:
    """Seeds torch's generators by any integer."""
    torch.manual_seed(seed % 2**64)


def draws(seed: int, *numbers: int) -> np.random.Generator:
    """Returns a numpy generator seeded by any integer and by further numbers from 0 on."""
    return np.random.default_rng((seed % 2**128, *numbers))


def seed_update(seed: int, update: int, rank: int = 0) -> None:
    """Seeds the generators for one update of one process, so that no generator state has to be saved."""
    torch.manual_seed(update_seed(seed, update, rank))


def update_seed(seed: int, update: int, rank: int = 0) -> int:
    """Returns the number that seeds the dropout of one update of one process."""
    return (seed * 1_000_003 + update + rank * 7_368_787_001) % 2**63


def describe(device: torch.device, threads: int | None = None) -> str:
    """Describes the device for reports; `threads` replaces the number of threads of this process."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = threads or torch.get_num_threads()
    cpu = cpu_facts().get("model name") or platform.processor() or platform.machine()
    return f"{cpu} ({instructions().name}), {threads} thread{'s' if threads > 1 else ''}"


def peak_memory_mb(device: torch.device) -> float:
    """Returns the peak memory so far, in MB: of the device for CUDA, of the process for CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError, StopIteration, ValueError):  # getrusage counts the parent's memory too, from before exec
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes: macOS counts these, and Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def release_memory() -> None:
    """Returns memory that the C library has cached to the system.

    Batches of ever new shapes fragment its heap: a training that needs 1.3 GB grew to 7 GB in an hour.
    """
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _matmul_settings() -> Any:
    """Returns oneDNN's settings of products, which torch's types lack; None in a torch without them."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@cache
def onednn_is_faster() -> bool:
    """Whether fp32 products use oneDNN, by a torch switch named after bf16: on all CPUs where they stay exact.

    On AMD's CPUs with AVX-512 oneDNN takes half of MKL's time, on others the same. The choice depends on results, never on a
    stopwatch: runs that choose differently end with different weights.
    """
    matmul = _matmul_settings()
    if not hasattr(matmul, "fp32_precision"):
        return False
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    with onednn_products(True):
        error = float((left @ right - left.double() @ right.double()).abs().max())
    return error < 1e-4  # false where the CPU has bf16 units
