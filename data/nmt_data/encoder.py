"""Encodes shards: the work of one process, which needs few imports."""

from __future__ import annotations

from dataclasses import dataclass

from nmt.config.data import TokenKind
from nmt.corpus.encoded import Ragged
from nmt.corpus.known_words import LineEncoder
from nmt.corpus.tokenizer import Tokenizer, language_tag
from nmt_data.audit import Suspect
from nmt_data.shards import unpacked


@dataclass(frozen=True)
class Encoded:
    """The kept pairs of a shard as text and as tokens."""

    text: tuple[bytes, bytes]
    """The lines of source and target, each ended by a line break."""
    rows: int
    tokens: tuple[Ragged, Ragged]


class Encoder:
    """Encodes shards."""

    def __init__(self, models: tuple[bytes, bytes], kinds: tuple[TokenKind, TokenKind], tagged: bool) -> None:
        """Loads both tokenizers; with `tagged`, sources begin with the tag of the target language."""
        source = LineEncoder(Tokenizer(models[0], threads=1), kinds[0])
        self._sides = (
            source,
            source if models[0] == models[1] else LineEncoder(Tokenizer(models[1], threads=1), kinds[1]),
        )
        self._tagged = tagged

    def __call__(self, suspect: Suspect) -> Encoded:
        """Returns what is kept of a shard."""
        source, target = unpacked(suspect.shard, suspect.kept)
        tag = language_tag(suspect.languages[1])
        tagged = [f"{tag} {line}" if line else "" for line in source] if self._tagged else source
        text = tuple("".join(f"{line}\n" for line in side).encode() for side in (source, target))
        return Encoded((text[0], text[1]), len(source), (self._sides[0](tagged), self._sides[1](target)))
