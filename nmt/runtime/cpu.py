"""The CPU, and the instructions that our kernels, torch and CTranslate2 may use.

NMT_ISA=avx2 (or another name from `paths`) restricts all of them to fewer instructions than the CPU has, so that one machine
can act as another. It must be set when the process starts.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nmt.errors import ConfigError


@dataclass(frozen=True)
class InstructionSet:
    """A set of instructions for the compiler; each set includes all earlier ones."""

    name: str
    needs: frozenset[str]
    """Flags that /proc/cpuinfo must list."""
    options: tuple[str, ...]
    """Options of the C compiler."""
    limits: Mapping[str, str] = field(hash=False)
    """Environment variables that restrict the libraries to this set."""


def _limits(onednn: str, torch: str, mkl: str, ctranslate2: str) -> dict[str, str]:
    names = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "CT2_FORCE_CPU_ISA")
    return dict(zip(names, (onednn, torch, mkl, ctranslate2), strict=True))


_AVX2 = ("-mavx2", "-mfma")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
_AVX512_FLAGS = {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
_X86 = (
    InstructionSet("generic", frozenset(), (), _limits("SSE41", "default", "SSE4_2", "GENERIC")),
    InstructionSet("avx2", frozenset({"avx2", "fma"}), _AVX2, _limits("AVX2", "avx2", "AVX2", "AVX2")),
    InstructionSet("avx512", frozenset(_AVX512_FLAGS), _AVX512, _limits("AVX512_CORE", "avx512", "AVX512", "AVX512")),
    InstructionSet(
        "avx512_vnni",
        frozenset({*_AVX512_FLAGS, "avx512_vnni"}),
        (*_AVX512, "-mavx512vnni"),
        _limits("AVX512_CORE_VNNI", "avx512", "AVX512", "AVX512"),
    ),
    InstructionSet(
        "avx512_bf16",
        frozenset({*_AVX512_FLAGS, "avx512_vnni", "avx512_bf16"}),
        (*_AVX512, "-mavx512vnni", "-mavx512bf16"),
        _limits("AVX512_CORE_BF16", "avx512", "AVX512", "AVX512"),
    ),
)
_ARM = (
    InstructionSet("generic", frozenset(), (), {}),
    InstructionSet("dot", frozenset({"asimddp"}), ("-march=armv8.2-a+dotprod",), {}),
)
_OTHER = (InstructionSet("generic", frozenset(), (), {}),)


@cache
def cpu_facts() -> dict[str, str]:
    """Returns the system's facts on the first processor: "model name", "vendor_id", "flags" (x86) or "Features" (ARM)."""
    try:
        first = Path("/proc/cpuinfo").read_text().strip().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def plainer(path: InstructionSet) -> list[InstructionSet]:
    """Returns the instruction sets of this CPU that are smaller than `path`, largest first."""
    known = paths()
    return known[: known.index(path)][::-1] if path in known else []


def paths() -> list[InstructionSet]:
    """Returns the instruction sets of this CPU, smallest first."""
    known = {"x86_64": _X86, "AMD64": _X86, "aarch64": _ARM, "arm64": _ARM}.get(platform.machine(), _OTHER)
    there = _listed()
    return [path for path in known if path.needs <= there]


@cache
def instructions() -> InstructionSet:
    """Returns the instruction set to use: the largest of the CPU, or the one that NMT_ISA names.

    Raises:
        ConfigError: NMT_ISA names a set that is unknown or that the CPU lacks.
    """
    wanted, known = os.environ.get("NMT_ISA"), paths()
    if not wanted:
        return known[-1]
    for path in known:
        if path.name == wanted:
            return path
    raise ConfigError(f"NMT_ISA={wanted}: this CPU has {', '.join(path.name for path in known)}")


def hold_libraries() -> None:
    """Restricts torch and CTranslate2 to NMT_ISA, unless their own variables are set; call it before they compute.

    torch.compile gets a separate cache per set. It would otherwise mix files of different sets, and return NaN.
    """
    if os.environ.get("NMT_ISA"):
        cache_folder = Path(tempfile.gettempdir(), f"torchinductor_{os.getuid()}_{instructions().name}")
        for name, value in {**instructions().limits, "TORCHINDUCTOR_CACHE_DIR": str(cache_folder)}.items():
            os.environ.setdefault(name, value)


@cache
def has_fast_bf16() -> bool:
    """Whether the CPU has bf16 instructions; others emulate them slowly."""
    if os.environ.get("NMT_ISA") and platform.machine() in ("x86_64", "AMD64"):
        return instructions().name == "avx512_bf16"
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(_listed())


def _listed() -> set[str]:
    facts = cpu_facts()
    return set(f"{facts.get('flags', '')} {facts.get('Features', '')}".split())


def usable_cores() -> int:
    """Counts the cores of the affinity mask, or fewer if a container's CPU quota allows fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores
