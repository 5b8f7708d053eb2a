"""p-values are those of the whole space of draws, never below what chance can do, and of equal systems there is no verdict."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from nmt.errors import ConfigError, DataError
from nmt.scoring.metrics import title_of
from nmt.scoring.significance import FEWEST, Difference, TestName, paired_accuracy, paired_test

WORDS = ("the", "dog", "a", "cat", "that", "child", "sees", "eats", "has", "apple", "ball", "bread", "house", "street")
TESTS: tuple[TestName, ...] = ("bs", "ar")


def _lines(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(4, 9))) for _ in range(count)]


def _worse(lines: list[str], share: float, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join("x" if generator.random() < share else word for word in line.split()) for line in lines]


def _score(metric: BLEU | CHRF | TER, lines: list[str], references: list[str]) -> float:
    return float(metric.corpus_score(lines, [references]).score)


def _reference(
    test: TestName, metric: BLEU | CHRF | TER, one: list[str], two: list[str], references: list[str]
) -> float:
    """The p-value by every draw there is, each scored by sacreBLEU from the text."""
    rows = range(len(references))
    observed = abs(_score(metric, two, references) - _score(metric, one, references))
    gaps: list[float] = []
    for draw in product(rows, repeat=len(rows)) if test == "bs" else product((False, True), repeat=len(rows)):
        if test == "bs":
            sides = [[side[row] for row in draw] for side in (one, two, references)]
        else:
            chosen = [(two[row], one[row]) if draw[row] else (one[row], two[row]) for row in rows]
            sides = [[pair[0] for pair in chosen], [pair[1] for pair in chosen], references]
        gaps.append(abs(_score(metric, sides[0], sides[2]) - _score(metric, sides[1], sides[2])))
    found = np.array(gaps) - (np.mean(gaps) if test == "bs" else 0)
    return float(np.mean(found >= observed - 1e-9))


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_p_values_are_those_of_every_draw_there_is(test: TestName, seed: int) -> None:
    """On small test sets, in all metrics, within what sampling leaves open."""
    count = 4 if test == "bs" else 6
    references = _lines(count, seed)
    one, two = _worse(references, 0.3, seed + 10), _worse(references, 0.5, seed + 20)
    found = paired_test({"one": one, "two": two}, references, test, samples=4000)
    for item, metric in zip(found[1::2], (BLEU(), CHRF(), TER()), strict=True):
        assert item.p_value == pytest.approx(_reference(test, metric, one, two, references), abs=0.03), item


@given(st.integers(1, 40), st.integers(0, 3), st.integers(0, 100), st.sampled_from(TESTS))
@settings(deadline=None, max_examples=25)
def test_what_chance_alone_can_do_is_never_significant(count: int, changed: int, seed: int, test: TestName) -> None:
    """Systems that are the same have p 1 and no verdict; some changed lines do not make one, even all of a tiny test set."""
    references = _lines(count, seed)
    one = _worse(references, 0.2, seed)
    two = [f"{line} y y" if row < changed else line for row, line in enumerate(one)]
    for item in paired_test({"one": one, "same": list(one), "two": two}, references, test, samples=200):
        assert not item.significant, item
        if item.system == "same":
            assert (item.p_value, item.equal) == (1, True)


@pytest.mark.parametrize("test", TESTS)
def test_a_real_difference_is_significant(test: TestName) -> None:
    """Each test finds the gap between systems with 20% and 40% damaged words significant."""
    references = _lines(200, 1)
    one, two = _worse(references, 0.2, 2), _worse(references, 0.4, 3)
    assert all(item.significant for item in paired_test({"one": one, "two": two}, references, test)[1::2])


@pytest.mark.parametrize("test", TESTS)
def test_draws_are_sacrebleus(test: TestName) -> None:
    """Where no draw is exactly at the observed difference, p is what sacreBLEU says; elsewhere it is above."""
    references = _lines(37, 5)
    one, two = _worse(references, 0.2, 6), _worse(references, 0.3, 7)
    systems: list[tuple[str, Sequence[str]]] = [("one", one), ("two", two)]
    metrics = {"BLEU": BLEU(), "chrF2": CHRF(), "TER": TER()}
    signatures, theirs = PairedTest(systems, metrics, [references], test, 500)()
    ours = [item for item in paired_test(dict(systems), references, test, samples=500) if item.system == "two"]
    for item in ours:
        expected = theirs[title_of(item.metric)][1]
        assert not isinstance(expected, str)
        assert item.score == pytest.approx(expected.score)
        assert item.signature == str(signatures[title_of(item.metric)])
        assert item.p_value is not None
        assert expected.p_value is not None
        if item.metric == "chrf2":  # of real numbers; of the other two, draws are tied at times
            assert item.p_value == pytest.approx(expected.p_value, abs=2 / 501)
        assert item.p_value >= expected.p_value - 2 / 501


def test_there_is_no_verdict_on_what_is_shown_as_equal() -> None:
    """Neither where the difference is shown as 0.00, nor where too few lines differ, however small p is."""
    item = Difference("two", "bleu", 30.0, 0.004, 0.001, "", differing=100)
    assert (item.equal, item.significant) == (True, False)
    assert not Difference("two", "bleu", 30.0, 4.0, 0.001, "", differing=FEWEST - 1).significant
    assert Difference("two", "bleu", 30.0, 4.0, 0.001, "", differing=FEWEST).significant


def test_what_cannot_be_tested_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line, another number of lines, and a seed of sacreBLEU's that is none."""
    with pytest.raises(DataError, match="the test set is empty"):
        paired_test({"one": [], "two": []}, [])
    with pytest.raises(DataError, match="two has 1 translations for 2 references"):
        paired_test({"one": ["a", "b"], "two": ["a"]}, ["a", "b"])
    monkeypatch.setenv("SACREBLEU_SEED", "12x")
    with pytest.raises(ConfigError, match="SACREBLEU_SEED must be a whole number below"):
        paired_test({"one": ["a"], "two": ["a"]}, ["a"])


def test_accuracy_is_compared_by_accuracy() -> None:
    """Systems with the same share of right positions do not differ, wherever their errors are; a worse one does."""
    draw = random.Random(1)
    references = [" ".join(draw.choices("abcdefgh", k=3)) for _ in range(300)]
    words = [line.split() for line in references]
    block = ["x x x" if row < 100 else line for row, line in enumerate(references)]
    spread = [" ".join(["x", *line[1:]]) for line in words]
    worse = [" ".join(["x", "x", *line[2:]]) for line in words]
    found = paired_accuracy({"block": block, "spread": spread, "worse": worse}, references)
    assert found["spread"] > 0.1
    assert found["worse"] < 0.01
