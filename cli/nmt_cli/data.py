"""`nmt data`: the corpora that ship with nmt, and the sentences of an update."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from nmt_cli.console import note, print_table, print_text
from nmt_cli.options import DeviceOption, RecipeArgument, SetOption

app = typer.Typer(no_args_is_help=True, help="Corpora: what there is, and what an update saw.")


@app.command("list")
def list_cards() -> None:
    """List the corpus cards that ship with nmt."""
    from nmt_data.cards import card_names, load_card

    cards = [load_card(name) for name in card_names()]
    rows = [[card.name, ", ".join(card.languages), card.licence, card.title] for card in cards]
    print_table("corpora", ["name", "languages", "licence", "what it is"], rows)


@app.command()
def show(
    recipe: RecipeArgument,
    step: Annotated[int, typer.Option("--step", min=1, help="Which update.")],
    device: DeviceOption = "auto",
    overrides: SetOption = None,
) -> None:
    """Print the sentence pairs of one update: row, source and target as the model saw them.

    A GPU groups sentences differently from a CPU: name the device that the recipe was trained on.
    """
    import torch

    from nmt.config.reading import load_recipe
    from nmt.errors import ConfigError
    from nmt.runtime.device import choose_device
    from nmt.runtime.processes import World
    from nmt.training.static_update import why_plain
    from nmt.training.stream import BatchStream, StreamPosition
    from nmt_data.prepare import prepare

    settings = load_recipe(recipe, overrides or ())
    if step > (updates := settings.training.updates):
        raise ConfigError(f"--step {step}: the recipe makes {updates} updates; for more, --set training.updates={step}")
    prepared = prepare(settings, say=note)
    with closing(BatchStream(settings, prepared)) as stream:
        where = torch.device("cuda") if device.startswith("cuda") else choose_device(device)
        if why_plain(settings, where, World(where)) is None:
            stream.lay_out(None)
        place, wanted = StreamPosition(), []
        for drawn in range(step * settings.training.accumulate):
            rows, place = stream.rows(place)
            if drawn >= (step - 1) * settings.training.accumulate:
                wanted += [int(row) for row in rows]
        corpus = stream.epoch(place.epoch).corpus
    note(f"update {step}: {len(wanted)} pairs, epoch {place.epoch}")
    tokenizers = prepared.tokenizers
    for row in wanted:
        source, target = (
            tokenizer.decode([ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]].tolist()])[0]
            for tokenizer, ragged in ((tokenizers.source, corpus.source), (tokenizers.target, corpus.target))
        )
        print_text(f"{row + 1}\t{source}\t{target}")
