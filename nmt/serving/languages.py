"""Languages: their names in English, and which one a text is in."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

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
    return _NAMES.get(code, code)


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
    if find_spec("py3langid") is None:
        raise Refused(400, "name the source language: this server cannot detect it (pip install 'nmt[languages]')")
    ranked: list[tuple[str, float]] = await asyncio.to_thread(_rank, text[:_READ])
    found = [(label, share) for label, share in ranked if label in languages]
    total = sum(share for _, share in found)
    if not found:
        raise Refused(400, f"name the source language: {', '.join(sorted(languages))} cannot be detected")
    return [Detected(label, round(100 * share / (total or 1.0), 1)) for label, share in found]


def _rank(text: str) -> list[tuple[str, float]]:
    return [(str(label), float(share)) for label, share in _identifier().rank(text)]


@cache
def _identifier() -> Any:
    langid: Any = importlib.import_module("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
