"""Signs written alike: Unicode's form NFC, and the punctuation of the Moses scripts (Koehn et al. 2007)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache, partial
from typing import Literal

from nmt.config.data import DataConfig
from nmt.corpus.languages import code_of
from nmt.corpus.words import lower
from nmt.errors import ConfigError

Normalisation = Literal["none", "nfc", "moses"]


@cache
def line_normaliser(kind: Normalisation, language: str) -> Callable[[str], str]:
    """Returns what normalises a line.

    Raises:
        ConfigError: sacremoses is needed, but not there.
    """
    composed = partial(unicodedata.normalize, "NFC")
    if kind == "none":
        return str
    if kind == "nfc":
        return composed
    try:
        from sacremoses import MosesPunctNormalizer
    except ImportError:
        raise ConfigError("data.normalise = 'moses' needs sacremoses; pip install 'nmt[cleaning]'") from None
    moses = MosesPunctNormalizer(lang=code_of(language))
    return lambda line: str(moses.normalize(composed(line)))


def as_trained(text: str, language: str, data: DataConfig) -> str:
    """Normalises and lower-cases a line as the training text was.

    Raises:
        ConfigError: as in `line_normaliser`.
    """
    text = line_normaliser(data.normalise, language)(text)
    return lower(text, language) if data.lowercase else text
