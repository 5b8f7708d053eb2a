"""The context of a step: device, output folders, recipe and prepared corpus."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from nmt.bench.gpu.ledger import Ledger
from nmt.config.reading import load_recipe
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError

NMT = [sys.executable, "-m", "nmt_cli"]


@dataclass(frozen=True)
class Context:
    """The context of one step."""

    step: str
    device: torch.device
    quick: bool
    """Whether everything is small, as a trial; the figures then mean nothing."""
    out: Path
    """Folder to keep."""
    work: Path
    """Folder that the steps of a call share, removed afterwards."""
    recipe_path: Path

    def write(self, figure: str, value: float | str | None, unit: str, more: Mapping[str, Any] | None = None) -> None:
        """Adds a figure to the call's file."""
        Ledger(self.out / "figures.jsonl", self.step).write(figure, value, unit, more)

    @property
    def on_gpu(self) -> bool:
        """Whether figures are about a GPU."""
        return self.device.type == "cuda"

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe whose corpus is used."""
        return load_recipe(self.recipe_path)

    @cached_property
    def prepared(self) -> Prepared:
        """The recipe's corpus, prepared by the command if needed, once for all steps of a call."""
        known = self.work / "prepared.json"
        if not known.exists():
            shown = run_command([*NMT, "prepare", str(self.recipe_path), "--json"])
            known.write_text(shown, encoding="utf-8")
        return Prepared(Path(json.loads(known.read_text(encoding="utf-8"))["folder"]))


def run_command(command: list[str]) -> str:
    """Runs a command and returns its output; its messages go to our stderr.

    Raises:
        NmtError: the command failed.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603  # our own commands
    if done.returncode:
        raise NmtError(f"exit code {done.returncode} of {' '.join(command)}")
    return done.stdout.decode()


def seconds_of(device: torch.device, run: Callable[[], object], repeats: int = 10, warm: int = 3) -> float:
    """Returns the median seconds of one call of `run`, by the device's clock if it has one."""
    for _ in range(warm):
        run()
    times: list[float] = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        else:
            before = perf_counter()
            run()
            times.append(perf_counter() - before)
    return statistics.median(times)
