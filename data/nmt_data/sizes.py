"""How large a model and a vocabulary a text can fill: one rule for what `nmt init` chooses and what `nmt doctor` says.

Each limit lies beyond all recipes of this checkout that work.
"""

from __future__ import annotations

SELDOM = 10
"""Times that a piece should be seen."""
_PARAMETERS = 50.0  # per target token of the training text
_RARE = 0.4  # largest share of pieces that are seen less often


def is_too_large(parameters: int, tokens: float) -> bool:
    """Whether a model has more parameters than so many target tokens of training text can teach."""
    return parameters > _PARAMETERS * max(tokens, 1)


def are_too_rare(rare: int, pieces: int) -> bool:
    """Whether so many of the pieces of a vocabulary are too many to be seen fewer than SELDOM times."""
    return rare > _RARE * pieces
