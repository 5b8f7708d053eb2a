"""Filters of training pairs: what each drops and keeps, its example in the report, and the same for any number of processes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command import environment
from nmt.config.cleaning import CleaningConfig
from nmt.config.recipe import Recipe
from nmt.errors import CheckpointError, ConfigError
from nmt.translation.loading import load
from nmt_data import alignment, means, streams
from nmt_data.alignment import Lexicon
from nmt_data.cleaning import checks, filters
from nmt_data.cleaning.cleaner import Cleaner, Raw
from nmt_data.cleaning.filters import FILTERS
from nmt_data.cleaning.minhash import HASHES, bands_of, found, shape_of
from nmt_data.cleaning.pairs import Pairs
from nmt_data.cleaning.scripts import scripts_of
from nmt_data.cleaning.signs import numbers, repeats
from nmt_data.means import Means
from nmt_data.parts import fingerprint_of, parts_of
from nmt_data.prepare import prepare
from nmt_data.reasons import USUAL
from tiny import make_recipe

Pair = tuple[str, str]
ONE = Means(processes=1, memory=1_000_000_000)
WORDS = {"der": "the", "Hund": "dog", "Haus": "house", "rot": "red", "grün": "green", "heute": "today", "und": "and"}
GERMAN = "Der alte Mann sitzt jeden Morgen auf der Bank vor seinem Haus."
ENGLISH = "The old man sits on the bench in front of his house every morning."


def _recipe(folder: Path, pairs: list[Pair], card: str = "", **data: Any) -> Recipe:
    """A recipe for these pairs, of which others are the validation set."""
    for name, chosen in (("train", pairs), ("valid", [("»eins«", "»one«"), ("zwei", "two")])):
        for side, language in enumerate(("de", "en")):
            text = "".join(f"{pair[side]}\n" for pair in chosen)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    splits = 'splits = { train = "train.{language}", valid = "valid.{language}" }\n'
    start = 'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["de", "en"]\n'
    (folder / "card.toml").write_text(f"{start}{card or splits}")
    values = {"corpus": str(folder / "card.toml"), "source": "de", "target": "en"}
    return make_recipe(data=values | data, tokenizer={"vocabulary": 500})


def _pairs(count: int, seed: int = 1) -> list[Pair]:
    """Translations word by word, all different."""
    generator = random.Random(seed)
    chosen = [generator.choices(sorted(WORDS), k=generator.randrange(4, 9)) for _ in range(count)]
    return [
        (f"Nummer{row} {' '.join(words)}", f"number{row} {' '.join(WORDS[word] for word in words)}")
        for row, words in enumerate(chosen)
    ]


# The filter, its settings, a pair that it drops, and one that resembles it and is kept.
CASES: dict[str, tuple[dict[str, Any], Pair, Pair]] = {
    "empty": ({}, ("", "a"), ("a", "a")),
    "too long": ({"max_words": 3}, ("a b c d", "a"), ("a b c", "a")),
    "length ratio": ({"max_ratio": 2.0}, ("a" * 41, "b" * 20), ("a" * 40, "b" * 20)),
    "identical sides": ({"drop_identical": True}, ("a b", "a b"), ("a b", "a B")),
    "replacement character": ({"drop_replacement": True}, ("f\ufffdr", "for"), ("f?r", "for")),
    "markup": (
        {"max_markup": 0.5},
        ("Siehe https://example.org/eine/seite", "See the page"),
        ("Die Seite https://a.org zeigt Bilder von Hunden", "x < y and y > z"),
    ),
    "repetition": ({"max_repeats": 3}, ("a", "no no no no"), ("sooo viel 10000", "no no no")),
    "other numbers": ({"drop_other_numbers": True}, ("1.000 Euro", "100 euros"), ("1.000 Euro um 8", "8: 1,000 euros")),
    "other brackets": ({"drop_other_brackets": True}, ("a (b)", "a b"), ("a （b）", "a (b)")),
    "wrong script": ({"min_script": 0.5}, ("Haus", "дом"), ("Haus π", "house π")),
    "wrong language": (
        {"language_confidence": 0.9},
        (GERMAN, "Le vieil homme est assis sur le banc devant sa maison chaque matin."),
        (GERMAN, ENGLISH),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_filter_drops_what_it_is_for(name: filters.FilterName) -> None:
    """A pair of its kind is dropped if the recipe asks for it; one that resembles it is kept."""
    settings, bad, good = CASES[name]
    pairs = Pairs([bad[0], good[0]], [bad[1], good[1]], ("de", "en"))
    assert FILTERS[name](pairs, CleaningConfig(**settings)).tolist() == [True, False]
    if name not in ("empty", "too long", "length ratio"):
        assert not FILTERS[name](pairs, CleaningConfig()).any()


def test_every_filter_has_a_case_and_a_name() -> None:
    """The table of filters, the names in the recipe and the cases above are the same, in the same order."""
    assert list(CASES) == list(FILTERS)


def test_workers_start_quickly() -> None:
    """What a process that cleans imports holds neither torch nor any optional library."""
    listed = "import sys, nmt_data.cleaning.cleaner, nmt_data.alignment; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, check=True, env=environment()
    )
    assert not {"torch", "py3langid", "ftfy", "sacremoses", "duckdb"} & set(loaded.stdout.split())


def test_numbers_are_read_as_figures() -> None:
    """Thousands are grouped by any sign, digits of other scripts count, and the order does not matter."""
    assert numbers("1,000") == numbers("1.000") == numbers("1 000") == numbers("1\u202f000") == numbers("1'000")
    assert numbers("3,5 von 12") == numbers("12: 3.5") != numbers("3.5")
    assert numbers("١٢") == numbers("12")
    assert numbers("١٬٠٠٠") == numbers("1000")
    assert numbers("1,00,000") != numbers("100")


def test_long_words_are_judged_in_no_time() -> None:
    """A line of a million letters, brackets or beginnings of tags does not hold a filter up."""
    lines = [sign * (1_000_000 // len(sign)) for sign in ("a", "(", "<a ", "<!--", "1.000.", "a@", "http://")]
    settings = {
        "max_markup": 0.5,
        "max_repeats": 1_000_000_000,
        "drop_other_numbers": True,
        "drop_other_brackets": True,
    }
    start = time.process_time()
    for name in ("markup", "repetition", "other numbers", "other brackets"):
        FILTERS[name](Pairs(lines, lines, ("de", "en")), CleaningConfig.model_validate(settings))
    assert time.process_time() - start < 60


def test_vowel_signs_belong_to_their_word() -> None:
    """Different words that share letters are no repetition; a word that is repeated is one in any script."""
    config = CleaningConfig(max_repeats=2)
    lines = ["काला काली काले का", "काला काला काला", "นี่ นี้ นี", "no-no no", "- - - - -"]
    dropped = FILTERS["repetition"](Pairs(lines, ["a"] * len(lines), ("hi", "en")), config)
    assert dropped.tolist() == [False, True, False, True, False]


def test_repeats_are_those_of_words_and_phrases() -> None:
    """The longest run of a phrase of up to four words, as a definition by slices counts it."""

    def reference(words: list[str]) -> int:
        most = min(len(words), 1)
        for start in range(len(words)):
            for size in range(1, 5):
                count = 1
                while words[start + count * size :][:size] == words[start : start + size]:
                    count += 1
                most = max(most, count)
        return most

    generator = random.Random(1)
    for _ in range(300):
        words = generator.choices("ab", k=generator.randrange(12))
        assert repeats(words) == reference([*words]) or not words


def test_scripts_of_languages_are_known() -> None:
    """By language, three-letter code or script subtag; an unknown language has none."""
    assert scripts_of("de") == scripts_of("deu_Latn") == scripts_of("sr-Latn") == {"LATIN"}
    assert scripts_of("zho_Hans") == {"CJK"}
    assert "HIRAGANA" in scripts_of("ja")
    assert not scripts_of("xx")


def test_bands_find_what_the_s_curve_says() -> None:
    """Texts with a given share of common shingles share a band as often as the curve says, whatever is beside them."""
    generator = random.Random(5)
    bands, rows = shape_of(0.8)
    assert bands * rows <= HASHES
    assert found(0.5, bands, rows) < 0.02
    assert found(0.95, bands, rows) > 0.98
    for changed in (5, 20, 60):
        texts, similar = list[str](), list[float]()
        for _ in range(150):
            letters = generator.choices("abcdefghijklmnopqrstuvwxyz ", k=120)
            other = [*letters[: 120 - changed], *generator.choices("abcdefghijklmnopqrstuvwxyz ", k=changed)]
            texts += ["".join(letters), "".join(other)]
            sets = [{text[place : place + 5] for place in range(116)} for text in texts[-2:]]
            similar.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        signatures = bands_of(texts, 0.8)
        met = (signatures[:, ::2] == signatures[:, 1::2]).any(0)
        expected = np.array([found(share, bands, rows) for share in similar])
        assert abs(met.mean() - expected.mean()) < 0.02 + 3 * np.sqrt((expected * (1 - expected)).mean() / len(met))
        assert (bands_of(texts[3:5], 0.8) == signatures[:, 3:5]).all()


def test_short_texts_have_bands_too() -> None:
    """Texts below five letters are equal or different, and no texts are no error."""
    signatures = bands_of(["", "a", "a", "ab"], 0.8)
    assert (signatures[:, 1] == signatures[:, 2]).all()
    assert len({tuple(column) for column in signatures.T.tolist()}) == 3
    assert bands_of([], 0.8).shape == (shape_of(0.8)[0], 0)


def test_texts_of_other_kinds_share_no_band() -> None:
    """Whatever their shingles: the kind is part of each band, and no part of what is compared."""
    texts = [" ".join(pair) for pair in _pairs(40)]
    one, other = bands_of(texts, 0.8, "pair\0de\0en"), bands_of(texts, 0.8, "pair\0de\0fr")
    assert not np.isin(one, other).any()


@pytest.mark.parametrize("languages", [("de", "en"), ("deu_Latn", "eng_Latn"), ("deu_Latn" * 20, "eng_Latn" * 20)])
def test_near_duplicates_do_not_depend_on_the_name_of_a_language(languages: tuple[str, str]) -> None:
    """Pairs without a common 5-gram of letters share no band, however long the codes are."""
    pairs = Pairs(["Tom schläft", "Anna lacht"], ["Tom is sleeping", "Anna laughs"], languages)
    data = make_recipe(data={"cleaning": {"near_duplicates": 0.1}}).data
    shard = pq.read_table(pa.BufferReader(Cleaner(data)(Raw(0, pairs, mono=False)).shard))
    bands = [shard[f"band_{band}"].to_pylist() for band in range(shape_of(0.1)[0])]
    assert all(one != other for one, other in bands)


def _gains(given: list[str], words: list[str], source: str, target: str) -> float:
    """The mean gain of the target's words by model 1, learned from lines; words that occur once are not known."""
    known = [
        {word for word in " ".join(side).split() if " ".join(side).split().count(word) > 1} for side in (given, words)
    ]

    def split(one: str, other: str) -> tuple[list[str], list[str]]:
        return ["", *(word for word in one.split() if word in known[0])], [w for w in other.split() if w in known[1]]

    data = [split(one, other) for one, other in zip(given, words, strict=True)]
    t = {(s, w): 1.0 for one, other in data for s in one for w in other}
    for _ in range(3):
        counts = dict.fromkeys(t, 0.0)
        for one, other in data:
            for w in other:
                for s in one:
                    counts[s, w] += t[s, w] / sum(t[each, w] for each in one)
        t = {(s, w): count / sum(n for (one, _), n in counts.items() if one == s) for (s, w), count in counts.items()}
    every = [w for _, other in data for w in other]
    one, other = split(source, target)
    explained = {w: sum(t.get((s, w), 0.0) for s in one) / len(one) for w in other}
    return float(np.mean([np.log(0.97 * explained[w] * len(every) / every.count(w) + 0.03) for w in other]))


