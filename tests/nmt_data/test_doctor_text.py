"""Findings of `nmt doctor` on the text itself: encodings, copies, tokenisation and languages."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nmt.corpus.testset import TestSet
from nmt_data.doctor import languages
from nmt_data.doctor.languages import examine_languages, judge
from nmt_data.doctor.text import apart, copies, encodings, examine_text, is_mojibake, rewriting, sampled, tokenisation
from nmt_data.prepare import prepare
from nmt_data.synthetic.generate import generate
from tiny import MONO, make_recipe

ENGLISH = ["The dog sleeps, and the cat sees it.", "A man reads a book."] * 20
GERMAN = ["Der Hund schläft, und die Katze sieht ihn.", "Ein Mann liest ein Buch."] * 20
FRENCH = ["Le chien dort, et le chat le voit bien.", "Un homme lit un livre dans la cuisine."] * 20


@pytest.mark.parametrize("text", ["für", "l’été", "Straße", "naïve café", "“quoted”", "Łódź"])
def test_utf8_read_as_windows_1252_is_mojibake(text: str) -> None:
    """What is damaged so is found, and what is whole is not; letters without a place in that encoding pass as latin-1 would."""
    damaged = text.encode().decode("cp1252", "replace").replace("\xa0", " ")
    assert is_mojibake(f"so {damaged} steht") or "\ufffd" in damaged
    assert not is_mojibake(f"so {text} steht")


@pytest.mark.parametrize("line", ["plain", "", "Ähre Öl Übel", "ÃO é São João", "日本語", "£5 ±1 °C", "жизнь"])
def test_whole_text_is_no_mojibake(line: str) -> None:
    """Letters of other languages, and signs, are what they are."""
    assert not is_mojibake(line)


def test_lines_of_a_wrong_encoding_are_told() -> None:
    """With the text, the side and a line of it; replacement characters too."""
    damaged = TestSet("train", [*GERMAN, "fÃ¼r dich"], [*ENGLISH, "for \ufffd you"])
    wrong, replaced = encodings([damaged])
    assert (wrong.level, wrong.figures["side"], "fÃ¼r" in wrong.text) == ("advice", "source", True)
    assert (replaced.level, replaced.figures["side"], "U+FFFD" in replaced.text) == ("advice", "target", True)
    assert [finding.level for finding in encodings([TestSet("train", GERMAN, ENGLISH)])] == ["ok"]


def test_pairs_that_are_copies_are_told() -> None:
    """Above one in twenty."""
    assert copies(TestSet("train", GERMAN, ENGLISH)).level == "ok"
    assert "drop_identical" in copies(TestSet("train", GERMAN, [*ENGLISH[:20], *GERMAN[20:]])).remedy


def test_text_without_translations_is_no_copy() -> None:
    """Each of its lines stands on both sides of the prepared text."""
    recipe = make_recipe(data={"mono": MONO}, training={"objective": "denoise"}, tokenizer={"vocabulary": 60})
    (share,) = (item.figures["share"] for item in examine_text(prepare(recipe), "nfkc") if item.topic == "copies")
    (plain,) = (
        item.figures["share"] for item in examine_text(prepare(make_recipe()), "nfkc") if item.topic == "copies"
    )
    assert share == plain < 1


def test_tokenised_train_and_raw_test_sets_are_told() -> None:
    """In either direction, by the spaces before punctuation; and nothing where both are alike or have none."""
    apart_lines = [line.replace(".", " .").replace(",", " ,") for line in ENGLISH]
    raw, tokenised = TestSet("test", GERMAN, ENGLISH), TestSet("train", GERMAN, apart_lines)
    (finding,) = tokenisation(tokenised, [raw])
    assert (finding.level, finding.figures["side"]) == ("advice", "target")
    assert "train is tokenised" in finding.text
    (finding,) = tokenisation(replace(raw, name="train"), [tokenised])
    assert "train is raw" in finding.text
    assert tokenisation(raw, [raw])[0].level == "ok"
    assert apart(["no punctuation"] * 100) is None
    assert tokenisation(TestSet("train", ["a"] * 50, ["b"] * 50), [raw])[0].level == "ok"


def test_a_sample_is_drawn_from_the_whole_text() -> None:
    """The same lines at each call, in their order, and with both sides together; a text that is not longer is taken whole."""
    lines = list(map(str, range(1000)))
    text = TestSet("train", lines, lines)
    sample = sampled(text, 100)
    numbers = list(map(int, sample.source))
    assert numbers == sorted(numbers)
    assert sum(number < 500 for number in numbers) in range(30, 71)
    assert (len(set(numbers)), sample.target) == (100, sample.source)
    assert sampled(text, 100) == sample
    assert sampled(text, 1000) == text


def test_languages_as_said_are_well() -> None:
    """Of real sentences, and of the phrasebook's."""
    pytest.importorskip("py3langid")
    assert judge(TestSet("train", GERMAN, ENGLISH), ("de", "en")).level == "ok"
    pairs = [pair for pair, _ in zip(generate("phrasebook", "valid", reverse=False), range(200), strict=False)]
    made = TestSet("valid", [source for source, _ in pairs], [target for _, target in pairs])
    said = ("de", "en") if "the" in " ".join(made.target).lower().split() else ("en", "de")
    assert judge(made, said).level == "ok"


