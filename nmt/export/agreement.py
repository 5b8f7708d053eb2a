"""How well another engine agrees with ours."""

from dataclasses import dataclass

from nmt.config.search import SearchConfig


def plain(search: SearchConfig) -> SearchConfig:
    """Returns the settings that every engine has: beam, length penalty and limits, without rules, groups or coverage."""
    return SearchConfig(
        beam=search.beam,
        length_penalty=search.length_penalty,
        alpha=search.alpha,
        max_length_ratio=search.max_length_ratio,
        max_length_constant=search.max_length_constant,
    )


@dataclass(frozen=True)
class Agreement:
    """Agreement of two engines on the same sentences."""

    sentences: int
    identical: int
    """Number of sentences whose best hypotheses have the same tokens."""
    cut: int
    """Sentences left out because they are too long to be read whole, or because one engine hit its length limit, so that the
    rest of the translation is unknown."""
    largest_difference: float
    """Largest difference of log-probability between our best hypotheses and the other engine's score of the same tokens."""
