"""Counts what a computation asks of a device, on fake tensors that take no memory: operations, bytes, casts, copies, waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = frozenset(
    {
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "as_strided",
        "can_cast",
        "chunk",
        "detach",
        "detach_",
        "device",
        "diagonal",
        "dim",
        "dtype",
        "empty",
        "empty_like",
        "empty_strided",
        "expand",
        "expand_as",
        "flatten",
        "is_floating_point",
        "is_same_size",
        "layout",
        "lift_fresh",
        "narrow",
        "new_empty",
        "new_empty_strided",
        "numel",
        "permute",
        "promote_types",
        "reshape",
        "result_type",
        "select",
        "size",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "stride",
        "t",
        "transpose",
        "unbind",
        "unfold",
        "unsafe_split",
        "unsqueeze",
        "view",
        "view_as",
    }
)
"""Operations that no device is asked for: they look at memory in another way, or only take it."""
CASTS = frozenset(["_to_copy"])
COPIES = frozenset(["clone", "copy_", "cat", "contiguous", "stack", "repeat", "repeat_interleave", "_to_copy"])
WAITS = frozenset(["_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"])
"""Operations whose result the host, or a shape, waits for."""


@dataclass(frozen=True)
class Operation:
    """One operation that a device would be asked for."""

    name: str
    moved: int
    """Bytes of its inputs and outputs."""
    shapes: tuple[tuple[int, ...], ...]
    """Of its outputs."""
    casts: bool
    """Whether it only turns numbers into another type."""
    waits: bool
    """Whether the host waits for it."""


class Counting(TorchDispatchMode):
    """Inside, writes down every operation. Autograd's are among them; kernels of our own count as one where they are opaque."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See torch."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        if name in VIEWS:
            return result
        inputs, outputs = (
            [leaf for leaf in tree_leaves(part) if isinstance(leaf, Tensor)] for part in ((args, kwargs), result)
        )
        by_mask = name == "index" and any(leaf.dtype == torch.bool for leaf in inputs[1:])
        self.operations.append(
            Operation(
                name,
                sum(leaf.numel() * leaf.element_size() for leaf in [*inputs, *outputs]),
                tuple(tuple(leaf.shape) for leaf in outputs),
                name in CASTS and bool(outputs) and outputs[0].dtype != inputs[0].dtype,
                name in WAITS or by_mask,
            )
        )
        return result

    @property
    def count(self) -> int:
        """Operations, views apart."""
        return len(self.operations)

    @property
    def moved(self) -> int:
        """Bytes read and written by them."""
        return sum(operation.moved for operation in self.operations)

    def casts(self, at_least: int = 0) -> int:
        """Changes of type of tensors with so many numbers or more."""
        return sum(operation.casts and _numbers(operation) >= at_least for operation in self.operations)

    def copies(self, at_least: int = 0) -> int:
        """Copies, casts apart, of tensors with so many numbers or more."""
        copies = (operation for operation in self.operations if operation.name in COPIES and not operation.casts)
        return sum(_numbers(operation) >= at_least for operation in copies)

    @property
    def waits(self) -> int:
        """Times that the host would wait for the device."""
        return sum(operation.waits for operation in self.operations)

    def table(self) -> str:
        """Each operation, how often and how many MB, the most frequent first: for a test that fails."""
        times = Counter(operation.name for operation in self.operations)
        moved: Counter[str] = Counter()
        for operation in self.operations:
            moved[operation.name] += operation.moved
        return "\n".join(f"{name:40} {count:5} {moved[name] / 1e6:10.1f} MB" for name, count in times.most_common())


def _numbers(operation: Operation) -> int:
    return max((torch.Size(shape).numel() for shape in operation.shapes), default=0)


@contextmanager
def fake() -> Generator[FakeTensorMode]:
    """Inside, tensors have shapes and types and no numbers: models of any size are built and run in milliseconds."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def counted(work: Callable[[], object]) -> Counting:
    """What some work asks for."""
    with Counting() as counting:
        work()
    return counting
