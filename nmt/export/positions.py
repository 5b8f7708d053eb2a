"""How many positions an exported model has vectors for."""

from __future__ import annotations

import torch

from nmt.config.search import SearchConfig
from nmt.decoding.beam_search import length_limits
from nmt.errors import ConfigError
from nmt.translation.result import Options

LONGEST_SOURCE = Options().max_source
"""Tokens of the longest source that is read whole."""
_MOST = 65_536
_STEP = 64


def positions_for(search: SearchConfig) -> int:
    """Returns positions enough for the longest source that is read, and for its longest translation.

    Raises:
        ConfigError: the limits of the search allow translations that are too long to export.
    """
    source = LONGEST_SOURCE + 1  # with the end of sentence
    longest = max(source, 1 + longest_translation(source, search))  # with the begin token
    if longest > _MOST:
        raise ConfigError(
            f"search.max_length_ratio = {search.max_length_ratio:g} and search.max_length_constant = "
            f"{search.max_length_constant} allow translations of {longest:,} tokens; at most {_MOST:,} can be exported"
        )
    return -(-longest // _STEP) * _STEP


def longest_translation(source: int, search: SearchConfig) -> int:
    """Returns the most tokens that the translation of a source of so many tokens may have, ends of sentence counted."""
    return int(length_limits(torch.tensor([source]), search))
