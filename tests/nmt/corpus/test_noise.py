"""Noise misspells as the papers do, as often as it was told, and the same way on every machine."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.corpus.noise import NoiseName, Typos, noise_named, noisy, typing_error
from nmt.errors import ConfigError

NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
WORDS = st.text(st.characters(categories=["Lu", "Ll"], max_codepoint=0x24F), min_size=1, max_size=12)


def _misspelt(word: str, kind: NoiseName, seed: int = 1) -> str:
    (found,) = noisy([word], kind, 1.0, seed)
    return found


@given(WORDS, st.integers(0, 99))
def test_each_noise_keeps_what_it_must(word: str, seed: int) -> None:
    """Swaps and shuffles keep the letters, shuffles also the first and last; substitutions keep the length."""
    swapped, shuffled = (_misspelt(word, kind, seed) for kind in ("swap", "interior"))
    assert Counter(swapped) == Counter(shuffled) == Counter(word)
    assert sum(one != other for one, other in zip(swapped, word, strict=True)) == (2 if len(set(word)) > 1 else 0)
    assert (shuffled[0], shuffled[-1]) == (word[0], word[-1])
    assert (shuffled != word) == (len(set(word[1:-1])) > 1)
    assert len(_misspelt(word, "leet", seed)) == len(_misspelt(word, "lookalike", seed)) == len(word)
    assert not any(unicodedata.combining(letter) for letter in _misspelt(word, "diacritics", seed))


def test_noises_by_example() -> None:
    """One word for each noise that draws nothing."""
    assert _misspelt("Straße", "leet") == "57r4ß3"
    assert _misspelt("über", "diacritics") == "uber"
    assert _misspelt("Straße", "diacritics") == "Straße"
    alike = _misspelt("Haus", "lookalike")
    assert alike != "Haus"
    assert alike.startswith("\u041d\u0430")


@pytest.mark.parametrize("kind", NOISES)
def test_the_share_of_words_is_kept(kind: NoiseName) -> None:
    """None at 0, all that can be at 1, about as many as said between; a larger share misspells the same words and more."""
    lines = ["Käse Öfen Bäume große Bücher"] * 400
    assert list(noisy(lines, kind, 0.0)) == lines
    found = {share: [line.split() for line in noisy(lines, kind, share)] for share in (0.2, 0.4, 1.0)}
    plain = lines[0].split()
    changed = {
        share: [
            (row, place) for row, words in enumerate(rows) for place, word in enumerate(words) if word != plain[place]
        ]
        for share, rows in found.items()
    }
    possible = len(changed[1.0])
    assert possible >= 1600
    assert 0.34 < len(changed[0.4]) / possible < 0.46
    assert set(changed[0.2]) < set(changed[0.4]) < set(changed[1.0])
    assert list(noisy(lines, kind, 0.4)) == list(noisy(iter(lines), kind, 0.4))
    assert list(noisy(lines, kind, 0.4)) != list(noisy(lines, kind, 0.4, seed=2))


def test_only_letters_are_misspelt() -> None:
    """Numbers, signs, white space and the tag of a language stay."""
    line = "<2de>  12:30 Uhr,\tx_y  am 3. Tag!"
    for kind in NOISES:
        (found,) = noisy([line], kind, 1.0)
        assert found.startswith("<2de>  12:30 ")
        assert [character for character in found if character in "  \t,:_!."] == [
            character for character in line if character in "  \t,:_!."
        ]


def test_tags_and_symbols_are_no_words() -> None:
    """A noise leaves tags as they are, and typing errors also the symbols of the tokenizer."""
    (line,) = noisy(["<2en> <bt> Zwei Hunde"], "interior", 1.0)
    assert line.startswith("<2en> <bt> Z")
    drawn: list[str] = []

    class Spy:
        def encode(self, lines: list[str]) -> list[list[int]]:
            drawn.extend(lines)
            return [[1] for _ in lines]

    Typos(Spy(), ["<bt> {ph} name Hunde"] * 50, 0.9, "1", ["{ph}", "name"]).epoch(0)  # type: ignore[arg-type]
    assert all(line.startswith("<bt> {ph} name ") for line in drawn)
    assert any(not line.endswith("Hunde") for line in drawn)


def test_a_typing_error_is_one_error() -> None:
    """Two letters exchanged, one less, one more, or one replaced: each about as often."""
    draws, counts = random.Random(1), Counter[str]()
    for _ in range(4000):
        error = typing_error("Wolken", draws)
        assert abs(len(error) - 6) <= 1
        same = sum(one == other for one, other in zip(error, "Wolken", strict=False))
        counts[
            "shorter" if len(error) < 6 else "longer" if len(error) > 6 else "swapped" if same == 4 else "replaced"
        ] += 1
    assert all(800 < counts[kind] < 1200 for kind in ("shorter", "longer", "swapped", "replaced"))
    assert typing_error("a", draws) in ("a", "aa")


def test_an_unknown_noise_has_a_suggestion() -> None:
    """The error lists all, and the nearest."""
    with pytest.raises(ConfigError, match=r"noise must be one of swap, .*got 'leat' \(did you mean leet\?\)"):
        noise_named("leat")