def test_alignment_equals_model_one_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translation probabilities as in section 4.1 of Brown et al. 1993, with the empty word, computed by loops."""
    monkeypatch.setattr(alignment, "_LEAST", 2)
    pairs = [("a b", "x y"), ("a", "x"), ("b c", "y z"), ("c a", "z x"), ("c", "z"), ("b b", "y y"), ("q a", "x")]
    lexicon = Lexicon.learned(pairs, ("de", "en"))
    one, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    for source, target in [("a b", "x y"), ("a", "z"), ("c b a", "z x"), ("a q", "x w")]:
        expected = min(_gains(one, other, source, target), _gains(other, one, target, source))
        assert lexicon.scores(["b", source], ["y", target])[1] == pytest.approx(expected)
    assert np.isnan(lexicon.scores(["unknown", ""], ["words", "x"])).all()


def test_weak_alignments_are_those_of_shuffled_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translations score higher than the same sentences in another order, nearly always."""
    pairs = _pairs(400)
    lexicon = Lexicon.learned(pairs, ("de", "en"))
    source, target = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    right, wrong = lexicon.scores(source, target), lexicon.scores(source, [*target[7:], *target[:7]])
    assert (right > wrong).mean() > 0.95


ALL: dict[str, Any] = {name: value for settings, _, _ in CASES.values() for name, value in settings.items()}
LATER: dict[str, Any] = {"duplicates": "exact", "near_duplicates": 0.8, "min_alignment": 0.5, "mend_encoding": True}


