"""The three calls, each under ten minutes: device limits and training; decoding; a whole recipe and all tests."""

from __future__ import annotations

from collections.abc import Callable

from nmt.bench.gpu.checks import check_all, check_kernels
from nmt.bench.gpu.context import Context
from nmt.bench.gpu.decodings import decode_beam, decode_changes, decode_greedy, train_model
from nmt.bench.gpu.probes import probe
from nmt.bench.gpu.recipes import train_recipe
from nmt.bench.gpu.running import Step
from nmt.bench.gpu.trainings import (
    compare_beside,
    compile_base,
    compile_big,
    compile_tiny,
    profile,
    train_base,
    train_big,
    train_rnn,
    train_tiny,
    train_tiny_wide,
)

STEPS: dict[str, Callable[[Context], None]] = {
    "probe": probe,
    "compile-base": compile_base,
    "compile-tiny": compile_tiny,
    "compile-big": compile_big,
    "kernels": check_kernels,
    "base": train_base,
    "tiny": train_tiny,
    "rnn": train_rnn,
    "tiny-25k": train_tiny_wide,
    "big": train_big,
    "profile": profile,
    "beside": compare_beside,
    "train": train_model,
    "beam-5": decode_beam,
    "greedy": decode_greedy,
    "changes": decode_changes,
    "recipe": train_recipe,
    "tests": check_all,
}
CALLS: dict[str, tuple[Step, ...]] = {
    "A": (
        Step("probe", limit=90, least=20),
        Step("compile-base", limit=240, least=60, beside=True, alone=False),
        Step("compile-tiny", limit=240, least=60, beside=True, alone=False),
        Step("compile-big", limit=240, least=60, beside=True, alone=False),
        Step("kernels", limit=120, least=30, alone=False),
        Step("base", limit=110, least=45),
        Step("tiny", limit=80, least=40),
        Step("rnn", limit=80, least=40),
        Step("profile", limit=75, least=30),
        Step("tiny-25k", limit=60, least=35),
        Step("big", limit=90, least=50),
    ),
    "B": (
        Step("beside", limit=40, least=15),
        Step("train", limit=150, least=90),
        Step("beam-5", limit=200, least=60),
        Step("greedy", limit=120, least=45),
        Step("changes", limit=60, least=30),
    ),
    "C": (
        Step("recipe", limit=330, least=120),
        Step("tests", limit=240, least=40, alone=False),
    ),
}
