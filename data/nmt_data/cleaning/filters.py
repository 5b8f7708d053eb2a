"""All filters that judge a pair by itself."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.config.cleaning import CleaningConfig, FilterName
from nmt_data.cleaning.languages import wrong_language
from nmt_data.cleaning.lengths import empty, identical_sides, length_ratio, too_long
from nmt_data.cleaning.pairs import Filter
from nmt_data.cleaning.scripts import wrong_script
from nmt_data.cleaning.signs import markup, other_brackets, other_numbers, repetition, replacement_character

FILTERS: Mapping[FilterName, Filter] = {
    "empty": empty,
    "too long": too_long,
    "length ratio": length_ratio,
    "identical sides": identical_sides,
    "replacement character": replacement_character,
    "markup": markup,
    "repetition": repetition,
    "other numbers": other_numbers,
    "other brackets": other_brackets,
    "wrong script": wrong_script,
    "wrong language": wrong_language,
}
"""Filters in their order, by the reason that the report names."""


def in_order(config: CleaningConfig) -> Mapping[FilterName, Filter]:
    """Returns the filters, those that `order` names first."""
    return {name: FILTERS[name] for name in (*config.order, *FILTERS)}