def _noisy() -> list[Pair]:
    pairs = _pairs(300)
    changed = (pairs[250][0] + " !", pairs[250][1] + " ...")
    return [*pairs, *(bad for _, bad, _ in CASES.values()), pairs[3], changed, ("fÃ¼r Hund", "for dog")]


def test_processes_change_neither_bytes_nor_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Every filter at once: the folder and the report are the same for one process and two, and shards of any size."""
    settings = {
        key: value for key, value in (ALL | LATER).items() if key not in ("max_words", "max_ratio", "max_markup")
    }
    recipe = _recipe(tmp_path, _noisy(), cleaning=settings | {"max_words": 60, "max_ratio": 3.0, "max_markup": 0.5})
    folders = list[dict[str, bytes]]()
    reports = list[dict[str, Any]]()
    for processes, size in ((1, 10_000), (2, 40)):
        monkeypatch.setattr(streams, "SIZE", size)
        monkeypatch.setattr(means, "_ALONE", 1)
        monkeypatch.setenv("NMT_HOME", str(tmp_path / str(processes)))
        prepared = prepare(recipe, means=Means(processes, 1_000_000_000))
        files = [path for path in prepared.folder.rglob("*") if path.suffix not in (".json",) and path.is_file()]
        folders.append({path.name: path.read_bytes() for path in files})
        reports.append({**prepared.report, "seconds": 0})
    assert folders[0] == folders[1]
    assert reports[0] == reports[1]
    train = reports[0]["train"]
    assert {"duplicate", "near duplicate", "weak alignment", "wrong language", "wrong script"} <= train[
        "dropped"
    ].keys()
    assert train["mended"]["encoding"] == 1
    assert train["examples"]["wrong script"] == [["Haus", "дом"]]
    assert list(_noisy()[-2]) in train["examples"]["near duplicate"]
    assert train["examples"].keys() == train["dropped"].keys()
    assert all(len(pairs) == min(5, train["dropped"][reason]) for reason, pairs in train["examples"].items())


def test_examples_are_the_first_and_short(tmp_path: Path, home: Path) -> None:
    """Five of them, in the order of the corpus, each side cut at 200 characters."""
    long = [(f"{row} " + "a " * 300, "b") for row in range(9)]
    report = prepare(_recipe(tmp_path, [*_pairs(40), *long])).report["train"]
    assert report["dropped"]["too long"] == 9
    assert [source[:2] for source, _ in report["examples"]["too long"]] == [f"{row} " for row in range(5)]
    assert {len(source) for source, _ in report["examples"]["too long"]} == {200}


def test_order_decides_the_reason_and_nothing_else(tmp_path: Path, home: Path) -> None:
    """A pair that two filters drop is counted by the first that is asked."""
    pairs = [*_pairs(40), ("a (b", "a (b 1")]
    settings: dict[str, Any] = {"drop_other_numbers": True, "drop_other_brackets": True, "drop_identical": True}
    found = [
        prepare(_recipe(tmp_path, [*pairs, ("(1", "x")], cleaning=settings | {"order": order})).report["train"]
        for order in ([], ["other brackets"])
    ]
    assert [report["dropped"] for report in found] == [{"other numbers": 2}, {"other numbers": 1, "other brackets": 1}]
    assert found[0]["kept"] == found[1]["kept"]


def test_new_keys_at_their_defaults_leave_the_fingerprint(tmp_path: Path) -> None:
    """Only a key that is used changes which prepared corpus is meant."""
    recipe = _recipe(tmp_path, _pairs(40))
    first = fingerprint_of(recipe, parts_of(recipe), None)
    same = _recipe(
        tmp_path, _pairs(40), normalise="none", cleaning={"near_duplicates": None, "drop_replacement": False}
    )
    assert fingerprint_of(same, parts_of(same), None) == first
    changed: list[dict[str, Any]] = [
        {"normalise": "nfc"},
        {"cleaning": {"min_script": 0.0}},
        {"cleaning": {"order": ["empty"]}},
    ]
    for changes in changed:
        other = _recipe(tmp_path, _pairs(40), **changes)
        assert fingerprint_of(other, parts_of(other), None) != first


def test_only_near_duplicates_have_another_fingerprint_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MinHash compares is said where it is used, so that no corpus of another comparison is taken for this one."""
    recipes = [_recipe(tmp_path, _pairs(40), cleaning={"near_duplicates": share}) for share in (None, 0.8)]
    monkeypatch.setattr("nmt_data.parts.fingerprint", json.dumps)
    assert ["shingles" in fingerprint_of(recipe, parts_of(recipe), None) for recipe in recipes] == [False, True]


