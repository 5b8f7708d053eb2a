"""The machine: versions, the CPU and the instructions it is used with, compiled kernels, threads and GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from nmt import __version__
from nmt.fast.kernels import kernels, why_missing
from nmt.fast.triton import missing
from nmt.runtime.cpu import cpu_facts, instructions, paths, usable_cores
from nmt.training.arithmetic import choose_arithmetic
from nmt_data.doctor.finding import Finding, advice, ok, size

_LIBRARIES = ("torch", "numpy", "sentencepiece", "sacrebleu", "pyarrow", "triton")
_CPU = torch.device("cpu")


def examine_machine() -> list[Finding]:
    """Returns the findings that need no recipe."""
    return [versions(), processor(), compiled_kernels(), threads(), *graphics()]


def versions() -> Finding:
    """Finds the versions of Python, nmt and the libraries that numbers depend on."""
    found = {"python": platform.python_version(), "nmt": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return ok("versions", ", ".join(f"{name} {number}" for name, number in found.items()), **found)


def processor() -> Finding:
    """Finds the CPU, the instructions in use and how it multiplies matrices."""
    name = cpu_facts().get("model name") or platform.processor() or platform.machine()
    used, there = instructions().name, paths()[-1].name
    arithmetic = choose_arithmetic("auto", _CPU)
    way = f"{arithmetic.precision} products" + (" by oneDNN" if arithmetic.onednn else "")
    figures = {"cpu": name, "instructions": used, "precision": arithmetic.precision, "onednn": arithmetic.onednn}
    if used != there:
        text = f"{name} has {there}, but NMT_ISA holds it to {used}"
        return advice("CPU", text, "unset NMT_ISA for full speed", **figures)
    return ok("CPU", f"{name}, instructions {used}, {way}", **figures)


def compiled_kernels() -> Finding:
    """Finds whether search and training on a CPU have their compiled kernels."""
    if reason := why_missing():
        return advice("kernels", f"{reason}, so torch does their work more slowly", "install gcc or clang, or set CC")
    if kernels() is None:
        return advice("kernels", "switched off by NMT_KERNELS=0, so torch does their work more slowly", "unset it")
    return ok("kernels", f"compiled for {instructions().name}")


def threads() -> Finding:
    """Finds the cores that this process may use, and the threads that it will."""
    cores, asked = usable_cores(), os.environ.get("OMP_NUM_THREADS")
    used = torch.get_num_threads() if asked else cores
    text = f"{_counted(used, 'thread')} on {_counted(cores, 'usable core')}"
    if used < cores:
        remedy = "unset it to train one model faster"
        return advice("threads", f"{text}, by OMP_NUM_THREADS={asked}", remedy, threads=used, cores=cores)
    if used > cores:
        remedy = f"set it to {cores}: threads that wait for each other are slower than none"
        return advice("threads", f"{text}, by OMP_NUM_THREADS={asked}", remedy, threads=used, cores=cores)
    return ok("threads", text, threads=used, cores=cores)


def graphics() -> list[Finding]:
    """Finds the GPUs that torch sees, or why it sees none although there is one."""
    listed = _listed_cards()
    if torch.cuda.is_available():
        return [_card(index, listed) for index in range(torch.cuda.device_count())]
    if not listed:
        return [ok("GPU", "none found; training runs on the CPU")]
    card = f"{listed[0]} is there, but torch {torch.__version__} does not see it"
    if torch.version.cuda is None:
        remedy = (
            "install one with CUDA: pip install --force-reinstall torch, from PyPI rather than an index of CPU builds"
        )
        return [advice("GPU", f"{card}: it is a build for CPUs", remedy)]
    if (hidden := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [advice("GPU", f"{card}: CUDA_VISIBLE_DEVICES={hidden!r} hides it", "unset CUDA_VISIBLE_DEVICES")]
    remedy = f"update the driver, or install a torch for an older CUDA than {torch.version.cuda}"
    return [advice("GPU", f"{card}: {_why_no_cuda()}", remedy)]


def _card(index: int, listed: list[str]) -> Finding:
    """Returns the finding on a GPU that torch sees."""
    free, total = torch.cuda.mem_get_info(index)
    driver = listed[index].rpartition(", ")[2] if index < len(listed) else "unknown"
    text = f"{torch.cuda.get_device_name(index)}, {size(free)} of {size(total)} free, driver {driver}"
    text += f", CUDA {torch.version.cuda}"
    if reason := missing():
        return advice("GPU", text, f"updates will be slow: {reason}", free=free, total=total, driver=driver)
    return ok("GPU", text, free=free, total=total, driver=driver)


def _listed_cards() -> list[str]:
    """Returns name, memory and driver of each GPU that NVIDIA's tool lists; none without the tool or a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]


def _why_no_cuda() -> str:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return "no reason is given"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
