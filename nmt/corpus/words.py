"""Words, lengths and case in all scripts: without spaces, with combining marks, with the Turkish i."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from nmt.corpus.languages import code_of

# Scripts without spaces: a word has about two letters in Han and kana, and four in the others.
_DENSE = (
    "\u3005-\u3007\u3031-\u3035\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_LOOSE = "\u0e01-\u0e5b\u0e81-\u0edf\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
_DENSE_LETTER = re.compile(f"[{_DENSE}]")
_UNSPACED = re.compile(f"[{_DENSE}{_LOOSE}]")
_ROUGH = re.compile(f"[{_DENSE}]{{1,2}}|[{_LOOSE}]{{1,5}}|[^\\s{_DENSE}{_LOOSE}]+")
_LONE_MARK = re.compile(
    "(?<!\\S)[\u0300-\u036f\u3099\u309a]+"
)  # the mark of a spacing accent, which decomposes into a space and this mark
_MARKED = re.compile("[^\u0300-\u036f\u3099\u309a][\u0300-\u036f\u3099\u309a]*")
MOST_WORDS = 200_000
"""Most words that a memory of words holds, some 40 MB; then it starts anew."""
_TURKIC = ("tr", "az")


def count_words(text: str) -> int:
    """Counts the words of a text: separated by white space, or estimated from the letters in scripts without spaces."""
    if text.isascii() or not _UNSPACED.search(text):
        return len(text.split())
    dense = len(_DENSE_LETTER.findall(text))
    loose = sum(not is_mark(letter) for letter in _UNSPACED.findall(text)) - dense
    spaced = [word for word in _UNSPACED.sub(" ", text).split() if any(map(str.isalnum, word))]
    return len(spaced) + -(-dense // 2) + -(-loose // 4)


def rough_words(text: str) -> list[str]:
    """Splits a line at white space, and scripts without spaces into pieces about as long as their words."""
    return _ROUGH.findall(text) if _UNSPACED.search(text) else text.split()


def rewritten(lines: Sequence[str]) -> tuple[float, list[str]]:
    """Returns the share of lines that NFKC changes, spaces apart, and what it replaces, such as full-width commas."""
    joined = ["".join(line.split()) for line in lines]
    changed = [line for line in joined if not unicodedata.is_normalized("NFKC", line)]
    letters = {
        letter for line in changed for letter in _MARKED.findall(line) if not unicodedata.is_normalized("NFKC", letter)
    }
    return len(changed) / max(len(lines), 1), sorted(letters)


MANY_REWRITTEN = 0.1
"""Share of the lines above which NFKC is said to change a text."""


def split_words(text: str) -> list[str]:
    """Splits a line at white space; each letter of a script without spaces is a word."""
    if not _UNSPACED.search(text):
        return text.split()
    apart = (f" {letter}" if _UNSPACED.match(letter) and not is_mark(letter) else letter for letter in text)
    return "".join(apart).split()


def join_words(words: Sequence[str]) -> str:
    """Joins words by spaces, but puts none between letters of scripts without spaces."""
    line = ""
    for word in words:
        together = not line or (_UNSPACED.match(line[-1]) and _UNSPACED.match(word))
        line += word if together else f" {word}"
    return line


def count_letters(text: str) -> int:
    """Counts characters in composed form; a Han or kana character counts twice, as it says as much as two letters."""
    if text.isascii():
        return len(text)
    return len(unicodedata.normalize("NFC", text)) + len(_DENSE_LETTER.findall(text))


def is_mark(letter: str) -> bool:
    """Whether a character belongs to the one before it: a combining mark, a joiner or a variation selector."""
    return unicodedata.category(letter)[0] == "M" or letter in "\u200c\u200d"


def lower(text: str, language: str = "") -> str:
    """Lower-cases a text; in Turkish and Azerbaijani I and İ become ı and i."""
    return _with_turkic_i(text, language).lower()


def normalise(text: str, language: str = "") -> str:
    """Removes case, punctuation, symbols, compatibility forms and extra spaces, to compare sentences.

    Letters, digits and their marks are kept: vowel signs of Hindi, Thai or Burmese and points of Arabic and Hebrew too.
    """
    folded = _folded(text, language)
    return _without_signs(folded) or " ".join(folded.split())


class Normaliser(dict[str, str]):
    """Normalises many lines of one language, each different word only once; gives what `normalise` gives."""

    def __init__(self, language: str = "") -> None:
        super().__init__()
        self._language = language

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_WORDS:
            self.clear()
        self[word] = _without_signs(_folded(word, self._language))
        return self[word]

    def __call__(self, text: str) -> str:
        """Returns the line without case, punctuation, symbols, compatibility forms and extra spaces."""
        return " ".join(filter(None, map(self.__getitem__, text.split(" ")))) or normalise(text, self._language)


class Normalisers(dict[str, Normaliser]):
    """One for each language, made when it is first asked for."""

    def __missing__(self, language: str) -> Normaliser:
        self[language] = Normaliser(language)
        return self[language]


def _folded(text: str, language: str) -> str:
    composed = unicodedata.normalize("NFKC", text)
    return unicodedata.normalize("NFKC", _with_turkic_i(composed, language).casefold()).replace("i\u0307", "i")


def _without_signs(folded: str) -> str:
    return " ".join(_LONE_MARK.sub("", folded.translate(_SIGNS)).split())


def _with_turkic_i(text: str, language: str) -> str:
    if code_of(language) not in _TURKIC:
        return text
    return text.replace("I\u0307", "i").replace("İ", "i").replace("I", "ı")


class _Signs(dict[int, int | str | None]):
    """Maps characters, each at its first use: signs become spaces, and invisible characters are removed."""

    def __missing__(self, code: int) -> int | str | None:
        kind = unicodedata.category(chr(code))
        invisible = kind == "Cf" or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
        self[code] = None if invisible else " " if kind[0] in "PS" or kind == "Cc" else code
        return self[code]


_SIGNS = _Signs()
