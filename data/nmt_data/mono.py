"""Text without translations: found and read line by line, cleaned like pairs, and counted by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.data import DataConfig
from nmt.corpus.words import lower
from nmt.errors import DataError
from nmt.runtime.files import file_sha256
from nmt.runtime.stages import counted
from nmt_data.audit import Pair, Text
from nmt_data.cards import CorpusCard, data_folder
from nmt_data.cleaning import Cleaner
from nmt_data.reading import Unreadable, find_file, read_text


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


class MonoText:
    """The lines of all `[[data.mono]]`, each as a pair with itself; `texts` are one per section."""

    def __init__(self, data: DataConfig, sources: Sequence[Source]) -> None:
        """Reads and cleans the files.

        Raises:
            DataError: a line is not UTF-8, and `data.on_bad_text` is not `skip`.
        """
        self._data, self._sources, self._lines = data, sources, 0
        self._unreadable = Unreadable(skip=data.on_bad_text == "skip")
        # Both sides of a line are the same, which is no reason to drop it.
        self._cleaner = Cleaner(data.cleaning.model_copy(update={"drop_identical": False}))
        self.texts = [self._read(source) for source in sources]

    def without(self, testsets: Sequence[Text], reason: str) -> None:
        """Drops the lines that stand in a test set, and counts them under this reason."""
        self.texts = self._cleaner.without(self.texts, testsets, reason)

    def check(self) -> None:
        """Refuses text of which nothing is left.

        Raises:
            DataError: names the files.
        """
        for source, text in zip(self._sources, self.texts, strict=True):
            if not text.pairs:
                names = ", ".join(map(str, source.files))
                raise DataError(f"data.mono: no line of {names} is left after cleaning ({self._dropped()})")

    def report(self) -> dict[str, Any]:
        """Accounts for every line read: kept or dropped."""
        kept = [len(text.pairs) for text in self.texts]
        read, dropped = self._lines + sum(self._unreadable.counts().values()), self._dropped()
        if read != sum(kept) + sum(dropped.values()):
            raise AssertionError(f"{read} lines read, but {sum(kept)} kept and dropped {dropped}")
        parts = [
            {"language": source.language, "files": [path.name for path in source.files], "lines": lines}
            for source, lines in zip(self._sources, kept, strict=True)
        ]
        mended = dict(self._cleaner.mended)
        return {"read": read, "kept": sum(kept), "dropped": dropped, "mended": mended, "parts": parts}

    def _dropped(self) -> dict[str, int]:
        return {**self._unreadable.counts(), **self._cleaner.dropped}

    def _read(self, source: Source) -> Text:
        languages = source.language, source.language
        return Text(*languages, list(self._cleaner.clean(self._pairs(source), languages)))

    def _pairs(self, source: Source) -> Iterator[Pair]:
        for path in source.files:
            for read in counted(read_text(path, self._unreadable), f"reading {path.name}", unit="lines"):
                self._lines += 1
                line = lower(read, source.language) if self._data.lowercase else read
                yield line, line


def _found(name: str, card: CorpusCard) -> Path:
    path = find_file(name, card)
    if path is None:
        place = f"NMT_DATA = {data_folder()}" if data_folder() else "NMT_DATA, which is not set"
        raise DataError(f"data.mono: there is no {name}, beside the recipe, beside its card or under {place}")
    return path
