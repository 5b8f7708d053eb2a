"""The view of the words that may follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from looking import TEXT, make_translator
from nmt.corpus.tokenizer import EOS, UNK
from nmt.errors import DataError
from nmt.inspection.alternatives import AlternativesRequest, alternatives
from nmt.inspection.surprise import forced
from nmt.translation.translator import Translator
from tiny import FAMILIES, VISUAL

SOME = ("bottleneck", "additive", "convolution", "transformer", "visual")
OTHERS = [name for name in FAMILIES | VISUAL if name not in SOME]


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_words_are_shares_and_completions_begin_with_them(name: str) -> None:
    """Probabilities fall and add up to at most 1, words differ, and a translation begins with prefix and word."""
    translator = make_translator(name, single=True, beam=2)
    for prefix in ("", "The old", "The old ", "The 狗 dog"):
        request = AlternativesRequest(model="m", text=TEXT, prefix=prefix, count=5)
        answer = alternatives({"m": translator}, request)
        shares = [item["probability"] for item in answer["next"]]
        assert answer["prefix"] == prefix.strip()
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert 0 <= sum(shares) <= 1 + 1e-6
        assert len({(item["prefix"], item["word"]) for item in answer["next"]}) == 5
        for item in answer["next"]:
            assert item["completion"].startswith(item["prefix"])
            between = "" if item["continues"] or item["word"] == "</s>" else " "
            added = "" if item["word"] == "</s>" else item["word"]
            assert item["prefix"] == f"{answer['prefix']}{between}{added}".strip()
            assert item["completion"][len(item["prefix"]) :][:1] in ("", " ")  # the word has ended
            assert not (prefix.endswith(" ") and item["continues"])


def test_a_prefix_leaves_room_for_the_word() -> None:
    """A prefix of the longest length that is allowed has completions that begin with it; a longer one is refused."""
    translator = make_translator("additive", single=True, max_length_constant=7)
    words = "sleeps " * 9
    fits = max(n for n in range(1, 10) if len(translator.encode_target(" ".join(words.split()[:n]))) <= 7)
    for count in (fits, fits + 1):
        request = AlternativesRequest(model="m", text=TEXT, prefix=" ".join(words.split()[:count]))
        if count > fits:
            with pytest.raises(DataError, match="at most 7"):
                alternatives({"m": translator}, request)
            continue
        found = alternatives({"m": translator}, request)["next"]
        assert all(item["completion"].startswith(item["prefix"]) for item in found)


def _spellings(vocabulary: Sequence[str | int], text: str) -> Iterator[list[int]]:
    """All ways to spell a text, by trying every piece at its beginning."""
    if not text:
        yield []
    for token, piece in enumerate(vocabulary):
        if isinstance(piece, str) and piece and token > EOS and text.startswith(piece):
            yield from ([token, *rest] for rest in _spellings(vocabulary, text[len(piece) :]))


def _probability(translator: Translator, prefix: list[int], word: list[int]) -> float:
    """Of the pieces of a word after a prefix, and that a word or the end begins after it: by forced decoding."""
    values = forced(translator, translator.encode(TEXT), [*prefix, *word]).exp()[len(prefix) :]
    vocabulary = translator.tokenizers.target.spelled
    ends = [EOS, UNK, *(token for token, text in enumerate(vocabulary) if str(text).startswith(" "))]
    share = sum(float(values[-1][token]) for token in set(ends))
    return math.prod([float(row[token]) for row, token in zip(values, word, strict=False)]) * share


@pytest.mark.parametrize("name", ["additive", "transformer"])
def test_the_probability_is_that_of_all_spellings(name: str) -> None:
    """In plain Python: the sum over the ways to spell the word. The beam finds the likeliest of them, and no more than all."""
    translator = make_translator(name)
    prefix = translator.encode_target("The")
    answer = alternatives({"m": translator}, AlternativesRequest(model="m", text=TEXT, prefix="The ", count=8))
    for item in answer["next"]:
        if item["word"] == "</s>":
            every = [float(forced(translator, translator.encode(TEXT), prefix)[-1][EOS].exp())]
        elif "⁇" in item["word"] or len(item["word"]) > 8:
            continue
        else:
            spelled = _spellings(translator.tokenizers.target.spelled, f" {item['word']}")
            every = [_probability(translator, prefix, tokens) for tokens in spelled]
        assert max(every) - 1e-9 <= item["probability"] <= sum(every) + 1e-9
