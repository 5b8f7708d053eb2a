"""Finds where the pairs of a prepared corpus stand in the files of their corpus."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice

import numpy as np
import numpy.typing as npt

from nmt.config.recipe import Recipe
from nmt.corpus.lazy_lines import mapped_lines
from nmt.corpus.prepared import Prepared
from nmt.errors import NmtError
from nmt.runtime.stages import counted
from nmt_data.audit import Pair
from nmt_data.cleaning.cleaner import Cleaner
from nmt_data.cleaning.pairs import Pairs
from nmt_data.parts import parts_of
from nmt_data.reading import Unreadable
from nmt_data.shards import SIZE
from nmt_data.streams import Stream, streams_of

UNKNOWN = 0
Numbers = npt.NDArray[np.int64]


def numbers(recipe: Recipe, prepared: Prepared) -> Numbers:
    """Returns for each training pair (N,) the number of its line or, in other files than text, of its entry, from 1.

    The corpus is read again. What is kept of it is in order, so each pair is the next one that reads the same. Pairs whose
    corpus cannot be read any more have the number UNKNOWN.
    """
    parts = parts_of(recipe)
    cleaner, text = (
        Cleaner(recipe.data),
        [mapped_lines(prepared.folder / f"train.{side}") for side in ("source", "target")],
    )
    found = np.full(sum(prepared.parts), UNKNOWN, np.int64)
    start = 0
    for stream, size in zip(streams_of(recipe.data, parts)[: len(parts)], prepared.parts, strict=True):
        row, end = start, start + size
        try:
            for number, pair in _mended(stream, cleaner, skip=recipe.data.on_bad_text == "skip"):
                if row < end and pair == (text[0][row], text[1][row]):
                    found[row] = number
                    row += 1
        except NmtError:  # such as a corpus of the hub, without network
            pass
        start = end
    return found


def _mended(stream: Stream, cleaner: Cleaner, skip: bool) -> Generator[tuple[int, Pair]]:
    """Yields the pairs of a stream as preparing mends them, with their numbers."""
    numbered = _numbered(stream, Unreadable(skip=skip))
    while chunk := list(islice(numbered, SIZE)):
        read = Pairs([pair[0] for _, pair in chunk], [pair[1] for _, pair in chunk], stream.languages)
        pairs, _ = cleaner.mended(read)
        yield from zip((number for number, _ in chunk), zip(pairs.source, pairs.target, strict=True), strict=True)


def _numbered(stream: Stream, unreadable: Unreadable) -> Generator[tuple[int, Pair]]:
    """Yields pairs with their numbers; what gives no pair counts too."""
    pairs = counted(stream.read(unreadable), f"looking for lines of {stream.name}", unit="pairs")
    for number, pair in enumerate(pairs, 1):
        yield number + unreadable.lines + unreadable.blank + unreadable.untranslated, pair
