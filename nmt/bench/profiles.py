"""Profiles of an update: torch's table, the kernels of a GPU, and the share of time in which it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import torch

from nmt.bench.training import Name, Trainee, TrainingWork
from nmt.runtime.device import describe


@dataclass(frozen=True)
class Profile:
    """The profile of one contender."""

    title: str
    table: str
    """Table by torch's operation and kernel, slowest first."""
    kernels: float
    """Number of kernels that an update starts on the GPU, with copies and fills."""
    busy: float
    """Share of the time in which a kernel ran, without a profiler."""
    milliseconds: float
    """Time of an update, without a profiler."""


def profile_contender(work: TrainingWork, name: Name) -> Profile:
    """Profiles one round of a contender."""
    trainee = Trainee(work, name)
    trainee.run()
    start = perf_counter()
    trainee.run()
    seconds = perf_counter() - start
    with torch.profiler.profile(acc_events=True) as profiler:
        trainee.run()
    device = trainee.device
    by = f"self_{device.type}_time_total"
    table = profiler.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=60)
    events = profiler.events() or ()
    ran = [event for event in events if event.device_type.name == "CUDA" and not event.is_user_annotation]
    computed = sum(event.self_device_time_total for event in ran) / 1e6
    title = f"{name}, {work.updates} updates, {describe(device)}"
    return Profile(title, table, len(ran) / work.updates, computed / seconds, 1e3 * seconds / work.updates)


def profile_training(work: TrainingWork, names: Sequence[Name]) -> str:
    """Returns a table for each contender."""
    found = (profile_contender(work, name) for name in names)
    return "\n\n".join(f"{item.title}\n{item.table}" for item in found) + "\n"
