"""The synthetic corpora are what they claim: sizes, lengths, structures, no sentence in two splits."""

from __future__ import annotations

import pytest

from nmt_data.synthetic import lexicon, phrasebook, symbols
from nmt_data.synthetic.generate import generate


def test_splits_have_their_sizes_and_share_nothing() -> None:
    """The splits of the phrasebook have the documented sizes and no sentence in common."""
    splits = {name: phrasebook.split(name) for name in ("train", "valid", "test", "long")}
    assert [len(splits[name]) for name in ("train", "valid", "test", "long")] == [20_000, 500, 1_000, 1_000]
    sides = [{side for pair in pairs for side in pair} for pairs in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_it_is_no_toy() -> None:
    """About 300 lexemes, over 5,000 structures, up to 20 words in training and 40 in the long test."""
    lexemes = len(lexicon.NOUNS) + len(lexicon.VERBS) + len(lexicon.ADJECTIVES) + len(lexicon.MANNERS)
    assert lexemes > 230
    assert len(set(phrasebook.structures(20_000))) > 5_000
    assert max(len(source.split()) for source, _ in phrasebook.split("train")) == 20
    lengths = [len(source.split()) for source, _ in phrasebook.split("long")]
    assert max(lengths) == 40
    assert sum(length > 20 for length in lengths) == 500


def test_german_is_german() -> None:
    """Verb second, verb last, split particles, agreement: sentences that the grammar must be able to say."""
    sentences = dict(phrasebook.split("train"))
    words = {word.strip(".,?") for source in sentences for word in source.split()}
    assert {"dem", "den", "meine", "deinem", "schläft", "liest"} <= words
    for wrong in ("zeichnt", "verlasst er", "Bärn", "ladt", "reitt", "müdeen", "euer Schwester"):
        assert not any(wrong in source for source in sentences), wrong
    splittable = [source for source in sentences if source.endswith((" auf.", " an."))]
    assert splittable
    assert any(", weil " in source and source.endswith("t.") for source in sentences)


def test_context_resolves_what_a_word_alone_does_not() -> None:
    """Bank is a bank in some sentences and a bench in others, and so on."""
    pairs = phrasebook.split("train")
    for german, senses in {
        "Bank": ("bank", "bench"),
        "Schloss": ("castle", "lock"),
        "Gericht": ("court", "dish"),
    }.items():
        english = [target for source, target in pairs if f" {german} " in source or f" {german}." in source]
        assert all(any(sense in target for target in english) for sense in senses), german


def test_names_are_copied() -> None:
    """A surname after a title is the same in source and target."""
    for source, target in phrasebook.split("test"):
        for title, english in (("Herr ", "Mr "), ("Frau ", "Mrs ")):
            if source.startswith(title) and source.split()[1][0].isupper():
                assert target.startswith(english + source.split()[1])


@pytest.mark.parametrize(
    "value", [(2, "zwei", "two"), (24, "vierundzwanzig", "twenty-four"), (30, "dreißig", "thirty")]
)
def test_numbers(value: tuple[int, str, str]) -> None:
    """The lexicon spells two, twenty-four and thirty rightly in German and English."""
    assert lexicon.number(value[0]) == value[1:]


def test_symbol_tasks_do_what_they_say() -> None:
    """Targets of the symbol corpora are the source copied, reversed or sorted."""
    assert all(target == source for source, target in symbols.split("copy", "test"))
    assert all(target == source[::-1] for source, target in symbols.split("reverse", "test"))
    assert all(target.split() == sorted(source.split()) for source, target in symbols.split("sort", "long"))


def test_both_directions() -> None:
    """The reversed phrasebook has the sides of each pair exchanged."""
    assert next(generate("phrasebook", "test", reverse=True)) == phrasebook.split("test")[0][::-1]