def test_only_normalised_corpora_are_audited_otherwise_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their test sets are compared with train in the same writing, so they are prepared anew."""
    recipes = [_recipe(tmp_path, _pairs(40), normalise=kind) for kind in ("none", "nfc")]
    monkeypatch.setattr("nmt_data.parts.fingerprint", json.dumps)
    assert ["audit" in fingerprint_of(recipe, parts_of(recipe), None) for recipe in recipes] == [False, True]


def test_normalised_sources_and_unchanged_references(tmp_path: Path, home: Path) -> None:
    """Train is normalised on both sides; test sets stay as they are, and validation reads the source as a translator does."""
    recipe = _recipe(tmp_path, [*_pairs(60), ("»Hund«", "“dog”"), ("u\u0308ber", "over")], normalise="moses")
    prepared = prepare(recipe)
    text = prepared.training_text()
    assert list(zip(text.source, text.target, strict=True))[-2:] == [('"Hund"', '"dog"'), ("über", "over")]
    valid = prepared.testset("valid")
    assert (valid.source[0], valid.target[0]) == ("»eins«", "»one«")
    encoded = prepared.valid.source.rows(0, 1).values.tolist()
    assert encoded == prepared.tokenizers.source.encode(['"eins"'])[0]


def test_test_sentences_are_looked_for_as_train_is_written(tmp_path: Path, home: Path) -> None:
    """A sentence that differs from a training sentence only by what `data.normalise` writes alike is in train."""
    recipe = _recipe(tmp_path, [*_pairs(60), ("„eins“", "“one”")], normalise="moses")
    (leak,) = prepare(recipe).report["found_in_train"]
    assert (leak["pairs_exact"], leak["source_exact"], leak["target_exact"]) == (1, 1, 1)


def test_what_cannot_be_done_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A library that is missing, references that would change, a filter that is not there: one line each."""
    with pytest.raises(ConfigError, match=r"did you mean too long\?"):
        _recipe(tmp_path, _pairs(9), cleaning={"order": ["to long"]})
    with pytest.raises(ConfigError, match="order names 'empty' twice"):
        _recipe(tmp_path, _pairs(9), cleaning={"order": ["empty", "empty"]})
    card = 'splits = { train = "train.{language}" }\nholdout = { valid = 3 }\n'
    with pytest.raises(ConfigError, match="mine holds pairs out of train, and would normalise references"):
        prepare(_recipe(tmp_path, _pairs(30), card, normalise="nfc"))
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"mend_encoding needs ftfy; pip install 'nmt\[cleaning\]'"):
        prepare(_recipe(tmp_path, _pairs(30), cleaning={"mend_encoding": True}))


