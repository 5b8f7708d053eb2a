"""Looks at files and writes the card and the recipe that train on them: `nmt init`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from nmt.config.paths import real_path
from nmt.config.toml import toml_line
from nmt.errors import DataError
from nmt.runtime.stages import counted
from nmt_data.cards import CorpusCard, Holdout
from nmt_data.reading import Pair, Split, Unreadable
from nmt_data.starting.inputs import expanded
from nmt_data.starting.languages import language_named
from nmt_data.starting.look import look
from nmt_data.starting.sizes import Size, recipe_text

CARD, RECIPE = "corpus.toml", "recipe.toml"
_FEWEST = 10  # pairs to train on
_SHOWN = 10


@dataclass(frozen=True)
class Start:
    """A card and a recipe as text, and some pairs that the card reads."""

    languages: tuple[str, str]
    card: str
    recipe: str
    pairs: int
    sample: list[Pair]
    splits: Mapping[str, str]
    unused: list[Path]
    """Files that are no part of any split."""
    unreadable: int
    """Lines that are not UTF-8, which are left out."""


def start(folder: Path, files: Sequence[Path], source: str | None, target: str | None) -> Start:
    """Makes a card and a recipe for the files that a person has; nothing is written.

    Args:
        folder: where the two will lie; its name becomes theirs.
        files: text files, tables, localisation files, folders or archives of them.
        source: the language to translate from; None: to be guessed.
        target: the language to translate into; None: to be guessed.

    Raises:
        DataError: a file cannot be read, or what is guessed is not certain enough.
    """
    name = Path(os.path.normpath(Path.cwd() / folder)).name
    try:
        CorpusCard(name=name, title="", licence="", languages=(), splits={"train": ""})
    except ValidationError:
        raise DataError(f"{folder}: {name!r} cannot be the name of a recipe; name another folder") from None
    source, target = (language and (language_named(language) or language) for language in (source, target))
    found = look(files, source, target)
    card = CorpusCard(
        name=name,
        title=f"{', '.join(path.name for path in files[:3])}{' and others' * (len(files) > 3)}",
        licence="not known",
        languages=found.languages,
        splits=dict(found.splits),
        columns=dict(found.columns),
        folder=Path(),
    )
    size, unreadable = Size(), Unreadable(skip=True)
    train = Split(card, "train", *found.languages).read(unreadable)
    counting = iter(size.add(counted(train, "reading train", unit="pairs")))
    sample = list(islice(counting, _SHOWN))
    deque(counting, maxlen=0)
    if size.pairs < _FEWEST:
        raise DataError(f"{' and '.join(map(str, files))}: {size.pairs} pairs are too few to train on")
    used: set[Path] = set()
    for part in found.splits:
        split = Split(card, part, *found.languages)
        next(split.read(Unreadable(skip=True)), None)
        used.update(split.files)
    unused = [path for path in expanded(files) if path not in used]
    holdout = Holdout(**{part: size.held_out for part in ("valid", "test") if part not in found.splits})
    text = _card_text(card, folder, holdout)
    recipe = recipe_text(name, found.languages, size, unreadable.lines)
    return Start(found.languages, text, recipe, size.pairs, sample, found.splits, unused, unreadable.lines)


def _card_text(card: CorpusCard, folder: Path, holdout: Holdout) -> str:
    """Returns a card as TOML; paths are relative to its folder where the files lie below the current one."""
    lines = [
        "# Made by `nmt init`: where the text lies. docs/how-to/add-a-corpus.md has all that a card can say.",
        toml_line("name", card.name),
        toml_line("title", card.title),
        f"{toml_line('licence', card.licence)} # say whose it is before you pass on a model",
        toml_line("languages", card.languages),
        "",
        "[splits] # looked for beside this card",
        *(toml_line(name, _seen_from(folder, pattern)) for name, pattern in card.splits.items()),
    ]
    if card.columns:
        lines += ["", "[columns] # which column, side or file is which language"]
        lines += [toml_line(language, column) for language, column in card.columns.items()]
    if held := {name: count for name, count in holdout.model_dump().items() if count}:
        lines += ["", "[holdout] # pairs taken out of train, as there is no file of that name; chosen by a hash"]
        lines += [toml_line(name, count) for name, count in held.items()]
    return "\n".join(lines) + "\n"


def _seen_from(folder: Path, pattern: str) -> str:
    """Returns a path as seen from the folder of the card, or an absolute one if it lies elsewhere.

    The folder may be a link, or lie below one. Two dots lead out of the folder that a link leads to.
    """
    here = Path.cwd()
    whole = here / pattern
    if ".." in whole.parts:
        whole = real_path(whole.parent) / whole.name
    if not whole.is_relative_to(here):
        return str(whole)
    return Path(os.path.relpath(whole, real_path(here / folder))).as_posix()
