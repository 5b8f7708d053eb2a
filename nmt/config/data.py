"""The text that a recipe trains on, and its tokenisation."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nmt.config.cleaning import CleaningConfig
from nmt.config.section import Count, Factor, Section


def _symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    for place, symbol in enumerate(symbols):
        if not symbol or not symbol.isprintable() or re.search(r"[\s\u2581]", symbol):
            raise ValueError(
                f"symbols must be printable, without white space or \u2581 (a token ends there), got {symbol!r}"
            )
        if symbol in ("<pad>", "<unk>", "<s>", "</s>") or re.fullmatch("<0x[0-9A-F]{2}>", symbol):
            raise ValueError(f"{symbol!r} is a special token already; text that holds it needs another name for it")
        if symbol in symbols[:place]:
            raise ValueError(f"{symbol!r} is there twice")
    return symbols


Tokenization = Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"]
"""sacreBLEU's ways to split words; `none` is for text that is already tokenised."""


class CorpusConfig(Section):
    """One more corpus to train on, cleaned and lower-cased as the first."""

    corpus: str
    """Name of a corpus card that ships with nmt, or path of a card (.toml)."""
    source: str
    """Language (column) to translate from."""
    target: str
    """Language (column) to translate into."""
    weight: Factor = 1.0
    """Factor on its share of the training pairs."""


class MonoConfig(Section):
    """Text in one language, without translations, cleaned and lower-cased as the corpus; `training.objective` says its use."""

    language: str
    """Its language: one of those of the corpora."""
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Text files, one sentence a line, plain or compressed. Relative paths may also lie beside the card or in `NMT_DATA`."""
    weight: Factor = 1.0
    """Factor on its share of the training lines."""


class DataConfig(Section):
    """Which corpus, in which direction, and how it is cleaned."""

    corpus: str
    """Name of a corpus card that ships with nmt, or path of a card (.toml)."""
    source: str
    """Language (column) to translate from."""
    target: str
    """Language (column) to translate into."""
    lowercase: bool = False
    """Lower-case both sides before anything else; scores are then lower-cased scores."""
    normalise: Literal["none", "nfc", "moses"] = "none"
    """How to write signs alike, in both sides of train and in all text that a model reads: in Unicode's form NFC, or after that
    as the Moses scripts do (quotes, dashes, spaces; `pip install 'nmt[cleaning]'`). References of validation and test sets stay
    as they are, so that scores can be compared; therefore the card must name files for them.
    """
    on_bad_text: Literal["error", "skip"] = "error"
    """What to do with a training line that is not valid UTF-8."""
    limit: Count | None = None
    """Use only the first training pairs, at most this many."""
    cleaning: CleaningConfig = CleaningConfig()
    weight: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Factor on this corpus's share of the training pairs, if there are `more` or `mono`. At 0 its pairs are not trained on;
    they still train the tokenizer.
    """
    temperature: Annotated[float, Field(ge=0.1, le=1_000_000)] = 1.0
    """Corpora are sampled in proportion to size^(1 / temperature); above 1 small ones are seen more often."""
    tag_target: bool = False
    """Each source begins with `<2xx>`, the language to translate into (Johnson et al. 2017): one model, several targets."""
    more: tuple[CorpusConfig, ...] = ()
    """Further corpora, as `[[data.more]]`."""
    mono: tuple[MonoConfig, ...] = ()
    """Text without translations, as `[[data.mono]]`."""

    @property
    def target_languages(self) -> list[str]:
        """Target languages of all corpora, each once, that of the first corpus first."""
        return list(dict.fromkeys([self.target, *(part.target for part in self.more)]))

    @property
    def tags(self) -> list[str]:
        """Languages that have a tag, each once: the target languages, then those of text without translations."""
        languages = [*self.target_languages, *(text.language for text in self.mono)]
        return list(dict.fromkeys(languages)) if self.tag_target else []

    @property
    def weights(self) -> list[float]:
        """Weight of the corpus, of further corpora, and of text without translations."""
        return [self.weight, *(part.weight for part in self.more), *(text.weight for text in self.mono)]

    @property
    def has_pairs(self) -> bool:
        """Whether any pairs are trained on."""
        return self.weight > 0 or bool(self.more)

    @model_validator(mode="after")
    def _languages_of_text_are_known(self) -> Self:
        known = dict.fromkeys([self.source, self.target])
        known |= dict.fromkeys(side for part in self.more for side in (part.source, part.target))
        for text in self.mono:
            if text.language not in known:
                raise ValueError(f"mono.language must be one of {', '.join(known)}, got {text.language!r}")
        return self


TokenKind = Literal["unigram", "bpe", "word", "character", "byte"]
"""The units that text is split into; see `TokenizerConfig.kind`."""


class TokenizerConfig(Section):
    """How text becomes tokens."""

    kind: TokenKind = "unigram"
    """Subwords (unigram language model or byte-pair encoding), words, characters, or bytes of UTF-8 (Xue et al. 2022)."""
    source_kind: TokenKind | None = None
    """Kind of the source's tokens, if it differs from that of the target's. It needs `joint = false`."""
    vocabulary: Annotated[int, Field(gt=0, le=10_000_000)] = 8000
    """Number of tokens, the four special ones included; for words and characters an upper bound. Bytes are always 261."""
    joint: bool = True
    """One vocabulary for both languages."""
    byte_fallback: bool = False
    """Spell unknown characters as bytes instead of <unk>."""
    character_coverage: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """Share of the characters of the training text that the vocabulary must cover."""
    normalization: Literal["nfkc", "identity"] = "nfkc"
    """Unicode normalisation; `identity` is for text that is already tokenised and normalised."""
    user_symbols: Annotated[tuple[str, ...], AfterValidator(_symbols)] = ()
    """Strings that are always one token; without white space, and different from the special tokens."""
    model: str | None = None
    """A bundle, run or checkpoint whose tokenizer and tokenizer settings are used, instead of training one. Default: the
    model of `training.initialise`, if there is one. `new` always trains one.
    """

    @property
    def kinds(self) -> tuple[TokenKind, TokenKind]:
        """Kinds of the tokens of source and target."""
        return self.source_kind or self.kind, self.kind

    @model_validator(mode="after")
    def _sides_fit_together(self) -> Self:
        if self.joint and self.kinds[0] != self.kinds[1]:
            raise ValueError(f"source_kind = '{self.source_kind}' needs joint = false: one vocabulary has one kind")
        if self.user_symbols and self.kind == "byte":
            raise ValueError("user_symbols are for other kinds: bytes spell every string")
        return self
