"""Lines in, lines out: as many, in order, the same for any batch size."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import nmt
from nmt.checkpoint import LoadedModel, load_model
from nmt.config import SamplingConfig, SearchConfig
from nmt.errors import ConfigError, DataError
from nmt.text import clean_line
from nmt.translation import Options
from nmt.translator import Translator
from nmt_data.synthetic import phrasebook


@pytest.fixture(scope="module")
def translator(trained: Path) -> Translator:
    return Translator(load_model(trained), search=SearchConfig(beam=2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_lines_give_as_many(translator: Translator, lines: list[str]) -> None:
    """Blank lines stay blank, and no translation holds a line break."""
    results = translator.translate(lines)
    assert len(results) == len(lines)
    assert all(len(text.splitlines()) <= 1 for text in results)
    assert all(text == "" for line, text in zip(lines, results, strict=True) if not line.strip())


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "groups": {"groups": 2},
    "gnmt": {"length_penalty": "gnmt"},
    "count": {"stopping": "count"},
    "minimum": {"min_length": 9},
    "limit": {"max_length_ratio": 0.0, "max_length_constant": 2},
    "repeats": {"no_repeat_ngram": 1},
    "penalty": {"repetition_penalty": 4.0},
    "coverage": {"coverage_penalty": 0.2},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "sampling": {"sampling": SamplingConfig(top_k=2)},
    "agreement": {"sampling": SamplingConfig(), "mbr": "chrf"},
    "constrained": {"constrained": True},
    "forbidden": {"forbidden": ["dog", "the", "."]},
    "links": {"align": True},
    "copies": {"replace_unknown": True},
    "cut": {"max_source": 3},
    "split": {"max_source": 3, "long_lines": "split"},
}


@pytest.mark.slow
@pytest.mark.parametrize("prefixes", [None, ["the dog the dog", "", "the"]])
def test_no_pair_of_options_loses_a_line(trained: Path, prefixes: list[str] | None) -> None:
    """What two options make of a line is a translation, and blank for a blank line alone; or they are refused together."""
    loaded = load_model(trained)
    lines = ["Der Hund schläft heute in Berlin.\tdog", "", "Ich sehe ihn nicht.\tthe dog\tdog"]
    refused = 0
    for first, second in itertools.combinations([*SEARCHES, *OPTIONS], 2):
        search: dict[str, Any] = {"beam": 4, **SEARCHES.get(first, {}), **SEARCHES.get(second, {})}
        options = {**OPTIONS.get(first, {}), **OPTIONS.get(second, {})}
        try:
            translator = Translator(loaded, search=SearchConfig(**search), options=Options(**options))
        except (ConfigError, ValidationError):
            refused += 1
            continue
        found = [best[0] for best in translator.translate_n_best(lines, 1, prefixes)]
        assert [item.tokens > 0 for item in found] == [True, False, True], (first, second)
    assert refused == 4


@pytest.mark.slow
def test_batch_size_and_order_change_nothing(trained: Path) -> None:
    """Exactly, in float64; the order of the input is the order of the output."""
    lines = [source for source, _ in phrasebook.split("test")[:40]] + ["", "x"]
    loaded = load_model(trained)
    loaded.model.double()
    results = [Translator(loaded, batch_size=size).translate(lines) for size in (1, 7, 64)]
    assert results[0] == results[1] == results[2]
    turned = Translator(loaded, batch_size=7).translate(lines[::-1])
    assert turned[::-1] == results[0]


def test_cuts_are_counted(trained: Path) -> None:
    loaded = load_model(trained)
    search = SearchConfig(beam=1, max_length_ratio=0, max_length_constant=1)
    translator = Translator(loaded, search=search, options=Options(max_source=3))
    translator.translate(["Der Hund schläft heute nicht in Berlin.", "", "Ja"])
    assert translator.report.lines == 3
    assert translator.report.blank == 1
    assert translator.report.source_cut == 1
    assert translator.report.target_cut >= 1
    assert len(translator.report.summary()) == 2


def test_a_giant_line_is_cut_not_tokenised_whole(translator: Translator) -> None:
    assert len(translator.translate(["Hund " * 400_000])) == 1
    assert translator.report.source_cut >= 1


FILLERS = (" ", "\t", "\0", "\u200b", "\u0301", "\u3000", "\u00a0", "漢", "Hund ", "schläft. ", "x")
RUNS = st.lists(st.tuples(st.sampled_from(FILLERS), st.integers(1, 200)), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS, st.integers(1, 6))
def test_a_line_is_cut_by_its_tokens(trained: Path, runs: list[tuple[str, int]], limit: int) -> None:
    """Whatever stands before them, the first tokens of the whole line are read, and a line that has more is counted."""
    line = "".join(text * count for text, count in runs)
    translator = Translator(MODELS.setdefault(trained, load_model(trained)), options=Options(max_source=limit))
    (whole,) = translator.tokenizers.source.encode([clean_line(line)])
    assert translator.encode(line) == whole[:limit]
    translator.score_targets([line], ["x"])
    assert translator.report.source_cut == (len(whole) > limit)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS, st.integers(4, 9))
def test_a_line_is_split_without_loss(trained: Path, runs: list[tuple[str, int]], limit: int) -> None:
    """All parts together hold all that the line holds but spaces, and none is cut."""
    line = "".join(text * count for text, count in runs)
    options = Options(max_source=limit, long_lines="split")
    translator = Translator(MODELS.setdefault(trained, load_model(trained)), options=options)
    ids, _, texts = translator._encode_source([line])
    assert "".join("".join(map(clean_line, texts)).split()) == "".join(clean_line(line).split())
    assert [translator.tokenizers.source.encode([text])[0] for text in map(clean_line, texts)] == ids
    assert translator.report.source_cut == 0


MODELS: dict[Path, LoadedModel] = {}


def test_a_sentence_behind_much_white_space_is_read(translator: Translator) -> None:
    """As if it stood at the beginning of its line."""
    for filler in (" ", "\t", "\0", "\u2028"):
        assert translator.encode(filler * 40_000 + "Der Hund") == translator.encode("Der Hund"), repr(filler)


def test_n_best_scores_are_forced_scores(translator: Translator) -> None:
    """In text: what `translate` prints for a line is what `score` gives for the pair."""
    line = phrasebook.split("test")[0][0]
    found = translator.translate_n_best([line, ""], 2)
    assert [len(item) for item in found] == [2, 1]
    assert found[0][0].score >= found[0][1].score
    with pytest.raises(DataError, match="need a beam of 3"):
        translator.translate_n_best([line], 3)


def test_scores_do_not_depend_on_the_batch(translator: Translator) -> None:
    pairs = phrasebook.split("test")[:9]
    sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
    together = translator.score_targets(sources, targets)
    for index in range(9):
        alone = translator.score_targets(sources[index : index + 1], targets[index : index + 1])[0]
        assert together[index].log_probability == pytest.approx(alone.log_probability, rel=1e-5)
        assert together[index].tokens == alone.tokens


def test_the_python_api_is_three_words(trained: Path) -> None:
    assert len(nmt.load(trained, device="cpu", beam=1).translate(["Der Hund schläft.", ""])) == 2
