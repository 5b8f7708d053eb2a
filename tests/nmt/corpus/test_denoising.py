"""Noises equal those of their papers: each is compared with a reference that was written from the text of the paper."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from nmt.config.data import TokenizerConfig
from nmt.config.recipe import DenoisingConfig
from nmt.corpus.denoising import Denoising
from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.line_draws import uniforms
from nmt.corpus.tokenizer import MASK, WORD_MARK, Tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NONE = {"infill": 0.0}
Line = tuple[str, ...]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Words of single letters, signs, and the mask."""
    text = [" ".join([*LETTERS, ".", "!", "?", "a.", "b!", "c?", "d.\u201d"])] * 3
    return Tokenizer.train(text, TokenizerConfig(kind="word", vocabulary=60, user_symbols=(MASK,)))


def _drawn(
    tokenizer: Tokenizer,
    lines: Sequence[str],
    noises: dict[str, Any],
    epoch: int = 0,
    objective: Literal["denoise", "mass"] = "denoise",
    seed: int = 1,
) -> EncodedCorpus:
    denoising = Denoising(tokenizer, objective, DenoisingConfig(**noises), seed)
    return denoising.drawn(Ragged.of(tokenizer.encode(lines)), epoch)


def _words(tokenizer: Tokenizer, side: Ragged) -> list[Line]:
    parts = np.split(side.values, side.offsets[1:-1])
    return [tuple(piece.lstrip(WORD_MARK) for piece in tokenizer.id_to_pieces(part.tolist())) for part in parts]


def _sources(tokenizer: Tokenizer, lines: Sequence[str], noises: dict[str, Any]) -> list[Line]:
    return _words(tokenizer, _drawn(tokenizer, lines, noises).source)


# The references: section 2.2 of Lewis et al. 2020, a sentence of the paper each.


def _token_masking(words: Line, chance: random.Random) -> Line:
    """Random tokens are sampled and replaced with [MASK] elements."""
    return tuple(MASK if chance.random() < 0.3 else word for word in words)


def _token_deletion(words: Line, chance: random.Random) -> Line:
    """Random tokens are deleted from the input; nothing left is one mask here."""
    return tuple(word for word in words if chance.random() >= 0.3) or (MASK,)


def _document_rotation(words: Line, chance: random.Random) -> Line:
    """A token is chosen uniformly at random, and the document is rotated so that it begins with that token."""
    begin = chance.randrange(len(words))
    return words[begin:] + words[:begin]


def _sentence_permutation(words: Line, chance: random.Random) -> Line:
    """A document is divided into sentences based on full stops, and these are shuffled in a random order."""
    sentences: list[list[str]] = [[]]
    for word in words:
        sentences[-1].append(word)
        if word[-1] in ".!?":
            sentences.append([])
    chance.shuffle(sentences)
    return tuple(word for sentence in sentences for word in sentence)


def _text_infilling(words: Line, chance: random.Random) -> Line:
    """Spans, with lengths from a Poisson distribution, are replaced with a single [MASK] each; 0-length spans insert one."""
    share, mean = 0.4, 1.5
    wanted = share * len(words)
    left = int(wanted) + (chance.random() < wanted - int(wanted))
    rest = len(words) - left
    spans: list[int] = []
    generator = np.random.default_rng(chance.getrandbits(32))
    while left:
        spans.append(min(int(generator.poisson(mean)), left))
        left -= spans[-1]
    parts: list[int | None] = [None] * rest + list(spans)
    chance.shuffle(parts)
    found: list[str] = []
    read = iter(words)
    for part in parts:
        found.append(next(read) if part is None else MASK)
        for _ in range(part or 0):
            next(read)
    return tuple(found)


