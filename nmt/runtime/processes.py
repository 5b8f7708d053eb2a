"""Several processes training one model: torchrun starts them, and tells each its rank."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from typing_extensions import TypeIs

from nmt.runtime.signals import end_with

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_LAUNCHED = "TORCHELASTIC_RUN_ID"  # set by torchrun, whose children its processes are


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this is."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, in one exchange."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def total(self, number: int) -> int:
        """The sum of the numbers that the processes bring."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.int64, device=self.device)
        dist.all_reduce(value)
        return int(value)

    def largest(self, number: float) -> float:
        """The largest of the numbers that the processes bring."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return value.item()

    def share(self, lines: Sequence[str]) -> list[str]:
        """The part of some lines that is this process's to work on."""
        return list(lines[self.rank :: self.size])

    def gather(self, lines: Sequence[str]) -> list[str]:
        """What the processes made of their shares, one line each, in the order of the whole."""
        if self.size == 1:
            return list(lines)
        text = torch.frombuffer(bytearray("\n".join([*lines, ""]).encode()), dtype=torch.uint8).to(self.device)
        width = int(self.largest(len(text)))
        padded = torch.zeros(width, dtype=torch.uint8, device=self.device)
        padded[: len(text)] = text
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shares = [bytes(part.tolist()).rstrip(b"\0").decode().split("\n")[:-1] for part in parts]
        whole = [""] * sum(map(len, shares))
        for rank, share in enumerate(shares):
            whole[rank :: self.size] = share
        return whole

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            dist.barrier()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, which may be divided among the processes: then all must ask for it."""
    return tensor.full_tensor() if _is_divided(tensor) else tensor


def divided_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor that all processes have in whole, divided if another is."""
    if not _is_divided(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def _is_divided(tensor: Tensor) -> TypeIs[DTensor]:
    """Whether it is a `DTensor`, without the half second that its import takes."""
    return hasattr(tensor, "device_mesh")


@contextmanager
def joined(device: torch.device) -> Generator[World]:
    """The world that torchrun has made of this process and its like; without it the process is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(device)
        return
    if _LAUNCHED in os.environ:
        end_with(os.getppid())  # all save together and end where torchrun was killed
    store, rank, size = next(iter(rendezvous("env://")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield World(device, rank, size)
        # One that hangs up while another is still in the last exchange would fail it. (The process that keeps the store
        # may be gone first: then there is nothing to wait for.)
        with suppress(RuntimeError):
            store.set(f"nmt/leaves/{rank}", "")
            store.wait([f"nmt/leaves/{other}" for other in range(size)], timedelta(minutes=1))
    finally:
        dist.destroy_process_group()
