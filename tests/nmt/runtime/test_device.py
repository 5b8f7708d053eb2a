"""What a device can do is read off it, the same at each start."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from nmt.errors import ConfigError
from nmt.runtime import cpu, device

Facts = Callable[[dict[str, str]], None]


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """Makes the processor another one."""

    def become(said: dict[str, str]) -> None:
        monkeypatch.setattr(cpu, "cpu_facts", lambda: said)
        monkeypatch.delenv("NMT_ISA", raising=False)

    return become


@pytest.mark.parametrize(
    ("said", "fast"),
    [
        ({"flags": "fma avx512f avx512_bf16"}, True),
        ({"flags": "fma amx_bf16 amx_tile"}, True),
        ({"Features": "fp asimd bf16 sve"}, True),
        ({"flags": "fma avx2"}, False),
        ({}, False),
    ],
)
def test_bf16_is_for_processors_that_have_it(facts: Facts, said: dict[str, str], fast: bool) -> None:
    """Fast bf16 is recognised from the processor's flags on x86 and ARM, and otherwise denied."""
    facts(said)
    assert cpu.has_fast_bf16.__wrapped__() is fast


def test_onednn_multiplies_only_if_exact() -> None:
    """Whatever the vendor of the CPU."""
    left, right = torch.randn(64, 64), torch.randn(64, 64)
    with device.onednn_products(device.onednn_is_faster()):
        torch.testing.assert_close(left @ right, (left.double() @ right.double()).float(), rtol=1e-4, atol=1e-4)


def test_a_cpu_has_what_it_lists(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest set is used, unless NMT_ISA asks for less; what is not there is refused by name."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    facts({"flags": "sse2 avx2 fma"})
    assert [path.name for path in cpu.paths()] == ["generic", "avx2"]
    assert cpu.instructions.__wrapped__().name == "avx2"
    monkeypatch.setenv("NMT_ISA", "generic")
    assert cpu.instructions.__wrapped__().name == "generic"
    monkeypatch.setenv("NMT_ISA", "avx512")
    with pytest.raises(ConfigError, match="this CPU has generic, avx2"):
        cpu.instructions.__wrapped__()
    facts({})
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert [path.name for path in cpu.paths()] == ["generic"]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path.name for path in cpu.paths()])
def test_the_libraries_work_when_held_to_fewer_instructions(path: str) -> None:
    """An LSTM under bf16 computes, and what torch.compile keeps is kept apart."""
    script = f"""
import os, torch
import nmt.runtime.device
from nmt.models.rnn.state import run
assert os.environ["TORCHINDUCTOR_CACHE_DIR"].endswith("_{path}")
with torch.autocast("cpu", torch.bfloat16):
    states, _ = run(torch.nn.LSTM(8, 8, batch_first=True), torch.ones(2, 3, 8))
states.sum().backward()
"""
    held = {"TORCHINDUCTOR_CACHE_DIR", *(name for known in cpu.paths() for name in known.limits)}
    environment = {name: value for name, value in os.environ.items() if name not in held}
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=environment | {"NMT_ISA": path}, check=True)


def test_the_processor_is_described() -> None:
    """The description of a CPU ends with its number of threads, in the right grammatical number."""
    assert device.describe(torch.device("cpu"), 3).endswith(", 3 threads")
    assert device.describe(torch.device("cpu"), 1).endswith(", 1 thread")


@pytest.mark.parametrize(("count", "there"), [(1, "there is 1 GPU: cuda:0"), (4, "there are 4 GPUs: cuda:0 to cuda:3")])
def test_a_gpu_that_is_not_there_is_refused(count: int, there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line that names those that are, also for torchrun; one that is there becomes the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for number in range(count):
        assert device.choose_device(f"cuda:{number}").index == number
    assert current == [torch.device("cuda", number) for number in range(count)]
    assert device.choose_device("cuda") == torch.device("cuda")
    for number in (count, 9):
        with pytest.raises(ConfigError, match=f"^device cuda:{number}: {there}$"):
            device.choose_device(f"cuda:{number}")
    monkeypatch.setenv("LOCAL_RANK", str(count))
    with pytest.raises(ConfigError, match=there):
        device.choose_device("cuda")


@pytest.mark.parametrize("native", [True, False])
def test_an_old_gpu_is_not_taken_for_one_with_bf16(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says that it can, by slow emulation; only where the GPU itself can is it chosen."""
    supported = lambda including_emulation=True: including_emulation or native  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert device.choose_precision("auto", torch.device("cuda")) == ("bf16" if native else "fp32")


def test_peak_memory_is_in_megabytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc it is that of getrusage, in bytes on macOS and in KiB elsewhere; on Linux both ways agree."""
    here = torch.device("cpu")
    told = device.peak_memory_mb(here)

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(device.Path, "read_text", missing)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=kib))
    if sys.platform == "linux":
        assert device.peak_memory_mb(here) >= 0.9 * told
    for system, unit in (("linux", 1024), ("darwin", 1)):
        monkeypatch.setattr(sys, "platform", system)
        assert device.peak_memory_mb(here) == pytest.approx(kib * unit / 1e6)
