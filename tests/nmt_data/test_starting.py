"""What `nmt init` makes of files: languages, columns, splits and sizes are told, or one line says what would settle them."""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from corpora import po, tmx, xliff1, xliff2
from damage import damaged_files
from nmt.config.model import ModelConfig
from nmt.config.reading import load_recipe
from nmt.errors import DataError
from nmt.models.size import parameter_count
from nmt_data.cards import load_card
from nmt_data.doctor.sizes import examine_sizes
from nmt_data.prepare import prepare
from nmt_data.reading import Pair, Split, Unreadable
from nmt_data.sizes import is_too_large
from nmt_data.starting.languages import language_within
from nmt_data.starting.sizes import NARROW, PLANS, Plan, Size, plan_for
from nmt_data.starting.start import CARD, RECIPE, Start, start
from nmt_data.synthetic import phrasebook
from packing import in_utf16

ROOT = Path(__file__).parents[2]
PAIRS = phrasebook.split("train")[:60]
BACK = [(two, one) for one, two in PAIRS]


def _made(folder: Path, *files: str, source: str | None = None, target: str | None = None) -> Start:
    return start(folder / "my", [folder / file for file in files], source, target)


def _read(folder: Path, made: Start, split: str = "train") -> list[Pair]:
    """Returns the pairs that the written card reads."""
    (folder / "my").mkdir(exist_ok=True)
    (folder / "my" / CARD).write_text(made.card)
    (folder / "my" / RECIPE).write_text(made.recipe)
    recipe = load_recipe(folder / "my" / RECIPE)
    card = load_card(recipe.data.corpus, made.languages)
    assert (recipe.data.source, recipe.data.target) == made.languages
    return list(Split(card, split, *made.languages).read(Unreadable()))


def _lines(side: int, pairs: list[Pair] = PAIRS) -> str:
    return "".join(f"{pair[side]}\n" for pair in pairs)


def _spreadsheet(folder: Path) -> list[str]:
    with (folder / "sheet.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Nr", "Deutsch", "Englisch", "Notiz"])
        writer.writerows([number, *pair, "wichtig" * (number % 9 == 0)] for number, pair in enumerate(PAIRS))
    return ["sheet.csv"]


def _opus(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "de-en.txt.zip", "w") as archive:
        for name, text in (
            ("README", "?"),
            ("C.de-en.de", _lines(0)),
            ("C.de-en.en", _lines(1)),
            ("C.de-en.ids", "1\n"),
        ):
            archive.writestr(name, text)
    return ["de-en.txt.zip"]


def _wide(folder: Path) -> list[str]:
    (folder / "Original.txt").write_bytes(in_utf16(_lines(0).encode()))
    (folder / "Translation.txt").write_bytes(in_utf16(_lines(1).encode(), "utf-16-be"))
    return ["Original.txt", "Translation.txt"]


def _crawl(folder: Path) -> list[str]:
    rows = (
        f"http://a.de/{n}\t{one}\t{two}\t{n / 60:.3f}\tCC-BY by a person {n}\n" for n, (one, two) in enumerate(PAIRS)
    )
    (folder / "crawl.tsv.gz").write_bytes(gzip.compress("".join(rows).encode()))
    return ["crawl.tsv.gz"]


def _hub(folder: Path) -> list[str]:
    rows = [json.dumps({"id": n, "translation": {"de": one, "en": two}}) for n, (one, two) in enumerate(PAIRS)]
    for name, part in (("train", rows), ("validation", rows[:5]), ("test", rows[5:9])):
        (folder / f"{name}.jsonl").write_text("\n".join(part))
    return ["test.jsonl", "train.jsonl", "validation.jsonl"]


def _columns(folder: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"de": one, "en": two} for one, two in PAIRS]
    pq.write_table(pa.table({"translation": rows}), folder / "train-00000-of-00001.parquet")
    return ["train-00000-of-00001.parquet"]


def _messages(folder: Path) -> list[str]:
    for app in ("core", "admin"):
        for language in ("de", "fr"):
            place = folder / "code" / app / "locale" / language / "LC_MESSAGES"
            place.mkdir(parents=True)
            (place / "django.po").write_text(po(BACK[30 * (app == "core") :][:30], ""))
    return ["code"]


