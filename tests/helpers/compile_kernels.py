"""Compiles the Triton kernels for an H100 where there is none; prints of each its name, registers and bytes of stack.

A kernel that needs a stack spills: it keeps in memory what registers should hold. To be run as a script, in a process without
Triton's interpreter.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nmt.fast.triton import ancestry, attention, beams, cells, columns, look, loss, norm, rectified, steps

INTEGERS = {
    *("n_rows", "n_keys", "vocabulary", "ignored", "width", "count", "beam", "longest", "depth", "times", "sentences"),
    *("stride", "q_stride", "k_stride", "v_stride", "d_stride", "query_stride", "d_query_stride"),
    *("recurrent_stride", "d_gates_stride", "d_recurrent_stride"),
}
LONGS = {"SEED", "ANCESTRY", "POSITIONS", "OWNERS", "OFFSETS", "LENGTHS"}
SHORTS = {"START", "COUNT", "Q_START", "Q_COUNT", "TARGETS"}
EXACT = {
    *("LOG", "DELTA", "ROWS", "SLOPES", "D_WEIGHT", "D_BIAS", "D_SHIFT", "SHARES", "WEIGHTS", "D_SCORES", "D_VECTOR"),
    *("CELL", "NEW_CELL", "D_CELL", "D_OLD_CELL"),
}
FOUND = {"VALUES": "*fp32", "TOP": "*fp32", "TOTAL": "*fp32", "LIMITS": "*i64"}
OWN: dict[Any, dict[str, str]] = {
    beams._best: {**FOUND, "TOKENS": "*i32", "minimum": "i32", "size": "i32"},
    beams._advance: {
        **FOUND,
        "CHOSEN": "*i32",
        **dict.fromkeys(("TOKENS", "FED", "ORIGINS", "FOLLOWING", "REMAINING", "COUNT"), "*i64"),
        **dict.fromkeys(("BEST_LENGTHS", "BEST_TOKENS"), "*i64"),
        **dict.fromkeys(("SCORES", "BEST_SCORES", "BEST_LOGS", "DIVISORS"), "*fp64"),
        "BEST_CUT": "*i1",
        "parts": "i32",
        "rows": "i32",
        "nobody": "i32",
    },
    steps._look: {"stride": "i32"},
}
"""Types of arguments that other kernels have under the same name with another type."""
MASK = 2**24 // 10  # a threshold of dropout

Kernel = tuple[Any, dict[str, Any]]


def every(dtype: torch.dtype) -> Iterator[Kernel]:
    """Kernels with the constants that they are called with, of common sizes."""
    exact = "ieee" if dtype == torch.float32 else "tf32"
    widest = (256, 512) if dtype != torch.float32 else ()  # which spill in fp32: that is slow, not wrong
    for width in (32, 64, 128, *widest):
        shape = {"D": width, "DB": width, "CAUSAL": True, "ALIBI": width == 64, "THRESHOLD": MASK, "PRECISION": exact}
        shape |= {"LONG": False}
        for kernel in (attention._forward, attention._backward_queries, attention._backward_keys):
            yield kernel, {**shape, **attention.block_sizes(width, dtype, kernel is attention._backward_keys)}
        if width > 128:
            continue
        turned = {"TURNS": width == 64, "ALIBI": width == 32}
        yield ancestry._past, {"K": width, "KB": width, "TB": 16, **turned, "num_warps": 1}
        block = 16 if dtype == torch.float32 else 32
        yield ancestry._source, {"K": width, "KB": width, "BB": 16, "SB": block, "PRECISION": exact, "num_warps": 2}
    yield loss._whole, {"WRITE": True, "BLOCK": 8192, "num_warps": 16}
    yield loss._whole, {"WRITE": True, "BLOCK": 16384, "num_warps": 16}
    yield loss._parts, {"WRITE": True, "BLOCK": 8192, "num_warps": 16}
    for width in (256, 512, 1024, 2048):
        options = norm._options(torch.empty(1, width), 0.1, False, True, False)
        yield norm._forward, options
        yield norm._backward, {**options, "MORE": True}
    yield rectified._backward, {"ROWS": rectified._ROWS, "COLUMNS": rectified._COLUMNS, "num_warps": 4}
    yield columns._sums, {"ROWS": columns._ROWS, "COLUMNS": columns._COLUMNS, "num_warps": 8}
    yield columns._totals, {"ROWS": columns._SHARES, "COLUMNS": columns._BESIDE, "num_warps": 8}
    for kernel in (norm._activate, norm._activate_backward):
        yield kernel, {"GELU": True, "THRESHOLD": MASK, "BLOCK": norm._TILE}
    for additive in (True, False):
        yield look._look, {"ADDITIVE": additive, **look._BLOCKS}
        yield look._look_backward, {"ADDITIVE": additive, **look._BLOCKS}
        yield steps._look, {"ADDITIVE": additive, "SB": 8, "AB": 64, "CB": 1024, "num_warps": 4}
    yield look._additive_keys, {"SB": 16, "AB": 64}
    yield beams._best, {"COUNT": 10, "BLOCK": 8192, "num_warps": 8}
    slot = {"K": 5, "KB": 8, "PB": 1, "C": 10, "CB": 16, "T": 64, "TB": 32, "num_warps": 1}
    yield beams._advance, {**slot, "BEST": 1, "BY_COUNT": False}
    yield beams._advance, {**slot, "BEST": 5, "BY_COUNT": True}
    for kernel in (cells._lstm, cells._lstm_backward, cells._gru, cells._gru_backward):
        yield kernel, {"BLOCK": cells._BLOCK}


def compiled(kernel: Any, constants: dict[str, Any], dtype: torch.dtype) -> tuple[int, int, int]:
    """Registers, bytes of shared memory and bytes of stack of a kernel for numbers of a type."""
    constants = dict(constants)
    options = {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
    if not constants.get("ALIBI", True):
        constants["SLOPES"] = None
    if not constants.get("TURNS", True):
        constants["COSINE"] = constants["SINE"] = None
    if not constants.get("ADDITIVE", True):
        constants["VECTOR"] = None
    own = OWN.get(kernel, {})
    signature = {name: own.get(name) or _type(name, constants, dtype) for name in kernel.arg_names}
    even = {
        (place,): [["tt.divisibility", 16]]
        for place, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name.endswith("stride") or name in ("width", "depth", "vocabulary")
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=even)
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary.asm["cubin"])
        told = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.findall(rf"{name}:(\d+)", told)[0]) for name in ("REG", "STACK"))
    return registers, binary.metadata.shared, stack


def _type(name: str, constants: dict[str, Any], dtype: torch.dtype) -> str:
    """As Triton spells the type of an argument."""
    if name in constants:
        return "constexpr"
    if name in INTEGERS:
        return "i32"
    if name.islower():
        return "fp32"
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    return "*" + ("i64" if name in LONGS else "i32" if name in SHORTS else "fp32" if name in EXACT else kind)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("bfloat16", "float32"):
        for number, (kernel, constants) in enumerate(every(getattr(torch, name))):
            registers, shared, stack = compiled(kernel, constants, getattr(torch, name))
            module = kernel.fn.__module__.rpartition(".")[2]
            print(f"{name} {number} {module}.{kernel.fn.__name__} {registers} {shared} {stack}", flush=True)  # noqa: T201