REFERENCES: dict[str, tuple[str, dict[str, Any], Callable[[Line, random.Random], Line]]] = {
    "masking": ("a b c d", {**_NONE, "mask": 0.3}, _token_masking),
    "deletion": ("a b c d", {**_NONE, "delete": 0.3}, _token_deletion),
    "rotation": ("a b c d e", {**_NONE, "rotate": True}, _document_rotation),
    "permutation": ("e a. f g h b! c? i", {**_NONE, "permute": True}, _sentence_permutation),
    "infilling": ("a b c d e", {"infill": 0.4, "span": 1.5}, _text_infilling),
    "infilling by halves": ("a b c", {"infill": 0.4, "span": 1.5}, _text_infilling),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_noise_is_that_of_the_paper(tokenizer: Tokenizer, name: str) -> None:
    """Over many lines each outcome is as frequent as with the reference, up to what chance explains."""
    (line, noises, reference), count = REFERENCES[name], 12_000
    chance = random.Random(name)
    expected = Counter(reference(tuple(line.split()), chance) for _ in range(count))
    found = Counter(_sources(tokenizer, [line] * count, noises))
    variances = [(expected[outcome] + found[outcome]) for outcome in {*expected, *found}]
    distance = sum(abs(expected[outcome] - found[outcome]) for outcome in {*expected, *found})
    by_chance = sum(variance**0.5 for variance in variances) * (2 / np.pi) ** 0.5
    assert len(found) > 4
    assert distance < 1.6 * by_chance, (distance, by_chance)


def test_infilling_hides_the_wanted_share_in_poisson_spans(tokenizer: Tokenizer) -> None:
    """Of long lines 30 % of the words are gone, and the spans have the frequencies of the Poisson distribution of mean 3."""
    line = " ".join(LETTERS * 40)
    sources = _sources(tokenizer, [line] * 200, {})
    words = len(LETTERS) * 40
    gone = [words - sum(word != MASK for word in source) for source in sources]
    assert set(gone) == {312}  # 30 % of 1040, which needs no rounding
    lengths = Counter(length for source in sources for length in _gaps(source, line.split()))
    total = sum(lengths.values())
    for length, expected in {1: 0.1494, 2: 0.2240, 3: 0.2240, 4: 0.1680, 5: 0.1008, 6: 0.0504}.items():
        assert lengths[length] / total == pytest.approx(expected, abs=0.02), length


def _gaps(source: Line, line: Sequence[str]) -> list[int]:
    """The words behind each mask; letters come in the order of the alphabet, so a gap below 26 is known."""
    found, before = list[int](), -1
    for place, word in enumerate(source):
        alone = word == MASK and (place == 0 or source[place - 1] != MASK)
        if alone and place + 1 < len(source) and source[place + 1] != MASK:
            after = LETTERS.index(source[place + 1])
            found.append((after - before - 1) % 26)
        if word != MASK:
            before = LETTERS.index(word)
    return found


def test_mass_hides_a_half_and_predicts_it_alone(tokenizer: Tokenizer) -> None:
    """The target is the hidden span; it begins anywhere; 8 of 10 of its tokens are masks, 1 is as it was, 1 is any."""
    count = 6000
    drawn = _drawn(tokenizer, ["a b c d e f g"] * count, {}, objective="mass")
    sources, targets = _words(tokenizer, drawn.source), _words(tokenizer, drawn.target)
    line = tuple("abcdefg")
    begins = Counter(line.index(target[0]) for target in targets)
    assert set(begins) == {0, 1, 2, 3}
    assert all(share / count == pytest.approx(0.25, abs=0.02) for share in begins.values())
    fates = Counter[str]()
    for source, target in zip(sources, targets, strict=True):
        begin = line.index(target[0])
        assert target == line[begin : begin + 4]
        assert len(source) == 7
        assert source[:begin] + source[begin + 4 :] == line[:begin] + line[begin + 4 :]
        hidden = zip(source[begin : begin + 4], target, strict=True)
        fates.update("mask" if shown == MASK else "same" if shown == word else "other" for shown, word in hidden)
    assert fates["mask"] / (4 * count) == pytest.approx(0.8, abs=0.01)
    assert fates["same"] / (4 * count) == pytest.approx(0.1, abs=0.01)
    single = _drawn(tokenizer, ["a"], {}, objective="mass")
    assert _words(tokenizer, single.target) == [("a",)]


@pytest.mark.parametrize("objective", ["denoise", "mass"])
def test_draws_depend_on_seed_epoch_and_line_alone(tokenizer: Tokenizer, objective: Literal["denoise", "mass"]) -> None:
    """Not on the other lines; another seed, epoch or place draws otherwise."""
    noises: dict[str, Any] = (
        {"permute": True, "rotate": True, "delete": 0.1, "mask": 0.1} if objective == "denoise" else {}
    )
    lines = [" ".join(LETTERS)] * 8 + ["a. b c d! e f g?"] * 8

    def drawn(lines: Sequence[str], epoch: int = 0, seed: int = 1) -> list[tuple[Line, Line]]:
        found = _drawn(tokenizer, lines, noises, epoch, objective, seed)
        return list(zip(_words(tokenizer, found.source), _words(tokenizer, found.target), strict=True))

    first = drawn(lines)
    assert drawn(lines) == first
    others = drawn(["x y" if row % 2 else line for row, line in enumerate(lines)])
    assert others[::2] == first[::2]
    assert drawn(lines[:5]) == first[:5]
    assert len({str(found) for found in (first, drawn(lines, 1), drawn(lines, 0, 2))}) == 3
    assert len(set(first[:8])) == 8


def test_draws_are_those_of_any_machine() -> None:
    """What was drawn when this was written; numbers of lines and names look independent."""
    assert uniforms("1", np.arange(2), np.array([0, 5])).tolist() == [0.5189338105352662, 0.48514296411175195]
    lines = np.repeat(np.arange(400), 50)
    numbers = np.tile(np.arange(50), 400)
    draws = np.stack([uniforms("a", lines, numbers), uniforms("b", lines, numbers), uniforms("a", lines + 1, numbers)])
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.03
    assert np.histogram(draws, 10, (0, 1))[0] / draws.size == pytest.approx(np.full(10, 0.1), abs=0.005)


def test_words_are_hidden_whole() -> None:
    """Subwords of one word go together; in scripts without spaces a token is a word."""
    text = ["der kleine Hund schläft", "die kleinste Katze", "我们今天去北京", "你好吗"] * 6
    config = TokenizerConfig(kind="unigram", vocabulary=36, user_symbols=(MASK,))
    tokenizer = Tokenizer.train(text, config)
    lines = ["der kleinste Hund", "我们今天去北京"]
    assert len(tokenizer.encode(lines)[0]) > 4
    found = _drawn(tokenizer, lines * 200, {**_NONE, "mask": 0.5})
    parts = [part.tolist() for part in np.split(found.source.values, found.source.offsets[1:-1])]
    texts = {" ".join(tokenizer.decode([part])[0].replace(MASK, f" {MASK} ").split()) for part in parts[::2]}
    whole = {
        (first, second, third) for first in ("der", MASK) for second in ("kleinste", MASK) for third in ("Hund", MASK)
    }
    assert texts == {" ".join(words) for words in whole}
    masks = {sum(tokenizer.id_to_pieces([token]) == [MASK] for token in part) for part in parts[1::2]}
    assert len(masks) > 2


def test_a_closing_mark_belongs_to_its_sentence(tokenizer: Tokenizer) -> None:
    """The quotation mark behind a full stop moves with it, and so does a sign that stands alone."""
    lines = ["e f d.\u201d g ! h"] * 60
    found = set(_sources(tokenizer, lines, {**_NONE, "permute": True}))
    assert ("g", "!", "e", "f", "d.\u201d", "h") in found
    assert len(found) == 6


@pytest.mark.parametrize("objective", ["denoise", "mass"])
def test_lines_in_blocks_are_noised_as_all_together(
    tokenizer: Tokenizer, objective: Literal["denoise", "mass"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch of pairs and lines is the same whatever the size of a block; tags stay where they are."""
    generator = random.Random(3)
    texts = [" ".join(generator.choices([*LETTERS, "a.", "b!"], k=generator.randrange(9))) for _ in range(200)]
    sides = [
        Ragged.of(tokenizer.encode(lines))
        for lines in ([*texts[:30], *(f"z {text}" for text in texts)], [*texts[:30], *texts])
    ]
    noises: dict[str, Any] = {"permute": True, "rotate": True, "delete": 0.1, "mask": 0.1, "infill": 0.3}
    denoising = Denoising(tokenizer, objective, DenoisingConfig(**noises), 1, first=30, tag=1)
    corpus = EncodedCorpus(*sides)
    whole = denoising.epoch(corpus, 2)
    monkeypatch.setattr("nmt.corpus.encoded.BLOCK", 7)
    parts = denoising.epoch(corpus, 2)
    for one, other in ((whole.source, parts.source), (whole.target, parts.target)):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(whole.source.rows(0, 30).values, corpus.source.rows(0, 30).values)
    drawn = denoising.drawn(corpus.target.rows(30, 230), 2)
    assert np.array_equal(whole.target.rows(30, 230).values, drawn.target.values)
    assert np.array_equal(whole.source.rows(30, 230).lengths, drawn.source.lengths + 1)