def _export(folder: Path) -> list[str]:
    rows = (f"{n}\t{one}\t{two}\t{n % 50 / 50:.2f}\t2024-03-{n % 28 + 1:02}\n" for n, (one, two) in enumerate(PAIRS))
    (folder / "export.tsv").write_text("id\tsource_text\ttarget_text\tquality\tupdated\n" + "".join(rows))
    return ["export.tsv"]


TESTS = [(name, language) for name in ("newsdev", "newstest") for language in ("de", "en")]


def _shared_task(folder: Path) -> list[str]:
    for side, language in enumerate(("de", "en")):
        (folder / f"corpus.{language}.gz").write_bytes(gzip.compress(_lines(side).encode()))
        (folder / f"newsdev.{language}").write_text(_lines(side, PAIRS[:5]))
        (folder / f"newstest.{language}").write_text(_lines(side, PAIRS[5:9]))
    return [f"{name}.{tail}" for name, tail in (("corpus", "de.gz"), ("corpus", "en.gz"), *TESTS)]


def _folder(folder: Path) -> list[str]:
    """A folder as people keep one: an archive, names by several habits, and what is no corpus."""
    (folder / "all").mkdir()
    with zipfile.ZipFile(folder / "all" / "agency.zip", "w") as archive:
        archive.writestr("train_de.txt", _lines(0))
        archive.writestr("train_en.txt", _lines(1))
    (folder / "all" / "Europarl.de-en.de").write_text(_lines(0, PAIRS[:20]))
    (folder / "all" / "Europarl.de-en.en").write_text(_lines(1, PAIRS[:20]))
    (folder / "all" / "terms.tsv").write_text("Haus\thouse\nHund\tdog\n")
    (folder / "all" / "offer.docx").write_bytes(b"PK")
    (folder / "all" / "notes.txt").write_text("bought from the agency\n")
    return ["all"]


def _written(name: str, write: Callable[[list[Pair], tuple[str, str]], str]) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / name).write_text(write(PAIRS, ("de-AT", "en-US")))
        return [name]

    return make


SETS: dict[str, Callable[[Path], list[str]]] = {
    "spreadsheet": _spreadsheet,
    "memory": _written("memory.tmx", tmx),
    "xliff 1.2": _written("manual.docx.xlf", xliff1),
    "xliff 2": _written("app.xliff", xliff2),
    "OPUS": _opus,
    "UTF-16": _wide,
    "crawl": _crawl,
    "hub": _hub,
    "parquet": _columns,
    "export": _export,
    "shared task": _shared_task,
    "folder": _folder,
}
UNUSED = {
    "OPUS": ["README", "C.de-en.ids"],
    "folder": ["Europarl.de-en.de", "Europarl.de-en.en", "notes.txt", "offer.docx", "terms.tsv"],
}


@pytest.mark.parametrize("kind", SETS)
def test_files_that_people_have_become_a_card_and_a_recipe(tmp_path: Path, kind: str) -> None:
    """What is read is what was in them, from German to English."""
    pytest.importorskip("py3langid")
    made = _made(tmp_path, *SETS[kind](tmp_path))
    assert made.languages == ("de", "en")
    assert made.sample == PAIRS[:10]
    assert _read(tmp_path, made) == PAIRS
    assert [path.name for path in made.unused] == UNUSED.get(kind, [])
    assert ("[holdout]" in made.card) == (kind != "hub")


@pytest.mark.parametrize("kind", [*SETS, "messages"])
def test_what_is_made_of_files_can_be_prepared(tmp_path: Path, kind: str) -> None:
    """As it is: the recipe fits the text, and no pair is lost but those that are held out or beside them."""
    made = _made(tmp_path, *(SETS | {"messages": _messages})[kind](tmp_path), source="de", target="en")
    _read(tmp_path, made)
    report = prepare(load_recipe(tmp_path / "my" / RECIPE)).report
    assert report["train"]["read"] == len(PAIRS)
    assert report["train"]["dropped"].keys() <= {"shares a side with a held-out pair"}
    assert report["train"]["kept"] >= 40


