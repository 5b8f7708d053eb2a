"""From text to an encoded corpus: every source kind, every drop counted, leaks found, the same twice."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from audits import audit, without_leaks
from command import run
from corpora import po
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.testset import TestSet
from nmt.corpus.words import normalise
from nmt.errors import ConfigError, DataError
from nmt.storage.bundle import load_model
from nmt.training.stream import mixed
from nmt.training.trainer import Trainer
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from nmt_data.audit import Text
from nmt_data.cards import card_names, load_card
from nmt_data.difference import difference
from nmt_data.duplicates import repeated_rows
from nmt_data.means import Means
from nmt_data.parts import fingerprint_of, parts_of
from nmt_data.prepare import prepare
from nmt_data.reading import Split, Unreadable
from tiny import make_recipe

PAIRS = [(f"das ist Satz {index} hier", f"this is sentence {index} here") for index in range(60)]


def _card(folder: Path, text: str) -> str:
    path = folder / "card.toml"
    path.write_text(f'name = "mine"\ntitle = "t"\nlicence = "mine"\nlanguages = ["de", "en"]\n{text}')
    return str(path)


def _parallel(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    for side, language in enumerate(("de", "en")):
        (folder / f"{name}.{language}").write_bytes("".join(f"{pair[side]}\n" for pair in pairs).encode())


def _french(folder: Path) -> str:
    """A second corpus into another language, a quarter as large."""
    pairs = [(f"das ist Satz {index} hier", f"ceci est la phrase {index} ici") for index in range(15)]
    for name, chosen in (("french", pairs), ("french-valid", pairs[:4])):
        for side, language in enumerate(("de", "fr")):
            (folder / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in chosen))
    path = folder / "french.toml"
    splits = (
        '[splits]\ntrain = "french.{language}"\nvalid = "french-valid.{language}"\ntest = "french-valid.{language}"\n'
    )
    path.write_text(f'name = "french"\ntitle = "t"\nlicence = "mine"\nlanguages = ["de", "fr"]\n{splits}')
    return str(path)


def _recipe(card: str, **data: object) -> Recipe:
    return make_recipe(
        data={"corpus": card, "source": "de", "target": "en", "limit": None} | data, tokenizer={"vocabulary": 200}
    )


@pytest.fixture
def card(tmp_path: Path) -> str:
    _parallel(tmp_path, "train", PAIRS)
    _parallel(tmp_path, "valid", PAIRS[:5])
    return _card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n')


def test_every_kind_of_file_gives_the_same_pairs(tmp_path: Path) -> None:
    """Parallel files, plain and compressed, TSV with and without header, JSONL and Parquet."""
    _parallel(tmp_path, "plain", PAIRS)
    for side, language in enumerate(("de", "en")):
        data = "".join(f"{pair[side]}\n" for pair in PAIRS).encode()
        (tmp_path / f"zipped.{language}.gz").write_bytes(gzip.compress(data))
        (tmp_path / f"packed.{language}.xz").write_bytes(lzma.compress(data))
    (tmp_path / "numbered.tsv").write_text("".join(f"{i}\t{t}\t{s}\n" for i, (s, t) in enumerate(PAIRS)))
    (tmp_path / "named.tsv").write_text("en\tde\n" + "".join(f"{t}\t{s}\n" for s, t in PAIRS))
    rows = [{"translation": {"de": source, "en": target}} for source, target in PAIRS]
    (tmp_path / "nested.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "nested.parquet")
    columns = {
        "numbered": '[columns]\nde = "3"\nen = "2"',
        "nested": '[columns]\nde = "translation.de"\nen = "translation.en"',
    }
    names = ["plain.{language}", "zipped.{language}", "packed.{language}"]
    for name in [*names, "numbered.tsv", "named.tsv", "nested.jsonl", "nested.parquet"]:
        assert _pairs(tmp_path, name, f"{columns.get(name.split('.')[0], '')}\n") == PAIRS, name


def test_preparing_twice_makes_nothing_new(card: str) -> None:
    """The same settings and files are the same folder; a changed file is another."""
    first = prepare(_recipe(card))
    assert prepare(_recipe(card)).folder == first.folder
    assert len(first.train) == 60
    assert first.testset("valid").source == [source for source, _ in PAIRS[:5]]
    with (Path(card).parent / "train.de").open("a") as source, (Path(card).parent / "train.en").open("a") as target:
        source.write("noch ein Satz\n")
        target.write("one more sentence\n")
    assert prepare(_recipe(card)).folder != first.folder


def test_the_direction_can_be_turned(card: str) -> None:
    """A corpus can be prepared from its second language into its first."""
    turned = prepare(
        make_recipe(data={"corpus": card, "source": "en", "target": "de", "limit": 10}, tokenizer={"vocabulary": 200})
    )
    assert turned.testset("valid").source[0] == PAIRS[0][1]
    assert len(turned.train) == 10


def test_lines_of_unequal_number_are_refused(card: str) -> None:
    """Parallel files of different length raise an error naming both files and their counts."""
    with (Path(card).parent / "train.de").open("a") as source:
        source.write("zu viel\nnoch mehr\n")
    with pytest.raises(DataError, match=r"train\.de has 62 lines but .*train\.en has 60; the last line of both is 60"):
        prepare(_recipe(card))


def test_bad_utf8_is_named_or_skipped(card: str) -> None:
    """Invalid UTF-8 raises an error by default; skipping drops training pairs only and counts them."""
    path = Path(card).parent / "train.de"
    path.write_bytes(path.read_bytes().replace(b"Satz 7 ", b"S\xff7 "))
    with pytest.raises(DataError, match=r"train\.de, line 8: byte 10 \(0xff\) is not valid UTF-8; .* data.on_bad_text"):
        prepare(_recipe(card))
    report = prepare(_recipe(card, on_bad_text="skip")).report["train"]
    assert report["read"] == 60
    assert report["dropped"] == {"not UTF-8": 1}
    assert report["kept"] == 59
    (path.parent / "valid.de").write_bytes(b"S\xff\n" * 5)
    with pytest.raises(DataError, match=r"valid\.de, line 1: byte 2 \(0xff\) is not valid UTF-8; convert the file$"):
        prepare(_recipe(card, on_bad_text="skip"))


def test_a_truncated_archive_is_one_line(tmp_path: Path) -> None:
    """A gzip file cut short raises a data error."""
    for language in ("de", "en"):
        data = gzip.compress("".join(f"{pair[0]}\n" for pair in PAIRS * 50).encode())
        (tmp_path / f"train.{language}.gz").write_bytes(data[:-20])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "train.{language}"\n')
    with pytest.raises(DataError, match="damaged archive"):
        prepare(_recipe(card))


def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Damaged archives, columns that are not there and cells that are no text are named, never passed on."""
    rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS * 20).encode()
    broken = bytearray(gzip.compress(rows))
    broken[10] = 0xFF  # the kind of the first block: there is none such
    numbers = '[columns]\nde = "1"\nen = "2"\n'
    cases = [
        ("cut.tsv.gz", gzip.compress(rows)[:-20], numbers, "damaged archive"),
        ("broken.tsv.gz", bytes(broken), numbers, "damaged archive"),
        ("plain.tsv.gz", rows, numbers, "damaged archive"),
        ("cut.tsv.xz", lzma.compress(rows)[:-20], numbers, "damaged archive"),
        ("zero.tsv", rows, '[columns]\nde = "0"\nen = "1"\n', "there is no column 0"),
        ("key.jsonl", b'{"ed": "a", "en": "b"}\n', "", "line 1: no column de; there are ed, en"),
        ("list.jsonl", b'["a", "b"]\n', "", "line 1: no column de$"),
        ("number.jsonl", b'{"de": 5, "en": "b"}\n', "", "line 1: column de holds 5, which is no text"),
        ("torn.jsonl", b'{"de": "a", "en": "b"\n', "", "line 1: not JSON"),
        ("cut.parquet", b"PAR1", "", "cut.parquet: "),
        ("misspelt.{langage}", b"", "", "unknown kind of file"),
    ]
    for name, content, columns, message in cases:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            _pairs(tmp_path, name, columns)
    pq.write_table(pa.table({"ed": ["a"], "en": ["b"]}), tmp_path / "key.parquet")
    with pytest.raises(DataError, match=r"key\.parquet: no column de; there are ed, en"):
        _pairs(tmp_path, "key.parquet")