def test_languages_that_cannot_be_judged_are_named_once(tmp_path: Path, home: Path) -> None:
    """Their lines are kept, and a note says so for each language and filter."""
    for side in ("xx", "en"):
        (tmp_path / f"train.{side}").write_text("".join(f"{pair[1]}\n" for pair in _pairs(30)))
        (tmp_path / f"valid.{side}").write_text("a b c\n")
    (tmp_path / "card.toml").write_text(
        'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["xx", "en"]\n'
        'splits = { train = "train.{language}", valid = "valid.{language}" }\n'
    )
    data = {"corpus": str(tmp_path / "card.toml"), "source": "xx", "target": "en"}
    cleaning = {"min_script": 0.9, "language_confidence": 0.99}
    said = list[str]()
    assert prepare(make_recipe(data=data | {"cleaning": cleaning}), said.append, means=ONE).report["train"]["kept"]
    assert [line.split(":")[0] for line in said if "not judged" in line] == [
        "data.cleaning.min_script",
        "data.cleaning.language_confidence",
    ]


def test_a_model_scores_pairs_of_its_direction(trained: Path, tmp_path: Path, home: Path) -> None:
    """What is dropped has a lower score per token than the threshold by `nmt score`; the model is part of the fingerprint."""
    pairs = _pairs(60)
    translator = load(str(trained))
    scores = translator.score_targets([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    mean = [item.log_probability / item.tokens for item in scores]
    least = float(np.median(mean)) - 1e-4
    cleaning = {"score_with": str(trained), "min_score": least}
    recipe = _recipe(tmp_path, pairs, cleaning=cleaning)
    prepared = prepare(recipe, means=ONE)
    text = prepared.training_text()
    assert list(zip(text.source, text.target, strict=True)) == [
        pair for pair, score in zip(pairs, mean, strict=True) if score >= least
    ]
    assert prepared.report["train"]["dropped"] == {"low score": 60 - len(text.source)}
    with pytest.raises(ConfigError, match="score_with and min_score go together"):
        _recipe(tmp_path, pairs, cleaning={"min_score": -1.0})
    with pytest.raises(ConfigError, match="translates de-en, as no corpus here does"):
        prepare(_recipe(tmp_path, pairs, source="en", target="de", cleaning=cleaning))
    with pytest.raises(CheckpointError):
        prepare(_recipe(tmp_path, pairs, cleaning=cleaning | {"score_with": str(tmp_path / "nothing")}))


def test_the_guide_and_the_suspects_have_the_same_thresholds() -> None:
    """What `nmt data suspects` calls wrong is what the guide's settings drop, and other numbers."""
    guide = (Path(__file__).parents[2] / "docs/how-to/clean-a-corpus.md").read_text()
    toml = guide.partition("```toml\n")[2].partition("```")[0]
    proposed = CleaningConfig.model_validate(tomllib.loads(toml)["data"]["cleaning"])
    unasked = {"duplicates": "keep", "mend_encoding": False, "drop_other_numbers": True}
    assert proposed.model_copy(update=unasked) == USUAL