def test_files_of_several_habits_are_one_corpus(tmp_path: Path) -> None:
    """The word for a language may differ between the training and the validation files."""
    for side, (code, word) in enumerate((("de", "ger"), ("en", "eng"))):
        (tmp_path / f"train_{code}.txt").write_text(_lines(side))
        (tmp_path / f"dev.{word}").write_text(_lines(side, PAIRS[:5]))
    made = _made(tmp_path, "train_de.txt", "train_en.txt", "dev.ger", "dev.eng")
    assert _read(tmp_path, made) == PAIRS
    assert _read(tmp_path, made, "valid") == PAIRS[:5]
    assert not made.unused


@pytest.mark.parametrize("kind", SETS)
def test_the_other_direction_is_asked_for(tmp_path: Path, kind: str) -> None:
    """By one language or both, by code or by name; without a library that guesses, both are enough."""
    files = SETS[kind](tmp_path)
    assert _read(tmp_path, _made(tmp_path, *files, source="english", target="de")) == BACK


def test_splits_are_told_by_names(tmp_path: Path) -> None:
    """Of tables and of text; what is not there is held out."""
    assert list(_made(tmp_path, *_hub(tmp_path)).splits) == ["train", "valid", "test"]
    for name, pairs in (("train", PAIRS), ("dev", PAIRS[:7])):
        for side, language in enumerate(("de", "en")):
            (tmp_path / f"{name}.{language}").write_text(_lines(side, pairs))
    made = _made(tmp_path, "train.de", "train.en", "dev.de", "dev.en")
    assert _read(tmp_path, made, "valid") == PAIRS[:7]
    assert "[holdout]" in made.card
    assert "\ntest = 3\n" in made.card
    (tmp_path / "one.german.txt").write_text(_lines(0))
    (tmp_path / "one.english.txt").write_text(_lines(1))
    assert _read(tmp_path, _made(tmp_path, "one.german.txt", "one.english.txt")) == PAIRS


def test_lines_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    """The recipe says so, and how many they are."""
    text = "".join(f"{one}\t{two}\n" for one, two in PAIRS).encode() + b"ja\xff\tyes\n"
    (tmp_path / "t.tsv").write_bytes(text)
    made = _made(tmp_path, "t.tsv", source="de", target="en")
    assert 'on_bad_text = "skip" # 1 lines are not UTF-8' in made.recipe


def test_messages_of_one_language_are_taken(tmp_path: Path) -> None:
    """Out of a program's folder; which one has to be said."""
    files = _messages(tmp_path)
    with pytest.raises(DataError, match=r"PO files in de, fr; say which, as in --source en --target de$"):
        _made(tmp_path, *files)
    assert sorted(_read(tmp_path, _made(tmp_path, *files, target="de"))) == sorted(BACK)


