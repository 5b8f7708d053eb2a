"""Misspelt text: the noises on which models are tested, and the typing errors that they may be trained on.

Every draw depends only on a seed and the number of the line, so a noisy file is the same on every machine.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Literal, assert_never, get_args

from nmt.config.reading import suggestion
from nmt.corpus.encoded import Ragged
from nmt.corpus.tokenizer import Tokenizer
from nmt.errors import ConfigError

NoiseName = Literal["swap", "interior", "leet", "lookalike", "diacritics"]
"""Ways to misspell a word.

`swap` exchanges two neighbouring letters, and `interior` shuffles all but the first and last (Salesky et al. 2021,
section 5). `leet` writes digits for letters, `lookalike` writes letters of another script that look the same, and
`diacritics` leaves out accents and dots.
"""

_WORD = r"<[^\s<>]+>|[^\W\d_]+"  # a tag, or a run of letters
_LEET = str.maketrans("aeiostblgzAEIOSTBLGZ", "43105781924310578192")
# Latin letters beside Cyrillic and Greek ones that most fonts draw alike (Unicode TR 39, confusables).
_ALIKE = str.maketrans(
    "aceopxyijsABCEHIKMOPTXYZvu",
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u0410\u0412\u0421\u0415\u041d\u0406\u041a\u041c\u041e\u0420\u0422\u0425\u03a5\u0396\u03bd\u03c5",
)
_LINES = 1000  # that a tokenizer takes at once


def noise_named(name: str) -> NoiseName:
    """Returns the name of a noise that a user has given.

    Raises:
        ConfigError: there is none; lists all.
    """
    known: dict[str, NoiseName] = {known: known for known in get_args(NoiseName)}
    if name not in known:
        raise ConfigError(f"noise must be one of {', '.join(known)}, got {name!r}{suggestion(name, known)}")
    return known[name]


def noisy(lines: Iterable[str], kind: NoiseName, share: float, seed: int = 1) -> Iterator[str]:
    """Misspells a share of the words of each line, drawn word by word; white space and signs stay as they are.

    Words that the noise cannot change (too short, or without such letters) count among the drawn ones.

    Args:
        lines: of text.
        kind: see `NoiseName`.
        share: probability of each word, from 0 to 1.
        seed: of the draws, together with the number of the line.
    """
    for row, line in enumerate(lines):
        yield _changed(line, share, f"{seed} {kind} {row}", _noise(kind))


class Typos:
    """The source side of a corpus, with new typing errors and then new tokens for each epoch."""

    def __init__(
        self, tokenizer: Tokenizer, lines: Sequence[str], probability: float, seed: str, symbols: Sequence[str] = ()
    ) -> None:
        """Takes the text of the corpus, row for row, the probability of an error in a word, and a seed.

        Symbols stay as they are, and so do tags such as `<2en>`.
        """
        self._tokenizer, self._lines, self._probability, self._seed = tokenizer, lines, probability, seed
        self._symbols = tuple(symbols)

    def epoch(self, number: int) -> Ragged:
        """Returns the tokens of each line in an epoch."""
        return Ragged.of(
            tokens
            for first in range(0, len(self._lines), _LINES)
            for tokens in self._tokenizer.encode([self._typed(number, row) for row in self._rows(first)])
        )

    def _rows(self, first: int) -> range:
        return range(first, min(first + _LINES, len(self._lines)))

    def _typed(self, epoch: int, row: int) -> str:
        draws = f"{self._seed} {epoch} {row}"
        return _changed(self._lines[row], self._probability, draws, typing_error, self._symbols)


def typing_error(word: str, draws: random.Random) -> str:
    """Makes one error of a typist: two letters exchanged, one left out, one typed twice, or a wrong one.

    These are the synthetic noises of Belinkov and Bisk 2018, section 3.2, with letters of the word itself in place of
    those beside a key.
    """
    place = draws.randrange(len(word))
    match draws.randrange(4):
        case 0:
            return _swapped(word, draws)
        case 1 if len(word) > 1:
            return word[:place] + word[place + 1 :]
        case 2:
            return word[:place] + word[place] + word[place:]
        case _:
            return word[:place] + draws.choice(word) + word[place + 1 :]


def _changed(
    line: str, share: float, seed: str, change: Callable[[str, random.Random], str], symbols: tuple[str, ...] = ()
) -> str:
    """Changes each word of a line with a probability; every word takes the same draws, whatever the share."""
    draws = random.Random(seed)

    def replacement(found: re.Match[str]) -> str:
        word, chosen, own = found[0], draws.random() < share, draws.getrandbits(64)
        return change(word, random.Random(own)) if chosen and word[0] != "<" and word not in symbols else word

    return _words(symbols).sub(replacement, line)


@cache
def _words(symbols: tuple[str, ...]) -> re.Pattern[str]:
    """Returns a pattern that finds symbols, longest first, tags and words."""
    return re.compile("|".join([*map(re.escape, sorted(symbols, key=len, reverse=True)), _WORD]))


def _noise(kind: NoiseName) -> Callable[[str, random.Random], str]:
    match kind:
        case "swap":
            return _swapped
        case "interior":
            return _shuffled
        case "leet":
            return lambda word, _: word.translate(_LEET)
        case "lookalike":
            return lambda word, _: word.translate(_ALIKE)
        case "diacritics":
            return lambda word, _: _plain(word)
        case _:
            assert_never(kind)


def _swapped(word: str, draws: random.Random) -> str:
    places = [place for place in range(len(word) - 1) if word[place] != word[place + 1]]
    if not places:
        return word
    place = draws.choice(places)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _shuffled(word: str, draws: random.Random) -> str:
    """Shuffles the interior until it differs, if it can."""
    inner = list(word[1:-1])
    if len(set(inner)) < 2:
        return word
    while "".join(inner) == word[1:-1]:
        draws.shuffle(inner)
    return word[0] + "".join(inner) + word[-1]


def _plain(word: str) -> str:
    """Leaves out combining marks."""
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))