def test_null_is_empty(tmp_path: Path) -> None:
    """Not the word None: an empty side is dropped by cleaning, and counted there."""
    rows = [{"de": "ein Satz", "en": "a sentence"}, {"de": None, "en": "a sentence without a source"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        assert _pairs(tmp_path, name) == [("ein Satz", "a sentence"), ("", "a sentence without a source")]


def _pairs(folder: Path, name: str, columns: str = "") -> list[tuple[str, str]]:
    card = _card(folder, f'{columns}[splits]\ntrain = "{name}"\n')
    return list(Split(load_card(card, ("de", "en")), "train", "de", "en").read(Unreadable()))


def test_missing_files_say_how_to_give_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for absent files names them and the environment variable to set."""
    monkeypatch.delenv("NMT_DATA", raising=False)
    card = _card(tmp_path, '[splits]\ntrain = "t.{language}"\nvalid = "v.{language}"\n')
    with pytest.raises(DataError, match=r"no files found; put v\.LANGUAGE under NMT_DATA, which is not set"):
        prepare(_recipe(card))


def test_an_unreachable_hub_says_how_to_give_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the download fails, the error explains how to use local files."""

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("offline")

    monkeypatch.delenv("NMT_DATA", raising=False)
    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(
        DataError, match=r"cannot be had from the Hugging Face hub \(ConnectionError\); to use local files"
    ):
        prepare(_recipe("multi30k"))


def test_hub_columns_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `datasets`, with nested columns, in the direction of the recipe."""
    monkeypatch.delenv("NMT_DATA", raising=False)
    rows = [{"translation": {"de": source, "en": target}} for source, target in PAIRS]
    monkeypatch.setattr("datasets.load_dataset", lambda *_, split, **__: rows if split == "train" else rows[:3])
    assert len(prepare(_recipe("iwslt14")).train) == 60


HUB = '[hub]\ndataset = "owner/name"\ncolumns = { de = "de", en = "en" }\n'


@pytest.mark.parametrize("splits", ['{ valid = "validation" }', "{}"])
def test_a_corpus_on_the_hub_needs_a_training_split(tmp_path: Path, splits: str) -> None:
    """A card that names none is refused in one line, unless its files are local."""
    hub = f"{HUB}splits = {splits}\n"
    with pytest.raises(DataError, match=r"card\.toml: .*hub\.splits needs a train split$"):
        prepare(_recipe(_card(tmp_path, hub)))
    _parallel(tmp_path, "train", PAIRS)
    card = _card(tmp_path, f'holdout.valid = 5\nsplits = {{ train = "train.{{language}}" }}\n{hub}')
    assert len(prepare(_recipe(card)).train) == 55


def test_a_split_that_neither_files_nor_the_hub_have_is_named(tmp_path: Path) -> None:
    """The error names the missing file, and no failure of the hub that was never asked."""
    _parallel(tmp_path, "train", PAIRS)
    splits = 'splits = { train = "train.{language}", valid = "valid.{language}" }\n'
    card = _card(tmp_path, f'{splits}{HUB}splits = {{ train = "train" }}\n')
    with pytest.raises(DataError, match=r"split valid: no files found; put valid\.LANGUAGE under"):
        prepare(_recipe(card))


def test_what_gives_no_pair_of_a_test_set_is_counted(tmp_path: Path) -> None:
    """Blank lines of a table and messages that nobody has translated are said, reported, and printed with the report."""
    _parallel(tmp_path, "train", PAIRS)
    (tmp_path / "valid.tsv").write_text("de\ten\nja\tyes\n\nnein\tno\n\n")
    (tmp_path / "test.po").write_text(po([("Yes", "Ja"), ("No", "Nein"), ("Perhaps", "")]))
    files = 'train = "train.{language}"\nvalid = "valid.tsv"\ntest = "test.po"\n'
    said: list[str] = []
    report = prepare(_recipe(_card(tmp_path, f"[splits]\n{files}")), said.append).report
    assert report["testsets"] == {"valid": 2, "test": 2}
    valid, test = {"blank line of a table": 2}, {"not translated": 1}
    assert report["left_out"] == {"mine de-en, valid": valid, "mine de-en, test": test}
    assert "corpus mine de-en, valid: left out: 2 (blank line of a table)" in said
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_to_toml(_recipe(str(tmp_path / "card.toml"))))
    assert "\nmine de-en, test: left out: 1 (not translated)\n" in run("prepare", recipe).stdout


def test_a_test_set_without_gaps_leaves_the_report_as_it_was(card: str) -> None:
    """Nothing is said of test sets whose every line is a pair."""
    assert "left_out" not in prepare(_recipe(card)).report


RENAMED = {
    "messages": ("*.po", "de.po", "en.po", po([("Yes", "Ja"), ("No", "Nein")], "")),
    "packed": ("*.gz", "a.tsv.gz", "a.jsonl.gz", '{"de": "Ja", "en": "Yes"}\tx\n'),
}


@pytest.mark.parametrize("kind", RENAMED)
def test_a_name_that_tells_how_a_file_is_read_is_part_of_the_corpus(tmp_path: Path, kind: str) -> None:
    """Another language or format by the name is another corpus; another name or folder that tells nothing is the same."""
    pattern, first, second, text = RENAMED[kind]
    content = gzip.compress(text.encode()) if first.endswith(".gz") else text.encode()
    recipe = _recipe(_card(tmp_path, f'[splits]\ntrain = "files/{pattern}"\n'))
    found: list[str] = []
    (tmp_path / "files").mkdir()
    for name in (first, second, f"b.{first}"):
        (tmp_path / "files" / name).write_bytes(content)
        found.append(fingerprint_of(recipe, parts_of(recipe), None))
        (tmp_path / "files" / name).unlink()
    assert found[0] == found[2] != found[1]


def test_names_of_plain_text_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one language and tables count by their content, their ending and their place in the list, as ever."""
    _parallel(tmp_path, "train", PAIRS)
    (tmp_path / "valid.tsv.gz").write_bytes(gzip.compress(b"a\tb\n"))
    recipe = _recipe(_card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.tsv"\n'))
    monkeypatch.setattr("nmt_data.parts.fingerprint", json.dumps)
    told = json.loads(fingerprint_of(recipe, parts_of(recipe), None))
    assert list(told["corpora"][0]["files"]) == ["train 0.de", "train 1.en", "valid 0.gz"]


def test_a_corpus_on_the_hub_can_be_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The revision is asked of the hub, named if it is not there, and makes another corpus; without one all is as ever."""
    asked: list[str | None] = []

    def load(*_: object, revision: str | None = None, **__: object) -> list[dict[str, dict[str, str]]]:
        asked.append(revision)
        if revision == "gone":
            raise ConnectionError(revision)
        return [{"translation": {"de": source, "en": target}} for source, target in PAIRS]

    recipes: list[Recipe] = []
    for revision in ("", "v1", "v2", "gone"):
        pin = f'revision = "{revision}"\n' if revision else ""
        splits = 'splits = { train = "train" }\ncolumns = { de = "translation.de", en = "translation.en" }\n'
        (tmp_path / str(revision)).mkdir(exist_ok=True)
        card = _card(tmp_path / revision, f'holdout.valid = 5\n[hub]\ndataset = "owner/name"\n{pin}{splits}')
        recipes.append(_recipe(card))
    fingerprints = [fingerprint_of(recipe, parts_of(recipe), None) for recipe in recipes]
    assert len(set(fingerprints)) == len(fingerprints)
    with monkeypatch.context() as patch:
        patch.setattr("nmt_data.parts.fingerprint", json.dumps)
        assert "revision" not in fingerprint_of(recipes[0], parts_of(recipes[0]), None)  # as before there was this key
    monkeypatch.delenv("NMT_DATA", raising=False)
    monkeypatch.setattr("datasets.load_dataset", load)
    for recipe in recipes[:3]:
        prepare(recipe)
    assert list(dict.fromkeys(asked)) == [None, "v1", "v2"]
    with pytest.raises(DataError, match=r"owner/name at gone cannot be had from the Hugging Face hub"):
        prepare(recipes[3])


def test_every_drop_is_counted(tmp_path: Path) -> None:
    """Cleaning counts each removed pair under its reason and counts repaired lines."""
    pairs = [
        ("a b", "c d"),
        ("A, b!", "c d"),
        ("", "x"),
        ("x y", "x y"),
        ("a b c d e f g h i", "g"),
        ("a", "b" * 30),
        ("a\u2028b\x00", "c"),
    ]
    _parallel(tmp_path, "train", [*PAIRS, *pairs])
    _parallel(tmp_path, "valid", PAIRS[:5])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n')
    cleaning = {"max_words": 8, "drop_identical": True, "duplicates": "normalised"}
    prepared = prepare(_recipe(card, cleaning=cleaning))
    text, counts = prepared.training_text(), prepared.report["train"]
    assert list(zip(text.source, text.target, strict=True))[60:] == [("a b", "c d"), ("a b", "c")]
    assert counts["dropped"] == {"duplicate": 1, "empty": 1, "identical sides": 1, "too long": 1, "length ratio": 1}
    assert counts["mended"] == {"control characters": 1}


def test_rows_to_show_are_spread_over_the_lengths_each_once() -> None:
    """Example rows are different, cover short to long sentences, and leave out empty lines."""
    lines = ["a b c d e", "", "a", "a b c", "a b"]
    testset = TestSet("test", lines, lines)
    assert testset.spread(9) == [2, 4, 3, 0]
    assert testset.spread(2) == [4, 0]
    assert TestSet("empty", [""], [""]).spread(3) == []


def test_planted_leaks_are_found_and_dropped_on_request(tmp_path: Path) -> None:
    """Test pairs copied into the training data are counted, and removed if the recipe asks."""
    testset = Text("de", "en", [("Guten Tag .", "Good day."), ("Neu", "New")])
    train = Text("de", "en", [("guten tag", "good day!"), ("Guten Tag .", "hello"), ("ganz", "else")])
    leak = audit([train], {"test": [testset]})[0]
    assert (leak.pairs_exact, leak.source_exact, leak.pairs_normalised, leak.target_normalised) == (0, 1, 1, 1)
    assert without_leaks(train, [testset]) == [("ganz", "else")]
    _parallel(tmp_path, "train", PAIRS)
    _parallel(tmp_path, "valid", PAIRS[:5])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n')
    report = prepare(_recipe(card)).report
    assert report["found_in_train"][0]["pairs_exact"] == 5
    cleaned = prepare(_recipe(card, cleaning={"drop_leaked": True})).report
    assert cleaned["found_in_train"][0]["pairs_exact"] == 5
    assert cleaned["train"]["kept"] == 55


def test_a_held_out_split_never_changes_and_never_leaks(tmp_path: Path) -> None:
    """By hash of the source: reordering the corpus holds out the same pairs, and none of them stays in train."""
    _parallel(tmp_path, "train", [*PAIRS, *PAIRS[:10]])
    card = _card(tmp_path, '[splits]\ntrain = "train.{language}"\n[holdout]\nvalid = 5\ntest = 7\n')
    first = prepare(_recipe(card))
    assert (len(first.testset("valid").source), len(first.testset("test").source)) == (5, 7)
    assert all(leak["source_normalised"] == 0 for leak in first.report["found_in_train"])
    _parallel(tmp_path, "train", [*PAIRS[::-1], *PAIRS[:10]])
    assert set(prepare(_recipe(card)).testset("test").source) == set(first.testset("test").source)


def test_a_wrong_card_or_language_is_named(card: str) -> None:
    """Errors in a card's name, languages or contents are reported with the part concerned."""
    with pytest.raises(DataError, match=r"no card multi30 \(did you mean multi30k\?\)"):
        load_card("multi30")
    with pytest.raises(DataError, match=r"there is no runs/mine\.toml, beside the recipe or here; .*make RECIPE"):
        load_card("runs/mine.toml")
    with pytest.raises(DataError, match=r"data\.source = 'fr': mine has de, en"):
        load_card(card, ("fr", "en"))
    with pytest.raises(DataError, match=r"data\.source and data\.target are both 'de'"):
        load_card(card, ("de", "de"))
    Path(card).write_text('name = "mine"\nlicense = "none"\n[splits]\ntrain = "a"\n"news/20" = "b"')
    with pytest.raises(DataError) as error:
        load_card(card)
    for part in ("title is missing", "unknown key license (did you mean licence?)", "splits: names files", "'news/20'"):
        assert part in str(error.value)


def test_a_holdout_of_all_pairs_is_refused(card: str, tmp_path: Path) -> None:
    """A holdout larger than the corpus is an error with both numbers."""
    _card(tmp_path, '[splits]\ntrain = "train.{language}"\n[holdout]\nvalid = 50000\n')
    with pytest.raises(DataError, match=r"holdout wants 50000 of only \d+ pairs"):
        prepare(_recipe(card))


def test_all_shipped_cards_are_right() -> None:
    """The expected cards are shipped, and each loads under its own name."""
    assert {"multi30k", "tatoeba_deen", "iwslt14", "iwslt15", "iwslt17", "wmt14", "phrasebook"} <= set(card_names())
    for name in card_names():
        assert load_card(name).name == name


def test_normalisation_keeps_what_is_only_punctuation() -> None:
    """Normalisation removes punctuation beside words and leaves a sentence of punctuation unchanged."""
    assert normalise("Ach, SO!") == "ach so"
    assert normalise("?!") == "?!"


def test_several_corpora_become_one_with_tags(card: str, tmp_path: Path) -> None:
    """Sources begin with the language wanted; validation takes from each in turn; other test sets keep their names."""
    more = [{"corpus": _french(tmp_path), "source": "de", "target": "fr"}]
    recipe = _recipe(card, more=more, tag_target=True)
    prepared = prepare(recipe)
    assert [part["pairs"] for part in prepared.report["parts"]] == [60, 15]
    text = prepared.training_text()
    assert text.source[0] == text.source[60] == "das ist Satz 0 hier"
    assert (text.tagged[0], text.tagged[60]) == ("<2en> das ist Satz 0 hier", "<2fr> das ist Satz 0 hier")
    assert len(prepared.tokenizers.source.encode(text.tagged[60:61])[0]) == prepared.train.source.lengths[60]
    assert text.target[60] == "ceci est la phrase 0 ici"
    valid = prepared.testset("valid")
    assert valid.languages == ["en", "fr"] * 4 + ["en"]
    assert prepared.testsets() == ["test", "valid"]
    tokenizer = prepared.tokenizers.source
    assert "<2fr>" in tokenizer.encode_pieces(["<2fr> das"])[0][0]
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(recipe_to_toml(recipe))
    assert load_recipe(resolved) == recipe
    with pytest.raises(ConfigError, match=r"several target languages \(en, fr\): set data.tag_target"):
        _recipe(card, more=more)


def test_corpora_are_mixed_by_weight_and_temperature(card: str, tmp_path: Path) -> None:
    """An epoch is as large as before; shares are size^(1/T) times weight; whole passes come before draws."""
    french = {"corpus": _french(tmp_path), "source": "de", "target": "fr"}
    rows = np.arange(75)

    def counts(temperature: float, weight: float) -> list[int]:
        data = _recipe(card, more=[french | {"weight": weight}], tag_target=True, temperature=temperature).data
        drawn = mixed(rows, [60, 15], data, seed=1, epoch=3)
        assert np.array_equal(drawn, mixed(rows, [60, 15], data, seed=1, epoch=3))
        assert np.bincount(drawn, minlength=75)[60:].min() >= len(drawn[drawn >= 60]) // 15
        return [int((drawn < 60).sum()), int((drawn >= 60).sum())]

    assert counts(1.0, 1.0) == [60, 15]
    assert counts(1.0, 4.0) == [38, 38]
    assert counts(2.0, 1.0) == [50, 25]


@pytest.mark.slow
def test_one_model_translates_into_several_languages(card: str, tmp_path: Path) -> None:
    """It is told by the tag, or by `--to`; a language it does not know is refused."""
    more = [{"corpus": _french(tmp_path), "source": "de", "target": "fr"}]
    model = {"kind": "rnn", "embedding": 32, "hidden": 48, "dropout": 0.0}
    training = {"updates": 150, "validate_every": 150, "learning_rate": 1e-2, "warmup": 5, "label_smoothing": 0.0}
    data = {"corpus": card, "source": "de", "target": "en", "more": more, "tag_target": True, "temperature": 5.0}
    recipe = make_recipe(model, data=data, tokenizer={"vocabulary": 200}, training=training)
    (tmp_path / "run").mkdir()
    Trainer(recipe, prepare(recipe), tmp_path / "run", torch.device("cpu")).run()
    line = "das ist Satz 3 hier"
    loaded = load_model(tmp_path / "run")
    assert Translator(loaded).translate([line])[0].startswith("this is sentence")
    french = Translator(loaded, options=Options(target_language="fr"))
    assert french.translate([line])[0].startswith("ceci est la phrase")
    assert french.translate(["<2en> " + line])[0].startswith("this is sentence")
    split = Translator(loaded, options=Options(target_language="fr", max_source=9, long_lines="split"))
    assert "ceci" not in split.translate(["<2en> " + f"{line} " * 3])[0]
    (links,) = Translator(loaded, options=Options(align=True)).translate_n_best([line], 1)
    assert {source for source, _ in links[0].alignment or ()} <= set(range(5))
    with pytest.raises(ConfigError, match="translates into en, fr, not into nl"):
        Translator(loaded, options=Options(target_language="nl"))


@pytest.mark.parametrize("name", ["a[b]c", "all*", "o'clock", "{a,b}"])
def test_the_home_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Also one that looks like a pattern: repeated pairs are found there, and recipes compared."""
    recipe = make_recipe(data={"limit": 200, "cleaning": {"duplicates": "exact"}})
    other = make_recipe(data={"limit": 200, "cleaning": {"duplicates": "exact", "max_words": 4}})
    (tmp_path / "0").mkdir()
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "0"))
    usual = prepare(recipe).report["train"]
    found = difference(recipe, other, Means.of())
    monkeypatch.setenv("NMT_HOME", str(tmp_path / name))
    assert prepare(recipe).report["train"] == usual
    assert difference(recipe, other, Means.of()) == found


@pytest.mark.parametrize("name", ["a\\b", "what?", "\udcff"])
def test_a_home_that_libraries_cannot_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And says what to set."""
    monkeypatch.setenv("NMT_HOME", str(tmp_path / name))
    with pytest.raises(DataError, match=r"a folder of this name; set NMT_HOME to another$"):
        prepare(make_recipe())


def test_what_the_database_cannot_do_is_one_line(tmp_path: Path) -> None:
    """A damaged shard, or too little memory, which can be raised."""
    (tmp_path / "0.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DataError) as error:
        list(repeated_rows(tmp_path, [5], 500_000_000))
    assert "\n" not in str(error.value)
    rows = {"row": range(300_000), "first_half": range(300_000), "second_half": range(300_000)}
    pq.write_table(pa.table(rows), tmp_path / "0.parquet")
    with pytest.raises(DataError, match="let it use more by --memory"):
        list(repeated_rows(tmp_path, [300_000], 1_000_000))
