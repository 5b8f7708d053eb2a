"""`nmt data`: corpora, what an update saw of them, and what a model has not learnt of them."""

from __future__ import annotations

import io
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.errors import ConfigError
from nmt.runtime.stages import stage
from nmt_cli.console import note, print_table, print_text
from nmt_cli.options import DeviceOption, RecipeArgument, SetOption, finite
from nmt_cli.prepare import shortened_pair
from nmt_cli.standard import binary_output
from nmt_cli.suspects import suspects
from nmt_cli.text_files import chunks, decoded_lines, reading

if TYPE_CHECKING:
    from nmt.config.model import ModelConfig, VisualConfig
    from nmt.corpus.encoded import Ragged

app = typer.Typer(no_args_is_help=True, help="Corpora: what there is, what an update saw, suspects, noise.")
app.command()(suspects)


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
    rendered: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="File for a picture of the sources (.png), as a visual model sees them.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    overrides: SetOption = None,
) -> None:
    """Print the sentence pairs of one update: row, source and target as the model saw them.

    A GPU groups sentences differently from a CPU: name the device that the recipe was trained on.
    """
    import torch

    from nmt.config.reading import load_recipe
    from nmt.corpus.tokenizer import MASK
    from nmt.runtime.device import choose_device
    from nmt.runtime.processes import World
    from nmt.training.static_update import why_plain
    from nmt.training.stream import BatchStream, StreamPosition
    from nmt_data.prepare import prepare

    settings = load_recipe(recipe, overrides or ())
    visual = None if rendered is None else _checked(settings.model, rendered)
    if step > (updates := settings.training.updates):
        raise ConfigError(f"--step {step}: the recipe makes {updates} updates; for more, --set training.updates={step}")
    where = torch.device("cuda") if device.startswith("cuda") else choose_device(device)
    if where.type == "cuda" and settings.training.batch_tokens == "auto":
        raise ConfigError(
            "training.batch_tokens = 'auto' was found by the GPU: give what the log of the run says, "
            "--set training.batch_tokens=NUMBER"
        )
    prepared = prepare(settings, say=note)
    with closing(BatchStream(settings, prepared)) as stream:
        if why_plain(settings, where, World(where)) is None:
            stream.lay_out(None)
        place, wanted = StreamPosition(), []
        for drawn in range(step * settings.training.accumulate):
            rows, place = stream.rows(place)
            if drawn >= (step - 1) * settings.training.accumulate:
                corpus = stream.epoch(place.epoch).corpus
                wanted += [(int(row), _tokens(corpus.source, row), _tokens(corpus.target, row)) for row in rows]
    note(f"update {step}: {len(wanted)} pairs, epoch {place.epoch}")
    tokenizers, sources = prepared.tokenizers, list[str]()
    for row, *sides in wanted:
        source, target = tokenizers.source.decode(sides[:1])[0], tokenizers.target.decode(sides[1:])[0]
        source = source.replace(MASK, f" {MASK} ").replace("  ", " ").strip() if MASK in source else source
        print_text(f"{row + 1}\t{source}\t{target}")
        sources.append(source)
    if rendered is not None and visual is not None:
        _save_picture(visual, sources, rendered)


def _tokens(side: Ragged, row: int) -> list[int]:
    tokens: list[int] = side.values[side.offsets[row] : side.offsets[row + 1]].tolist()
    return tokens


def _checked(model: ModelConfig, path: Path) -> VisualConfig:
    """Returns the model if it reads pictures and one can be written there; refuses others before any work."""
    from nmt.runtime.files import check_output

    if model.kind != "visual":
        raise ConfigError(f"--rendered is for models that read pictures, got model.kind = {model.kind!r}")
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--rendered writes PNG: end its name with .png, got {path.name}")
    check_output(path)
    return model


def _save_picture(model: VisualConfig, lines: list[str], path: Path) -> None:
    """Writes a picture of lines, one below the other, with a dot over the beginning of each slice."""
    import numpy as np
    from PIL import Image

    from nmt.corpus.rendering import renderer_of
    from nmt.runtime.atomic import atomic_write

    strips = renderer_of(model.font, model.height, model.grid).strips(lines)
    ink = np.pad(strips.padded(int(strips.widths.max())), ((0, 0), (0, 0), (2, 0)))  # (lines, width, 2 + height)
    ink[:, :: model.stride, 0] = 255
    picture = io.BytesIO()
    Image.fromarray(255 - ink.transpose(0, 2, 1).reshape(-1, ink.shape[1])).save(picture, "PNG")
    atomic_write(path, picture.getvalue())
    note(f"pictures of {len(lines)} sources in {path}")


@app.command()
def diff(
    first: RecipeArgument,
    second: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER]", help="Another recipe. Default: the same one.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the other recipe. Repeatable."),
    ] = None,
) -> None:
    """Show which training pairs only one of two recipes keeps, and why the other drops them.

    Text is read and cleaned, but nothing is tokenised or kept.
    """
    from nmt.config.reading import load_recipe
    from nmt_data.difference import difference
    from nmt_data.means import Means

    if second is None and not overrides:
        raise ConfigError("one recipe does not differ from itself; name another, or change it by --set KEY=VALUE")
    found = difference(load_recipe(first), load_recipe(second or first, overrides or ()), Means.of(say=note), note)
    names = ("first", "second")
    rows = [["pairs kept", *(f"{count:,}" for count in found.kept)]]
    for reason in dict.fromkeys([*found.first.counts, *found.second.counts]):
        counts = (side.counts.get(reason, 0) for side in (found.first, found.second))
        rows.append([f"the other drops: {reason}", *(f"{count:,}" for count in counts)])
    print_table("training pairs, and those that only one recipe keeps", ["", *names], rows)
    for name, side in zip(names, (found.first, found.second), strict=True):
        for reason, source, target in side.examples:
            print_text(f"only {name}: {reason}: {shortened_pair(source, target)}")


@app.command()
def noise(
    kind: Annotated[str, typer.Argument(help="swap, interior, leet, lookalike or diacritics.", show_default=False)],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Text. Default: standard input.", show_default=False)
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="Probability that a word is misspelt.")
    ] = 0.4,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 1,
) -> None:
    """Misspell words of a text, to see how well a model bears it."""
    from nmt.corpus.noise import noise_named, noisy

    name, output = noise_named(kind), binary_output()
    with reading(file) as stream, stage("misspelling", idle=True):
        lines = chain.from_iterable(decoded_lines(chunk)[0] for chunk in chunks(stream))
        for line in noisy(lines, name, share, seed):
            output.write(f"{line}\n".encode())
    output.flush()
