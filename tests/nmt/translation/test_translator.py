"""Lines in, lines out: as many, in order, the same for any batch size."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import nmt
from nmt.config.search import SamplingConfig, SearchConfig
from nmt.corpus.lines import clean_line
from nmt.decoding.beam_search import Hypothesis
from nmt.errors import ConfigError, DataError, TextError
from nmt.storage.bundle import LoadedModel, load_model
from nmt.translation.hypothesis_attention import attention_of, ranked_by_coverage
from nmt.translation.result import Options, Translation
from nmt.translation.translator import Translator
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


SHORT: dict[str, Any] = {
    "max_length_ratio": 1.0,
    "max_length_constant": 9,
}  # the model, hardly trained, finds no end before the limit
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
    "agreement": {"sampling": SamplingConfig(), "mbr": "chrf2"},
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
        search: dict[str, Any] = {"beam": 4, **SHORT, **SEARCHES.get(first, {}), **SEARCHES.get(second, {})}
        options = {**OPTIONS.get(first, {}), **OPTIONS.get(second, {})}
        try:
            translator = Translator(loaded, search=SearchConfig(**search), options=Options(**options))
        except (ConfigError, ValidationError):
            refused += 1
            continue
        found = [best[0] for best in translator.translate_n_best(lines, 1, prefixes)]
        assert [item.tokens > 0 for item in found] == [True, False, True], (first, second)
    assert refused == 4


ASKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "beam": ({"beam": 4}, {}),
    "greedy": ({"beam": 1}, {}),
    "groups": ({"beam": 4, "groups": 2}, {}),
    "sampling": ({"beam": 3}, {"sampling": SamplingConfig(temperature=2.0)}),
    "agreement": ({"beam": 6}, {"sampling": SamplingConfig(), "mbr": "chrf2"}),
    "constrained": ({"beam": 4}, {"constrained": True}),
    "copies": ({"beam": 2}, {"replace_unknown": True}),
}


@pytest.mark.parametrize("name", ASKED)
def test_forbidden_words_are_not_said_and_no_other_line_changes(trained: Path, name: str) -> None:
    """By any search, in any of the best; a line that says none of them is the same to the bit, and all are in any batch."""
    search, options = ASKED[name]
    lines, loaded = [source for source, _ in phrasebook.split("test")[:8]], load_model(trained)
    lines = [f"{line}\tvery" for line in lines[:3]] + lines[3:]
    count = 1 if search["beam"] == 1 else 2

    def found(phrases: list[str], size: int | None = None) -> list[list[Translation]]:
        own = Options(forbidden=phrases, **options)
        translator = Translator(loaded, search=SearchConfig(**search, **SHORT), options=own, batch_size=size)
        return translator.translate_n_best(lines, count)

    free = found([])
    words = Counter(re.findall(r"\w+", " ".join(items[0].text for items in free)))
    phrases = [word for word, _ in words.most_common(9)][::4]
    ruled = found(phrases)
    changed = 0
    for before, after in zip(free, ruled, strict=True):
        assert not any(set(re.findall(r"\w+", item.text)) & set(phrases) for item in after)
        assert after[0].tokens > 0
        if not any(set(re.findall(r"\w+", item.text)) & set(phrases) for item in before):
            assert after == before or name == "agreement"  # draws that are not shown have changed too
        else:
            changed += 1
    assert changed
    texts = [[[item.text for item in items] for items in some] for some in (ruled, found(phrases, 3))]
    assert texts[0] == texts[1]


def test_what_must_be_said_is_said_or_the_report_says_why_not(trained: Path) -> None:
    """At the edges of words; unknown characters, forbidden phrases and too little room are counted, and named."""
    loaded = load_model(trained)
    options = Options(constrained=True, forbidden=["garden", "狗"])
    search = SearchConfig(beam=4, max_length_ratio=3.0)
    translator = Translator(loaded, search=search, options=options)
    found = translator.translate(["Der Hund schläft.\tbird", "Ja.\t狗\tthe garden", "Nein.\t狗", "Ja."])
    assert re.search(r"\bbird\b", found[0])
    assert not any("\u2047" in text for text in found)
    assert found[1] == found[3] == Translator(loaded, search=search).translate(["Ja."])[0]
    report = translator.report
    assert (report.left_out, report.contradictory, report.never, report.unmet) == (
        ["狗", "狗"],
        ["the garden"],
        ["狗"],
        0,
    )
    assert [line.rsplit(": ", 1)[-1] for line in report.summary()] == ["狗 (2 times)", "the garden", "狗"]
    short = SearchConfig(beam=2, max_length_ratio=0.0, max_length_constant=1)
    cut = Translator(loaded, search=short, options=options)
    cut.translate(["Ja.\tbird tree house"])
    assert "1 translations lack a phrase that they were to contain" in cut.report.summary()
    with pytest.raises(ConfigError, match="is blank"):
        Translator(loaded, options=Options(forbidden=["the", " "]))


def test_word_starts_take_longer_words_too(trained: Path) -> None:
    """With `word_starts`, a forbidden beginning also excludes every longer word that begins with it."""
    lines = [source for source, _ in phrasebook.split("test")[:12]]
    free = Translator(load_model(trained)).translate(lines)
    word = max(re.findall(r"\w+", " ".join(free)), key=len)
    some = Translator(load_model(trained), options=Options(forbidden=[word[:3]], word_starts=True)).translate(lines)
    assert not re.search(rf"\b{word[:3]}", " ".join(some))
    assert re.search(rf"\b{word[:3]}", " ".join(free))


def test_prefixes_stay_as_they_are_written(trained: Path) -> None:
    """Characters that the model does not know too; that it did not know them is counted; copies do not take their place."""
    for options in (Options(), Options(replace_unknown=True, align=True), Options(forbidden=["the 狗", "is"])):
        translator = Translator(load_model(trained), options=options)
        (best,) = translator.translate_n_best(["Der Hund schläft."], 1, ["the 狗 is"])
        assert best[0].text.startswith("the 狗 is")
        assert translator.report.unknown_prefixes == 1
        assert "they stand in the translation as written" in " ".join(translator.report.summary())


def test_prefixes_phrases_and_forbidden_words_are_those_of_their_line(trained: Path) -> None:
    """A prefix that says a forbidden word stays, whatever the other lines of the batch ask for."""
    lines = [source for source, _ in phrasebook.split("test")[:8]]
    lines = [f"{line}\tvery" if row % 2 else line for row, line in enumerate(lines)]
    begins = ["", "The the the", "They", "the", "a", "", "the very", "They the"]
    loaded, options = load_model(trained), Options(forbidden=["the", "is", "a"], constrained=True)

    def found(size: int) -> list[list[Translation]]:
        return Translator(loaded, options=options, batch_size=size).translate_n_best(lines, 1, begins)

    together, alone = found(8), found(1)
    assert [items[0].text for items in together] == [items[0].text for items in alone]
    assert all(items[0].text.startswith(begin) for items, begin in zip(together, begins, strict=True))


def test_what_finds_nothing_is_counted(trained: Path) -> None:
    """The translation is empty, and the report says so."""
    translator = Translator(load_model(trained))
    translator.decoder.search_batch = lambda batch, *_: [[] for _ in batch.ids]  # type: ignore[method-assign]
    assert translator.translate(["Ja.", "", "Nein."]) == ["", "", ""]
    assert "2 translations are empty, as nothing that is allowed was found" in translator.report.summary()


@pytest.mark.parametrize("change", [{"lowercase": True}, {"normalise": "nfc"}, {"source": "en", "target": "de"}])
def test_models_that_read_text_otherwise_are_no_ensemble(trained: Path, change: dict[str, Any]) -> None:
    """Though their tokenizers are the same: the vote of the second would be about another text."""
    loaded = load_model(trained)
    data = loaded.recipe.data.model_copy(update=change)
    other = dataclasses.replace(loaded, recipe=loaded.recipe.model_copy(update={"data": data}))
    with pytest.raises(ConfigError, match=rf"the same data.{next(iter(change))}, not "):
        Translator(loaded, others=[other])
    assert Translator(other, others=[other]).translate("") == ""


@pytest.mark.parametrize("how", ["beam", "groups", "sampling", "phrases"])
def test_a_prefix_has_room_besides_the_limit(trained: Path, how: str) -> None:
    """However long it is, it is written whole, and a translation may follow it."""
    prefix = "the garden of the house and " * 12 + "the"
    options = Options(sampling=SamplingConfig() if how == "sampling" else None, constrained=how == "phrases")
    search = SearchConfig(beam=2, groups=2 if how == "groups" else 1, max_length_ratio=0.0, max_length_constant=5)
    translator = Translator(load_model(trained), search=search, options=options)
    line = "Der Hund schläft." + ("\tdog" if how == "phrases" else "")
    (best,) = translator.translate_n_best([line], 1, [prefix])
    assert best[0].text.startswith(prefix)
    (short,) = translator.translate_n_best([line], 1)
    assert 0 < short[0].tokens <= 6


def test_a_search_that_finds_nothing_has_no_coverage(trained: Path) -> None:
    """A sentence of which every hypothesis is forbidden has none to rank, and its neighbours have theirs."""
    decoder = Translator(load_model(trained)).decoder
    ids, found = [[5, 6, 7], [8, 9]], [[], [Hypothesis([10, 11], -1.0, -1.0, cut=False)]]
    maps = list(attention_of(decoder.model, decoder.device, ids, found))
    assert [tuple(weights.shape) for weights in maps] == [(0, 0, 4), (1, 3, 3)]
    none, (one,) = ranked_by_coverage(found, maps, ids, 0.2)
    assert none == []
    assert one.score < -1.0


def test_a_translation_says_that_its_line_was_cut(trained: Path) -> None:
    """Each that belongs to a line of which only the beginning was read, in whole lines and in parts."""
    translator = Translator(load_model(trained), search=SearchConfig(beam=2), options=Options(max_source=5))
    found = translator.translate_n_best(["Der Hund schläft heute nicht in Berlin.", "", "Ja"], 2)
    assert [[item.cut for item in items] for items in found] == [[True, True], [False], [False, False]]


def test_links_of_parts_are_links_of_the_line(trained: Path) -> None:
    """Those of a later part count the words before it; a blank line has a list without links."""
    lines = ["Der Hund schläft. " * 3, "", "Ja"]
    options = Options(max_source=14, long_lines="split", align=True)
    translator = Translator(load_model(trained), search=SearchConfig(beam=1), options=options)
    (line,), (blank,), (short,) = translator.translate_n_best(lines, 1)
    assert translator.report.source_split == 1
    parts = translator.source.encoded(lines[:1]).texts
    alone = [translator.translate_n_best([part], 1)[0][0] for part in parts]
    assert len(parts) > 1
    sources = itertools.accumulate([0, *(len(part.split()) for part in parts[:-1])])
    targets = itertools.accumulate([0, *(len(item.text.split()) for item in alone[:-1])])
    assert line.alignment == [
        (source + first, target + second)
        for item, first, second in zip(alone, sources, targets, strict=True)
        for source, target in item.alignment or ()
    ]
    assert blank.alignment == []
    assert short.alignment


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
    """The report counts lines, blank lines, truncated sources and truncated translations."""
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
    """A line of 400,000 words gives one translation and is reported as cut."""
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
    source = translator.source.encoded([line])
    ids, texts = source.ids, source.texts
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
    """Forced scores of nine pairs in a batch equal those of each pair alone."""
    pairs = phrasebook.split("test")[:9]
    sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
    together = translator.score_targets(sources, targets)
    for index in range(9):
        alone = translator.score_targets(sources[index : index + 1], targets[index : index + 1])[0]
        assert together[index].log_probability == pytest.approx(alone.log_probability, rel=1e-5)
        assert together[index].tokens == alone.tokens


def test_the_python_api_is_three_words(trained: Path) -> None:
    """A sentence for a sentence, a list for a list; beam and number of the best for each call; it says what it is."""
    translator = nmt.load(trained, device="cpu", beam=1)
    one = translator.translate("Der Hund schläft.")
    assert isinstance(one, str)
    assert translator.translate(["Der Hund schläft.", ""]) == [one, ""]
    assert translator.translate(line for line in ("Der Hund schläft.", "")) == [one, ""]
    assert translator.translate([]) == []
    best = translator.translate("Der Hund schläft.", n_best=3, beam=4)
    assert translator.translate(["", "Der Hund schläft."], n_best=3, beam=4) == [[""], best]
    assert len(set(best)) == 3
    assert best[0] == nmt.load(trained, device="cpu", beam=4).translate("Der Hund schläft.")
    assert translator.search.beam == 1
    assert repr(translator) == f"<Translator tiny: de-en, rnn, {translator.parameter_count:,} parameters, beam 1, cpu>"


@pytest.mark.parametrize(
    "given", [None, 3, b"Hund", {"Hund": 1}, {"Hund"}, ["Hund", None], [b"Hund"], Path("in.de"), [["Hund"]]]
)
def test_what_is_not_text_is_refused(translator: Translator, given: Any) -> None:
    """In one line that names what it was."""
    with pytest.raises(TextError, match="str") as caught:
        translator.translate(given)
    assert isinstance(caught.value, nmt.NmtError)
    with pytest.raises(TextError):
        translator.score_targets(given, ["x"])


def test_wrong_numbers_and_settings_are_one_line(trained: Path, translator: Translator) -> None:
    """Invalid numbers, unknown settings and unequal lists raise errors that name them."""
    with pytest.raises(DataError, match="at least 1"):
        translator.translate("Hund", n_best=0)
    with pytest.raises(ConfigError, match="beam"):
        translator.translate("Hund", beam=0)
    with pytest.raises(ConfigError, match="baem"):
        nmt.load(trained, baem=3)
    with pytest.raises(DataError, match="2 sources but 1 target"):
        translator.score_targets(["a", "b"], "c")
