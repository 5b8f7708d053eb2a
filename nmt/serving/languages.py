"""Languages: their names in English, and which one a text is in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nmt.corpus.languages import code_of, is_installed, ranked
from nmt.serving.reading import Refused

_LIST = """
    af:Afrikaans ar:Arabic az:Azerbaijani be:Belarusian bg:Bulgarian bn:Bengali bs:Bosnian ca:Catalan cs:Czech cy:Welsh
    da:Danish
    de:German el:Greek en:English eo:Esperanto es:Spanish et:Estonian eu:Basque fa:Persian fi:Finnish fr:French ga:Irish
    gl:Galician gu:Gujarati he:Hebrew hi:Hindi hr:Croatian hu:Hungarian hy:Armenian id:Indonesian is:Icelandic it:Italian
    ja:Japanese ka:Georgian kk:Kazakh km:Khmer ko:Korean la:Latin lb:Luxembourgish lt:Lithuanian lv:Latvian mk:Macedonian
    ml:Malayalam mn:Mongolian mr:Marathi ms:Malay mt:Maltese ne:Nepali nl:Dutch no:Norwegian pa:Punjabi pl:Polish ps:Pashto
    pt:Portuguese ro:Romanian ru:Russian si:Sinhala sk:Slovak sl:Slovenian sq:Albanian sr:Serbian sv:Swedish sw:Swahili ta:Tamil
    te:Telugu th:Thai tl:Tagalog tr:Turkish uk:Ukrainian ur:Urdu uz:Uzbek vi:Vietnamese xh:Xhosa yo:Yoruba zh:Chinese zu:Zulu
"""
_NAMES = {code: name for code, _, name in (item.partition(":") for item in _LIST.split())}
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


def language_name(code: str) -> str:
    """Returns the English name of a language, or its code if the name is not known."""
    return _NAMES.get(code_of(code), code)


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
