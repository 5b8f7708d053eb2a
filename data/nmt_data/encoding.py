"""Writes the text to train on and its tokens, shard by shard, on all cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nmt.config.data import TokenKind
from nmt.corpus.encoded import Ragged
from nmt.corpus.testset import TestSet
from nmt.corpus.tokenizer import UNK, Tokenizers
from nmt.corpus.writing import CorpusWriter
from nmt_data.encoder import Encoder
from nmt_data.means import Means
from nmt_data.texts import Texts


@dataclass(frozen=True)
class Encoding:
    """How text becomes tokens."""

    tokenizers: Tokenizers
    kinds: tuple[TokenKind, TokenKind]
    tagged: bool
    """Whether sources begin with the tag of the target language."""

    @property
    def opening(self) -> Callable[[], Encoder]:
        """Returns what makes an encoder in another process."""
        models = self.tokenizers.source.model, self.tokenizers.target.model
        return partial(Encoder, models, self.kinds, self.tagged)


@dataclass
class SideCount:
    """Tokens of one side."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    unknown: int = 0

    def add(self, ragged: Ragged) -> None:
        """Counts the tokens of some lines."""
        self.rows += len(ragged.lengths)
        self.tokens += len(ragged.values)
        self.longest = max(self.longest, int(ragged.lengths.max(initial=0)))
        self.unknown += int(np.count_nonzero(ragged.values == UNK))

    def report(self, vocabulary: int) -> dict[str, Any]:
        """Returns what the report says of this side."""
        return {
            "vocabulary": vocabulary,
            "tokens": self.tokens,
            "mean_length": round(self.tokens / self.rows, 2),
            "longest": self.longest,
            "unknown": self.unknown,
        }


@dataclass(frozen=True)
class Written:
    """What was written of the training text."""

    sides: tuple[SideCount, SideCount]
    digest: Any
    """Hash of the tokens of train, to which those of validation are added."""


def write_train(folder: Path, texts: Texts, encoding: Encoding, means: Means) -> Written:
    """Writes `train.source`, `train.target`, `train.arrow` and, if sources are tagged, `train.languages`."""
    selection, sides, digest = texts.selection, (SideCount(), SideCount()), hashlib.sha256()
    crew = means.crew(encoding.opening, name=lambda _: "the same shard")
    with ExitStack() as stack:
        names = ["source", "target", *(["languages"] if encoding.tagged else [])]
        files = [stack.enter_context((folder / f"train.{name}").open("wb")) for name in names]
        writer = CorpusWriter(folder / "train.arrow", stack)
        for number, encoded in enumerate(crew.results(suspect for _, suspect in selection.suspects("encoding"))):
            target = texts.streams[selection.stream(number)].languages[1]
            for file, text in zip(files, (*encoded.text, f"{target}\n".encode() * encoded.rows), strict=False):
                file.write(text)
            writer.append(*encoded.tokens)
            for side, ragged in zip(sides, encoded.tokens, strict=True):
                side.add(ragged)
        writer.update(digest)
        writer.finish()
    return Written(sides, digest)


def write_valid(
    folder: Path, valid: TestSet, encoding: Encoding, written: Written, normalise: Callable[[str], str]
) -> None:
    """Writes `valid.arrow`; sources are normalised there as a translator does, references are not."""
    valid = replace(valid, source=list(map(normalise, valid.source)))
    sides = encoding.tokenizers.source.encode(valid.tagged), encoding.tokenizers.target.encode(valid.target)
    with ExitStack() as stack:
        writer = CorpusWriter(folder / "valid.arrow", stack)
        writer.append(Ragged.of(sides[0]), Ragged.of(sides[1]))
        writer.update(written.digest)
        writer.finish()
