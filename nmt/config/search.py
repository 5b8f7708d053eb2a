"""Settings of search and sampling."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.config.section import Count, Length, Section, Weight, Width
from nmt.errors import DataError


class SearchConfig(Section):
    """How translations are searched."""

    beam: Annotated[int, Field(gt=0, le=10_000)] = 5
    """Hypotheses kept per sentence; 1 is greedy search."""
    length_penalty: Literal["none", "average", "gnmt"] = "average"
    """Divide the score by length^alpha, or by ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14)."""
    alpha: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Exponent of the length penalty."""
    max_length_ratio: Weight = 2.0
    """Longest translation in tokens: this times the source length plus `max_length_constant`."""
    max_length_constant: Length = 10
    """Added to `max_length_ratio` times the source length."""
    min_length: Length = 0
    """Shortest translation in tokens."""
    no_repeat_ngram: Length = 0
    """Forbids repeating an n-gram of this size in a translation (Paulus et al. 2018); 0 allows all."""
    repetition_penalty: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Factor on the log-probability of tokens said before (Keskar et al. 2019); 1 changes nothing."""
    coverage_penalty: Weight = 0.0
    """Weight of the coverage penalty when finished hypotheses are ranked (Wu et al. 2016, equation 14)."""
    groups: Width = 1
    """Groups of the beam that avoid each other's tokens (diverse beam search, Vijayakumar et al. 2018); must divide it."""
    diversity: Weight = 0.5
    """Cost of a token for each earlier group that has chosen it in the same step."""
    stopping: Literal["exact", "count"] = "exact"
    """exact: a sentence is done when no better hypothesis is possible; count: when a whole beam of hypotheses has ended."""
    batch_tokens: Count | Literal["auto"] = "auto"
    """Source tokens times beam per batch, with padding; auto: 4,096 on a CPU, 32,768 on a GPU."""

    @model_validator(mode="after")
    def _groups_divide_beam(self) -> Self:
        if self.beam % self.groups:
            raise ValueError(f"groups must divide beam, got {self.groups} groups and a beam of {self.beam}")
        return self


def check_count(count: int, beam: int) -> None:
    """Refuses a number of translations of a line that a beam does not hold.

    Raises:
        DataError: `count` is below 1 or exceeds the beam.
    """
    if count < 1:
        raise DataError(f"at least 1 translation of each line must be asked for, got {count}")
    if count > beam:
        raise DataError(f"{count} best translations need a beam of {count} at least, got {beam}")


def extensions_of(beam: int) -> int:
    """Returns how many extensions of a sentence a step of beam search considers.

    At most K of the best 2K end, so K remain. Greedy search ends with the best token.
    """
    return 2 * beam if beam > 1 else 1


class SamplingConfig(Section):
    """How translations are drawn instead of searched."""

    temperature: Annotated[float, Field(ge=0.0001, le=1000)] = 1.0
    """Divides log-probabilities: below 1 sharper, above 1 flatter."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Draw from the k most probable tokens; 0 from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the most probable tokens that together have this probability."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens of at least this share of the largest probability."""
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens of at least this probability."""
    seed: int = 1
    """Seed of the draws; the draws of a line depend only on the seed and the line's number."""
