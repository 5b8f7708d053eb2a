"""Opens a translator by the path of its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nmt.config.reading import parse_search
from nmt.errors import ConfigError
from nmt.runtime.device import choose_device, choose_search_precision
from nmt.storage.bundle import load_model
from nmt.translation.result import Options
from nmt.translation.translator import Translator


def load(
    path: str | Path,
    device: str | torch.device = "auto",
    options: Options | None = None,
    precision: str = "auto",
    ensemble: Sequence[str | Path] = (),
    **search: object,
) -> Translator:
    """Loads a bundle, run folder or checkpoint: `nmt.load("runs/x", beam=1).translate("Guten Tag.")`.

    Args:
        path: a folder that `nmt train` or `nmt average` has written. Of a run folder, the best model is loaded.
        device: `auto`, `cpu`, `cuda` or `cuda:n`.
        options: what is wanted beside plain search, such as sampling.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        ensemble: more models that vote with this one.
        search: search settings that replace those of the recipe; see `nmt.config.search.SearchConfig`.

    Raises:
        CheckpointError: there is no usable model.
        ConfigError: a setting or the device is unknown or wrong, or models, settings and options do not go together.
    """
    if isinstance(ensemble, str | Path):
        raise ConfigError(f"ensemble must be a list of paths, got {str(ensemble)!r}")
    place = choose_device(device)
    arithmetic = choose_search_precision(precision, place)
    loaded, others = load_model(Path(path)), [load_model(Path(other)) for other in ensemble]
    settings = parse_search(loaded.recipe.search, search)
    return Translator(loaded, place, settings, arithmetic, options=options, others=others)