def test_a_guess_is_not_made_without_grounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither names nor text tell the languages, a line says what settles it."""
    monkeypatch.setitem(sys.modules, "py3langid", None)
    for kind in ("UTF-16", "crawl"):
        with pytest.raises(DataError, match=r"the languages cannot be told; say them, as in --source de --target en"):
            _made(tmp_path, *SETS[kind](tmp_path))


@pytest.mark.parametrize(
    ("name", "language"),
    [
        *(
            ("de", "de"),
            ("de-DE", "de"),
            ("pt_BR", "pt"),
            ("German", "de"),
            ("text_en", "en"),
            ("translation.fr", "fr"),
        ),
        *(("Deutscher Text", None), ("English sentence", "en"), ("score", None), ("What is it", None), ("", None)),
    ],
)
def test_names_tell_languages(name: str, language: str | None) -> None:
    """A code, a name, or one of them at an end; words of a sentence do not."""
    assert language_within(name) == language


def test_sizes_are_those_of_recipes() -> None:
    """Model and training of each plan are what the recipe has that it names; the smallest has more dropout."""
    for plan in PLANS:
        recipe = load_recipe(ROOT / "recipes" / plan.like)
        model = {key: getattr(recipe.model, key) for key in plan.model}
        training = {key: getattr(recipe.training, key) for key in plan.training}
        smallest = plan is PLANS[0]
        assert {**model, "dropout": plan.model["dropout"] if smallest else model["dropout"]} == dict(plan.model)
        assert training == dict(plan.training)
        assert (plan.kind, plan.vocabulary) == (recipe.tokenizer.kind, recipe.tokenizer.vocabulary) or smallest


@pytest.mark.parametrize("plan", [*PLANS, *NARROW], ids=lambda plan: f"{plan.like}-{plan.parameters[1]}")
def test_plans_know_their_parameters(plan: Plan) -> None:
    """As many as the model has, for any size of its vocabulary."""
    config = TypeAdapter[ModelConfig](ModelConfig).validate_python(plan.model)
    for vocabulary in (100, 1000):
        assert plan.parameters[0] + plan.parameters[1] * vocabulary == parameter_count(config, vocabulary, vocabulary)


@pytest.mark.parametrize("pairs", [300, 3_000])
def test_the_doctor_agrees_with_the_sizes(tmp_path: Path, pairs: int) -> None:
    """What is chosen for a small text is neither a model too large for it nor a vocabulary too rare in it."""
    text = list(islice(phrasebook.split("train"), pairs))
    (tmp_path / "t.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in text))
    _read(tmp_path, _made(tmp_path, "t.tsv", source="de", target="en"))
    recipe = load_recipe(tmp_path / "my" / RECIPE)
    prepared = prepare(recipe)
    findings = examine_sizes(recipe, prepared, parameter_count(recipe.model, *prepared.tokenizers.sizes))
    assert {finding.level for finding in findings} == {"ok"}, [finding.line for finding in findings]


@pytest.mark.parametrize("pairs", [300, 3_000, 30_000, 300_000, 3_000_000])
@pytest.mark.parametrize("words", [4, 12])
def test_no_size_of_a_corpus_gets_a_model_too_large_for_it(pairs: int, words: int) -> None:
    """By the doctor's rule, whether its sentences are short or long; and the more text, the more parameters."""
    counts = Counter({f"word{rank}": 2 * pairs * words // (8 * rank) for rank in range(1, 20_000)})
    measured = min(pairs, 200_000)
    size = Size(pairs, set(range(measured)), +counts, measured * words, Counter("abcdefghijklmnopqrstuvwxyz "))
    plan = plan_for(size)
    vocabulary = size.vocabulary(plan.vocabulary)
    parameters = parameter_count(
        TypeAdapter[ModelConfig](ModelConfig).validate_python(plan.model), vocabulary, vocabulary
    )
    assert not is_too_large(parameters, size.tokens)
    assert parameters > 20_000
    if words == 12 and pairs > 300:
        assert plan is next(plan for plan in PLANS if pairs < plan.below)


@pytest.mark.parametrize("letters", [range(97, 100), range(0x4E00, 0x4E40)], ids=["few", "many"])
@pytest.mark.parametrize("pairs", [12, 400])
def test_a_small_text_fills_its_vocabulary(tmp_path: Path, letters: range, pairs: int) -> None:
    """Whatever its letters: the corpus can be prepared as it is."""
    draw = random.Random(1)

    def text() -> str:
        return " ".join("".join(map(chr, draw.choices(letters, k=draw.randint(1, 4)))) for _ in range(4))

    rows = [(text(), text()) for _ in range(pairs)]
    (tmp_path / "t.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    _read(tmp_path, _made(tmp_path, "t.tsv", source="ja", target="zh"))
    assert prepare(load_recipe(tmp_path / "my" / RECIPE)).report["tokens"]["source"]["unknown"] == 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.xlsx": b"PK"}, r"a\.xlsx: save it as \.csv, a table, or as \.txt"),
        ({"a.csv": b"a;1\nb;2\n"}, "two columns of text are needed"),
        ({"a.csv": b"de,en\nja,yes\n", "b.tmx": b"<tmx/>"}, r"these are several kinds of files"),
        ({"a.csv": b"de,en\n" + b"ja,yes\n" * 3}, "3 pairs are too few to train on"),
        (
            {"a.csv": b"de,en,fr\n" + b"ja,yes,oui\nnein,no,non\n" * 9},
            r"holds de \(de\), en \(en\), fr \(fr\); say which",
        ),
        ({"a.txt": b"ja\n"}, "name two files, line n of one the translation of line n of the other"),
        ({"test.de": b"ja\n", "test.en": b"yes\n"}, "nothing to train on; name a file for training too"),
        ({"a.po": po(BACK, "").encode()}, "the languages cannot be told"),
        ({}, "nowhere: no such file or folder$"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    """It says what is missing."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        _made(tmp_path, *(files or ["nowhere"]))
    assert "\n" not in str(caught.value)


def _complaint(folder: Path, files: dict[str, bytes]) -> str:
    try:
        return str(_made(folder, *files, source="de", target="en").languages)
    except DataError as error:
        return str(error)


def test_damaged_files_are_looked_at_without_a_traceback(tmp_path: Path) -> None:
    """Of every kind and packing."""
    for split, files in islice(damaged_files(3), 300):
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        assert "\n" not in _complaint(tmp_path, files), split
        for name in files:
            (tmp_path / name).unlink()


def test_a_text_without_spaces_has_words_too(tmp_path: Path) -> None:
    """Its vocabulary holds more than letters, and keeps its punctuation and vowels."""
    draw = random.Random(2)
    for language, letters, length, mark in (
        ("th", range(0xE01, 0xE2F), 4, "ำ"),
        ("zh", range(0x4E00, 0x4E80), 2, "，"),
    ):
        words = ["".join(map(chr, draw.choices(letters, k=length))) for _ in range(200)]
        english = [pair[1] for pair in islice(phrasebook.split("train"), 3000)]
        lines = ["".join(draw.choices(words, k=6)) + mark for _ in english]
        (tmp_path / "t.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in zip(english, lines, strict=True)))
        made = _made(tmp_path, "t.tsv", source="en", target=language)
        assert f'normalization = "identity" # keeps {mark} as' in made.recipe
        _read(tmp_path, made)
        assert load_recipe(tmp_path / "my" / RECIPE).tokenizer.vocabulary > 200 + len(letters)


def test_a_language_that_only_the_person_knows(tmp_path: Path) -> None:
    """Its code in the name of a file, a column or a message file counts once it is asked for; nothing is swapped."""
    rare = [(f"omuntu {german} ono", english) for german, english in PAIRS]
    (tmp_path / "c.en").write_text(_lines(1, rare))
    (tmp_path / "c.lug").write_text(_lines(0, rare))
    (tmp_path / "t.tsv").write_text("en_text\tlug_text\n" + "".join(f"{english}\t{text}\n" for text, english in rare))
    (tmp_path / "lug.po").write_text(po([(english, text) for text, english in rare], language=""))
    for files in (["c.en", "c.lug"], ["t.tsv"], ["lug.po"]):
        for source, target in (("lug", "en"), ("en", "lug")):
            made = _made(tmp_path, *files, source=source, target=target)
            assert made.languages == (source, target)
            assert set(_read(tmp_path, made)) <= {pair if source == "lug" else pair[::-1] for pair in rare}


def test_a_language_that_the_library_does_not_know(tmp_path: Path) -> None:
    """Of two texts the one that reads as the known language is in it, whatever the order."""
    pytest.importorskip("py3langid")
    words = [
        "abantu",
        "abangi",
        "balya",
        "emmere",
        "mu",
        "kyalo",
        "kyaffe",
        "omusajja",
        "ayita",
        "ewaffe",
        "buli",
        "lunaku",
    ]
    rare = [(" ".join(random.Random(row).sample(words, 6)), PAIRS[row][1]) for row in range(60)]
    for side, name in enumerate(("one", "two")):
        (tmp_path / name).write_text(_lines(1 - side, rare))
    (tmp_path / "t.tsv").write_text("".join(f"{english}\t{text}\n" for text, english in rare))
    for files in (["one", "two"], ["two", "one"], ["t.tsv"]):
        made = _made(tmp_path, *files, source="lug", target="en")
        assert set(_read(tmp_path, made)) <= set(rare)
