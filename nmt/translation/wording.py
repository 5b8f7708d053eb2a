"""Converts tokens to text, with copied words and word links."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from torch import Tensor

from nmt.corpus.lines import clean_line
from nmt.corpus.tokenizer import UNK, WORD_MARK, Tokenizers
from nmt.decoding.beam_search import Hypothesis
from nmt.decoding.rules import Forbidden
from nmt.translation.alignment import align_words, word_numbers
from nmt.translation.result import Options, Start, Translation

# T target tokens, S source tokens


class Wording:
    """Makes translations from hypotheses."""

    def __init__(self, tokenizers: Tokenizers, options: Options, forbidden: Forbidden | None) -> None:
        self.tokenizers, self.options, self._forbidden = tokenizers, options, forbidden

    def texts(self, found: Sequence[Sequence[Hypothesis]], begins: Sequence[Start]) -> list[list[Translation]]:
        """Returns the text of each hypothesis of each sentence; forced beginnings appear as written."""
        flat = [hypothesis for hypotheses in found for hypothesis in hypotheses]
        texts = iter(self.tokenizers.target.decode([hypothesis.tokens for hypothesis in flat]))
        translations = [
            [
                Translation(
                    clean_line(next(texts)), item.log_probability, item.score, len(item.tokens) + 1, cut=item.cut
                )
                for item in hypotheses
            ]
            for hypotheses in found
        ]
        for index, start in enumerate(begins):
            if start.pieces:
                written = self.tokenizers.target.decode_pieces([self._written(item, start) for item in found[index]])
                pairs = zip(translations[index], written, strict=True)
                translations[index] = [dataclasses.replace(item, text=clean_line(text)) for item, text in pairs]
        return translations

    def _written(self, item: Hypothesis, start: Start) -> list[str]:
        """Returns the pieces of a hypothesis, with the forced beginning as written."""
        given = start.pieces[: len(item.tokens)]
        return [*given, *self.tokenizers.target.id_to_pieces(item.tokens[len(given) :])]

    def linked(
        self, translation: Translation, pieces: list[str], item: Hypothesis, start: Start, weights: Tensor
    ) -> Translation:
        """Adds word links or replaces unknown words, by the attention (T, S) of one hypothesis to the source."""
        written, words = self._written(item, start), word_numbers(pieces)
        unknown = [token == UNK and place >= len(start.pieces) for place, token in enumerate(item.tokens)]
        text = translation.text
        if self.options.replace_unknown and any(unknown) and pieces:
            seen = [words[place] for place in weights.argmax(1).tolist()]
            copied = self.tokenizers.source.decode_pieces(
                [[piece for piece, word in zip(pieces, words, strict=True) if word == chosen] for chosen in seen]
            )
            said = [
                f"{WORD_MARK}{word}{WORD_MARK}" if new else piece
                for new, piece, word in zip(unknown, written, copied, strict=True)
            ]
            (text,) = self.tokenizers.target.decode_pieces([said])
            text = clean_line(re.sub(" +", " ", text))
            if self._forbidden and self._forbidden.lookahead.phrases.found([text]):
                text = translation.text  # the copied word may be forbidden too
        links = None
        if self.options.align:
            links = align_words(weights, words, word_numbers(written, unknown)) if text else []
        return dataclasses.replace(translation, text=text, alignment=links)