def test_swapped_sides_are_told() -> None:
    """With the keys to swap."""
    pytest.importorskip("py3langid")
    finding = judge(TestSet("train", ENGLISH, GERMAN), ("de", "en"))
    assert (finding.level, "swapped" in finding.text) == ("advice", True)
    assert "data.source" in finding.remedy


def test_a_side_in_another_language_is_told() -> None:
    """The language that it looks like, and the one that the recipe says."""
    pytest.importorskip("py3langid")
    finding = judge(TestSet("train", GERMAN, FRENCH), ("de", "en"))
    assert (finding.level, finding.text) == ("advice", "the target of train looks like fr, not en")


def test_lines_that_are_untranslated_are_told() -> None:
    """Where more than a tenth of a side looks like the other language."""
    pytest.importorskip("py3langid")
    finding = judge(TestSet("train", GERMAN, [*ENGLISH[:30], *GERMAN[30:]]), ("de", "en"))
    assert (finding.level, "25% of the target lines" in finding.text) == ("advice", True)


def test_languages_that_are_near_are_not_told_apart() -> None:
    """Norwegian may look like Danish, line by line."""
    pytest.importorskip("py3langid")
    danish = ["Hunden sover, og katten ser den.", "En mand læser en bog i køkkenet."] * 20
    assert judge(TestSet("train", danish, ENGLISH), ("no", "en")).level == "ok"


def test_languages_that_nobody_knows_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invented ones, and all if py3langid is missing; the install is named."""
    prepared = prepare(make_recipe())
    if importlib.util.find_spec("py3langid"):
        (finding,) = examine_languages(prepared)
        assert (finding.level, "input and output" in finding.text) == ("ok", True)
    monkeypatch.setattr(languages, "is_installed", lambda: False)
    assert "pip install 'nmt[languages]'" in examine_languages(prepared)[0].text


def test_the_first_corpus_and_the_validation_set_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions and scripts of a language's code do not count, nor whether it has two letters or three."""
    pytest.importorskip("py3langid")
    prepared = SimpleNamespace(
        report={"source": "de_DE", "target": "qaa", "synthetic": False},
        parts=[40],
        training_text=lambda: TestSet("train", GERMAN, ENGLISH),
        testset=lambda name: TestSet(name, GERMAN, ENGLISH),
    )
    assert "qaa" in examine_languages(prepared)[0].text  # type: ignore[arg-type]
    for code in ("en-GB", "eng"):
        prepared.report["target"] = code
        found = examine_languages(prepared)  # type: ignore[arg-type]
        assert [(finding.level, finding.figures["split"]) for finding in found] == [("ok", "train"), ("ok", "valid")]
    assert "py3langid" in sys.modules


def test_letters_that_the_tokenizer_rewrites_are_told() -> None:
    """Chinese punctuation, Thai vowels and separate accents; not spaces, and not where the tokenizer keeps them."""
    texts = {"！ ，": ["你好，世界！", "你好"], "ำ": ["ทำไม", "น้ำ"], "e\u0301": ["cafe\u0301"], "": ["a\u00a0b", "né"]}
    for letters, lines in texts.items():
        found = rewriting(TestSet("train", lines, lines), "nfkc")
        assert [f"({letters})" in finding.text for finding in found] == [True] * bool(letters)
        assert not rewriting(TestSet("train", lines, lines), "identity")
