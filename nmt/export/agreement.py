"""How well another engine agrees with ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Agreement of two engines on the same sentences."""

    sentences: int
    identical: int
    """Number of sentences whose best hypotheses have the same tokens."""
    cut: int
    """Sentences left out because one engine hit its length limit, which is per batch in CTranslate2 and per sentence here."""
    largest_difference: float
    """Largest difference of log-probability between our best hypotheses and the other engine's score of the same tokens."""
