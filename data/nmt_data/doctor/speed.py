"""Speed: what some real updates take on this device, and the training with it."""

from __future__ import annotations

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
    try:
        found = probe_training(recipe, prepared, device, torch.get_num_threads())
    except NmtError as error:
        remedy = (
            "lower training.batch_tokens, if the system ended it for want of memory" if "died" in str(error) else ""
        )
        return problem("speed", f"{UPDATES} updates cannot be made: {error}", remedy)
    seconds = recipe.training.updates / found.updates_per_second
    text = (
        f"{found.updates_per_second:.3g} updates a second by {found.way} on {describe(device)}, "
        f"{found.tokens_per_second:,.0f} target tokens a second; {recipe.training.updates:,} updates take "
        f"{timedelta(seconds=round(seconds))}; {UPDATES} took up to {size(found.memory)} of memory"
    )
    figures = {
        "updates_per_second": found.updates_per_second,
        "tokens_per_second": found.tokens_per_second,
        "seconds": seconds,
        "memory": found.memory,
        "foreign_load": found.foreign_load,
        "batch_tokens": found.batch_tokens,
    }
    if found.foreign_load > _BUSY:
        text += f"; other programs used {found.foreign_load:.0%} of the cores meanwhile"
        return advice("speed", text, "alone it would be faster", **figures)
    return ok("speed", text, **figures)
