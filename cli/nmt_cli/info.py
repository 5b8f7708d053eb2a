"""`nmt info`: what a model is and where it comes from."""

from __future__ import annotations

import json

import typer

from nmt_cli.console import print_table
from nmt_cli.options import JsonOption, LatestOption, ModelArgument


def info(model: ModelArgument, as_json: JsonOption = False, latest: LatestOption = False) -> None:
    """Show parameters, vocabulary, training and provenance of a model, and verify its files."""
    from nmt.checkpoint import load_model

    loaded = load_model(model, latest)
    tokenizers = loaded.tokenizers
    facts = {
        "path": str(loaded.path),
        "name": loaded.recipe.name,
        "family": loaded.recipe.model.kind,
        "model": loaded.recipe.model.model_dump(mode="json"),
        "direction": f"{loaded.recipe.data.source}-{loaded.recipe.data.target}",
        "parameters": loaded.model.parameter_count,
        "by_part": {name: sum(p.numel() for p in part.parameters()) for name, part in loaded.model.named_children()},
        **({"receptive_field": field} if (field := loaded.model.receptive_field) else {}),
        "vocabulary": [tokenizers.source.vocabulary_size, tokenizers.target.vocabulary_size],
        "fingerprints": tokenizers.fingerprints,
        **{f"card.{key}": value for key, value in loaded.card.items()},
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print_table(
        "", ["", ""], [[key, value if isinstance(value, str) else json.dumps(value)] for key, value in facts.items()]
    )
