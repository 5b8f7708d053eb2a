"""Speed: what some real updates take on this device, and the training with it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import torch

from nmt.bench.probe import UPDATES, probe_training
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.runtime.device import describe
from nmt_data.doctor.finding import Finding, advice, ok, problem, size

_BUSY = 0.2  # share of the cores


def speed(recipe: Recipe, prepared: Prepared, device: torch.device) -> Finding:
    """Measures updates, and reckons the time of all of them; validations took the recipes of this checkout 2 % more."""
    threads, updates = torch.get_num_threads(), recipe.training.updates
    try:
        found = probe_training(recipe, prepared, device, threads)
    except NmtError as error:
        short = "died" in str(error) or "memory" in str(error)
        remedy = "lower training.batch_tokens, if there was not enough memory" if short else ""
        return problem("speed", f"{UPDATES} updates cannot be made: {error}", remedy)
    seconds = updates / found.updates_per_second
    text = (
        f"{updates:,} updates take {_clock(seconds)}, at {found.updates_per_second:.3g} updates or "
        f"{found.tokens_per_second:,.0f} target tokens a second by {found.way} on {describe(device)}; "
        f"{UPDATES} took up to {size(found.memory)} of memory"
    )
    figures = {**asdict(found), "seconds": seconds}
    if found.foreign_load > _BUSY and device.type == "cpu":
        text += f"; other programs used {found.foreign_load:.0%} of the cores"
        return advice("speed", text, f"alone it would take {_clock(updates * found.cpu_seconds / threads)}", **figures)
    return ok("speed", text, **figures)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
