"""`nmt shortlist`: the likely target tokens of each source token of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.errors import DataError
from nmt_cli.console import note, print_text
from nmt_cli.options import LatestOption, ModelArgument


def shortlist(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    each: Annotated[int, typer.Option(min=1, help="Candidates of a source token.")] = 40,
    frequent: Annotated[int, typer.Option(min=0, help="Frequent target tokens that are candidates of all.")] = 200,
    latest: LatestOption = False,
) -> None:
    """Make a vocabulary shortlist from a model's training corpus, for faster search by `nmt translate --shortlist` on CPU."""
    from nmt.decoding.shortlist import Shortlist
    from nmt.runtime.files import check_output
    from nmt.storage.bundle import load_model
    from nmt_data.prepare import prepare

    check_output(output)
    loaded = load_model(model, latest)
    prepared = prepare(loaded.recipe, say=note)
    if prepared.tokenizers.fingerprints != loaded.tokenizers.fingerprints:
        raise DataError(f"{model}: its corpus has changed since it was trained, and would have another tokenizer")
    sizes = loaded.tokenizers.source.vocabulary_size, loaded.tokenizers.target.vocabulary_size
    found = Shortlist.build(prepared.pairs, sizes, loaded.tokenizers.fingerprints, each, frequent)
    found.save(output)
    note(f"{each} candidates of each of {sizes[0]:,} source tokens, and {len(found.frequent)} of all")
    print_text(str(output))
