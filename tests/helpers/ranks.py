"""Trains in one process or as one of several, in float64 or `--fp32`; the gradients of the first update are kept.

Processes that only exchange lines are started in the same way.

As a script, `ranks.py FOLDER UPDATES [OPTION...]`, it is a process of torchrun.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from nmt.config.reading import load_recipe
from nmt.fast.gpu.layouts import StaticBatch
from nmt.runtime.processes import World, joined, whole
from nmt.training.batches import Batch
from nmt.training.trainer import Trainer
from nmt_data.prepare import prepare

_SLOW = (
    "nmt.training.trainer",
    "nmt.training.sharding",
    "nmt_data.prepare",
    "torch._dynamo",
    "sacrebleu",
    "matplotlib",
)
_CONTEXT = multiprocessing.get_context("forkserver")
_DEVICE = torch.device("cpu")


def _train(world: World, folder: Path, updates: str, options: Sequence[str]) -> None:
    recipe = load_recipe(folder / "tiny.toml", [f"training.updates={updates}"])
    trainer = Trainer(recipe, prepare(recipe), folder, _DEVICE, world=world)
    kept = trainer.updater._share_gradients

    def watch(parameters: list[nn.Parameter], sums: Tensor) -> None:
        kept(parameters, sums)
        gradients = {str(index): whole(part.grad) for index, part in enumerate(parameters) if part.grad is not None}
        if world.leads and trainer.progress.step == 1:
            torch.save(gradients, folder / "gradients.pt")

    trainer.updater._share_gradients = watch
    if "--die" in options and world.rank == 1:
        step = trainer._step

        def dying(batches: list[Batch | StaticBatch], rate: float) -> Any:
            if trainer.progress.step == 2:
                os._exit(7)
            return step(batches, rate)

        trainer._step = dying
    trainer.run()


def _process(folder: str, updates: str, *options: str) -> None:
    torch.set_num_threads(1)
    if "--fp32" not in options:
        torch.set_default_dtype(torch.float64)
    with joined(_DEVICE) as world:
        for number in updates.split(","):
            _train(world, Path(folder), number, options)


def train_together(folder: Path, processes: int, updates: str, *options: str) -> list[int | None]:
    """Trains to one number of updates after another; returns the exit codes of the processes."""
    return _together(processes, _process, str(folder), updates, *options)


def gather_together(processes: int, lines: Sequence[str]) -> list[int | None]:
    """Shares none, some and all of the lines among processes, each of which checks what comes together of them."""
    return _together(processes, _gather, *lines)


def _gather(*lines: str) -> None:
    with joined(_DEVICE) as world:
        for count in range(len(lines) + 1):
            share = world.share(lines[:count])
            assert world.gather(share) == list(lines[:count]), (world.rank, count)


def _together(processes: int, work: Callable[..., None], *arguments: str) -> list[int | None]:
    """Does work in processes that meet as those of torchrun do; returns their exit codes.

    They are forked from one that has loaded everything, as that takes longer than to train.
    """
    _CONTEXT.set_forkserver_preload([*_SLOW])
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(processes)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "NMT_HOME": os.environ["NMT_HOME"], "OMP_NUM_THREADS": "1"}
    ranks = [
        _CONTEXT.Process(target=_rank, args=({**shared, "RANK": str(rank)}, work, *arguments))
        for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(240)
    for rank in ranks:
        rank.kill()
    return [rank.exitcode for rank in ranks]


def _rank(environment: dict[str, str], work: Callable[..., None], *arguments: str) -> None:
    os.environ.update(environment)
    warnings.simplefilter("ignore")
    work(*arguments)


if __name__ == "__main__":
    _process(*sys.argv[1:])
