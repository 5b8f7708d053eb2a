"""One split of a corpus, in one direction: finds its files and reads them by their kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nmt.config.paths import PACKED
from nmt.errors import DataError
from nmt_data.cards import CorpusCard
from nmt_data.reading.files import find_file, find_files, kind_of
from nmt_data.reading.gettext import language_by_name, read_po
from nmt_data.reading.hub import read_hub
from nmt_data.reading.localisation import read_tmx, read_xliff
from nmt_data.reading.pairs import Direction, Pair, Reader, Unreadable
from nmt_data.reading.parallel import read_parallel
from nmt_data.reading.tables import read_csv, read_jsonl, read_parquet, read_tsv
from nmt_data.synthetic.generate import generate

READERS: dict[str, Reader] = {
    **dict.fromkeys((".tsv", ".tab", ".txt"), read_tsv),
    ".csv": read_csv,
    **dict.fromkeys((".jsonl", ".ndjson"), read_jsonl),
    ".parquet": read_parquet,
    ".tmx": read_tmx,
    **dict.fromkeys((".xlf", ".xliff", ".sdlxliff", ".mqxliff", ".mxliff"), read_xliff),
    ".po": read_po,
}
"""The reader of each kind of file that holds both languages, by the ending of its name."""


@dataclass(frozen=True)
class Split:
    """One split of a corpus, in one direction."""

    card: CorpusCard
    name: str
    source: str
    target: str

    @property
    def files(self) -> list[Path]:
        """The local files to read; none if the split comes from the hub or a generator."""
        pattern = self.card.splits.get(self.name)
        if pattern is None:
            return []
        if not self._is_parallel:
            return find_files(pattern, self.card)
        for names in ((self.source, self.target), self._direction.names):  # a column may be what the file is called by
            paths = [find_file(pattern.replace("{language}", name), self.card) for name in names]
            if found := [path for path in paths if path is not None][: 2 * all(paths)]:
                return found
        return []

    def read(self, unreadable: Unreadable) -> Iterator[Pair]:
        """Yields pairs of unchanged lines.

        Raises:
            DataError: there is nothing to read, a file is damaged or not UTF-8, or the sides differ in length.
        """
        if self.card.generator:
            return generate(self.card.generator, self.name, reverse=self.source == self.card.languages[1])
        files = self.files
        if not files:
            return read_hub(self.card, self.name, (self.source, self.target), unreadable)
        if self._is_parallel:
            return read_parallel(files[0], files[1], unreadable)
        return chain.from_iterable(reader_of(path)(path, self._direction, unreadable) for path in files)

    def told_by_name(self, path: Path) -> list[str]:
        """Returns what the place of a file tells its reader, beyond the card, the content and the last ending.

        That is the kind of a packed file that a pattern finds, and the language of messages.
        """
        if self._is_parallel:
            return []
        kind = kind_of(path)
        packed = [kind] if path.suffix.lower() in PACKED and "*" in self.card.splits[self.name] else []
        language = language_by_name(path, self._direction) if kind == ".po" else None
        return [*packed, language] if language else packed

    @property
    def _direction(self) -> Direction:
        return Direction(self.source, self.target, self.card.columns)

    @property
    def _is_parallel(self) -> bool:
        return "{language}" in self.card.splits[self.name]


def reader_of(path: Path) -> Reader:
    """Returns the reader of a file that holds both languages.

    Raises:
        DataError: there is none; names the kinds of files that can be read.
    """
    kind = kind_of(path)
    if kind not in READERS:
        raise DataError(
            f"{path}: unknown kind of file {kind!r}; what can be read: {{language}} files, {' '.join(READERS)}, "
            f"packed by {' '.join(PACKED)} or not"
        )
    return READERS[kind]
