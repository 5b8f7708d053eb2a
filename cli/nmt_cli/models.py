"""Opens what MODEL names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nmt.translation.result import Options
    from nmt.translation.translator import Translator


def open_translator(
    model: Path,
    device: str,
    latest: bool,
    search: Mapping[str, object],
    precision: str = "auto",
    batch_size: int | None = None,
    options: Options | None = None,
    others: Sequence[Path] = (),
    engine: str = "nmt",
) -> Translator:
    """A model (or several that vote) ready to translate, with the search options that were given."""
    from nmt.config.reading import parse_search
    from nmt.errors import ConfigError
    from nmt.export.ctranslate2 import CTranslate2Engine
    from nmt.runtime.device import choose_device, choose_search_precision
    from nmt.storage.checkpoint import load_model
    from nmt.translation.translator import Translator

    if engine not in ("nmt", "ctranslate2"):
        raise ConfigError(f"--engine must be nmt or ctranslate2, got {engine}")
    if engine == "ctranslate2" and device not in ("auto", "cpu"):
        raise ConfigError(f"--engine ctranslate2 runs on the CPU here, got --device {device}")
    place = choose_device("cpu" if engine == "ctranslate2" else device)
    arithmetic = choose_search_precision(precision, place)
    loaded = load_model(model, latest)
    other = None
    if engine == "ctranslate2":
        names = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
        other = CTranslate2Engine(loaded, names[arithmetic])
    return Translator(
        loaded,
        place,
        parse_search(loaded.recipe.search, search),
        "fp32" if other else arithmetic,
        batch_size,
        options,
        [load_model(path, latest) for path in others],
        other,
    )
