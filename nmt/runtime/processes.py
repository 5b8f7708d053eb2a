"""Several processes that train one model: torchrun starts them and gives each a rank."""

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

from nmt.runtime.device import process_count
from nmt.runtime.signals import end_with

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_LAUNCHED = "TORCHELASTIC_RUN_ID"  # set by torchrun, the parent of its processes


@dataclass(frozen=True)
class World:
    """The processes of a training, and the rank of this one."""

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
        """Returns the sum of a number over the processes."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.int64, device=self.device)
        dist.all_reduce(value)
        return int(value)

    def largest(self, number: float) -> float:
        """Returns the largest of a number over the processes."""
        if self.size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return value.item()

    def share(self, lines: Sequence[str]) -> list[str]:
        """Returns this process's share of some lines."""
        return list(lines[self.rank :: self.size])

    def gather(self, lines: Sequence[str]) -> list[str]:
        """Collects the results of all shares, one line each, in the original order."""
        if self.size == 1:
            return list(lines)
        text = "\n".join([*lines, ""]).encode()
        width = int(self.largest(len(text))) + 1  # also where no process has a line there is something to exchange
        padded = torch.frombuffer(bytearray(text.ljust(width, b"\0")), dtype=torch.uint8).to(self.device)
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shares = [bytes(part.tolist()).rstrip(b"\0").decode().split("\n")[:-1] for part in parts]
        whole = [""] * sum(map(len, shares))
        for rank, share in enumerate(shares):
            whole[rank :: self.size] = share
        return whole

    def wait(self) -> None:
        """Waits until all processes have arrived."""
        if self.size > 1:
            dist.barrier()


def whole(tensor: Tensor) -> Tensor:
    """Returns a whole tensor; if processes divide it, all of them must call this."""
    return tensor.full_tensor() if _is_divided(tensor) else tensor


def divided_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Divides a whole tensor, which all processes have, like another one if that is divided."""
    if not _is_divided(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def _is_divided(tensor: Tensor) -> TypeIs[DTensor]:
    """Whether it is a `DTensor`, checked without the slow import."""
    return hasattr(tensor, "device_mesh")


@contextmanager
def joined(device: torch.device) -> Generator[World]:
    """Joins the processes that torchrun has started; without torchrun the process is alone."""
    if process_count() == 1:
        yield World(device)
        return
    if _LAUNCHED in os.environ:
        end_with(os.getppid())  # all save together and end if torchrun is killed
    store, rank, size = next(iter(rendezvous("env://")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield World(device, rank, size)
        # A process that leaves while another is still in the last exchange would make it fail. (The process with the store
        # may have gone first: then there is nothing to wait for.)
        with suppress(RuntimeError):
            store.set(f"nmt/leaves/{rank}", "")
            store.wait([f"nmt/leaves/{other}" for other in range(size)], timedelta(minutes=1))
    finally:
        dist.destroy_process_group()
