"""Says what is wrong with pairs: the reasons for which filters would drop them, each at its usual threshold."""

from __future__ import annotations

import numpy as np

from nmt.config.cleaning import CleaningConfig
from nmt.corpus.languages import is_installed
from nmt.corpus.lazy_lines import LazyLines
from nmt_data.alignment import SAMPLE, Lexicon
from nmt_data.cleaning.filters import FILTERS
from nmt_data.cleaning.pairs import Pairs
from nmt_data.selecting import UNALIGNED
from nmt_data.shards import Mask

USUAL = CleaningConfig(
    drop_identical=True,
    drop_replacement=True,
    max_markup=0.2,
    max_repeats=3,
    drop_other_numbers=True,
    drop_other_brackets=True,
    min_script=0.5,
    language_confidence=0.9,
    min_alignment=0.5,
)
"""The thresholds that the guide to cleaning a corpus starts from."""
_LANGUAGE = "wrong language"


def left_out() -> list[str]:
    """Returns the filters that cannot judge, each with what to install."""
    return [] if is_installed() else [f"{_LANGUAGE} (pip install 'nmt[cleaning]')"]


def lexicon_of(source: LazyLines, target: LazyLines, languages: tuple[str, str]) -> Lexicon:
    """Learns which words translate each other, from some of the pairs."""
    rows = np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(np.int64).tolist()
    return Lexicon.learned(((source[row], target[row]) for row in rows), languages)


def reasons(pairs: Pairs, lexicon: Lexicon) -> list[list[str]]:
    """Returns for each pair the reasons for which a filter would drop it."""
    config = USUAL if is_installed() else USUAL.model_copy(update={"language_confidence": None})
    found: dict[str, Mask] = {name: judge(pairs, config) for name, judge in FILTERS.items()}
    assert config.min_alignment is not None  # noqa: S101 - it is set above
    found[UNALIGNED] = lexicon.scores(pairs.source, pairs.target) < config.min_alignment
    return [[name for name, bad in found.items() if bad[row]] for row in range(len(pairs))]
