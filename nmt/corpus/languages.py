"""Codes and names of languages, and which one a text is in, by py3langid (Barbaresi 2021, after Lui and Baldwin 2012)."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

# Languages that read alike: many lines together do not tell these apart, and one line does not tell those apart.
_IN_TEXT = ("no nb nn da", "hr sr bs", "id ms", "zh yue wuu")
_IN_LINE = (
    "no nb nn da",
    "hr sr bs sl",
    "id ms jv",
    "cs sk",
    "zh yue",
    "hi mr ne",
    "gl pt",
    "tl fil",
    "af nl",
    "ur fa",
)

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


def is_installed() -> bool:
    """Whether the library is there."""
    return find_spec("py3langid") is not None


def is_known(language: str) -> bool:
    """Whether a language can be identified."""
    return code_of(language) in _identifier().labels


def is_code(word: str) -> bool:
    """Whether a word is the code of a language that has a name here: `de`, `de_AT`, `deu`."""
    return code_of(word) in _NAMES


def two_letters(code: str) -> str:
    """Returns the ISO 639-1 code for a three-letter one of the languages that corpora are often named by, else the code."""
    return _SHORT.get(code, code)


def base_code(language: str) -> str:
    """Returns a code without region, script and capitals: `pt` for `pt-BR`, `deu` for `deu_Latn`."""
    return language.replace("_", "-").split("-")[0].lower()


def code_of(language: str) -> str:
    """Returns the one code of a language, of two letters where there is one: `de` for `de-AT`, `deu` and `DE`."""
    return two_letters(base_code(language))


def language_name(code: str) -> str:
    """Returns the English name of a language, or its code if the name is not known."""
    return _NAMES.get(code_of(code), code)


def ranked(text: str) -> list[tuple[str, float]]:
    """Returns all languages with their log-probabilities, but for a constant, the most probable first."""
    import py3langid

    return list(py3langid.rank(text))


def classified(line: str) -> tuple[str, float]:
    """Returns the most probable language of a line, and its probability."""
    language, probability = _identifier().classify(line)
    return language, probability


def alike_in_text(language: str) -> frozenset[str]:
    """Returns the languages that many lines together may be taken for without being wrong, itself among them."""
    return _group(language, _IN_TEXT)


def alike_in_line(language: str) -> frozenset[str]:
    """Returns the languages that a single line may be taken for without being wrong, itself among them."""
    return _group(language, _IN_LINE)


def _group(language: str, groups: tuple[str, ...]) -> frozenset[str]:
    own = code_of(language)
    return frozenset({own}).union(*(group.split() for group in groups if own in group.split()))


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


_SHORT = dict(
    re.findall(
        r"(\w+):(\w+)",
        "afr:af amh:am ara:ar arb:ar asm:as azj:az aze:az bel:be bul:bg ben:bn bos:bs cat:ca ces:cs cze:cs cym:cy "
        "dan:da deu:de ger:de ell:el gre:el eng:en epo:eo spa:es est:et ekk:et eus:eu fas:fa pes:fa fin:fi fra:fr "
        "fre:fr gle:ga glg:gl guj:gu hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ind:id ibo:ig isl:is ita:it jpn:ja "
        "jav:jv kat:ka kaz:kk khk:mn khm:km kan:kn kor:ko kir:ky lao:lo lit:lt lav:lv lvs:lv mkd:mk mal:ml mon:mn "
        "mar:mr msa:ms zsm:ms mlt:mt mya:my nob:nb nep:ne npi:ne nld:nl dut:nl nno:nn nor:no ory:or pan:pa pol:pl "
        "pus:ps por:pt ron:ro rum:ro rus:ru sin:si slk:sk slv:sl som:so sqi:sq als:sq srp:sr swe:sv swa:sw swh:sw "
        "tam:ta tel:te tgk:tg tha:th tgl:tl tur:tr uig:ug ukr:uk urd:ur uzb:uz uzn:uz vie:vi xho:xh yor:yo zho:zh "
        "cmn:zh chi:zh zul:zu ",
    )
)
