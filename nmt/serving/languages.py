"""Which of the served languages a text is in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nmt.corpus.languages import code_of, is_installed, ranked
from nmt.serving.reading import Refused

_READ = 2000  # characters that are looked at


@dataclass(frozen=True)
class Detected:
    """The language of a text."""

    language: str
    confidence: float
    """From 0 to 100."""

    def shown(self) -> dict[str, Any]:
        """Returns it as LibreTranslate does."""
        return {"language": self.language, "confidence": self.confidence}


async def detect(text: str, languages: Collection[str]) -> list[Detected]:
    """Returns the languages that a text may be in, the likeliest first; a single one is not doubted.

    Args:
        text: its beginning is looked at.
        languages: those that it may be in.

    Raises:
        Refused: there are several, and py3langid is not installed or knows none of them.
    """
    if len(languages) == 1:
        return [Detected(language, 100.0) for language in languages]
    if not is_installed():
        raise Refused(400, "name the source language: this server cannot detect it (pip install 'nmt[languages]')")
    scores = dict(await asyncio.to_thread(ranked, text[:_READ]))
    found = {language: scores[code_of(language)] for language in languages if code_of(language) in scores}
    if not found:
        raise Refused(400, f"name the source language: {', '.join(sorted(languages))} cannot be detected")
    most = max(found.values())
    shares = {language: math.exp(score - most) for language, score in found.items()}
    total = sum(shares.values())
    ordered = sorted(shares, key=lambda language: -shares[language])
    return [Detected(language, round(100 * shares[language] / total, 1)) for language in ordered]
