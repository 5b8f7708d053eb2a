"""Text without translations: where its files are found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.data import DataConfig
from nmt.errors import DataError
from nmt.runtime.files import file_sha256
from nmt_data.cards import CorpusCard, data_folder
from nmt_data.reading import find_file


@dataclass(frozen=True)
class Source:
    """The files of one `[[data.mono]]`."""

    language: str
    files: list[Path]

    @property
    def identity(self) -> dict[str, Any]:
        """What is read: language and content, but not the place."""
        return {"language": self.language, "files": [file_sha256(path) for path in self.files]}


def mono_sources(data: DataConfig, card: CorpusCard) -> list[Source]:
    """Finds the files of all text without translations: at their paths, beside the card or under NMT_DATA.

    Raises:
        DataError: a file is missing.
    """
    return [Source(item.language, [_found(name, card) for name in item.files]) for item in data.mono]


def _found(name: str, card: CorpusCard) -> Path:
    path = find_file(name, card)
    if path is None:
        place = f"NMT_DATA = {data_folder()}" if data_folder() else "NMT_DATA, which is not set"
        raise DataError(f"data.mono: there is no {name}, beside the recipe, beside its card or under {place}")
    return path
