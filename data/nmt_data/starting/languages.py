"""Tells languages: by the names of files and columns, or by the text itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nmt.corpus.languages import alike_in_text, code_of, is_installed, is_known, ranked, two_letters
from nmt.errors import DataError

_TWO_LETTERS = """aa ab af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv
dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie
ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv
mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm
rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts
tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"""
_CODES = frozenset(_TWO_LETTERS.split())
_NAMES = {
    name: line.split()[0]
    for line in """ar arabic arabisch ara
cs czech tschechisch ces cze
da danish dänisch dansk dan
de german deutsch deu ger allemand alemán
el greek griechisch ell gre
en english englisch eng anglais inglés engl
es spanish spanisch español spa espagnol
fa persian farsi persisch fas per
fi finnish finnisch suomi fin
fr french französisch français fra fre francés
he hebrew hebräisch heb
hi hindi hin
hu hungarian ungarisch magyar hun
id indonesian indonesisch ind
it italian italienisch italiano ita italien
ja japanese japanisch jpn japonais
ko korean koreanisch kor
nl dutch niederländisch nederlands nld dut
no norwegian norwegisch norsk nor
pl polish polnisch polski pol
pt portuguese portugiesisch português por
ro romanian rumänisch română ron rum
ru russian russisch русский rus
sv swedish schwedisch svenska swe
tr turkish türkisch türkçe tur
uk ukrainian ukrainisch українська ukr
vi vietnamese vietnamesisch vie
zh chinese chinesisch 中文 zho chi""".splitlines()
    for name in line.split()[1:]
}
_REGIONAL = re.compile(r"([a-z]{2})[-_][a-z]{2,4}")
_SAMPLE = 4000  # characters that tell a language


def language_named(text: str, wanted: Sequence[str] = ()) -> str | None:
    """Returns the language that a word names: `de`, `deu`, `de-DE`, `German`, or one that a person asks for."""
    word = text.strip().lower()
    if asked := next((language for language in wanted if code_of(language) == code_of(word)), None):
        return asked
    if word in _CODES:
        return word
    if (found := _REGIONAL.fullmatch(word)) and found[1] in _CODES:
        return found[1]
    return _NAMES.get(word) or (short if (short := two_letters(word)) != word else None)


def language_within(name: str, wanted: Sequence[str] = ()) -> str | None:
    """Returns the language that a name of several words ends or begins with: `text_en`, `translation.de`, `German sentence`."""
    if whole := language_named(name, wanted):
        return whole
    parts = [part for part in re.split(r"[\W_]+", name) if part]
    if not 2 <= len(parts) <= 4:
        return None
    ends = [language_named(part, wanted) for part in (parts[-1], parts[0]) if " " not in name or len(part) > 3]
    return next((language for language in ends if language), None)


def guessed_language(lines: Sequence[str], among: Sequence[str] = ()) -> str | None:
    """Returns the likeliest language of a text, of two or of all; None without the library that tells it.

    Of two languages of which the library knows one, a text that it takes for another is in the other.
    """
    text = " ".join(line.strip() for line in lines)[:_SAMPLE]
    if not text.strip() or not is_installed():
        return None
    likeliest = [language for language, _ in ranked(text)]
    if not among:
        return likeliest[0]
    known = [language for language in among if is_known(language)]
    if len(known) == 1:
        other = next(language for language in among if language not in known)
        return known[0] if likeliest[0] in alike_in_text(known[0]) else other
    return min(known, key=lambda language: likeliest.index(code_of(language)), default=None)


def unknown_languages(what: str) -> DataError:
    """Returns the error of languages that nothing tells, with the options that settle it."""
    return DataError(
        f"{what}: the languages cannot be told; say them, as in --source de --target en "
        "(pip install 'nmt[languages]' lets them be guessed)"
    )
