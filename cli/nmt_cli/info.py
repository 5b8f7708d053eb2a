"""`nmt info`: facts and provenance of a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nmt_cli.console import print_text
from nmt_cli.options import JsonOption, LatestOption, ModelArgument

if TYPE_CHECKING:
    from nmt.models import Model


def info(model: ModelArgument, as_json: JsonOption = False, latest: LatestOption = False) -> None:
    """Show parameters, vocabulary, training and provenance of a model, and verify its files."""
    from nmt.storage.bundle import load_model

    loaded = load_model(model, latest)
    tokenizers = loaded.tokenizers
    facts = {
        "name": loaded.recipe.name,
        "path": str(loaded.path),
        "files": "verified",
        "direction": f"{loaded.recipe.data.source}-{loaded.recipe.data.target}",
        "model": loaded.recipe.model.model_dump(mode="json"),
        "parameters": loaded.model.parameter_count,
        "by_part": _parameters_by_part(loaded.model),
        "receptive_field": loaded.model.receptive_field,
        "vocabulary": [tokenizers.source.vocabulary_size, tokenizers.target.vocabulary_size],
        "fingerprints": tokenizers.fingerprints,
        "card": loaded.card,
    }
    if as_json:
        print_text(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    for line in _lines(facts):
        print_text(line)


def _parameters_by_part(model: Model) -> dict[str, int]:
    """Counts the parameters of each part; shared ones count in the first part."""
    sizes: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        sizes[name.partition(".")[0]] += parameter.numel()
    return dict(sizes)


def _lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yields one line per fact, indented under its heading; unknown facts are left out."""
    known = {key: value for key, value in facts.items() if value not in (None, {})}
    width = max(map(len, known), default=0)
    for key, value in known.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key:{width}}  {_shown(value)}"


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.5g}" if abs(value) < 1000 else f"{value:,.0f}"
        case list() | tuple():
            return ", ".join(map(_shown, value))
        case _:
            return str(value)
