"""The filter that looks at scripts: most letters of a side must be of those that its language is written in."""

from __future__ import annotations

import unicodedata
from functools import cache

from nmt.config.cleaning import CleaningConfig
from nmt.corpus.languages import two_letters
from nmt_data.cleaning.pairs import Pairs
from nmt_data.shards import Mask

# Unicode CLDR, likelySubtags: the script of each language. Scripts have the name that the names of their letters begin with.
_LANGUAGES = {
    "LATIN": "af ast az bm br bs ca ceb cs cy da de en eo es et eu ff fi fil fo fr fy ga gd gl ha haw hr ht hu id ig is it jv "
    "ku la lb lg ln lt lv mg mi ms mt nb nl nn no ny oc om pl pt ro rw sk sl sm sn so sq ss st su sv sw tk tl tn tr ts uz vi "
    "wo xh yo zu",
    "CYRILLIC": "ba be bg ce cv kk ky mk mn os ru sah sr tg tt uk",
    "ARABIC": "ar arz ckb fa ks ps sd ug ur",
    "DEVANAGARI": "bho hi mai mr ne sa",
    "BENGALI": "as bn",
    "ETHIOPIC": "am ti",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "KANNADA": "kn",
    "KHMER": "km",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "THAANA": "dv",
    "TIBETAN": "bo dz",
    "CJK": "ja yue zh",
}
_MORE = {"ja": {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}, "ko": {"CJK"}, "sr": {"LATIN"}}
_BY_LANGUAGE = {
    language: frozenset({script}) | _MORE.get(language, frozenset())
    for script, languages in _LANGUAGES.items()
    for language in languages.split()
}
# ISO 15924 codes, as in sr-Latn or zho_Hans.
_CODES = {script[:4].title(): frozenset({script}) for script in _LANGUAGES} | {
    "Cyrl": frozenset({"CYRILLIC"}),
    "Deva": frozenset({"DEVANAGARI"}),
    "Beng": frozenset({"BENGALI"}),
    "Ethi": frozenset({"ETHIOPIC"}),
    "Grek": frozenset({"GREEK"}),
    "Latn": frozenset({"LATIN"}),
    "Geor": frozenset({"GEORGIAN"}),
    "Guru": frozenset({"GURMUKHI"}),
    "Gujr": frozenset({"GUJARATI"}),
    "Knda": frozenset({"KANNADA"}),
    "Khmr": frozenset({"KHMER"}),
    "Laoo": frozenset({"LAO"}),
    "Mlym": frozenset({"MALAYALAM"}),
    "Mymr": frozenset({"MYANMAR"}),
    "Orya": frozenset({"ORIYA"}),
    "Taml": frozenset({"TAMIL"}),
    "Telu": frozenset({"TELUGU"}),
    "Tibt": frozenset({"TIBETAN"}),
    "Hans": frozenset({"CJK"}),
    "Hant": frozenset({"CJK"}),
    "Jpan": frozenset({"CJK", *_MORE["ja"]}),
    "Kore": frozenset({"HANGUL", "CJK"}),
}
_KNOWN = frozenset(_LANGUAGES).union(*_MORE.values())


def wrong_script(pairs: Pairs, config: CleaningConfig) -> Mask:
    """Drops pairs of which less than the share `min_script` of a side's letters is in the scripts of its language."""
    if (least := config.min_script) is None:
        return pairs.none()
    sides = [scripts_of(language) for language in pairs.languages]
    return pairs.each(lambda source, target: any(map(_is_foreign, (source, target), sides, (least, least))))


def scripts_of(language: str) -> frozenset[str]:
    """Returns the scripts of a language, which may name one, as in sr-Latn; none: they are not known."""
    code, *others = language.replace("_", "-").split("-")
    named = [_CODES[part.title()] for part in others if part.title() in _CODES]
    return named[0] if named else _BY_LANGUAGE.get(two_letters(code.lower()), frozenset())


def _is_foreign(line: str, scripts: frozenset[str], least: float) -> bool:
    if not scripts or (line.isascii() and "LATIN" in scripts):
        return False
    found = [script for letter in line if (script := _script(letter)) in _KNOWN]
    return sum(script in scripts for script in found) < least * len(found)


@cache
def _script(letter: str) -> str:
    """Returns the script of a letter; empty: it is none."""
    name = unicodedata.name(letter, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return name.partition(" ")[0] if letter.isalpha() else ""
