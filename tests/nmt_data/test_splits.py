"""What becomes of pairs on their way into train and the test sets: counted, told apart, tagged late, worth scoring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audits import audit, held_out, without_leaks
from nmt.config.recipe import Recipe
from nmt.corpus.prepared import Prepared
from nmt.corpus.words import normalise
from nmt.errors import DataError
from nmt_data.audit import Pair, Text
from nmt_data.cards import load_card
from nmt_data.prepare import prepare
from tiny import make_recipe

PAIRS = [(f"das ist Satz {index} hier", f"this is sentence {index} here") for index in range(60)]


def _card(folder: Path, rest: str, languages: tuple[str, str] = ("de", "en"), name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'name = "{name}"\ntitle = "t"\nlicence = "mine"\nlanguages = {json.dumps(languages)}\n{rest}')
    return str(path)


def _parallel(folder: Path, name: str, pairs: Sequence[Pair], languages: tuple[str, str] = ("de", "en")) -> None:
    for side, language in enumerate(languages):
        text = "".join(f"{pair[side]}\n" for pair in pairs)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8", newline="")


def _recipe(card: str, **data: object) -> Recipe:
    return make_recipe(
        data={"corpus": card, "source": "de", "target": "en", "limit": None} | data, tokenizer={"vocabulary": 200}
    )


def _prepared(folder: Path, train: Sequence[Pair], valid: Sequence[Pair] = PAIRS[:5], **data: object) -> Prepared:
    _parallel(folder, "train", train)
    _parallel(folder, "valid", valid)
    return prepare(_recipe(_card(folder, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n'), **data))


SIDES = st.sampled_from(["", "a", "A!", "b", "b c", "दो", "\0", "x " * 300])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(SIDES, SIDES), max_size=12), st.booleans(), st.sampled_from(["keep", "exact", "normalised"]))
def test_every_pair_that_is_read_is_accounted_for(
    tmp_path: Path, more: list[Pair], drop_leaked: bool, duplicates: str
) -> None:
    """Read is kept and held out and each reason together, also where a side is shared with a held-out pair."""
    _parallel(tmp_path, "train", [*PAIRS, *((f"{source} noch", target) for source, target in PAIRS[:20]), *more])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\n[holdout]\nvalid = 5\ntest = 3\n')
    report = prepare(_recipe(card, cleaning={"drop_leaked": drop_leaked, "duplicates": duplicates})).report
    counts = report["train"]
    assert counts["read"] == 80 + len(more) == counts["kept"] + 8 + sum(counts["dropped"].values())
    assert counts["held_out"] == sum(report["testsets"].values()) == 8
    assert all(leak["source_normalised"] == leak["target_normalised"] == 0 for leak in report["found_in_train"])


def test_pairs_that_differ_in_vowel_signs_are_kept(tmp_path: Path) -> None:
    """They are no copies, no leaks, and share no side with what is held out."""
    train = Text("hi", "en", [(f"यह {word} घर है", f"this is {word}") for word in ("मेरा", "मेरी", "मेरे")])
    valid = Text("hi", "en", [("यह मेरो घर है", "else")])
    assert without_leaks(train, [valid]) == train.pairs
    _parallel(tmp_path, "train", [*PAIRS, *train.pairs], ("hi", "en"))
    _parallel(tmp_path, "valid", PAIRS[:5], ("hi", "en"))
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n', ("hi", "en"))
    assert prepare(_recipe(card, source="hi", cleaning={"duplicates": "normalised"})).parts == [63]


def test_the_same_words_in_two_languages_are_no_copies(tmp_path: Path) -> None:
    """One model of several targets needs both pairs; a corpus that is listed twice adds none."""
    cards = []
    for name, to in (("a", "en"), ("b", "fr")):
        _parallel(tmp_path, f"{name}.train", PAIRS, ("de", to))
        _parallel(tmp_path, f"{name}.valid", PAIRS[:5], ("de", to))
        splits = f'[splits]\ntrain = "{name}.train.{{language}}"\nvalid = "{name}.valid.{{language}}"\n'
        cards.append(_card(tmp_path, splits, ("de", to), name))
    more = [
        {"corpus": card, "source": "de", "target": to}
        for card, to in zip((cards[1], cards[0]), ("fr", "en"), strict=True)
    ]
    prepared = prepare(_recipe(cards[0], more=more, tag_target=True, cleaning={"duplicates": "exact"}))
    assert prepared.parts == [60, 60, 0]


def test_leaks_are_found_in_both_directions_and_all_corpora() -> None:
    """A sentence is looked for on either side of each corpus that has its language; a language may name its region."""
    test = {"test": [Text("de", "en", [("guten Tag", "good day"), ("ja", "yes")])]}
    turned = Text("en-GB", "de", [("good day", "guten Tag")])
    other = Text("de", "fr", [("ja", "oui")])
    leak = audit([turned, other], test)[0]
    assert (leak.source_exact, leak.target_exact, leak.pairs_exact) == (2, 1, 1)
    assert without_leaks(turned, test["test"]) == without_leaks(other, test["test"]) == []
    for one, two in (("deu", "eng"), ("de-AT", "en_GB"), ("GER", "EN")):
        same = Text(
            one, two, turned.pairs if turned.source == "de" else [(there, here) for here, there in turned.pairs]
        )
        assert audit([same, other], test)[0] == leak
        assert without_leaks(same, test["test"]) == []
    stranger = Text("nl", "fr", [("ja", "yes")])
    assert audit([stranger], test)[0].source_exact == 0
    assert without_leaks(stranger, test["test"]) == stranger.pairs


def test_what_one_corpus_holds_out_leaves_the_others(tmp_path: Path) -> None:
    """Of a corpus in both directions no held-out sentence is trained on."""
    _parallel(tmp_path, "train", PAIRS)
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\n[holdout]\nvalid = 5\n')
    more = [{"corpus": card, "source": "en", "target": "de"}]
    report = prepare(_recipe(card, more=more, tag_target=True)).report
    assert [leak["source_normalised"] for leak in report["found_in_train"]] == [0]
    assert report["train"]["held_out"] == report["testsets"]["valid"] == 10


def test_both_directions_hold_out_the_same_pairs(tmp_path: Path) -> None:
    """So a backward model has not seen what the forward model is judged by; also where sentences repeat."""
    repeated = [(source, f"{target} again") for source, target in PAIRS[:30]]
    _parallel(tmp_path, "train", PAIRS + repeated + [(f"{source} auch", target) for source, target in PAIRS[30:]])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\n[holdout]\nvalid = 5\ntest = 7\n')
    forward, backward = prepare(_recipe(card)), prepare(_recipe(card, source="en", target="de"))
    for name, size in (("valid", 5), ("test", 7)):
        there, back = forward.testset(name), backward.testset(name)
        assert list(zip(there.source, there.target, strict=True)) == list(zip(back.target, back.source, strict=True))
        assert len(there.source) == size
    held = {*forward.testset("test").source, *forward.testset("valid").source}
    assert not held & set(backward.training_text().target)


def test_tags_are_no_part_of_test_sets(tmp_path: Path) -> None:
    """They are added where text becomes tokens: blank lines stay blank, and leaks are found behind other tags."""
    for name, languages in (("a", ("de", "en")), ("b", ("de", "fr"))):
        _parallel(tmp_path, f"{name}.train", PAIRS[10:] if name == "a" else PAIRS, languages)
        _parallel(tmp_path, f"{name}.valid", [*PAIRS[:5], ("", "")], languages)
    rest = '[splits]\ntrain = "{0}.train.{{language}}"\nvalid = "{0}.valid.{{language}}"\n'
    cards = [_card(tmp_path, rest.format(name), ("de", to), name) for name, to in (("a", "en"), ("b", "fr"))]
    prepared = prepare(_recipe(cards[0], more=[{"corpus": cards[1], "source": "de", "target": "fr"}], tag_target=True))
    valid = prepared.testset("valid")
    assert not any("<2" in line for line in (*valid.source, *prepared.training_text().source))
    assert valid.tagged[:2] == [f"<2{language}> {PAIRS[0][0]}" for language in ("en", "fr")]
    assert valid.tagged[-2:] == ["", ""]
    assert prepared.valid.source.lengths[-1] == 0
    assert prepared.report["found_in_train"][0]["source_exact"] == 10


BAD_SETS = [
    ([], "there are no lines"),
    ([("", "")] * 5, "all 5 lines are blank on one side or both"),
    ([("a", ""), ("", "b")], "all 2 lines are blank on one side or both"),
    ([("Ja, gern!", "Yes, please!"), ("ja gern", "yes please")] * 4, "holds one pair 8 times"),
]


@pytest.mark.parametrize(("pairs", "message"), BAD_SETS)
@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_test_set_that_says_nothing_is_refused(tmp_path: Path, pairs: list[Pair], message: str, split: str) -> None:
    """Before anything is made of it, in one line that names corpus and split."""
    for name in ("train", "valid", "test"):
        _parallel(tmp_path, name, pairs if name == split else PAIRS)
    splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test"))
    kind = "validation set" if split == "valid" else "test set test"
    with pytest.raises(DataError, match=f"^corpus mine, {kind}: {message}") as error:
        prepare(_recipe(_card(tmp_path, f"[splits]\n{splits}")))
    assert "\n" not in str(error.value)


def test_a_test_set_of_many_copies_is_said(tmp_path: Path) -> None:
    """Preparation warns of a validation set in which most pairs are duplicates."""
    said: list[str] = []
    _parallel(tmp_path, "train", PAIRS)
    _parallel(tmp_path, "valid", PAIRS[:3] * 5)
    prepare(_recipe(_card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n')), said.append)
    assert "corpus mine, validation set: only 3 of 15 pairs are different; a score of them says little" in said


def test_what_is_held_out_are_different_sentences(tmp_path: Path) -> None:
    """One pair a source; a corpus that has too few of them is refused."""
    card = load_card(_card(tmp_path, '[splits]\ntrain = "t.{language}"\n[holdout]\nvalid = 4\ntest = 3\n'))
    train = Text("de", "en", [(source, f"{target} {copy}") for copy in range(9) for source, target in PAIRS[:8]])
    testsets = held_out(train, card)
    assert [len(set(map(normalise, testset.source))) for testset in testsets] == [4, 3]
    turned = Text("de", "en", train.pairs[::-1])
    assert [set(item.target) for item in held_out(turned, card)] == [set(item.target) for item in testsets]
    few = Text("de", "en", [pair for pair in train.pairs if pair[0] != PAIRS[0][0]])
    with pytest.raises(DataError, match=r"holdout wants 7 of only 63 pairs with 7 different texts"):
        held_out(few, card)


def test_validation_above_the_length_limit_is_refused_or_said(tmp_path: Path) -> None:
    """Also when the corpus was prepared before."""
    prepared = _prepared(tmp_path, PAIRS, [*PAIRS[:5], ("ja gern", "yes please")])
    longest = int(prepared.valid.source.lengths.max())
    recipe = _recipe(str(tmp_path / "mine.toml"))
    said: list[str] = []
    training = recipe.training.model_copy(update={"max_length": longest - 1})
    prepare(recipe.model_copy(update={"training": training}), said.append)
    assert any(f"5 of 6 validation pairs are above training.max_length = {longest - 1}" in line for line in said)
    training = recipe.training.model_copy(update={"max_length": 1})
    with pytest.raises(DataError, match=r"none of the 6 validation pairs has between 1 and training.max_length = 1"):
        prepare(recipe.model_copy(update={"training": training}))


def test_a_corpus_may_be_listed_often(tmp_path: Path) -> None:
    """Its pairs are trained on as often, its test sets are there once; another of the same name keeps its own."""
    splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test"))
    for name in ("train", "valid", "test"):
        _parallel(tmp_path, name, PAIRS)
    card = _card(tmp_path, f"[splits]\n{splits}")
    (tmp_path / "other").mkdir()
    for name in ("train", "valid", "test"):
        _parallel(tmp_path / "other", name, PAIRS[::-1])
    other = _card(tmp_path / "other", f"[splits]\n{splits}# not the same\n")
    more: list[dict[str, Any]] = [
        {"corpus": corpus, "source": "de", "target": "en"} for corpus in [card] * 4 + [other] * 2
    ]
    (tmp_path / "third").mkdir()
    more += [{"corpus": _card(tmp_path / "third", f"[splits]\n{splits}"), "source": "de", "target": "en"}]
    for name in ("train", "valid", "test"):
        _parallel(tmp_path / "third", name, PAIRS[3:])
    more += [{"corpus": card, "source": "en", "target": "de"}]
    prepared = prepare(_recipe(card, more=more, tag_target=True))
    assert len(prepared.train) == 60 * 8 + 57
    assert set(prepared.testsets()) == {"test", "test.de-en", "test.mine.de-en", "test.en-de", "valid"}
    assert len(prepared.testset("valid").source) == 60 * 3 + 57
