"""Selects the training pairs among clean shards: without repeated pairs, held-out pairs and, if asked, test sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain, groupby
from pathlib import Path

import numpy as np

from nmt.config.data import DataConfig
from nmt.corpus.testset import TestSet
from nmt.runtime.stages import counted, stage
from nmt_data.alignment import SAMPLE, Aligner, Lexicon
from nmt_data.audit import Auditor, Found, Leak, Suspect, Text, leaks
from nmt_data.cards import CorpusCard
from nmt_data.cleaning.minhash import shape_of
from nmt_data.dropped import Dropped, Trace
from nmt_data.duplicates import near_rows, repeated_rows
from nmt_data.gathering import Gathered
from nmt_data.means import Means
from nmt_data.model_scores import ModelScorer, direction_of
from nmt_data.shards import Mask, Rows, place_of, unpacked
from nmt_data.splits import Candidate, Chooser, first_candidates, hold_out
from nmt_data.streams import Stream

DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"
UNALIGNED, IMPROBABLE = "weak alignment", "low score"
HELD_OUT = "held out"
BESIDE_HELD_OUT, LINE_HELD_OUT, LEAKED = "shares a side with a held-out pair", "in a held-out pair", "in a test set"
REASONS = (DUPLICATE, NEAR_DUPLICATE, UNALIGNED, IMPROBABLE, BESIDE_HELD_OUT, LINE_HELD_OUT, LEAKED)
"""Reasons to drop a pair that depend on other pairs, in their order."""


class Selection:
    """Shards, and which of their rows are kept: a byte for each row, in a file that is mapped into memory."""

    def __init__(self, gathered: Gathered, streams: Sequence[Stream], masks: Path, trace: Trace | None = None) -> None:
        """Opens the file of masks; a missing one is made, and then all rows are kept.

        Args:
            gathered: the shards.
            streams: what was read.
            masks: the file.
            trace: receives all dropped pairs.
        """
        self.gathered, self.streams, self._trace = gathered, streams, trace
        self.dropped = [Dropped() for _ in streams]
        """What was dropped of each stream since it was gathered."""
        self._starts = [0, *accumulate(gathered.rows)]
        if not masks.exists():
            with masks.open("wb") as stream:
                stream.writelines(b"\1" * rows for rows in gathered.rows)
        self._masks = np.memmap(masks, bool, "r+") if self._starts[-1] else np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self.gathered.rows)

    def stream(self, number: int) -> int:
        """Returns the stream of a shard."""
        return self.gathered.streams[number]

    def kept(self, number: int) -> Mask:
        """Returns which rows of a shard are kept."""
        return self._masks[self._starts[number] : self._starts[number + 1]]

    def drop(self, number: int, rows: Mask, reason: str) -> None:
        """Drops rows of a shard, as far as they were kept."""
        kept, dropped = self.kept(number), self.dropped[self.stream(number)]
        places = np.flatnonzero(rows & kept)
        if not len(places):
            return
        wanted = places if self._trace else places[: dropped.missing(reason)]
        source, target = unpacked(self.gathered.shard(number), _only(wanted, len(kept))) if len(wanted) else ([], [])
        dropped.add(reason, len(places), source, target)
        if self._trace:
            whole = Dropped(None)
            whole.add(reason, len(places), source, target)
            self._trace.write(whole)
        kept[places] = False

    def suspect(self, number: int) -> Suspect:
        """Returns a shard and its mask, to be worked on by another process."""
        return Suspect(
            self.gathered.shard(number), np.array(self.kept(number)), self.streams[self.stream(number)].languages
        )

    def suspects(self, text: str, stream: int | None = None) -> Generator[tuple[int, Suspect]]:
        """Yields all shards, or those of a stream, with their numbers; `text` describes the work on them as it goes on."""
        numbers = [number for number in range(len(self)) if stream in (None, self.stream(number))]
        with stage(text, sum(self.gathered.rows[number] for number in numbers), "pairs") as here:
            for number in numbers:
                yield number, self.suspect(number)
                here.done += self.gathered.rows[number]

    def sizes(self) -> list[int]:
        """Returns the number of kept rows of each stream."""
        sizes = [0] * len(self.streams)
        for number in range(len(self)):
            sizes[self.stream(number)] += int(np.count_nonzero(self.kept(number)))
        return sizes


def _only(places: Rows, size: int) -> Mask:
    rows = np.zeros(size, bool)
    rows[places] = True
    return rows


def drop_repeated(selection: Selection, memory: int) -> None:
    """Keeps the first of all pairs with the same key."""
    gathered = selection.gathered
    for number, repeated in enumerate(repeated_rows(gathered.folder, gathered.rows, memory)):
        selection.drop(number, repeated, DUPLICATE)


def drop_near(selection: Selection, threshold: float, memory: int) -> None:
    """Drops pairs that resemble an earlier one at about this share of common shingles."""
    gathered, bands = selection.gathered, shape_of(threshold)[0]
    for number, near in enumerate(near_rows(gathered.folder, gathered.rows, memory, bands)):
        selection.drop(number, near, NEAR_DUPLICATE)


def drop_unaligned(selection: Selection, least: float, means: Means) -> None:
    """Drops pairs whose words explain each other less than this, by a model for each direction of translation."""
    directions = dict.fromkeys(stream.languages for stream in selection.streams if not stream.mono)
    for languages in directions:
        lexicon = Lexicon.learned(_sample(selection, languages), languages)
        crew = means.crew(partial(Aligner, lexicon, least), name=lambda _: "the same shard")
        numbers = _numbers(selection, languages)
        tasks = counted(map(selection.suspect, numbers), "aligning words", len(numbers), "shards")
        for number, weak in zip(numbers, crew.results(tasks), strict=True):
            selection.drop(number, weak, UNALIGNED)


def drop_improbable(selection: Selection, data: DataConfig) -> None:
    """Drops pairs that the model of `cleaning.score_with` thinks improbable, in the direction that it translates."""
    scorer = ModelScorer(data)
    numbers = _numbers(selection, direction_of(data.cleaning.score_with or ""))
    for number in counted(numbers, "scoring pairs", len(numbers), "shards"):
        selection.drop(number, scorer(selection.suspect(number)), IMPROBABLE)


def _numbers(selection: Selection, languages: tuple[str, str]) -> list[int]:
    """Returns the numbers of the shards with pairs of two languages."""
    streams = [not stream.mono and stream.languages == languages for stream in selection.streams]
    return [number for number in range(len(selection)) if streams[selection.stream(number)]]


def _sample(selection: Selection, languages: tuple[str, str]) -> Generator[tuple[str, str]]:
    """Yields as many pairs as a lexicon learns from, spread evenly over those that are kept."""
    numbers = _numbers(selection, languages)
    total = sum(int(np.count_nonzero(selection.kept(number))) for number in numbers)
    wanted = np.linspace(0, total - 1, min(SAMPLE, total)).astype(np.int64)
    before = 0
    for number in numbers:
        places = np.flatnonzero(selection.kept(number))
        chosen = wanted[(wanted >= before) & (wanted < before + len(places))] - before
        before += len(places)
        shard = selection.gathered.shard(number)
        yield from zip(*unpacked(shard, _only(places[chosen], len(selection.kept(number)))), strict=True)


def hold_out_pairs(selection: Selection, cards: Mapping[int, CorpusCard], means: Means) -> dict[int, list[TestSet]]:
    """Takes validation and test pairs out of the streams whose cards want that; returns them by stream.

    Raises:
        DataError: a corpus has too few different texts.
    """
    return {stream: _held_out(selection, stream, card, means) for stream, card in cards.items()}


def _held_out(selection: Selection, stream: int, card: CorpusCard, means: Means) -> list[TestSet]:
    side = card.first_side(selection.streams[stream].languages)
    crew = means.crew(partial(Chooser, card.holdout.total, side), name=lambda task: f"shard {task[0]}")
    best: list[Candidate] = []
    for candidates in crew.results(selection.suspects(f"holding out of {card.name}", stream)):
        best = first_candidates(chain(best, candidates), card.holdout.total)
    testsets, rows = hold_out(best, card, selection.sizes()[stream])
    for number, places in groupby(sorted(rows), key=lambda row: place_of(row)[0]):
        chosen = np.array([place_of(row)[1] for row in places])
        selection.drop(number, _only(chosen, len(selection.kept(number))), HELD_OUT)
    return testsets


@dataclass
class Audit:
    """What was found in the streams that are trained on."""

    longest: Counter[int] = field(default_factory=Counter[int])
    """Most words of a source, by stream."""
    leaks: list[Leak] = field(default_factory=list[Leak])


def audit(
    selection: Selection,
    held_out: Sequence[Text],
    testsets: Mapping[str, Sequence[Text]],
    drop_leaked: bool,
    means: Means,
) -> Audit:
    """Drops pairs that share a side with a held-out pair or, if asked, a test set, and counts the test sentences in train."""
    result = Audit()
    texts = [text for part in testsets.values() for text in part]
    crew = means.crew(partial(Auditor, list(held_out), texts, drop_leaked), name=lambda _: "the same shard")
    exact, normalised = Found(), Found()
    suspects = selection.suspects("looking for test sentences in train")
    for number, audited in enumerate(crew.results(suspect for _, suspect in suspects)):
        stream = selection.stream(number)
        mono = selection.streams[stream].mono
        selection.drop(number, audited.beside_held_out, LINE_HELD_OUT if mono else BESIDE_HELD_OUT)
        selection.drop(number, audited.leaked, LEAKED)
        result.longest[stream] = max(result.longest[stream], audited.longest)
        exact.add(audited.exact)
        normalised.add(audited.normalised)
    result.leaks = leaks(testsets, exact, normalised)
    return result
