"""How far another engine agrees with ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Of two engines on the same sentences."""

    sentences: int
    identical: int
    """Sentences whose best hypothesis has the same tokens."""
    cut: int
    """Sentences left out: one engine ran into its length limit, which is a batch's in CTranslate2 and a sentence's here."""
    largest_difference: float
    """Between the log-probability of our best hypotheses and the other engine's of the same tokens."""
