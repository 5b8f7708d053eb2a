"""Corpus cards: the place, splits, columns and licence of a corpus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nmt.config.data import Tokenization
from nmt.config.paths import is_card_path, is_there
from nmt.config.reading import explain_errors, suggestion
from nmt.config.section import FileName, Section
from nmt.config.toml import read_toml
from nmt.errors import DataError
from nmt.scoring.tokenization import default_tokenization

_CARDS = Path(__file__).parent / "cards"


class Hub(Section):
    """The place of a corpus on the Hugging Face hub."""

    dataset: str
    """Repository, for example `bentrevett/multi30k`."""
    configuration: str | None = None
    """Name of the configuration, if there are several; may contain {source} and {target}."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """Commit or tag to read; a branch moves. Default: what the hub has at the time of preparing."""
    splits: dict[FileName, str]
    """Name on the hub of each split of the card."""
    columns: dict[str, str]
    """Column of each language; a dot leads into a nested column (`translation.de`)."""


class Holdout(Section):
    """Splits taken from the training data: the pairs with the smallest hashes of the text in the card's first language.

    They are the same in both directions, and change only when the training data does.
    """

    valid: Annotated[int, Field(ge=0)] = 0
    test: Annotated[int, Field(ge=0)] = 0

    @property
    def total(self) -> int:
        """Number of pairs of all these splits."""
        return self.valid + self.test


class CorpusCard(Section):
    """Description of one corpus."""

    name: FileName
    title: str
    """One line of description."""
    licence: str
    citation: str = ""
    languages: tuple[str, ...]
    tokenize: Tokenization | None = None
    """sacreBLEU's tokenisation for this corpus; `none` if the text is already tokenised. Default: that of sacreBLEU's
    command for the target language (zh, ja-mecab, ko-mecab, else 13a).
    """
    splits: dict[FileName, str] = Field(default_factory=dict)
    """File of each split: `{language}` for one file per language, else a table or a localisation file; packed or not."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column of each language in a file that holds both: a name, or a number from 1; the language code if left out."""
    holdout: Holdout = Holdout()
    hub: Hub | None = None
    generator: Literal["phrasebook", "copy", "reverse", "sort"] | None = None
    """Name of the program that makes the corpus; such a corpus is synthetic."""
    folder: Path | None = None
    """The folder of a user's card; its files are searched there first."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if not (self.splits or self.hub or self.generator):
            raise ValueError("a card needs splits, hub or generator")
        key, names = ("splits", self.splits) if self.splits or not self.hub else ("hub.splits", self.hub.splits)
        if (self.splits or self.hub) and "train" not in names:
            raise ValueError(f"{key} needs a train split")
        return self

    def tokenization(self, target: str) -> Tokenization:
        """Returns the tokenisation for scores: that of the card, else sacreBLEU's default for the language."""
        return self.tokenize or default_tokenization(target)

    def first_side(self, languages: tuple[str, str]) -> int:
        """Returns which of two languages the card names first: 0 or 1."""
        return min((0, 1), key=lambda side: self.languages.index(languages[side]))

    @property
    def synthetic(self) -> bool:
        """Whether a program made the sentences."""
        return self.generator is not None


def card_names() -> list[str]:
    """Returns the names of the cards that ship with nmt."""
    return sorted(path.stem for path in _CARDS.glob("*.toml"))


def load_card(name: str, languages: tuple[str, str] | None = None) -> CorpusCard:
    """Loads the card of that name, or the card file at that path, and checks that it has the given languages.

    Raises:
        DataError: there is no such card, it is invalid, or it lacks a language.
    """
    path = Path(name) if is_card_path(name) else _CARDS / f"{name}.toml"
    if not is_there(path):
        if is_card_path(name):
            raise DataError(
                f"data.corpus: there is no {name}, beside the recipe or here; "
                "if a program makes it, `make RECIPE` in the checkout runs that first"
            )
        hint = suggestion(name, card_names())
        raise DataError(
            f"data.corpus: no card {name}{hint}; known: {', '.join(card_names())}, or the path of a .toml card"
        )
    try:
        values = read_toml(path, DataError)
        card = CorpusCard.model_validate({**values, "folder": path.parent if path.parent != _CARDS else None})
    except ValidationError as error:
        raise DataError(explain_errors(error, CorpusCard, f"{path}: ")) from None
    for key, language in zip(("source", "target"), languages or (), strict=False):
        if language not in card.languages:
            raise DataError(f"data.{key} = {language!r}: {card.name} has {', '.join(card.languages)}")
    if languages and languages[0] == languages[1]:
        raise DataError(
            f"data.source and data.target are both {languages[0]!r}; {card.name} has {', '.join(card.languages)}"
        )
    return card


def data_folder() -> Path | None:
    """Returns the folder of local corpora, from NMT_DATA."""
    value = os.environ.get("NMT_DATA")
    return Path(value).expanduser() if value else None


def file_beside(folder: Path, name: str, what: str) -> Path:
    """Finds a file in a folder or under NMT_DATA; `what` names the folder's content in the error.

    Raises:
        DataError: the file is in neither place.
    """
    places = [place / name for place in (folder, data_folder()) if place]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(f"{name}: neither beside the {what} nor under NMT_DATA")
    return found
