"""Which training pairs are dropped."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.config.section import Count, Section

FilterName = Literal[
    "empty",
    "too long",
    "length ratio",
    "identical sides",
    "replacement character",
    "markup",
    "repetition",
    "other numbers",
    "other brackets",
    "wrong script",
    "wrong language",
]
"""The filters that judge a pair by itself, in their order: also the reasons that the report names."""

_Share = Annotated[float, Field(ge=0, le=1)]


class CleaningConfig(Section):
    """Which training pairs are dropped or mended; validation and test sets are never changed."""

    max_words: Count = 200
    """Longest sentence kept, in words; in scripts without spaces a word is two letters of Han or kana, or four others."""
    max_ratio: Annotated[float, Field(ge=1, le=1_000_000_000)] = 6.0
    """Largest ratio between the two lengths in characters; pairs under 20 characters are not judged."""
    drop_identical: bool = False
    """Drop pairs whose two sides are the same text."""
    duplicates: Literal["keep", "exact", "normalised"] = "keep"
    """Drop repeated pairs: byte for byte, or ignoring case, punctuation and spacing."""
    drop_leaked: bool = False
    """Drop training pairs whose source or target occurs in a validation or test set (they are always reported)."""
    mend_encoding: bool = False
    """Mend text that was decoded wrongly, as `Ã¼` for `ü`, by ftfy (`pip install 'nmt[cleaning]'`)."""
    drop_replacement: bool = False
    """Drop pairs with a replacement character (U+FFFD), which stands for a letter that was lost."""
    max_markup: _Share | None = None
    """Drop pairs a side of which has a larger share of web addresses, e-mail addresses, tags and character entities."""
    max_repeats: Count | None = None
    """Drop pairs that repeat a letter, or up to four words, more often than this in a row, on one side only or on both."""
    drop_other_numbers: bool = False
    """Drop pairs whose sides have different numbers in figures; 1,000 and 1.000 and 1 000 are the same."""
    drop_other_brackets: bool = False
    """Drop pairs whose sides have different numbers of opening or closing brackets."""
    min_script: _Share | None = None
    """Drop pairs a side of which has a smaller share of letters in the scripts of its language (CLDR's likely subtags)."""
    language_confidence: Annotated[float, Field(gt=0, le=1)] | None = None
    """Drop pairs a side of which is in another language with at least this probability, says py3langid (Lui and Baldwin 2012;
    `pip install 'nmt[cleaning]'`). Sides under 20 letters are not judged.
    """
    near_duplicates: Annotated[float, Field(ge=0.1, lt=1)] | None = None
    """Drop pairs that resemble an earlier one (Broder 1997): at this share of common letter 5-grams two in three are found."""
    min_alignment: Annotated[float, Field(ge=-100, le=100)] | None = None
    """Drop pairs whose words explain each other less than this, by IBM model 1 (Brown et al. 1993) trained on the corpus: the
    mean over words of log p(word given the other side) - log p(word), in nats, in the direction where it is smaller.
    """
    score_with: str | None = None
    """A bundle, run or checkpoint that scores every pair of its own direction, as `nmt score` does; it needs `min_score`."""
    min_score: Annotated[float, Field(ge=-1000, le=0)] | None = None
    """Drop pairs to which the model of `score_with` gives a smaller mean log-probability per target token, in nats. Scores that
    equal it but for the last digits may fall on either side on another device.
    """
    order: tuple[FilterName, ...] = ()
    """Filters to ask first. The order decides under which reason a pair is counted that several filters drop."""

    @model_validator(mode="after")
    def _keys_go_together(self) -> Self:
        for place, name in enumerate(self.order):
            if name in self.order[:place]:
                raise ValueError(f"order names {name!r} twice")
        if (self.score_with is None) != (self.min_score is None):
            raise ValueError("score_with and min_score go together: a model, and the smallest score that is kept")
        return self
