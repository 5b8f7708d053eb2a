"""Reads a split from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nmt.errors import DataError
from nmt_data.cards import CorpusCard, data_folder
from nmt_data.reading.pairs import Pair, Unreadable
from nmt_data.reading.tables import texts


def read_hub(card: CorpusCard, split: str, languages: tuple[str, str], unreadable: Unreadable) -> Iterator[Pair]:
    """Yields the pairs of a split on the hub.

    Raises:
        DataError: the card names no place of the split on the hub, it cannot be reached, or a row has other columns.
    """
    hub, wanted = card.hub, card.splits.get(split)
    place = f"NMT_DATA = {data_folder()}" if data_folder() else "NMT_DATA, which is not set"
    local = (
        f"put {wanted.replace('{language}', 'LANGUAGE')} under {place}"
        if wanted
        else "write a card with your own files"
    )
    if hub is None or split not in hub.splits:
        raise DataError(f"corpus {card.name}, split {split}: no files found; {local}")
    at = f" at {hub.revision}" if hub.revision else ""
    try:
        import datasets

        configuration = hub.configuration
        for key, language in zip(("{source}", "{target}"), languages, strict=True):
            configuration = configuration and configuration.replace(key, language)
        rows: Any = datasets.load_dataset(hub.dataset, configuration, split=hub.splits[split], revision=hub.revision)
    except Exception as error:  # noqa: BLE001 - the hub's client fails in many ways, and each means: not from there
        raise DataError(
            f"corpus {card.name}, split {split}: {hub.dataset}{at} cannot be had from the Hugging Face hub "
            f"({type(error).__name__}); to use local files instead, {local}"
        ) from None
    columns = [hub.columns.get(language, language) for language in languages]
    places = ((row, f"{hub.dataset}, row {number}") for number, row in enumerate(rows, 1))
    return texts(places, columns, unreadable)
